"""`analytics-sdk doctor`: what is in effect, and whether it can work. Changes nothing, makes nothing.

finding     one thing that was looked at
switch      what turns us off, and settings that mean nothing
program     versions, Pythons, GPUs
place       files, folders, rights, room, and whether this is the right folder
database    the sink: reachable, whose tables, locked, clocks, losses
journals    what waits, why it waits, and whose it is
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.doctor.database import look_at_sink
from analytics_sdk.cli.doctor.finding import Finding
from analytics_sdk.cli.doctor.journals import look_at_journals
from analytics_sdk.cli.doctor.program import look_at_program
from analytics_sdk.cli.doctor.switch import look_at_switch
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.store import Db, Json, settings_for
from analytics_sdk.cli.terminal import Column, counted, emphasise, print_json, print_table, print_wrapped, style
from analytics_sdk.config import Settings
from analytics_sdk.reporting.words import make_inert
from analytics_sdk.sinks import describe

EPILOG = epilog(
    ["doctor", "doctor --db postgresql://user@host/db", "doctor --json"],
    {0: "nothing is wrong", 1: "something is"},
    json='{"ok", "findings": [{"subject", "ok", "text", "advice"}], "settings": [{"name", "value", "from"}]}',
)


def doctor(db: Db = None, json: Json = False) -> None:
    """Say what is wrong and what to do about it: settings, sink, journals, rights, clocks, versions. Looks only, and
    changes nothing."""
    settings = settings_for(db)
    with Progress("Looking around"):
        findings = list(look_around(settings))
    wrong = sum(not finding.ok for finding in findings)
    if json:
        shown = [asdict(finding) for finding in findings]
        print_json({"ok": not wrong, "findings": shown, "settings": list(shown_settings(settings))})
    else:
        print_findings(findings)
        columns = [Column("setting"), Column("value", flexible=True), Column("from", rank=1)]
        print_table("Settings", columns, [tuple(row.values()) for row in shown_settings(settings)])
        print()
        print(style(f"{counted(wrong, 'thing')} wrong.", "bad") if wrong else "Nothing is wrong.")
    if wrong:
        raise typer.Exit(NO)


def look_around(settings: Settings) -> Iterator[Finding]:
    """Everything that is looked at."""
    yield from look_at_switch()
    yield from look_at_program()
    for target in settings.sinks:
        yield from look_at_sink(target, settings)
    yield from look_at_journals(settings)


def print_findings(findings: Sequence[Finding]) -> None:
    """A finding a line, what to do beneath."""
    print(emphasise("Findings"))
    for finding in findings:
        word, look = ("WRONG", "bad") if not finding.ok else ("note", "note") if finding.advice else ("ok", "good")
        print_wrapped(make_inert(finding.text), 17, f"{style(f'{word:<5}', look)}  {finding.subject}")
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
