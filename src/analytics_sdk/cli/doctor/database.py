"""The sink: whether it can be reached, whose tables stand there, who holds it, and what its rows tell of clocks."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics_sdk.cli.doctor.finding import Finding, found_wrong
from analytics_sdk.cli.doctor.place import look_at_file, look_at_missing, look_at_room
from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.config import Settings, sqlite_file
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.reporting.words import Words
from analytics_sdk.sinks import describe, make_sink

if TYPE_CHECKING:
    from analytics_sdk.query import Query

LOCK_WAIT_SECONDS = 2.0
CLOCK_SLACK_NS = 60 * 10**9
WEEK_NS = 7 * 86_400 * 10**9
LOSS_ADVICE = {
    "quota": "deliver more often, or raise journal_max_bytes",
    "disk": "make room on the disk of the journals",
    "error": "set the logger analytics_sdk to DEBUG to see why",
    "damaged": "look at the disk of the journals: what stood there could not be read",
    "outage": "this database was away until the journals were full; your other sinks may have it",
    "rejected": "the database refused values; they stand in the journals' folder in *.rejected",
}


def look_at_sink(target: Any, settings: Settings) -> Iterator[Finding]:
    """Everything about one sink."""
    file = sqlite_file(target)
    if file is not None:
        wrong = look_at_file(file)
        if wrong is not None:
            yield wrong
            return
        yield from look_at_room(file.parent)
        if not file.exists():
            yield from look_at_missing(file)
            return
        held = look_at_lock(file)
        if held is not None:
            yield held
            return
    try:
        sink = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
        try:
            yield from _look_inside(target, sink)
        finally:
            sink.close()
    except AnalyticsError as problem:
        yield found_wrong("sink", problem)


def _look_inside(target: Any, sink: Any) -> Iterator[Finding]:
    from analytics_sdk.sinks.sql import SqlSink

    if not isinstance(sink, SqlSink):
        yield Finding("sink", True, f"{describe(target)}: {type(sink).__name__}")
        return
    from analytics_sdk.query import Query
    from analytics_sdk.sinks.schema import SCHEMA_VERSION

    query = Query(sink)
    query.check()
    yield Finding("sink", True, f"{describe(target)}, tables of version {SCHEMA_VERSION}")
    if query.first_started_at_ns(None) is None:
        yield Finding("sink", True, "no execution is in it yet", "run a program that is recorded, or wait for delivery")
        return
    yield from look_at_clock(query, SYSTEM_CLOCK.time_ns())
    yield from look_at_losses(query, SYSTEM_CLOCK.time_ns())


def look_at_clock(query: "Query", now_ns: int) -> Iterator[Finding]:
    """Rows in the future: the clock of the machine that wrote them is ahead, or ours is behind."""
    rows = query.executions(None, now_ns + CLOCK_SLACK_NS, now_ns + 100 * 52 * WEEK_NS, limit=1)
    for row in rows:
        ahead = Words().duration(row.started_at_ns - now_ns, terse=True)
        yield Finding(
            "clock",
            False,
            f"an execution on {row.host} started {ahead} in the future",
            "set the clocks right, there and here, and have them kept by NTP; such rows are in no window that ends now",
        )


def look_at_losses(query: "Query", now_ns: int) -> Iterator[Finding]:
    """What is known to be missing, of the last week."""
    for loss in query.losses(now_ns - WEEK_NS, now_ns + 1):
        yield Finding(
            "losses",
            False,
            f"{Words().count(loss.n)} records of kind {loss.kind} were lost ({loss.reason}), "
            f"the last on {Words().moment(loss.last_at_ns)}",
            LOSS_ADVICE.get(loss.reason, "their numbers are marked as incomplete"),
        )


def look_at_lock(file: Path) -> Finding | None:
    """Who keeps others from writing to a SQLite file for longer than a moment; None where nobody does."""
    try:
        uri = f"{file.as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as problem:
        if "locked" not in str(problem):
            return None  # because what else is wrong with it is told by those who read it
        holders = find_holders(file)
        who = f"by {', '.join(holders)}" if holders else "by a process that cannot be seen from here"
        return Finding("sink", False, f"{file} is locked {who}", "end its transaction or the process; delivery waits")
    except sqlite3.Error:
        return None
    return None


def find_holders(file: Path) -> list[str]:
    """`name (pid)` of the processes that hold a write lock on a SQLite file, as far as the system tells."""
    inodes = set()
    for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        try:
            inodes.add(os.stat(path).st_ino)
        except OSError:
            continue  # because only a database in WAL mode has these
    try:
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return []
    pids = set()
    for line in lines:
        words = line.replace("->", "").split()
        if len(words) >= 6 and words[3] == "WRITE" and int(words[5].rpartition(":")[2]) in inodes:
            pids.add(int(words[4]))
    return [_name_of(pid) for pid in sorted(pids - {os.getpid()}) if pid > 0]


def _name_of(pid: int) -> str:
    import psutil  # here, because only a lock asks for it

    try:
        return f"{psutil.Process(pid).name()} ({pid})"
    except psutil.Error:
        return f"process {pid}"
