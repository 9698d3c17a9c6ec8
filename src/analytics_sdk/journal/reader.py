"""Reads journals: one's own while it is being written, and those of the dead, damaged or not.

Reads with `pread`, never by mapping, because a file that somebody truncates would kill a process that maps it. What a
journal holds is untrusted: lengths are capped by the format, and nothing here raises for what it finds there.
"""

import os
import stat
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from analytics_sdk.errors import JournalError
from analytics_sdk.guard import trouble
from analytics_sdk.journal.adoption import Adoption
from analytics_sdk.journal.gaps import gaps_in, page_with_gap, store_gaps
from analytics_sdk.journal.home import boot_id
from analytics_sdk.journal.listing import FILE_NAME
from analytics_sdk.journal.owner import (
    OWNER_MAGIC,
    Identity,
    Loss,
    identity_in,
    is_clean,
    losses_in,
    owner_path,
    page_with_found,
    read_page,
    store_found,
    try_lock,
    try_unlink,
)
from analytics_sdk.journal.problem import note_problem
from analytics_sdk.journal.record import (
    FIRST_FRAME,
    FRAME_BYTES,
    MAGIC,
    base_of_segment,
    bytes_of_segment,
    is_of_later_version,
    is_torn,
    resync,
    salts,
    segment_name,
    verifies,
    walk,
)
from analytics_sdk.journal.stretch import Stretch
from analytics_sdk.pace import ITEMS_A_LOOK, breathe

WINDOW_BYTES = 1 << 20
_LATER = -2
ORPHAN_SECONDS = 60.0
"""A journal whose owner file is gone counts as without owner when it has not changed for this long."""
SETTLED_NS = 100_000_000


class JournalReader:
    """Reads one journal. Not thread-safe.

    `listed`: its segments, where the folder was listed a short while ago; among thousands of files that takes long.
    """

    def __init__(self, folder: Path, journal_id: str, listed: Set[int] | None = None) -> None:
        self.folder = folder
        self.journal_id = journal_id
        page = read_page(owner_path(folder, journal_id))
        self.identity = (page and identity_in(page)) or Identity(journal_id, "", 0, 0)
        self._died_in_this_boot = self.identity.boot_id == boot_id() != ""
        self._fd = -1
        self._fd_n = -1
        self._is_later: bool | None = None  # of the open segment: written by a later version; None: not looked at yet
        self._listed = listed
        self._known: set[int] = set()
        self._known_at_ns = -1
        self._final: set[int] | None = None
        """The segments of a dead owner's journal that was adopted: they only become fewer, and by this reader alone."""

    def close(self) -> None:
        """Close the file that is open."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._fd_n = -1

    # ---------------------------------------------------------------- reading

    def read(self, position: int, *, final: bool, max_records: int = 10_000, max_bytes: int = 4 << 20) -> Stretch:
        """The records from `position` on, up to some limit.

        `final`: nobody writes any more. Otherwise reading stops at the first place of the newest segment where no
        record verifies: there one may be about to be written.

        Raises:
            JournalError: the disk refuses to read. Nothing is passed over for that.
        """
        stretch = Stretch(position, position)
        budget = max_bytes
        listed = self._segments()
        gaps = gaps_in(self._page())  # after the listing, because what is given up is noted before it is removed
        segments = {n for n in listed if not any(n in gap for gap in gaps)}
        # Because no record in a stretch means that there is none left: what is empty or damaged uses up no budget.
        while (segments or gaps) and (budget > 0 or not stretch.records) and len(stretch.records) < max_records:
            n = self._segment_of(stretch.new, segments)
            gap = next(
                (g for g in gaps if base_of_segment(g.behind) > stretch.new and (n is None or g.first < n)), None
            )
            if gap is not None:
                stretch.gaps.append((stretch.new, gap))
                stretch.new = base_of_segment(gap.behind) + FIRST_FRAME
                continue
            if n is None:
                break
            base = base_of_segment(n)
            if stretch.new < base + FIRST_FRAME:
                stretch.new = base + FIRST_FRAME
            passed = self._has_begun(n + 1, segments)
            before = stretch.new
            over = self._read_segment(stretch, n, base, max_records, done=final or passed, passed=passed)
            budget -= stretch.new - before
            if over and (n + 1 in segments or any(gap.first == n + 1 for gap in gaps)):
                stretch.new = base_of_segment(n + 1) + FIRST_FRAME
            elif over and any(other > n for other in segments):
                stretch.damages.append(stretch.new)
                stretch.new = base_of_segment(min(other for other in segments if other > n)) + FIRST_FRAME
            elif over or stretch.new == before:
                break
        return stretch

    def _read_segment(self, stretch: Stretch, n: int, base: int, max_records: int, *, done: bool, passed: bool) -> bool:
        """Read a window of one segment into the stretch; True when the segment has been read to its end.

        `done`: nothing more will be written here; `passed`: because the writer went on to a later segment. Both must
        have been found out before this reads.
        """
        offset = stretch.new - base
        size = self._open_segment(n)
        if size < 0:
            return done
        seeds = salts(self.journal_id, n)
        data = self._pread(WINDOW_BYTES, offset)
        at, wanted = 0, 0
        while len(stretch.records) == wanted or not wanted:
            breathe()
            wanted = min(max_records, len(stretch.records) + ITEMS_A_LOOK)
            at = walk(data, at, seeds, stretch.new, stretch.records, wanted)
            if wanted == max_records:
                break
        stretch.new += at
        if len(stretch.records) >= max_records:
            return False
        rest = size - (offset + at)
        if at > 0 and len(data) == WINDOW_BYTES and rest > 0:
            return False
        if not done:
            return False
        if rest <= 0:
            return True
        data = self._pread(rest, offset + at)
        if not data.strip(b"\0"):
            stretch.new = base + size
            return True
        found = resync(data, 0, seeds)
        if found < len(data) or passed or not self._died_in_this_boot or not is_torn(data):
            stretch.damages.append(stretch.new)  # also where there are zeros: the writer leaves none before a record
        stretch.new = base + offset + at + found
        return found >= len(data)

    def _segments(self) -> set[int]:
        if self._final is not None:
            return set(self._final)
        try:
            changed_at_ns = os.stat(self.folder).st_mtime_ns
            if changed_at_ns != self._known_at_ns:
                names = [name for name in os.listdir(self.folder) if name.startswith(self.journal_id)]
                self._known = {int(match[2]) for name in names if (match := FILE_NAME.fullmatch(name)) and match[2]}
                # not where it has just changed, because a change within the same tick of the clock would not show
                self._known_at_ns = changed_at_ns if time.time_ns() - changed_at_ns > SETTLED_NS else -1
        except OSError:
            return set()
        return set(self._known)

    def _remove_segment(self, n: int) -> bool:
        gone = try_unlink(self.folder / segment_name(self.journal_id, n))
        if gone and self._final is not None:
            self._final.discard(n)
        return gone

    def _is_as_listed(self) -> bool:
        """Whether the segments still are those that were listed. An owner makes them in the order of their numbers."""
        listed = self._listed
        if not listed:
            return False
        there = [(self.folder / segment_name(self.journal_id, n)).exists() for n in (*sorted(listed), max(listed) + 1)]
        return all(there[:-1]) and not there[-1]

    @staticmethod
    def _segment_of(position: int, segments: set[int]) -> int | None:
        """The segment that holds a position, or the next one after it."""
        behind = [n for n in segments if base_of_segment(n + 1) > position]
        return min(behind) if behind else None

    def _has_begun(self, n: int, segments: set[int]) -> bool:
        """Whether a later segment holds a record: then nothing is added to the ones before it."""
        later = sorted(other for other in segments if other >= n)
        for other in later:
            if self._open_segment(other) >= 0:
                data = self._pread(2 * FRAME_BYTES + 0xFFFF, FIRST_FRAME)
                if verifies(data, 0, salts(self.journal_id, other)):
                    return True
        return False

    def _open_segment(self, n: int) -> int:
        """Open segment n for reading, its size, or -1 where it is not there or not to be trusted."""
        if self._fd_n != n:
            self.close()
            try:
                fd = os.open(
                    self.folder / segment_name(self.journal_id, n),
                    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                )
            except OSError:
                return -1
            self._fd, self._fd_n, self._is_later = fd, n, None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return -1
        if self._is_later is None:
            with suppress(OSError):  # because reading its records says so too
                self._is_later = is_of_later_version(os.pread(self._fd, 8, 0), MAGIC)
        if self._is_later:
            return _LATER  # left for whoever can read it
        return min(found.st_size, bytes_of_segment(n))

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as problem:
            raise JournalError(f"journal {self.journal_id} cannot be read: {problem}") from None

    # ---------------------------------------------------------------- owner

    def losses(self, found: Sequence[tuple[int, int, str]] = (), at_ns: int = 0) -> list[Loss]:
        """What was lost in all, with (position, kind, reason) of what was found just now."""
        page = self._page()
        return losses_in(page_with_found(page, found, at_ns) if found else page)

    def _page(self) -> bytes:
        return read_page(owner_path(self.folder, self.journal_id)) or b""

    def keep_found(self, found: Sequence[tuple[int, int, str]], at_ns: int) -> None:
        """Keep in the journal what was found, so that nobody counts it again; after the sink has it."""
        page = self._page()
        if found and page:
            store_found(owner_path(self.folder, self.journal_id), page_with_found(page, found, at_ns))

    def ended_cleanly(self) -> bool:
        """Whether the owner said that its process ended in good order."""
        return is_clean(self._page())

    def is_foreign(self, here: Identity) -> bool:
        """Whether the journal was written on another machine, where a lock tells nothing about its owner."""
        return bool(self.identity.machine_id) and self.identity.machine_id != here.machine_id

    def adopt(self, here: Identity, *, adopt_foreign: bool = False) -> Adoption | None:
        """Take over a journal whose owner is dead; None where it lives, or where that cannot be known."""
        if self.is_foreign(here) and not adopt_foreign:
            return None
        if not self._understands():
            trouble(
                "version", "%s holds journals of a later version of analytics-sdk: they are left alone", self.folder
            )
            return None
        path = owner_path(self.folder, self.journal_id)
        if path.exists():
            fd = try_lock(path, adopting=True)
            if fd is None:
                return None
            self._final = set(self._listed or ()) if self._is_as_listed() else self._segments()
            return Adoption(fd)
        if time.time() - self._changed_at() < ORPHAN_SECONDS:
            return None
        return Adoption(-1)

    def is_dead(self, here: Identity) -> bool:
        """Whether the owner is dead, as far as that can be known here. Leaves no mark."""
        fd = None if self.is_foreign(here) else try_lock(owner_path(self.folder, self.journal_id), adopting=False)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def _understands(self) -> bool:
        """Whether none of the files has the format of a later version."""
        return not is_of_later_version(self._page(), OWNER_MAGIC) and all(
            self._open_segment(n) != _LATER for n in self._listed or self._segments()
        )

    def _changed_at(self) -> float:
        latest = 0.0
        for n in self._segments():
            try:
                latest = max(latest, os.stat(self.folder / segment_name(self.journal_id, n)).st_mtime)
            except OSError:
                continue  # because it was removed meanwhile
        return latest

    # ---------------------------------------------------------------- room

    def unread_bytes(self, position: int) -> int:
        """About how many bytes of records stand behind a position."""
        total = 0
        for n in self._segments() if self._listed is None else self._listed:
            base = base_of_segment(n)
            size = self._open_segment(n)
            start = max(FIRST_FRAME, position - base)
            if size <= start:  # not there, read already, or made by a process that was killed while it made it
                continue
            try:
                total += len(self._pread(size - start, start).rstrip(b"\0"))
            except JournalError:
                total += size - start
        return total

    def release_before(self, position: int) -> None:
        """Remove the segments that lie wholly before a position."""
        for n in self._segments():
            if base_of_segment(n + 1) <= position:
                self._remove_segment(n)

    def segments(self) -> list[int]:
        """The numbers of the segments that are there, in their order."""
        return sorted(self._segments())

    def give_up(self, n: int, counts: Mapping[int, int], first_at_ns: int, last_at_ns: int) -> bool:
        """Remove a segment that not every sink has, with `counts` of what is in it by kind; whether it is removed."""
        path = owner_path(self.folder, self.journal_id)
        page = self._page()
        if not any(n in gap for gap in gaps_in(page)):  # else somebody was killed who had noted it
            noted = page_with_gap(page, n, counts, first_at_ns, last_at_ns)
            if not page or noted is None or not store_gaps(path, noted):
                return False
        return self._remove_segment(n)

    def remove(self) -> None:
        """Remove all files of the journal; the owner file last, because it says whose they are."""
        self.close()
        for n in self._segments():
            self._remove_segment(n)
        note_problem(self.folder, self.journal_id, [], 0)
        try_unlink(owner_path(self.folder, self.journal_id))
