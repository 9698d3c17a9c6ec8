"""The commands, put together in the order in which data travels."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
import typer.main

from analytics_sdk.cli import INTERRUPTED, OK, archive, db, demo, doctor, report, run, ship, stats
from analytics_sdk.cli.faults import is_debugging
from analytics_sdk.cli.guidance import PROGRAM, Brief, Overview


class Commands(Overview):
    """All of them."""

    briefs = {  # noqa: RUF012  # because nothing changes it
        "demo": Brief("see it work: run real workflows that fail and heal, and report", "demo"),
        "run": Brief("record a program without editing it", "run --loop app.loop:ExecutionLoop -- python app.py"),
        "ship": Brief("deliver what was recorded and is not in the database yet", "ship --once"),
        "stats": Brief("does it work, how long does it take, what breaks, what does healing save", "stats --last 7d"),
        "report": Brief("a report that can be mailed: html, png, pdf, json or csv", "report --out report.html"),
        "archive": Brief("old rows leave the database for files, and stay readable", "archive --older-than 90d"),
        "doctor": Brief("what is wrong, and what to do about it", "doctor"),
        "db": Brief("make the tables on a server, or take them to this version", "db upgrade"),
    }


app = typer.Typer(
    name=PROGRAM,
    cls=Commands,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=(
        f"`{PROGRAM} COMMAND --help` tells more, with examples. Commands that read take --db URL; without it they look "
        "at ANALYTICS_SDK_SINK, then [tool.analytics_sdk] in pyproject.toml, then analytics.db in this folder.\n\n"
        "Exit codes: 0 fine, 1 the answer is no, 2 typed wrongly, 3 something around it is missing or broken."
    ),
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit(OK)


@app.callback()
def overview(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    """Know what your workflows do: record them, deliver what is recorded, look at it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command(epilog=demo.EPILOG)(demo.demo)
app.command(epilog=run.EPILOG, context_settings={"allow_interspersed_args": False})(run.run)
app.command(epilog=ship.EPILOG)(ship.ship)
app.command(epilog=stats.EPILOG)(stats.stats)
app.command(epilog=report.EPILOG)(report.report)
app.command(epilog=archive.EPILOG)(archive.archive)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(db.app, name="db")


def run_command(arguments: Sequence[str]) -> int:
    """Run what was typed; its exit code.

    Raises:
        Exception: whatever a command raises; `faults.explain` tells what it means.
    """
    if is_debugging():
        _show_log()
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # because typer makes an exit of it
            raise ended.__context__ from None
        raise
    return code if isinstance(code, int) else OK


def _show_log() -> None:
    """Print what the parts log, where somebody looks for a fault."""
    import logging

    logger = logging.getLogger("analytics_sdk")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.StreamHandler())
