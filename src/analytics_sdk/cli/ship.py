"""`analytics-sdk ship`: deliver what journals hold, from a process of its own."""

import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.store import Db, Json, settings_for
from analytics_sdk.cli.terminal import counted, print_json
from analytics_sdk.config import Settings
from analytics_sdk.errors import SettingError
from analytics_sdk.shipper.fleet import SinkMaker
from analytics_sdk.shipper.once import Shipment, ship_forever, ship_once
from analytics_sdk.sinks import describe, make_sink


def ship(
    once: Annotated[bool, typer.Option("--once", help="Deliver what there is, then end.")] = False,
    journal_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Whose journals. [default: those of the sink]")
    ] = None,
    adopt_foreign: Annotated[
        bool, typer.Option("--adopt-foreign", help="Also journals of another machine, whose program must have ended.")
    ] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Deliver journals, the programs that wrote them dead or alive. Exit code 1: something could not be delivered."""
    settings = settings_for(db)
    folder = journal_dir or settings.journal_dir
    if folder is None:
        raise SettingError("a database in memory has no journals; name them with --journal-dir, and their --db")
    makers = _makers(settings)
    if not once:
        _ship_until_told(folder, makers, settings, adopt_foreign)
        return
    shipment = ship_once(folder, makers, adopt_foreign=adopt_foreign, on_progress=_show_progress)
    if json:
        print_json(asdict(shipment))
    else:
        print(describe_shipment(shipment, ", ".join(describe(sink) for sink in settings.sinks)))
    if shipment.problems or shipment.unfinished:
        for problem in shipment.problems:
            print(f"error: {problem}", file=sys.stderr)
        raise typer.Exit(NO)


def _makers(settings: Settings) -> list[SinkMaker]:
    """What makes the sinks; each is made once now, so that a wrong URL is an error and not a retry."""
    options = {"schema": settings.schema, "table_prefix": settings.table_prefix}
    for target in settings.sinks:
        make_sink(target, **options)
    return [partial(make_sink, target, **options) for target in settings.sinks]


def describe_shipment(shipment: Shipment, sinks: str) -> str:
    """One line, for people."""
    said = [f"{counted(shipment.records, 'record')} delivered to {sinks}"]
    for n, what in (
        (shipment.finished, "finished and removed"),
        (shipment.living, "of running programs"),
        (shipment.foreign, "of another machine left alone (--adopt-foreign takes them)"),
        (shipment.unfinished, "not delivered whole"),
    ):
        if n:
            said.append(f"{counted(n, 'journal')} {what}")
    return "; ".join(said) + "."


def _show_progress(shipment: Shipment) -> None:
    if sys.stderr.isatty():
        print(f"\r{counted(shipment.records, 'record')}", end="", file=sys.stderr, flush=True)


def _log_progress(shipment: Shipment) -> None:
    if shipment.records:
        print(f"{counted(shipment.records, 'record')} delivered", file=sys.stderr, flush=True)


def _ship_until_told(folder: Path, makers: list[SinkMaker], settings: Settings, adopt_foreign: bool) -> None:
    """Deliver until SIGTERM or SIGINT; meanwhile the programs themselves stand aside."""
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        told.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    print(f"Delivering the journals of {folder} until told to stop.", file=sys.stderr, flush=True)
    ship_forever(
        folder,
        makers,
        interval_seconds=settings.flush_interval_seconds,
        should_stop=lambda: bool(told),
        adopt_foreign=adopt_foreign,
        on_progress=_log_progress,
    )
