"""Charts whose x axis is time: success, duration, resources. Each draws into a part of a figure."""

from collections.abc import Callable, Sequence
from math import inf, isfinite, nan
from typing import NamedTuple

from matplotlib.axes import Axes

from analytics_sdk.query.aggregates import wilson_interval
from analytics_sdk.query.results import Point
from analytics_sdk.reporting.canvas import SMALL_PT, TEXT_PT, Paper, add_axes, ink_boxes, size_of
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.scales import (
    Tick,
    is_wide,
    place_count_ticks,
    place_linear_ticks,
    place_log_ticks,
    place_number_ticks,
    place_time_ticks,
    spread_labels,
)
from analytics_sdk.reporting.theme import SERIES, Theme, colour_of
from analytics_sdk.reporting.usage import Usage, read_usage
from analytics_sdk.reporting.words import Words

_LEFT, _RIGHT, _BOTTOM, _TOP = 0.56, 1.06, 0.42, 0.12
_COUNTS_IN = 0.72
_FEW_POINTS = 24
_LINE_PT = 1.7


class End(NamedTuple):
    """What is written at the right end of a line."""

    y: float
    text: str
    colour: str


def ink_frame(axes: Axes, theme: Theme, ticks: Sequence[Tick]) -> None:
    """Ticks on the y axis with their quiet grid lines."""
    axes.set_yticks([tick.at for tick in ticks], [tick.label for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.grid(axis="y", which="major", color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)


def ink_ends(axes: Axes, theme: Theme, ends: Sequence[End], line_in: float = 0.27) -> None:
    """Names at the right of the axes, in ink, each with a dot of its line's colour, none over another."""
    axes_width_in, axes_height_in = size_of(axes)
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = [float(to_axes.transform((0, end.y))[1]) for end in ends]
    gap = line_in / axes_height_in
    places = spread_labels(wanted, gap, gap * 0.3, 1 - gap * 0.3)
    for end, place in zip(ends, places, strict=True):
        axes.plot(
            [1 + 0.07 / axes_width_in],
            [place],
            marker="o",
            markersize=4,
            color=end.colour,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1 + 0.14 / axes_width_in,
            place,
            end.text,
            transform=axes.transAxes,
            ha="left",
            va="center",
            color=theme.ink,
            fontsize=SMALL_PT,
            linespacing=1.15,
        )


def ink_time_axis(axes: Axes, data: ReportData, words: Words, *, labels: bool = True) -> None:
    """The period from left to right; x is seconds since its start."""
    span_s = (data.end_ns - data.start_ns) / 1e9
    most = max(3, int(size_of(axes)[0] / 0.58))
    ticks = place_time_ticks(data.start_ns, data.end_ns, most, words)
    axes.set_xlim(0, span_s)
    axes.set_xticks(
        [(tick.at - data.start_ns) / 1e9 for tick in ticks],
        [tick.label for tick in ticks] if labels else [""] * len(ticks),
    )
    if not labels:
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", length=0)


def middles_s(points: Sequence[Point], start_ns: int) -> list[float]:
    """The middle of each point's stretch, in seconds since the start."""
    return [((point.start_ns + point.end_ns) / 2 - start_ns) / 1e9 for point in points]


def ink_line(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], colour: str, *, dashes: bool = False, dots: bool = False
) -> None:
    """A line with its gaps as gaps. A value between two gaps is a dot, because a line of one point cannot be seen."""
    axes.plot(xs, ys, color=colour, linewidth=_LINE_PT, linestyle=(0, (3, 2)) if dashes else "-", zorder=3)
    known = [isfinite(y) for y in ys]
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        alone = not (i and known[i - 1]) and not (i + 1 < len(ys) and known[i + 1])
        if known[i] and (dots or alone):
            axes.plot([x], [y], marker="o", markersize=4, color=colour, zorder=4, clip_on=False)


def last_known(ys: Sequence[float]) -> float | None:
    """The last value that is one."""
    return next((y for y in reversed(ys) if isfinite(y)), None)


def _name_end(name: str, value: str, words: Words) -> str:
    """A line's name with the number of the whole period, which need not be that of the line's last point."""
    return f"{name}\n{words('mark.overall', value=value)}"


def draw_success(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """The success rate with its interval and the first-pass rate; beneath, how many executions by their outcome."""
    rates = add_axes(paper, theme, _LEFT, _BOTTOM + _COUNTS_IN + 0.2, _RIGHT, _TOP)
    counts = add_axes(paper, theme, _LEFT, _BOTTOM, _RIGHT, paper.height_in - _BOTTOM - _COUNTS_IN)
    xs = middles_s(data.points, data.start_ns)
    success = [nan if point.success_rate is None else point.success_rate for point in data.points]
    first = [nan if point.first_pass_rate is None else point.first_pass_rate for point in data.points]
    intervals = [wilson_interval(point.succeeded, point.n) or (nan, nan) for point in data.points]
    few = sum(isfinite(rate) for rate in success) <= _FEW_POINTS
    if few:
        known = [i for i, rate in enumerate(success) if isfinite(rate)]
        rates.vlines(
            [xs[i] for i in known],
            [intervals[i][0] for i in known],
            [intervals[i][1] for i in known],
            color=theme.success,
            linewidth=1.2,
            alpha=0.45,
            zorder=2,
        )
    else:
        lows, highs = [low for low, _ in intervals], [high for _, high in intervals]
        rates.fill_between(xs, lows, highs, color=theme.success, alpha=0.14, linewidth=0, zorder=2)
    needed_help = any(point.first_pass < point.succeeded for point in data.points)
    if needed_help:
        ink_line(rates, xs, first, theme.recovered, dashes=True, dots=few)
    ink_line(rates, xs, success, theme.success, dots=few)
    lowest = min((low for rate in (success, first) for low in rate if isfinite(low)), default=0.0)
    if few:
        lowest = min([lowest, *(low for low, _ in intervals if isfinite(low))])
    floor = min(90.0, lowest // 10 * 10)
    rates.set_ylim(floor - (100 - floor) * 0.02, 100 + (100 - floor) * 0.05)
    step = 5 if floor >= 80 else 10 if floor >= 60 else 25 if floor >= 0 and floor % 25 == 0 else 20
    ink_frame(rates, theme, [Tick(y, f"{y} %") for y in range(100, int(floor) - 1, -step)])
    ink_time_axis(rates, data, words, labels=False)
    overall = data.numbers.success_rate
    lines = [("success", success, overall.success_rate, theme.success)]
    if needed_help:
        lines.append(("first_pass", first, overall.first_pass_rate, theme.recovered))
    ends = [
        End(y, _name_end(words(f"mark.{name}"), words.percent(rate), words), colour)
        for name, ys, rate, colour in lines
        for y in [last_known(ys)]
        if y is not None
    ]
    ink_ends(rates, theme, ends, 0.32)
    _draw_counts(counts, data, words, theme)


def _outcomes(point: Point) -> dict[str, int]:
    counts = point.counts
    crashed = counts.get("crashed", 0)
    return {
        "first_pass": point.first_pass,
        "after_recovery": point.succeeded - point.first_pass,
        "failed": point.n - point.succeeded - crashed,
        "crashed": crashed,
        "uncounted": sum(counts.get(status, 0) for status in ("cancelled", "skipped", "running")),
    }


def _draw_counts(axes: Axes, data: ReportData, words: Words, theme: Theme) -> None:
    colours = {
        "first_pass": theme.success,
        "after_recovery": theme.recovered,
        "failed": theme.failed,
        "crashed": theme.crashed,
        "uncounted": theme.neutral,
    }
    span_s = (data.end_ns - data.start_ns) / 1e9
    xs = middles_s(data.points, data.start_ns)
    widths = [min((point.end_ns - point.start_ns) / 1e9 * 0.82, span_s / 12) for point in data.points]
    outcomes = [_outcomes(point) for point in data.points]
    feet = [0] * len(xs)
    for name, colour in colours.items():
        heights = [outcome[name] for outcome in outcomes]
        if any(heights):
            boxes = [(x - w / 2, foot, w, h) for x, w, foot, h in zip(xs, widths, feet, heights, strict=True) if h]
            ink_boxes(axes, boxes, colour)
            feet = [foot + height for foot, height in zip(feet, heights, strict=True)]
    ticks = place_count_ticks(max(feet, default=1) or 1, 2, words)
    axes.set_ylim(0, max(ticks[-1].at, max(feet, default=1)) * 1.04)
    ink_frame(axes, theme, ticks)
    ink_time_axis(axes, data, words)
    present = [name for name in colours if any(outcome[name] for outcome in outcomes)]
    line = 0.16 / _COUNTS_IN
    width_in, _ = size_of(axes)
    for i, name in enumerate(present):
        place = (0.5 + line * (len(present) - 1) / 2) - line * (len(present) - 1 - i)
        axes.plot(
            [1 + 0.07 / width_in],
            [place],
            marker="s",
            markersize=4.5,
            color=colours[name],
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1 + 0.14 / width_in,
            place,
            words(f"mark.{name}"),
            transform=axes.transAxes,
            ha="left",
            va="center",
            color=theme.ink,
            fontsize=SMALL_PT,
        )


def find_alone(values: Sequence[float]) -> list[int]:
    """The places of known values with no known one beside them."""
    known = [False, *(isfinite(value) for value in values), False]
    return [i for i in range(len(values)) if known[i + 1] and not known[i] and not known[i + 2]]


def draw_duration(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """p50 and p95 of executions with the band between them; on a log axis where they span much."""
    axes = add_axes(paper, theme, 0.66, _BOTTOM, _RIGHT, _TOP)
    xs = middles_s(data.points, data.start_ns)
    p50 = [nan if point.p50_duration_ns is None else float(max(1, point.p50_duration_ns)) for point in data.points]
    p95 = [nan if point.p95_duration_ns is None else float(max(1, point.p95_duration_ns)) for point in data.points]
    known = [value for value in (*p50, *p95) if isfinite(value)]
    few = len(known) <= 2 * _FEW_POINTS
    for i in find_alone(p50):  # because a band needs a neighbour
        axes.vlines(xs[i], p50[i], p95[i], color=theme.accent, linewidth=1.2, alpha=0.4, zorder=2)
    axes.fill_between(xs, p50, p95, color=theme.accent, alpha=0.13, linewidth=0, zorder=1)
    ink_line(axes, xs, p95, theme.accent, dashes=True, dots=few)
    ink_line(axes, xs, p50, theme.accent, dots=few)
    if is_wide(known):
        low, high = min(known) / 1.3, max(known) * 1.3
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        ink_frame(axes, theme, place_log_ticks(low, high, 6, words))
    else:
        ticks = place_linear_ticks(max(known, default=1e9), 5, words)
        axes.set_ylim(0, ticks[-1].at * 1.02)
        ink_frame(axes, theme, ticks)
    ink_time_axis(axes, data, words)
    performance = data.numbers.performance
    ends = [
        End(y, _name_end(name, words.seconds(value), words), theme.accent)
        for name, ys, value in (("p95", p95, performance.p95_duration), ("p50", p50, performance.p50_duration))
        for y in [last_known(ys)]
        if y is not None
    ]
    ink_ends(axes, theme, ends, 0.32)


def draw_resources(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """CPU, memory and, where there is one, GPU over time: a panel each, a line a process."""
    panels = read_usage(data)
    height_in = paper.height_in
    each_in = (height_in - _TOP - _BOTTOM) / max(1, len(panels))
    for i, panel in enumerate(panels):
        bottom = _BOTTOM + (len(panels) - 1 - i) * each_in
        axes = add_axes(paper, theme, 0.66, bottom + 0.06, _RIGHT + 0.17, height_in - bottom - each_in + 0.24)
        _draw_panel(axes, panel, data, words, theme, is_last=i == len(panels) - 1)


def _draw_panel(axes: Axes, panel: Usage, data: ReportData, words: Words, theme: Theme, *, is_last: bool) -> None:
    say: Callable[[float], str] = words.size if panel.name == "memory" else words.percent
    ends, highest = [], -inf
    for i, (name, places_ns, values) in enumerate(panel.lines):
        colour = colour_of(theme, SERIES[i]) if i < len(SERIES) else theme.neutral
        ink_line(axes, [(at - data.start_ns) / 1e9 for at in places_ns], values, colour)
        last = last_known(values)
        highest = max(highest, *(value for value in values if isfinite(value)), -inf)
        if last is not None:
            label = words("mark.other") if name is None else name
            ends.append(End(last, f"{label}\n{say(last)}" if len(panel.lines) <= 2 else label, colour))
    ticks = place_number_ticks(highest if isfinite(highest) else 1.0, 3, words, binary=panel.name == "memory")
    axes.set_ylim(0, ticks[-1].at * 1.03)
    ink_frame(axes, theme, ticks)
    ink_time_axis(axes, data, words, labels=is_last)
    axes.set_title(words(f"mark.{panel.name}"), loc="left", fontsize=TEXT_PT, color=theme.ink, pad=4)
    ink_ends(axes, theme, ends, 0.3 if len(panel.lines) <= 2 else 0.16)
