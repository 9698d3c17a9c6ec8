"""What stands on the page of a report, in its order, whatever it is printed with: cards, sections, notes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from analytics_sdk.reporting.advice import write_healing_notes, write_warnings
from analytics_sdk.reporting.captions import CHART_METRICS, name_workflows, why_missing
from analytics_sdk.reporting.findings import ENOUGH, write_sentences
from analytics_sdk.reporting.listings import (
    has_step_resources,
    hotspots_table,
    latest_table,
    running_table,
    step_resources_table,
    workflows_table,
)
from analytics_sdk.reporting.phrases import PHRASES
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.tables import MOST_LETTERS, Table
from analytics_sdk.reporting.words import Words, is_known, make_inert, shorten

MARK = "†"

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("executions", ("success", "duration", "distribution", "slow_steps")),
    ("failures", ("failing_steps", "errors")),
    ("healing", ("recoveries", "hotspots")),
    ("slowest", ("gantt",)),
    ("resources", ("resources",)),
)
"""Headings and the charts under them, in the order of the page."""
TABLE_METRICS = {
    "workflows": "execution",
    "hotspots": "recovery",
    "step_resources": "resource",
    "running": "execution",
    "latest": "execution",
}
"""The tables that stand alone after the charts, and the metric type that asks for each."""


@dataclass(frozen=True, slots=True)
class Card:
    """One headline number and what it rests on."""

    name: str
    value: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the charts that have something to show, and a line for each that has not."""

    key: str
    name: str
    charts: list[str] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report but for its ink."""

    title: str
    about: list[str]
    sentences: list[str]
    warnings: list[str]
    lossy: str
    cards: list[Card]
    sections: list[Section]
    made: str


def words_of(data: ReportData) -> Words:
    """The language and zone that a report was asked for in."""
    return Words(data.language, ZoneInfo(data.zone) if data.zone else None)


def write_page(data: ReportData, words: Words) -> Page:
    """What a report says, in order."""
    numbers = data.numbers
    about = [
        words.period(data.start_ns, data.end_ns),
        words("zone", zone=words.zone_name(data.end_ns)),
        name_workflows(data, words),
    ]
    if numbers.performance.n and numbers.performance.relative_error:
        about.append(words("approximate", error=words.percent(100 * numbers.performance.relative_error)))
    return Page(
        shorten(data.title, MOST_LETTERS),
        about,
        write_sentences(data, words),
        write_warnings(data, words) if {"execution", "recovery"} & set(data.metric_types) else [],
        _say_losses(data, words),
        [] if data.is_empty else _write_cards(data, words),
        [] if data.is_empty else _list_sections(data, words),
        words("made", moment=words.moment(data.generated_at_ns)),
    )


def _say_losses(data: ReportData, words: Words) -> str:
    losses = [loss for loss in data.numbers.losses if loss.n]
    if not losses:
        return ""
    said = [
        words(
            "loss",
            n=words.count(loss.n),
            kind=_name(words, "loss", loss.kind),
            reason=_name(words, "reason", loss.reason),
        )
        for loss in losses
    ]
    listed = ", ".join(said)
    return words("lossy", losses=listed[:1].upper() + listed[1:])


def _name(words: Words, family: str, word: str) -> str:
    return words(f"{family}.{word}") if f"{family}.{word}" in PHRASES else make_inert(word)


def _write_cards(data: ReportData, words: Words) -> list[Card]:
    numbers = data.numbers
    success, performance, recovery = numbers.success_rate, numbers.performance, numbers.recovery
    counts = numbers.status_counts
    mark = f" {MARK}" if any(loss.n and loss.kind != "sample" for loss in numbers.losses) else ""
    cards = []
    if "execution" in data.metric_types:
        evidence = words.evidence(success.n, success.succeeded, (success.ci_low, success.ci_high))
        interval = (
            words("interval.full", low=words.number(success.ci_low), high=words.number(success.ci_high))
            if success.n
            else ""
        )
        lines = [evidence or interval] if success.n else [words("none.ended")]
        if success.n and success.healed:
            lines.append(words("card.first_pass", rate=words.percent(success.first_pass_rate)))
        cards.append(Card(words("card.success"), words.percent(success.success_rate) + mark * bool(success.n), lines))
        lines = [words("card.outcome", failed=words.count(success.failed))]
        uncounted = counts.get("cancelled", 0) + counts.get("skipped", 0)
        lines += [words("card.uncounted", n=words.count(uncounted))] if uncounted else []
        lines += [words("card.running", n=words.count(counts["running"]))] if counts.get("running") else []
        cards.append(Card(words("card.executions"), words.count(sum(counts.values())) + mark, lines))
        timed = is_known(performance.p50_duration)
        if not timed:
            lines = [words("none.ended")]
        elif performance.n < ENOUGH:  # because of so few, the 95th percentile is but the longest
            lines = [words("card.longest", longest=words.seconds(performance.max_duration))]
        else:
            lines = [words("card.p95", p95=words.seconds(performance.p95_duration))]
        cards.append(Card(words("card.duration"), words.seconds(performance.p50_duration) + mark * timed, lines))
    if "recovery" in data.metric_types:
        lines = [
            words("card.attempts", share=words.share(recovery.succeeded, recovery.attempts))
            if recovery.attempts
            else words("none.recoveries")
        ]
        saved = words.count(success.healed) + mark if recovery.attempts or success.healed else "-"
        cards.append(Card(words("card.healing"), saved, lines))
    return cards


def _list_sections(data: ReportData, words: Words) -> list[Section]:
    sections = []
    for key, keys in SECTIONS:
        asked = [chart for chart in keys if CHART_METRICS[chart] in data.metric_types]
        missing = {chart: why_missing(chart, data) for chart in asked}
        shown = [chart for chart in asked if missing[chart] is None]
        reasons = list(dict.fromkeys(words(reason) for reason in missing.values() if reason))
        if shown or (reasons and key != "slowest"):
            notes = write_healing_notes(data, words) if key == "healing" else []
            sections.append(Section(key, words(f"section.{key}"), shown, reasons, notes))
    tables: list[tuple[str, bool, Callable[[ReportData, Words], Table]]] = [
        ("workflows", len(data.numbers.workflows) > 1, workflows_table),
        ("hotspots", bool(data.numbers.recovery.hotspots), hotspots_table),
        ("step_resources", has_step_resources(data), step_resources_table),
        ("running", bool(data.numbers.running), running_table),
        ("latest", bool(data.executions), latest_table),
    ]
    for key, is_shown, make in tables:
        if is_shown and TABLE_METRICS[key] in data.metric_types:
            section = Section(key, words(f"section.{key}"), table=make(data, words))
            sections.append(section)
    return sections
