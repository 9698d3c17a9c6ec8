"""Without functions of their own to decorate, and without classes: `with` blocks around what a script does anyway.

    python examples/inline_with.py [FILE ...]
    analytics-sdk stats

A name of a file that is not there shows a healed step.
"""

import csv
import io
import sys
from pathlib import Path

from analytics_sdk import configure, current_execution, recovery_attempt, track_step, track_workflow

SAMPLE = "city;people\nParis;2102650\nLyon;522250\nNantes;?\n"


def read_number(text: str) -> int:
    """A number, or 0 where nobody knows it: then the step is skipped, and counted in no rate."""
    with track_step(node_id="number", action_type="parse") as step:
        if text == "?":
            step.skip("unknown")
            return 0
        return int(text)


def main(files: list[str]) -> None:
    """Add up the second column of each file, or of a small sample."""
    system = configure(sink="sqlite:///analytics.db")
    for file in files or [None]:
        with track_workflow(workflow_id="add-up", tags={"file": file or "sample"}) as run:
            with track_step(node_id="read", action_type="io"):
                try:
                    text = SAMPLE if file is None else Path(file).read_text("utf-8")
                except OSError:
                    with recovery_attempt("sample_instead"):
                        text = SAMPLE
            with track_step(node_id="add", action_type="compute"):
                rows = list(csv.reader(io.StringIO(text), delimiter=";"))[1:]
                total = sum(read_number(row[1]) for row in rows)
            assert current_execution() is run
        print(f"{file or 'sample'}: {total} people, execution {run.execution_id}")

    stats = system.stats("add-up")
    for step in stats["steps"]:
        print(f"  {step['node_id']}: {step['n']} counted, {step['recovered']} healed")


if __name__ == "__main__":
    main(sys.argv[1:])
