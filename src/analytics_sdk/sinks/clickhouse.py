"""ClickHouse: engines of our own, and rows as native columns, each insert one block.

Works over clickhouse-connect's SQLAlchemy dialect: a server by HTTP, or the engine in this very process
(`clickhousedb://?interface=chdb&path=/a/folder`, with the package chdb-core), which tests and small tools use.
"""

from array import array
from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine
from sqlalchemy.pool import NullPool

from analytics_sdk.errors import RejectedRecord, SettingError
from analytics_sdk.sinks.rows import Columns

CONNECT_TIMEOUT_SECONDS = 10
LOST_AFTER_SECONDS = 60
"""A server that answers nothing for so long is given up."""
INSERTING = {
    "async_insert": 0,  # because what was said to be stored must be stored
    "insert_deduplicate": 0,  # because the tables do it, by key and not by block
    "min_insert_block_size_rows": 0,  # so that each block that is sent becomes one part, whole or not at all
    "min_insert_block_size_bytes": 0,
}
READING = {
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,  # because all versions of a row stand in one partition
    "aggregate_functions_null_for_empty": 1,
}


def make_engine(url: URL) -> Engine:
    """An engine of our own, without a pool.

    Raises:
        SettingError: the driver is not installed.
    """
    try:
        import clickhouse_connect.cc_sqlalchemy  # noqa: F401  # because SQLAlchemy would only say "no such dialect"
    except ImportError as problem:
        raise SettingError(
            f"ClickHouse needs a driver, and {problem.name} is not installed: pip install 'analytics-sdk[clickhouse]'"
        ) from None
    arguments: dict[str, Any] = {}
    if url.query.get("interface") != "chdb":
        arguments = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "send_receive_timeout": LOST_AFTER_SECONDS}
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)


def check(table: Table, columns: Columns) -> None:
    """Look at all values before any is sent, because what was sent cannot be taken back.

    Raises:
        RejectedRecord: a value that its column cannot hold.
    """
    for name, values in columns.items():
        column = table.columns[name]
        kind: str = column.info["type"]
        try:
            known: Sequence[Any] = [value for value in values if value is not None] if column.nullable else values
            if "Int" in kind:
                array("Q" if "UInt" in kind else "q", known)
            elif "Float" in kind:
                array("d", known)
            elif "Bool" not in kind and column.name != "cells":
                "".join(known).encode()
        except (OverflowError, TypeError, ValueError) as problem:
            raise RejectedRecord(f"{table.name}.{name}: a value cannot be kept: {problem}") from None


def insert(connection: Connection, table: Table, columns: Columns) -> None:
    """Add rows, whole or not at all."""
    from clickhouse_connect.datatypes.registry import get_from_name  # here, because it is an extra
    from clickhouse_connect.driver.insert import InsertContext

    n = len(next(iter(columns.values()), ()))
    if not n:
        return
    client: Any = connection.connection.driver_connection.client  # type: ignore[union-attr]  # a live connection has one
    data = InsertContext(
        f"`{table.schema}`.`{table.name}`",
        list(columns),
        [get_from_name(table.columns[name].info["type"]) for name in columns],
        list(columns.values()),
        column_oriented=True,
        settings=INSERTING,
        block_size=n,
    )
    client.insert(context=data)
