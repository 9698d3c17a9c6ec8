"""`analytics-sdk db`: the tables themselves."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analytics_sdk.cli import NO
from analytics_sdk.cli.guidance import PROGRAM, Brief, Overview, epilog
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.store import Db, Json, refuse_missing_file, settings_for
from analytics_sdk.cli.terminal import Column, counted, print_json, print_table
from analytics_sdk.config import Settings
from analytics_sdk.errors import SettingError
from analytics_sdk.sinks import describe, make_sink

if TYPE_CHECKING:
    from analytics_sdk.sinks.sql import SqlSink

COPY_EPILOG = epilog(
    ["db copy --to postgresql://user@host/db", "db copy --db sqlite:///old.db --to sqlite:///new.db"],
    {0: "everything is there, and compared", 1: "the target had gone on with some journals by itself; they were left"},
    json='{"from", "to", "journals", "tables": {name: {"rows", "copied", "checksum"}}, "ahead"}',
)
EPILOG = epilog(
    ["db upgrade", "db upgrade --db postgresql://user@host/db"],
    {0: "the tables are of this version"},
    json='{"databases": [{"database", "brought"}]}, where "brought" lists the versions that were new',
)


class Subcommands(Overview):
    """What can be done to the tables."""

    program = f"{PROGRAM} db"
    briefs = {  # noqa: RUF012  # because nothing changes it
        "upgrade": Brief("make the tables, or take them to this version", "upgrade --db postgresql://user@host/db"),
        "copy": Brief("bring everything into another database", "copy --to postgresql://user@host/db"),
    }


app = typer.Typer(cls=Subcommands, help="Look after the tables.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def _db(context: typer.Context) -> None:
    """Look after the tables. A SQLite file of ours is taken forward by itself; a server only by this."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(epilog=EPILOG)
def upgrade(
    db: Annotated[
        str | None, typer.Option("--db", metavar="URL", help="The database. [default: the sink of the settings]")
    ] = None,
    json: Json = False,
) -> None:
    """Make the tables, or take them to the version of this program. Changes nothing where they are up to date."""
    settings = settings_for(db)
    done: dict[str, list[int]] = {}
    for target in settings.sinks:
        sink = _sql_sink(target, settings)
        try:
            with Progress(f"Looking after the tables of {describe(target)}"):
                done[describe(target)] = sink.upgrade()
        finally:
            sink.close()
    if json:
        print_json({"databases": [{"database": name, "brought": versions} for name, versions in done.items()]})
        return
    for name, versions in done.items():
        print(f"{name}: upgraded to version {versions[-1]}" if versions else f"{name}: up to date")


@app.command(epilog=COPY_EPILOG)
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The database to copy to. Its tables are made.")],
    db: Db = None,
    json: Json = False,
) -> None:
    """Bring everything into another database, and compare it there. May be stopped at any moment: the next call goes
    on where it was. Programs may go on meanwhile; call it once more when they have stopped, before they use the new
    database."""
    from analytics_sdk.copying import copy_store

    settings = settings_for(db)
    target = settings_for(to).sinks[0]
    refuse_missing_file(settings.sinks[0])
    source, into = (_sql_sink(one, settings) for one in (settings.sinks[0], target))
    try:
        source.open()
        with Progress(f"Copying {describe(settings.sinks[0])}") as progress:

            def move(done: int, total: int) -> None:
                progress.total = total
                progress.move(done)

            copied = copy_store(source, into, move)
    finally:
        source.close()
        into.close()
    if json:
        print_json({"from": describe(settings.sinks[0]), "to": describe(target), **asdict(copied)})
    else:
        print(f"{describe(settings.sinks[0])} -> {describe(target)}: {counted(copied.journals, 'journal')}")
        columns = [Column("table"), Column("rows", right=True), Column("copied now", right=True), Column("checksum")]
        rows = [(name, str(one.rows), str(one.copied), one.checksum) for name, one in copied.tables.items()]
        print_table("Compared row by row", columns, rows)
    if copied.ahead:
        left = counted(len(copied.ahead), "journal")
        print(f"{left} left alone: the target has been delivered more of them since an earlier copy", file=sys.stderr)
        raise typer.Exit(NO)


def _sql_sink(target: Any, settings: Settings) -> "SqlSink":
    from analytics_sdk.sinks.sql import SqlSink

    sink = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
    if not isinstance(sink, SqlSink):
        raise SettingError(f"{describe(target)} has no tables of ours; name a database with --db")
    return sink
