"""Reading from a SQL store: every answer out of one transaction that sees one moment and writes nothing.

SQLAlchemy is imported with this module, so it is itself imported only when a SQL store is read.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, and_, func, or_, select
from sqlalchemy.exc import DBAPIError

from analytics_sdk.histogram import bucket_of
from analytics_sdk.query.reader import (
    CellRow,
    DurationRange,
    ExecutionFact,
    Loss,
    RecoveryFact,
    Source,
    StepFact,
    Workflows,
)
from analytics_sdk.query.reading_engine import reading_engine
from analytics_sdk.query.results import ExecutionRow, RecoveryRow, SampleRow, StepRow, Timeline
from analytics_sdk.query.window import Span
from analytics_sdk.rollup import HOUR_NS, TIMED, WHOLE, decode_nodes
from analytics_sdk.sinks import describe
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.migrations import check
from analytics_sdk.sinks.schema import HOUR, Tables, is_late, is_running
from analytics_sdk.vocabulary import STATUSES

_TIMED_WORDS = [STATUSES[status] for status in sorted(TIMED)]
_ROWS_A_FETCH = 5_000
_MANY = 500
_FEW_RANGES = 8
_FOREVER_NS = (1 << 63) - 1

Fact = TypeVar("Fact", ExecutionFact, StepFact, RecoveryFact)


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


def _within(column: ColumnElement[Any], spans: Sequence[Span]) -> ColumnElement[bool]:
    return or_(*(and_(column >= span.start_ns, column < span.end_ns) for span in spans))


def _of(column: ColumnElement[Any], workflows: Workflows) -> list[ColumnElement[bool]]:
    """The condition that a workflow id is one of some; nothing when all are meant."""
    if workflows is None:
        return []
    return [or_(column.in_(workflows), column.is_(None)) if "" in workflows else column.in_(workflows)]


def _unindexed(c: Any, workflows: Workflows, spans: Sequence[Span]) -> list[ColumnElement[bool]]:
    """That rows started in some spans and belong to some workflows, told as expressions.

    Because the key finds a tail at once, and a small index what is running, while the index of a workflow's times, of
    which expressions make no use, would read its whole history.
    """
    return [_within(c.started_at_ns + 0, spans), *_of(c.workflow_id + "", workflows)]


class SqlSnapshot:
    """See `Snapshot`."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables
        self._sources: dict[int, Source] | None = None

    def _rows(self, statement: Select[Any]) -> Sequence[Any]:
        return self._connection.execute(statement).all()

    def _stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows as they come, because the edge of a window may have a million of them."""
        with self._connection.execute(statement, execution_options={"yield_per": _ROWS_A_FETCH}) as rows:
            yield from rows

    def sources(self) -> Mapping[int, Source]:
        if self._sources is None:
            c = self._tables.journal_positions.c
            rows = self._rows(select(c.source, c.position, c.rollup_position, c.settled))
            self._sources = {source: Source(position, rollups, bool(s)) for source, position, rollups, s in rows}
        return self._sources

    def cells(self, workflows: Workflows, hours: Sequence[Span]) -> Iterator[CellRow]:
        if not hours:
            return
        c = self._tables.rollups.c
        statement = select(c.source, c.workflow_id, c.bucket_start_ns, c.cells).where(
            c.level == HOUR, _within(c.bucket_start_ns, hours), *_of(c.workflow_id, workflows)
        )
        for source, workflow_id, start_ns, blob in self._stream(statement):
            yield CellRow(source, workflow_id, start_ns, decode_nodes(bytes(blob)))

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
                fact, columns.where(_within(table.c.started_at_ns, spans), *_of(table.c.workflow_id, workflows))
            )
            return
        bounds = _unindexed(table.c, workflows, spans)
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
        limits = {(one.low_ns, one.high_ns) for one in ranges}
        workflows = {one.workflow_id for one in ranges}
        c = table.c
        statement = columns.where(_within(c.started_at_ns, [span]), c.status.in_(_TIMED_WORDS), c.end_seq.is_not(None))
        statement = statement.where(*self._of_this_moment(table))
        if len(limits) <= _FEW_RANGES:
            statement = statement.where(or_(*(c.duration_ns.between(*pair) for pair in limits)))
        if len(workflows) <= _MANY:
            statement = statement.where(*_of(c.workflow_id, sorted(workflows)))
        for workflow_id, node_id, duration_ns in self._stream(statement):
            if duration_ns is not None:
                key = (workflow_id or "", WHOLE if whole else node_id, bucket_of(duration_ns))
                if key in wanted:
                    found[wanted[key]].append(duration_ns)

    def execution_rows(
        self, workflows: Workflows, span: Span, *, running_only: bool = False, limit: int | None = None
    ) -> list[ExecutionRow]:
        c = self._tables.executions.c
        statement = self._select_executions()
        if running_only:  # by the small index of what runs, and not in the order of another
            statement = statement.where(is_running(self._tables.executions), *_unindexed(c, workflows, [span]))
            statement = statement.where(c.source >= 0).order_by((c.started_at_ns + 0).desc())
        else:
            statement = statement.where(_within(c.started_at_ns, [span]), *_of(c.workflow_id, workflows))
        statement = statement.order_by(c.started_at_ns.desc(), c.source.desc(), c.seq.desc()).limit(limit)
        return [_execution_row(row) for row in self._rows(statement)]

    def slowest(self, workflows: Workflows, span: Span) -> ExecutionRow | None:
        c = self._tables.executions.c
        statement = (
            self._select_executions()
            .where(_within(c.started_at_ns, [span]), *_of(c.workflow_id, workflows))
            .where(c.status.in_(_TIMED_WORDS), c.duration_ns.is_not(None))
            .order_by(c.duration_ns.desc(), c.started_at_ns)
            .limit(1)
        )
        found = self._rows(statement)
        return _execution_row(found[0]) if found else None

    def _select_executions(self) -> Select[Any]:
        return select(*(self._tables.executions.c[name] for name in ExecutionRow.__dataclass_fields__))

    def timeline(self, execution_id: str) -> Timeline | None:
        table = self._tables.executions
        keys = select(table.c.source, table.c.seq, table.c.end_seq, table.c.started_at_ns, table.c.ended_at_ns)
        found = self._rows(keys.where(table.c.execution_id == execution_id).order_by(table.c.started_at_ns))
        if not found:
            return None
        source, seq, end_seq, started_at_ns, ended_at_ns = found[0]
        row = self._connection.execute(
            self._select_executions().where(table.c.source == source, table.c.seq == seq)
        ).one()

        def read(part: Table, names: Sequence[str], may_come_later: bool) -> Iterator[Any]:
            c = part.c
            columns = select(*(c[name] for name in names)).where(c.execution_id == execution_id)
            own = columns.where(c.source == source, c.seq >= seq)
            meanwhile = columns.where(c.started_at_ns >= started_at_ns)
            if not may_come_later and end_seq is not None:
                own = own.where(c.seq <= end_seq)
                meanwhile = meanwhile.where(c.started_at_ns <= ended_at_ns)
            if seq == end_seq:  # its beginning was lost, so the journal doesn't tell where its steps begin
                yield from self._rows(meanwhile)
                return
            yield from self._rows(own)
            if len(self.sources()) > 1:
                yield from self._rows(meanwhile.where(c.source != source))

        step_names, recovery_names = tuple(StepRow.__dataclass_fields__), tuple(RecoveryRow.__dataclass_fields__)
        steps = [StepRow(*row) for row in read(self._tables.steps, step_names, False)]
        recoveries = [RecoveryRow(*row) for row in read(self._tables.recoveries, recovery_names, True)]
        steps.sort(key=lambda step: (step.started_at_ns, step.step_no))
        recoveries.sort(key=lambda recovery: recovery.started_at_ns)
        return Timeline(_execution_row(row), steps, recoveries)

    def samples(self, span: Span, sources: Sequence[int] | None = None) -> Iterator[SampleRow]:
        c, positions = self._tables.resource_samples.c, self._tables.journal_positions.c
        # Because the hosts, which are few, make a range of the index by host and time out of each window.
        statement = self._select_samples().where(
            _within(c.at_ns, [span]), c.host.in_(select(positions.host).distinct())
        )
        if sources is not None and len(sources) <= _MANY:
            statement = statement.where((c.source + 0).in_(sources))  # told so that the key makes no range of it
        wanted = None if sources is None else set(sources)
        for source, *values in self._stream(statement):
            if wanted is None or source in wanted:
                yield _sample_row(values)

    def samples_during(self, execution_id: str) -> Iterator[SampleRow]:
        executions, c = self._tables.executions.c, self._tables.resource_samples.c
        columns = select(executions.source, executions.host, executions.started_at_ns, executions.ended_at_ns)
        found = self._rows(columns.where(executions.execution_id == execution_id).order_by(executions.started_at_ns))
        if not found:
            return
        source, host, start_ns, end_ns = found[0]
        span = Span(start_ns, _FOREVER_NS if end_ns is None else end_ns)
        statement = self._select_samples().where(c.host == host, _within(c.at_ns, [span]), c.source + 0 == source)
        for _, *values in self._stream(statement):
            yield _sample_row(values)

    def _select_samples(self) -> Select[Any]:
        c = self._tables.resource_samples.c
        names = SampleRow.__dataclass_fields__
        return select(c.source, *(c[name] for name in names)).order_by(c.at_ns, c.source, c.seq)

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
        rollups, executions = self._tables.rollups.c, self._tables.executions.c
        hour = select(func.min(rollups.bucket_start_ns)).where(*_of(rollups.workflow_id, workflows))
        row = select(func.min(executions.started_at_ns)).where(*_of(executions.workflow_id, workflows))
        hour_ns, row_ns = self._connection.execute(hour).scalar(), self._connection.execute(row).scalar()
        if row_ns is None or (hour_ns is not None and hour_ns + HOUR_NS <= row_ns):
            return cast("int | None", hour_ns)
        return cast(int, row_ns)

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


def _execution_row(row: Sequence[Any]) -> ExecutionRow:
    return ExecutionRow(*_with_json_last(row, {}))


def _sample_row(row: Sequence[Any]) -> SampleRow:
    *values, gpus, running = row
    return SampleRow(*values, *(msgspec.json.decode(text) if text else [] for text in (gpus, running)))


def _with_json_last(row: Sequence[Any], nothing: object) -> list[Any]:
    """Values of a row whose last one is JSON text, or None for nothing."""
    *values, last = row
    return [*values, msgspec.json.decode(last) if last else nothing]
