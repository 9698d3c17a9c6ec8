"""The database that a command reads: found by the settings, never made, and what has not reached it yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analytics_sdk.cli.terminal import counted
from analytics_sdk.config import Settings, resolve, sqlite_file
from analytics_sdk.errors import AnalyticsError, SettingError, SinkUnavailable
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.reporting.words import Words, make_inert
from analytics_sdk.shipper.once import Undelivered, undelivered
from analytics_sdk.sinks import describe, make_sink

if TYPE_CHECKING:
    from analytics_sdk.query import Query

Db = Annotated[
    str | None, typer.Option("--db", metavar="URL", help="The database. [default: the sink of the settings]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Store:
    """A database to read from."""

    settings: Settings
    target: Any
    query: "Query"
    undelivered: Undelivered

    @property
    def name(self) -> str:
        """The database without its password."""
        return describe(self.target)


def settings_for(db: str | None) -> Settings:
    """The settings in effect, with the sink that the user typed.

    Raises:
        typer.BadParameter: what was typed is no database URL.
        SettingError: a setting from elsewhere cannot work.
    """
    try:
        return resolve({"sink": db})
    except SettingError as problem:
        if db is None or "setting sink" not in str(problem):
            raise
        needs = str(problem).partition("; it must be ")[2]
        raise typer.BadParameter(f"this is no database URL; write it as {needs}", param_hint="--db") from None


@contextmanager
def open_query(db: str | None) -> Iterator[tuple[Settings, Any, "Query"]]:
    """The settings, the first sink, and queries over it; nothing is made.

    Raises:
        SinkUnavailable: there is no such file.
        SettingError: the sink cannot be used.
    """
    settings = settings_for(db)
    target = settings.sinks[0]
    refuse_missing_file(target)
    sink = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
    try:
        from analytics_sdk.query import Query  # here, because it loads the database library

        yield settings, target, Query(sink, settings.archive_dir)
    finally:
        sink.close()


@contextmanager
def open_store(db: str | None) -> Iterator[Store]:
    """Open the database for reading; nothing is made.

    Raises:
        SinkUnavailable: there is no such file, or the server does not answer.
        AnalyticsError: it cannot be read.
    """
    with open_query(db) as (settings, target, query):
        yield Store(settings, target, query, find_undelivered(settings, query))


def refuse_missing_file(target: Any) -> None:
    """Raises:
    SinkUnavailable: it is a SQLite file that is not there.
    """
    file = sqlite_file(target)
    if file is not None and not file.exists():
        raise SinkUnavailable(
            f"there is no database {file}; run your program first, or name the right one with --db sqlite:///PATH"
        )


def find_undelivered(settings: Settings, query: "Query") -> Undelivered:
    """What stands in the sink's journals and has not reached it."""
    folder = settings.journal_dir
    if folder is None or not find_journals(folder):
        return Undelivered(0, 0, 0, 0)
    try:
        positions = query.positions()
    except AnalyticsError:  # because a database that cannot be read is told of by the question itself
        positions = {}
    return undelivered(folder, lambda journal_id: positions.get(journal_id, 0))


def undelivered_line(found: Undelivered, words: Words) -> str | None:
    """One line on what is missing from an answer, or None where nothing is."""
    if not found.bytes:
        return None
    living = f", {found.living} of running programs" if found.living else ""
    where = f"{words.size(found.bytes)} in {counted(found.journals, 'journal')}{living}"
    return f"Not delivered yet: {where}. `analytics-sdk ship --once` delivers it now."


def undelivered_json(found: Undelivered) -> dict[str, int]:
    """The same for machines."""
    return asdict(found)


def guess_workflow(query: "Query", workflow: str) -> str | None:
    """A line that says which stored workflow was probably meant; None where that one is stored, or nothing is."""
    from analytics_sdk.query.query import kept_id  # here, because it loads the database library

    known = query.workflow_ids()
    if not known or kept_id(workflow) in known:
        return None
    lower = {one.lower(): one for one in reversed(known)}
    near = get_close_matches(workflow.lower(), lower, n=1)
    name = make_inert(workflow)
    if near:
        return f"No workflow {name} was ever recorded here; did you mean {make_inert(lower[near[0]])}?"
    some = ", ".join(make_inert(one) for one in known[:5]) + (", ..." if len(known) > 5 else "")
    return f"No workflow {name} was ever recorded here; there are: {some}"
