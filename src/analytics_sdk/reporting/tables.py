"""Every number of a report as tables: what a chart shows, for those who cannot see it or want to know exactly."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from analytics_sdk.query.results import ExecutionRow
from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.findings import name_error, rank_failing
from analytics_sdk.reporting.report_data import ReportData, StepLine
from analytics_sdk.reporting.scales import merge_buckets
from analytics_sdk.reporting.usage import find_peaks
from analytics_sdk.reporting.words import NOTHING, Words, is_known, make_inert

MOST_ROWS = 200
LATEST = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows, and the value that sorts it. A number stands at the right; a status has its mark."""

    text: str
    value: float | str
    status: str | None = None

    @property
    def is_number(self) -> bool:
        return not isinstance(self.value, str)


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its phrase; `is_number` aligns its name with what stands beneath."""

    key: str
    is_number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns; `left_out` is how many rows more there are."""

    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    left_out: int = 0


def _text(text: str | None) -> Cell:
    shown = make_inert(text or "") or NOTHING
    return Cell(shown, shown.casefold())


def _number(text: str, value: float | None) -> Cell:
    return Cell(text, value if value is not None and is_known(value) else -inf)


def _table(columns: str, rows: Iterable[list[Cell]]) -> Table:
    """A table of columns given as words, where `-` after a word says that it holds text."""
    kept = list(rows)
    names = [Column(f"column.{word.removesuffix('-')}", not word.endswith("-")) for word in columns.split()]
    return Table(names, kept[:MOST_ROWS], max(0, len(kept) - MOST_ROWS))


def make_table(key: str, data: ReportData, words: Words) -> Table:
    """The table of a chart."""
    return _TABLES[key](data, words)


def _success(data: ReportData, words: Words) -> Table:
    return _table(
        "from- n success_rate first_pass_rate",
        (
            [
                Cell(words.moment(point.start_ns, seconds=data.bucket_ns < 60 * 10**9), float(point.start_ns)),
                _number(words.count(point.n), point.n),
                _number(words.percent(point.success_rate), point.success_rate),
                _number(words.percent(point.first_pass_rate), point.first_pass_rate),
            ]
            for point in data.points
            if point.n
        ),
    )


def _duration(data: ReportData, words: Words) -> Table:
    return _table(
        "from- n p50 p95",
        (
            [
                Cell(words.moment(point.start_ns, seconds=data.bucket_ns < 60 * 10**9), float(point.start_ns)),
                _number(words.count(point.n), point.n),
                _number(words.duration(point.p50_duration_ns), point.p50_duration_ns),
                _number(words.duration(point.p95_duration_ns), point.p95_duration_ns),
            ]
            for point in data.points
            if point.p50_duration_ns is not None
        ),
    )


def _distribution(data: ReportData, words: Words) -> Table:
    return _table(
        "low high executions",
        (
            [
                _number(words.duration(low_ns), low_ns),
                _number(words.duration(high_ns), high_ns),
                _number(words.count(count), count),
            ]
            for low_ns, high_ns, count in merge_buckets(data.distribution.buckets, 24)
            if count
        ),
    )


def _errors(data: ReportData, words: Words) -> Table:
    return _table(
        "error- times first_seen last_seen",
        (
            [
                _text(name_error(error, words)),
                _number(words.count(error.n), error.n),
                _number(words.moment(to_ns(error.first_seen)), to_ns(error.first_seen)),
                _number(words.moment(to_ns(error.last_seen)), to_ns(error.last_seen)),
            ]
            for error in data.numbers.errors
        ),
    )


def _slow_steps(data: ReportData, words: Words) -> Table:
    return _steps(data, words, data.numbers.steps)


def _failing_steps(data: ReportData, words: Words) -> Table:
    return _steps(data, words, rank_failing(data.numbers.steps))


def _steps(data: ReportData, words: Words, steps: Sequence[StepLine]) -> Table:
    several = len({step.workflow_id for step in data.numbers.steps}) > 1
    return _table(
        ("workflow- " if several else "") + "node- action- n success_rate failed recovered p50 p95 p99",
        (
            [
                *([_text(step.workflow_id)] if several else []),
                _text(step.node_id),
                _text(step.action_type),
                _number(words.count(step.n), step.n),
                _number(words.percent(step.success_rate), step.success_rate),
                _number(words.count(step.failed), step.failed),
                _number(words.count(step.recovered), step.recovered),
                _number(words.seconds(step.p50_duration), step.p50_duration),
                _number(words.seconds(step.p95_duration), step.p95_duration),
                _number(words.seconds(step.p99_duration), step.p99_duration),
            ]
            for step in steps
        ),
    )


def _recoveries(data: ReportData, words: Words) -> Table:
    return _table(
        "strategy- attempts worked success_rate avg",
        (
            [
                _text(line.strategy),
                _number(words.count(line.attempts), line.attempts),
                _number(words.count(line.succeeded), line.succeeded),
                _number(words.percent(line.success_rate), line.success_rate),
                _number(words.seconds(line.avg_duration), line.avg_duration),
            ]
            for line in data.numbers.recovery.strategies
        ),
    )


def _gantt(data: ReportData, words: Words) -> Table:
    if data.timeline is None:
        return _table("node- status- after duration error-", [])
    start_ns = data.timeline.execution.started_at_ns
    rows = [
        (
            step.started_at_ns,
            [
                _text(step.node_id),
                Cell(words.status(step.status), step.status, step.status),
                _number(words.duration(step.started_at_ns - start_ns), step.started_at_ns - start_ns),
                _number(words.duration(step.duration_ns), step.duration_ns),
                _text(": ".join(part for part in (step.error_type, step.error_message) if part)),
            ],
        )
        for step in data.timeline.steps
    ]
    rows += [
        (
            recovery.started_at_ns,
            [
                _text(f"{words('mark.recovery')}: {recovery.strategy}"),
                Cell(
                    words("mark.worked" if recovery.success else "mark.did_not"),
                    "recovered" if recovery.success else "failed",
                ),
                _number(words.duration(recovery.started_at_ns - start_ns), recovery.started_at_ns - start_ns),
                _number(words.duration(recovery.duration_ns), recovery.duration_ns),
                _text(recovery.error_message),
            ],
        )
        for recovery in data.timeline.recoveries
    ]
    return _table("node- status- after duration error-", (cells for _, cells in sorted(rows, key=lambda row: row[0])))


def _resources(data: ReportData, words: Words) -> Table:
    return _table(
        "process- samples cpu memory gpu",
        (
            [
                _text(peak.process),
                _number(words.count(peak.n), peak.n),
                _number(words.percent(peak.cpu_percent), peak.cpu_percent),
                _number(words.size(peak.rss_bytes), peak.rss_bytes),
                _number(words.percent(peak.gpu_percent), peak.gpu_percent),
            ]
            for peak in find_peaks(data)
        ),
    )


_TABLES: dict[str, Callable[[ReportData, Words], Table]] = {
    "success": _success,
    "duration": _duration,
    "distribution": _distribution,
    "errors": _errors,
    "slow_steps": _slow_steps,
    "failing_steps": _failing_steps,
    "recoveries": _recoveries,
    "gantt": _gantt,
    "resources": _resources,
}


def workflows_table(data: ReportData, words: Words) -> Table:
    """A line a workflow."""
    return _table(
        "workflow- executions success_rate first_pass_rate avg p95",
        (
            [
                _text(line.workflow_id),
                _number(words.count(line.n), line.n),
                _number(words.percent(line.success_rate), line.success_rate),
                _number(words.percent(line.first_pass_rate), line.first_pass_rate),
                _number(words.seconds(line.avg_duration), line.avg_duration),
                _number(words.seconds(line.p95_duration), line.p95_duration),
            ]
            for line in data.numbers.workflows
        ),
    )


def running_table(data: ReportData, words: Words) -> Table:
    """What has not ended."""
    return _table(
        "workflow- execution- started elapsed",
        (
            [
                _text(line.workflow_id),
                _text(line.execution_id),
                _number(words.moment(to_ns(line.started_at)), to_ns(line.started_at)),
                _number(words.seconds(line.elapsed_seconds), line.elapsed_seconds),
            ]
            for line in data.numbers.running
        ),
    )


def latest_table(data: ReportData, words: Words) -> Table:
    """The newest executions."""

    def row(execution: ExecutionRow) -> list[Cell]:
        error = ": ".join(part for part in (execution.error_type, execution.error_message) if part)
        return [
            _text(execution.workflow_id),
            Cell(words.status(execution.status), execution.status, execution.status),
            _number(words.moment(execution.started_at_ns, seconds=True), execution.started_at_ns),
            _number(words.duration(execution.duration_ns), execution.duration_ns),
            _text(error),
        ]

    return _table(
        "workflow- status- started duration error-", (row(execution) for execution in data.executions[:LATEST])
    )
