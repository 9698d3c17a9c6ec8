"""Every change of the tables, numbered; who may make it; and what stands there now.

A new store gets the tables as they are today. An older one is taken forward by the migrations behind its version, all
in one transaction and under a lock: of several processes that begin at once, exactly one migrates.
"""

import shlex
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, func, inspect, select, text
from sqlalchemy.schema import CreateColumn, CreateSchema

from analytics_sdk.errors import SinkMisconfigured
from analytics_sdk.sinks import clickhouse_schema
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.schema import SCHEMA_VERSION, Tables
from analytics_sdk.sinks.sqlite import begin_immediate


def _add_columns(connection: Connection, table: Table, *names: str) -> None:
    shown = connection.dialect.identifier_preparer.format_table(table)
    for name in names:
        column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
        connection.execute(text(f"ALTER TABLE {shown} ADD COLUMN {column}"))


def _add_what_ran(connection: Connection, tables: Tables) -> None:
    """Samples say what ran when they were taken."""
    _add_columns(connection, tables.resource_samples, "elapsed_ns", "executions", "running")


def _add_verdicts(connection: Connection, tables: Tables) -> None:
    """Recoveries say what became of them. Of those that stand there already nobody can tell any more."""
    _add_columns(connection, tables.recoveries, "verdict", "verdict_seq")
    for index in tables.recoveries.indexes:
        if index.name == f"{tables.recoveries.name}_verdict":
            index.create(connection)


def _add_archive(connection: Connection, tables: Tables) -> None:
    """Rows may go to an archive, and a table says which files hold them."""
    tables.archive_files.create(connection)


def _allow_levels(_connection: Connection, _tables: Tables) -> None:
    """Rollups may have rows of days and weeks. The tables stay as they are; the version tells earlier programs, which
    would add to an hour and leave its day as it was, to keep away."""


MIGRATIONS: dict[int, Callable[[Connection, Tables], None]] = {
    2: _add_what_ran,
    3: _add_verdicts,
    4: _add_archive,
    5: _allow_levels,
}
"""Version -> what takes the tables there from the version before. The first needs none: it is how a store is made."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in a store. `version` is None where our version table is missing."""

    version: int | None
    ours: frozenset[str]
    """Tables of our names."""
    foreign: tuple[str, ...]
    """Those of them that aren't ours, because columns of ours are missing."""

    @property
    def is_empty(self) -> bool:
        """Nothing there has a name of ours."""
        return not self.ours


def is_old(standing: Standing) -> bool:
    """Whether a migration would take it forward."""
    return standing.version is not None and standing.version < SCHEMA_VERSION


def look(connection: Connection, tables: Tables) -> Standing:
    """What stands there. Reads only."""
    found = _columns_in(connection, tables)
    version = None
    versioned = {"version", "applied_at_ns"} <= found.get(tables.version.name, set())
    if versioned:
        version = connection.execute(select(func.max(tables.version.c.version))).scalar()
    current = version is not None and version == SCHEMA_VERSION
    foreign = [
        name
        for name, columns in sorted(found.items())
        if not versioned or (current and not set(_table(tables, name).c.keys()) <= columns)
    ]
    return Standing(version, frozenset(found), tuple(foreign))


def _columns_in(connection: Connection, tables: Tables) -> dict[str, set[str]]:
    """The columns of those tables that stand there under names of ours."""
    if connection.dialect.name == clickhouse_schema.DIALECT:
        return clickhouse_schema.columns_in(connection, tables)
    names = [table.name for table in tables.metadata.tables.values()]
    found = inspect(connection).get_multi_columns(schema=tables.schema, filter_names=names)
    return {name: {column["name"] for column in columns} for (_, name), columns in found.items()}


def _table(tables: Tables, name: str) -> Table:
    return tables.metadata.tables[name if tables.schema is None else f"{tables.schema}.{name}"]


def check(connection: Connection, tables: Tables) -> None:
    """Let only a store through whose tables are ours and of today's version.

    Raises:
        SinkMisconfigured: they aren't; the message says what to do.
    """
    standing = look(connection, tables)
    shown = connection.engine.url.render_as_string(hide_password=True)
    refuse_foreign(standing, shown)
    typed = shlex.quote(shown) if "&" in shown else shown
    upgrade_it = f"run `analytics-sdk db upgrade --db {typed}`"
    if standing.version is None:
        raise SinkMisconfigured(f"{shown} has no tables of analytics-sdk: {upgrade_it}")
    if is_old(standing):
        raise SinkMisconfigured(
            f"{shown} has tables of version {standing.version}, this analytics-sdk needs {SCHEMA_VERSION}: {upgrade_it}"
        )
    missing = sorted({table.name for table in tables.metadata.tables.values()} - standing.ours)
    if missing:
        raise SinkMisconfigured(f"{shown} lacks the tables {', '.join(missing)}: put them back from a backup")


def refuse_foreign(standing: Standing, shown: str) -> None:
    """Refuse tables that are not ours or that are newer than we are.

    Raises:
        SinkMisconfigured: there are such.
    """
    if standing.foreign:
        raise SinkMisconfigured(
            f"{shown} has tables that are not analytics-sdk's: {', '.join(standing.foreign)}. "
            "Set `schema` or `table_prefix` to keep ours apart"
        )
    if standing.version is not None and standing.version > SCHEMA_VERSION:
        raise SinkMisconfigured(
            f"{shown} has tables of version {standing.version}, this analytics-sdk knows {SCHEMA_VERSION}: "
            "install a newer analytics-sdk"
        )


def upgrade(engine: Engine, tables: Tables) -> list[int]:
    """Make the tables, or take them forward to today's version; the versions that this call brought.

    May be called by many processes at once: one does the work, the others wait and return an empty list.

    Raises:
        SinkMisconfigured: not ours, newer than we are, or no right to.
        SinkUnavailable: try again later.
    """
    shown = engine.url.render_as_string(hide_password=True)
    try:
        with engine.connect() as connection:
            _lock(connection, tables)
            standing = look(connection, tables)
            refuse_foreign(standing, shown)
            if standing.version is None:
                _create(connection, tables)
                brought = list(range(1, SCHEMA_VERSION + 1))
            else:
                brought = list(range(standing.version + 1, SCHEMA_VERSION + 1))
                for version in brought:
                    MIGRATIONS[version](connection, tables)
            now_ns = time.time_ns()
            for version in brought:
                connection.execute(tables.version.insert().values(version=version, applied_at_ns=now_ns))
            connection.commit()
            return brought
    except Exception as problem:  # because each driver has errors of its own
        raise sink_error(problem, shown, engine.url.password) from None


def _lock(connection: Connection, tables: Tables) -> None:
    """Let no other process migrate these tables until this transaction ends."""
    if connection.dialect.name == "sqlite":
        begin_immediate(connection)
        return
    key = zlib.crc32(f"analytics_sdk:{tables.schema}.{tables.prefix}".encode())
    connection.execution_options(isolation_level="READ COMMITTED")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _create(connection: Connection, tables: Tables) -> None:
    # Because CREATE SCHEMA IF NOT EXISTS asks for a right that is not needed where the schema exists.
    if tables.schema is not None and not inspect(connection).has_schema(tables.schema):
        connection.execute(CreateSchema(tables.schema))
    tables.metadata.create_all(connection, checkfirst=False)
