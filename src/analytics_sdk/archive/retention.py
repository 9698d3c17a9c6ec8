"""Over all databases of a program: hours are compacted, and rows older than `retention_days`, or than somebody says,
go to the archive."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from analytics_sdk.archive.archiver import Archived, Archiver
from analytics_sdk.archive.choosing import DAY_NS
from analytics_sdk.archive.compacting import Compacted, Compactor
from analytics_sdk.config import Settings
from analytics_sdk.errors import ArchiveError, SettingError
from analytics_sdk.query.window import to_ns
from analytics_sdk.sinks import describe, make_sink
from analytics_sdk.sinks.base import Sink
from analytics_sdk.sinks.sql import SqlSink

ARCHIVED_DIALECTS = ("sqlite", "postgresql")
"""ClickHouse keeps what is old in compressed columns already, and has no transaction for a file and a deletion."""


def cutoff_ns(settings: Settings, before: datetime | None, now_ns: int) -> int:
    """The instant before which rows go: `before`, or so many days ago, at the beginning of that UTC day where these
    are one or more, so that a day has one set of files.

    Raises:
        SettingError: neither is given.
    """
    if before is not None:
        return to_ns(before)
    if settings.retention_days is None:
        raise SettingError("nothing says how old rows must be to go: name a moment, or set retention_days")
    at_ns = now_ns - int(settings.retention_days * DAY_NS)
    return at_ns - at_ns % DAY_NS if settings.retention_days >= 1 else at_ns


def archive_sinks(
    settings: Settings,
    before: datetime | None = None,
    *,
    max_seconds: float | None = None,
    dry_run: bool = False,
    **how: Any,
) -> Archived:
    """Archive every database among the sinks; what was done, added up. `how` is for `Archiver`.

    Raises:
        SettingError: as `cutoff_ns`.
        ArchiveError: no sink is a database, or what the archive needs is missing.
    """
    before_ns = cutoff_ns(settings, before, settings.clock.time_ns())
    total = Archived(before_ns)
    archived_any = False
    for sink in own_sinks(settings):
        archived_any = True
        try:
            archiver = Archiver(sink, settings.archive_dir, clock=settings.clock, **how)
            total.add(archiver.run(before_ns, max_seconds=max_seconds, dry_run=dry_run))
        finally:
            sink.close()
    if not archived_any:
        shown = ", ".join(describe(sink) for sink in settings.sinks)
        raise ArchiveError(f"{shown} has no rows that could be archived; name a SQLite or PostgreSQL database as sink")
    return total


def compact_sinks(settings: Settings, **how: Any) -> Compacted:
    """Store the days and weeks that are due in every database among the sinks. `how` is for `Compactor`."""
    total = Compacted()
    for sink in own_sinks(settings):
        try:
            sink.open()
            total.add(Compactor(sink, clock=settings.clock, **how).run())
        finally:
            sink.close()
    return total


def own_sinks(settings: Settings) -> Iterator[SqlSink]:
    """A sink of our own for each database among the settings' sinks; whoever takes it closes it."""
    for given in settings.sinks:
        target = getattr(given, "inner", given)
        if isinstance(target, SqlSink):
            made: Any = SqlSink(target.engine, schema=target.tables.schema, table_prefix=target.tables.prefix or None)
        elif isinstance(target, Sink):
            continue
        else:
            made = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
        if isinstance(made, SqlSink) and made.engine.dialect.name in ARCHIVED_DIALECTS:
            yield made
