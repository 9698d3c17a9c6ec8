"""The journals that wait for the first sink: whose they are, why they wait, and who may read them."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from analytics_sdk.cli.doctor.finding import Finding, found_wrong
from analytics_sdk.cli.doctor.place import look_at_room
from analytics_sdk.cli.terminal import counted
from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.config import Settings, sqlite_file
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.owner import Identity, owner_path
from analytics_sdk.journal.problem import read_problems
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.reporting.words import Words
from analytics_sdk.sinks import make_sink

CLOCK_SLACK_NS = 60 * 10**9


@dataclass
class Waiting:
    """The journals of a folder, and how many of their bytes have not been delivered."""

    living: list[Identity] = field(default_factory=list)
    ended: int = 0
    left: int = 0
    """So many of the ended ones have something that was not delivered."""
    left_bytes: int = 0
    foreign: int = 0
    ownerless: int = 0
    bytes: int = 0


def look_at_journals(settings: Settings) -> Iterator[Finding]:
    """Everything about the journals of the first sink."""
    folder = settings.journal_dir
    yield from _look_elsewhere(settings)
    if folder is None or not folder.exists():
        yield Finding("journals", True, "none")
        return
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        yield Finding("journals", False, f"{folder} is not a folder of yours", "set journal_dir to a folder of yours")
        return
    if found.st_mode & 0o077:
        yield Finding("journals", False, f"others may look into {folder}", f"run chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("journals", False, f"{folder} cannot be written", f"run chmod 700 {folder}")
    if settings.sources["journal_dir"] != "default":
        yield from look_at_room(folder)
    yield from _look_at_waiting(folder, count_waiting(folder, read_positions(settings)))
    yield from _look_at_problems(folder)


def read_positions(settings: Settings) -> dict[str, int]:
    """How far the first sink has each journal; nothing where it cannot be asked, which is told of elsewhere."""
    file = sqlite_file(settings.sinks[0])
    if file is not None and not file.exists():
        return {}
    try:
        sink = make_sink(settings.sinks[0], schema=settings.schema, table_prefix=settings.table_prefix)
        try:
            from analytics_sdk.query import Query

            return Query(sink).positions()
        finally:
            sink.close()
    except AnalyticsError:
        return {}


def count_waiting(folder: Path, positions: dict[str, int]) -> Waiting:
    """Look at every journal of a folder; leaves no mark."""
    waiting, here = Waiting(), new_identity()
    for journal_id in find_journals(folder):
        with closing(JournalReader(folder, journal_id)) as reader:
            left = reader.unread_bytes(positions.get(journal_id, 0))
            waiting.bytes += left
            if reader.is_foreign(here):
                waiting.foreign += 1
            elif not owner_path(folder, journal_id).exists():
                waiting.ownerless += 1
            elif reader.is_dead(here):
                waiting.ended += 1
                waiting.left += left > 0
                waiting.left_bytes += left
            else:
                waiting.living.append(reader.identity)
    return waiting


def _look_at_waiting(folder: Path, waiting: Waiting) -> Iterator[Finding]:
    words = Words()
    if not (waiting.living or waiting.ended or waiting.foreign or waiting.ownerless):
        yield Finding("journals", True, f"none waits in {folder}")
        return
    yield Finding(
        "journals",
        True,
        f"{folder}: {words.count(len(waiting.living))} of running programs, "
        f"{words.count(waiting.ended)} of ended ones, "
        f"{words.count(waiting.foreign)} of another machine; {words.size(waiting.bytes)} not delivered",
    )
    if waiting.left:
        left = f"{words.size(waiting.left_bytes)} in {counted(waiting.left, 'journal')}"
        yield Finding(
            "journals",
            False,
            f"programs that ended left {left} that have not been delivered",
            "run `analytics-sdk ship --once`, or start the program again, which delivers them too",
        )
    if waiting.ownerless:
        yield Finding(
            "journals",
            False,
            f"{counted(waiting.ownerless, 'journal')} lost the file that says whose they are",
            "run `analytics-sdk ship --once` when they have not changed for a minute",
        )
    if waiting.foreign:
        yield Finding(
            "journals",
            True,
            f"{counted(waiting.foreign, 'journal')} were written on another machine",
            "run `analytics-sdk ship --once --adopt-foreign`, once their programs have ended",
        )
    for identity in waiting.living:
        yield from look_at_start(identity, SYSTEM_CLOCK.time_ns())


def look_at_start(identity: Identity, now_ns: int) -> Iterator[Finding]:
    """Whether the clock jumped since a running program began: it noted the hour, and the kernel counts the seconds."""
    import psutil  # here, because only running programs ask for it

    try:
        began_ns = round(psutil.Process(identity.pid).create_time() * 1e9)
    except psutil.Error:
        return  # because it may run in another container
    words = Words()
    if identity.started_at_ns > now_ns + CLOCK_SLACK_NS:
        text = f"began {words.duration(identity.started_at_ns - now_ns, terse=True)} in the future"
    elif identity.started_at_ns < began_ns - CLOCK_SLACK_NS:
        text = f"began to record {words.duration(began_ns - identity.started_at_ns, terse=True)} before it was started"
    else:
        return
    yield Finding(
        "clock",
        False,
        f"by its clock, process {identity.pid} {text}: the clock was set meanwhile, or differs from ours",
        "have the clock kept by NTP; durations are right all the same, because they use another clock",
    )


def _look_at_problems(folder: Path) -> Iterator[Finding]:
    """What shippers were told when they last tried, and what sinks refused."""
    told = set()
    for problem in read_problems(folder):
        for text in problem.problems:
            if text not in told:
                told.add(text)
                seen = found_wrong("delivery", text)
                when = Words().moment(problem.at_ns)
                yield Finding("delivery", False, f"process {problem.pid} was told, on {when}: {seen.text}", seen.advice)
    for path in sorted(folder.glob("*.rejected")):
        yield Finding(
            "delivery",
            False,
            f"the sink refused records; they stand in {path}",
            "read each line's reason; remove the file when that is settled",
        )


def _look_elsewhere(settings: Settings) -> Iterator[Finding]:
    """Journals at the default place, where the settings name another."""
    file = sqlite_file(settings.sinks[0])
    usual = None if file is None else file.with_name(f"{file.name}.journals")
    if usual is None or usual == settings.journal_dir or not find_journals(usual):
        return
    yield Finding(
        "journals",
        False,
        f"{usual} holds {counted(len(find_journals(usual)), 'journal')} that nobody looks at, because journal_dir "
        f"({settings.sources['journal_dir']}) is {settings.journal_dir}",
        f"run `analytics-sdk ship --once --journal-dir {usual}`",
    )
