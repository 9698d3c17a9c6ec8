"""Reading from a SQL store: every answer out of one transaction that sees one moment and writes nothing.

SQLAlchemy is imported with this module, so it is itself imported only when a SQL store is read.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, and_, exists, func, or_, select
from sqlalchemy.exc import DBAPIError

from analytics_sdk.histogram import bucket_of
from analytics_sdk.query.reader import (
    CellRow,
    DurationRange,
    ExecutionFact,
    Loss,
    RecoveryFact,
    StepFact,
    Workflows,
    hour_row,
)
from analytics_sdk.query.reading_engine import reading_engine
from analytics_sdk.query.sql_rows import MANY, TIMED_WORDS, SqlRows, of, unindexed
from analytics_sdk.query.window import Plan, Span
from analytics_sdk.rollup import HOUR_NS, WHOLE, decode_nodes, decode_total
from analytics_sdk.sinks import describe
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.levels import choose_rows, within
from analytics_sdk.sinks.migrations import check
from analytics_sdk.sinks.schema import DAY, HOUR, WEEK, Tables, is_late

_MOST_RANGES_TOLD = 300
"""Because a database refuses conditions that are nested deeper than some hundreds."""

Fact = TypeVar("Fact", ExecutionFact, StepFact, RecoveryFact)


def cell_row(level: str, source: int, workflow_id: str, start_ns: int, blob: bytes) -> CellRow:
    """What a stored row of cells says."""
    if level == HOUR:
        return hour_row(source, workflow_id, start_ns, decode_nodes(bytes(blob)))
    total = decode_total(bytes(blob))
    trend = [(start_ns + hour * HOUR_NS, (n, succeeded, first)) for hour, n, succeeded, first in total.trend]
    return CellRow(list(accumulate(total.sources)), workflow_id, start_ns, total.nodes, trend)


class SqlReader:
    """Reads what a `SqlSink` keeps. May be used by several threads: each snapshot has a connection of its own."""

    def __init__(self, engine: Engine, tables: Tables) -> None:
        self._tables = tables
        self._engine = reading_engine(engine)
        self._shown, self._password = describe(engine), engine.url.password

    @contextmanager
    def snapshot(self) -> Iterator["SqlSnapshot"]:
        """See `Reader.snapshot`.

        Raises:
            SinkUnavailable: the store cannot be reached, or is locked.
            SinkMisconfigured: it is not what it should be: no tables, no permission, not a database.
        """
        with self.reading() as connection:
            yield SqlSnapshot(connection, self._tables)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment and can write nothing. Raises as `snapshot`."""
        try:
            with self._engine.connect() as connection:
                if self._engine.dialect.name == "postgresql":
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.begin():
                    yield connection
        except DBAPIError as problem:
            raise sink_error(problem, self._shown, self._password) from None


class SqlSnapshot(SqlRows):
    """See `Snapshot`."""

    def cells(self, workflows: Workflows, plan: Plan) -> Iterator[CellRow]:
        if not plan.hours:
            return
        spans = {HOUR: plan.hours, DAY: plan.days, WEEK: plan.weeks}
        chosen = choose_rows(self._tables, spans, lambda column: of(column, workflows))
        for row in self._stream(chosen):
            yield cell_row(*row)

    def executions(self, workflows: Workflows, spans: Sequence[Span], tail: bool) -> Iterator[ExecutionFact]:
        return self._facts(ExecutionFact, self._tables.executions, workflows, spans, tail)

    def steps(self, workflows: Workflows, spans: Sequence[Span], tail: bool) -> Iterator[StepFact]:
        return self._facts(StepFact, self._tables.steps, workflows, spans, tail)

    def recoveries(self, workflows: Workflows, spans: Sequence[Span], tail: bool) -> Iterator[RecoveryFact]:
        return self._facts(RecoveryFact, self._tables.recoveries, workflows, spans, tail)

    def _facts(
        self, fact: type[Fact], table: Table, workflows: Workflows, spans: Sequence[Span], tail: bool
    ) -> Iterator[Fact]:
        columns = select(*(table.c[name] for name in fact._fields))
        if not tail:
            yield from self._made(
                fact, columns.where(within(table.c.started_at_ns, spans), *of(table.c.workflow_id, workflows))
            )
            return
        bounds = unindexed(table.c, workflows, spans)
        for key, source in self.sources().items():
            if not source.lags:
                continue
            own = columns.where(table.c.source == key, *bounds)
            yield from self._made(fact, own.where(table.c.seq >= source.rollup_position))
            if "late" in table.c:
                late = own.where(is_late(table), table.c.last_seq >= source.rollup_position)
                yield from self._made(fact, late.where(table.c.seq + 0 < source.rollup_position))
            if "verdict_seq" in table.c:
                late = own.where(table.c.verdict_seq >= source.rollup_position)
                yield from self._made(fact, late.where(table.c.seq + 0 < source.rollup_position))

    def _has_ended(self, table: Table) -> ColumnElement[bool]:
        """That an ending was recorded of a row."""
        if self._connection.dialect.name != "sqlite":
            return table.c.end_seq.is_not(None)
        # Because SQLite reads the row as soon as a condition names what the index lacks, also where another fails.
        row = table.alias("row_itself")
        return exists().where(row.c.source == table.c.source, row.c.seq == table.c.seq, row.c.end_seq.is_not(None))

    def _of_this_moment(self, _table: Table) -> list[ColumnElement[bool]]:
        """What else rows have to be; nothing where a transaction sees one moment."""
        return []

    def _made(self, fact: type[Fact], statement: Select[Any]) -> Iterator[Fact]:
        return (fact._make(row) for row in self._stream(statement))

    def durations(self, span: Span, ranges: Sequence[DurationRange]) -> Mapping[DurationRange, list[int]]:
        found: dict[DurationRange, list[int]] = defaultdict(list)
        wholes = [wanted for wanted in ranges if wanted.node_id == WHOLE]
        of_nodes = [wanted for wanted in ranges if wanted.node_id != WHOLE]
        executions, steps = self._tables.executions, self._tables.steps
        whole_columns = select(executions.c.workflow_id, executions.c.workflow_id, executions.c.duration_ns)
        self._collect(found, executions, whole_columns, span, wholes)
        self._collect(found, steps, select(steps.c.workflow_id, steps.c.node_id, steps.c.duration_ns), span, of_nodes)
        return found

    def _collect(
        self,
        found: dict[DurationRange, list[int]],
        table: Table,
        columns: Select[Any],
        span: Span,
        ranges: Sequence[DurationRange],
    ) -> None:
        """Read what may lie in the ranges, and sort it into them: each bucket of a node is at most one range."""
        if not ranges:
            return
        wanted = {(one.workflow_id, one.node_id, bucket_of(one.high_ns)): one for one in ranges}
        whole = ranges[0].node_id == WHOLE
        workflows = {one.workflow_id for one in ranges}
        c = table.c
        statement = columns.where(within(c.started_at_ns, [span]))
        if len(workflows) <= MANY:
            statement = statement.where(*of(c.workflow_id, sorted(workflows)))
        limits: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for one in ranges:
            limits[one.node_id].add((one.low_ns, one.high_ns))
        if sum(map(len, limits.values())) <= _MOST_RANGES_TOLD:
            near = {node: or_(*(c.duration_ns.between(*pair) for pair in sorted(limits[node]))) for node in limits}
            of_node = near.values() if whole else (and_(c.node_id == node, near[node]) for node in near)
            statement = statement.where(or_(*of_node))
        statement = statement.where(c.status.in_(TIMED_WORDS), self._has_ended(table), *self._of_this_moment(table))
        for workflow_id, node_id, duration_ns in self._stream(statement):
            if duration_ns is not None:
                key = (workflow_id or "", WHOLE if whole else node_id, bucket_of(duration_ns))
                if key in wanted:
                    found[wanted[key]].append(duration_ns)

    def losses(self, span: Span) -> list[Loss]:
        c = self._tables.losses.c
        statement = (
            select(c.kind, c.reason, func.sum(c.n), func.min(c.first_at_ns), func.max(c.last_at_ns))
            .where(c.n > 0, c.first_at_ns < span.end_ns, c.last_at_ns >= span.start_ns)
            .group_by(c.kind, c.reason)
            .order_by(c.kind, c.reason)
        )
        return [Loss(kind, reason, int(n), first, last) for kind, reason, n, first, last in self._rows(statement)]

    def first_started_at_ns(self, workflows: Workflows) -> int | None:
        rollups = self._tables.rollups.c
        hour = select(func.min(rollups.bucket_start_ns)).where(
            rollups.level == HOUR, *of(rollups.workflow_id, workflows)
        )
        hour_ns, row_ns = self._connection.execute(hour).scalar(), self._first_row_ns(workflows)
        if row_ns is None or (hour_ns is not None and hour_ns + HOUR_NS <= row_ns):
            return cast("int | None", hour_ns)
        return row_ns

    def _first_row_ns(self, workflows: Workflows) -> int | None:
        c = self._tables.executions.c
        first = select(func.min(c.started_at_ns)).where(*of(c.workflow_id, workflows))
        return cast("int | None", self._connection.execute(first).scalar())

    def check(self) -> None:
        check(self._connection, self._tables)

    def positions(self) -> dict[str, int]:
        c = self._tables.journal_positions.c
        return {row[0]: row[1] for row in self._rows(select(c.journal_id, c.position))}

    def workflow_ids(self, limit: int) -> list[str]:
        c = self._tables.executions.c
        found: list[str] = []
        while len(found) < limit:  # one after the other, because DISTINCT would read every execution
            after = [c.workflow_id > found[-1]] if found else []
            following = self._connection.execute(select(func.min(c.workflow_id)).where(*after)).scalar()
            if following is None:
                break
            found.append(following)
        return found
