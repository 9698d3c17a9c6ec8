"""How full a journal folder is, and what has to be left out for that.

Near its quota a journal first leaves out samples of resources, then beginnings, and at last everything: an ending
says all that its beginning says, so that endings and recoveries are kept for longest.
"""

import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from analytics_sdk.journal.record import FIRST_SEGMENT_BYTES, bytes_of_segment
from analytics_sdk.journal.segment import Segment
from analytics_sdk.vocabulary import Kind

MIN_FREE_BYTES = 512 << 20
SHED_SAMPLES_FROM = 0.75
SHED_STARTS_FROM = 0.9
CHEAP_SECONDS = 0.002
LOOKS_APART = 200
"""A look that is not cheap is followed by so many times its duration without one."""
_SAMPLES = frozenset({Kind.SAMPLE})
_SAMPLES_AND_STARTS = frozenset({Kind.SAMPLE, Kind.EXECUTION_START, Kind.STEP_START})
_NOTHING: frozenset[Kind] = frozenset()


class Quota(NamedTuple):
    """The most that all journals of a folder may take, and what they must leave free on the disk, in bytes."""

    max_bytes: int
    min_free_bytes: int


class Room(NamedTuple):
    """What a look at the folder found, in bytes."""

    allocated: int
    free: int
    """How much the journals may still grow; negative where they are over their quota."""
    reason: str
    """What would be to blame for a loss: "quota" or "disk"."""

    def is_short(self) -> bool:
        """Whether what is recorded next may soon be lost for lack of room."""
        return self.allocated >= SHED_SAMPLES_FROM * (self.allocated + max(0, self.free))

    def shed(self, idle: int, coming: int) -> frozenset[Kind]:
        """The kinds to leave out. `idle` bytes of what is allocated are unused, `coming` are asked for next."""
        used = self.allocated - idle
        share = used / max(1, used + idle + max(0, self.free))
        if share >= SHED_STARTS_FROM or (self.free < coming and share >= SHED_SAMPLES_FROM):
            return _SAMPLES_AND_STARTS
        return _SAMPLES if share >= SHED_SAMPLES_FROM else _NOTHING


def size_of_segment(n: int, quota: Quota, room: Room) -> int:
    """How large segment n may be made, in bytes; 0 where there is no room for one.

    It is smaller than usual where the quota is small, because the segment in use cannot go before the next one stands,
    and where the room that is left is.
    """
    size = min(bytes_of_segment(n), max(FIRST_SEGMENT_BYTES, quota.max_bytes // 4))
    while size > max(room.free, FIRST_SEGMENT_BYTES):
        size //= 2
    return size if size <= room.free else 0


def look(folder: Path, quota: Quota) -> Room:
    """Measure a folder.

    Raises:
        OSError: it cannot be looked at.
    """
    allocated = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                allocated += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue  # because it was removed meanwhile
    by_quota = quota.max_bytes - allocated
    by_disk = shutil.disk_usage(folder).free - quota.min_free_bytes
    return Room(allocated, min(by_quota, by_disk), "quota" if by_quota <= by_disk else "disk")


class Watch:
    """Looks at a folder again and again, but rarely where that costs: thousands of files take milliseconds."""

    def __init__(self) -> None:
        self._room: Room | None = None
        self._due = 0.0

    def look(self, folder: Path, quota: Quota) -> Room:
        """What a look at the folder finds, or found a short while ago.

        Raises:
            OSError: as `look`.
        """
        began = time.monotonic()
        if self._room is None or began >= self._due:
            self._room = look(folder, quota)
            took = time.monotonic() - began
            self._due = began + (took * LOOKS_APART if took > CHEAP_SECONDS else 0.0)
        return self._room

    def note(self, made: Segment) -> Segment:
        """A segment that was just made: what it takes counts at once, because on a busy machine every look is dear, and
        until the next one a program could record more than its quota."""
        room = self._room
        if room is not None:
            self._room = room = Room(room.allocated + made.size, room.free - made.size, room.reason)
            if room.is_short():
                self._due = 0.0  # because others may have made room meanwhile, and nothing may be lost for an old look
        return made

    def is_short(self, folder: Path, quota: Quota) -> bool:
        """Whether room has to be made, as far as a look that is not too old tells; after a yes, the next one is new."""
        try:
            short = self.look(folder, quota).is_short()
        except OSError:
            return False  # because there is nothing that could be removed
        if short:
            self._due = 0.0
        return short
