"""The hooks of the integration guide: for a loop whose author calls us, rather than being decorated.

The host's times, durations and counts win over ours. Nothing here raises into the host: bad input gets one log line
and a count, and what can be kept of it is kept.
"""

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from analytics_sdk.analytics_system import get_analytics_system, set_enabled
from analytics_sdk.capture.active import active, open_execution
from analytics_sdk.capture.context import Execution, Frame, Step, current, current_execution
from analytics_sdk.capture.endings import error_type_of, status_of_verdict, status_of_word
from analytics_sdk.capture.execution_id import new_execution_id
from analytics_sdk.capture.healing import healed_step_of, record_recovery
from analytics_sdk.capture.live import live_metrics
from analytics_sdk.capture.recorder import Recorder, leave
from analytics_sdk.capture.recovery import NO_STRATEGY
from analytics_sdk.capture.trackers import HOOKS, total_of
from analytics_sdk.capture.tracking import disabled_by_environment
from analytics_sdk.guard import message_of, text_of, trouble
from analytics_sdk.vocabulary import SUCCESS

if TYPE_CHECKING:
    from analytics_sdk.system import AnalyticsSystem

F = TypeVar("F", bound=Callable[..., Any])


def _never_raises(otherwise: Callable[..., Any]) -> Callable[[F], F]:
    """A hook that gives `otherwise(...)` where it would raise an Exception."""

    def decorate(hook: F) -> F:
        @functools.wraps(hook)
        def guarded(self: "AnalyticsIntegration", *args: Any, **kwargs: Any) -> Any:
            try:
                return hook(self, *args, **kwargs)
            except Exception as problem:  # because a hook must not break the host's loop
                trouble(
                    f"hook:{hook.__name__}",
                    "%s failed: %s: %s",
                    hook.__name__,
                    error_type_of(problem),
                    problem,
                    exc=problem,
                )
                return otherwise()

        return guarded  # type: ignore[return-value]  # because it takes what the hook takes, and more

    return decorate


class AnalyticsIntegration:
    """What the guide calls the integration: the hooks, and what they feed. One a process."""

    @property
    def enabled(self) -> bool:
        """Whether this process records."""
        return active.enabled and not disabled_by_environment()

    @property
    def analytics(self) -> "AnalyticsSystem":
        """The process's system.

        Raises:
            SettingError: it does not exist yet, and a setting cannot work.
        """
        return get_analytics_system()

    # ---------------------------------------------------------------- executions

    @_never_raises(new_execution_id)
    def on_execution_start(self, workflow_id: object, total_steps: object = None) -> str:
        """An execution begins; its id. Inside a tracked call of the same workflow, that call's execution."""
        name = text_of(workflow_id)
        recorder = active.recorder or active.start()
        if recorder is None:
            return new_execution_id()
        _leave_ended()
        execution = current_execution()
        if execution is not None and _is_tracked(execution) and execution.workflow_id == name:
            execution.joined += 1
            if execution.total_steps is None:
                execution.total_steps = total_of(total_steps)
            return execution.execution_id
        return recorder.begin_execution(name, total_of(total_steps), opener=HOOKS).execution_id

    @_never_raises(lambda: None)
    def on_execution_complete(
        self,
        execution_id: str,
        workflow_id: object = None,
        started_at: datetime | None = None,
        completed_at: datetime | None = None,
        duration: float | None = None,
        status: str = "success",
        steps_completed: int | None = None,
        steps_failed: int | None = None,
        error_message: object = None,
    ) -> None:
        """An execution ended. `duration` in seconds; naive datetimes are local time; `status` is a word."""
        recorder = active.recorder or active.start()
        execution = open_execution(execution_id)
        known = execution is not None
        if execution is None:
            if recorder is None or execution_id in recorder.ended_executions:
                return
            execution = _stranger(recorder, execution_id, workflow_id, duration)
        _take_times(execution, started_at, completed_at, duration)
        if steps_completed is not None or steps_failed is not None:
            execution.said_counts = (
                total_of(steps_completed) or execution.steps_completed * (steps_completed is None),
                total_of(steps_failed) or execution.steps_failed * (steps_failed is None),
            )
        word = status_of_word(status)
        message = None if word == SUCCESS or error_message is None else message_of(error_message)
        if known and execution.opener is not HOOKS:
            execution.said_status, execution.said_message = word, message
            return
        _leave_through(execution)
        assert execution.recorder is not None
        execution.recorder.end_execution(execution, word, None, message)

    # ---------------------------------------------------------------- steps

    @_never_raises(lambda: None)
    def on_step_start(self, execution_id: str, node_id: object, step_number: int | None = None) -> None:
        """A step begins. Inside a tracked call of the same node, it is that call's step."""
        recorder = active.recorder or active.start()
        if recorder is None:
            return
        name = text_of(node_id)
        frame = current.get()
        if isinstance(frame, Step) and not frame.ended and frame.opener is not HOOKS and frame.node_id == name:
            frame.joined += 1
            return
        execution = open_execution(execution_id)
        if execution is None:
            trouble("unknown-execution", "on_step_start: no execution %s runs here", text_of(execution_id, 60))
            return
        _begin_step(execution, name, None)

    @_never_raises(lambda: None)
    def on_step_complete(
        self,
        execution_id: str,
        workflow_id: object = None,
        node_id: object = None,
        action_type: object = None,
        started_at: datetime | None = None,
        completed_at: datetime | None = None,
        duration: float | None = None,
        success: object = True,
        error_message: object = None,
    ) -> None:
        """A step ended: the oldest open one of this execution and node, else one that nobody announced."""
        recorder = active.recorder or active.start()
        name = text_of(node_id)
        action = None if action_type is None else text_of(action_type)
        execution = open_execution(execution_id)
        if execution is None:
            if recorder is None:
                return
            trouble("unknown-execution", "on_step_complete: no execution %s runs here", text_of(execution_id, 60))
            execution = _stranger(recorder, execution_id, workflow_id, None)
        step = next((one for one in execution.open_steps.values() if one.node_id == name), None)
        if step is None:
            if recorder is None:
                return
            step = _begin_step(execution, name, action)
        if action is not None:
            step.action_type = action
        _take_times(step, started_at, completed_at, duration)
        status = status_of_verdict(success)
        message = None if status == SUCCESS or error_message is None else message_of(error_message)
        if step.opener is not HOOKS:
            step.said_status, step.said_message = status, message
            return
        leave(step)
        assert step.recorder is not None
        step.recorder.end_step(step, status, None, message)

    # ---------------------------------------------------------------- recoveries

    @_never_raises(lambda: None)
    def on_recovery_attempt(
        self,
        execution_id: str,
        workflow_id: object = None,
        node_id: object = None,
        strategy: object = NO_STRATEGY,
        success: object = False,
        duration: float | None = None,
    ) -> None:
        """A recovery was tried. `duration` in seconds."""
        recorder = active.recorder or active.start()
        if recorder is None:
            return
        execution = recorder.find(execution_id) or open_execution(execution_id)
        if execution is None:
            trouble("unknown-execution", "on_recovery_attempt: no execution %s runs here", text_of(execution_id, 60))
            execution = _stranger(recorder, execution_id, workflow_id, None)
        name = None if node_id is None else text_of(node_id)
        step = None
        frame = current.get()
        if not (isinstance(frame, Step) and not frame.ended and frame.execution is execution):
            step = next((one for one in execution.open_steps.values() if one.node_id == name), None)
        if step is None:
            step = healed_step_of(execution, name)
        duration_ns = _duration_ns(duration) or 0
        record_recovery(
            recorder,
            execution,
            step,
            strategy=NO_STRATEGY if strategy is None else text_of(strategy),
            success=bool(success),
            started_at_ns=recorder.time_ns() - duration_ns,
            duration_ns=duration_ns,
            node_id=name,
        )

    # ---------------------------------------------------------------- answers

    def get_live_metrics(self, execution_id: str) -> dict[str, Any]:
        """Progress and estimated end of an execution of this process; an unknown id has every key too."""
        try:
            recorder = active.recorder or active.start() or get_analytics_system().recorder
            return live_metrics(execution_id, recorder.find(execution_id), recorder)
        except Exception as problem:  # because a hook must not break the host's loop
            trouble("hook:get_live_metrics", "get_live_metrics failed: %s", problem, exc=problem)
            return live_metrics(execution_id, None, _NOWHERE)

    def get_workflow_stats(self, workflow_id: str, hours: float = 24) -> dict[str, Any]:
        """Statistics of a workflow over the last hours. Where nothing can be read: every key, `data_complete` False."""
        try:
            return get_analytics_system().stats(workflow_id, hours)
        except Exception as problem:  # because a hook must not break the host's loop
            trouble("hook:get_workflow_stats", "get_workflow_stats failed: %s", problem, exc=problem)
            from analytics_sdk.query import empty_stats  # here, because it loads the query package

            return {**empty_stats(workflow_id), "data_complete": False}


class _NoJournal:
    def append(self, kind: int, fields: tuple[object, ...]) -> int:
        return -1


_NOWHERE = Recorder(_NoJournal())
_integration = AnalyticsIntegration()


def get_analytics_integration(enabled: bool | None = None) -> AnalyticsIntegration:
    """The process's integration. `enabled` turns capture off (False) or on again (True) for the process.

    Raises:
        SettingError: the system does not exist yet, and a setting cannot work.
    """
    if enabled is not None:
        if enabled:
            get_analytics_system()
        set_enabled(enabled)
    return _integration


# -------------------------------------------------------------------- pieces of the hooks


def _begin_step(execution: Execution, node_id: str, action_type: str | None) -> Step:
    """Begin a step for a hook. Hooks' steps are never nested: one that was not completed must not swallow others."""
    frame = current.get()
    while isinstance(frame, Step) and frame.opener is HOOKS:
        frame = frame.parent
    current.set(frame)
    assert execution.recorder is not None
    return execution.recorder.begin_step(node_id, action_type, opener=HOOKS, within=execution)


def _leave_ended() -> None:
    """Leave what another task or thread has said to be complete: it is around nothing that begins now."""
    frame = current.get()
    while frame is not None and frame.ended and frame.opener is HOOKS:
        frame = frame.parent
    current.set(frame)


def _is_tracked(execution: Execution) -> bool:
    """Whether an open execution of this process is somebody else's than the hooks'."""
    return not execution.ended and not execution.inherited and execution.opener is not HOOKS


def _leave_through(execution: Execution) -> None:
    """Leave an execution, also where this task is still inside a step of it that was never completed."""
    frame = current.get()
    while isinstance(frame, Step) and frame.execution is execution:
        frame = frame.parent
    if frame is execution:
        current.set(execution.parent)


def _stranger(recorder: Recorder, execution_id: object, workflow_id: object, duration: object) -> Execution:
    """An execution whose beginning nobody recorded here: what its hooks say is kept all the same."""
    execution = Execution(text_of(execution_id), "unknown" if workflow_id is None else text_of(workflow_id))
    execution.recorder = recorder
    execution.opener = HOOKS
    duration_ns = _duration_ns(duration) or 0
    execution.started_at_ns = recorder.time_ns() - duration_ns
    execution.started_tick_ns = recorder.tick_ns() - duration_ns
    return execution


def _take_times(frame: Frame, started_at: object, completed_at: object, duration: object) -> None:
    """Let the host's times win, as far as they make sense."""
    started_ns, completed_ns = _at_ns(started_at), _at_ns(completed_at)
    duration_ns = _duration_ns(duration)
    if duration_ns is None and started_ns is not None and completed_ns is not None and completed_ns >= started_ns:
        duration_ns = completed_ns - started_ns
    frame.said_started_at_ns = started_ns
    frame.said_duration_ns = duration_ns


def _at_ns(moment: object) -> int | None:
    """A datetime in nanoseconds since 1970 in UTC; a naive one is local time. None where it makes no sense."""
    if moment is None:
        return None
    try:
        microseconds: float = moment.timestamp() * 1e6  # type: ignore[attr-defined]  # because what has none is caught
        if abs(microseconds) < 4.6e15:  # the years 1824 to 2115, because no database keeps much more
            return round(microseconds) * 1000
    except Exception:  # because a host may pass anything, and year 1 has no local time
        pass
    trouble("time", "a time of the host's makes no sense (%s); ours is used", type(moment).__name__)
    return None


def _duration_ns(duration: object) -> int | None:
    """Seconds in nanoseconds. None, with one log line, for NaN, negative, more than 126 years or no number at all."""
    if duration is None:
        return None
    try:
        seconds = float(duration)  # type: ignore[arg-type]  # because what is no number is caught
        if 0 <= seconds < 4e9:  # which NaN is not
            return round(seconds * 1e9)
    except Exception:  # because a host may pass anything
        pass
    trouble("duration", "a duration of the host's makes no sense (%s); ours is used", text_of(duration, 40))
    return None
