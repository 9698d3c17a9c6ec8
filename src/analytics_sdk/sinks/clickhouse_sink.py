"""The sink on ClickHouse, which has no transactions: everything may be written twice, and counts once.

Why that is enough, in three steps (the argument stands in docs/decisions/0008):

- A row tells one journal position's worth of facts, and follows from the journal alone, however that is cut. So who
  writes a stretch again, after a crash or at the same time as another, writes rows that are there already.
- The position is written last, and the largest one counts. Before it stands there, all rows before it do.
- A row of rollups holds everything before a position that it names itself. A fold is one insert of one block, which is
  there whole or not at all, so readers know for each source how far its rollups have come.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, func, select

from analytics_sdk.errors import Fenced
from analytics_sdk.rollup import Cell, Cells, add_nodes, decode_nodes, encode_nodes
from analytics_sdk.sinks import clickhouse, clickhouse_schema, describe, migrations
from analytics_sdk.sinks.base import (
    ADDED_REASONS,
    EXECUTION_COLUMNS,
    LOSS_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    VERDICT_COLUMNS,
    Batch,
    JournalIdentity,
    Positions,
)
from analytics_sdk.sinks.clickhouse_schema import TOTALS_AT, month_of, source_of
from analytics_sdk.sinks.keeping import count_steps, judged_cells, kept_names
from analytics_sdk.sinks.rows import Columns, columns_of
from analytics_sdk.sinks.schema import HOUR, SCHEMA_VERSION
from analytics_sdk.sinks.sql import SqlSink

KEYS_A_QUERY = 5_000
JUDGED = 1
"""The version of a judged row: above a running one, below every recorded end."""
_WORKFLOWS_A_QUERY = 200


def version_of(end_seq: object, heal_seq: object = None) -> int:
    """How much a row knows: 0 while it runs, else 2 more than the position of the last record that told of it."""
    return max((told + 2 for told in (end_seq, heal_seq) if isinstance(told, int)), default=0)


class ClickHouseSink(SqlSink):
    """Keeps batches and rollups in ClickHouse. Made by `SqlSink`, for a URL or an engine of that kind.

    Used by one thread at a time, which may change. `engine` may be read from by others.
    """

    def upgrade(self) -> list[int]:
        """Make the database and the tables that are missing; the versions that this brought.

        Raises:
            SinkUnavailable, SinkMisconfigured: try again later; the message says what to do.
        """
        with self._connected() as connection:
            standing = migrations.look(connection, self.tables)
            migrations.refuse_foreign(standing, describe(self.engine))
            clickhouse_schema.create(connection, self.tables)
            brought = list(range((standing.version or 0) + 1, SCHEMA_VERSION + 1))
            if brought:
                columns: Columns = {"version": brought, "applied_at_ns": [time.time_ns()] * len(brought)}
                self.insert(connection, self.tables.version, columns)
            return brought

    def source_of(self, journal: JournalIdentity) -> int:
        """See `SqlSink.source_of`; here it follows from the journal's id."""
        return source_of(journal.journal_id)

    def position(self, journal: JournalIdentity) -> Positions:
        """See `Sink.position`."""
        with self._connected() as connection:
            return self._known(connection, journal) or self._reach(connection, journal, Positions())

    def write(self, batch: Batch) -> None:
        """See `Sink.write`. What is written before a fault stays, and is the same when it is written again."""
        journal = batch.journal
        with self._connected() as connection:
            at = self._known(connection, journal) or Positions()
            settles = batch.settle_as is not None
            if at.settled or at.rows != batch.old_position or (settles and at.rollups != batch.new_position):
                raise Fenced(f"journal {journal.journal_id}: the sink is not at {batch.old_position}")
            inserts = list(self._inserts(connection, batch))
            for table, columns in inserts:
                clickhouse.check(table, columns)
            for table, columns in inserts:
                clickhouse.insert(connection, table, columns)
            if batch.settle_as is not None:
                self._judge(connection, journal, batch.new_position, batch.settle_as)
            self._reach(connection, journal, Positions(batch.new_position, 0, settles))

    def fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        """See `RollupSink.fold`. The rollups never get ahead of the rows."""
        with self._connected() as connection:
            at = self._known(connection, journal) or Positions()
            if at.settled or at.rollups != old_position or at.rows < new_position:
                raise Fenced(f"journal {journal.journal_id}: the rollups are not at {old_position}")
            wanted = kept_names(cells)
            stored, versions = self._stored_cells(connection, journal, wanted)
            furthest = max(versions.values(), default=0) // 2
            if furthest > old_position:
                # Because another shipper's fold is there whole, and only what it tells of itself is missing.
                self._reach(connection, journal, Positions(0, furthest))
                raise Fenced(f"journal {journal.journal_id}: the rollups have come to {furthest}")
            self._add_cells(connection, journal, stored, wanted, new_position, judged=False)
            self._reach(connection, journal, Positions(0, new_position))

    def insert(self, connection: Connection, table: Table, columns: Columns) -> None:
        """Add rows as native columns.

        Raises:
            RejectedRecord: a value that its column cannot hold. Nothing was sent.
        """
        clickhouse.check(table, columns)
        clickhouse.insert(connection, table, columns)

    def _connect(self) -> Connection:
        connection = super()._connect()
        connection.execution_options(settings=clickhouse.READING)
        return connection

    # ---------------------------------------------------------------- positions

    def _known(self, connection: Connection, journal: JournalIdentity) -> Positions | None:
        c = self.tables.journal_positions.c
        asked = select(c.position, c.rollup_position, c.settled).where(c.journal_id == journal.journal_id)
        row = connection.execute(asked).one_or_none()
        return None if row is None else Positions(row.position, row.rollup_position, bool(row.settled))

    def _reach(self, connection: Connection, journal: JournalIdentity, to: Positions) -> Positions:
        """Say how far a journal has come. The largest of each number counts, so 0 leaves what stands there."""
        names = journal.__struct_fields__
        columns = columns_of(names, [tuple(getattr(journal, name) for name in names)], source=self.source_of(journal))
        columns |= {"position": [to.rows], "rollup_position": [to.rollups], "settled": [int(to.settled)]}
        self.insert(connection, self.tables.journal_positions, columns)
        return to

    # ---------------------------------------------------------------- rows

    def _inserts(self, connection: Connection, batch: Batch) -> Iterable[tuple[Table, Columns]]:
        """What a batch brings to each table. New and late rows are alike here: each says how much it knows."""
        t, journal = self.tables, batch.journal
        keyed = {"source": self.source_of(journal), "journal_month": month_of(journal)}
        placed = {**keyed, "host": journal.host, "pid": journal.pid}
        for table, names, rows, same in (
            (t.executions, EXECUTION_COLUMNS, batch.new_executions + batch.late_executions, placed),
            (t.steps, STEP_COLUMNS, batch.new_steps + batch.late_steps, keyed),
            (t.recoveries, RECOVERY_COLUMNS, batch.recoveries, keyed),
            (t.resource_samples, SAMPLE_COLUMNS, batch.samples, placed),
        ):
            if rows:
                columns = columns_of(names, rows, **same)
                if table is t.steps:
                    columns["end_seq"] = self._known_ends(connection, keyed["source"], columns)
                yield table, with_versions(columns)
        if batch.late_verdicts:
            yield from self._verdicts(connection, keyed["source"], batch)
        if batch.losses:
            yield t.losses, _losses_of(keyed["source"], batch)

    def _known_ends(self, connection: Connection, source: int, columns: Columns) -> Sequence[object]:
        """The positions of endings, also of those that were stored before their healing came."""
        ends = columns["end_seq"]
        lacking = [
            seq
            for seq, end, heal in zip(columns["seq"], ends, columns["heal_seq"], strict=True)
            if end is None and heal is not None
        ]
        if not lacking:
            return ends
        stored = {row.seq: row.end_seq for row in self._rows(connection, self.tables.steps, source, lacking)}
        return [stored.get(seq) if end is None else end for seq, end in zip(columns["seq"], ends, strict=True)]

    def _verdicts(self, connection: Connection, source: int, batch: Batch) -> Iterable[tuple[Table, Columns]]:
        """Stored recoveries once more, with what became of them."""
        table = self.tables.recoveries
        told = columns_of(VERDICT_COLUMNS, batch.late_verdicts)
        words = {seq: (word, at) for seq, word, at in zip(*told.values(), strict=True)}
        rows = self._rows(connection, table, source, list(words))
        if rows:
            columns = _columns_in(table, rows)
            columns["verdict"] = [words[seq][0] for seq in columns["seq"]]
            columns["verdict_seq"] = [words[seq][1] for seq in columns["seq"]]
            yield table, with_versions(columns)

    def _rows(self, connection: Connection, table: Table, source: int, seqs: Sequence[object]) -> list[Row[Any]]:
        found: list[Row[Any]] = []
        for i in range(0, len(seqs), KEYS_A_QUERY):
            some = table.c.seq.in_(seqs[i : i + KEYS_A_QUERY])
            found += connection.execute(select(table).where(table.c.source == source, some)).all()
        return found

    # ---------------------------------------------------------------- rollups and judgement

    def _stored_cells(
        self, connection: Connection, journal: JournalIdentity, wanted: Cells
    ) -> tuple[Cells, Mapping[tuple[str, int], int]]:
        """The stored cells of the keys of some others, and their versions."""
        c = self.tables.rollups.c
        workflows = sorted({workflow_id for workflow_id, _ in wanted})
        stored: Cells = {}
        versions: dict[tuple[str, int], int] = {}
        for i in range(0, len(workflows), _WORKFLOWS_A_QUERY):
            some = set(workflows[i : i + _WORKFLOWS_A_QUERY])
            hours = [hour for workflow_id, hour in wanted if workflow_id in some]
            asked = select(c.workflow_id, c.bucket_start_ns, c.version, func.hex(c.cells)).where(
                and_(c.level == HOUR, c.bucket_start_ns.between(min(hours), max(hours))),
                and_(c.workflow_id.in_(sorted(some)), c.source == self.source_of(journal)),
            )
            for workflow_id, hour, version, cells in connection.execute(asked):
                if (workflow_id, hour) in wanted:
                    stored[workflow_id, hour] = decode_nodes(bytes.fromhex(cells))
                    versions[workflow_id, hour] = version
        return stored, versions

    def _add_cells(
        self, connection: Connection, journal: JournalIdentity, stored: Cells, new: Cells, position: int, judged: bool
    ) -> None:
        """Store the sum of stored and new cells as what stands before a position, in one block."""
        keys = list(new)
        blobs = []
        for key in keys:
            nodes: dict[str, Cell] = stored.get(key, {})
            add_nodes(nodes, new[key])
            blobs.append(encode_nodes(nodes))
        columns: Columns = {
            "workflow_id": [workflow_id for workflow_id, _ in keys],
            "bucket_start_ns": [hour for _, hour in keys],
            "cells": blobs,
        }
        same = {"level": HOUR, "source": self.source_of(journal), "position": position}
        same["version"] = 2 * position + judged
        self.insert(connection, self.tables.rollups, columns | {name: [one] * len(keys) for name, one in same.items()})

    def _judge(self, connection: Connection, journal: JournalIdentity, position: int, word: str) -> None:
        """Give what has no end its last status; what was judged before a crash is judged again, and the same."""
        source = self.source_of(journal)
        executions, steps = self.tables.executions, self.tables.steps
        without_end = select(executions).where(executions.c.source == source, executions.c.end_seq.is_(None))
        open_executions = connection.execute(without_end).all()
        open_steps = connection.execute(
            select(steps).where(steps.c.source == source, steps.c.end_seq.is_(None), steps.c.heal_seq.is_(None))
        ).all()
        counts = count_steps(connection, self.tables, source, {row.execution_id: row.seq for row in open_executions})
        for table, rows in ((executions, open_executions), (steps, open_steps)):
            if rows:
                columns = _columns_in(table, rows)
                columns |= {"status": [word] * len(rows), "version": [JUDGED] * len(rows)}
                if table is executions:
                    for name in ("steps_completed", "steps_failed", "steps_recovered"):
                        columns[name] = [counts[row.execution_id][name] for row in rows]
                self.insert(connection, table, columns)
        cells = kept_names(judged_cells(open_executions, open_steps, word))
        stored, versions = self._stored_cells(connection, journal, cells)
        missing = {key: nodes for key, nodes in cells.items() if not versions.get(key, 0) % 2}
        self._add_cells(connection, journal, stored, missing, position, judged=True)


def with_versions(columns: Columns) -> Columns:
    """The columns of rows, and how much each row knows."""
    n = len(columns["seq"])
    ends = columns.get("end_seq") or columns.get("verdict_seq") or [None] * n
    heals = columns.get("heal_seq") or [None] * n
    columns["version"] = [version_of(end, heal) for end, heal in zip(ends, heals, strict=True)]
    return columns


def _columns_in(table: Table, rows: Sequence[Row[Any]]) -> Columns:
    return dict(zip(table.c.keys(), zip(*rows, strict=True), strict=True))


def _losses_of(source: int, batch: Batch) -> Columns:
    """Losses as rows that may be written twice: totals of the journal, and findings where they were made."""
    totals = [row for row in batch.losses if row[1] not in ADDED_REASONS]
    found = batch.found or [(batch.old_position, row) for row in batch.losses if row[1] in ADDED_REASONS]
    columns = columns_of(LOSS_COLUMNS, totals + [row for _, row in found], source=source)
    columns["at"] = [TOTALS_AT] * len(totals) + [at for at, _ in found]
    return columns
