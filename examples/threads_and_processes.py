"""Threads and processes: what workers do belongs to the execution that sent them, or is an execution of its own.

    python examples/threads_and_processes.py
    analytics-sdk stats

A thread has no context of its own accord: carry it with `copy_context`, one task at a time, or have `auto_instrument`
do it for all (`threads=True`). A process has its own journal beside the same database, and its own executions.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from analytics_sdk import auto_instrument, configure, copy_context, track_step, track_workflow

SINK = "sqlite:///analytics.db"


@track_step(node_id="square", action_type="compute")
def square(number: int) -> int:
    """One step, in whatever thread it runs."""
    return number * number


class Thumbnails:
    """A class that nobody may edit; its threads are its own business."""

    def execute_workflow(self, names: list[str]) -> list[str]:
        """All pictures."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self._execute_node, names))

    def _execute_node(self, name: str) -> str:
        """One picture."""
        return f"{name}.small"


@track_workflow(workflow_id="chapter-{number}", total_steps=1)
def count_words(number: int) -> int:
    """An execution in a process of its own."""
    with track_step(node_id="count", action_type="compute"):
        return len(("word " * number).split())


def start_worker() -> None:
    """What each worker process does first; not needed where the sink is the default, or set by the environment."""
    configure(sink=SINK)


def main() -> None:
    """First threads, then processes; at the end the numbers of all of them."""
    system = configure(sink=SINK)

    with track_workflow(workflow_id="squares", total_steps=4), ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(copy_context().run, square, number) for number in range(4)]
        print("squares:", [future.result() for future in futures])

    with auto_instrument(Thumbnails, workflow_id="thumbnails", node_id="{name}", threads=True):
        print("thumbnails:", Thumbnails().execute_workflow(["cat", "dog", "owl"]))

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=start_worker) as processes:
        print("words:", list(processes.map(count_words, range(1, 4))))

    for workflow in system.stats()["workflows"]:
        print(f"  {workflow['workflow_id']}: {workflow['n']} execution, success rate {workflow['success_rate']:.0f} %")


if __name__ == "__main__":
    main()
