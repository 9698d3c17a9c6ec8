"""`analytics-sdk report`: a report that can be mailed."""

import enum
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.completion import complete_workflow
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.period import From, Last, To, choose_window
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.store import Db, Json, guess_workflow, open_store, undelivered_json, undelivered_line
from analytics_sdk.cli.terminal import print_json, print_wrapped
from analytics_sdk.query.window import to_datetime
from analytics_sdk.reporting.words import Words

EPILOG = epilog(
    [
        "report --out report.html",
        "report checkout --last 30d --format pdf --out reports",
        "report --from 2026-11-01 --to 2026-12-01 --lang fr",
    ],
    {0: "the report is where the printed path says", 1: "it is, and a workflow of it was never recorded here"},
    json='{"path", "format", "undelivered": {"journals", "living", "foreign", "bytes"}}',
)


class Format(enum.StrEnum):
    html = "html"
    png = "png"
    pdf = "pdf"
    json = "json"
    csv = "csv"


class Language(enum.StrEnum):
    en = "en"
    fr = "fr"


def report(
    workflows: Annotated[
        list[str] | None,
        typer.Argument(help="Which. [default: all]", autocompletion=complete_workflow),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="What to make. [default: by the name of --out, else html]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A file, or a folder. [default: reports_dir]")
    ] = None,
    last: Last = None,
    start: From = None,
    end: To = None,
    title: Annotated[str, typer.Option(help="What stands at its top.")] = "Workflow report",
    lang: Annotated[Language, typer.Option(help="Its language.")] = Language.en,
    db: Db = None,
    json: Json = False,
) -> None:
    """Make a report: one file, nothing else needed to look at it. Without a stretch of time it
    tells of the last 7 days."""
    from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator

    chosen = format or Format(out.suffix[1:].lower() if out and out.suffix[1:].lower() in list(Format) else "html")
    start_time, end_time = _bounds(last, start, end)
    with open_store(db) as store, Progress("Reading what was recorded") as progress:
        config = ReportConfig(
            title=title,
            start_time=start_time,
            end_time=end_time,
            workflow_ids=workflows or None,
            format=chosen.value,
            language=lang.value,
        )
        is_folder = out is not None and (out.is_dir() or not out.suffix)
        generator = ReportGenerator(lambda: store.query, out if out and is_folder else store.settings.reports_dir)
        data = generator.generate_report(config)
        progress.doing = f"Making the report as {chosen}"
        unknown = [line for line in (guess_workflow(store.query, one) for one in workflows or ()) if line]
        path = generator.export(data) if out is None or is_folder else getattr(generator, f"export_{chosen}")(data, out)
    for line in unknown:
        print(line, file=sys.stderr)
    if json:
        print_json({"path": str(path), "format": chosen.value, "undelivered": undelivered_json(store.undelivered)})
    else:
        print(path)
        waiting = undelivered_line(store.undelivered, Words())
        if waiting:
            print_wrapped(waiting)
    if unknown:
        raise typer.Exit(NO)


def _bounds(last: str | None, start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """The window as a report is asked for it. One that ends now is asked for without an end, so that now is inside."""
    window = choose_window(last, start, end)
    start_time = None if window.start_ns is None else to_datetime(window.start_ns)
    return start_time, None if end is None else to_datetime(window.end_ns)
