"""How an ending becomes a status: by exception, by what was returned, by the host's word."""

import sys
from collections.abc import Iterable

from analytics_sdk.guard import text_of, trouble
from analytics_sdk.vocabulary import CANCELLED, CRASHED, FAILED, RUNNING, SKIPPED, STATUSES, SUCCESS, TIMEOUT

ControlFlow = tuple[type[BaseException], ...]


def control_flow_types(given: Iterable[type[BaseException]] | type[BaseException]) -> ControlFlow:
    """The `control_flow` argument as a tuple of exception types.

    Raises:
        TypeError: something else than exception types was given.
    """
    types = (given,) if isinstance(given, type) else tuple(given)
    for one in types:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"control_flow takes exception types, not {one!r}")
    return types


def status_of_exception(error: BaseException, control_flow: ControlFlow = ()) -> int:
    """The status of something that ended by raising."""
    if control_flow and isinstance(error, control_flow):
        return SKIPPED
    if isinstance(error, TimeoutError):
        return TIMEOUT
    if isinstance(error, KeyboardInterrupt | GeneratorExit) or _is_cancellation(error):
        return CANCELLED
    if isinstance(error, SystemExit):
        return SUCCESS if error.code in (None, 0) else FAILED
    return FAILED


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is the CancelledError of asyncio or of concurrent.futures. What nobody imported cannot be raised, and
    importing asyncio costs more than the rest of this package."""
    for name in ("asyncio.exceptions", "concurrent.futures._base"):
        module = sys.modules.get(name)
        if module is not None and isinstance(error, module.CancelledError):
            return True
    return False


def status_of_verdict(verdict: object) -> int:
    """What a `success` selector said: None is skipped, else its truth decides. May raise what `bool()` raises."""
    if verdict is None:
        return SKIPPED
    return SUCCESS if verdict else FAILED


def status_of_word(word: object) -> int:
    """The host's own word for a status. A word that is not known counts as failed, and is logged."""
    if isinstance(word, str):
        known = word.strip().lower()
        if known in STATUSES and STATUSES.index(known) not in (CRASHED, RUNNING):
            return STATUSES.index(known)
    trouble(
        "status-word",
        "the status %s is none of %s: counted as failed",
        text_of(repr(word), 60) if isinstance(word, str) else type(word).__name__,
        ", ".join(STATUSES[:6]),
    )
    return FAILED


def error_type_of(error: BaseException) -> str:
    """The exception's class, with its module unless it is built in."""
    kind = type(error)
    try:
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # because the class of a class may answer as it likes
        return "Exception"
