"""Where gevent has made threads of a program into greenlets: a real thread for what blocks."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def run_natively(work: Callable[[], T]) -> T:
    """The result of `work`, which may block for seconds inside a database library.

    Such a library knows nothing of greenlets: it would stop all of them, and the host with them. Where we are in one,
    the work is done in one of gevent's own real threads, and only this greenlet waits.

    Raises:
        Exception: what `work` raised.
    """
    gevent: Any = sys.modules.get("gevent")
    if not hasattr(gevent, "getcurrent") or not isinstance(gevent.getcurrent(), gevent.Greenlet):
        return work()  # also while another thread is just importing gevent
    results: list[T] = []
    problem = gevent.get_hub().threadpool.apply(_attempt, (work, results))
    if problem is not None:
        raise problem
    return results[0]


def _attempt(work: Callable[[], T], results: list[T]) -> Exception | None:
    """Do the work; what it raised, which is not raised here because gevent prints whatever comes out of its threads."""
    try:
        results.append(work())
    except Exception as problem:
        return problem
    return None
