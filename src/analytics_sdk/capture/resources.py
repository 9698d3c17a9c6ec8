"""A thread that looks at the resources of this process tree, its host and its GPUs, and records what it saw.

A sample says what was running when it was taken, so that it can be counted for steps and workflows without a search.
Nothing of this is on the hot path, and everything that may take time or fail is on the monitor's own thread. What
cannot be read is None, never 0.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from analytics_sdk.capture.gpus import Gpus, load_bindings
from analytics_sdk.capture.process_tree import ProcessTree, ask
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.guard import start_thread, trouble
from analytics_sdk.vocabulary import Kind

SHORTEST_STRETCH_NS = 100_000_000
"""CPU time is counted in hundredths of a second, so over less than this a percentage would say nothing."""
LONGEST_LISTING = 200
"""So many nodes and workflows are listed in a sample as running, those that ran longest."""
JOIN_SECONDS = 1.0

Fields = tuple[Any, ...]
HostTimes = tuple[float, float]
"""CPU seconds of all cores since the machine began: those that were busy, and all."""


class ResourceMonitor:
    """Samples when it starts, every `interval_seconds`, and when it is stopped, from one daemon thread."""

    def __init__(
        self,
        append: Callable[[int, Fields], int],
        interval_seconds: float,
        *,
        recorder: Recorder | None = None,
        gpus: Gpus | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`gpus`: where they are open already; `start` opens them otherwise."""
        self.interval_seconds = interval_seconds
        self._append = append
        self._recorder = recorder
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_late = False
        self._pid = os.getpid()
        self._tree = ProcessTree(self._pid)
        self._gpus = gpus
        self._stretch_began_tick_ns: int | None = None
        self._stretch_began_cpu_seconds: float | None = None
        self._stretch_began_host: HostTimes | None = None

    def start(self) -> None:
        """Take the first sample, which takes one or two milliseconds, and start looking. Where no thread can be
        started: one log line."""
        self._record()  # here, because the host may keep a new thread waiting for longer than a short program runs
        with suppress(ImportError):  # because `Gpus` says why there are none
            load_bindings()
        thread = threading.Thread(target=self._run, name="analytics-sdk-resources", daemon=True)
        try:
            start_thread(thread)
        except RuntimeError as problem:  # because there may be no room for a thread
            trouble("resources", "resources are not looked at: %s", problem)
            return
        self._thread = thread

    def stop(self) -> None:
        """Take the last sample and stop; waits at most `JOIN_SECONDS` for that. What was seen stays recorded."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)
            self._is_late = thread.is_alive()

    def _run(self) -> None:
        try:
            self._gpus = Gpus()
        except Exception as problem:  # because a strange driver must not end all looking
            trouble("gpus", "GPUs are not looked at: %s", problem, exc=problem)
        while not self._stop.wait(self.interval_seconds):
            self._record()
        self._record()
        if self._gpus is not None:
            self._gpus.close()

    def _record(self) -> None:
        try:
            fields = self.sample()
            if not self._is_late:  # because nobody waits any more for a driver that hung, and the journal may be closed
                self._append(int(Kind.SAMPLE), fields)
        except Exception as problem:  # because one failed look must not end all looking
            trouble("resources", "looking at resources failed: %s", problem, exc=problem)

    def sample(self) -> Fields:
        """One look, as the fields of `events.Sample`. The first knows no CPU, because that is about a stretch."""
        tick_ns, at_ns = self._clock.perf_counter_ns(), self._clock.time_ns()
        seen = self._tree.look()
        memory = ask(psutil.virtual_memory)
        elapsed_ns, cpu_percent, host_cpu_percent = self._end_stretch(tick_ns, seen.cpu_seconds)
        executions, running = self._find_running(tick_ns, elapsed_ns)
        return (
            at_ns,
            cpu_percent,
            seen.rss_bytes,
            seen.read_bytes,
            seen.written_bytes,
            host_cpu_percent,
            None if memory is None else int(memory.total - memory.available),
            None if memory is None else int(memory.total),
            None if self._gpus is None else self._gpus.sample(seen.pids),
            elapsed_ns,
            executions,
            running,
        )

    def _end_stretch(self, tick_ns: int, cpu_seconds: float | None) -> tuple[int | None, float | None, float | None]:
        """How long the stretch since the sample before was, and the CPU of the tree and of the host through it."""
        began_tick_ns = self._stretch_began_tick_ns
        if began_tick_ns is not None and tick_ns - began_tick_ns < SHORTEST_STRETCH_NS:
            return tick_ns - began_tick_ns, None, None  # and the stretch goes on
        began_cpu_seconds, began_host = self._stretch_began_cpu_seconds, self._stretch_began_host
        host = ask(_host_times)
        self._stretch_began_tick_ns, self._stretch_began_cpu_seconds = tick_ns, cpu_seconds
        self._stretch_began_host = host
        if began_tick_ns is None:
            return None, None, None
        elapsed_ns = tick_ns - began_tick_ns
        host_percent = _host_percent(began_host, host)
        if cpu_seconds is None or began_cpu_seconds is None:
            return elapsed_ns, None, host_percent
        return elapsed_ns, 100e9 * (cpu_seconds - began_cpu_seconds) / elapsed_ns, host_percent

    def _find_running(self, tick_ns: int, elapsed_ns: int | None) -> tuple[int | None, list[list[Any]] | None]:
        """How many executions run side by side, and the fields of one `events.Running` for each workflow and node.

        The host goes on meanwhile: `list` of a dict's values is one step for other threads, and what has ended or not
        quite begun by now is left out.
        """
        if self._recorder is None:
            return None, None
        oldest_tick_ns: dict[tuple[str, str | None], int] = {}

        def note(workflow_id: str, node_id: str | None, began_tick_ns: int) -> None:
            key = (workflow_id, node_id)
            oldest_tick_ns[key] = min(began_tick_ns, oldest_tick_ns.get(key, began_tick_ns))

        executions = {one.execution_id: one for one in self._recorder.live() if 0 < one.started_tick_ns <= tick_ns}
        for execution in executions.values():
            note(execution.workflow_id, None, execution.started_tick_ns)
            for step in list(execution.open_steps.values()):
                if 0 < step.started_tick_ns <= tick_ns:
                    note(execution.workflow_id, step.node_id or "-", step.started_tick_ns)
        for step in list(self._recorder.open_orphans.values()):
            if 0 < step.started_tick_ns <= tick_ns:
                note("", step.node_id or "-", step.started_tick_ns)
        oldest = sorted(oldest_tick_ns.items(), key=lambda item: item[1])[:LONGEST_LISTING]
        outermost = sum(one.parent_execution_id not in executions for one in executions.values())
        return outermost, [[*key, _share(tick_ns - began_tick_ns, elapsed_ns)] for key, began_tick_ns in oldest]


def _host_times() -> HostTimes:
    """Without psutil's own percentages, because these begin anew with each thread that asks, at a 0 that is none."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    every = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # these stand in `user` too
    return every - idle, every


def _host_percent(began: HostTimes | None, ended: HostTimes | None) -> float | None:
    if began is None or ended is None or ended[1] <= began[1]:
        return None
    return min(100.0, max(0.0, 100.0 * (ended[0] - began[0]) / (ended[1] - began[1])))


def _share(age_ns: int, elapsed_ns: int | None) -> float:
    """The part of a stretch through which something of some age ran, rounded down so that only all of it is 1."""
    return 1.0 if not elapsed_ns or age_ns >= elapsed_ns else age_ns * 1000 // elapsed_ns / 1000
