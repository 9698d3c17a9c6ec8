"""Which steps of one execution to show, and which of them decided how long it took. Pure."""

from collections.abc import Sequence

from analytics_sdk.query.results import StepRow, Timeline

MOST_ROWS = 32


def choose_steps(timeline: Timeline) -> list[StepRow]:
    """The steps to show, in their order: all, or the longest and those that did not succeed at once."""
    ranked = sorted(timeline.steps, key=lambda step: (step.status == "success", -(step.duration_ns or 0), step.step_no))
    return order_steps(ranked[:MOST_ROWS])


def order_steps(steps: Sequence[StepRow]) -> list[StepRow]:
    """Steps by their beginning, each followed by what ran inside it."""
    inside: dict[int | None, list[StepRow]] = {}
    known = {step.step_no for step in steps}
    for step in sorted(steps, key=lambda step: (step.started_at_ns, step.step_no), reverse=True):
        parent = step.parent_step_no if step.parent_step_no in known - {step.step_no} else None
        inside.setdefault(parent, []).append(step)
    ordered: list[StepRow] = []
    waiting = inside.pop(None, [])
    while waiting:
        step = waiting.pop()
        ordered.append(step)
        waiting += inside.pop(step.step_no, [])
    return ordered


def find_critical(steps: Sequence[StepRow]) -> set[int]:
    """The step numbers that decided how long it took: from the end backwards, always the step that ended last before
    the one after it began; and so within each of these.

    Steps are all of one execution. Those that still run are not asked.
    """
    children: dict[int | None, list[StepRow]] = {}
    known = {step.step_no for step in steps}
    for step in steps:
        if step.ended_at_ns is not None:
            parent = step.parent_step_no if step.parent_step_no in known else None
            children.setdefault(parent, []).append(step)
    critical: set[int] = set()
    asked: list[int | None] = [None]
    while asked:
        left = sorted(children.pop(asked.pop(), ()), key=lambda step: (step.ended_at_ns or 0, step.step_no))
        border_ns: int | None = None
        while left:
            step = left.pop()
            if border_ns is None or (step.ended_at_ns or 0) <= border_ns:
                critical.add(step.step_no)
                asked.append(step.step_no)
                border_ns = step.started_at_ns
    return critical
