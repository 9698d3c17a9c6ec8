"""The wrapper around a callable, by its kind: function, coroutine, generator, async generator, or anything callable.

A wrapper is a plain closure: it pickles by name, `inspect` sees through it by `__wrapped__`, and it stays the kind of
callable that it wraps. Each kind restores the current frame by value, because a generator may be closed elsewhere.
"""

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from analytics_sdk.capture.context import current, step_out
from analytics_sdk.capture.endings import error_type_of
from analytics_sdk.errors import SelectorError
from analytics_sdk.guard import trouble, unkept
from analytics_sdk.vocabulary import Kind

MARK = "__analytics_sdk_tracker__"
"""The attribute of a wrapper that holds its tracker."""

PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset})
"""Types whose instances end nothing later and have no attributes of a result: nothing to ask them."""

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class CallTracker:
    """How the calls of one function begin and end. None of these methods raises an Exception, but where the stack is so
    full that not even their own handling of it has room: then the wrapper counts what is lost."""

    per_item = False
    kind = int(Kind.STEP_END)
    """Of the record that is lost where a call cannot be recorded."""
    name: str
    """The function's qualified name, for what is logged."""

    def note_selector(self, what: str, problem: BaseException) -> None:
        """One log line and a count for a selector of the user's that raised."""
        trouble(
            f"selector:{what}",
            "the %s selector of %s raised %s; the default is used",
            what,
            self.name,
            error_type_of(problem),
            exc=problem,
        )

    def begin(self, args: Args, kwargs: Kwargs) -> Any:
        """Begin one call: what is open now, or None where this call is not to be recorded."""
        raise NotImplementedError

    def returned(self, frame: Any, args: Args, kwargs: Kwargs, result: Any) -> None:
        """End one call that returned."""
        raise NotImplementedError

    def raised(self, frame: Any, args: Args, kwargs: Kwargs, error: BaseException) -> None:
        """End one call that raised."""
        raise NotImplementedError

    def item(self, frame: Any, args: Args, kwargs: Kwargs, value: Any) -> None:
        """One item that a generator yielded; only called where `per_item` says so."""

    def wrap_function(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The wrapper of a plain function."""
        return wrap_function(func, self)

    def wrap_coroutine(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The wrapper of a coroutine function."""
        return wrap_coroutine(func, self)


def tracker_of(func: object) -> CallTracker | None:
    """The tracker of a wrapper, or None where it is none of ours."""
    found = getattr(inspect.getattr_static(func, "__dict__", None) and func, MARK, None)
    return found if isinstance(found, CallTracker) else None


def wrap(func: Callable[..., Any], tracker: CallTracker, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The wrapper that tracks each call of `func`, and makes it through `call` where that is given.

    Raises:
        SelectorError: it is a class, or not callable.
    """
    if isinstance(func, type) or not callable(func):
        raise SelectorError(
            f"{func!r} is not a function or method; decorate its methods, or point auto_instrument() at the class"
        )
    call = func if call is None else call
    if inspect.isasyncgenfunction(func):
        wrapper = _wrap_async_generator(call, tracker)
    elif inspect.iscoroutinefunction(func):
        wrapper = tracker.wrap_coroutine(call)
    elif inspect.isgeneratorfunction(func):
        wrapper = _wrap_generator(call, tracker)
        if inspect.unwrap(func).__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            wrapper = types.coroutine(wrapper)
    else:
        wrapper = tracker.wrap_function(call)
    functools.update_wrapper(wrapper, func)
    if not hasattr(func, "__name__"):  # because partials and callable objects have none
        inner = func.func if isinstance(func, functools.partial) else type(func)
        wrapper.__name__ = wrapper.__qualname__ = getattr(inner, "__name__", type(func).__name__)
    setattr(wrapper, MARK, tracker)
    return wrapper


def wrap_function(func: Callable[..., Any], tracker: CallTracker) -> Callable[..., Any]:
    """The wrapper of a plain function, which may return something that ends later."""
    begin, returned, raised = tracker.begin, tracker.returned, tracker.raised

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            frame = begin(args, kwargs)
        except Exception:  # because the stack may be full
            frame = None
            unkept[tracker.kind] += 1
        if frame is None:
            return func(*args, **kwargs)
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            current.set(frame.parent)
            raised(frame, args, kwargs, error)
            raise
        current.set(frame.parent)
        if type(result) not in PLAIN and ends_later(type(result)):
            return follow(tracker, frame, args, kwargs, result)
        returned(frame, args, kwargs, result)
        return result

    return wrapper


def wrap_coroutine(func: Callable[..., Any], tracker: CallTracker) -> Callable[..., Any]:
    """The wrapper of a coroutine function: the body is timed, from its first instruction on."""

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            frame = tracker.begin(args, kwargs)
        except Exception:  # because the stack may be full
            frame = None
            unkept[tracker.kind] += 1
        if frame is None:
            return await func(*args, **kwargs)
        try:
            result = await func(*args, **kwargs)
        except GeneratorExit as closed:
            step_out(frame, frame.parent)
            tracker.raised(frame, args, kwargs, closed)
            raise
        except BaseException as error:
            current.set(frame.parent)
            try:
                tracker.raised(frame, args, kwargs, error)
            except Exception:  # because the stack may be full here, and not have been so at the beginning
                unkept[tracker.kind] += 1
            raise
        current.set(frame.parent)
        try:
            tracker.returned(frame, args, kwargs, result)
        except Exception:  # as above
            unkept[tracker.kind] += 1
        return result

    return wrapper


def _wrap_generator(func: Callable[..., Any], tracker: CallTracker) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        try:
            frame = tracker.begin(args, kwargs)
        except Exception:  # because the stack may be full
            frame = None
            unkept[tracker.kind] += 1
        if frame is None:
            return (yield from func(*args, **kwargs))
        outside = frame.parent
        try:
            body = func(*args, **kwargs)
            item = next(body)
            while True:
                if tracker.per_item:
                    tracker.item(frame, args, kwargs, item)
                current.set(outside)
                try:
                    sent = yield item
                except GeneratorExit:
                    outside = _enter(frame)
                    body.close()
                    raise
                except BaseException as thrown:
                    outside = _enter(frame)
                    item = body.throw(thrown)
                else:
                    outside = _enter(frame)
                    item = body.send(sent)
        except StopIteration as stop:
            current.set(outside)
            try:
                tracker.returned(frame, args, kwargs, stop.value)
            except Exception:  # because the stack may be full here, and not have been so at the beginning
                unkept[tracker.kind] += 1
            return stop.value
        except BaseException as error:
            current.set(outside)
            try:
                tracker.raised(frame, args, kwargs, error)
            except Exception:  # as above
                unkept[tracker.kind] += 1
            raise

    return wrapper


def _wrap_async_generator(func: Callable[..., Any], tracker: CallTracker) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        try:
            frame = tracker.begin(args, kwargs)
        except Exception:  # because the stack may be full
            frame = None
            unkept[tracker.kind] += 1
        outside = current.get() if frame is None else frame.parent
        try:
            body = func(*args, **kwargs)
            item = await anext(body)
            while True:
                if frame is not None and tracker.per_item:
                    tracker.item(frame, args, kwargs, item)
                current.set(outside)
                try:
                    sent = yield item
                except GeneratorExit:
                    outside = _enter(frame)
                    await body.aclose()
                    raise
                except BaseException as thrown:
                    outside = _enter(frame)
                    item = await body.athrow(thrown)
                else:
                    outside = _enter(frame)
                    item = await body.asend(sent)
        except StopAsyncIteration:
            current.set(outside)
            if frame is not None:
                tracker.returned(frame, args, kwargs, None)
        except BaseException as error:
            current.set(outside)
            if frame is not None:
                tracker.raised(frame, args, kwargs, error)
            raise

    return wrapper


def _enter(frame: Any) -> Any:
    """Make a frame the current one for the time that its body runs; what was current before."""
    outside = current.get()
    if frame is not None:
        current.set(frame)
    return outside


# ------------------------------------------------------------------ a plain function that returns something to await

_LATER: dict[type, bool] = {}
_REMEMBERED_TYPES = 512


def ends_later(kind: type) -> bool:
    """Whether what a plain function returned is awaited, or is a future: then the work ends when that does."""
    known = _LATER.get(kind)
    if known is None:
        known = hasattr(kind, "__await__") or hasattr(kind, "add_done_callback")
        if len(_LATER) < _REMEMBERED_TYPES:  # because a program may make types without end
            _LATER[kind] = known
    return known


def follow(tracker: CallTracker, frame: Any, args: Args, kwargs: Kwargs, result: Any) -> Any:
    """Have a call end when what it returned ends; what to return in its place."""
    try:
        if hasattr(result, "add_done_callback"):

            def done(future: Any) -> None:
                _end_with(tracker, frame, args, kwargs, future)

            result.add_done_callback(done)
            return result
        if inspect.iscoroutine(result):
            return _awaited(tracker, frame, args, kwargs, result)
        return _awaitable_proxy(tracker, frame, args, kwargs, result)
    except Exception as problem:  # because the host's object may refuse; the call itself has returned
        trouble("follow", "cannot follow a %s to its end: %s", type(result).__name__, problem)
        tracker.returned(frame, args, kwargs, None)
        return result


def _end_with(tracker: CallTracker, frame: Any, args: Args, kwargs: Kwargs, future: Any) -> None:
    """End a call with its future. Reads an asyncio future's `_exception`, because `exception()` would mark the
    exception as seen, and the loop would no longer report one that nobody looked at."""
    try:
        if future.cancelled():
            from asyncio import CancelledError

            tracker.raised(frame, args, kwargs, CancelledError())
            return
        error = future._exception if hasattr(future, "_exception") else future.exception()
        if error is not None:
            tracker.raised(frame, args, kwargs, error)
        else:
            tracker.returned(frame, args, kwargs, future.result())
    except Exception as problem:  # because this runs as the host's callback
        trouble("follow", "cannot read how a %s ended: %s", type(future).__name__, problem)
        tracker.returned(frame, args, kwargs, None)


async def _awaited(tracker: CallTracker, frame: Any, args: Args, kwargs: Kwargs, awaitable: Any) -> Any:
    outside = _enter(frame)
    try:
        result = await awaitable
    except GeneratorExit as closed:
        step_out(frame, outside)
        tracker.raised(frame, args, kwargs, closed)
        raise
    except BaseException as error:
        current.set(outside)
        tracker.raised(frame, args, kwargs, error)
        raise
    current.set(outside)
    tracker.returned(frame, args, kwargs, result)
    return result


def _awaitable_proxy(tracker: CallTracker, frame: Any, args: Args, kwargs: Kwargs, result: Any) -> Any:
    """An object that is the host's own awaitable in everything but its `__await__`."""
    import wrapt  # here, because few programs need it

    class Awaited(wrapt.ObjectProxy):  # type: ignore[type-arg]  # because it is generic in newer versions only
        def __await__(self) -> Generator[Any, Any, Any]:
            return _awaited(tracker, frame, args, kwargs, self.__wrapped__).__await__()

    return Awaited(result)
