"""The command line, one file a command. This file is light; the commands are loaded when `main` runs."""

import os
import sys

OK, NO, USAGE, ENVIRONMENT = range(4)
"""Exit codes: fine; the answer is no; the command was used wrongly; something around it is missing or broken."""
INTERRUPTED = 130
"""Ended by Ctrl-C, as a shell tells it."""


def main() -> None:
    """Run the command that the user typed, and end with its exit code."""
    try:
        code = _run([_decode(argument) for argument in sys.argv[1:]])
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # because whoever reads our output has had enough of it
        code = OK
        _forget_stdout()
    except OSError as problem:
        code = ENVIRONMENT
        _forget_stdout()
        print(f"error: the output cannot be written: {problem.strerror}\n  check where it goes", file=sys.stderr)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from analytics_sdk.cli.faults import tell, wants_json
    from analytics_sdk.cli.terminal import prepare_streams

    prepare_streams()
    try:
        from analytics_sdk.cli.app import run_command

        return run_command(arguments)
    except BrokenPipeError:
        raise
    except Exception as problem:  # because whatever went wrong is told in two lines
        return tell(problem, as_json=wants_json(arguments))


def _decode(argument: str) -> str:
    """An argument as it was typed, also where the locale knows nothing but ASCII."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _forget_stdout() -> None:
    """Say nothing more, also when Python flushes at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
