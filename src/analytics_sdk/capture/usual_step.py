"""The usual step: one call of a function right inside an execution that runs, which returns and says no more.

Nearly all steps are such, so their beginning and ending stand here once more: what `StepTracker.begin`,
`Recorder.begin_step`, `StepTracker.returned` and `Recorder.end_step` do for them, without the calls between. A plain
function's stand in the wrapper's own frame, because a frame for each costs a step a twentieth; a coroutine has more to
do anyway, and only its beginning is short. Whatever is not usual goes the general way, before anything was recorded.
All ways write the same records.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Execution, Step, current, step_out
from analytics_sdk.capture.endings import error_type_of
from analytics_sdk.capture.selectors import Pick
from analytics_sdk.capture.wrapping import PLAIN, CallTracker, ends_later, follow
from analytics_sdk.guard import trouble, unkept
from analytics_sdk.vocabulary import NO_START, SUCCESS, Kind

_STEP_START = int(Kind.STEP_START)
_STEP_END = int(Kind.STEP_END)


def wrap_usual_step(
    func: Callable[..., Any], general: Callable[..., Any], tracker: CallTracker, node: Pick, action: Pick
) -> Callable[..., Any]:
    """The wrapper of `func` for usual calls; `general` is the one for all others. `node` and `action` pick the ids."""
    node_at, node_of = node
    action_at, action_of = action
    current_frame, enter = current.get, current.set

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        execution: Any = current_frame()
        usual, step_no, step = False, 0, None
        if type(execution) is Execution and not execution.ended and not kwargs and active.recorder is not None:
            try:
                node_id = node_of(args[node_at])
                action_type = action_of(args[action_at])
                if type(node_id) is str and "://" not in node_id:
                    usual = type(action_type) is str or action_type is None
            except Exception:  # because picking runs the host's code; the general way asks again and says what raised
                pass
        if not usual or (recorder := execution.recorder) is None:
            return general(*args, **kwargs)
        try:
            step_no = execution.next_step_no()
            at_ns = recorder.time_ns()
            subject = args[0] if args else None
            step = Step(step_no, node_id, action_type, execution, recorder, execution, tracker, subject, at_ns)
            execution.open_steps[step_no] = step
            execution.current_step = node_id
            step.start = recorder.append(
                _STEP_START, (execution.execution_id, execution.workflow_id, step_no, node_id, action_type, at_ns)
            )
            step.started_tick_ns = began_ns = recorder.tick_ns()
            enter(step)
        except Exception as problem:  # because nothing of ours may reach the host
            unkept[_STEP_END] += 1
            if step is None or step.start == NO_START:  # else it ends with its execution
                execution.open_steps.pop(step_no, None)
            step = None
            with suppress(Exception):  # because the stack may be full
                trouble(
                    "begin", "recording the start of %s failed: %s", tracker.name, error_type_of(problem), exc=problem
                )
        if step is None:  # here, because what the host raises in an `except` of ours would carry our exception with it
            return func(*args)
        try:
            result = func(*args)
        except BaseException as error:
            enter(step.parent)
            tracker.raised(step, args, kwargs, error)
            raise
        enter(step.parent)
        if type(result) not in PLAIN or step.said_status is not None or step.said_duration_ns is not None:
            if ends_later(type(result)):
                return follow(tracker, step, args, kwargs, result)
            tracker.returned(step, args, kwargs, result)
            return result
        try:
            duration_ns = recorder.tick_ns() - began_ns
            if step.ended or step.inherited:
                return result
            if step.healed:
                recorder.end_step(step, SUCCESS)
                return result
            step.ended = True
            step.subject = None
            recorder.append(
                _STEP_END,
                (
                    step.start,
                    execution.execution_id,
                    execution.workflow_id,
                    step_no,
                    node_id,
                    step.action_type,
                    step.said_started_at_ns or at_ns,
                    SUCCESS,
                    duration_ns if duration_ns > 0 else 0,
                ),
            )
            execution.open_steps.pop(step_no, None)
            execution.steps_ended += 1
            execution.steps_completed += 1
        except Exception as problem:  # because nothing of ours may reach the host
            step.ended = step_no not in execution.open_steps  # because what was not told must still be able to end
            unkept[_STEP_END] += 1
            with suppress(Exception):  # because the stack may be full
                trouble("end", "recording the end of %s failed: %s", tracker.name, error_type_of(problem), exc=problem)
        return result

    return wrapper


def wrap_usual_coroutine(
    func: Callable[..., Any], general: Callable[..., Any], tracker: CallTracker, node: Pick, action: Pick
) -> Callable[..., Any]:
    """The same for a coroutine function."""
    begin, enter = _beginning(tracker, node, action), current.set

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            step = None if kwargs else begin(args)
        except Exception:  # because the stack may be full
            step = False
            unkept[_STEP_END] += 1
        if not step:
            return await (general if step is None else func)(*args, **kwargs)
        try:
            result = await func(*args)
        except GeneratorExit as closed:
            step_out(step, step.parent)
            tracker.raised(step, args, kwargs, closed)
            raise
        except BaseException as error:
            enter(step.parent)
            try:
                tracker.raised(step, args, kwargs, error)
            except Exception:  # because the stack may be full here, and not have been so at the beginning
                unkept[_STEP_END] += 1
            raise
        enter(step.parent)
        try:
            tracker.returned(step, args, kwargs, result)
        except Exception:  # as above
            unkept[_STEP_END] += 1
        return result

    return wrapper


def _beginning(
    tracker: CallTracker, node: Pick, action: Pick
) -> Callable[[tuple[Any, ...]], Step | Literal[False] | None]:
    """What begins a usual step. It gives None where the call is not usual, False where recording it failed."""
    node_at, node_of = node
    action_at, action_of = action
    current_frame, enter = current.get, current.set

    def begin(args: tuple[Any, ...]) -> Step | Literal[False] | None:
        execution: Any = current_frame()
        if type(execution) is not Execution or execution.ended or active.recorder is None:
            return None
        try:
            node_id = node_of(args[node_at])
            action_type = action_of(args[action_at])
            recorder = execution.recorder
            if type(node_id) is not str or "://" in node_id or recorder is None:
                return None
            if type(action_type) is not str and action_type is not None:
                return None
        except Exception:  # because picking runs the host's code; the general way asks again and says what raised
            return None
        step, step_no = None, 0
        try:
            step_no = execution.next_step_no()
            at_ns = recorder.time_ns()
            subject = args[0] if args else None
            step = Step(step_no, node_id, action_type, execution, recorder, execution, tracker, subject, at_ns)
            execution.open_steps[step_no] = step
            execution.current_step = node_id
            step.start = recorder.append(
                _STEP_START, (execution.execution_id, execution.workflow_id, step_no, node_id, action_type, at_ns)
            )
            step.started_tick_ns = recorder.tick_ns()
            enter(step)
            return step
        except Exception as problem:  # because nothing of ours may reach the host
            unkept[_STEP_END] += 1
            if step is None or step.start == NO_START:  # else it ends with its execution
                execution.open_steps.pop(step_no, None)
            with suppress(Exception):  # because the stack may be full
                trouble(
                    "begin", "recording the start of %s failed: %s", tracker.name, error_type_of(problem), exc=problem
                )
            return False

    return begin
