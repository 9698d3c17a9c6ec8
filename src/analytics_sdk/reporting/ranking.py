"""Charts of rows, the longest first: steps, errors, strategies, and the distribution of durations.

Each row has its name above its bar, because names are long and paper may be narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from analytics_sdk.reporting.canvas import SMALL_PT, TEXT_PT, Paper, add_axes, ink_boxes, write_text
from analytics_sdk.reporting.findings import name_error, name_steps, rank_failing
from analytics_sdk.reporting.lettering import fit_text, measure_in
from analytics_sdk.reporting.over_time import ink_frame
from analytics_sdk.reporting.report_data import ReportData, StepLine
from analytics_sdk.reporting.scales import (
    Tick,
    is_wide,
    merge_buckets,
    place_count_ticks,
    place_linear_ticks,
    place_log_ticks,
)
from analytics_sdk.reporting.theme import Theme
from analytics_sdk.reporting.words import Words, is_known

MOST_ROWS = 8
ROW_IN = 0.42
LEGEND_IN = 0.26
_BAR_IN = 0.15
_VALUE_IN = 1.35


@dataclass(frozen=True, slots=True)
class Row:
    """A name, the lengths of its bar's parts with their colours, and what is said at its end."""

    name: str
    parts: list[tuple[float, str]]
    value: str


def rows_height_in(n: int, legends: int = 0) -> float:
    """The height that so many rows need, and so many legends."""
    return max(1, min(n, MOST_ROWS)) * ROW_IN + legends * LEGEND_IN + 0.1


def draw_rows(paper: Paper, theme: Theme, rows: Sequence[Row], legend: Sequence[tuple[str, str]] = ()) -> None:
    """Bars that start at zero, all on one scale."""
    width_in, height_in = paper.width_in, paper.height_in
    _draw_legend(paper, theme, legend)
    top = height_in - (LEGEND_IN if legend else 0.0) - 0.02
    longest = max((sum(length for length, _ in row.parts) for row in rows), default=0) or 1
    axes = paper.cover()
    scale = (width_in - _VALUE_IN) / longest
    for i, row in enumerate(rows):
        y = top - i * ROW_IN
        write_text(paper, 0, y - 0.14, fit_text(row.name, width_in, TEXT_PT), theme.ink)
        foot = y - 0.2 - _BAR_IN / 2
        x = 0.0
        for length, colour in row.parts:
            ink_boxes(axes, [(x, foot - _BAR_IN / 2, length * scale, _BAR_IN)], colour)
            x += length * scale
        write_text(paper, x + 0.07, foot, row.value, theme.ink, size=SMALL_PT, valign="center")


def _draw_legend(paper: Paper, theme: Theme, legend: Sequence[tuple[str, str]]) -> None:
    """Small squares with a word each, above the rows."""
    if not legend:
        return
    height_in = paper.height_in
    axes = paper.cover()
    x = 0.05
    for word, colour in legend:
        axes.plot([x], [height_in - 0.1], marker="s", markersize=5, color=colour)
        write_text(paper, x + 0.09, height_in - 0.1, word, theme.muted, size=SMALL_PT, valign="center")
        x += 0.3 + measure_in(word, SMALL_PT)


def rank_slow(steps: Sequence[StepLine]) -> list[StepLine]:
    """Steps with a known duration, the longest p95 first."""
    known = [step for step in steps if is_known(step.p95_duration)]
    return sorted(known, key=lambda step: (-step.p95_duration, step.workflow_id, step.node_id))


def draw_slow_steps(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """From p50 to p95 of the slowest steps: a dot each, and what lies between."""
    width_in, height_in = paper.width_in, paper.height_in
    steps = rank_slow(data.numbers.steps)[:MOST_ROWS]
    name = name_steps(data.numbers.steps)
    values = [max(1.0, value * 1e9) for step in steps for value in (step.p50_duration, step.p95_duration)]
    axes = add_axes(paper, theme, 0.08, 0.3, _VALUE_IN, 0.02)
    rows_in = height_in - 0.32
    axes.set_ylim(0, rows_in)
    axes.set_yticks([])
    most = max(2, int((width_in - _VALUE_IN) / 0.72))
    if is_wide(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.5, max(values) * 1.1)
        ticks = place_log_ticks(min(values) / 1.5, max(values) * 1.1, most, words)
    else:
        ticks = place_linear_ticks(max(values, default=1e9), most, words)
        axes.set_xlim(0, max(max(values, default=1e9) * 1.02, ticks[-1].at if len(ticks) < 3 else 0))
        ticks = [tick for tick in ticks if tick.at <= axes.get_xlim()[1]]
    axes.set_xticks([tick.at for tick in ticks], [tick.label for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    for i, step in enumerate(steps):
        y = rows_in - i * ROW_IN
        write_text(paper, 0, 0.3 + y - 0.14, fit_text(name(step), width_in, TEXT_PT), theme.ink)
        p50, p95 = max(1.0, step.p50_duration * 1e9), max(1.0, step.p95_duration * 1e9)
        axes.plot([p50, p95], [y - 0.27, y - 0.27], color=theme.accent, linewidth=4, alpha=0.35, solid_capstyle="butt")
        axes.plot([p50], [y - 0.27], marker="o", markersize=5.5, color=theme.accent, clip_on=False)
        axes.plot([p95], [y - 0.27], marker="|", markersize=9, markeredgewidth=2.2, color=theme.accent, clip_on=False)
        said = " - ".join(dict.fromkeys((words.seconds(step.p50_duration), words.seconds(step.p95_duration))))
        write_text(paper, width_in - _VALUE_IN + 0.1, 0.3 + y - 0.27, said, theme.ink, size=SMALL_PT, valign="center")


def draw_failing_steps(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """How often steps failed for good, and how often a recovery saved them."""
    steps = rank_failing(data.numbers.steps)[:MOST_ROWS]
    name = name_steps(data.numbers.steps)
    rows = [
        Row(
            name(step),
            [(step.failed, theme.failed), (step.recovered, theme.recovered)],
            words.share(step.failed + step.recovered, step.n),
        )
        for step in steps
    ]
    legend = [(words("mark.gone"), theme.failed), (words("mark.saved"), theme.recovered)]
    draw_rows(paper, theme, rows, legend)


def draw_errors(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """How often each kind of error was seen."""
    total = sum(error.n for error in data.numbers.errors)
    rows = [
        Row(
            name_error(error, words),
            [(error.n, theme.failed)],
            f"{words.count(error.n)} ({words.percent(100 * error.n / total)})",
        )
        for error in data.numbers.errors[:MOST_ROWS]
    ]
    draw_rows(paper, theme, rows)


def draw_distribution(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """How many executions took how long, with p50 and p95 marked."""
    width_in, height_in = paper.width_in, paper.height_in
    axes = add_axes(paper, theme, 0.56, 0.3, 0.2, 0.46)
    distribution = data.distribution
    bins = merge_buckets(distribution.buckets, min(44, max(8, int(2.2 * distribution.n**0.5))))
    axes.set_xscale("log")
    low = min((low for low, _, _ in bins), default=1e9) / 1.25
    high = max((high for _, high, _ in bins), default=1e9) * 1.25
    axes.set_xlim(low, high)
    ink_boxes(axes, [(low, 0, (high - low) * 0.92, count) for low, high, count in bins], theme.accent, alpha=0.75)
    tallest = max((count for _, _, count in bins), default=1)
    ticks = place_count_ticks(tallest, 3, words)
    axes.set_ylim(0, max(tallest * 1.06, ticks[-1].at if len(ticks) < 3 else 0))
    ink_frame(axes, theme, [tick for tick in ticks if tick.at <= axes.get_ylim()[1]])
    times = place_log_ticks(low, high, max(2, int(width_in / 0.8)), words)
    if len(times) < 2 and distribution.p50_ns:
        times = [Tick(distribution.p50_ns, words.duration(distribution.p50_ns))]
    axes.set_xticks([tick.at for tick in times], [tick.label for tick in times])
    axes.set_xticks([], minor=True)
    marks = [("p50", distribution.p50_ns), ("p95", distribution.p95_ns)]
    for row, (name, value) in enumerate(marks):
        if value is None:
            continue
        axes.axvline(value, color=theme.ink, linewidth=1.1, linestyle="-" if name == "p50" else (0, (3, 2)))
        share = (log(value) - log(low)) / (log(high) - log(low))
        x_in = 0.56 + share * (width_in - 0.76)
        align = "right" if share > 0.7 else "left"
        shift = -0.05 if align == "right" else 0.05
        y_in = height_in - 0.14 - row * 0.17
        write_text(paper, x_in + shift, y_in, f"{name} {words.duration(value)}", theme.ink, size=TEXT_PT, align=align)
        axes.plot(
            [share, share],
            [1, (y_in - 0.3) / (height_in - 0.76)],
            color=theme.ink,
            linewidth=1.1,
            linestyle="-" if name == "p50" else (0, (3, 2)),
            transform=axes.transAxes,
            clip_on=False,
        )
