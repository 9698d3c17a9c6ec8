"""`track_workflow`, `track_step`, `recovery_attempt`: each one object as decorator, `with` and `async with`."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Execution, Frame, Step, current
from analytics_sdk.capture.endings import error_type_of, status_of_exception
from analytics_sdk.capture.execution_id import new_execution_id
from analytics_sdk.capture.recovery import (
    NO_STRATEGY,
    Attempt,
    RecoveryTracker,
    end_attempt,
    enter_attempt,
    leave_attempt,
    open_attempt,
)
from analytics_sdk.capture.trackers import FrameTracker, StepTracker, WorkflowTracker, total_of
from analytics_sdk.capture.wrapping import CallTracker, tracker_of, wrap
from analytics_sdk.errors import SelectorError
from analytics_sdk.guard import message_of, tag_of, text_of, trouble, unkept
from analytics_sdk.vocabulary import SUCCESS

F = TypeVar("F", bound=Callable[..., Any])
FrameT = TypeVar("FrameT", Execution, Step)
ControlFlow = Iterable[type[BaseException]] | type[BaseException]


def disabled_by_environment() -> bool:
    """Whether ANALYTICS_SDK_DISABLED is `true`: it beats every argument."""
    return os.environ.get("ANALYTICS_SDK_DISABLED", "").strip().lower() == "true"


def decorate(func: Any, make_tracker: Callable[[Callable[..., Any]], CallTracker]) -> Any:
    """`func` wrapped with the tracker made for it; inside a static or class method where it is one.

    What is tracked already in the same way stays as it is. Where ANALYTICS_SDK_DISABLED is true, `func` itself.

    Raises:
        SelectorError: a selector does not fit the function, or it is not a function at all.
    """
    if isinstance(func, staticmethod | classmethod):
        return type(func)(decorate(func.__func__, make_tracker))
    if isinstance(func, type) or not callable(func):
        raise SelectorError(
            f"{func!r} is not a function or method; decorate its methods, or point auto_instrument() at the class"
        )
    tracker = make_tracker(func)
    if disabled_by_environment():
        return func
    known = tracker_of(func)
    if known is not None and type(known) is type(tracker):
        return func
    return wrap(func, tracker)


class _InlineFrame(Generic[FrameT]):
    """What executions and steps have in common as `with` blocks. One object may be entered many times at once."""

    _tracker_type: type[FrameTracker]

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._opened: list[Frame] = []

    def __call__(self, func: F) -> F:
        decorated: F = decorate(func, lambda inner: self._tracker_type(inner, **self._options))
        return decorated

    def __enter__(self) -> FrameT:
        recorder = active.recorder or active.start()
        frame = current.get()
        if frame is not None and frame.recorder is not None and not frame.ended and not self._is_workflow():
            recorder = frame.recorder
        opened: FrameT | None = None
        try:
            opened = self._open(recorder)
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("begin", "recording the start of a block failed: %s", error_type_of(problem), exc=problem)
            unkept[self._tracker_type.kind] += 1
        if opened is None:  # here, because what is raised in an `except` of ours would carry our exception with it
            opened = self._blank("")
        opened.opener = self
        self._opened.append(opened)
        return opened

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        frame = self._entered()
        if frame is not None:
            current.set(frame.parent)
        elif self._opened:
            frame = self._opened[-1]  # because a generator may leave its block in another context than it entered it
        else:
            return
        try:
            self._opened.remove(frame)
            self._end(frame, error)
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("end", "recording the end of a block failed: %s", error_type_of(problem), exc=problem)
            unkept[self._tracker_type.kind] += 1

    async def __aenter__(self) -> FrameT:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def _is_workflow(self) -> bool:
        return self._tracker_type is WorkflowTracker

    def _entered(self) -> Frame | None:
        """The innermost frame of this task that this object opened."""
        frame = current.get()
        while frame is not None and frame.opener is not self:
            frame = frame.parent
        return frame

    def _end(self, frame: Frame, error: BaseException | None) -> None:
        status = SUCCESS if frame.said_status is None else frame.said_status
        error_type, message = None, frame.said_message
        if error is not None:
            by_exception = status_of_exception(error, self._control_flow())
            if frame.said_status is None or by_exception != SUCCESS:
                status = by_exception
            error_type, message = error_type_of(error), message_of(error)
        if status == SUCCESS:
            error_type = message = None
        recorder = frame.recorder
        if recorder is None:
            frame.ended = True
        elif isinstance(frame, Step):
            recorder.end_step(frame, status, error_type, message)
        elif isinstance(frame, Execution):
            recorder.end_execution(frame, status, error_type, message)

    def _control_flow(self) -> tuple[type[BaseException], ...]:
        given = self._options.get("control_flow") or ()
        return (given,) if isinstance(given, type) else tuple(given)

    def _tags(self) -> dict[str, str] | None:
        tags = self._options.get("tags")
        if not tags:
            return None
        return {(name := text_of(key)): tag_of(name, value) for key, value in tags.items() if value is not None}

    def _open(self, recorder: Any) -> FrameT:
        raise NotImplementedError

    def _blank(self, name: str) -> FrameT:
        raise NotImplementedError


class WorkflowBlock(_InlineFrame[Execution]):
    """`track_workflow(...)` with arguments: a decorator, and a `with` block that gives the Execution."""

    _tracker_type = WorkflowTracker

    def _open(self, recorder: Any) -> Execution:
        if recorder is None:
            return self._blank(self._workflow_id())
        execution: Execution = recorder.begin_execution(
            self._workflow_id(), total_of(self._options["total_steps"]), self._tags()
        )
        return execution

    def _workflow_id(self) -> str:
        given = self._options["workflow_id"]
        return "workflow" if given is None else text_of(given)

    def _blank(self, name: str) -> Execution:
        """Capture is off: the id is real, nothing is recorded."""
        execution = Execution(new_execution_id(), name)
        execution.parent = current.get()
        current.set(execution)
        return execution


class StepBlock(_InlineFrame[Step]):
    """`track_step(...)` with arguments: a decorator, and a `with` block that gives the Step."""

    _tracker_type = StepTracker

    def _open(self, recorder: Any) -> Step:
        if recorder is None:
            return self._blank(self._node_id())
        action_type = self._options["action_type"]
        step: Step = recorder.begin_step(
            self._node_id(), None if action_type is None else text_of(action_type), self._tags()
        )
        return step

    def _node_id(self) -> str:
        given = self._options["node_id"]
        return "step" if given is None else text_of(given)

    def _blank(self, name: str) -> Step:
        step = Step(0, name, None)
        step.parent = frame = current.get()
        step.execution = getattr(frame, "execution", None)
        current.set(step)
        return step


class RecoveryBlock:
    """`recovery_attempt(...)`: a decorator, and a `with` block that gives the Attempt."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._open: list[Attempt] = []

    def __call__(self, func: F) -> F:
        decorated: F = decorate(func, lambda inner: RecoveryTracker(inner, **self._options))
        return decorated

    def __enter__(self) -> Attempt:
        options = self._options
        try:
            attempt = open_attempt(options["strategy"], options["node_id"], options["tags"])
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("begin", "recording the start of a recovery failed: %s", error_type_of(problem), exc=problem)
            attempt = Attempt(None, NO_STRATEGY, None, None)
        enter_attempt(attempt, self._open)
        return attempt

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        attempt = leave_attempt(self._open)
        if attempt is not None:
            end_attempt(attempt, error, self._options["success"] is not False)

    async def __aenter__(self) -> Attempt:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)


@overload
def track_workflow(func: F, /) -> F: ...
@overload
def track_workflow(
    func: None = None,
    *,
    workflow_id: object = None,
    total_steps: object = None,
    success: object = None,
    error: object = None,
    control_flow: ControlFlow = (),
    tags: Mapping[str, object] | None = None,
) -> WorkflowBlock: ...
def track_workflow(
    func: Any = None,
    *,
    workflow_id: object = None,
    total_steps: object = None,
    success: object = None,
    error: object = None,
    control_flow: ControlFlow = (),
    tags: Mapping[str, object] | None = None,
) -> Any:
    """Record each call of a function, or one `with` block, as an execution of a workflow.

    Every argument is a selector: a constant, a template over the bound arguments (`"{workflow.workflow_id}"`), or a
    callable given the arguments that it names; `success` and `error` may also ask for `result`, `exception` or `item`.

    Args:
        func: the function, when used as a bare decorator.
        workflow_id: default `workflow.workflow_id`, else the function's qualified name.
        total_steps: how many steps are to come; default `len(workflow.nodes)`.
        success: True is success, False failed, None skipped. Default: no exception, no `result.success` that is
            False, and the result is not exactly False.
        error: the error message of what failed; default the exception's, or `result.error`.
        control_flow: exception types that mean skipped rather than failed.
        tags: selectors by name, kept as text with the execution.

    Raises:
        SelectorError: while decorating, when a selector does not fit the function.
    """
    block = WorkflowBlock(
        workflow_id=workflow_id,
        total_steps=total_steps,
        success=success,
        error=error,
        control_flow=control_flow,
        tags=tags,
    )
    return block if func is None else block(func)


@overload
def track_step(func: F, /) -> F: ...
@overload
def track_step(
    func: None = None,
    *,
    node_id: object = None,
    action_type: object = None,
    success: object = None,
    error: object = None,
    control_flow: ControlFlow = (),
    tags: Mapping[str, object] | None = None,
) -> StepBlock: ...
def track_step(
    func: Any = None,
    *,
    node_id: object = None,
    action_type: object = None,
    success: object = None,
    error: object = None,
    control_flow: ControlFlow = (),
    tags: Mapping[str, object] | None = None,
) -> Any:
    """Record each call of a function, or one `with` block, as a step of the current execution.

    Args:
        func: the function, when used as a bare decorator.
        node_id: default `node.node_id`, else the function's qualified name.
        action_type: default `node.action_type`, else unknown.
        success, error, control_flow, tags: as for `track_workflow`; a step that returns False is no failure.

    Raises:
        SelectorError: while decorating, when a selector does not fit the function.
    """
    block = StepBlock(
        node_id=node_id, action_type=action_type, success=success, error=error, control_flow=control_flow, tags=tags
    )
    return block if func is None else block(func)


def recovery_attempt(
    strategy: object = NO_STRATEGY,
    *,
    node_id: object = None,
    success: object = None,
    tags: Mapping[str, object] | None = None,
) -> RecoveryBlock:
    """Record one try at healing a step: leaving normally is success, `attempt.fail("why")` or an exception is not.

    It belongs to the step it is inside; else to the latest failed step with its `node_id` in the execution; else to
    the latest failed step of this task or thread; else to the execution. As a decorator, `strategy` and `success`
    are selectors.

    Raises:
        SelectorError: while decorating, when a selector does not fit the function.
    """
    return RecoveryBlock(strategy=strategy, node_id=node_id, success=success, tags=tags)
