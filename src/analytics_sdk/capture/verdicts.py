"""What became of what was healed: whether the steps that ended behind it then passed.

Told when the execution ends. Until then it keeps its recoveries that succeeded, and of its steps only those that did
not pass: one that simply succeeds is counted as ever, and costs nothing more. Top-level steps tell; for a step inside
another one the first to tell is the one around it.
"""

from collections.abc import Iterator

from analytics_sdk.capture.context import Execution, Step
from analytics_sdk.vocabulary import FAILED, NO_START, RECOVERED, REFUTED, SKIPPED, TIMEOUT, VERIFIED

MOST_HEALS = 200
MOST_TROUBLES = 200
"""Recoveries and failed steps kept an execution. Of recoveries beyond, nobody can tell."""


class Heal:
    """One recovery that succeeded; closed when the step that it healed has ended: what ends later tells of it."""

    __slots__ = ("closed_tick_ns", "fields", "in_vain", "passed", "step", "top", "troubles")

    def __init__(self, step: Step | None, fields: tuple[object, ...]) -> None:
        self.step = step
        self.top = None if step is None else _top_of(step)
        """The top-level step that it was inside of."""
        self.fields = fields
        """What `events.Verdict` repeats of the recovery."""
        self.passed: int | None = None
        """How many steps of the execution had passed when it was closed; None while it is open."""
        self.in_vain = False
        """Its own step failed all the same."""
        self.troubles = 0
        """How many of the troubles were before."""
        self.closed_tick_ns = 0


class Healing:
    """The heals of one execution, and what did not pass since the first of them. Any thread may add to it."""

    def __init__(self) -> None:
        self.heals: list[Heal] = []
        self.troubles: list[tuple[Step, int]] = []
        """Top-level steps that did not pass, each with the number of those that had passed before it ended."""
        self.forgot = False
        """There were more troubles than are kept."""

    def note_ended(self, execution: Execution, step: Step, tick_ns: int) -> None:
        """A step ended, and did not simply succeed; the execution has counted it."""
        for heal in self.heals:
            if heal.step is step and heal.passed is None:
                self._close(heal, execution, tick_ns)
                heal.in_vain = step.status in (FAILED, TIMEOUT)
        if step.parent_step_no is not None or step.status in (RECOVERED, SKIPPED):
            return
        if len(self.troubles) < MOST_TROUBLES:
            self.troubles.append((step, execution.steps_completed))
        else:
            self.forgot = True

    def _close(self, heal: Heal, execution: Execution, tick_ns: int) -> None:
        heal.troubles, heal.closed_tick_ns = len(self.troubles), tick_ns
        heal.passed = execution.steps_completed

    def add(self, heal: Heal, execution: Execution, tick_ns: int) -> None:
        """Note a recovery; its step is healed already."""
        if self.forgot or len(self.heals) >= MOST_HEALS:
            return
        if heal.step is None or heal.step.ended:
            self._close(heal, execution, tick_ns)
        self.heals.append(heal)

    def judge(self, heal: Heal, execution: Execution) -> int | None:
        """VERIFIED, REFUTED, or None where nobody can tell. The execution has ended."""
        if heal.passed is None:
            return None
        if heal.in_vain and heal.step is not None:
            # Where another attempt healed it afterwards, what then passed says nothing of this one.
            return None if heal.step.status == RECOVERED else REFUTED
        after = self.troubles[heal.troubles :]
        if all(step.status == RECOVERED for step, _ in after):  # healed in turn
            return VERIFIED if execution.steps_completed > heal.passed and not self.forgot else None
        next_one, passed = after[0]
        # Because steps may run beside each other, and one that began before the heal tells nothing of it.
        tells = next_one is heal.top or next_one.started_tick_ns >= heal.closed_tick_ns
        return REFUTED if next_one.status in (FAILED, TIMEOUT) and passed == heal.passed and tells else None


def _top_of(step: Step) -> Step:
    while step.parent_step_no is not None and isinstance(step.parent, Step):
        step = step.parent
    return step


def note_heal(execution: Execution, step: Step | None, recovery: int, fields: tuple[object, ...], tick_ns: int) -> None:
    """Keep a recovery that succeeded until its execution ends. `recovery`: its position in the journal."""
    if execution.ended or recovery == NO_START:
        return
    if execution.healing is None:
        execution.healing = Healing()
    execution.healing.add(Heal(step, (recovery, *fields)), execution, tick_ns)


def take_verdicts(execution: Execution) -> Iterator[tuple[object, ...]]:
    """The fields of a record of `events.Verdict` for each heal of an ended execution of which one can tell."""
    healing, execution.healing = execution.healing, None
    if healing is None:
        return
    for heal in healing.heals:
        verdict = healing.judge(heal, execution)
        if verdict is not None:
            yield (*heal.fields, verdict)
