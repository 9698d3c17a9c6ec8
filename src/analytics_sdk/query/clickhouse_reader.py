"""Reading from ClickHouse, where one answer takes several statements and each of them sees a moment of its own.

All that is counted is nevertheless of one moment, by the order of reading and because rows say what they are:

1. how far rollups have come (the positions), 2. the rollups, 3. how far rows have come, 4. the rows.

A row of rollups names the position that it has come to. A fold becomes visible whole, so of each source the furthest
such position, or the one read first, is where its tail begins. The tail ends at the position that was read third: what
was recorded behind it, and is there already, is left out of the rows that were read fourth. Lists of rows (executions,
samples, a timeline) are not cut: they show what was there when they were read.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, not_, or_, select

from analytics_sdk.query.reader import CellRow, RecoveryFact, Source, StepFact, Workflows, hour_row
from analytics_sdk.query.sql_reader import Fact, SqlReader, SqlSnapshot
from analytics_sdk.query.sql_rows import of
from analytics_sdk.query.window import Plan, Span
from analytics_sdk.rollup import decode_nodes
from analytics_sdk.sinks.clickhouse import READING
from analytics_sdk.sinks.levels import within
from analytics_sdk.sinks.schema import HOUR

_SOURCES_A_QUERY = 200


class ClickHouseReader(SqlReader):
    """Reads what a `ClickHouseSink` keeps. May be used by several threads: each snapshot has its own connection."""

    @contextmanager
    def snapshot(self) -> Iterator["ClickHouseSnapshot"]:
        """See `Reader.snapshot`; of one moment is what is counted."""
        with self.reading() as connection:
            yield ClickHouseSnapshot(connection, self._tables)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees of each row what knows most."""
        with super().reading() as connection:
            connection.execution_options(settings=READING)
            yield connection


class ClickHouseSnapshot(SqlSnapshot):
    """See `Snapshot`."""

    def __init__(self, connection: Connection, tables: Any) -> None:
        super().__init__(connection, tables)
        self._before: Mapping[int, Source] | None = None
        self._folded: dict[int, int] = {}
        """How far the rollups that were read have come, by source."""
        self._judged: set[int] = set()
        """Sources whose rollups, as they were read, tell how what had no end was judged."""

    def _read_sources(self) -> dict[int, Source]:
        c = self._tables.journal_positions.c
        rows = self._rows(select(c.source, c.position, c.rollup_position, c.settled))
        return {source: Source(position, rollups, bool(settled)) for source, position, rollups, settled in rows}

    def sources(self) -> Mapping[int, Source]:
        if self._sources is None:
            now = self._read_sources()
            before = self._before = now if self._before is None else self._before
            nothing = Source(0, 0, settled=False)
            self._sources = {
                key: Source(
                    source.position,
                    max(before.get(key, nothing).rollup_position, self._folded.get(key, 0)),
                    before.get(key, nothing).settled or key in self._judged,
                )
                for key, source in now.items()
            }
        return self._sources

    def cells(self, workflows: Workflows, plan: Plan) -> Iterator[CellRow]:
        if not plan.hours:
            return
        if self._before is None:
            self._before = self._read_sources()
        self._sources = None  # because what is read now may go further than what is known of the rows
        c = self._tables.rollups.c
        # As text, because a driver may take bytes for text of its own.
        statement = select(c.source, c.workflow_id, c.bucket_start_ns, c.version, func.base64Encode(c.cells)).where(
            c.level == HOUR, within(c.bucket_start_ns, plan.hours), *of(c.workflow_id, workflows)
        )
        for source, workflow_id, start_ns, version, blob in self._stream(statement):
            self._folded[source] = max(version // 2, self._folded.get(source, 0))
            if version % 2:
                self._judged.add(source)
            yield hour_row(source, workflow_id, start_ns, decode_nodes(base64.b64decode(blob)))

    def _facts(
        self, fact: type[Fact], table: Table, workflows: Workflows, spans: Sequence[Span], tail: bool
    ) -> Iterator[Fact]:
        c, sources = table.c, self.sources()
        columns = select(*(c[name] for name in fact._fields)).where(
            within(c.started_at_ns, spans), *of(c.workflow_id, workflows)
        )
        statements = [columns]
        if tail:
            lagging = [(key, source.rollup_position) for key, source in sources.items() if source.lags]
            statements = [
                columns.where(or_(*(and_(c.source == key, _is_behind(table, since)) for key, since in some)))
                for some in _some(lagging)
            ]
        for statement in statements:
            for one in self._made(fact, statement):
                source = sources.get(one.source)
                known = None if source is None else _as_of(one, source)
                if known is not None:
                    yield known

    def _of_this_moment(self, table: Table) -> list[ColumnElement[bool]]:
        """Leave out rows that ended behind the position of their source."""
        c = table.c
        growing = [(key, source.position) for key, source in self.sources().items() if not source.settled]
        return [not_(or_(*(and_(c.source == key, c.end_seq >= end) for key, end in some))) for some in _some(growing)]

    def workflow_ids(self, limit: int) -> list[str]:
        c = self._tables.executions.c
        return [row[0] for row in self._rows(select(c.workflow_id).distinct().order_by(c.workflow_id).limit(limit))]


def _some(keys: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    left = iter(keys)
    while some := list(islice(left, _SOURCES_A_QUERY)):
        yield some


def _is_behind(table: Table, position: int) -> ColumnElement[bool]:
    """Whether something was told of a row at or behind a position: see `clickhouse_schema` on versions."""
    return or_(table.c.seq >= position, table.c.version >= position + 2)


def _as_of(fact: Any, source: Source) -> Any:
    """A row as it was when its source had come to its position; None where it was not yet."""
    end = source.position
    if fact.seq >= end:
        return None
    if isinstance(fact, RecoveryFact):
        told_later = fact.verdict_seq is not None and fact.verdict_seq >= end
        return fact._replace(verdict=None, verdict_seq=None) if told_later else fact
    heal_seq = fact.heal_seq if isinstance(fact, StepFact) else None
    if isinstance(fact, StepFact) and heal_seq is not None and heal_seq >= end:
        fact = fact._replace(status=fact.first_status or fact.status, first_status=None, heal_seq=None)
        heal_seq = None
    was_judged = fact.end_seq is None and heal_seq is None
    if (was_judged and not source.settled) or (fact.end_seq is not None and fact.end_seq >= end):
        return fact._replace(status="running", end_seq=None, duration_ns=None)
    return fact
