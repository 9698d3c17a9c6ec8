"""The charts of a report: which there are, when they have something to show, how large they are.

Each is drawn by a pure function of (part of a figure, data, words, theme). Loads matplotlib.
"""

from collections.abc import Callable
from dataclasses import dataclass

from analytics_sdk.reporting.canvas import SMALL_PT, TITLE_PT, Paper, make_paper, write_text
from analytics_sdk.reporting.captions import CHART_METRICS, Caption, caption_of, why_missing
from analytics_sdk.reporting.findings import rank_failing
from analytics_sdk.reporting.gantt import draw_gantt, gantt_height_in
from analytics_sdk.reporting.healing import draw_hotspots, draw_recoveries
from analytics_sdk.reporting.lettering import wrap_text
from analytics_sdk.reporting.over_time import draw_duration, draw_resources, draw_success
from analytics_sdk.reporting.ranking import (
    draw_distribution,
    draw_errors,
    draw_failing_steps,
    draw_slow_steps,
    rank_slow,
    rows_height_in,
)
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.theme import LIGHT, Theme
from analytics_sdk.reporting.usage import read_usage
from analytics_sdk.reporting.words import Words, keep_units

HALF_IN, WHOLE_IN, MIDDLE_IN, NARROW_IN = 5.4, 11.12, 7.0, 3.5
"""Widths: half a page, a whole one, a tablet's or a sheet's, a telephone's. A hundred CSS pixels are an inch."""

Draw = Callable[[Paper, ReportData, Words, Theme], None]


@dataclass(frozen=True, slots=True)
class Chart:
    """One kind of chart."""

    key: str
    draw: Draw
    height_in: Callable[[ReportData], float]
    is_wide: bool = False

    @property
    def width_in(self) -> float:
        return WHOLE_IN if self.is_wide else HALF_IN


CHARTS = (
    Chart("success", draw_success, lambda data: 3.0),
    Chart("duration", draw_duration, lambda data: 3.0),
    Chart("distribution", draw_distribution, lambda data: 2.6),
    Chart("slow_steps", draw_slow_steps, lambda data: rows_height_in(len(rank_slow(data.numbers.steps))) + 0.24),
    Chart("failing_steps", draw_failing_steps, lambda data: rows_height_in(len(rank_failing(data.numbers.steps)), 1)),
    Chart("errors", draw_errors, lambda data: rows_height_in(len(data.numbers.errors))),
    Chart("recoveries", draw_recoveries, lambda data: rows_height_in(len(data.numbers.recovery.strategies)) + 0.24),
    Chart("hotspots", draw_hotspots, lambda data: rows_height_in(len(data.numbers.recovery.hotspots))),
    Chart("gantt", draw_gantt, lambda data: gantt_height_in(data.timeline), is_wide=True),
    Chart("resources", draw_resources, lambda data: 0.54 + 1.25 * max(1, len(read_usage(data))), is_wide=True),
)


def asked_charts(data: ReportData) -> list[Chart]:
    """The charts that the report asks for."""
    return [chart for chart in CHARTS if CHART_METRICS[chart.key] in data.metric_types]


def choose_charts(data: ReportData) -> list[Chart]:
    """The charts that the report asks for and that have something to show."""
    return [chart for chart in asked_charts(data) if why_missing(chart.key, data) is None]


def draw_chart(
    chart: Chart, data: ReportData, words: Words, theme: Theme = LIGHT, *, width_in: float | None = None
) -> Paper:
    """One chart without its title, for a page that has the title as text. Call within `canvas.neutral_settings`."""
    paper = make_paper(width_in or chart.width_in, chart.height_in(data), theme)
    chart.draw(paper, data, words, theme)
    return paper


def header_in(caption: Caption, width_in: float) -> float:
    """The height of a title and a subtitle of this width."""
    titles = len(wrap_text(keep_units(caption.title), width_in, TITLE_PT, bold=True))
    return titles * 0.2 + len(wrap_text(keep_units(caption.about), width_in, SMALL_PT)) * 0.15 + 0.16


def draw_header(paper: Paper, caption: Caption, theme: Theme) -> None:
    """Title and subtitle at the top of a paper."""
    y = paper.height_in - 0.17
    for line in wrap_text(keep_units(caption.title), paper.width_in, TITLE_PT, bold=True):
        write_text(paper, 0, y, line, theme.ink, size=TITLE_PT, bold=True)
        y -= 0.2
    for line in wrap_text(keep_units(caption.about), paper.width_in, SMALL_PT):
        write_text(paper, 0, y + 0.01, line, theme.muted, size=SMALL_PT)
        y -= 0.15


def draw_titled(paper: Paper, chart: Chart, data: ReportData, words: Words, theme: Theme) -> None:
    """A chart with its title and subtitle, filling a paper whose height is `titled_height_in`."""
    caption = caption_of(chart.key, data, words)
    draw_header(paper, caption, theme)
    body = paper.cut(0, 0, paper.width_in, paper.height_in - header_in(caption, paper.width_in))
    missing = why_missing(chart.key, data)
    if missing is None:
        chart.draw(body, data, words, theme)
    else:
        write_text(body, 0, body.height_in - 0.3, words(missing), theme.muted)


def titled_height_in(chart: Chart, data: ReportData, words: Words, width_in: float) -> float:
    """The height of a chart with its title and subtitle."""
    body = chart.height_in(data) if why_missing(chart.key, data) is None else 0.6
    return header_in(caption_of(chart.key, data, words), width_in) + body
