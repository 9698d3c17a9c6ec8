"""The tables, as SQLAlchemy Core: one definition for every SQL database that we write.

Rows are keyed by (source, seq): the journal's small number, which `journal_positions` gives out, and the position in
the journal of the record that opened the row. Columns are those of `sinks.base`, and besides: `host` and `pid` on
executions and resource samples; `late` and `last_seq` on executions and steps. A row is `late` when its ending came in
a later batch than its start, and `last_seq` is then the position of what was last told of it, so that readers find what
lies behind the rollups' position by two index ranges: `seq >= position`, and `late = 1 and last_seq >= position`. Of
recoveries these are `seq >= position` and `verdict_seq >= position`.

Statuses are words, times integer nanoseconds since 1970 in UTC, `tags`, `gpus` and `running` JSON text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
    text,
)
from sqlalchemy.types import TypeEngine

from analytics_sdk.errors import SettingError
from analytics_sdk.sinks.base import EXECUTION_COLUMNS, LOSS_COLUMNS, RECOVERY_COLUMNS, SAMPLE_COLUMNS, STEP_COLUMNS
from analytics_sdk.sinks.rows import TEXT_COLUMNS

SCHEMA_VERSION = 5
DEFAULT_SCHEMA = "analytics_sdk"
"""Where the tables stand on a server. On SQLite they have bare names."""

HOUR = "hour"
"""The finest level of rollups: the truth."""
DAY, WEEK = "day", "week"
"""Levels whose rows are sums of what stands below; see `sinks.levels`."""

_DOUBLES = {"cpu_percent", "host_cpu_percent"}
_REQUIRED = {"status", "started_at_ns", "at_ns", "strategy", "success", "host", "pid"}


@dataclass(frozen=True)
class Tables:
    """The tables in one schema under one prefix."""

    metadata: MetaData
    executions: Table
    steps: Table
    recoveries: Table
    resource_samples: Table
    losses: Table
    journal_positions: Table
    rollups: Table
    archive_files: Table
    version: Table
    schema: str | None
    prefix: str


def is_late(table: Table) -> ColumnElement[bool]:
    """Whether a row's ending came in a later batch than its start. A literal, because only that uses the index."""
    return table.c.late == literal_column("1")


def is_running(table: Table) -> ColumnElement[bool]:
    """Whether what a row tells of has not ended. A literal, because only that uses the index."""
    return table.c.status == literal_column("'running'")


def check_name(setting: str, name: str | None) -> None:
    """Let only plain names into SQL.

    Raises:
        SettingError: it is not one.
    """
    if name is not None and not re.fullmatch(r"[a-z_][a-z0-9_]{0,30}", name):
        raise SettingError(f"{setting} must be 1 - 31 of a-z, 0-9 and _, not beginning with a digit: not {name!r}")


@lru_cache(maxsize=32)
def tables(schema: str | None, prefix: str | None) -> Tables:
    """The tables in `schema` (None: bare names), each name preceded by `prefix`.

    Raises:
        SettingError: a name that is not plain.
    """
    check_name("schema", schema)
    check_name("table_prefix", prefix)
    metadata = MetaData(schema=schema)
    before = prefix or ""
    executions = _keyed(metadata, before, "executions", (*EXECUTION_COLUMNS, "host", "pid"), late=True)
    steps = _keyed(metadata, before, "steps", STEP_COLUMNS, late=True)
    recoveries = _keyed(metadata, before, "recoveries", RECOVERY_COLUMNS)
    samples = _keyed(metadata, before, "resource_samples", (*SAMPLE_COLUMNS, "host", "pid"))
    _index(executions, "execution_id")
    _index(executions, "workflow_id", "started_at_ns")
    _index(executions, "started_at_ns")
    # Because this order yields a bucket's durations from the index alone and still keeps inserting near the end of it.
    _index(steps, "started_at_ns", "workflow_id", "node_id", "status", "duration_ns")
    _index(recoveries, "started_at_ns")
    _index_verdicts(recoveries)
    _index(samples, "host", "at_ns")
    return Tables(
        metadata,
        executions,
        steps,
        recoveries,
        samples,
        _losses(metadata, before),
        _journal_positions(metadata, before),
        _rollups(metadata, before),
        _archive_files(metadata, before),
        Table(
            f"{before}analytics_sdk_schema",
            metadata,
            Column("version", Integer, primary_key=True, autoincrement=False),
            Column("applied_at_ns", BigInteger, nullable=False),
        ),
        schema,
        before,
    )


def _type_of(name: str) -> TypeEngine[Any]:
    if name in TEXT_COLUMNS:
        return Text()
    if name == "success":
        return Boolean()
    return Double() if name in _DOUBLES else BigInteger()


def _keyed(metadata: MetaData, prefix: str, name: str, columns: tuple[str, ...], late: bool = False) -> Table:
    """A table of rows with the key (source, seq)."""
    table = Table(
        prefix + name,
        metadata,
        Column("source", Integer, primary_key=True, autoincrement=False),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *(Column(column, _type_of(column), nullable=column not in _REQUIRED) for column in columns if column != "seq"),
        sqlite_with_rowid=False,
    )
    if late:
        table.append_column(Column("late", SmallInteger, nullable=False, server_default=text("0")))
        table.append_column(Column("last_seq", BigInteger))
        for word, condition, last in (("late", "late = 1", "last_seq"), ("running", "status = 'running'", "seq")):
            where = text(condition)
            name = f"{table.name}_{word}"
            Index(name, table.c.source, table.c[last], sqlite_where=where, postgresql_where=where)
    return table


def _index(table: Table, *columns: str) -> None:
    Index(f"{table.name}_by_{columns[0]}", *(table.c[column] for column in columns))


def _index_verdicts(recoveries: Table) -> None:
    """The index of what is known of recoveries, by when it was told."""
    where = text("verdict_seq IS NOT NULL")
    columns = (recoveries.c.source, recoveries.c.verdict_seq)
    Index(f"{recoveries.name}_verdict", *columns, sqlite_where=where, postgresql_where=where)


def _losses(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}losses",
        metadata,
        Column("source", Integer, primary_key=True, autoincrement=False),
        *(
            Column(name, _type_of(name), primary_key=name in ("kind", "reason"), autoincrement=False, nullable=False)
            for name in LOSS_COLUMNS
        ),
        sqlite_with_rowid=False,
    )


def _journal_positions(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}journal_positions",
        metadata,
        Column("source", Integer, primary_key=True, autoincrement=True),
        Column("journal_id", Text, nullable=False, unique=True),
        Column("position", BigInteger, nullable=False, server_default=text("0")),
        Column("rollup_position", BigInteger, nullable=False, server_default=text("0")),
        Column("settled", SmallInteger, nullable=False, server_default=text("0")),
        Column("host", Text, nullable=False),
        Column("pid", BigInteger, nullable=False),
        Column("machine_id", Text, nullable=False),
        Column("boot_id", Text, nullable=False),
        Column("started_at_ns", BigInteger, nullable=False),
    )


def _rollups(metadata: MetaData, prefix: str) -> Table:
    """`cells` is what `rollup.encode_nodes` made. The source stands in the key, so no two writers meet in a row.

    Rows of days and weeks are of all sources together, under the number 0, and hold what `rollup.encode_total` made.
    """
    return Table(
        f"{prefix}rollups",
        metadata,
        Column("workflow_id", Text, primary_key=True),
        Column("level", Text, primary_key=True),
        Column("bucket_start_ns", BigInteger, primary_key=True, autoincrement=False),
        Column("source", Integer, primary_key=True, autoincrement=False),
        Column("cells", LargeBinary, nullable=False),
    )


def _archive_files(metadata: MetaData, prefix: str) -> Table:
    """Which files of the archive hold rows that stood here. Without `written_at_ns` a file is being written, or its
    writer died: nobody reads it."""
    return Table(
        f"{prefix}archive_files",
        metadata,
        Column("path", Text, primary_key=True),
        Column("table_name", Text, nullable=False),
        Column("day", Text, nullable=False),
        Column("rows", BigInteger, nullable=False, server_default=text("0")),
        Column("first_started_at_ns", BigInteger, nullable=False, server_default=text("0")),
        Column("last_started_at_ns", BigInteger, nullable=False, server_default=text("0")),
        Column("sha256", Text, nullable=False, server_default=text("''")),
        Column("bytes", BigInteger, nullable=False, server_default=text("0")),
        Column("written_at_ns", BigInteger),
    )
