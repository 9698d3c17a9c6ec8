"""`analytics-sdk archive`: what is old leaves the database for Parquet files, and stays readable."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.period import parse_moment, parse_period, typed
from analytics_sdk.cli.progress import Progress, rate_of
from analytics_sdk.cli.store import Db, Json, refuse_missing_file, settings_for
from analytics_sdk.cli.terminal import counted, print_json
from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.config import Settings
from analytics_sdk.reporting.words import Words

if TYPE_CHECKING:
    from analytics_sdk.archive.archiver import Archived
    from analytics_sdk.archive.verifying import Fault

EPILOG = epilog(
    [
        "archive --older-than 90d --dry-run",
        "archive --older-than 90d",
        "archive --before 2026-08-01 --max-seconds 600",
        "archive --verify",
    ],
    {0: "everything that may go went; or every file is whole", 1: "something is left for another run, or is damaged"},
    json='what was done, {"before_ns", "rows", "files", "bytes", "seconds", "left", "reasons", "removed", '
    '"freed_bytes", "free_bytes", ...}; with --verify {"files", "faults": [{"path", "fault", "rows"}]}',
)


def archive(
    before: Annotated[str | None, typer.Option(metavar="DATE", help="Rows go that began before this.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="90d", help="Rows go that are older. [default: retention_days]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    archive_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The archive. [default: that of the settings]")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="N", help="End after about so long; the next call goes on.")
    ] = None,
    vacuum: Annotated[
        bool,
        typer.Option("--vacuum", help="Then rewrite a SQLite file without what is free in it."),
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only read every file, and compare it.")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Move old rows to Parquet files, compared before they are deleted. Statistics stay the same, and everything that
    reads the database reads the files too. May be stopped at any moment, and run beside programs that record."""
    settings = settings_for(db)
    if archive_dir is not None:
        settings = replace(settings, archive_dir=archive_dir.expanduser().absolute())
    for target in settings.sinks:
        refuse_missing_file(target)
    if verify:
        _verify(settings, json)
        return
    done = _archive(settings, _moment(before, older_than), dry_run, max_seconds)
    if vacuum and not dry_run:
        _vacuum(settings, done)
    if json:
        print_json(asdict(done))
    else:
        for line in archived_lines(done, Words()):
            print(line)
    if not done.is_complete:
        raise typer.Exit(NO)


def _moment(before: str | None, older_than: str | None) -> datetime | None:
    if before is not None and older_than is not None:
        raise typer.BadParameter("--before and --older-than both say what goes; say one of them")
    seconds = typed(parse_period, older_than, "--older-than")
    if seconds is not None:
        return datetime.fromtimestamp(SYSTEM_CLOCK.time_ns() / 1e9).astimezone() - timedelta(seconds=seconds)
    return typed(parse_moment, before, "--before")


def _archive(settings: Settings, before: datetime | None, dry_run: bool, max_seconds: float | None) -> "Archived":
    from analytics_sdk.archive.retention import archive_sinks  # here, because the other commands need none of it

    doing = "Counting what would go" if dry_run else "Archiving"
    with Progress(doing) as progress:

        def show(done: "Archived") -> None:
            rows = sum(done.rows.values())
            progress.move(0, f"{counted(rows, 'row')}, {rate_of(rows, done.seconds)}")

        return archive_sinks(settings, before, max_seconds=max_seconds, dry_run=dry_run, on_progress=show)


def _vacuum(settings: Settings, done: "Archived") -> None:
    from analytics_sdk.archive.retention import own_sinks
    from analytics_sdk.archive.space import vacuum

    for sink in own_sinks(settings):
        with ExitStack() as stack:
            stack.callback(sink.close)
            stack.enter_context(Progress("Rewriting the database file"))
            space = vacuum(sink)
            done.freed_bytes += space.freed_bytes
            done.free_bytes, done.gives_back = space.free_bytes, True


def archived_lines(done: "Archived", words: Words) -> Sequence[str]:
    """What a run did, for people."""
    parts = ", ".join(f"{words.count(n)} {name}" for name, n in done.rows.items())
    moment = words.moment(done.before_ns)
    lines = []
    if done.dry_run:
        would = f"Would archive {parts}, which began before {moment}."
        lines.append(would if parts else f"Nothing that began before {moment} may go.")
    elif parts:
        took = words.duration(round(done.seconds * 1e9), terse=True)
        lines.append(f"Archived {parts} in {counted(done.files, 'file')} of {words.size(done.bytes)}, in {took}.")
    else:
        lines.append(f"Nothing that began before {moment} could be archived.")
    if done.removed:
        lines.append(f"Removed {counted(done.removed, 'file')} that a run which died had left.")
    if done.left:
        left = ", ".join(f"{words.count(n)} {name}" for name, n in done.left.items())
        lines.append(f"Left: {left}.")
    lines += [f"{reason[:1].upper()}{reason[1:]}." for reason in done.reasons]
    if done.freed_bytes:
        lines.append(f"Given back to the disk: {words.size(done.freed_bytes)}.")
    if done.free_bytes and not done.gives_back:
        lines.append(
            f"{words.size(done.free_bytes)} are free within the file for new rows; it was made before files could give "
            "space back. `analytics-sdk archive --vacuum` makes it smaller, once, while no program records."
        )
    return lines


def _verify(settings: Settings, json: bool) -> None:
    from analytics_sdk.archive.retention import own_sinks
    from analytics_sdk.archive.verifying import verify

    total, faults = 0, list[Any]()
    for sink in own_sinks(settings):
        with ExitStack() as stack:
            stack.callback(sink.close)
            progress = stack.enter_context(Progress("Reading the archive"))
            n, found = verify(sink, settings.archive_dir, partial(_show, progress))
            total += n
            faults += found
    if json:
        print_json({"files": total, "faults": [asdict(fault) for fault in faults]})
    else:
        print(_verified_line(total, faults, settings))
    for fault in faults:
        where = settings.archive_dir / fault.path
        print(f"error: {where} is {fault.fault}, and {counted(fault.rows, 'row')} with it", file=sys.stderr)
    if faults:
        raise typer.Exit(NO)


def _show(progress: Progress, n: int, total: int) -> None:
    progress.total = total
    progress.move(n, counted(n, "file"))


def _verified_line(total: int, faults: Sequence["Fault"], settings: Settings) -> str:
    if not total:
        return "Nothing is archived."
    if faults:
        return f"{counted(len(faults), 'file')} of {total} in {settings.archive_dir} cannot be believed."
    return f"{counted(total, 'file')} in {settings.archive_dir}: all there, and as they were written."
