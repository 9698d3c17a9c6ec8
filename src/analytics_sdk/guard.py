"""What stands between our code and the host: nothing of ours raises, floods the log, or keeps hostile text.

`trouble` is called wherever something went wrong inside the host's loop: it counts, and logs one line per kind of
trouble and minute. Thread-safe; takes no lock, because a signal handler or a finalizer may come here at any moment.
"""

import logging
import threading
import time
import traceback
from collections import defaultdict

from analytics_sdk.redaction import redact, redact_tag

logger = logging.getLogger("analytics_sdk")
logger.addHandler(logging.NullHandler())

LOG_EVERY_SECONDS = 60.0
ID_LIMIT = 256
MESSAGE_LIMIT = 8192
TAGS_LIMIT = 64
_MARGIN = 4096

counters: defaultdict[str, int] = defaultdict(int)
"""How often each kind of trouble happened in this process, by its name. For `doctor` and for tests. No `Counter`, which
takes a frame to count what is new, because the stack may be full."""

unkept = [0] * 16
"""How many records of each kind could not even be given to the journal, because the stack was full or there was no
memory, and nobody counted yet. A list, because that needs neither."""

SUBINTERPRETER = "this is a sub-interpreter, where no thread delivers: run `analytics-sdk ship` beside it"

_last_logged: dict[str, float] = {}


def trouble(kind: str, message: str, *args: object, exc: BaseException | None = None) -> None:
    """Count one trouble, and log it as a warning unless the same kind was logged within the last minute.

    What is logged passes the same look for secrets as what is recorded: it quotes exceptions of the host and of its
    database, at DEBUG with their tracebacks. Never raises, whatever a logging handler of the host does.
    """
    try:
        counters[kind] += 1
        now = time.monotonic()
        if now - _last_logged.get(kind, -LOG_EVERY_SECONDS) < LOG_EVERY_SECONDS:
            return
        _last_logged[kind] = now
        said = message % args if args else message
        if exc is not None and logger.isEnabledFor(logging.DEBUG):
            said += "\n" + "".join(traceback.format_exception(exc)).rstrip()
        logger.warning("%s", redact(said))
    except Exception:  # because a broken handler of the host must not break the host's loop through us
        counters["logging"] += 1


def in_subinterpreter() -> bool:
    """Whether this is not the interpreter that the process began with."""
    try:
        import _interpreters as interpreters  # type: ignore[import-not-found]  # because 3.13 has it
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]  # because older ones call it so
        except ImportError:
            return False
    here, main = interpreters.get_current(), interpreters.get_main()
    return bool(here != main)


def start_thread(thread: threading.Thread) -> None:
    """Start a daemon thread of ours.

    Raises:
        RuntimeError: none can be started. None is in a sub-interpreter, because Python 3.11 ends the whole process when
            one of those ends while a daemon thread runs in it.
    """
    if in_subinterpreter():
        raise RuntimeError(SUBINTERPRETER)
    thread.start()


def forget_logged() -> None:
    """Let every kind of trouble be logged again at once."""
    _last_logged.clear()


def clean_text(text: str, limit: int) -> str:
    """The text as it may be stored: valid Unicode of at most `limit` characters, the last of which say what was cut."""
    if len(text) > limit:
        kept = max(0, limit - len(f"…[cut {len(text)}]"))
        text = f"{text[:kept]}…[cut {len(text) - kept}]"
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text


def text_of(value: object, limit: int = ID_LIMIT) -> str:
    """Any value of the host's as text: an id, a name. Its own `__str__` may raise: then its type's name stands for it.

    What holds a URL is looked through for secrets, because URLs are made into ids. Other ids are not: that takes a
    microsecond each, and they are what the host calls its things.
    """
    text = _plain(value)
    return _without_secrets(text, limit) if "://" in text else clean_text(text, limit)


def _plain(value: object) -> str:
    if type(value) is str:
        return value
    try:
        return str.__str__(str(value))  # because what __str__ gave may be of a class of its own
    except Exception as error:  # because the host's __str__ may do anything
        trouble("unprintable", "a %s could not be turned into text: %s", type(value).__name__, type(error).__name__)
        return f"<{type(value).__name__}>"


def _without_secrets(text: str, limit: int) -> str:
    """The text cut and cleaned, secrets out. It is looked at further than it is kept, because a secret that is cut in
    half has no shape to be known by."""
    seen = redact(text[: limit + _MARGIN])
    if len(text) <= limit + _MARGIN:
        return clean_text(seen, limit)
    marker = f"…[cut {len(text)}]"
    kept = seen[:-_MARGIN][: limit - len(marker)]
    return clean_text(f"{kept}…[cut {len(text) - len(kept)}]", limit)


def message_of(value: object) -> str:
    """An exception's or any value's message as it may be recorded: cut to a length that can be kept, secrets out."""
    return _without_secrets(_plain(value), MESSAGE_LIMIT)


def tag_of(key: str, value: object) -> str:
    """The value of a tag as it may be recorded."""
    return redact_tag(key, text_of(value))
