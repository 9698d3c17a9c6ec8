"""Appends records to this process's own journal: one copy into mapped memory, no lock, no system call.

Whatever costs time is done elsewhere: `maintain`, called by the shipper's thread, makes the next segment, watches the
quota, and checks that the journal is still ours. A forked child never touches its parent's files: its first append
opens a journal of its own.
"""

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import JournalError
from analytics_sdk.guard import trouble
from analytics_sdk.journal.cleaning import encode_cleaned
from analytics_sdk.journal.home import ProcessLock, fork_flag, new_identity
from analytics_sdk.journal.owner import Identity, Loss, Losses, OwnerFile, private_folder, try_unlink
from analytics_sdk.journal.quota import MIN_FREE_BYTES, Quota, Room, Watch, look, size_of_segment
from analytics_sdk.journal.record import (
    FIRST_FRAME,
    FIRST_SEGMENT_BYTES,
    FRAME,
    FRAME_BYTES,
    SYNC,
    base_of_segment,
    segment_name,
)
from analytics_sdk.journal.segment import NO_SEGMENT, Segment
from analytics_sdk.vocabulary import NO_START, Kind

USUAL_BYTES = 2000
"""A frame up to this size is taken as it is; a larger one has its texts cut first."""
RETRY_SECONDS = 1.0
WAIT_SECONDS = 0.01

_kept: list[object] = []
"""Maps that must not be closed: closing one closes a descriptor by its number, which may be the host's by now."""


class JournalWriter:
    """This process's journal. `append` may be called from any thread, signal handler or finalizer."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_bytes: int = 2 << 30,
        min_free_bytes: int = MIN_FREE_BYTES,
        on_full: Literal["drop", "block"] = "drop",
    ) -> None:
        self.folder = folder
        self.on_rotate: Callable[[], None] | None = None  # in the host's thread, at a new segment; must only set a flag
        self.on_fork: Callable[[int], bool] | None = None  # told a child's first kind; False: not to be kept here
        self.clock = clock
        self.quota = Quota(max_bytes, min_free_bytes)
        self.watch = Watch()
        self.on_full = on_full
        self.encode = msgspec.msgpack.Encoder().encode
        self.append = self._make_append()
        self._lock = ProcessLock().here
        self._last_n = -1  # of all journals of this process and of those it was forked from
        self._ended_cleanly = False
        self._forget()

    def _forget(self) -> None:
        """Have no journal. What is behind is left as it is; the next append opens a new one."""
        self.identity: Identity | None = None
        self.counted = Losses()
        self._owner: OwnerFile | None = None
        self._spare: Segment | None = None
        self._shed: frozenset[Kind] = frozenset()
        self._reason = "disk"
        self._next_try = 0.0
        self.problem: str | None = None  # why nothing can be written now
        self._pid = os.getpid()
        self._segment = NO_SEGMENT
        self._here = fork_flag()  # last, because until then other threads of a forked child must come this way too

    # ---------------------------------------------------------------- the hot path

    def _make_append(self) -> Callable[[int, tuple[Any, ...]], int]:
        """`append`: keeps one record, and gives its position in the journal, or NO_START where it was lost and counted.

        Raises no Exception. What it returned from survives the death of the process. A closure, to be faster."""
        encode, pack, crc32, slowly = self.encode, FRAME.pack, zlib.crc32, self._append_slowly

        def append(kind: int, fields: tuple[Any, ...]) -> int:
            try:
                payload = encode(fields)
                segment = self._segment
                size = FRAME_BYTES + len(payload)
                # A kind that is being shed has no seed here, which is an error that ends in _append_slowly.
                frame = pack(SYNC, kind, size - FRAME_BYTES, crc32(payload, segment.seeds[kind])) + payload
                if size <= USUAL_BYTES and self._here[0]:
                    # From the look at the flag to the store there is no call and no backward jump: there no other
                    # thread or signal runs, so there is never a gap before a later record, and nobody forks in
                    # between. Room is taken in one line, because a trace function may record.
                    segment.pos, limit = (position := segment.pos) + size, segment.limit
                    if position + size <= limit:
                        segment.map[position : position + size] = frame
                        return segment.base + position
                    if segment.pos == position + size:  # else others took room behind it too: all is behind the limit
                        segment.pos = position
            except Exception:  # because nothing of ours may reach the host, and what cannot be encoded can be cleaned
                pass
            return slowly(kind, fields)

        return append

    def _append_slowly(self, kind: int, fields: tuple[Any, ...]) -> int:
        """Append what is unusual: the first record, one that does not fit, one to be cleaned, shed or lost."""
        reason = "error"
        try:
            if self._leave_parent() and self.on_fork and not self.on_fork(kind):
                return NO_START
            payload = encode_cleaned(self.encode, kind, fields, USUAL_BYTES - FRAME_BYTES)
            size = FRAME_BYTES + len(payload)
            while True:
                segment = self._segment_for(kind, size)
                if segment is None:
                    reason = self._reason
                    break
                frame = FRAME.pack(SYNC, kind, len(payload), zlib.crc32(payload, segment.salts[kind])) + payload
                segment.pos, limit = (position := segment.pos) + size, segment.limit  # as in append()
                if position + size <= limit:
                    segment.map[position : position + size] = frame
                    return segment.base + position
                if segment.pos == position + size:
                    segment.pos = position
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("append", "a record could not be kept: %s", type(problem).__name__, exc=problem)
        try:
            with self._lock():
                self.counted.count(kind, reason, self.clock.time_ns())
        except Exception as problem:  # as above
            trouble("append", "a loss could not be counted: %s", type(problem).__name__, exc=problem)
        return NO_START

    # ---------------------------------------------------------------- segments

    def _forked(self) -> bool:
        # whether this is a child that was forked since; to be asked under the lock
        return self._pid != os.getpid()

    def _segment_for(self, kind: int, size: int) -> Segment | None:
        """A segment that has room for a frame, opened or rotated to where needed; None where the record is lost."""
        while True:
            with self._lock():
                if kind in self._shed:
                    return None
                before = found = self._segment
                if before.pos + size > before.limit:
                    found = self._open() if before is NO_SEGMENT else self._rotate(before)
            if found is not NO_SEGMENT:
                if found is not before:
                    self._ring()
                return found
            if self.on_full != "block" or self._ended_cleanly:
                return None
            time.sleep(WAIT_SECONDS)  # because the user chose to wait for room rather than to lose something
            self._ring()
            self.maintain()

    def _leave_parent(self) -> bool:
        """In a forked child, leave the parent's journal; whether that was now."""
        with self._lock():
            if not self._forked():
                return False
            if self._owner is not None:
                self._owner.give_up_lock()  # because the parent's death must show while this child lives on
            _kept.append((self._segment, self._spare, self._owner))
            self._forget()
            return True

    def _open(self) -> Segment:
        """Open the journal with its first segment, or NO_SEGMENT where that cannot be done now."""
        n = self._last_n + 1
        if time.monotonic() < self._next_try:
            return NO_SEGMENT
        owner = None
        try:
            private_folder(self.folder)
            size = self._size_of(n, look(self.folder, self.quota))
            if not size:
                return NO_SEGMENT
            identity = new_identity(self.clock, base_of_segment(n))
            owner = OwnerFile(self.folder, identity)
            segment = Segment(self.folder, identity.journal_id, n, size)
        except (OSError, JournalError) as problem:
            if owner is not None:
                owner.discard()
            self._failed(problem)
            return NO_SEGMENT
        if self._segment is not NO_SEGMENT:  # because a signal handler that recorded something has opened one
            try_unlink(segment.path)
            owner.discard()
            return self._segment
        self.counted.move_to(owner.map)
        if self._ended_cleanly:
            owner.say_clean()
        self.identity, self._owner, self.problem = identity, owner, None
        self._last_n, self._segment = n, segment
        return segment

    def _rotate(self, full: Segment) -> Segment:
        """Take the next segment into use; NO_SEGMENT where none can be made now."""
        fresh, self._spare = self._spare, None
        if fresh is None:
            fresh = self._make_segment()
        if fresh is None:
            return NO_SEGMENT
        fresh.shed(self._shed)
        if self._segment is full:  # else a signal handler was faster, and what was made stays empty
            full.limit = 0  # because a thread that still holds it must not append behind what comes next
            self._segment = fresh
            if self._owner is None or not self._owner.holds_lock():
                _kept.append(full)
        return self._segment

    def _make_segment(self, room: Room | None = None) -> Segment | None:
        if self.identity is None or self._owner is None or time.monotonic() < self._next_try:
            return None
        n = -1
        try:
            size = self._size_of(self._last_n + 1, room or look(self.folder, self.quota))
            if not size:
                return None
            self._last_n = n = self._last_n + 1  # in one line, because a signal handler that records takes one too
            return self.watch.note(Segment(self.folder, self.identity.journal_id, n, size))
        except BaseException as problem:  # an interrupt too, because a number that nobody used looks like a loss
            if self._last_n == n and not (self.folder / segment_name(self.identity.journal_id, n)).exists():
                self._last_n = n - 1
            if not isinstance(problem, OSError):
                raise
            self._failed(problem)
            return None

    def _size_of(self, n: int, room: Room) -> int:
        """How large segment n may be, 0 where there is no room for it: then nobody tries again for a while."""
        self._reason = room.reason
        if size := size_of_segment(n, self.quota, room):
            return size
        self._next_try = time.monotonic() + RETRY_SECONDS
        self.problem = f"the journals in {self.folder} are at their {room.reason} limit"
        trouble("full", "%s: records are lost, and counted", self.problem)
        return 0

    def _failed(self, problem: Exception) -> None:
        self._reason = "disk"
        self.problem = str(problem)
        self._next_try = time.monotonic() + RETRY_SECONDS
        said = "the journal in %s cannot be written, records are lost and counted: %s"
        trouble("journal", said, self.folder, problem)

    def _ring(self) -> None:
        try:
            if self.on_rotate is not None:
                self.on_rotate()
        except Exception as problem:  # because a record that is kept must not turn into one that is lost
            trouble("ring", "the shipper could not be woken: %s", problem, exc=problem)

    # ---------------------------------------------------------------- upkeep, by the shipper's thread

    def maintain(self) -> None:
        """Make the next segment, keep to the quota, and check that the journal is still ours. Raises nothing."""
        try:
            with self._lock():
                self._next_try = 0.0
                if self._forked() or self._owner is None:
                    return
                if not self._owner.still_ours():
                    self._abandon()
                    return
                self.counted.count_unkept(self.clock.time_ns())
                segment = self._segment
                room = self.watch.look(self.folder, self.quota)
                if self._spare is None and segment.is_busy(self.identity):
                    spare = self._make_segment(room) if size_of_segment(self._last_n + 1, self.quota, room) else None
                    if self._segment is segment:  # else a finalizer's record was faster, and this one stays empty
                        self._spare = spare
                self._keep_to(room)
                tended = [one for one in (self._segment, self._spare) if one is not None and one is not NO_SEGMENT]
            for one in tended:
                one.tend()
        except Exception as problem:  # because upkeep must not end the thread that does it
            trouble("maintain", "upkeep of the journal failed: %s", problem, exc=problem)

    def _keep_to(self, room: Room) -> None:
        idle = self._segment.limit - self._segment.pos + (self._spare.size if self._spare else 0)
        coming = 0 if self._spare else FIRST_SEGMENT_BYTES
        self._shed = frozenset() if self.on_full == "block" else room.shed(idle, coming)
        self._reason = room.reason
        self._segment.shed(self._shed)

    def _abandon(self) -> None:
        """Somebody took our files away, or our lock: what comes from now on goes into a new journal."""
        trouble("taken", "the journal in %s was taken away; going on with a new one", self.folder)
        self._segment.limit = 0  # because a thread may still hold it
        _kept.append((self._segment, self._spare, self._owner))
        self._forget()

    # ---------------------------------------------------------------- what others ask

    @property
    def position(self) -> int:
        """The journal position behind the last record; 0 where nothing was recorded."""
        segment = self._segment
        return segment.base + segment.pos

    def losses(self) -> list[Loss]:
        """What this journal has lost so far."""
        return self.counted.all()

    def is_empty(self) -> bool:
        """Whether nothing at all was recorded."""
        identity = self.identity
        return identity is None or self.position == identity.origin + FIRST_FRAME

    def say_clean(self) -> None:
        """Note that the process ends in good order. Appends still work afterwards, and never wait for room."""
        with self._lock():
            self._ended_cleanly = True
            self.counted.count_unkept(self.clock.time_ns())
            if self._owner is not None and not self._forked():
                self._owner.say_clean()

    def release(self) -> None:
        """Give the journal up: the files stay, and whoever comes may deliver them. A later append opens a new one."""
        with self._lock():
            if self._forked():
                return
            owner, segment, spare, identity = self._owner, self._segment, self._spare, self.identity
            ours = owner is not None and owner.holds_lock()
            if segment is not NO_SEGMENT:
                segment.limit = 0  # because a thread may still hold it
            self._forget()
            self.identity = identity  # because whoever delivers the rest asks whose it was
        if not ours:
            _kept.append((segment, spare, owner))
        if spare is not None:
            try_unlink(spare.path)
        if owner is not None:
            owner.give_up_lock()
