"""One segment file of this process's own journal: made, mapped, prefaulted."""

import mmap
import os
from pathlib import Path

from analytics_sdk.journal.owner import try_unlink
from analytics_sdk.journal.record import FIRST_FRAME, SegmentHeader, salts, segment_name

FIRST_BYTES = 256 * 1024
LARGEST_BYTES = 8 * 1024 * 1024
_MADV_POPULATE_WRITE = 23
_PREFAULT_SLICE = 64 * 1024


def bytes_of_segment(n: int) -> int:
    """The size of segment n: small at first, doubling up to a limit."""
    return min(FIRST_BYTES << min(n, 16), LARGEST_BYTES)


class Segment:
    """A mapped segment. `pos` and `limit` are offsets in the file; the writer moves `pos` and nobody else."""

    __slots__ = ("base", "limit", "map", "n", "path", "pos", "seeds", "size")

    def __init__(self, folder: Path, journal_id: str, n: int, base: int) -> None:
        """Make it, with all of its room allocated: a disk that is full is an error here, and never a SIGBUS later.

        Raises:
            OSError: no room, no permission, no descriptors. Nothing is left behind.
        """
        self.n = n
        self.base = base
        self.size = self.limit = bytes_of_segment(n)
        self.pos = FIRST_FRAME
        self.seeds = salts(journal_id, n)
        self.path = folder / segment_name(journal_id, n)
        making = self.path.with_suffix(".tmp")
        fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)  # because the umask may have taken more than it should
            os.posix_fallocate(fd, 0, self.size)
            os.pwrite(fd, SegmentHeader(journal_id, n, self.size, base).pack(), 0)
            self.map = mmap.mmap(fd, self.size)
            os.rename(making, self.path)
        except BaseException:
            try_unlink(making)
            raise
        finally:
            os.close(fd)

    @property
    def end(self) -> int:
        """The journal position behind the file's last byte: where the next segment begins."""
        return self.base + self.size

    def prefault(self) -> None:
        """Have the kernel map all pages now, in slices: a first touch costs microseconds, and here nobody waits."""
        try:
            for at in range(0, self.size, _PREFAULT_SLICE):
                self.map.madvise(_MADV_POPULATE_WRITE, at, min(_PREFAULT_SLICE, self.size - at))
        except (OSError, ValueError):
            pass  # because an older kernel cannot, and it only costs time
