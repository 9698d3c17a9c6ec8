"""Charts of recovery: how well each strategy works and what an attempt costs, and which steps the time goes into."""

from analytics_sdk.reporting.canvas import SMALL_PT, TEXT_PT, Paper, add_axes, ink_boxes, write_text
from analytics_sdk.reporting.findings import name_node
from analytics_sdk.reporting.lettering import fit_text, measure_in
from analytics_sdk.reporting.ranking import MOST_ROWS, ROW_IN, Row, draw_rows
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.theme import Theme
from analytics_sdk.reporting.words import Words, is_known

_FOOT_IN = 0.3
_VALUE_IN = 0.72


def draw_recoveries(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """The share of attempts that worked, with its interval, on one scale from 0 to 100 %; beside it the cost."""
    lines = data.numbers.recovery.strategies[:MOST_ROWS]
    axes = add_axes(paper, theme, 0.16, _FOOT_IN, _VALUE_IN, 0.02)
    rows_in = paper.height_in - _FOOT_IN - 0.02
    axes.set_xlim(0, 100)
    axes.set_ylim(0, rows_in)
    axes.set_yticks([])
    axes.set_xticks([0, 25, 50, 75, 100], [words.percent_mark(y) for y in (0, 25, 50, 75, 100)])
    for i, line in enumerate(lines):
        y = rows_in - i * ROW_IN
        cost = words("attempt", share=words.share(line.succeeded, line.attempts), time=words.seconds(line.avg_duration))
        name_in = paper.width_in - measure_in(cost, SMALL_PT) - 0.15
        write_text(paper, 0, _FOOT_IN + y - 0.14, fit_text(line.strategy, name_in, TEXT_PT), theme.ink)
        write_text(paper, paper.width_in, _FOOT_IN + y - 0.14, cost, theme.muted, size=SMALL_PT, align="right")
        middle = y - 0.28
        axes.vlines([0, 25, 50, 75, 100], middle - 0.08, middle + 0.08, color=theme.rule, linewidth=0.8, zorder=1)
        axes.hlines([middle], 0, 100, color=theme.rule, linewidth=0.8, zorder=1)
        if is_known(line.ci_low):
            ink_boxes(
                axes, [(line.ci_low, middle - 0.035, line.ci_high - line.ci_low, 0.07)], theme.recovered, alpha=0.4
            )
        if is_known(line.success_rate):
            axes.plot([line.success_rate], [middle], marker="o", markersize=6, color=theme.recovered, clip_on=False)
        said = words.percent(line.success_rate)
        write_text(
            paper, paper.width_in, _FOOT_IN + middle, said, theme.ink, size=SMALL_PT, align="right", valign="center"
        )


def draw_hotspots(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """How much time went into recovering each step."""
    rows = [
        Row(
            name_node(line.workflow_id, line.node_id, data.numbers.recovery.hotspots),
            [(line.total_duration if is_known(line.total_duration) else 0.0, theme.recovered)],
            f"{words.seconds(line.total_duration)} ({words.share(line.succeeded, line.attempts)})",
        )
        for line in data.numbers.recovery.hotspots[:MOST_ROWS]
    ]
    draw_rows(paper, theme, rows)
