"""Space that archived rows leave behind in a SQLite file, given back to the disk little by little.

On PostgreSQL this is what autovacuum is for: it makes the room usable again by new rows, and the files stay.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from analytics_sdk.sinks import sqlite
from analytics_sdk.sinks.sql import SqlSink

PAGES_A_TURN = 1_000
"""Moved in one go, while other writers wait."""
KEPT_SHARE = 0.05
"""Of the file, so much stays free within it, because new rows come every day."""
PAUSE_SECONDS = 0.1


class Space(NamedTuple):
    """What a SQLite file has free, and what was given back, in bytes."""

    freed_bytes: int = 0
    free_bytes: int = 0
    gives_back: bool = True
    """False for a file that was made without this ability: only VACUUM, which rewrites it, can make it smaller."""


def give_back(
    sink: SqlSink,
    gate: AbstractContextManager[object],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    pages: int = PAGES_A_TURN,
) -> Space:
    """Make the file smaller by what is free in it, but for a small rest. Does nothing on a server.

    Raises:
        SinkUnavailable, SinkMisconfigured: as the sink says.
    """
    if sink.engine.dialect.name != "sqlite":
        return Space()
    freed = 0
    while True:
        with gate, sink.driver() as driver:
            before = sqlite.pages_of(driver)
            spare = before.free - int(KEPT_SHARE * before.total)
            if before.mode != sqlite.INCREMENTAL or spare <= 0 or should_stop():
                return Space(freed, before.free * before.size, before.mode == sqlite.INCREMENTAL or not before.free)
            sqlite.give_back_pages(driver, min(pages, spare))
            after = sqlite.pages_of(driver)
        if after.total >= before.total:  # because a reader of an older moment still needs them
            return Space(freed, after.free * after.size)
        freed += (before.total - after.total) * before.size
        time.sleep(PAUSE_SECONDS)


def vacuum(sink: SqlSink) -> Space:
    """Rewrite a SQLite file without what is free in it; from then on it gives back by itself. Nobody else may write
    meanwhile, and as much room again is needed beside it.

    Raises:
        SinkUnavailable, SinkMisconfigured: as the sink says.
    """
    if sink.engine.dialect.name != "sqlite":
        return Space()
    with sink.driver() as driver:
        before = sqlite.pages_of(driver)
        driver.execute("VACUUM")
        after = sqlite.pages_of(driver)
    return Space(max(0, before.total - after.total) * before.size, after.free * after.size)
