"""The tables on ClickHouse: the columns of `schema`, in engines that make one row of what was written twice.

ClickHouse has no transactions, so whatever a crash cut short is written again. That changes nothing, because each row
says what it is, and the one that knows most is kept:

    executions, steps, recoveries, resource_samples
                        key (source, seq), as everywhere; of several rows the highest `version`: 0 as long as it runs,
                        1 when judged, 2 + the position of the last record that told of it
    rollups             key (level, bucket, workflow, source); a row holds all facts of its key before `position` in
                        the journal; version 2 * position, and 1 more when the source was judged
    losses              key (source, kind, reason, at): totals of the journal stand at -1, what delivery found at the
                        position where it did; the larger number is kept
    journal_positions   key journal_id; every number is the largest that was ever written

`source` is made from the journal's id, because nobody here can give out small numbers one after the other.
`journal_month` is the month in which the journal began, so that all versions of a row stand in one partition, and what
a batch brings to a table arrives whole or not at all.
"""

import hashlib
import time
from functools import lru_cache

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    text,
)

from analytics_sdk.sinks import schema as common
from analytics_sdk.sinks.base import JournalIdentity
from analytics_sdk.sinks.schema import Tables

DIALECT = "clickhousedb"
TOTALS_AT = -1
"""Where the journal's own running totals of losses stand."""

_WORDS = {"status", "first_status", "verdict", "strategy", "host", "kind", "reason", "level"}
"""Texts of few values."""
_ONLY_ELSEWHERE = {"late", "last_seq"}
_LARGEST, _SMALLEST = "SimpleAggregateFunction(max, Int64)", "SimpleAggregateFunction(min, Int64)"
_SAFE = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
"""Because journals are removed once the server has said that it has what stood in them."""
_KEYED = f"ReplacingMergeTree(version) PARTITION BY journal_month ORDER BY (source, seq) {_SAFE}"
_ENGINES = {
    "rollups": f"ReplacingMergeTree(version) ORDER BY (level, bucket_start_ns, workflow_id, source) {_SAFE}",
    "losses": f"AggregatingMergeTree ORDER BY (source, kind, reason, at) {_SAFE}",
    "journal_positions": f"AggregatingMergeTree ORDER BY journal_id {_SAFE}",
    "version": f"ReplacingMergeTree ORDER BY version {_SAFE}",
}
_KEYED_TABLES = ("executions", "steps", "recoveries", "resource_samples")
_MERGED = {
    "losses": {"n": _LARGEST, "first_at_ns": _SMALLEST, "last_at_ns": _LARGEST},
    "journal_positions": {
        **dict.fromkeys(("position", "rollup_position", "settled"), _LARGEST),
        **dict.fromkeys(("source", "pid", "started_at_ns"), "SimpleAggregateFunction(any, Int64)"),
        **dict.fromkeys(("host", "machine_id", "boot_id"), "SimpleAggregateFunction(any, String)"),
    },
}
_MORE: dict[str, dict[str, str]] = {
    **{name: {"version": "UInt64", "journal_month": "UInt32"} for name in _KEYED_TABLES},
    "rollups": {"position": "Int64", "version": "UInt64"},
    "losses": {"at": "Int64"},
}
_INDEXES = {
    "executions": ("execution_id TYPE bloom_filter", "started_at_ns TYPE minmax", "version TYPE minmax"),
    "steps": ("execution_id TYPE bloom_filter", "started_at_ns TYPE minmax", "version TYPE minmax"),
    "recoveries": ("execution_id TYPE bloom_filter", "started_at_ns TYPE minmax"),
    "resource_samples": ("at_ns TYPE minmax",),
}


def source_of(journal_id: str) -> int:
    """The number by which rows of a journal are keyed: 63 bits of a hash of its id, which is random itself."""
    return int.from_bytes(hashlib.blake2b(journal_id.encode(), digest_size=8).digest()) >> 1


def month_of(journal: JournalIdentity) -> int:
    """The month in which a journal began, UTC, such as 202601; 0 where what it says is no time of this century."""
    began = time.gmtime(max(0, journal.started_at_ns // 10**9))
    return began.tm_year * 100 + began.tm_mon if 2000 <= began.tm_year < 2100 else 0


@lru_cache(maxsize=32)
def clickhouse_tables(schema: str, prefix: str | None) -> Tables:
    """The tables in the database `schema`, each name preceded by `prefix`.

    Raises:
        SettingError: a name that is not plain.
    """
    elsewhere = common.tables(schema, prefix)
    metadata = MetaData(schema=schema)
    made = {name: _table(metadata, name, table) for name, table in vars(elsewhere).items() if isinstance(table, Table)}
    return Tables(metadata=metadata, schema=schema, prefix=elsewhere.prefix, **made)


def _table(metadata: MetaData, name: str, elsewhere: Table) -> Table:
    columns = [
        Column(
            column.name,
            column.type,
            primary_key=column.primary_key,
            nullable=column.nullable,
            autoincrement=False,
            info={"type": _MERGED.get(name, {}).get(column.name) or _type_name(column)},
        )
        for column in elsewhere.columns
        if column.name not in _ONLY_ELSEWHERE
    ]
    columns += [
        Column(more, BigInteger, nullable=False, info={"type": type_name})
        for more, type_name in _MORE.get(name, {}).items()
    ]
    engine = _KEYED if name in _KEYED_TABLES else _ENGINES.get(name)
    if engine is None:
        engine = f"ReplacingMergeTree ORDER BY ({', '.join(column.name for column in elsewhere.primary_key)}) {_SAFE}"
    return Table(elsewhere.name, metadata, *columns, info={"engine": engine, "indexes": _INDEXES.get(name, ())})


def _type_name(column: Column[object]) -> str:
    if isinstance(column.type, Boolean):
        made = "Bool"
    elif isinstance(column.type, Double):
        made = "Float64"
    elif isinstance(column.type, BigInteger | Integer | SmallInteger):
        made = "Int64"
    else:
        made = "String"
    if column.nullable and not isinstance(column.type, LargeBinary):
        made = f"Nullable({made})"
    return f"LowCardinality({made})" if column.name in _WORDS else made


def create(connection: Connection, tables: Tables) -> None:
    """Make the database and those tables that are not there. Several processes may do it at once."""
    there = text("SELECT count() FROM system.databases WHERE name = :name")
    if not connection.execute(there, {"name": tables.schema}).scalar():  # because making it asks for more rights
        connection.execute(text(f"CREATE DATABASE IF NOT EXISTS `{tables.schema}`"))
    for table in tables.metadata.tables.values():
        parts = [f"`{column.name}` {column.info['type']}" for column in table.columns]
        parts += [f"INDEX by_{index.split()[0]} {index} GRANULARITY 1" for index in table.info["indexes"]]
        name = f"`{table.schema}`.`{table.name}`"
        connection.execute(
            text(f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(parts)}) ENGINE = {table.info['engine']}")
        )


def columns_in(connection: Connection, tables: Tables) -> dict[str, set[str]]:
    """The columns of those tables that stand there under names of ours."""
    found: dict[str, set[str]] = {}
    asked = text("SELECT table, name FROM system.columns WHERE database = :schema")
    ours = {table.name for table in tables.metadata.tables.values()}
    for table, column in connection.execute(asked, {"schema": tables.schema}):
        if table in ours:
            found.setdefault(table, set()).add(column)
    return found
