"""`recovery_attempt()`: one try at healing something that failed, as `with`, `async with` or a decorator."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Execution, Frame, Step, current, current_execution
from analytics_sdk.capture.endings import error_type_of, status_of_verdict
from analytics_sdk.capture.healing import healed_step_of, record_recovery
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.capture.selectors import After, Before, Call, compile_after, compile_before, default_of
from analytics_sdk.capture.wrapping import CallTracker
from analytics_sdk.guard import message_of, tag_of, text_of, trouble, unkept
from analytics_sdk.vocabulary import SUCCESS, Kind

_RECOVERY = int(Kind.RECOVERY)

NO_STRATEGY = "none"


class Attempt:
    """One recovery attempt, open. Leaving normally is success; `fail("why")` or an exception is not."""

    def __init__(
        self, recorder: Recorder | None, strategy: str, node_id: str | None, tags: dict[str, str] | None
    ) -> None:
        self.recorder = recorder
        self.strategy = strategy
        self.node_id = node_id
        self.tags = tags
        self.outer: Attempt | None = None
        self.failed = False
        self.message: str | None = None
        self.parent: Frame | None = current.get()
        self.execution: Execution | None = None
        self.step: Step | None = None
        if recorder is not None:
            self.execution = current_execution()
            self.step = healed_step_of(self.execution, node_id)
            if self.execution is not None and self.execution.recorder is not None:
                self.recorder = recorder = self.execution.recorder
            self.started_at_ns = recorder.time_ns()
            self.started_tick_ns = recorder.tick_ns()

    def __repr__(self) -> str:
        return f"<recovery attempt {self.strategy!r}>"

    def fail(self, message: object = None) -> None:
        """Say that the attempt did not heal anything, and why."""
        self.failed = True
        self.message = None if message is None else message_of(message)

    def end(self, success: bool, message: str | None = None) -> None:
        """Record it. Never raises an Exception."""
        recorder = self.recorder
        if recorder is None:
            return
        try:
            duration_ns = recorder.tick_ns() - self.started_tick_ns
            record_recovery(
                recorder,
                self.execution,
                self.step,
                strategy=self.strategy,
                success=success,
                started_at_ns=self.started_at_ns,
                duration_ns=duration_ns,
                node_id=self.node_id,
                error_message=message,
                tags=self.tags,
            )
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("recovery", "recording a recovery failed: %s", error_type_of(problem), exc=problem)
            unkept[_RECOVERY] += 1


class RecoveryTracker(CallTracker):
    """Records each call of one healing function as an attempt.

    `by_result` is for a function that nobody decorated: it is asked for `result.strategy_used` and `result.success`,
    and one that returned None healed nothing.
    """

    kind = _RECOVERY

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        strategy: object = None,
        node_id: object = None,
        success: object = None,
        tags: Mapping[str, object] | None = None,
        by_result: bool = False,
    ) -> None:
        self.call = Call(func)
        self.name = self.call.name
        self.by_result = by_result
        self.strategy: After | None = compile_after(strategy, self.call, "strategy")
        self.success: After | None = compile_after(success, self.call, "success")
        self.node_id: Before | None = compile_before(node_id, self.call, "node_id")
        if self.node_id is None:
            named = "node_id" in self.call.names
            self.node_id = self.call.argument("node_id") if named else default_of(self.call, "node", "node_id")
        selectors = {key: compile_before(value, self.call, f"tag {key!r}") for key, value in (tags or {}).items()}
        self.tags = {key: selector for key, selector in selectors.items() if selector is not None}

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attempt | None:
        recorder = active.recorder or active.start()
        if recorder is None:
            return None
        try:
            node_id = self._ask(self.node_id, "node_id", args, kwargs, {})
            tags = {key: tag_of(key, self._ask(select, "tag", args, kwargs, {})) for key, select in self.tags.items()}
            return Attempt(recorder, NO_STRATEGY, None if node_id is None else text_of(node_id), tags or None)
        except Exception as problem:  # because nothing of ours may reach the host
            trouble("begin", "recording the start of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            unkept[_RECOVERY] += 1
            return None

    def returned(self, frame: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        try:
            extras = {"result": result, "exception": None}
            frame.strategy = self._strategy(args, kwargs, extras)
            success = not frame.failed
            if self.success is not None:
                verdict = self._ask(self.success, "success", args, kwargs, extras)
                success = success and status_of_verdict(verdict) == SUCCESS
            elif result is None:
                success = success and not self.by_result
            elif getattr(result, "success", None) is False or (self.by_result and result is False):
                success = False
            message = frame.message
            if not success and message is None and getattr(result, "error", None) is not None:
                message = message_of(result.error)
            frame.end(success, None if success else message)
        except Exception as problem:  # because the host's result may do anything when asked
            trouble("end", "recording the end of %s failed: %s", self.name, error_type_of(problem), exc=problem)
            frame.end(False)

    def raised(self, frame: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> None:
        frame.strategy = self._strategy(args, kwargs, {"result": None, "exception": error})
        frame.end(False, message_of(error) or error_type_of(error))

    def _strategy(self, args: tuple[Any, ...], kwargs: dict[str, Any], extras: dict[str, Any]) -> str:
        if self.strategy is not None:
            asked_in_vain = extras["exception"] is not None or extras["result"] is None
            found = self._ask(self.strategy, "strategy", args, kwargs, extras, quietly=asked_in_vain)
        else:
            found = getattr(extras["result"], "strategy_used", None) if self.by_result else None
        return NO_STRATEGY if found is None else text_of(found)

    def _ask(
        self,
        selector: After | None,
        what: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        extras: dict[str, Any],
        quietly: bool = False,
    ) -> Any:
        if selector is None:
            return None
        try:
            return selector(args, kwargs, extras) if extras else selector(args, kwargs)
        except Exception as problem:  # because a selector runs the user's own code
            if not quietly:
                self.note_selector(what, problem)
            return None


def open_attempt(strategy: object, node_id: object, tags: Mapping[str, object] | None) -> Attempt:
    """An attempt for a `with` block: here the selectors are plain values."""
    recorder = active.recorder or active.start()
    return Attempt(
        recorder,
        text_of(strategy),
        None if node_id is None else text_of(node_id),
        {(name := text_of(key)): tag_of(name, value) for key, value in tags.items()} if tags else None,
    )


_innermost: ContextVar[Attempt | None] = ContextVar("analytics_sdk_attempt", default=None)


def enter_attempt(attempt: Attempt, opened: list[Attempt]) -> None:
    """Note an attempt of a `with` block; `opened` are those of the same block that are open, in any task or thread."""
    attempt.outer = _innermost.get()
    opened.append(attempt)
    _innermost.set(attempt)


def end_attempt(attempt: Attempt, error: BaseException | None, success: bool) -> None:
    """Record how a `with` block was left: by an exception, or with the user's word on it. Raises no Exception."""
    try:
        if error is not None:
            attempt.end(False, message_of(error) or error_type_of(error))
        elif attempt.failed or not success:
            attempt.end(False, attempt.message)
        else:
            attempt.end(True)
    except Exception as problem:  # because nothing of ours may reach the host
        trouble("recovery", "recording a recovery failed: %s", error_type_of(problem), exc=problem)
        unkept[_RECOVERY] += 1


def leave_attempt(opened: list[Attempt]) -> Attempt | None:
    """The attempt that this task or thread leaves: its innermost of those; else the latest, because a generator may
    leave its block in another context than it entered it."""
    attempt = _innermost.get()
    while attempt is not None and attempt not in opened:
        attempt = attempt.outer
    try:
        if attempt is None:
            return opened.pop()
        opened.remove(attempt)
    except (IndexError, ValueError):  # because another thread was faster
        return None
    _innermost.set(attempt.outer)
    attempt.outer = None
    return attempt
