"""Trackers: how the calls of one decorated function begin and end, as an execution or as a step.

What can be decided when decorating is decided in the constructors. All state is per call: one decorated function may
run a thousand times at once. No method raises an Exception into the host.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Execution, Frame, Step, current
from analytics_sdk.capture.endings import (
    control_flow_types,
    error_type_of,
    status_of_exception,
    status_of_verdict,
)
from analytics_sdk.capture.selectors import Before, Call, asks_for, compile_after, compile_before, default_of, pick_of
from analytics_sdk.capture.usual_step import wrap_usual_coroutine, wrap_usual_step
from analytics_sdk.capture.wrapping import PLAIN, CallTracker, wrap_coroutine, wrap_function
from analytics_sdk.errors import SelectorError
from analytics_sdk.guard import message_of, tag_of, text_of, trouble, unkept
from analytics_sdk.vocabulary import FAILED, SUCCESS, Kind

ControlFlowArgument = Iterable[type[BaseException]] | type[BaseException]


class FrameTracker(CallTracker):
    """What executions and steps have in common: verdicts, joining, and leaving the frame."""

    is_workflow: bool

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        success: object = None,
        error: object = None,
        control_flow: ControlFlowArgument = (),
        tags: Mapping[str, object] | None = None,
    ) -> None:
        self.call = Call(func)
        self.name = self.call.name
        self.method_name = getattr(func, "__name__", self.name)
        try:
            self.control_flow = control_flow_types(control_flow)
        except TypeError as problem:
            raise SelectorError(f"{self.name}: {problem}") from None
        self.success = compile_after(success, self.call, "success")
        self.error = compile_after(error, self.call, "error")
        self.success_takes_exception = "exception" in asks_for(success)
        self.per_item = "item" in asks_for(success)
        self.tags: dict[str, Before] = {}
        for key, value in (tags or {}).items():
            selector = compile_before(value, self.call, f"tag {key!r}")
            if selector is not None:
                self.tags[text_of(key)] = selector

    # -- beginning

    def picked(self, selector: Before | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], what: str) -> Any:
        """What a selector picks; None, with one log line and a count, where it raises."""
        if selector is None:
            return None
        try:
            return selector(args, kwargs)
        except Exception as problem:  # because a selector runs the user's own code
            self.note_selector(what, problem)
            return None

    def picked_tags(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str] | None:
        if not self.tags:
            return None
        picked = {key: self.picked(selector, args, kwargs, "tag") for key, selector in self.tags.items()}
        return {key: tag_of(key, value) for key, value in picked.items() if value is not None}

    def is_already_seen(self, frame: Frame, args: tuple[Any, ...], frame_id: str) -> bool:
        """Whether this call is the very one that `frame` stands for, reached through another wrapper.

        So it is for a patched method that calls its patched parent's by `super()`, and for a call that the hooks have
        announced. A true recursion comes through the same wrapper.
        """
        if frame.ended or frame.opener is self:
            return False
        if isinstance(frame, Step):
            if self.is_workflow or frame.node_id != frame_id:
                return False
        elif not self.is_workflow or not isinstance(frame, Execution) or frame.workflow_id != frame_id:
            return False
        if frame.opener is HOOKS:
            return isinstance(frame, Step) or frame.joined == 0
        return (
            isinstance(frame.opener, FrameTracker)
            and frame.opener.method_name == self.method_name
            and bool(args)
            and frame.subject is args[0]
        )

    # -- ending

    def item(self, frame: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        """Ask the success selector about one item of a generator; a single False makes it failed."""
        if self.success is None or frame.said_status is not None:
            return
        try:
            if status_of_verdict(self.success(args, kwargs, {"item": value})) == FAILED:
                frame.fail()
        except Exception as problem:  # because a selector runs the user's own code
            self.note_selector("success", problem)

    def returned(self, frame: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Record that the call returned."""
        try:
            status, message = self.verdict(frame, args, kwargs, result)
            self.end(frame, status, None, message)
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("end", "recording the end of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            unkept[self.kind] += 1

    def raised(self, frame: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> None:
        """Record that the call raised."""
        try:
            status = status_of_exception(error, self.control_flow)
            if self.success is not None and self.success_takes_exception:
                status = self.asked(args, kwargs, {"exception": error, "result": None}, status)
            elif frame.said_status is not None and status == FAILED:
                status = frame.said_status if frame.said_status != SUCCESS else status
            if status == SUCCESS:
                self.end(frame, status, None, None)
                return
            message = self.error_message(args, kwargs, {"exception": error, "result": None})
            self.end(frame, status, error_type_of(error), message if message is not None else message_of(error))
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("end", "recording the end of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            unkept[self.kind] += 1

    def verdict(
        self, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> tuple[int, str | None]:
        """(status, error message) of a call that returned."""
        extras = {"result": result, "exception": None}
        if frame.said_status is not None:
            status = frame.said_status
        elif self.success is not None and not self.per_item:
            status = self.asked(args, kwargs, extras, None)
        else:
            status = self.inferred(result)
        if status == SUCCESS:
            return status, None
        message = frame.said_message
        if message is None:
            message = self.error_message(args, kwargs, extras)
        if message is None and type(result) not in PLAIN:
            found = self.attribute(result, "error")
            message = None if found is None else message_of(found)
        return status, message

    def inferred(self, result: Any) -> int:
        """The guide's shapes: `result.success` that is False; a workflow that returns exactly False."""
        if type(result) in PLAIN:
            return FAILED if result is False and self.is_workflow else SUCCESS
        return FAILED if self.attribute(result, "success") is False else SUCCESS

    def attribute(self, result: Any, name: str) -> Any:
        """An attribute of the host's result; None where it has none, or raises when asked."""
        try:
            return getattr(result, name, None)
        except Exception as problem:  # because asking runs the host's own code
            self.note_selector(f"result.{name}", problem)
            return None

    def asked(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], extras: dict[str, Any], otherwise: int | None
    ) -> int:
        """What the success selector says; where it raises, what would hold without one."""
        assert self.success is not None
        try:
            return status_of_verdict(self.success(args, kwargs, extras))
        except Exception as problem:  # because a selector runs the user's own code
            self.note_selector("success", problem)
            return self.inferred(extras["result"]) if otherwise is None else otherwise

    def error_message(self, args: tuple[Any, ...], kwargs: dict[str, Any], extras: dict[str, Any]) -> str | None:
        if self.error is None:
            return None
        try:
            found = self.error(args, kwargs, extras)
            return None if found is None else message_of(found)
        except Exception as problem:  # because a selector runs the user's own code
            self.note_selector("error", problem)
            return None

    def end(self, frame: Any, status: int, error_type: str | None, message: str | None) -> None:
        raise NotImplementedError


class _Hooks:
    """Stands as the opener of frames that the hooks API began."""


HOOKS = _Hooks()


class WorkflowTracker(FrameTracker):
    """Begins and ends an execution around each call."""

    is_workflow = True
    kind = int(Kind.EXECUTION_END)

    def __init__(
        self, func: Callable[..., Any], *, workflow_id: object = None, total_steps: object = None, **rest: Any
    ) -> None:
        super().__init__(func, **rest)
        self.workflow_id = compile_before(workflow_id, self.call, "workflow_id")
        self.total_steps = compile_before(total_steps, self.call, "total_steps")
        self.default_workflow_id = default_of(self.call, "workflow", "workflow_id")
        self.default_total_steps = default_of(self.call, "workflow", "nodes", derive=len)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution | None:
        recorder = active.recorder or active.start()
        if recorder is None:
            return None
        try:
            workflow_id = self.picked(self.workflow_id, args, kwargs, "workflow_id")
            if workflow_id is None:
                workflow_id = self.picked(self.default_workflow_id, args, kwargs, "workflow_id")
            workflow_id = self.name if workflow_id is None else text_of(workflow_id)
            frame = current.get()
            if frame is not None and self.is_already_seen(frame, args, workflow_id):
                frame.joined += 1
                return None
            if self.total_steps is not None:
                total = self.picked(self.total_steps, args, kwargs, "total_steps")
            else:
                total = self.picked(self.default_total_steps, args, kwargs, "total_steps")
            return recorder.begin_execution(
                workflow_id, total_of(total), self.picked_tags(args, kwargs), self, args[0] if args else None
            )
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("begin", "recording the start of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            unkept[self.kind] += 1
            return None

    def end(self, frame: Execution, status: int, error_type: str | None, message: str | None) -> None:
        assert frame.recorder is not None
        frame.recorder.end_execution(frame, status, error_type, message)


class StepTracker(FrameTracker):
    """Begins and ends a step around each call."""

    is_workflow = False

    def __init__(
        self, func: Callable[..., Any], *, node_id: object = None, action_type: object = None, **rest: Any
    ) -> None:
        super().__init__(func, **rest)
        default_id = default_of(self.call, "node", "node_id")
        self.node_id = compile_before(node_id, self.call, "node_id") or default_id
        self.default_node_id = default_id
        self.action_type = compile_before(action_type, self.call, "action_type") or default_of(
            self.call, "node", "action_type"
        )

    def wrap_function(self, func: Callable[..., Any]) -> Callable[..., Any]:
        general = wrap_function(func, self)
        if self.tags or self.success is not None:
            return general
        return wrap_usual_step(func, general, self, pick_of(self.node_id), pick_of(self.action_type))

    def wrap_coroutine(self, func: Callable[..., Any]) -> Callable[..., Any]:
        general = wrap_coroutine(func, self)
        if self.tags or self.success is not None:
            return general
        return wrap_usual_coroutine(func, general, self, pick_of(self.node_id), pick_of(self.action_type))

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step | None:
        recorder = active.recorder or active.start()
        if recorder is None:
            return None
        try:
            try:
                node_id = self.node_id(args, kwargs)
                action_type = self.action_type(args, kwargs)
            except Exception:  # because a selector runs the user's own code; picked() says which one raised
                node_id = self.picked(self.node_id, args, kwargs, "node_id")
                if node_id is None:
                    node_id = self.picked(self.default_node_id, args, kwargs, "node_id")
                action_type = self.picked(self.action_type, args, kwargs, "action_type")
            if type(node_id) is not str or "://" in node_id:  # because a URL may hold a password
                node_id = self.name if node_id is None else text_of(node_id)
            if type(action_type) is not str and action_type is not None:
                action_type = text_of(action_type)
            frame = current.get()
            if frame is not None:
                if frame.is_step and self.is_already_seen(frame, args, node_id):
                    frame.joined += 1
                    return None
                if frame.recorder is not None and not frame.ended:
                    recorder = frame.recorder  # because what is open ends in the system where it began
            return recorder.begin_step(
                node_id,
                action_type,
                self.picked_tags(args, kwargs) if self.tags else None,
                self,
                args[0] if args else None,
            )
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("begin", "recording the start of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            unkept[self.kind] += 1
            return None

    def returned(self, frame: Step, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Record that the call returned; the usual way is short, because every successful step goes it."""
        if self.success is None and frame.said_status is None and type(result) in PLAIN:
            try:
                frame.recorder.end_step(frame, SUCCESS)  # type: ignore[union-attr]  # because begin_step has set it
            except Exception as problem:  # because nothing of ours may reach the host
                trouble("end", "recording the end of %s failed: %s", self.name, error_type_of(problem), exc=problem)
                unkept[self.kind] += 1
            return
        super().returned(frame, args, kwargs, result)

    def end(self, frame: Step, status: int, error_type: str | None, message: str | None) -> None:
        assert frame.recorder is not None
        frame.recorder.end_step(frame, status, error_type, message)


def total_of(total: object) -> int | None:
    """A usable number of steps: a whole number from 0; anything else is unknown, logged once."""
    if total is None:
        return None
    try:
        number = int(total)  # type: ignore[call-overload]  # because whatever it is, int() says
        if 0 <= number < 1 << 63:  # because no database keeps more
            return int(number)
    except Exception:  # because the host may give anything: NaN, a string, an object
        pass
    trouble("total_steps", "total_steps is no whole number from 0 (%s); progress is unknown", type(total).__name__)
    return None
