"""What went wrong, in two lines: what happened, and what to do. With --json the same as one JSON object."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import typer

from analytics_sdk.cli import ENVIRONMENT, USAGE
from analytics_sdk.cli.terminal import print_json
from analytics_sdk.errors import AnalyticsError, SelectorError, SinkError, SinkUnavailable, TargetError
from analytics_sdk.redaction import redact
from analytics_sdk.reporting.words import make_inert
from analytics_sdk.sinks import hide_password

DEBUG_VARIABLE = "ANALYTICS_SDK_DEBUG"
IMPERATIVES = ("check", "install", "look", "make", "name", "put", "run", "say", "set", "start", "try", "use", "write")
LOOK_CLOSER = "run `analytics-sdk doctor` to see settings, sink and journals"
USAGE_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The root of what typer raises for a command used wrongly. Found here, because typer's later versions bring their own
copy of the library that defines it."""

_OF_PLACES = {
    errno.ENOSPC: "make room on that disk, or choose another place",
    errno.ENOENT: "check the path",
    errno.EACCES: "allow it, or choose another place",
    errno.EPERM: "allow it, or choose another place",
    errno.EROFS: "choose a place that can be written",
}

_OF_SINKS = (
    ("password", "correct user and password in the sink's URL"),
    ("authentication", "correct user and password in the sink's URL"),
    ("does not exist", "correct the name in the sink's URL, or make it on the server"),
    ("refused", "start the server, or correct host and port in the sink's URL"),
    ("could not translate", "correct the host in the sink's URL"),
    ("failed to resolve", "correct the host in the sink's URL"),
    ("timeout", "see that the server can be reached from here"),
    ("locked", "run `analytics-sdk doctor` to see who holds it"),
    ("no room", "make room on that disk"),
    ("full", "make room on that disk"),
)
"""What a database says -> what to do."""
_TO_SHIPPERS = ("it is tried again", "somebody must put this right", "this value cannot be kept")


class Fault(NamedTuple):
    """What a user is told."""

    message: str
    advice: str
    code: int


def tell(problem: Exception, *, as_json: bool) -> int:
    """Print what happened and what to do; the exit code. With ANALYTICS_SDK_DEBUG=1 also where it happened."""
    if is_debugging():
        print(_inert_lines(redact(hide_password("".join(traceback.format_exception(problem))))), file=sys.stderr)
    fault = explain(problem)
    if as_json:
        print_json({"error": {"message": fault.message, "advice": fault.advice}})
    else:
        print(f"error: {fault.message}\n  {fault.advice}", file=sys.stderr)
    return fault.code


def _inert_lines(text: str) -> str:
    return "\n".join(make_inert(line) for line in text.splitlines())


def is_debugging() -> bool:
    """Whether ANALYTICS_SDK_DEBUG asks for tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "").strip().lower() not in ("", "0", "false", "no", "off")


def explain(problem: Exception) -> Fault:
    """What happened, what to do about it, and the exit code."""
    if isinstance(problem, USAGE_ERROR):
        return _of_usage(problem)
    said = make_inert(redact(hide_password(str(problem))))
    if isinstance(problem, SinkError):
        return Fault(*explain_sink(said, is_away=isinstance(problem, SinkUnavailable)), ENVIRONMENT)
    if isinstance(problem, AnalyticsError):
        return Fault(*split_advice(said), USAGE if isinstance(problem, SelectorError | TargetError) else ENVIRONMENT)
    if isinstance(problem, OSError) and problem.filename is not None:
        advice = _OF_PLACES.get(problem.errno or 0, LOOK_CLOSER)
        return Fault(make_inert(f"{problem.filename}: {problem.strerror}"), advice, ENVIRONMENT)
    if isinstance(problem, OSError) and problem.errno == errno.ENOSPC:
        return Fault("there is no room left where the output goes", _OF_PLACES[errno.ENOSPC], ENVIRONMENT)
    where = traceback.extract_tb(problem.__traceback__)[-1:]
    place = "".join(f", at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in where)
    return Fault(
        f"this is a bug in analytics-sdk: {type(problem).__name__}: {said}{place}",
        f"set {DEBUG_VARIABLE}=1 to see the traceback, and report it",
        ENVIRONMENT,
    )


def explain_sink(said: str, *, is_away: bool) -> tuple[str, str]:
    """What a sink said, and what to do about it. The messages of sinks speak to shippers, who would try again."""
    what, advice = split_advice(hide_password(said), "")
    if "db upgrade" in said:
        return what, advice
    meant = next((todo for word, todo in _OF_SINKS if word in what.lower()), None)
    if meant is None and advice in _TO_SHIPPERS:
        advice = "see that it can be reached from here" if is_away else LOOK_CLOSER
    return what, meant or advice or LOOK_CLOSER


def _of_usage(problem: Exception) -> Fault:
    """A command used wrongly. Typer's messages put what it would suggest at their end."""
    said = make_inert(getattr(problem, "format_message", problem.__str__)()).strip()
    found = re.fullmatch(r"(.*?)\s*\(?(?:Did you mean|Possible options:)\s*(.*?)\??\)?", said)
    what, advice = (found[1], f"did you mean {found[2]}?") if found else split_advice(said, "")
    near = get_close_matches(getattr(problem, "option_name", ""), getattr(problem, "possibilities", None) or (), n=1)
    if near:
        advice = f"did you mean {near[0]}?"
    invalid = re.fullmatch(r"Invalid value(?: for (.+?))?: (?:Value error, )?(.*)", what, re.DOTALL)
    if invalid:
        what = f"{invalid[1].strip(chr(39))}: {invalid[2]}" if invalid[1] else invalid[2]
    context = getattr(problem, "ctx", None)
    command = context.command_path if context is not None else "analytics-sdk"
    what = what.rstrip(".")
    return Fault(what[:1].lower() + what[1:], advice or f"see `{command} --help`", USAGE)


def split_advice(message: str, otherwise: str = LOOK_CLOSER) -> tuple[str, str]:
    """What happened and what to do. Our messages put what to do last, after a semicolon, colon or full stop."""
    for mark in ("; ", ": ", ". "):
        what, _, advice = message.rpartition(mark)
        if what and (mark == "; " or advice.partition(" ")[0].lower() in IMPERATIVES):
            return what, advice
    return message, otherwise


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json was typed. Told from the arguments alone, because they may be what is wrong.

    What stands behind `--` or, with `run`, behind its own options belongs to another program.
    """
    return "--json" in (_own_options(arguments) if arguments[:1] == ["run"] else _before_dashes(arguments))


def _before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _own_options(arguments: Sequence[str]) -> Iterator[str]:
    """The options of `run`, up to where the program's own command begins."""
    rest = iter(arguments[1:])
    for argument in rest:
        if not argument.startswith("--") or argument == "--":
            return
        yield argument
        if argument not in ("--json", "--threads", "--no-threads", "--help") and "=" not in argument:
            next(rest, None)
