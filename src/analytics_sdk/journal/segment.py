"""One segment file of this process's own journal: made, mapped, tended."""

import mmap
import os
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

from analytics_sdk.journal.owner import Identity, try_unlink
from analytics_sdk.journal.record import (
    FIRST_FRAME,
    KINDS,
    SegmentHeader,
    base_of_segment,
    salts,
    segment_name,
)
from analytics_sdk.pace import breathe
from analytics_sdk.vocabulary import Kind

_MADV_POPULATE_WRITE = 23
_AHEAD_BYTES = 1024 * 1024
_SLICE_BYTES = 64 * 1024
_MAPPING: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Segment:
    """A mapped segment. `pos` and `limit` are offsets in the file; the writer moves them and nobody else."""

    __slots__ = ("_let_go", "_mapped", "base", "limit", "map", "n", "path", "pos", "salts", "seeds", "size")
    seeds: tuple[Any, ...]
    """The salts as `append` sees them: None for a kind that is being shed."""

    def __init__(self, folder: Path, journal_id: str, n: int, size: int) -> None:
        """Make it, all of its `size` bytes allocated, at most `bytes_of_segment(n)`: a disk that is full is an error
        here, and never a SIGBUS later.

        It has its final name from the beginning: a segment without a record tells a reader nothing.

        Raises:
            OSError: no room, no permission, no descriptors. Nothing is left behind.
        """
        self.n = n
        self.base = base_of_segment(n)
        self.size = self.limit = size
        self.pos = FIRST_FRAME
        self._mapped = self._let_go = 0
        self.seeds = self.salts = salts(journal_id, n)
        self.path = folder / segment_name(journal_id, n)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)  # because the umask may have taken more than it should
            os.posix_fallocate(fd, 0, self.size)
            os.pwrite(fd, SegmentHeader(journal_id, n, self.size, self.base).pack(), 0)
            self.map = mmap.mmap(fd, self.size, **_MAPPING)
        except BaseException:
            try_unlink(self.path)
            raise
        finally:
            os.close(fd)

    def shed(self, kinds: Set[Kind]) -> None:
        """Have appends of these kinds, and no others, take the slow way, where they are counted as lost."""
        self.seeds = (
            tuple(None if kind in kinds else salt for kind, salt in enumerate(self.salts)) if kinds else self.salts
        )

    def is_busy(self, identity: Identity | None) -> bool:
        """Whether the next one should be at hand: not for a process that records next to nothing."""
        return identity is None or self.base > identity.origin or self.pos > self.size // 4

    def tend(self) -> None:
        """Have the kernel map the pages that come next, because a first touch costs microseconds and here nobody waits,
        and let go of those that are written: they are in the file, and would count as this process's memory."""
        at = min(self.pos, self.size)
        written = at - at % mmap.PAGESIZE
        try:
            while self._let_go < written:
                self.map.madvise(mmap.MADV_DONTNEED, self._let_go, min(_SLICE_BYTES, written - self._let_go))
                self._let_go = min(self._let_go + _SLICE_BYTES, written)
                breathe()
            self._mapped = max(self._mapped, written)
            while self._mapped < min(at + _AHEAD_BYTES, self.size):
                self.map.madvise(_MADV_POPULATE_WRITE, self._mapped, min(_SLICE_BYTES, self.size - self._mapped))
                self._mapped += _SLICE_BYTES
                breathe()
        except (OSError, ValueError):
            pass  # because an older kernel cannot, and it only costs time


def _no_segment() -> Segment:
    none = object.__new__(Segment)
    none.n, none.base, none.size, none.limit, none.pos = -1, 0, 0, 0, 0
    none.seeds = none.salts = (0,) * KINDS.stop
    return none


NO_SEGMENT = _no_segment()
"""Stands where no segment is open: nothing fits in."""
