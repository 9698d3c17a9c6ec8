"""Named instants at which a process kills itself with SIGKILL: the n-th time that it comes by.

Each replaces one function of the product or of the standard library by one that does the same up to that instant. Only
tests load this file.
"""

import mmap
import os
import signal
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy import event
from sqlalchemy.engine import Engine

import analytics_sdk.journal.owner as owner
import analytics_sdk.journal.reader as reader
import analytics_sdk.journal.segment as segment
from analytics_sdk.journal.record import FRAME, FRAME_BYTES, SYNC
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.delivery import Delivery
from analytics_sdk.sinks.sql import SqlSink


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


class _Countdown:
    """True the n-th time that it is asked."""

    def __init__(self, n: int) -> None:
        self.left = n

    def over(self) -> bool:
        self.left -= 1
        return self.left == 0


def _around(place: Any, name: str, *, before: bool) -> Callable[[int], None]:
    """Die before or after the n-th call of a function."""

    def arm(n: int) -> None:
        countdown, real = _Countdown(n), getattr(place, name)

        def fatal(*args: Any, **kwargs: Any) -> Any:
            now = countdown.over()
            if now and before:
                die()
            result = real(*args, **kwargs)
            if now:
                die()
            return result

        setattr(place, name, fatal)

    return arm


def _in_append(stored: Callable[[int], slice] | None) -> Callable[[int], None]:
    """Die within the n-th append: before it does anything, or when room was reserved and a part of the frame, told by
    its size, is in it."""

    def arm(n: int) -> None:
        countdown, make = _Countdown(n), JournalWriter._make_append
        kill, signal_number = os.kill, signal.SIGKILL

        def make_fatal(self: JournalWriter) -> Callable[[int, tuple[Any, ...]], int]:
            real = make(self)

            def append(kind: int, fields: tuple[Any, ...]) -> int:
                if not countdown.over():
                    return real(kind, fields)
                if stored is None:
                    die()
                payload = self.encode(fields)
                into = self._segment
                frame = FRAME.pack(SYNC, kind, len(payload), zlib.crc32(payload, into.salts[kind])) + payload
                size, part = len(frame), stored(len(frame))
                start, stop, content, pid = part.start, part.stop, frame[part], os.getpid()
                # As in the real one there is no call from here to the kill: else another thread could record behind.
                into.pos, limit = (position := into.pos) + size, into.limit
                if position + size <= limit:
                    into.map[position + start : position + stop] = content
                    kill(pid, signal_number)
                die()

            return append

        JournalWriter._make_append = make_fatal  # type: ignore[method-assign]  # because this is what a failpoint is

    return arm


def _at_event(name: str) -> Callable[[int], None]:
    """Die the n-th time that SQLAlchemy is about to do something."""

    def arm(n: int) -> None:
        countdown = _Countdown(n)

        def fatal(*_: Any) -> None:
            if countdown.over():
                die()

        event.listen(Engine, name, fatal)

    return arm


def _unlinked(*, before: bool) -> Callable[[int], None]:
    def arm(n: int) -> None:
        _around(owner, "try_unlink", before=before)(n)
        for module in (reader, segment):
            vars(module)["try_unlink"] = owner.try_unlink  # because they imported it by its name

    return arm


FAILPOINTS: dict[str, tuple[Callable[[int], None], int]] = {
    "before_encode": (_in_append(None), 900),
    "after_reserve": (_in_append(lambda size: slice(0, 0)), 900),
    "mid_frame": (_in_append(lambda size: slice(0, size // 2)), 900),
    "payload_without_head": (_in_append(lambda size: slice(FRAME_BYTES, size)), 900),
    "after_store": (_in_append(lambda size: slice(0, size)), 900),
    "before_first_segment": (_around(JournalWriter, "_open", before=True), 1),
    "after_first_segment": (_around(JournalWriter, "_open", before=False), 1),
    "before_rotation": (_around(JournalWriter, "_rotate", before=True), 2),
    "after_rotation": (_around(JournalWriter, "_rotate", before=False), 2),
    "after_create": (_around(os, "posix_fallocate", before=True), 3),
    "after_fallocate": (_around(os, "posix_fallocate", before=False), 3),
    "after_map": (_around(mmap, "mmap", before=False), 3),
    "before_rename": (_around(os, "rename", before=True), 1),
    "after_rename": (_around(os, "rename", before=False), 1),
    "after_begin": (_at_event("begin"), 4),
    "mid_batch": (_at_event("after_cursor_execute"), 40),
    "before_commit": (_at_event("commit"), 4),
    "after_commit_before_moving_on": (_around(Delivery, "_moved", before=True), 3),
    "before_fold": (_around(SqlSink, "fold", before=True), 1),
    "after_fold": (_around(SqlSink, "fold", before=False), 1),
    "before_judging": (_around(Delivery, "settle", before=True), 1),
    "after_judging": (_around(Delivery, "settle", before=False), 1),
    "before_unlink": (_unlinked(before=True), 1),
    "after_unlink": (_unlinked(before=False), 1),
}
"""Name -> (how to arm it, the n-th time that is usual)."""
