"""The command line, one file a command. This file is light; the commands are loaded when `main` runs."""

import sys

OK, NO, USAGE, ENVIRONMENT = range(4)
"""Exit codes: fine; the answer is no; the command was used wrongly; something around it is missing or broken."""

IMPERATIVES = ("check", "install", "look", "make", "name", "put", "run", "say", "set", "start", "try", "use", "write")


def main() -> None:
    """Run the command that the user typed. The one place where our exceptions become two lines and an exit code."""
    from analytics_sdk.cli.app import app
    from analytics_sdk.errors import AnalyticsError, SelectorError, TargetError

    try:
        app()
    except AnalyticsError as problem:
        sys.exit(_say(problem, USAGE if isinstance(problem, SelectorError | TargetError) else ENVIRONMENT))
    except BrokenPipeError:
        _forget_stdout()


def _say(problem: Exception, code: int) -> int:
    """Print what happened and what to do, a line each."""
    from analytics_sdk.reporting.words import make_inert

    what, advice = split_advice(make_inert(str(problem)))
    print(f"error: {what}", file=sys.stderr)
    print(f"  {advice}", file=sys.stderr)
    return code


def split_advice(message: str) -> tuple[str, str]:
    """What happened and what to do. Our messages put what to do last, after a semicolon, colon or full stop."""
    for mark in ("; ", ": ", ". "):
        what, _, advice = message.rpartition(mark)
        if what and (mark == "; " or advice.partition(" ")[0] in IMPERATIVES):
            return what, advice
    return message, "run `analytics-sdk doctor` to see settings, sink and journals"


def _forget_stdout() -> None:
    """Whoever read our output has gone: say nothing more, also when Python flushes at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
