"""A process and its descendants, which come and go, and what all of them together have used.

CPU time and bytes are totals that never go back. The kernel adds what an ended process had used to the parent that
collected it, so what we had counted of that process already is taken off its parent's growth.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

_COUNTERS = 3
_SLACK = (0.05, 0, 0)
"""So much less may come to the parent than was counted, because CPU time is told in whole hundredths of a second."""

Counters = list[float | None]
"""CPU seconds, bytes read, bytes written; None where that cannot be read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a process tree: the memory that it holds now, and totals of what it has used."""

    pids: list[int]
    rss_bytes: int | None
    cpu_seconds: float | None
    read_bytes: int | None
    written_bytes: int | None


@dataclass(slots=True)
class _Member:
    process: psutil.Process
    parent_pid: int | None
    counters: Counters = field(default_factory=lambda: [None] * _COUNTERS)


class ProcessTree:
    """Looks at a process and its descendants again and again. For one thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._members: dict[int, _Member] = {}
        self._totals: Counters = [None] * _COUNTERS

    def look(self) -> Seen:
        """What the tree holds now and has used."""
        earlier, self._members = self._members, self._find(self._members)
        for counter in range(_COUNTERS):
            self._advance(counter, earlier)
        sizes = [rss for member in self._members.values() if (rss := ask(_rss_of, member.process)) is not None]
        cpu, read, written = self._totals
        return Seen(
            list(self._members),
            sum(sizes) if sizes else None,
            cpu,
            None if read is None else int(read),
            None if written is None else int(written),
        )

    def _find(self, known: dict[int, _Member]) -> dict[int, _Member]:
        """The members of now, with their counters; one that cannot be read keeps the counters of last time."""
        me = known[self._pid].process if self._pid in known else psutil.Process(self._pid)
        found: dict[int, _Member] = {}
        for process in [me, *(ask(_descendants_of, me) or [])]:
            before = known.get(process.pid)
            if before is not None and before.process != process:
                before = None  # because the number belongs to another process by now
            parent_pid = None if process is me else ask(_parent_of, process)
            member = _Member(process if before is None else before.process, parent_pid)
            io = ask(_io_of, process)
            now = [ask(_cpu_seconds_of, process), io and io.read_bytes, io and io.write_bytes]
            last = [None] * _COUNTERS if before is None else before.counters
            member.counters = [value if new is None else new for new, value in zip(now, last, strict=True)]
            found[process.pid] = member
        return found

    def _advance(self, counter: int, earlier: dict[int, _Member]) -> None:
        """Add to a total what the members have used since last time."""
        growth: dict[int, float] = {}
        for pid, member in self._members.items():
            value = member.counters[counter]
            if value is not None:
                before = earlier.get(pid)
                known = before.counters[counter] if before is not None and before.process == member.process else None
                growth[pid] = max(0, value - (known or 0))
        for pid, member in earlier.items():
            counted = member.counters[counter]
            if counted and not self._has(pid, member):
                heir = self._heir_of(member, earlier)
                # Because one that left the tree alive gives nothing to a parent in it.
                came = growth.get(heir, 0) if heir is not None else 0
                if heir is not None and came >= counted - _SLACK[counter] and not ask(_is_alive, member.process):
                    growth[heir] = max(0, came - counted)
        if growth:
            self._totals[counter] = (self._totals[counter] or 0) + sum(growth.values())

    def _has(self, pid: int, member: _Member) -> bool:
        return pid in self._members and self._members[pid].process == member.process

    def _heir_of(self, member: _Member, earlier: dict[int, _Member]) -> int | None:
        """The nearest ancestor that still lives: it, or somebody between, collected what the member had used."""
        pid = member.parent_pid
        while pid is not None and pid not in self._members:
            pid = earlier[pid].parent_pid if pid in earlier else None
        return pid


def _rss_of(process: psutil.Process) -> Any:
    return process.memory_info().rss


def _cpu_seconds_of(process: psutil.Process) -> Any:
    """Its own and that of the children it has collected."""
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _io_of(process: psutil.Process) -> Any:
    return process.io_counters()


def _parent_of(process: psutil.Process) -> Any:
    return process.ppid()


def _is_alive(process: psutil.Process) -> Any:
    return process.is_running()


def _descendants_of(process: psutil.Process) -> Any:
    return process.children(recursive=True)


def ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """What psutil answers, or None where the process is gone or hidden, or the platform cannot tell."""
    try:
        return question(*arguments)
    except (psutil.Error, OSError, AttributeError, NotImplementedError, ValueError, LookupError):
        return None
