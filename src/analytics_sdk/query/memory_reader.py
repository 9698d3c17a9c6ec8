"""Reading from a `MemorySink`: no rollups, every row is tail, and the arithmetic is the same."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec

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
from analytics_sdk.query.results import ExecutionRow, RecoveryRow, SampleRow, StepRow, Timeline
from analytics_sdk.query.window import Plan, Span
from analytics_sdk.rollup import TIMED, WHOLE
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.vocabulary import STATUSES

Row = Mapping[str, Any]
Fact = TypeVar("Fact", ExecutionFact, StepFact, RecoveryFact)

_FOREVER_NS = (1 << 63) - 1
_TIMED_WORDS = frozenset(STATUSES[status] for status in TIMED)


class MemoryReader:
    """Reads what a `MemorySink` keeps."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink

    @contextmanager
    def snapshot(self) -> Iterator["MemorySnapshot"]:
        """See `Reader.snapshot`: each list is copied when the block is entered."""
        yield MemorySnapshot(self._sink)


def _inside(row: Row, spans: Iterable[Span], workflows: Workflows) -> bool:
    if workflows is not None and (row["workflow_id"] or "") not in workflows:
        return False
    return any(start_ns <= row["started_at_ns"] < end_ns for start_ns, end_ns in spans)


class MemorySnapshot:
    """See `Snapshot`."""

    def __init__(self, sink: MemorySink) -> None:
        self._executions: list[Row] = list(sink.executions)
        self._steps: list[Row] = list(sink.steps)
        self._recoveries: list[Row] = list(sink.recoveries)
        self._samples: list[Row] = list(sink.samples)
        self._losses: list[Row] = list(sink.losses)
        self._positions = sink.positions

    def sources(self) -> Mapping[int, Source]:
        return {}

    def cells(self, _workflows: Workflows, _plan: Plan) -> Iterator[CellRow]:
        return iter(())

    def executions(self, workflows: Workflows, spans: Sequence[Span], _tail: bool) -> Iterator[ExecutionFact]:
        return self._facts(ExecutionFact, self._executions, workflows, spans)

    def steps(self, workflows: Workflows, spans: Sequence[Span], _tail: bool) -> Iterator[StepFact]:
        return self._facts(StepFact, self._steps, workflows, spans)

    def recoveries(self, workflows: Workflows, spans: Sequence[Span], _tail: bool) -> Iterator[RecoveryFact]:
        return self._facts(RecoveryFact, self._recoveries, workflows, spans)

    def _facts(
        self, fact: type[Fact], rows: Iterable[Row], workflows: Workflows, spans: Sequence[Span]
    ) -> Iterator[Fact]:
        for row in rows:
            if _inside(row, spans, workflows):
                yield fact._make(row[name] for name in fact._fields)

    def durations(self, span: Span, ranges: Sequence[DurationRange]) -> Mapping[DurationRange, list[int]]:
        wanted = {(one.workflow_id, one.node_id, bucket_of(one.high_ns)): one for one in ranges}
        found: dict[DurationRange, list[int]] = defaultdict(list)
        for rows, of_step in ((self._executions, False), (self._steps, True)):
            for row in rows:
                if row["status"] not in _TIMED_WORDS or row["end_seq"] is None or not _inside(row, [span], None):
                    continue
                node_id = row["node_id"] if of_step else WHOLE
                key = (row["workflow_id"] or "", node_id, bucket_of(row["duration_ns"]))
                if key in wanted:
                    found[wanted[key]].append(row["duration_ns"])
        return found

    def execution_rows(
        self, workflows: Workflows, span: Span, *, running_only: bool = False, limit: int | None = None
    ) -> list[ExecutionRow]:
        rows = [row for row in self._executions if _inside(row, [span], workflows)]
        rows = [row for row in rows if not running_only or row["status"] == "running"]
        rows.sort(key=lambda row: (row["started_at_ns"], row["source"], row["seq"]), reverse=True)
        return [_execution_row(row) for row in rows[:limit]]

    def slowest(self, workflows: Workflows, span: Span) -> ExecutionRow | None:
        rows = [
            row
            for row in self._executions
            if _inside(row, [span], workflows) and row["status"] in _TIMED_WORDS and row["duration_ns"] is not None
        ]
        if not rows:
            return None
        return _execution_row(max(rows, key=lambda row: (row["duration_ns"], -row["started_at_ns"])))

    def timeline(self, execution_id: str) -> Timeline | None:
        found = [row for row in self._executions if row["execution_id"] == execution_id]
        if not found:
            return None
        execution = min(found, key=lambda row: row["started_at_ns"])
        steps = [_made(StepRow, row) for row in self._steps if row["execution_id"] == execution_id]
        recoveries = [_made(RecoveryRow, row) for row in self._recoveries if row["execution_id"] == execution_id]
        steps.sort(key=lambda step: (step.started_at_ns, step.step_no))
        recoveries.sort(key=lambda recovery: recovery.started_at_ns)
        return Timeline(_execution_row(execution), steps, recoveries)

    def samples(self, span: Span, sources: Sequence[int] | None = None) -> Iterator[SampleRow]:
        wanted = None if sources is None else set(sources)
        rows = [row for row in self._samples if span.start_ns <= row["at_ns"] < span.end_ns]
        for row in sorted(rows, key=lambda row: (row["at_ns"], row["source"], row["seq"])):
            if wanted is None or row["source"] in wanted:
                yield _sample_row(row)

    def samples_during(self, execution_id: str) -> Iterator[SampleRow]:
        found = [row for row in self._executions if row["execution_id"] == execution_id]
        if found:
            execution = min(found, key=lambda row: row["started_at_ns"])
            end_ns = execution["ended_at_ns"]
            span = Span(execution["started_at_ns"], _FOREVER_NS if end_ns is None else end_ns)
            yield from self.samples(span, [execution["source"]])

    def losses(self, span: Span) -> list[Loss]:
        summed: dict[tuple[str, str], Loss] = {}
        for row in self._losses:
            if not row["n"] or row["first_at_ns"] >= span.end_ns or row["last_at_ns"] < span.start_ns:
                continue
            key, n, first, last = (row["kind"], row["reason"]), row["n"], row["first_at_ns"], row["last_at_ns"]
            known = summed.get(key, Loss(*key, 0, first, last))
            summed[key] = Loss(*key, known.n + n, min(known.first_at_ns, first), max(known.last_at_ns, last))
        return [loss for _, loss in sorted(summed.items())]

    def first_started_at_ns(self, workflows: Workflows) -> int | None:
        return min(
            (
                cast(int, row["started_at_ns"])
                for row in self._executions
                if workflows is None or row["workflow_id"] in workflows
            ),
            default=None,
        )

    def check(self) -> None:
        """Nothing, because what lives in memory is of today's version."""

    def positions(self) -> dict[str, int]:
        return self._positions

    def workflow_ids(self, limit: int) -> list[str]:
        return sorted({row["workflow_id"] for row in self._executions})[:limit]


Made = TypeVar("Made", StepRow, RecoveryRow, SampleRow)


def _made(kind: type[Made], row: Row) -> Made:
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})


def _sample_row(row: Row) -> SampleRow:
    listed = {name: msgspec.json.decode(row[name]) if row[name] else [] for name in ("gpus", "running")}
    return _made(SampleRow, {**row, **listed})


def _execution_row(row: Row) -> ExecutionRow:
    values = {name: row[name] for name in ExecutionRow.__dataclass_fields__}
    return ExecutionRow(**{**values, "tags": msgspec.json.decode(row["tags"]) if row["tags"] else {}})
