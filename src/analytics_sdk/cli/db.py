"""`analytics-sdk db`: the tables themselves."""

from typing import Annotated

import typer

from analytics_sdk.cli.store import Json, settings_for
from analytics_sdk.cli.terminal import print_json
from analytics_sdk.errors import SettingError
from analytics_sdk.sinks import describe, make_sink

app = typer.Typer(help="Look after the tables.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _db() -> None:
    """Look after the tables."""


@app.command()
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
            done[describe(target)] = sink.upgrade()
        finally:
            sink.close()
    if json:
        print_json(done)
        return
    for name, versions in done.items():
        print(f"{name}: upgraded to version {versions[-1]}" if versions else f"{name}: up to date")
