"""Every number of a report as tables: what a chart shows, for those who cannot see it or want to know exactly."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from analytics_sdk.query.results import RecoveryRow
from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.findings import name_error, name_node, rank_failing
from analytics_sdk.reporting.report_data import ReportData, StepLine
from analytics_sdk.reporting.scales import merge_buckets
from analytics_sdk.reporting.usage import find_peaks
from analytics_sdk.reporting.words import NOTHING, Words, is_known, make_inert, shorten

MOST_ROWS = 200
MOST_LETTERS = 200
"""Longer text is cut in its middle; the whole of it stands in JSON and CSV."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows, and the value that sorts it. A number stands at the right; a status has its mark.

    An unknown value, an empty text or a number that is not finite, stays last however the table is sorted.
    """

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


def text_cell(text: str | None) -> Cell:
    """Stored text."""
    known = make_inert(text or "")
    return Cell(known or NOTHING, known.casefold())


def status_cell(status: str, words: Words) -> Cell:
    """A status in the reader's language, by which it sorts too."""
    shown = words.status(status)
    return Cell(shown, shown.casefold(), status)


def number_cell(text: str, value: float | None) -> Cell:
    """A number as it is said, and as it sorts."""
    return Cell(text, value if value is not None and is_known(value) else -inf)


def lay_table(columns: str, rows: Iterable[list[Cell]]) -> Table:
    """A table of columns given as words, where `-` after a word says that it holds text."""
    every = list(rows)
    kept = [[replace(cell, text=shorten(cell.text, MOST_LETTERS)) for cell in row] for row in every[:MOST_ROWS]]
    names = [Column(f"column.{word.removesuffix('-')}", not word.endswith("-")) for word in columns.split()]
    return Table(names, kept, len(every) - len(kept))


def make_table(key: str, data: ReportData, words: Words) -> Table:
    """The table of a chart."""
    return _TABLES[key](data, words)


def _success(data: ReportData, words: Words) -> Table:
    return lay_table(
        "from- n success_rate first_pass_rate",
        (
            [
                Cell(words.moment(point.start_ns, seconds=data.bucket_ns < 60 * 10**9), float(point.start_ns)),
                number_cell(words.count(point.n), point.n),
                number_cell(words.percent(point.success_rate), point.success_rate),
                number_cell(words.percent(point.first_pass_rate), point.first_pass_rate),
            ]
            for point in data.points
            if point.n
        ),
    )


def _duration(data: ReportData, words: Words) -> Table:
    return lay_table(
        "from- n p50 p95",
        (
            [
                Cell(words.moment(point.start_ns, seconds=data.bucket_ns < 60 * 10**9), float(point.start_ns)),
                number_cell(words.count(point.n), point.n),
                number_cell(words.duration(point.p50_duration_ns), point.p50_duration_ns),
                number_cell(words.duration(point.p95_duration_ns), point.p95_duration_ns),
            ]
            for point in data.points
            if point.p50_duration_ns is not None
        ),
    )


def _distribution(data: ReportData, words: Words) -> Table:
    return lay_table(
        "low high executions",
        (
            [
                number_cell(words.duration(low_ns), low_ns),
                number_cell(words.duration(high_ns), high_ns),
                number_cell(words.count(count), count),
            ]
            for low_ns, high_ns, count in merge_buckets(data.distribution.buckets, 24)
            if count
        ),
    )


def _errors(data: ReportData, words: Words) -> Table:
    return lay_table(
        "error- times first_seen last_seen",
        (
            [
                text_cell(name_error(error, words)),
                number_cell(words.count(error.n), error.n),
                number_cell(words.moment(to_ns(error.first_seen)), to_ns(error.first_seen)),
                number_cell(words.moment(to_ns(error.last_seen)), to_ns(error.last_seen)),
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
    return lay_table(
        ("workflow- " if several else "") + "node- action- n success_rate failed recovered p50 p95 p99",
        (
            [
                *([text_cell(step.workflow_id)] if several else []),
                text_cell(step.node_id),
                text_cell(step.action_type),
                number_cell(words.count(step.n), step.n),
                number_cell(words.percent(step.success_rate), step.success_rate),
                number_cell(words.count(step.failed), step.failed),
                number_cell(words.count(step.recovered), step.recovered),
                number_cell(words.seconds(step.p50_duration), step.p50_duration),
                number_cell(words.seconds(step.p95_duration), step.p95_duration),
                number_cell(words.seconds(step.p99_duration), step.p99_duration),
            ]
            for step in steps
        ),
    )


def _recoveries(data: ReportData, words: Words) -> Table:
    return lay_table(
        "strategy- attempts worked success_rate interval avg total verified refuted unknown",
        (
            [
                text_cell(line.strategy),
                number_cell(words.count(line.attempts), line.attempts),
                number_cell(words.count(line.succeeded), line.succeeded),
                number_cell(words.percent(line.success_rate), line.success_rate),
                number_cell(words.interval(line.ci_low, line.ci_high), line.ci_low),
                number_cell(words.seconds(line.avg_duration), line.avg_duration),
                number_cell(words.seconds(line.total_duration), line.total_duration),
                number_cell(words.count(line.verified), line.verified),
                number_cell(words.count(line.refuted), line.refuted),
                number_cell(words.count(line.unknown), line.unknown),
            ]
            for line in data.numbers.recovery.strategies
        ),
    )


def _hotspots(data: ReportData, words: Words) -> Table:
    return lay_table(
        "node- attempts worked total",
        (
            [
                text_cell(name_node(line.workflow_id, line.node_id, data.numbers.recovery.hotspots)),
                number_cell(words.count(line.attempts), line.attempts),
                number_cell(words.count(line.succeeded), line.succeeded),
                number_cell(words.seconds(line.total_duration), line.total_duration),
            ]
            for line in data.numbers.recovery.hotspots
        ),
    )


def _outcome_cell(recovery: RecoveryRow, words: Words) -> Cell:
    """Whether an attempt worked."""
    said = words("mark.worked" if recovery.success else "mark.did_not")
    if recovery.verdict:
        said = f"{said}, {words(f'mark.{recovery.verdict}')}"
    return Cell(said, said.casefold(), "recovered" if recovery.success else "failed")


def _gantt(data: ReportData, words: Words) -> Table:
    if data.timeline is None:
        return lay_table("node- status- after duration error-", [])
    start_ns = data.timeline.execution.started_at_ns
    rows = [
        (
            step.started_at_ns,
            [
                text_cell(step.node_id),
                status_cell(step.status, words),
                number_cell(words.duration(step.started_at_ns - start_ns), step.started_at_ns - start_ns),
                number_cell(words.duration(step.duration_ns), step.duration_ns),
                text_cell(": ".join(part for part in (step.error_type, step.error_message) if part)),
            ],
        )
        for step in data.timeline.steps
    ]
    rows += [
        (
            recovery.started_at_ns,
            [
                text_cell(f"{words('mark.recovery')}: {recovery.strategy}"),
                _outcome_cell(recovery, words),
                number_cell(words.duration(recovery.started_at_ns - start_ns), recovery.started_at_ns - start_ns),
                number_cell(words.duration(recovery.duration_ns), recovery.duration_ns),
                text_cell(recovery.error_message),
            ],
        )
        for recovery in data.timeline.recoveries
    ]
    rows.sort(key=lambda row: row[0])
    return lay_table("node- status- after duration error-", (cells for _, cells in rows))


def _resources(data: ReportData, words: Words) -> Table:
    return lay_table(
        "process- samples cpu memory gpu",
        (
            [
                text_cell(peak.process),
                number_cell(words.count(peak.n), peak.n),
                number_cell(words.percent(peak.cpu_percent), peak.cpu_percent),
                number_cell(words.size(peak.rss_bytes), peak.rss_bytes),
                number_cell(words.percent(peak.gpu_percent), peak.gpu_percent),
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
    "hotspots": _hotspots,
    "gantt": _gantt,
    "resources": _resources,
}
