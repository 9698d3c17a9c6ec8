"""`analytics-sdk report`: a report that can be mailed."""

import enum
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from analytics_sdk.cli.period import parse_period
from analytics_sdk.cli.store import Db, Json, open_store, undelivered_json, undelivered_line
from analytics_sdk.cli.terminal import print_json
from analytics_sdk.reporting.words import Words


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
        list[str] | None, typer.Argument(metavar="[WORKFLOW]...", help="Which. [default: all]")
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="What to make. [default: by the name of --out, else html]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A file, or a folder. [default: reports_dir]")
    ] = None,
    last: Annotated[
        float | None, typer.Option(parser=parse_period, metavar="7d|24h|30m", help="How far back from now.")
    ] = None,
    title: Annotated[str, typer.Option(help="What stands at its top.")] = "Workflow report",
    lang: Annotated[Language, typer.Option(help="Its language.")] = Language.en,
    db: Db = None,
    json: Json = False,
) -> None:
    """Make a report: one file, nothing else needed to look at it."""
    from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator

    chosen = format or Format(out.suffix[1:].lower() if out and out.suffix[1:].lower() in list(Format) else "html")
    now = datetime.now().astimezone()
    with open_store(db) as store:
        config = ReportConfig(
            title=title,
            start_time=None if last is None else now - timedelta(seconds=last),
            end_time=None if last is None else now,
            workflow_ids=workflows or None,
            format=chosen.value,
            language=lang.value,
        )
        is_folder = out is not None and (out.is_dir() or not out.suffix)
        generator = ReportGenerator(lambda: store.query, out if out and is_folder else store.settings.reports_dir)
        data = generator.generate_report(config)
        path = generator.export(data) if out is None or is_folder else getattr(generator, f"export_{chosen}")(data, out)
        if json:
            print_json({"path": str(path), "format": chosen.value, "undelivered": undelivered_json(store.undelivered)})
            return
        print(path)
        line = undelivered_line(store.undelivered, Words())
        if line:
            print(line)
