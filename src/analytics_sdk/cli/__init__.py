"""The command line, one file a command. This file is light; the commands are loaded when `main` runs."""

import sys

OK, NO, USAGE, ENVIRONMENT = range(4)
"""Exit codes: fine; the answer is no; the command was used wrongly; something around it is missing or broken."""


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

    what, _, advice = make_inert(str(problem)).partition("; ")
    print(f"error: {what}", file=sys.stderr)
    print(f"  {advice or 'run `analytics-sdk doctor` to see settings, sink and journals'}", file=sys.stderr)
    return code


def _forget_stdout() -> None:
    """Whoever read our output has gone: say nothing more, also when Python flushes at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
