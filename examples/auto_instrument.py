"""Record what a class does that nobody may edit: one call, before or after it is imported.

    python examples/auto_instrument.py
    analytics-sdk stats

Or without a line of code, around the program itself: see untouched_loop.py.
"""

import importlib
import sys

from analytics_sdk import auto_instrument, configure


def main() -> None:
    """Point at the class and at its healer, run the program, undo everything."""
    system = configure(sink="sqlite:///analytics.db")
    with auto_instrument("untouched_loop:Loop", recovery="untouched_loop:Healer.heal") as instrumentation:
        assert "untouched_loop" in sys.modules or instrumentation.pending  # nothing is imported early
        program = importlib.import_module("untouched_loop")
        program.main()
    program.Loop(program.Screen("User")).execute_workflow(program.Workflow("unseen", [program.Node("a", "User")]))

    stats = system.stats()
    for workflow in stats["workflows"]:
        print(f"  {workflow['workflow_id']}: success rate {workflow['success_rate']:.0f} %")
    for step in stats["steps"]:
        print(f"  {step['workflow_id']}, {step['node_id']}: {step['n']} times, {step['recovered']} healed")
    for strategy in stats["recovery"]["strategies"]:
        print(f"  {strategy['strategy']}: {strategy['succeeded']} of {strategy['attempts']} attempts healed")


if __name__ == "__main__":
    main()
