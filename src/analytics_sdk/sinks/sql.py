"""The SQL sink: SQLite, PostgreSQL and ClickHouse, by URL or by an engine that the user made."""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, make_url, select, update
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from analytics_sdk.errors import AnalyticsError, Fenced, SettingError
from analytics_sdk.rollup import Cells
from analytics_sdk.sinks import clickhouse, clickhouse_schema, describe, migrations, postgres, sqlite
from analytics_sdk.sinks.base import (
    EXECUTION_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    Batch,
    JournalIdentity,
    Positions,
)
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.keeping import add_cells, insert_into, judge, keep_losses, keep_verdicts
from analytics_sdk.sinks.rows import Columns, add_last_seq, as_dicts, columns_of, without_empty
from analytics_sdk.sinks.schema import DEFAULT_SCHEMA, Tables, tables

_BULK: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgres, clickhouse_schema.DIALECT: clickhouse}
_open_sinks: "weakref.WeakSet[SqlSink]" = weakref.WeakSet()
_inherited: list[object] = []


class SqlSink:
    """Keeps batches and rollups in a SQL database. Used by one thread at a time, which may change.

    `engine` may be read from by others. An engine that was given is never disposed of; one of our own has no pool, and
    the sink keeps one connection of it while it is open.
    """

    def __new__(cls, target: str | URL | Engine, **_settings: object) -> "SqlSink":
        """A `ClickHouseSink` where the target is of that kind: it keeps the same promises in another way."""
        if cls is SqlSink and _is_clickhouse(target):
            from analytics_sdk.sinks.clickhouse_sink import ClickHouseSink  # here, because it is made from this class

            return super().__new__(ClickHouseSink)
        return super().__new__(cls)

    def __init__(
        self, target: str | URL | Engine, *, schema: str | None = None, table_prefix: str | None = None
    ) -> None:
        """Does not connect.

        Raises:
            SettingError: no database URL, a database that we do not write, a driver that is not installed, a bad name.
        """
        self._owns_engine = not isinstance(target, Engine)
        self.engine: Engine = target if isinstance(target, Engine) else _make_engine(target)
        dialect = self.engine.dialect.name
        if dialect not in _BULK:
            raise SettingError(f"{dialect} is not a database that analytics-sdk writes; it writes {', '.join(_BULK)}")
        if not self._owns_engine and dialect == "sqlite":
            sqlite.refuse_unshared(self.engine)
        if schema is None and dialect != "sqlite":
            schema = DEFAULT_SCHEMA
        is_clickhouse = dialect == clickhouse_schema.DIALECT
        make_tables = clickhouse_schema.clickhouse_tables if is_clickhouse else tables
        self.tables: Tables = make_tables(schema, table_prefix)
        self._bulk = _BULK[dialect]
        self._connection: Connection | None = None
        self._anchor: Connection | None = None
        self._sources: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"SqlSink({describe(self.engine)!r})"

    def open(self) -> None:
        """Connect and check the tables. A SQLite file of our own is made, and taken to today's version.

        Raises:
            SinkUnavailable: try again later.
            SinkMisconfigured: the message says what to do; on a server, first of all `analytics-sdk db upgrade`.
        """
        self._create_file()
        with self._connected() as connection:
            if not self._may_upgrade(migrations.look(connection, self.tables)):
                migrations.check(connection, self.tables)
                return
        self.upgrade()

    def _may_upgrade(self, standing: migrations.Standing) -> bool:
        if self.engine.dialect.name != "sqlite" or standing.foreign:
            return False
        return standing.is_empty or (self._owns_engine and migrations.is_old(standing))

    def upgrade(self) -> list[int]:
        """Make the tables or take them to today's version; the versions that this brought. May run in many processes.

        Raises:
            SinkUnavailable, SinkMisconfigured: nothing was changed.
        """
        self._create_file()
        return migrations.upgrade(self.engine, self.tables)

    def close(self) -> None:
        """Give back the connection of an engine of our own."""
        for connection in (self._connection, self._anchor):
            if connection is not None:
                with suppress(Exception):  # because a connection that is broken need not be closed
                    connection.close()
        self._connection = self._anchor = None
        self._sources.clear()
        _open_sinks.discard(self)

    def position(self, journal: JournalIdentity) -> Positions:
        """See `Sink.position`."""
        known = self.tables.journal_positions.c
        asked = select(known.source, known.position, known.rollup_position, known.settled).where(
            known.journal_id == journal.journal_id
        )
        with self.transaction() as connection:
            row = connection.execute(asked).one_or_none()
            if row is None:
                new = insert_into(connection, self.tables.journal_positions).on_conflict_do_nothing()
                names = journal.__struct_fields__
                values = columns_of(names, [tuple(getattr(journal, name) for name in names)])
                connection.execute(new, as_dicts(values))
                row = connection.execute(asked).one()
        self._sources[journal.journal_id] = row.source
        return Positions(row.position, row.rollup_position, bool(row.settled))

    def write(self, batch: Batch) -> None:
        """See `Sink.write`. A batch that settles asks that the rollups have come as far as the rows."""
        source = self.source_of(batch.journal)
        with self.transaction() as connection:
            self._move(connection, source, batch)
            self._keep_rows(connection, source, batch)
            keep_verdicts(connection, self.tables, source, batch.late_verdicts)
            keep_losses(connection, self.tables, source, batch.losses)
            if batch.settle_as is not None:
                judge(connection, self.tables, source, batch.settle_as)

    def fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        """See `RollupSink.fold`. The rollups never get ahead of the rows."""
        source = self.source_of(journal)
        table = self.tables.journal_positions
        moved = update(table).where(
            table.c.source == source,
            table.c.journal_id == journal.journal_id,
            table.c.rollup_position == old_position,
            table.c.position >= new_position,
            table.c.settled == 0,
        )
        with self.transaction() as connection:
            if connection.execute(moved.values(rollup_position=new_position)).rowcount != 1:
                raise Fenced(f"journal {journal.journal_id}: the rollups are not at {old_position}")
            add_cells(connection, self.tables, source, cells)

    def source_of(self, journal: JournalIdentity) -> int:
        """The number by which rows of a journal are keyed here; given out when it is first asked for."""
        if journal.journal_id not in self._sources:
            self.position(journal)
        return self._sources[journal.journal_id]

    def _move(self, connection: Connection, source: int, batch: Batch) -> None:
        """Move the position, first of all: whoever comes second waits here, finds it moved, and writes nothing."""
        table = self.tables.journal_positions
        moved = update(table).where(
            table.c.source == source,
            table.c.journal_id == batch.journal.journal_id,
            table.c.position == batch.old_position,
            table.c.settled == 0,
        )
        values = {"position": batch.new_position}
        if batch.settle_as is not None:
            moved = moved.where(table.c.rollup_position == batch.new_position)
            values["settled"] = 1
        if connection.execute(moved.values(**values)).rowcount != 1:
            raise Fenced(f"journal {batch.journal.journal_id}: the sink is not at {batch.old_position}")

    def _keep_rows(self, connection: Connection, source: int, batch: Batch) -> None:
        t, host, pid = self.tables, batch.journal.host, batch.journal.pid
        placed = {"source": source, "host": host, "pid": pid}
        for table, names, rows, same in (
            (t.executions, EXECUTION_COLUMNS, batch.new_executions, placed),
            (t.steps, STEP_COLUMNS, batch.new_steps, {"source": source}),
            (t.recoveries, RECOVERY_COLUMNS, batch.recoveries, {"source": source}),
            (t.resource_samples, SAMPLE_COLUMNS, batch.samples, placed),
        ):
            if rows:
                self.insert(connection, table, without_empty(columns_of(names, rows, **same)))
        for table, names, rows, same in (
            (t.executions, EXECUTION_COLUMNS, batch.late_executions, placed),
            (t.steps, STEP_COLUMNS, batch.late_steps, {"source": source}),
        ):
            if rows:
                columns = columns_of(names, rows, **same)
                add_last_seq(columns)
                self._bulk.upsert(connection, table, columns)

    def insert(self, connection: Connection, table: Table, columns: Columns) -> None:
        """Add rows in the fastest way that the database has."""
        self._bulk.insert(connection, table, columns)

    # ---------------------------------------------------------------- connections

    def _create_file(self) -> None:
        if self._owns_engine and self.engine.dialect.name == "sqlite":
            file = sqlite.file_of(self.engine.url)
            if file is not None:
                sqlite.create_file(file)
            elif self._anchor is None and sqlite.is_memory(self.engine.url):
                self._anchor = self.engine.connect()  # because a database in memory goes with its last connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection, with whatever the driver raises told in our words; rolled back unless it was committed."""
        connection: Connection | None = None
        try:
            connection = self._connect()
            yield connection
            connection.rollback()
        except BaseException as problem:
            self._drop(connection, broken=not isinstance(problem, AnalyticsError))
            if not isinstance(problem, Exception) or isinstance(problem, AnalyticsError):
                raise
            raise sink_error(problem, describe(self.engine), self.engine.url.password) from None
        if not self._owns_engine:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block."""
        with self._connected() as connection:
            if self.engine.dialect.name == "sqlite":
                sqlite.begin_immediate(connection)
            yield connection
            connection.commit()

    @contextmanager
    def driver(self) -> Iterator[Any]:
        """The driver's own connection in no transaction, for what may not run inside one."""
        with self._connected() as connection:
            yield connection.connection.dbapi_connection

    def _connect(self) -> Connection:
        if self._connection is not None:
            return self._connection
        connection = self.engine.connect()
        if self.engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")  # because a given engine may have another
        if self._owns_engine:
            self._connection = connection
            _open_sinks.add(self)
        return connection

    def _drop(self, connection: Connection | None, broken: bool) -> None:
        """Undo what was not committed, and do not use a connection again of which nobody knows how it is."""
        if connection is None:
            return
        with suppress(Exception):  # because what is told is why it failed, not that the rest failed too
            connection.rollback()
        if self._owns_engine:
            if broken:
                self._connection = None
            else:
                return
        elif broken and self.engine.dialect.name != "sqlite":
            with suppress(Exception):  # as above
                connection.invalidate()
        with suppress(Exception):  # as above
            connection.close()

    def _leave_to_parent(self) -> None:
        """In a forked child: let go of connections without closing them, because the parent uses them."""
        _inherited.append((self._connection, self._anchor, self.engine))
        self._connection = self._anchor = None
        self._sources = {}


def _is_clickhouse(target: str | URL | Engine) -> bool:
    if isinstance(target, Engine):
        return target.dialect.name == clickhouse_schema.DIALECT
    scheme = target.drivername if isinstance(target, URL) else target.partition("://")[0]
    return scheme.partition("+")[0] == clickhouse_schema.DIALECT


def _make_engine(target: str | URL) -> Engine:
    try:
        url = make_url(target)
        if url.get_backend_name() == "sqlite":
            return sqlite.make_engine(sqlite.make_absolute(url))
        if url.get_backend_name() in ("postgresql", "postgres"):
            return postgres.make_engine(url)
        if url.get_backend_name() == clickhouse_schema.DIALECT:
            return clickhouse.make_engine(url)
        name = url.get_backend_name()
    except NoSuchModuleError:
        raise SettingError(f"{describe(str(target))}: there is no such database driver") from None
    except ModuleNotFoundError as problem:
        raise SettingError(f"{describe(str(target))}: the driver {problem.name} is not installed") from None
    except (ArgumentError, ValueError, TypeError):  # because their messages may show the password
        raise SettingError(f"{describe(str(target))} is not a database URL that can be read") from None
    raise SettingError(f"{name} is not a database that analytics-sdk writes; it writes {', '.join(_BULK)}")


def _forget_in_child() -> None:
    for sink in list(_open_sinks):
        sink._leave_to_parent()
    _open_sinks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
