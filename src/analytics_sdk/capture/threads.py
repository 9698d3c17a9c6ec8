"""`auto_instrument(threads=True)`: what a thread or thread pool does inside a tracked call belongs to that call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from typing import Any

from analytics_sdk.capture.context import current

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
            self.run = partial(copy_context().run, self.run)  # type: ignore[method-assign]  # because this one thread runs so
        start(self)

    @wraps(submit)  # type: ignore[arg-type]  # because its type is generic in what is submitted
    def submit_in_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        if current.get() is not None:
            return submit(self, copy_context().run, fn, *args, **kwargs)
        return submit(self, fn, *args, **kwargs)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]  # because patching it is the purpose
    ThreadPoolExecutor.submit = submit_in_context  # type: ignore[method-assign, assignment]  # because patching it is the purpose

    def undo() -> None:
        if threading.Thread.start is start_in_context:
            threading.Thread.start = start  # type: ignore[method-assign]  # because patching it is the purpose
        if ThreadPoolExecutor.submit is submit_in_context:
            ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]  # because patching it is the purpose

    return undo
