"""One execution as a Gantt chart: a row a step, recoveries over their steps, what decided the time darker."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from analytics_sdk.query.results import RecoveryRow, StepRow, Timeline
from analytics_sdk.reporting.canvas import SMALL_PT, TEXT_PT, Paper, add_axes, ink_boxes, write_text
from analytics_sdk.reporting.critical_path import choose_steps, find_critical
from analytics_sdk.reporting.lettering import fit_text, measure_in
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.scales import place_linear_ticks
from analytics_sdk.reporting.theme import Theme, status_colour
from analytics_sdk.reporting.words import Words, shorten

_ROW_IN = 0.24
_INDENT_IN = 0.14
"""What a step inside another is moved to the right."""


def gantt_height_in(timeline: Timeline | None) -> float:
    """The height that the rows need."""
    if timeline is None:
        return 1.0
    loose = bool(_loose(timeline))
    return (len(choose_steps(timeline)) + loose) * _ROW_IN + 0.5


def _loose(timeline: Timeline) -> list[RecoveryRow]:
    """Recoveries that belong to no step that is shown."""
    shown = {step.step_no for step in choose_steps(timeline)}
    return [recovery for recovery in timeline.recoveries if recovery.step_no not in shown]


def _end_ns(timeline: Timeline) -> int:
    execution = timeline.execution
    ends = [execution.ended_at_ns or execution.started_at_ns]
    ends += [step.ended_at_ns or step.started_at_ns for step in timeline.steps]
    ends += [recovery.started_at_ns + recovery.duration_ns for recovery in timeline.recoveries]
    return max(execution.started_at_ns + 1, *ends)


def draw_gantt(paper: Paper, data: ReportData, words: Words, theme: Theme) -> None:
    """The steps of the slowest execution of the period."""
    timeline = data.timeline
    if timeline is None:
        return
    width_in = paper.width_in
    steps, loose = choose_steps(timeline), _loose(timeline)
    depths = _depths(steps)
    names = [(step.node_id, _INDENT_IN * depths[step.step_no]) for step in steps]
    names += [(words("mark.recovery"), 0.0)] if loose else []
    wanted_in = max((measure_in(shorten(name, 60), TEXT_PT) + indent_in for name, indent_in in names), default=0.0)
    left = min(2.4, width_in * 0.32, wanted_in) + 0.12
    start_ns, end_ns = timeline.execution.started_at_ns, _end_ns(timeline)
    rows = max(1, len(steps) + bool(loose))
    axes = add_axes(paper, theme, left, 0.3, min(1.35, width_in * 0.24), 0.14)
    axes.set_xlim(0, end_ns - start_ns)
    axes.set_ylim(rows, 0)
    ticks = place_linear_ticks(end_ns - start_ns, max(2, int((width_in - left - 1.2) / 0.8)), words)
    ticks = [tick for tick in ticks if tick.at <= end_ns - start_ns]
    axes.set_xticks([tick.at for tick in ticks], [tick.label for tick in ticks])
    axes.grid(axis="x", color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_yticks([])
    foot_in = paper.height_in - 0.14
    for row, (name, indent_in) in enumerate(names):
        y_in = foot_in - (row + 0.5) * (foot_in - 0.3) / rows
        shown = fit_text(name, left - 0.12 - indent_in, TEXT_PT)
        write_text(paper, indent_in, y_in, shown, theme.ink, valign="center")
    critical = find_critical(timeline.steps)
    healed_ns: dict[int | None, int] = {}
    for recovery in timeline.recoveries:
        ended_ns = recovery.started_at_ns + recovery.duration_ns
        healed_ns[recovery.step_no] = max(ended_ns, healed_ns.get(recovery.step_no, 0))
    for row, step in enumerate(steps):
        is_critical = step.step_no in critical
        last_ns = healed_ns.get(step.step_no, 0)
        _draw_step(axes, theme, words, step, row, (start_ns, end_ns, last_ns), is_critical=is_critical)
    where = {step.step_no: row for row, step in enumerate(steps)}
    for recovery in timeline.recoveries:
        row = where.get(recovery.step_no, rows - 1) if recovery.step_no is not None else rows - 1
        length = max(recovery.duration_ns, (end_ns - start_ns) / 400)
        ink_boxes(
            axes,
            [(recovery.started_at_ns - start_ns, row + 0.35, length, 0.3)],
            theme.ink if recovery.success else theme.paper,
            edge=theme.ink,
            edge_pt=0.8,
            zorder=4,
        )


def _depths(steps: Sequence[StepRow]) -> dict[int, int]:
    """How deep each step lies inside others that are shown; at most 3."""
    depths: dict[int, int] = {}
    for step in steps:
        above = depths.get(step.parent_step_no) if step.parent_step_no is not None else None
        depths[step.step_no] = 0 if above is None else min(3, above + 1)
    return depths


def _draw_step(
    axes: Axes,
    theme: Theme,
    words: Words,
    step: StepRow,
    row: int,
    limits_ns: tuple[int, int, int],
    *,
    is_critical: bool,
) -> None:
    """One step; `limits_ns`: start and end of the execution, and the end of what recovered the step."""
    start_ns, end_ns, healed_ns = limits_ns
    colour = status_colour(theme, step.status)
    x = step.started_at_ns - start_ns
    length = (step.ended_at_ns or end_ns) - step.started_at_ns
    shown = max(length, (end_ns - start_ns) / 400)
    box = (x, row + 0.19, shown, 0.62)
    ink_boxes(axes, [box], colour, alpha=1 if is_critical else 0.4)
    if not is_critical:
        ink_boxes(axes, [box], "none", edge=colour, edge_pt=0.8)
    said = words.duration(step.duration_ns) if step.duration_ns is not None else words.status("running")
    if step.status not in ("success", "running"):
        said += f", {words.status(step.status)}"
    axes.annotate(
        said,
        (max(x + shown, healed_ns - start_ns), row + 0.5),  # behind its recoveries, which may end after it
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        color=theme.ink,
        fontsize=SMALL_PT,
        annotation_clip=False,
        zorder=5,
    )
