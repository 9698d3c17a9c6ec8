"""Copies one SQL store into another, journal by journal: may be stopped at any moment and begun again.

Rows go in blocks of so many. A block is read from both stores and compared by its checksum; where they differ, the
target's rows of that stretch are replaced by the source's and compared again. So a second run copies only what is
missing or has changed meanwhile, and what it reports has been verified.

The last transaction of a journal brings its rollups, its losses and its positions. Until then the target says that it
has nothing of that journal, so statistics read its rows one by one and are right at any moment; from then on delivery
may go on into the target where it stopped in the source.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, delete, func, select, update

from analytics_sdk.errors import SinkMisconfigured
from analytics_sdk.query.sql_reader import SqlReader
from analytics_sdk.sinks import describe
from analytics_sdk.sinks.base import JournalIdentity
from analytics_sdk.sinks.levels import forget_sums
from analytics_sdk.sinks.manifest import count_files
from analytics_sdk.sinks.schema import Tables
from analytics_sdk.sinks.sql import SqlSink

BLOCK_ROWS = 20_000

OnProgress = Callable[[int, int], None]
"""Called with (rows compared so far, rows in all), of all tables together."""


@dataclass(slots=True)
class TableCopy:
    """What was done to one table."""

    rows: int = 0
    """Rows in the source; as many, with the same content, stand in the target now."""
    copied: int = 0
    """Of these, those in blocks that were missing or different."""
    checksum: str = ""
    """blake2b of all rows in the order of their journals and positions: the same for the same content."""


@dataclass(slots=True)
class Copy:
    """What a run did."""

    journals: int = 0
    tables: dict[str, TableCopy] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)
    """Journals that were delivered to the target after an earlier copy: left as they are there."""


def copy_store(source: SqlSink, target: SqlSink, on_progress: OnProgress | None = None) -> Copy:
    """Bring everything that `source` holds into `target`, whose tables are made where they are missing.

    The target may hold other journals, which are not touched. Delivery into the source may go on meanwhile: what comes
    later is copied by the next run.

    Raises:
        SinkMisconfigured: one of them has an archive.
        SinkUnavailable, SinkMisconfigured: what was copied so far stays, and the next run goes on from there.
    """
    if source.engine.url == target.engine.url and source.tables.schema == target.tables.schema:
        raise SinkMisconfigured("source and target are the same database: name two")
    target.upgrade()
    target.open()
    _refuse_archived(source, target)
    done = Copy()
    pairs = list(zip(keyed_tables(source.tables), keyed_tables(target.tables), strict=True))
    with SqlReader(source.engine, source.tables).reading() as reading:
        total = {table.name: count_rows(reading, table) for table, _ in pairs}
        digests = {name: hashlib.blake2b(digest_size=16) for name in total}
        done.tables = {name: TableCopy() for name in total}
        for journal in reading.execute(select(source.tables.journal_positions).order_by("source")).all():
            copying = _JournalCopy(source, target, reading, journal)
            if copying.is_ahead:
                done.ahead.append(journal.journal_id)
                continue
            for table, into in pairs:
                counts = done.tables[table.name]
                for rows, copied in copying.copy_rows(table, into):
                    digests[table.name].update(msgspec.msgpack.encode([tuple(row)[1:] for row in rows]))
                    counts.rows += len(rows)
                    counts.copied += copied
                    if on_progress is not None:
                        on_progress(sum(counts.rows for counts in done.tables.values()), sum(total.values()))
            copying.finish()
            done.journals += 1
    for name, digest in digests.items():
        done.tables[name].checksum = digest.hexdigest()
    return done


def _refuse_archived(*sinks: SqlSink) -> None:
    """Raises:
    SinkMisconfigured: rows of a store are in an archive, whose files know journals by the numbers of that store.
    """
    for sink in sinks:
        with SqlReader(sink.engine, sink.tables).reading() as connection:
            n = count_files(connection, sink.tables)
        if n:
            raise SinkMisconfigured(
                f"{describe(sink.engine)} has rows in {n} archive files, which cannot be copied; "
                "keep that database beside its archive, and begin a new one with new journals"
            )


def keyed_tables(tables: Tables) -> tuple[Table, ...]:
    """The tables whose rows are keyed by (source, seq)."""
    return tables.executions, tables.steps, tables.recoveries, tables.resource_samples


def count_rows(connection: Connection, table: Table) -> int:
    """The rows of a table."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


class _JournalCopy:
    """One journal on its way. `journal` is its row of the source's positions."""

    def __init__(self, source: SqlSink, target: SqlSink, reading: Connection, journal: Row[Any]) -> None:
        self._source, self._target, self._reading, self._journal = source, target, reading, journal
        identity = JournalIdentity(*(getattr(journal, name) for name in JournalIdentity.__struct_fields__))
        self._known = target.position(identity)
        self._into = target.source_of(identity)
        here = (journal.position, journal.rollup_position)
        self.is_ahead = self._known.rows > here[0] or self._known.rollups > here[1]

    def copy_rows(self, table: Table, into: Table) -> Iterator[tuple[Sequence[Row[Any]], int]]:
        """Compare and mend the target block by block; each block's rows in the source, and how many were copied."""
        after, rows = -(1 << 63), self._block(table, -(1 << 63))
        while True:
            last = rows[-1].seq if len(rows) == BLOCK_ROWS else (1 << 63) - 1
            copied = self._mend(into, rows, after, last)
            if rows:
                yield rows, copied
            if len(rows) < BLOCK_ROWS:
                return
            after, rows = last, self._block(table, last)

    def _block(self, table: Table, after: int) -> Sequence[Row[Any]]:
        asked = select(table).where(table.c.source == self._journal.source, table.c.seq > after)
        return self._reading.execute(asked.order_by(table.c.seq).limit(BLOCK_ROWS)).all()

    def _mend(self, into: Table, rows: Sequence[Row[Any]], after: int, last: int) -> int:
        """Have the target's stretch (after, last] hold these rows; how many were written."""
        wanted = [tuple(row)[1:] for row in rows]
        stretch = (into.c.source == self._into, into.c.seq > after, into.c.seq <= last)
        with self._target.transaction() as connection:
            if self._stands(connection, into, stretch) == wanted:
                return 0
            connection.execute(delete(into).where(*stretch))
            if rows:
                names = [column.name for column in into.columns]
                columns = dict(zip(names[1:], zip(*wanted, strict=True), strict=True))
                self._target.insert(connection, into, {"source": [self._into] * len(rows), **columns})
            if self._stands(connection, into, stretch) != wanted:
                raise SinkMisconfigured(f"{into.name}: the target does not give back what was written to it")
        return len(rows)

    @staticmethod
    def _stands(connection: Connection, into: Table, stretch: Sequence[Any]) -> list[tuple[Any, ...]]:
        found = connection.execute(select(into).where(*stretch).order_by(into.c.seq))
        return [tuple(row)[1:] for row in found]

    def finish(self) -> None:
        """Bring rollups, losses and positions, all at once."""
        ours, theirs = self._source.tables, self._target.tables
        with self._target.transaction() as connection:
            for table, into in ((ours.rollups, theirs.rollups), (ours.losses, theirs.losses)):
                rows = self._reading.execute(select(table).where(table.c.source == self._journal.source)).all()
                if into is theirs.rollups:
                    known = select(into.c.workflow_id, into.c.bucket_start_ns).where(into.c.source == self._into)
                    hours = {(row.workflow_id, row.bucket_start_ns) for row in (*rows, *connection.execute(known))}
                    forget_sums(connection, theirs, hours)
                connection.execute(delete(into).where(into.c.source == self._into))
                if rows:
                    placed = [{**row._mapping, "source": self._into} for row in rows]
                    connection.execute(into.insert(), placed)
            positions = theirs.journal_positions
            moved = update(positions).where(
                positions.c.source == self._into,
                positions.c.position == self._known.rows,
                positions.c.rollup_position == self._known.rollups,
            )
            names = ("position", "rollup_position", "settled")
            values = {name: getattr(self._journal, name) for name in names}
            if connection.execute(moved.values(**values)).rowcount != 1:
                raise SinkMisconfigured(
                    f"journal {self._journal.journal_id} is being delivered to the target: stop that, and copy again"
                )
