"""Reading from a SQL store and its archive as if everything still stood in the store.

The manifest is read in the transaction that reads the rows, and a file is in it if and only if its rows are no longer
in the tables: each row is seen once. Rollups and what lies behind them never go to the archive. An answer for which a
file could not be read says so among its losses; one that tells of no losses is refused.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from analytics_sdk.errors import ArchiveError
from analytics_sdk.histogram import bucket_of
from analytics_sdk.query.archived import ArchivedRows, Condition, in_spans, of_workflows, one_of
from analytics_sdk.query.reader import DurationRange, ExecutionFact, Loss, RecoveryFact, StepFact, Workflows
from analytics_sdk.query.results import ExecutionRow, SampleRow
from analytics_sdk.query.sql_reader import Fact, SqlReader, SqlSnapshot
from analytics_sdk.query.sql_rows import (
    FOREVER_NS,
    STEP_NAMES,
    TIMED_WORDS,
    Found,
    Key,
    keyed_execution,
    keyed_sample,
    span_of,
)
from analytics_sdk.query.window import Span
from analytics_sdk.rollup import HOUR_NS, WHOLE
from analytics_sdk.sinks.manifest import find_files
from analytics_sdk.sinks.schema import Tables

_DAY_NS = 24 * HOUR_NS


class ArchiveReader(SqlReader):
    """Reads what a `SqlSink` keeps, and what was archived from it."""

    def __init__(self, engine: Engine, tables: Tables, folder: Path) -> None:
        super().__init__(engine, tables)
        self._folder = folder

    @contextmanager
    def snapshot(self) -> Iterator[SqlSnapshot]:
        """See `Reader.snapshot`.

        Raises:
            ArchiveError: a file that the answer needs cannot be read, and the answer does not tell of losses.
        """
        with self.reading() as connection:
            snapshot = ArchiveSnapshot(connection, self._tables, self._folder)
            try:
                yield snapshot
            finally:
                snapshot.archived.close()
        snapshot.refuse_untold()


class ArchiveSnapshot(SqlSnapshot):
    """See `Snapshot`."""

    def __init__(self, connection: Connection, tables: Tables, folder: Path) -> None:
        super().__init__(connection, tables)
        self.archived = ArchivedRows(folder, lambda table, spans: find_files(connection, tables, table, spans))
        self._folder = folder
        self._told = False

    def refuse_untold(self) -> None:
        """Raises:
        ArchiveError: something could not be read, and `losses` was not asked.
        """
        if self.archived.unread and not self._told:
            file, fault = next(iter(self.archived.unread.values()))
            raise ArchiveError(
                f"{self._folder / file.path} is {fault}, and {file.rows} rows of {file.day} with it; "
                "put it back, or set archive_dir to where it is"
            )

    def losses(self, span: Span) -> list[Loss]:
        self._told = True
        found = super().losses(span)
        for file, fault in self.archived.unread.values():
            first_ns, last_ns = file.first_started_at_ns, file.last_started_at_ns
            found.append(Loss(file.table_name, f"archive file {fault}", file.rows, first_ns, last_ns))
        return found

    # ---------------------------------------------------------------- facts

    def _facts(
        self, fact: type[Fact], table: Table, workflows: Workflows, spans: Sequence[Span], tail: bool
    ) -> Iterator[Fact]:
        hot = super()._facts(fact, table, workflows, spans, tail)
        if tail:
            yield from hot  # because nothing of the tail is archived
            return
        healed: dict[Key, Any] = {}
        for row in hot:
            if isinstance(row, StepFact) and row.end_seq is None and row.heal_seq is not None:
                healed[row.source, row.seq] = row
            else:
                yield row
        name = {ExecutionFact: "executions", StepFact: "steps", RecoveryFact: "recoveries"}[fact]
        where = [in_spans("started_at_ns", spans), *of_workflows(workflows)]
        for values in self.archived.read(name, fact._fields, where, spans=spans):
            old = fact._make(values)
            new = healed.pop((old.source, old.seq), None)
            # Because what was healed after it was archived stands in the store again, without its ending.
            yield old if new is None else new._replace(end_seq=old.end_seq)  # type: ignore[attr-defined]  # a step
        yield from healed.values()

    def durations(self, span: Span, ranges: Sequence[DurationRange]) -> Mapping[DurationRange, list[int]]:
        found = {wanted: list(values) for wanted, values in super().durations(span, ranges).items()}
        wanted = {(one.workflow_id, one.node_id, bucket_of(one.high_ns)): one for one in ranges}
        workflows = sorted({one.workflow_id for one in ranges})
        where = [in_spans("started_at_ns", [span]), *of_workflows(workflows), one_of("status", TIMED_WORDS)]
        where.append(("end_seq IS NOT NULL AND duration_ns IS NOT NULL", ()))
        for table, node, some in (
            ("executions", "NULL", [one for one in ranges if one.node_id == WHOLE]),
            ("steps", "node_id", [one for one in ranges if one.node_id != WHOLE]),
        ):
            if not some:
                continue
            limits = sorted({(one.low_ns, one.high_ns) for one in some})
            text = " OR ".join(["duration_ns BETWEEN ? AND ?"] * len(limits))
            near: Condition = (text, [edge for pair in limits for edge in pair])
            columns = ("workflow_id", node, "duration_ns")
            for workflow_id, node_id, duration_ns in self.archived.read(table, columns, [*where, near], spans=[span]):
                key = (workflow_id or "", WHOLE if node_id is None else node_id, bucket_of(duration_ns))
                if key in wanted:
                    found.setdefault(wanted[key], []).append(duration_ns)
        return found

    # ---------------------------------------------------------------- rows

    def _keyed_executions(
        self, workflows: Workflows, span: Span, running_only: bool, limit: int | None
    ) -> list[tuple[Key, ExecutionRow]]:
        hot = super()._keyed_executions(workflows, span, running_only, limit)
        if running_only:
            return hot  # because nothing that runs is archived
        ending = "ORDER BY started_at_ns DESC, source DESC, seq DESC" + (f" LIMIT {int(limit)}" if limit else "")
        where = [in_spans("started_at_ns", [span]), *of_workflows(workflows)]
        rows = self.archived.read("executions", _with_key(ExecutionRow), where, spans=[span], ending=ending)
        cold = [keyed_execution(row) for row in rows]
        return list(heapq.merge(hot, cold, key=lambda one: (one[1].started_at_ns, *one[0]), reverse=True))[:limit]

    def _keyed_slowest(self, workflows: Workflows, span: Span) -> tuple[Key, ExecutionRow] | None:
        where = [in_spans("started_at_ns", [span]), *of_workflows(workflows), one_of("status", TIMED_WORDS)]
        where.append(("duration_ns IS NOT NULL", ()))
        ending = "ORDER BY duration_ns DESC, started_at_ns, source, seq LIMIT 1"
        rows = self.archived.read("executions", _with_key(ExecutionRow), where, spans=[span], ending=ending)
        found = [*map(keyed_execution, rows)]
        if (hot := super()._keyed_slowest(workflows, span)) is not None:
            found.append(hot)
        return min(found, key=lambda one: (-(one[1].duration_ns or 0), one[1].started_at_ns, *one[0]), default=None)

    def _find(self, execution_id: str) -> Found | None:
        hot = super()._find(execution_id)
        where = [("execution_id = ?", [execution_id])]
        ending = "ORDER BY started_at_ns LIMIT 1"
        cold = [Found(*row) for row in self.archived.read("executions", Found._fields, where, ending=ending)]
        return min([*cold, *([hot] if hot else [])], key=lambda found: found.started_at_ns, default=None)

    def _execution(self, found: Found) -> ExecutionRow:
        at = Span(found.started_at_ns, found.started_at_ns + 1)
        where = [("source = ? AND seq = ?", [found.source, found.seq])]
        for row in self.archived.read("executions", _with_key(ExecutionRow), where, spans=[at]):
            return keyed_execution(row)[1]
        return super()._execution(found)

    def _parts(
        self, part: Table, names: Sequence[str], execution_id: str, found: Found
    ) -> Iterator[tuple[Key, Sequence[Any]]]:
        hot = dict(super()._parts(part, names, execution_id, found))
        yield from hot.items()
        seqs, last_ns = (found.seq, FOREVER_NS), FOREVER_NS
        if names is STEP_NAMES and found.end_seq is not None:
            seqs, last_ns = (found.seq, found.end_seq), found.ended_at_ns or FOREVER_NS
        own: Condition = ("source = ? AND seq BETWEEN ? AND ?", [found.source, *seqs])
        meanwhile: Condition = ("started_at_ns BETWEEN ? AND ?", [found.started_at_ns, last_ns])
        either: Condition = (f"({own[0]}) OR (source <> ? AND {meanwhile[0]})", [*own[1], found.source, *meanwhile[1]])
        of_it: Condition = ("execution_id = ?", [execution_id])
        where = [of_it, meanwhile if found.seq == found.end_seq else either]
        # A day more at both ends, because the clock may have been set back while it ran.
        near = Span(found.started_at_ns - _DAY_NS, min(FOREVER_NS, last_ns + _DAY_NS))
        name = "steps" if names is STEP_NAMES else "recoveries"
        columns = ("source", "seq", *names)
        for source, seq, *values in self.archived.read(
            name, columns, where, spans=[near], ending="ORDER BY source, seq"
        ):
            if (source, seq) not in hot:
                yield (source, seq), values

    def _keyed_samples(self, span: Span, sources: Sequence[int] | None) -> Iterator[tuple[Key, SampleRow]]:
        where = [in_spans("at_ns", [span])]
        if sources is not None:
            where.append(one_of("source", sources or [-1]))
        return self._with_archived_samples(super()._keyed_samples(span, sources), where, span)

    def _samples_of(self, found: Found) -> Iterator[tuple[Key, SampleRow]]:
        span = span_of(found)
        where = [in_spans("at_ns", [span]), ("host = ? AND source = ?", [found.host, found.source])]
        return self._with_archived_samples(super()._samples_of(found), where, span)

    def _with_archived_samples(
        self, hot: Iterator[tuple[Key, SampleRow]], where: list[Any], span: Span
    ) -> Iterator[tuple[Key, SampleRow]]:
        if not self.archived.files("resource_samples", [span]):
            return hot
        rows = self.archived.read(
            "resource_samples", _with_key(SampleRow), where, spans=[span], ending="ORDER BY at_ns, source, seq"
        )
        return heapq.merge(hot, map(keyed_sample, rows), key=lambda one: (one[1].at_ns, *one[0]))

    # ---------------------------------------------------------------- what there is

    def _first_row_ns(self, workflows: Workflows) -> int | None:
        first_ns = super()._first_row_ns(workflows)
        for _, files in groupby(self.archived.files("executions"), key=lambda file: file.day):
            some = list(files)
            low_ns = min(file.first_started_at_ns for file in some)
            if first_ns is not None and low_ns >= first_ns:
                break  # because files stand in the order of their days
            if workflows is None:
                return low_ns
            span = Span(low_ns, max(file.last_started_at_ns for file in some) + 1)
            columns = ["min(started_at_ns)"]
            for (found_ns,) in self.archived.read("executions", columns, of_workflows(workflows), spans=[span]):
                if found_ns is not None:
                    return int(found_ns) if first_ns is None else min(first_ns, int(found_ns))
        return first_ns

    def workflow_ids(self, limit: int) -> list[str]:
        found = super().workflow_ids(limit)
        if not self.archived.files("executions"):
            return found
        c = self._tables.rollups.c
        counted: list[str] = []
        while len(counted) < limit:  # as in the store, where an archived execution leaves nothing but what was counted
            behind = select(func.min(c.workflow_id)).where(c.workflow_id > (counted[-1] if counted else ""))
            following = self._connection.execute(behind).scalar()
            if following is None:
                break
            counted.append(following)
        return sorted({*found, *counted})[:limit]


def _with_key(kind: type) -> list[str]:
    """The columns of a row with its key before it."""
    return ["source", "seq", *(field.name for field in fields(kind))]
