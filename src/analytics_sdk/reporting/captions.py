"""What stands around a chart: its title (the finding, where the numbers carry one), and what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics_sdk.reporting.advice import find_best
from analytics_sdk.reporting.critical_path import MOST_ROWS, find_critical
from analytics_sdk.reporting.findings import (
    find_duration_change,
    find_leader,
    find_success_change,
    name_error,
    name_steps,
    rank_failing,
)
from analytics_sdk.reporting.report_data import Recovery, ReportData
from analytics_sdk.reporting.words import Words, is_known, shorten


@dataclass(frozen=True, slots=True)
class Caption:
    """Title and subtitle of a chart."""

    title: str
    about: str


CHART_METRICS = {
    "success": "execution",
    "duration": "execution",
    "distribution": "execution",
    "slow_steps": "step",
    "failing_steps": "step",
    "errors": "execution",
    "recoveries": "recovery",
    "hotspots": "recovery",
    "gantt": "step",
    "resources": "resource",
}
"""The metric type that asks for each chart, in the order of the page."""


def why_missing(key: str, data: ReportData) -> str | None:
    """The phrase that says why a chart has nothing to show; None if it has something."""
    numbers = data.numbers
    missing = {
        "success": "none.recorded" if not any(any(point.counts.values()) or point.n for point in data.points) else None,
        "duration": "none.durations" if all(point.p50_duration_ns is None for point in data.points) else None,
        "distribution": "none.durations" if not data.distribution.n else None,
        "errors": "none.errors" if not numbers.errors else None,
        "slow_steps": "none.steps" if not any(is_known(step.p95_duration) for step in numbers.steps) else None,
        "failing_steps": "none.step_failures" if not rank_failing(numbers.steps) else None,
        "recoveries": "none.recoveries" if not numbers.recovery.attempts else None,
        "hotspots": _why_no_hotspots(numbers.recovery),
        "gantt": "none.timeline" if data.timeline is None or not data.timeline.steps else None,
        "resources": "none.samples" if not data.samples else None,
    }
    return missing[key]


def _why_no_hotspots(recovery: Recovery) -> str | None:
    if any(is_known(line.total_duration) and line.total_duration for line in recovery.hotspots):
        return None
    return "none.hotspots" if recovery.attempts else "none.recoveries"


def _bucket(data: ReportData, words: Words) -> str:
    return words.duration(data.bucket_ns, terse=True)


def caption_of(key: str, data: ReportData, words: Words) -> Caption:
    """Title and subtitle of a chart."""
    return _CAPTIONS[key](data, words)


def _caption_success(data: ReportData, words: Words) -> Caption:
    change = find_success_change(data.halves)
    title = words("chart.success")
    if change:
        name = change.name.removeprefix("success_")
        title = words(f"chart.success.{name}", before=words.percent(change.before), after=words.percent(change.after))
    n = words.executions(data.numbers.success_rate.n)
    period = words.period(data.start_ns, data.end_ns)
    return Caption(title, words("chart.success.about", bucket=_bucket(data, words), period=period, n=n))


def _caption_duration(data: ReportData, words: Words) -> Caption:
    change = find_duration_change(data.halves)
    title = words("chart.duration")
    if change:
        before, after = words.duration(change.before), words.duration(change.after)
        title = words(f"chart.duration.{change.name}", before=before, after=after)
    n = words.executions(data.numbers.performance.n)
    period = words.period(data.start_ns, data.end_ns)
    return Caption(title, words("chart.duration.about", bucket=_bucket(data, words), period=period, n=n))


def _caption_distribution(data: ReportData, words: Words) -> Caption:
    n = words.executions(data.distribution.n)
    return Caption(words("chart.distribution"), words("chart.distribution.about", n=n))


def _caption_errors(data: ReportData, words: Words) -> Caption:
    errors = data.numbers.errors
    total = sum(error.n for error in errors)
    leader = find_leader([(name_error(error, words), error.n) for error in errors], total)
    title = words("chart.errors")
    if leader and len(errors) > 1:
        share = words.percent(100 * leader.n / leader.total)
        title = words("chart.errors.leads", name=shorten(leader.name, 44), share=share)
    return Caption(title, words("chart.errors.about", n=words.count(total)) + _more(len(errors), words))


def _more(n: int, words: Words) -> str:
    return words("semicolon") + words("and_more", n=words.count(n - 8)) if n > 8 else ""


def _caption_slow_steps(data: ReportData, words: Words) -> Caption:
    about = words("chart.slow_steps.about")
    return Caption(words("chart.slow_steps"), about + _more(len(data.numbers.steps), words))


def _caption_failing_steps(data: ReportData, words: Words) -> Caption:
    steps = rank_failing(data.numbers.steps)
    total = sum(step.failed for step in steps)
    name = name_steps(data.numbers.steps)
    leader = find_leader([(name(step), step.failed) for step in steps], total)
    title = words("chart.failing_steps")
    if leader and len(steps) > 1:
        n, whole = words.count(leader.n), words.count(leader.total)
        title = words("chart.failing_steps.leads", name=shorten(leader.name, 36), n=n, total=whole)
    return Caption(title, words("chart.failing_steps.about") + _more(len(steps), words))


def _caption_recoveries(data: ReportData, words: Words) -> Caption:
    recovery = data.numbers.recovery
    about = words("chart.recoveries.about", n=words.count(recovery.attempts))
    title = words("chart.recoveries")
    if best := find_best(recovery.strategies):
        title = words("chart.recoveries.best", name=shorten(best.strategy, 36), rate=words.percent(best.success_rate))
    return Caption(title, about + _more(len(recovery.strategies), words))


def _caption_hotspots(data: ReportData, words: Words) -> Caption:
    recovery = data.numbers.recovery
    about = words("chart.hotspots.about", time=words.seconds(recovery.total_duration))
    return Caption(words("chart.hotspots"), about + _more(len(recovery.hotspots), words))


def _caption_gantt(data: ReportData, words: Words) -> Caption:
    timeline = data.timeline
    if timeline is None:
        return Caption(words("section.slowest"), "")
    execution = timeline.execution
    healing = sum(recovery.duration_ns for recovery in timeline.recoveries)
    title = words(
        "chart.gantt.healing" if healing else "chart.gantt",
        workflow=shorten(execution.workflow_id, 48),
        duration=words.duration(execution.duration_ns),
        healing=words.duration(healing),
    )
    moment = words.moment(execution.started_at_ns, seconds=True)
    about = words("chart.gantt.about", id=shorten(execution.execution_id, 16), moment=moment)
    said = [about]
    if len(find_critical(timeline.steps)) < len(timeline.steps):
        said.append(words("chart.gantt.critical"))
    if timeline.recoveries:
        said.append(words("chart.gantt.recoveries"))
    if len(timeline.steps) > MOST_ROWS:
        said.append(words("chart.gantt.cut", shown=words.count(MOST_ROWS), n=words.count(len(timeline.steps))))
    return Caption(title, words("semicolon").join(said))


def _caption_resources(data: ReportData, words: Words) -> Caption:
    n = words.count(len(data.samples))
    return Caption(words("chart.resources"), words("chart.resources.about", n=n))


_CAPTIONS = {
    "success": _caption_success,
    "duration": _caption_duration,
    "distribution": _caption_distribution,
    "errors": _caption_errors,
    "slow_steps": _caption_slow_steps,
    "failing_steps": _caption_failing_steps,
    "recoveries": _caption_recoveries,
    "hotspots": _caption_hotspots,
    "gantt": _caption_gantt,
    "resources": _caption_resources,
}


def name_workflows(data: ReportData, words: Words) -> str:
    """Which workflows a report is about, in few words."""
    ids: Sequence[str] | None = data.workflow_ids
    if ids is None:
        return words("all_workflows")
    return shorten(ids[0], 60) if len(ids) == 1 else words("n_workflows", n=words.count(len(ids)))
