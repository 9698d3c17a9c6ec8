"""`analytics-sdk db`: the tables themselves."""

from typing import Annotated

import typer

from analytics_sdk.cli.guidance import PROGRAM, Brief, Overview, epilog
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.store import Json, settings_for
from analytics_sdk.cli.terminal import print_json
from analytics_sdk.errors import SettingError
from analytics_sdk.sinks import describe, make_sink

EPILOG = epilog(
    ["db upgrade", "db upgrade --db postgresql://user@host/db"],
    {0: "the tables are of this version"},
    json='{"databases": [{"database", "brought"}]}, where "brought" lists the versions that were new',
)


class Subcommands(Overview):
    """What can be done to the tables."""

    program = f"{PROGRAM} db"
    briefs = {  # noqa: RUF012  # because nothing changes it
        "upgrade": Brief("make the tables, or take them to this version", "upgrade --db postgresql://user@host/db")
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
    from analytics_sdk.sinks.sql import SqlSink

    settings = settings_for(db)
    done: dict[str, list[int]] = {}
    for target in settings.sinks:
        sink = make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
        if not isinstance(sink, SqlSink):
            raise SettingError(f"{describe(target)} has no tables of ours; name a database with --db")
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
