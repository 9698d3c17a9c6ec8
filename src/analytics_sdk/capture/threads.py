"""`auto_instrument(threads=True)`: what a thread or thread pool does inside a tracked call belongs to that call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from typing import Any

from analytics_sdk.capture.context import current, latest_failed

_users = 0
_undo: Callable[[], None] | None = None
_lock = threading.Lock()


def carry_context_into_threads() -> Callable[[], None]:
    """Patch `Thread.start` and `ThreadPoolExecutor.submit`; returns what undoes it. May be called more than once."""
    global _users, _undo
    with _lock:
        _users += 1
        if _undo is None:
            _undo = _patch()
    done = False

    def undo() -> None:
        nonlocal done
        global _users, _undo
        with _lock:
            if done:
                return
            done = True
            _users -= 1
            if _users == 0 and _undo is not None:
                _undo()
                _undo = None

    return undo


def _patch() -> Callable[[], None]:
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @wraps(start)
    def start_in_context(self: threading.Thread) -> None:
        if current.get() is not None:
            self.run = _carried(self.run)  # type: ignore[method-assign]  # because this one thread runs so
        start(self)

    @wraps(submit)  # type: ignore[arg-type]  # because its type is generic in what is submitted
    def submit_in_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        frame = current.get()
        if frame is None:
            return submit(self, fn, *args, **kwargs)
        work = _carried(fn)
        current.set(None)  # because the pool may start a thread now, which will also work for others
        try:
            return submit(self, work, *args, **kwargs)
        finally:
            current.set(frame)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]  # because patching it is the purpose
    ThreadPoolExecutor.submit = submit_in_context  # type: ignore[method-assign, assignment]  # because patching it is the purpose

    def undo() -> None:
        if threading.Thread.start is start_in_context:
            threading.Thread.start = start  # type: ignore[method-assign]  # because patching it is the purpose
        if ThreadPoolExecutor.submit is submit_in_context:
            ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]  # because patching it is the purpose

    return undo


def _carried(work: Callable[..., Any]) -> Callable[..., Any]:
    """Work that is inside what is current here and now, wherever it runs. Carries nothing else of the context, because
    the host's own variables are the host's business."""
    return partial(_inside, current.get(), latest_failed.get(), work)


def _inside(frame: Any, failed: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    outside = current.get(), latest_failed.get()
    current.set(frame)
    latest_failed.set(failed)
    try:
        return work(*args, **kwargs)
    finally:
        current.set(outside[0])
        latest_failed.set(outside[1])
