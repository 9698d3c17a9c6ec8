"""The owner file of a journal: whose it is, whether they live, and what was lost.

    0     magic          8 bytes  b"ANLYOWN1"
    8     length         u32      bytes of the identity
    12    crc            u32      crc32 of the identity
    16    identity       JSON of sinks.JournalIdentity's fields
    1024  clean          u8       1: the process ended in good order
    1025  adopted        u8       1: somebody took the lock, and may have judged the owner dead
    1088  gaps           segments that were given up before every sink had them: see gaps
    2048  loss counters  one for each kind and reason: n u64, first_at_ns u64, last_at_ns u64; by the owner
    3072  found damaged or refused, by shippers: for each kind and these two reasons n u64, first_at_ns u64,
          last_at_ns u64, counted_to u64: what lies before this position has been counted, and is not counted again

The lock on the file is held for the life of the process, on a descriptor of its own, because the descriptor of a
memory map may be inherited and outlive it. Whoever can take that lock knows that the owner is dead.
"""

import fcntl
import mmap
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from analytics_sdk.errors import JournalError
from analytics_sdk.guard import unkept
from analytics_sdk.vocabulary import LOSS_REASONS, Kind

OWNER_MAGIC = b"ANLYOWN1"
SIZE = 4096
_CLEAN_AT = 1024
_ADOPTED_AT = 1025
_LOSSES_AT = 2048
_LOSS = struct.Struct("<QQQ")
_FOUND_AT = 3072
_FOUND = struct.Struct("<QQQQ")
_FOUND_REASONS = ("damaged", "rejected")
_MAPPING: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
COUNTED_KINDS = (
    "execution_start",
    "execution_end",
    "step_start",
    "step_end",
    "recovery",
    "sample",
    "unknown",
    "verdict",
)
"""The words of the counters in their order. What has a place keeps it, because files of older versions are read too."""
_ROWS = {int(kind): COUNTED_KINDS.index(kind.name.lower()) for kind in Kind}
_UNKNOWN = COUNTED_KINDS.index("unknown")


def counted_row(kind: int) -> int:
    """Where in COUNTED_KINDS a kind is counted; one that is not known is "unknown"."""
    return _ROWS.get(kind, _UNKNOWN)


class Identity(msgspec.Struct, frozen=True):
    """Who writes a journal."""

    journal_id: str
    host: str
    pid: int
    started_at_ns: int
    machine_id: str = ""
    boot_id: str = ""
    origin: int = 0
    """The journal's first position: what began before stands in another journal."""


class Loss(msgspec.Struct, frozen=True):
    """How many records of one kind were lost for one reason, in the life of a journal."""

    kind: str
    reason: str
    n: int
    first_at_ns: int
    last_at_ns: int


class Losses:
    """Counters of what was lost, in `memory`: a page of the owner file, or plain memory before there is one."""

    def __init__(self) -> None:
        self.memory: bytearray | mmap.mmap = bytearray(SIZE)

    def count(self, kind: int, reason: str, at_ns: int, n: int = 1) -> None:
        """Count records lost now. A kind that is not known counts as "unknown"."""
        at = self._slot(kind, reason)
        seen, first, _ = _LOSS.unpack_from(self.memory, at)
        # one slice, because a killed process must not leave half of it
        self.memory[at : at + _LOSS.size] = _LOSS.pack(seen + n, first or at_ns, at_ns)

    def count_unkept(self, at_ns: int) -> None:
        """Count what could not even be given to the journal."""
        for kind, n in enumerate(unkept):
            if n:
                unkept[kind] -= n
                self.count(kind, "error", at_ns, n)

    def move_to(self, memory: mmap.mmap) -> None:
        """Go on counting in a file, with what was counted so far."""
        counted, self.memory = self.memory, memory
        for at in range(_LOSSES_AT, _LOSSES_AT + len(COUNTED_KINDS) * len(LOSS_REASONS) * _LOSS.size, _LOSS.size):
            seen, first, last = _LOSS.unpack_from(counted, at)
            if seen:
                have, have_first, have_last = _LOSS.unpack_from(memory, at)
                memory[at : at + _LOSS.size] = _LOSS.pack(have + seen, have_first or first, max(have_last, last))

    def all(self) -> list[Loss]:
        """Every counter that is not zero."""
        return losses_in(bytes(self.memory[:SIZE]))

    @staticmethod
    def _slot(kind: int, reason: str) -> int:
        return _LOSSES_AT + (counted_row(kind) * len(LOSS_REASONS) + LOSS_REASONS.index(reason)) * _LOSS.size


def losses_in(page: bytes) -> list[Loss]:
    """The loss counters of an owner file's content."""
    found = []
    for row, kind in enumerate(COUNTED_KINDS):
        for column, reason in enumerate(LOSS_REASONS):
            at = _LOSSES_AT + (row * len(LOSS_REASONS) + column) * _LOSS.size
            if at + _LOSS.size <= len(page):
                n, first, last = _LOSS.unpack_from(page, at)
                if n:
                    found.append(Loss(kind, reason, n, first, last))
    for row, kind in enumerate(COUNTED_KINDS):
        for reason in _FOUND_REASONS:
            at = _found_slot(row, reason)
            if at + _FOUND.size <= len(page):
                n, first, last, _ = _FOUND.unpack_from(page, at)
                if n:
                    found.append(Loss(kind, reason, n, first, last))
    return found


def page_with_found(page: bytes, found: Iterable[tuple[int, int, str]], at_ns: int) -> bytes:
    """An owner file's content with (position, kind, reason) counted that shippers found, each position only once."""
    after = bytearray(page.ljust(SIZE, b"\0"))
    for position, kind, reason in sorted(found):
        at = _found_slot(counted_row(kind), reason)
        n, first, _, counted_to = _FOUND.unpack_from(after, at)
        if position >= counted_to:
            _FOUND.pack_into(after, at, n + 1, first or at_ns, at_ns, position + 1)
    return bytes(after)


def losses_found(found: Iterable[tuple[int, int, str]], at_ns: int) -> list[Loss]:
    """What was found, counted by kind and reason, apart from what had been found before."""
    return losses_in(page_with_found(b"", found, at_ns))


def store_found(path: Path, page: bytes) -> None:
    """Keep what shippers found in the owner file; what its owner counts is not touched."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.pwrite(fd, page[_FOUND_AT:SIZE], _FOUND_AT)
    except OSError:
        pass  # because the sink has these totals already, and the file goes when the journal is delivered
    finally:
        os.close(fd)


def _found_slot(row: int, reason: str) -> int:
    return _FOUND_AT + (row * len(_FOUND_REASONS) + _FOUND_REASONS.index(reason)) * _FOUND.size


def identity_in(page: bytes) -> Identity | None:
    """Who an owner file's content says the owner is, or None where it is damaged or none of ours."""
    if page[:8] != OWNER_MAGIC:
        return None
    length, crc = struct.unpack_from("<II", page, 8)
    body = page[16 : 16 + length]
    if length > _CLEAN_AT - 16 or zlib.crc32(body) != crc:
        return None
    try:
        return msgspec.json.decode(body, type=Identity)
    except (msgspec.DecodeError, RecursionError):
        return None


def is_clean(page: bytes) -> bool:
    """Whether the owner said that it ended in good order."""
    return len(page) > _CLEAN_AT and page[_CLEAN_AT] == 1


def owner_path(folder: Path, journal_id: str) -> Path:
    """Where the owner file of a journal stands."""
    return folder / f"{journal_id}.owner"


class OwnerFile:
    """The owner file of this process's own journal: made, mapped, locked."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        """Make it.

        Raises:
            OSError: no room, no permission, no descriptors. Nothing is left behind.
        """
        self.path = owner_path(folder, identity.journal_id)
        making = self.path.with_suffix(".owner.tmp")
        fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.lock_fd = -1
        try:
            os.fchmod(fd, 0o600)  # because the umask may have taken more than it should
            os.posix_fallocate(fd, 0, SIZE)
            body = msgspec.json.encode(identity)
            os.pwrite(fd, OWNER_MAGIC + struct.pack("<II", len(body), zlib.crc32(body)) + body, 0)
            self.map = mmap.mmap(fd, SIZE, **_MAPPING)
            self.lock_fd = os.open(making, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(making, self.path)
            self.inode = os.fstat(self.lock_fd).st_ino
        except BaseException:
            if self.lock_fd >= 0:
                os.close(self.lock_fd)
            try_unlink(making)
            raise
        finally:
            os.close(fd)

    def say_clean(self) -> None:
        """Note that the process ends in good order."""
        self.map[_CLEAN_AT : _CLEAN_AT + 1] = b"\x01"

    def still_ours(self) -> bool:
        """Whether the file still stands where it was made, and our lock on it holds or could be taken again."""
        try:
            if os.stat(self.path).st_ino != self.inode:
                return False
        except OSError:
            return False
        return self.holds_lock() or self._lock_again()

    def holds_lock(self) -> bool:
        """Whether the descriptor of our lock is still ours: a process that turns into a daemon closes all it finds."""
        try:
            return os.fstat(self.lock_fd).st_ino == self.inode
        except OSError:
            return False

    def _lock_again(self) -> bool:
        """Take the lock again, unless somebody had it in between and may have judged us dead."""
        self.lock_fd = -1
        fd = try_lock(self.path, adopting=False)
        if fd is None:
            return False
        if self.map[_ADOPTED_AT]:
            os.close(fd)
            return False
        self.lock_fd = fd
        return True

    def discard(self) -> None:
        """Remove the file: nothing was ever recorded under it."""
        self.give_up_lock()
        try_unlink(self.path)

    def give_up_lock(self) -> None:
        """Close the descriptor of our lock, where it is still ours: its number may stand for another file by now."""
        if self.lock_fd >= 0 and self.holds_lock():
            os.close(self.lock_fd)
        self.lock_fd = -1


def read_page(path: Path) -> bytes | None:
    """The content of an owner file of this user's, or None where it cannot be read or trusted."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return None
        return os.pread(fd, SIZE, 0)
    except OSError:
        return None
    finally:
        os.close(fd)


def try_lock(path: Path, *, adopting: bool) -> int | None:
    """Take the owner's lock where the owner is dead; the descriptor that holds it, else None.

    `adopting` leaves a mark, by which an owner who only lost its lock knows that it is judged dead.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(fd).st_ino:
            if adopting:
                os.pwrite(fd, b"\x01", _ADOPTED_AT)
            return fd
    except OSError:
        pass  # because somebody holds it, or has just removed the file
    os.close(fd)
    return None


def try_unlink(path: Path) -> bool:
    """Remove a file; whether it is gone now."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def private_folder(folder: Path) -> None:
    """Make the folder, for this user alone.

    Raises:
        JournalError: it is not a folder, belongs to somebody else, or others may write into it.
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
    except FileExistsError:
        pass
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise JournalError(f"{folder} is not a folder; set journal_dir to another place")
    if found.st_uid != os.geteuid():
        raise JournalError(f"{folder} belongs to another user; set journal_dir to a place of your own")
    if found.st_mode & 0o022:
        raise JournalError(f"others may write into {folder}; run chmod 700 on it, or set journal_dir to another place")
