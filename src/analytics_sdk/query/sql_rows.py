"""Rows of a SQL store as they stand there: executions, timelines, samples. SQLAlchemy is imported with this module."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, or_, select

from analytics_sdk.query.reader import Source, Workflows
from analytics_sdk.query.results import ExecutionRow, RecoveryRow, SampleRow, StepRow, Timeline
from analytics_sdk.query.window import Span
from analytics_sdk.rollup import TIMED
from analytics_sdk.sinks.levels import within
from analytics_sdk.sinks.schema import Tables, is_running
from analytics_sdk.vocabulary import STATUSES

TIMED_WORDS = [STATUSES[status] for status in sorted(TIMED)]
STEP_NAMES, RECOVERY_NAMES = tuple(StepRow.__dataclass_fields__), tuple(RecoveryRow.__dataclass_fields__)
MANY = 500
FOREVER_NS = (1 << 63) - 1
_ROWS_A_FETCH = 5_000

Key = tuple[int, int]
"""(source, seq)"""


class Found(NamedTuple):
    """Where an execution stands. Field names are columns."""

    source: int
    seq: int
    end_seq: int | None
    started_at_ns: int
    ended_at_ns: int | None
    host: str


def of(column: ColumnElement[Any], workflows: Workflows) -> list[ColumnElement[bool]]:
    """The condition that a workflow id is one of some; nothing when all are meant."""
    if workflows is None:
        return []
    return [or_(column.in_(workflows), column.is_(None)) if "" in workflows else column.in_(workflows)]


def unindexed(c: Any, workflows: Workflows, spans: Sequence[Span]) -> list[ColumnElement[bool]]:
    """That rows started in some spans and belong to some workflows, told as expressions.

    Because the key finds a tail at once, and a small index what is running, while the index of a workflow's times, of
    which expressions make no use, would read its whole history.
    """
    return [within(c.started_at_ns + 0, spans), *of(c.workflow_id + "", workflows)]


class SqlRows:
    """The questions of a `Snapshot` that are answered with rows. Each row is known by its key, so that rows which
    stand elsewhere can be put between them."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables
        self._sources: dict[int, Source] | None = None

    def _rows(self, statement: Select[Any]) -> Sequence[Any]:
        return self._connection.execute(statement).all()

    def _stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows as they come, because the edge of a window may have a million of them."""
        with self._connection.execute(statement, execution_options={"yield_per": _ROWS_A_FETCH}) as rows:
            for some in rows.partitions():  # because one by one they cost more than all that is done with them
                yield from some

    def sources(self) -> Mapping[int, Source]:
        if self._sources is None:
            c = self._tables.journal_positions.c
            rows = self._rows(select(c.source, c.position, c.rollup_position, c.settled))
            self._sources = {source: Source(position, rollups, bool(s)) for source, position, rollups, s in rows}
        return self._sources

    def execution_rows(
        self, workflows: Workflows, span: Span, *, running_only: bool = False, limit: int | None = None
    ) -> list[ExecutionRow]:
        return [row for _, row in self._keyed_executions(workflows, span, running_only, limit)]

    def _keyed_executions(
        self, workflows: Workflows, span: Span, running_only: bool, limit: int | None
    ) -> list[tuple[Key, ExecutionRow]]:
        c = self._tables.executions.c
        statement = self._select_executions()
        if running_only:  # by the small index of what runs, and not in the order of another
            statement = statement.where(is_running(self._tables.executions), *unindexed(c, workflows, [span]))
            statement = statement.where(c.source >= 0).order_by((c.started_at_ns + 0).desc())
        else:
            statement = statement.where(within(c.started_at_ns, [span]), *of(c.workflow_id, workflows))
        statement = statement.order_by(c.started_at_ns.desc(), c.source.desc(), c.seq.desc()).limit(limit)
        return [keyed_execution(row) for row in self._rows(statement)]

    def slowest(self, workflows: Workflows, span: Span) -> ExecutionRow | None:
        found = self._keyed_slowest(workflows, span)
        return found[1] if found else None

    def _keyed_slowest(self, workflows: Workflows, span: Span) -> tuple[Key, ExecutionRow] | None:
        c = self._tables.executions.c
        statement = (
            self._select_executions()
            .where(within(c.started_at_ns, [span]), *of(c.workflow_id, workflows))
            .where(c.status.in_(TIMED_WORDS), c.duration_ns.is_not(None))
            .order_by(c.duration_ns.desc(), c.started_at_ns, c.source, c.seq)
            .limit(1)
        )
        found = self._rows(statement)
        return keyed_execution(found[0]) if found else None

    def _select_executions(self) -> Select[Any]:
        c = self._tables.executions.c
        return select(c.source, c.seq, *(c[name] for name in ExecutionRow.__dataclass_fields__))

    def timeline(self, execution_id: str) -> Timeline | None:
        found = self._find(execution_id)
        if found is None:
            return None
        steps = [StepRow(*row) for _, row in self._parts(self._tables.steps, STEP_NAMES, execution_id, found)]
        recoveries = [
            RecoveryRow(*row) for _, row in self._parts(self._tables.recoveries, RECOVERY_NAMES, execution_id, found)
        ]
        return sorted_timeline(self._execution(found), steps, recoveries)

    def _find(self, execution_id: str) -> Found | None:
        """The first execution of that id."""
        c = self._tables.executions.c
        keys = select(*(c[name] for name in Found._fields))
        found = self._rows(keys.where(c.execution_id == execution_id).order_by(c.started_at_ns).limit(1))
        return Found(*found[0]) if found else None

    def _execution(self, found: Found) -> ExecutionRow:
        c = self._tables.executions.c
        statement = self._select_executions().where(c.source == found.source, c.seq == found.seq)
        return keyed_execution(self._connection.execute(statement).one())[1]

    def _parts(
        self, part: Table, names: Sequence[str], execution_id: str, found: Found
    ) -> Iterator[tuple[Key, Sequence[Any]]]:
        """The steps or recoveries of an execution: its own, and those of other processes in its time."""
        c = part.c
        columns = select(c.source, c.seq, *(c[name] for name in names))
        columns = columns.where(c.execution_id == execution_id)
        own = columns.where(c.source == found.source, c.seq >= found.seq)
        meanwhile = columns.where(c.started_at_ns >= found.started_at_ns)
        if names is STEP_NAMES and found.end_seq is not None:  # recoveries may come later
            own = own.where(c.seq <= found.end_seq)
            meanwhile = meanwhile.where(c.started_at_ns <= found.ended_at_ns)
        if found.seq == found.end_seq:  # its beginning was lost, so the journal doesn't tell where its steps begin
            wanted = [meanwhile]
        else:
            wanted = [own, meanwhile.where(c.source != found.source)] if len(self.sources()) > 1 else [own]
        for statement in wanted:
            for source, seq, *values in self._rows(statement):
                yield (source, seq), values

    def samples(self, span: Span, sources: Sequence[int] | None = None) -> Iterator[SampleRow]:
        return (row for _, row in self._keyed_samples(span, sources))

    def _keyed_samples(self, span: Span, sources: Sequence[int] | None) -> Iterator[tuple[Key, SampleRow]]:
        c, positions = self._tables.resource_samples.c, self._tables.journal_positions.c
        # Because the hosts, which are few, make a range of the index by host and time out of each window.
        statement = self._select_samples().where(within(c.at_ns, [span]), c.host.in_(select(positions.host).distinct()))
        if sources is not None and len(sources) <= MANY:
            statement = statement.where((c.source + 0).in_(sources))  # told so that the key makes no range of it
        wanted = None if sources is None else set(sources)
        for row in self._stream(statement):
            if wanted is None or row[0] in wanted:
                yield keyed_sample(row)

    def samples_during(self, execution_id: str) -> Iterator[SampleRow]:
        found = self._find(execution_id)
        return iter(()) if found is None else (row for _, row in self._samples_of(found))

    def _samples_of(self, found: Found) -> Iterator[tuple[Key, SampleRow]]:
        """What the process of an execution sampled while that ran."""
        c = self._tables.resource_samples.c
        own = (c.host == found.host, within(c.at_ns, [span_of(found)]), c.source + 0 == found.source)
        return (keyed_sample(row) for row in self._stream(self._select_samples().where(*own)))

    def _select_samples(self) -> Select[Any]:
        c = self._tables.resource_samples.c
        names = SampleRow.__dataclass_fields__
        return select(c.source, c.seq, *(c[name] for name in names)).order_by(c.at_ns, c.source, c.seq)


def span_of(found: Found) -> Span:
    """From the beginning of an execution to its end."""
    return Span(found.started_at_ns, FOREVER_NS if found.ended_at_ns is None else found.ended_at_ns)


def sorted_timeline(execution: ExecutionRow, steps: list[StepRow], recoveries: list[RecoveryRow]) -> Timeline:
    """An execution with its parts in the order of their beginnings."""
    steps.sort(key=lambda step: (step.started_at_ns, step.step_no))
    recoveries.sort(key=lambda recovery: recovery.started_at_ns)
    return Timeline(execution, steps, recoveries)


def keyed_execution(row: Sequence[Any]) -> tuple[Key, ExecutionRow]:
    """A row of source, seq and the fields of `ExecutionRow`, the last of which is JSON text or None."""
    source, seq, *values = row
    values[-1] = msgspec.json.decode(values[-1]) if values[-1] else {}
    return (source, seq), ExecutionRow(*values)


def keyed_sample(row: Sequence[Any]) -> tuple[Key, SampleRow]:
    """A row of source, seq and the fields of `SampleRow`, the last two of which are JSON text or None."""
    decode = msgspec.json.decode
    values: list[Any] = list(row[2:])
    values[-2:] = (decode(text) if text else [] for text in values[-2:])
    return (row[0], row[1]), SampleRow(*values)
