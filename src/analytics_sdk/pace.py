"""How a thread of ours shares the interpreter with the host's threads: it works in slices, and sleeps between them.

A thread that waits for I/O needs the interpreter's lock when it wakes up, and Python lets whoever holds it go on for
5 ms. So who delivers gives it up by itself, after 0.3 ms of work. Where it then takes long to get it back, a thread of
the host computes: that one does not wait for anything, and short slices would only starve delivery. Then Python's own
slices do, and what is tried again now and then is whether the host still computes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

T = TypeVar("T")
SLICE_NS = 300_000
PAUSE_SECONDS = 0.00005
UNSLICED_NS = 20_000_000
"""So long without pauses beside a thread that computes."""
HOST_COMPUTES_NS = 2_500_000
"""Who waits so long waits for a thread that computes, and not for the machine alone."""
ITEMS_A_LOOK = 128
"""So many are worked through between two looks at the clock."""
ITEMS_WITHOUT_LOOK = 4096
"""So many at once where nobody has to be let go first."""


class _Slices(threading.local):
    """What is known in one thread. A thread that nobody told anything works without pauses."""

    slice_ns: Callable[[], int] | None = None
    until_ns = 0
    """Of the thread's time of the processor."""
    host_computes = False
    waited_ns = 0


_here = _Slices()


@contextmanager
def in_this_thread(slice_ns: Callable[[], int]) -> Iterator[None]:
    """Work in slices in this block. `slice_ns`, asked again and again: how long the shortest may last; 0: no pauses."""
    before, _here.slice_ns = _here.slice_ns, slice_ns
    try:
        yield
    finally:
        _here.slice_ns = before


def is_short() -> bool:
    """Whether this thread works in slices so short that no single call may take long."""
    return _here.slice_ns is not None and not _here.host_computes and _here.slice_ns() > 0


def breathe() -> None:
    """Let the host's threads go first, where this thread's slice is used up."""
    # Our own time of the processor, because what a database or the lock has us wait for keeps nobody waiting.
    if _here.slice_ns is None or (worked_ns := time.thread_time_ns()) < _here.until_ns:
        return
    least_ns = _here.slice_ns()
    if not least_ns:
        return
    began_ns = time.perf_counter_ns()
    time.sleep(PAUSE_SECONDS)
    before_ns, _here.waited_ns = _here.waited_ns, time.perf_counter_ns() - began_ns
    # the shorter of two, because a single long wait may be the machine's
    _here.host_computes = min(before_ns, _here.waited_ns) > HOST_COMPUTES_NS
    _here.until_ns = worked_ns + (UNSLICED_NS if _here.host_computes else least_ns)


def rested() -> None:
    """Begin a new slice: what this thread just called did its work without the interpreter's lock."""
    if _here.slice_ns is not None and not _here.host_computes:
        _here.until_ns = time.thread_time_ns() + _here.slice_ns()


def slices_of(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """The items, some at a time, with a breath after each."""
    left = iter(items)
    n = ITEMS_WITHOUT_LOOK if _here.slice_ns is None else ITEMS_A_LOOK
    while some := tuple(islice(left, n)):
        yield some
        breathe()


def in_slices(items: Iterable[T]) -> Iterator[T]:
    """The items one by one, with breaths between."""
    return iter(items) if _here.slice_ns is None else chain.from_iterable(slices_of(items))
