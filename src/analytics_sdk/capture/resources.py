"""A thread that looks at the resources of this process tree, its host and its GPUs, and records what it saw.

Samples are joined to executions and steps by host, process and time when they are read; nothing of this is on the
hot path. What cannot be read is None, never 0.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import psutil

from analytics_sdk.capture.gpus import Gpus
from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.guard import trouble
from analytics_sdk.vocabulary import Kind


class ResourceMonitor:
    """Samples every `interval_seconds` until it is stopped, from one daemon thread."""

    def __init__(
        self,
        append: Callable[[int, tuple[Any, ...]], int],
        interval_seconds: float,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.interval_seconds = interval_seconds
        self._append = append
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._processes: dict[int, psutil.Process] = {}
        self._gpus = Gpus()
        self._pid = os.getpid()

    def start(self) -> None:
        """Start looking. Where no thread can be started: one log line."""
        psutil.cpu_percent(None)  # because the first answer is about the time since the call before
        self._tree_cpu_percent(self._tree())
        thread = threading.Thread(target=self._run, name="analytics-sdk-resources", daemon=True)
        try:
            thread.start()
        except RuntimeError as problem:  # because there may be no room for a thread
            trouble("resources", "resources are not looked at: %s", problem)
            return
        self._thread = thread

    def stop(self) -> None:
        """Stop looking; what was seen stays recorded."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(2.0)
        self._gpus.close()

    def _run(self) -> None:
        while not self._stop.wait(self.interval_seconds):
            try:
                self._append(int(Kind.SAMPLE), self.sample())
            except Exception as problem:  # because one failed look must not end all looking
                trouble("resources", "looking at resources failed: %s", problem, exc=problem)

    def sample(self) -> tuple[Any, ...]:
        """One look, as the fields of `events.Sample`."""
        at_ns = self._clock.time_ns()
        tree = self._tree()
        memory = psutil.virtual_memory()
        read_bytes, written_bytes = self._io(tree)
        return (
            at_ns,
            self._tree_cpu_percent(tree),
            sum(_asked(_rss_of, process) or 0 for process in tree) or None,
            read_bytes,
            written_bytes,
            psutil.cpu_percent(None),
            int(memory.total - memory.available),
            int(memory.total),
            self._gpus.sample([process.pid for process in tree]),
        )

    def _tree(self) -> list[psutil.Process]:
        """This process and its descendants. Known ones are kept, because they know their CPU time of last time."""
        me = self._processes.get(self._pid) or psutil.Process(self._pid)
        found = [me, *(_asked(_descendants_of, me) or [])]
        self._processes = {process.pid: self._kept(process) for process in found}
        return list(self._processes.values())

    def _kept(self, process: psutil.Process) -> psutil.Process:
        known = self._processes.get(process.pid)
        return known if known is not None and known == process else process

    @staticmethod
    def _tree_cpu_percent(tree: list[psutil.Process]) -> float | None:
        seen = [percent for process in tree if (percent := _asked(_cpu_percent_of, process)) is not None]
        return sum(seen) if seen else None

    @staticmethod
    def _io(tree: list[psutil.Process]) -> tuple[int | None, int | None]:
        seen = [io for process in tree if (io := _asked(_io_of, process)) is not None]
        if not seen:
            return None, None
        return sum(io.read_bytes for io in seen), sum(io.write_bytes for io in seen)


def _rss_of(process: psutil.Process) -> Any:
    return process.memory_info().rss


def _cpu_percent_of(process: psutil.Process) -> Any:
    return process.cpu_percent(None)


def _io_of(process: psutil.Process) -> Any:
    return process.io_counters()


def _descendants_of(process: psutil.Process) -> Any:
    return process.children(recursive=True)


def _asked(question: Callable[[psutil.Process], Any], process: psutil.Process) -> Any:
    """What psutil says of a process, or None where it is gone, hidden, or the platform cannot tell."""
    try:
        return question(process)
    except (psutil.Error, OSError, AttributeError, NotImplementedError):
        return None
