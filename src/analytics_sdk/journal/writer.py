"""Appends records to this process's own journal: one copy into mapped memory, no lock, no system call.

Whatever costs time is done elsewhere: `maintain`, called by the shipper's thread, makes the next segment, watches the
quota, and checks that the journal is still ours. A forked child never touches its parent's files: its first append
opens a journal of its own.
"""

import mmap
import os
import shutil
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import JournalError
from analytics_sdk.events import NO_START, Kind
from analytics_sdk.guard import trouble
from analytics_sdk.journal.cleaning import clean_fields
from analytics_sdk.journal.owner import Identity, Loss, Losses, OwnerFile, private_folder, try_unlink
from analytics_sdk.journal.record import FIRST_FRAME, FRAME, FRAME_BYTES, SYNC
from analytics_sdk.journal.segment import Segment, bytes_of_segment

USUAL_BYTES = 2000
"""A frame up to this size is taken as it is; a larger one has its texts cut first."""
RETRY_SECONDS = 5.0
_MADV_WIPEONFORK = 18
_STARTS = (Kind.EXECUTION_START, Kind.STEP_START)
_SHED_NOTHING, _SHED_SAMPLES, _SHED_STARTS, _SHED_ALL = range(4)


def _fork_flag() -> mmap.mmap | None:
    """A page whose first byte is 1 here and 0 in a forked child; None where the kernel has no such thing."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (OSError, ValueError, AttributeError):
        return None
    page[0] = 1
    return page


def _read_word(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def new_identity(clock: Clock = SYSTEM_CLOCK) -> Identity:
    """Who this process is, with a fresh journal_id."""
    return Identity(
        journal_id=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at_ns=clock.time_ns(),
        machine_id=_read_word("/etc/machine-id"),
        boot_id=_read_word("/proc/sys/kernel/random/boot_id"),
    )


class JournalWriter:
    """This process's journal. `append` may be called from any thread, signal handler or finalizer."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_bytes: int = 2 << 30,
        min_free_bytes: int = 512 << 20,
        on_full: str = "drop",
    ) -> None:
        self.folder = folder
        self.on_rotate: Callable[[], None] | None = None
        """Called in the host's thread when a segment was taken into use; must only set a flag."""
        self.clock = clock
        self.max_bytes = max_bytes
        self.min_free_bytes = min_free_bytes
        self.on_full = on_full
        self.encode = msgspec.msgpack.Encoder().encode
        self._opening = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        """Have no journal. What the parent process had open is dropped without a touch."""
        self.identity: Identity | None = None
        self.counted = Losses()
        self._owner: OwnerFile | None = None
        self._spare: Segment | None = None
        self._shed = _SHED_NOTHING
        self._next_try = 0.0
        self._problem: str | None = None
        self._here = _fork_flag()
        self._pid = os.getpid()
        self._segment: Segment | None = None

    # ---------------------------------------------------------------- the hot path

    def append(self, kind: int, fields: tuple[Any, ...]) -> int:
        """Append one record; its position in the journal, or NO_START where it was lost and counted.

        Raises no Exception. What it returned from survives the death of the process.
        """
        try:
            payload = self.encode(fields)
            size = FRAME_BYTES + len(payload)
            segment = self._segment
            here = self._here
            if size > USUAL_BYTES or segment is None or here is None or not here[0] or self._shed:
                return self._append_slowly(kind, fields)
            frame = FRAME.pack(SYNC, kind, size - FRAME_BYTES, zlib.crc32(payload, segment.seeds[kind])) + payload
            # Between reading and storing `pos` there is no call and no backward jump: there the interpreter never
            # looks whether another thread or a signal wants to run, so that no two appends get the same room.
            position = segment.pos
            end = position + size
            if end <= segment.limit:
                segment.pos = end
                segment.map[position:end] = frame
                return segment.base + position
            return self._append_slowly(kind, fields)
        except Exception as problem:  # because nothing of ours may reach the host
            return self._append_cleaned(kind, fields, problem)

    def _append_cleaned(self, kind: int, fields: tuple[Any, ...], problem: Exception) -> int:
        """Try again with values that can be encoded: text made valid, the rest turned into text."""
        try:
            return self._append_slowly(kind, clean_fields(kind, fields))
        except Exception as second:  # because nothing of ours may reach the host
            trouble("append", "a record could not be kept: %s, then %s", problem, second, exc=second)
            self.counted.count(kind, "error", self.clock.time_ns())
            return NO_START

    def _append_slowly(self, kind: int, fields: tuple[Any, ...]) -> int:
        payload = self.encode(fields)
        if len(payload) > USUAL_BYTES - FRAME_BYTES:
            payload = self.encode(clean_fields(kind, fields))
        if self._forked():
            self._forget()
        if self._is_shed(kind):
            self.counted.count(kind, "quota", self.clock.time_ns())
            return NO_START
        size = FRAME_BYTES + len(payload)
        while True:
            segment = self._segment or self._open()
            if segment is None:
                self.counted.count(kind, "disk", self.clock.time_ns())
                return NO_START
            frame = FRAME.pack(SYNC, kind, len(payload), zlib.crc32(payload, segment.seeds[kind])) + payload
            position = segment.pos
            end = position + size
            if end <= segment.limit:  # no call from reading `pos` to the store, as in append()
                segment.pos = end
                segment.map[position:end] = frame
                return segment.base + position
            if not self._rotate(segment):
                self.counted.count(kind, "disk", self.clock.time_ns())
                return NO_START

    def _forked(self) -> bool:
        return os.getpid() != self._pid if self._here is None else not self._here[0]

    def _is_shed(self, kind: int) -> bool:
        """Whether the quota forbids this kind now; waits for room first where the user chose to."""
        if self._shed == _SHED_NOTHING:
            return False
        if self.on_full == "block":
            while self._shed == _SHED_ALL and not self._forked():
                if self.on_rotate is not None:
                    self.on_rotate()
                time.sleep(0.01)  # because the user chose waiting over losing
            return False
        return (
            kind == Kind.SAMPLE
            or (self._shed >= _SHED_STARTS and kind in _STARTS)
            or self._shed >= _SHED_ALL
        )

    # ---------------------------------------------------------------- segments

    def _open(self) -> Segment | None:
        """Open the journal with its first segment, or None where that cannot be done now."""
        with self._opening:
            if self._segment is not None:
                return self._segment
            if time.monotonic() < self._next_try:
                return None
            try:
                private_folder(self.folder)
                identity = new_identity(self.clock)
                owner = OwnerFile(self.folder, identity)
                segment = Segment(self.folder, identity.journal_id, 0, 0)
            except (OSError, JournalError) as problem:
                self._failed(problem)
                return None
            self.counted.move_to(owner.map)
            self.identity, self._owner, self._segment = identity, owner, segment
            self._problem = None
        if self.on_rotate is not None:
            self.on_rotate()
        return segment

    def _rotate(self, full: Segment) -> bool:
        """Take the next segment into use; False where none can be made."""
        with self._opening:
            if self._segment is not full:
                return True
            spare, self._spare = self._spare, None
            if spare is None:
                spare = self._make_segment(full)
            if spare is None:
                return False
            full.limit = 0  # because a thread that still holds it must not append behind what comes next
            self._segment = spare
        if self.on_rotate is not None:
            self.on_rotate()
        return True

    def _make_segment(self, after: Segment) -> Segment | None:
        if self.identity is None or time.monotonic() < self._next_try:
            return None
        try:
            return Segment(self.folder, self.identity.journal_id, after.n + 1, after.end)
        except OSError as problem:
            self._failed(problem)
            return None

    def _failed(self, problem: Exception) -> None:
        self._problem = str(problem)
        self._next_try = time.monotonic() + RETRY_SECONDS
        trouble("journal", "the journal in %s cannot be written, records are lost and counted: %s", self.folder, problem)

    # ---------------------------------------------------------------- upkeep, by the shipper's thread

    def maintain(self) -> None:
        """Make the next segment, keep to the quota, and check that the journal is still ours. Raises nothing."""
        try:
            if self._forked() or self._segment is None:
                return
            if self._owner is not None and not self._owner.still_ours():
                self._abandon()
                return
            self._shed = self._level()
            segment = self._segment
            if self._spare is None and self._shed < _SHED_ALL:
                spare = self._make_segment(segment)
                if spare is not None:
                    spare.prefault()
                    with self._opening:
                        if self._segment is segment and self._spare is None:
                            self._spare = spare
                        else:
                            try_unlink(spare.path)
        except Exception as problem:  # because upkeep must not end the thread that does it
            trouble("maintain", "upkeep of the journal failed: %s", problem, exc=problem)

    def _abandon(self) -> None:
        """Somebody took our files away, or our lock: what comes from now on goes into a new journal."""
        trouble("taken", "the journal in %s was taken away; going on with a new one", self.folder)
        with self._opening:
            if self._segment is not None:
                self._segment.limit = 0  # because a thread may still hold it
            self._segment = self._spare = None
            self._owner, self.counted = None, Losses()

    def _level(self) -> int:
        """What must be shed, by how full the quota and the disk are."""
        used = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    used += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue  # because it was removed meanwhile
        segment = self._segment
        coming = bytes_of_segment(segment.n + 1) if segment is not None else 0
        if used + coming > self.max_bytes or shutil.disk_usage(self.folder).free < self.min_free_bytes + coming:
            room_left = segment is not None and segment.pos + USUAL_BYTES < segment.limit
            return _SHED_STARTS if room_left and self.on_full != "block" else _SHED_ALL
        if used > 0.9 * self.max_bytes:
            return _SHED_STARTS
        if used > 0.75 * self.max_bytes:
            return _SHED_SAMPLES
        return _SHED_NOTHING

    # ---------------------------------------------------------------- what others ask

    @property
    def position(self) -> int:
        """The journal position behind the last record; 0 where nothing was recorded."""
        segment = self._segment
        return 0 if segment is None else segment.base + segment.pos

    def losses(self) -> list[Loss]:
        """What this journal has lost so far."""
        return self.counted.all()

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, or None."""
        return self._problem

    def is_empty(self) -> bool:
        """Whether nothing at all was recorded."""
        segment = self._segment
        return segment is None or (segment.n == 0 and segment.pos == FIRST_FRAME)

    def say_clean(self) -> None:
        """Note that the process ends in good order. Appends still work afterwards."""
        if self._owner is not None and not self._forked():
            self._owner.say_clean()

    def release(self) -> None:
        """Give the journal up: the files stay, and whoever comes may deliver them. Nothing is appended afterwards."""
        with self._opening:
            owner, segment, spare = self._owner, self._segment, self._spare
            self._owner = self._segment = self._spare = None
            self._next_try = float("inf")
            counted, self.counted = self.counted, Losses()
            self.counted.memory[:] = bytes(counted.memory[:])
        if segment is not None:
            segment.limit = 0  # because a thread may still hold it
        if spare is not None:
            try_unlink(spare.path)
        if owner is not None:
            owner.forget()
