"""`analytics-sdk doctor`: what is in effect, and whether it can work. Changes nothing, makes nothing."""

import os
import platform
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.store import Db, Json, find_undelivered, settings_for
from analytics_sdk.cli.terminal import Column, emphasise, print_json, print_table, print_wrapped
from analytics_sdk.config import Settings, sqlite_file
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.reporting.words import Words, make_inert
from analytics_sdk.sinks import describe, make_sink

if TYPE_CHECKING:
    from analytics_sdk.sinks.sql import SqlSink

EPILOG = epilog(
    ["doctor", "doctor --db postgresql://user@host/db", "doctor --json"],
    {0: "nothing is wrong", 1: "something is"},
    json='{"ok", "findings": [{"subject", "ok", "text", "advice"}], "settings": [{"name", "value", "from"}]}',
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` where something is wrong, or could be better."""

    subject: str
    ok: bool
    text: str
    advice: str = ""


def doctor(db: Db = None, json: Json = False) -> None:
    """Look at settings, sink, journals and permissions. Exit code 1: something is wrong."""
    settings = settings_for(db)
    findings = [*look_at_switch(), *look_at_machine()]
    for target in settings.sinks:
        findings += look_at_sink(target, settings)
    findings += look_at_journals(settings)
    if json:
        shown = [asdict(finding) for finding in findings]
        print_json(
            {
                "ok": all(finding.ok for finding in findings),
                "findings": shown,
                "settings": list(shown_settings(settings)),
            }
        )
    else:
        print_findings(findings)
        columns = [Column("setting"), Column("value", flexible=True), Column("from", rank=1)]
        print_table("Settings", columns, [tuple(row.values()) for row in shown_settings(settings)])
    if not all(finding.ok for finding in findings):
        raise typer.Exit(NO)


def print_findings(findings: Sequence[Finding]) -> None:
    print(emphasise("Findings"))
    for finding in findings:
        print_wrapped(make_inert(finding.text), 17, f"{'ok   ' if finding.ok else 'WRONG'}  {finding.subject}")
        if finding.advice:
            print_wrapped(make_inert(finding.advice), 17)


def shown_settings(settings: Settings) -> Iterator[dict[str, str]]:
    """Each setting in effect as text, without passwords, and where it comes from."""
    for name, source in settings.sources.items():
        value = getattr(settings, name)
        if name == "sink":
            shown = ", ".join(describe(sink) for sink in settings.sinks)
        elif name == "clock":
            shown = type(value).__name__
        else:
            shown = "-" if value is None else str(value)
        yield {"name": name, "value": shown, "from": source}


def look_at_switch() -> Iterator[Finding]:
    """Whether something turns us off."""
    word = os.environ.get("ANALYTICS_SDK_DISABLED", "")
    if word.strip().lower() == "true":
        advice = "nothing is recorded by programs started from here; unset it to record"
        yield Finding("switch", False, "off: the environment says ANALYTICS_SDK_DISABLED=true", advice)
    elif word.strip():
        yield Finding("switch", True, f"on: ANALYTICS_SDK_DISABLED={word} turns nothing off, only `true` does")
    else:
        yield Finding("switch", True, "on")


def look_at_machine() -> Iterator[Finding]:
    """The versions that matter, and the GPUs, or why there are none."""
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield Finding("program", True, f"analytics-sdk {version('analytics-sdk')}, {python}")
    from analytics_sdk.capture.gpus import describe_gpus

    names, reason = describe_gpus()
    yield Finding("GPU", True, ", ".join(names) if names else f"none ({reason})")


def look_at_sink(target: Any, settings: Settings) -> Iterator[Finding]:
    """Whether a sink can be reached, and whose tables stand there."""
    name = describe(target)
    file = sqlite_file(target)
    if file is not None:
        wrong = _file_problem(file)
        if wrong is not None:
            yield Finding("sink", False, f"{name}: {wrong[0]}", wrong[1])
            return
        if not file.exists():
            yield Finding("sink", True, f"{name} is not there yet; the first delivery makes it")
            return
    try:
        sink = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
        from analytics_sdk.sinks.sql import SqlSink

        if not isinstance(sink, SqlSink):
            yield Finding("sink", True, f"{name}: {type(sink).__name__}")
            return
        try:
            yield Finding("sink", True, f"{name}, tables of version {read_version(sink)}")
        finally:
            sink.close()
    except AnalyticsError as problem:
        yield Finding("sink", False, str(problem))


def read_version(sink: "SqlSink") -> int:
    """The version of a sink's tables.

    Raises:
        SinkUnavailable: it does not answer.
        SinkMisconfigured: there are no tables of ours, or they are of another version; the message says what to do.
    """
    from analytics_sdk.query import Query
    from analytics_sdk.sinks.schema import SCHEMA_VERSION

    Query(sink).check()
    return SCHEMA_VERSION


def _file_problem(file: Path) -> tuple[str, str] | None:
    """What keeps a SQLite file from being written, and what to do; None where nothing does."""
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist", "make it, or set sink to another place"
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return f"the folder {file.parent} cannot be written", "allow it, or set sink to another place"
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return "the file cannot be written", f"allow it with chmod u+rw {file}"
    return None


def look_at_journals(settings: Settings) -> Iterator[Finding]:
    """The journals that wait for the first sink, and who may read them."""
    folder = settings.journal_dir
    if folder is None or not folder.exists():
        yield Finding("journals", True, "none")
        return
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        yield Finding("journals", False, f"{folder} is not a folder of yours", "set journal_dir to a folder of yours")
        return
    if found.st_mode & 0o077:
        yield Finding("journals", False, f"others may look into {folder}", f"run chmod 700 {folder}")
    words = Words()
    try:
        sink = make_sink(settings.sinks[0], schema=settings.schema, table_prefix=settings.table_prefix)
        from analytics_sdk.query import Query

        waiting = find_undelivered(settings, Query(sink))
        sink.close()
    except AnalyticsError as problem:
        yield Finding("journals", False, f"{folder} cannot be compared with the sink: {problem}")
        return
    if not waiting.journals:
        yield Finding("journals", True, f"none waits in {folder}")
        return
    orphaned = waiting.journals - waiting.living - waiting.foreign
    yield Finding(
        "journals",
        True,
        f"{folder}: {words.count(waiting.living)} of running programs, {words.count(orphaned)} of ended ones, "
        f"{words.count(waiting.foreign)} of another machine; {words.size(waiting.bytes)} not delivered",
        "`analytics-sdk ship --once` delivers what ended programs left" if orphaned and waiting.bytes else "",
    )
