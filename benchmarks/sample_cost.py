"""What one resource sample costs: CPU time on the monitor's own thread.

    python benchmarks/sample_cost.py [--json FILE] [--quick]

Alone, with children to find, and with many executions open at once; with the GPUs of this machine where it has some.
CPU time and not duration, because the machine may be busy with something else.
"""

import contextvars
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import psutil
from _figures import Figures, options

from analytics_sdk.capture.gpus import Gpus
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.capture.resources import ResourceMonitor

SAMPLES = 30


class NoJournal:
    """Takes everything and keeps nothing."""

    def append(self, _kind: int, _fields: tuple[Any, ...]) -> int:
        return 0


def measure(children: int = 0, executions: int = 0, gpus: Gpus | None = None) -> float:
    """The median of some samples, in milliseconds."""
    recorder = Recorder(NoJournal())
    with ExitStack() as stack:
        for _ in range(children):
            child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
            stack.callback(child.communicate)
        for number in range(executions):
            context = contextvars.Context()
            context.run(recorder.begin_execution, f"workflow {number % 5}")
            context.run(recorder.begin_step, f"node {number % 20}")
        monitor = ResourceMonitor(recorder.append, 60, recorder=recorder, gpus=gpus)
        monitor.sample()
        spent_ns = []
        for _ in range(SAMPLES):
            began_ns = time.thread_time_ns()
            monitor.sample()
            spent_ns.append(time.thread_time_ns() - began_ns)
        return statistics.median(spent_ns) / 1e6


def main() -> None:
    given = options(__doc__ or "").parse_args()
    figures = Figures("the cost of a resource sample")
    figures.add("processes of this machine", len(psutil.pids()), "")
    figures.add("a process alone", measure(), "ms")
    figures.add("a process with 10 children", measure(children=10), "ms")
    figures.add("1,000 executions open", measure(executions=1000), "ms")
    gpus = Gpus()
    if gpus.names:
        figures.add(f"with {len(gpus.names)} GPUs", measure(gpus=gpus), "ms")
    gpus.close()
    figures.close(given.json)


if __name__ == "__main__":
    main()
