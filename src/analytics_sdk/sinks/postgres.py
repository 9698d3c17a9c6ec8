"""PostgreSQL: engines of our own, and rows by binary COPY on the connection of the transaction.

COPY needs psycopg 3. With another driver, in an engine that the user made, rows go as ordinary inserts.
"""

from typing import Any

from sqlalchemy import URL, BigInteger, Connection, Engine, Table, create_engine, func
from sqlalchemy import types as sql_types
from sqlalchemy.dialects.postgresql import insert as insert_into
from sqlalchemy.pool import NullPool

from analytics_sdk.errors import RejectedRecord, SettingError
from analytics_sdk.pace import in_slices
from analytics_sdk.sinks.rows import Columns, as_dicts

CONNECT_TIMEOUT_SECONDS = 10
LOST_AFTER_MS = 30_000
"""A connection whose other end answers nothing for so long is given up."""


def make_engine(url: URL) -> Engine:
    """An engine of our own, without a pool. A URL that names no driver means psycopg 3.

    Raises:
        SettingError: the driver is not installed.
    """
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {}
    if url.get_driver_name() == "psycopg":
        arguments = {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "tcp_user_timeout": LOST_AFTER_MS,
            "application_name": "analytics-sdk",
        }
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
        arguments["prepare_threshold"] = None  # because poolers between us and the server may not keep statements
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    except ModuleNotFoundError as problem:
        raise SettingError(
            f"PostgreSQL needs a driver, and {problem.name} is not installed: pip install 'analytics-sdk[postgres]'"
        ) from None


def insert(connection: Connection, table: Table, columns: Columns) -> None:
    """Add rows.

    Raises:
        RejectedRecord: a value that its column cannot hold.
    """
    if not len(next(iter(columns.values()), ())):
        return
    if connection.dialect.driver != "psycopg":
        connection.execute(table.insert(), as_dicts(columns))
        return
    raw: Any = connection.connection.driver_connection
    name = connection.dialect.identifier_preparer.format_table(table)
    with (
        raw.cursor() as cursor,
        cursor.copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types([_copy_type(table, column) for column in columns])
        write_row = copy.write_row
        try:
            for row in in_slices(zip(*columns.values(), strict=True)):
                write_row(row)
        except (TypeError, ValueError, OverflowError) as problem:  # because the driver finds these before the server
            raise RejectedRecord(f"a value does not fit its column in {table.name}: {problem}") from None


def upsert(connection: Connection, table: Table, columns: Columns) -> None:
    """Add rows, or replace those of the same (source, seq); an unknown `end_seq` keeps the stored one."""
    if not len(next(iter(columns.values()), ())):
        return
    statement = insert_into(table)
    new = statement.excluded
    replaced: dict[str, Any] = {name: new[name] for name in columns if name not in ("source", "seq")}
    replaced["end_seq"] = func.coalesce(new.end_seq, table.c.end_seq)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["source", "seq"], set_=replaced), as_dicts(columns)
    )


def _copy_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, BigInteger):
        return "int8"
    if isinstance(kind, sql_types.SmallInteger):
        return "int2"
    if isinstance(kind, sql_types.Integer):
        return "int4"
    if isinstance(kind, sql_types.Boolean):
        return "bool"
    return "float8" if isinstance(kind, sql_types.Double) else "text"
