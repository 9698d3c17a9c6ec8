"""`analytics-sdk ship`: deliver what journals hold, from a process of its own."""

import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from analytics_sdk.archive.keeper import Keeper
from analytics_sdk.cli import NO
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.progress import Progress, rate_of
from analytics_sdk.cli.store import Db, Json, settings_for
from analytics_sdk.cli.terminal import counted, print_json
from analytics_sdk.config import Settings
from analytics_sdk.errors import SettingError
from analytics_sdk.journal.quota import MIN_FREE_BYTES, Quota
from analytics_sdk.shipper.fleet import SinkMaker
from analytics_sdk.shipper.once import Shipment, ship_forever, ship_once, undelivered
from analytics_sdk.sinks import describe, make_sink

EPILOG = epilog(
    [
        "ship --once",
        "ship",
        "ship --db postgresql://user@host/db --journal-dir journals",
    ],
    {0: "everything that can be delivered is; or it was told to stop", 1: "something could not be delivered"},
    json='{"records", "bytes", "finished", "living", "unfinished", "foreign", "problems"}, at the end',
)


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
    """Deliver journals, the programs that wrote them dead or alive. Programs deliver by themselves; this is for what
    ended ones left behind, and for a process of its own beside busy ones, which runs until it is told to stop."""
    settings = settings_for(db)
    folder = journal_dir or settings.journal_dir
    if folder is None:
        raise SettingError("a database in memory has no journals; name them with --journal-dir, and their --db")
    makers = _makers(settings)
    if once:
        shipment = _ship_once(folder, makers, adopt_foreign)
    else:
        shipment = _ship_until_told(folder, makers, settings, adopt_foreign)
    if json:
        print_json(asdict(shipment))
    else:
        print(describe_shipment(shipment, ", ".join(describe(sink) for sink in settings.sinks)))
    if shipment.problems or shipment.unfinished:
        for problem in shipment.problems:
            print(f"error: {problem}", file=sys.stderr)
        if once:
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


def _ship_once(folder: Path, makers: list[SinkMaker], adopt_foreign: bool) -> Shipment:
    waiting = undelivered(folder, lambda _: 0).bytes if folder.is_dir() else 0
    began = time.monotonic()
    with Progress("Delivering", waiting * len(makers)) as progress:

        def show(shipment: Shipment) -> None:
            rate = rate_of(shipment.records, time.monotonic() - began)
            progress.move(shipment.bytes, f"{counted(shipment.records, 'record')}, {rate}")

        return ship_once(folder, makers, adopt_foreign=adopt_foreign, on_progress=show)


def _ship_until_told(folder: Path, makers: list[SinkMaker], settings: Settings, adopt_foreign: bool) -> Shipment:
    """Deliver until SIGTERM or SIGINT; meanwhile the programs themselves stand aside. All that was delivered."""
    # Rollups only, because the archive's folder is that of the programs and need not be here.
    keeper = Keeper(replace(settings, retention_days=None), nullcontext())
    told: list[int] = []
    whole = Shipment()

    def stop(number: int, _: FrameType | None) -> None:
        told.append(number)

    def log(shipment: Shipment) -> None:
        keeper.look()
        if shipment.records:
            _say(f"{counted(shipment.records, 'record')} delivered")
        for problem in shipment.problems:
            if problem not in whole.problems:
                _say(f"{problem}; what is recorded stays in the journals")
        whole.records += shipment.records
        whole.bytes += shipment.bytes
        whole.finished += shipment.finished
        whole.living, whole.foreign, whole.unfinished = shipment.living, shipment.foreign, shipment.unfinished
        whole.problems = shipment.problems

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _say(f"Delivering the journals of {folder} until told to stop.")
    ship_forever(
        folder,
        makers,
        interval_seconds=settings.flush_interval_seconds,
        should_stop=lambda: bool(told),
        adopt_foreign=adopt_foreign,
        quota=None if settings.on_full == "block" else Quota(settings.journal_max_bytes, MIN_FREE_BYTES),
        on_pass=log,
    )
    for number, handler in before.items():
        signal.signal(number, handler)
    keeper.stop()
    return whole


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
