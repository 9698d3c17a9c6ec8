"""Where a journal is written: machine, boot and process, and whether this still is the process that opened it."""

import mmap
import os
import socket
import threading
import uuid

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.journal.owner import Identity

_MADV_WIPEONFORK = 18


def fork_flag() -> mmap.mmap | bytes:
    """A page whose first byte is 1 here and 0 in a forked child; where the kernel has no such thing, a 0 for all.

    Looking at it costs a tenth of asking for the process id, and it also sees forks that run no Python code.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (OSError, ValueError, AttributeError):
        return b"\0"
    page[0] = 1
    return page


class ProcessLock:
    """A lock for each process: a forked child has its own, because the parent's may have been held at the fork."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}

    def here(self) -> threading.RLock:
        """The lock of this process."""
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())


def new_identity(clock: Clock = SYSTEM_CLOCK, origin: int = 0) -> Identity:
    """Who this process is, with a fresh journal_id. `origin`: the first position of the new journal."""
    return Identity(
        journal_id=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at_ns=clock.time_ns(),
        machine_id=_read_word("/etc/machine-id"),
        boot_id=boot_id(),
        origin=origin,
    )


def boot_id() -> str:
    """What names the time since this machine was started; empty where the system does not tell."""
    return _read_word("/proc/sys/kernel/random/boot_id")


def _read_word(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
