"""Writes beginnings and endings to the journal and keeps the live state: one recorder a system.

Everything here runs in the host's loop. Nothing raises, takes a lock, or logs on the normal path; counters are plain
attributes, because under the GIL a read-add-store without a call between cannot be interrupted.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Protocol
from weakref import WeakSet

from analytics_sdk.capture.context import Execution, Frame, Step, current, forget_ended, latest_failed
from analytics_sdk.capture.execution_id import new_execution_id
from analytics_sdk.capture.verdicts import take_verdicts
from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.vocabulary import CANCELLED, FAILED, NO_START, RECOVERED, STATUSES, SUCCESS, TIMEOUT, Kind

_EXECUTION_START = int(Kind.EXECUTION_START)
_EXECUTION_END = int(Kind.EXECUTION_END)
_STEP_START = int(Kind.STEP_START)
_STEP_END = int(Kind.STEP_END)
_VERDICT = int(Kind.VERDICT)

REMEMBERED_EXECUTIONS = 100
REMEMBERED_FAILURES = 1000
"""Nodes an execution whose latest failed step is kept for a recovery that may come; beyond, the oldest is forgotten."""

Tags = dict[str, str] | None


class Journal(Protocol):
    """Where records go."""

    def append(self, kind: int, fields: tuple[object, ...]) -> int:
        """Append one record; its position, or NO_START where it was lost (and counted). Never raises."""
        ...


class Recorder:
    """Records into one journal. Executions that began here end here, also after another system took over."""

    def __init__(self, journal: Journal, *, clock: Clock = SYSTEM_CLOCK, realtime: bool = True) -> None:
        self.append = journal.append
        self.time_ns = clock.time_ns
        self.tick_ns = clock.perf_counter_ns
        self.realtime = realtime
        self.open_executions: dict[str, Execution] = {}
        self.ended_executions: dict[str, Execution] = {}
        """The last ones that ended, for whoever still asks for their live metrics."""
        self.open_orphans: dict[int, Step] = {}
        """Open steps outside any execution, by their number."""
        self.next_orphan_no = count(1).__next__
        self.on_end: Callable[[], None] | None = None
        """Called when an execution has ended, in the host's thread."""
        recorders.add(self)

    # ---------------------------------------------------------------- executions

    def begin_execution(
        self,
        workflow_id: str,
        total_steps: int | None = None,
        tags: Tags = None,
        opener: object = None,
        subject: object = None,
    ) -> Execution:
        """Record that an execution began, and enter it."""
        execution = Execution(new_execution_id(), workflow_id)
        execution.recorder = self
        execution.total_steps = total_steps
        execution.opener = opener
        execution.subject = subject
        execution.tags = tags
        parent = current.get()
        if parent is not None:
            execution.parent = parent
            forget_ended(parent)
            self._note_parent(execution, parent)
        execution.started_at_ns = at_ns = self.time_ns()
        execution.start = self.append(
            _EXECUTION_START,
            (
                execution.execution_id,
                workflow_id,
                at_ns,
                total_steps,
                execution.parent_execution_id,
                execution.parent_step_no,
                tags,
            ),
        )
        self.open_executions[execution.execution_id] = execution
        execution.started_tick_ns = self.tick_ns()
        current.set(execution)  # last, because whoever fails before must not leave it current
        return execution

    @staticmethod
    def _note_parent(execution: Execution, parent: Frame) -> None:
        if isinstance(parent, Step):
            if parent.execution is not None:
                execution.parent_execution_id = parent.execution.execution_id
                execution.parent_step_no = parent.step_no
        elif isinstance(parent, Execution):
            execution.parent_execution_id = parent.execution_id

    def end_execution(
        self, execution: Execution, status: int, error_type: str | None = None, error_message: str | None = None
    ) -> None:
        """Record that an execution ended, and close the steps that it left open. A second ending is ignored."""
        duration_ns = self.tick_ns() - execution.started_tick_ns
        if execution.ended or execution.inherited:
            return
        execution.ended = True
        execution.subject = None
        execution.status = status
        if execution.open_steps:
            left_as = FAILED if status in (FAILED, TIMEOUT) else CANCELLED
            for step in list(execution.open_steps.values()):
                self.end_step(step, left_as, None, "its execution ended while it was open")
            if execution.inherited:
                return  # because that first record showed that this is a child, forked without a hook
        completed, failed = execution.said_counts or (execution.steps_completed, execution.steps_failed)
        if execution.said_duration_ns is not None:
            duration_ns = execution.said_duration_ns
        try:
            self.append(
                _EXECUTION_END,
                (
                    execution.start,
                    execution.execution_id,
                    execution.workflow_id,
                    execution.said_started_at_ns or execution.started_at_ns,
                    status,
                    duration_ns if duration_ns > 0 else 0,
                    completed,
                    failed,
                    execution.recoveries,
                    execution.total_steps,
                    execution.parent_execution_id,
                    execution.parent_step_no,
                    error_type,
                    error_message,
                    execution.tags,
                ),
            )
        except Exception:  # as in end_step: it ends with the process
            execution.ended = False
            raise
        if execution.healing is not None:
            for fields in take_verdicts(execution):
                self.append(_VERDICT, fields)
        self.open_executions.pop(execution.execution_id, None)
        if self.realtime:
            execution.ended_tick_ns = execution.started_tick_ns + duration_ns
            self.ended_executions[execution.execution_id] = execution
            if len(self.ended_executions) > REMEMBERED_EXECUTIONS:
                self.ended_executions.pop(next(iter(self.ended_executions)), None)
        if self.on_end is not None:
            self.on_end()

    # ---------------------------------------------------------------- steps

    def begin_step(
        self,
        node_id: str,
        action_type: str | None = None,
        tags: Tags = None,
        opener: object = None,
        subject: object = None,
        within: Execution | None = None,
    ) -> Step:
        """Record that a step began, and enter it. It belongs to `within`, else to the current execution."""
        parent = current.get()
        execution: Execution | None
        parent_step_no = None
        if parent is None:
            execution = within
        elif parent.is_step:
            execution = parent.execution  # type: ignore[attr-defined]  # because is_step says that it is a Step
            if within is not None and within is not execution:
                execution = within
            elif not parent.ended:
                parent_step_no = parent.step_no  # type: ignore[attr-defined]  # because is_step says so
        else:
            execution = within or parent  # type: ignore[assignment]  # because what is no Step is an Execution
        step_no = self.next_orphan_no() if execution is None else execution.next_step_no()
        at_ns = self.time_ns()
        step = Step(step_no, node_id, action_type, execution, self, parent, opener, subject, at_ns)
        fields: tuple[object, ...]
        if execution is None:
            self.open_orphans[step_no] = step
            fields = (None, None, step_no, node_id, action_type, at_ns)
        else:
            execution.open_steps[step_no] = step
            execution.current_step = node_id
            fields = (execution.execution_id, execution.workflow_id, step_no, node_id, action_type, at_ns)
        if parent_step_no is not None or tags is not None:
            fields += (parent_step_no, tags)
            step.parent_step_no = parent_step_no
            step.tags = tags
        try:
            step.start = self.append(_STEP_START, fields)
            step.started_tick_ns = self.tick_ns()
            current.set(step)
        except Exception:  # because where the stack is full not even a call has room; nobody may wait for this step
            if step.start == NO_START:
                (self.open_orphans if execution is None else execution.open_steps).pop(step_no, None)
            raise
        return step

    def end_step(
        self, step: Step, status: int, error_type: str | None = None, error_message: str | None = None
    ) -> None:
        """Record that a step ended. A second ending is ignored."""
        duration_ns = self.tick_ns() - step.started_tick_ns
        if step.ended or step.inherited:
            return
        step.ended = True
        step.subject = None
        if step.said_duration_ns is not None:
            duration_ns = step.said_duration_ns
        if duration_ns < 0:
            duration_ns = 0
        execution = step.execution
        if step.healed:
            if status == SUCCESS:
                status = RECOVERED
            else:
                step.healed = False  # because it failed after all, and a later recovery may still heal it
        try:
            if status != SUCCESS or step.tags is not None or step.parent_step_no is not None:
                step.status, step.duration_ns = status, duration_ns
                step.error_type, step.error_message = error_type, error_message
                self.append_step_end(step)
            else:
                self.append(
                    _STEP_END,
                    (
                        step.start,
                        None if execution is None else execution.execution_id,
                        None if execution is None else execution.workflow_id,
                        step.step_no,
                        step.node_id,
                        step.action_type,
                        step.said_started_at_ns or step.started_at_ns,
                        SUCCESS,
                        duration_ns,
                    ),
                )
        except Exception:  # because where the stack is full not even the call has room: it ends with its execution
            step.ended = False
            raise
        if execution is None:
            self.open_orphans.pop(step.step_no, None)
        else:
            execution.open_steps.pop(step.step_no, None)
            if step.parent_step_no is None:
                execution.steps_ended += 1
                if status <= RECOVERED:
                    execution.steps_completed += 1
                elif status <= TIMEOUT:
                    execution.steps_failed += 1
        if status != SUCCESS:
            self._note_unusual(step, execution, status)

    def append_step_end(self, step: Step, revises: int | None = None) -> None:
        """Record a step's ending with everything that is known of it; `revises` as in `events.StepEnd`."""
        execution = step.execution
        position = self.append(
            _STEP_END,
            (
                step.start,
                None if execution is None else execution.execution_id,
                None if execution is None else execution.workflow_id,
                step.step_no,
                step.node_id,
                step.action_type,
                step.said_started_at_ns or step.started_at_ns,
                step.status,
                step.duration_ns,
                step.parent_step_no,
                step.error_type,
                step.error_message,
                step.tags,
                revises,
            ),
        )
        if step.start == NO_START:
            step.start = position  # because its row has the key of its ending, and a healing must find that row

    def _note_unusual(self, step: Step, execution: Execution | None, status: int) -> None:
        """What a recovery needs to know, earlier or later: a step ended, and did not simply succeed."""
        if execution is not None and execution.healing is not None:
            execution.healing.note_ended(execution, step, self.tick_ns())
        if status not in (FAILED, TIMEOUT):
            return
        latest_failed.set(step)
        if execution is None:
            return
        remembered = execution.failed_steps
        remembered.pop(step.node_id, None)
        remembered[step.node_id] = step
        if len(remembered) > REMEMBERED_FAILURES:
            remembered.pop(next(iter(remembered)), None)

    # ---------------------------------------------------------------- life

    def close_open(self, reason: str) -> None:
        """End everything that is still open as cancelled: the process is about to end in good order."""
        for execution in list(self.open_executions.values()):
            self.end_execution(execution, CANCELLED, None, reason)
        for step in list(self.open_orphans.values()):
            self.end_step(step, CANCELLED, None, reason)

    def disown_open(self) -> None:
        """In a forked child: what is open began in the parent process and ends there. What is just beginning, and has
        no time yet, begins here."""
        steps = list(self.open_orphans.values())
        for execution in self.open_executions.values():
            execution.inherited = True
            steps += execution.open_steps.values()
        for step in steps:
            step.inherited = step.started_tick_ns > 0
        self.open_executions = {}
        self.open_orphans = {step.step_no: step for step in self.open_orphans.values() if not step.inherited}

    def find(self, execution_id: object) -> Execution | None:
        """An execution that runs here, or that ended a short while ago."""
        if not isinstance(execution_id, str):
            return None
        return self.open_executions.get(execution_id) or self.ended_executions.get(execution_id)

    def live(self) -> Iterator[Execution]:
        """The executions that run now."""
        return iter(list(self.open_executions.values()))


recorders: WeakSet[Recorder] = WeakSet()
"""All of this process: one that another replaced still has what began in it."""


def leave(frame: Frame) -> None:
    """Make the frame's parent the current one again, where this task is still inside the frame."""
    if current.get() is frame:
        current.set(frame.parent)


def status_word(execution: Execution) -> str:
    """The status of an execution as a word, `running` while it runs."""
    return STATUSES[execution.status]
