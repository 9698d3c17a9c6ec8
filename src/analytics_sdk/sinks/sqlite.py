"""SQLite: engines of our own, transactions that begin as writers, and bulk inserts.

A statement is run once for many rows, because the driver gives up and regains the interpreter's lock for each run of
it: beside a busy host that is the difference between hundreds and tens of thousands of rows a second.
"""

import os
import sqlite3
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.pool import NullPool, SingletonThreadPool

from analytics_sdk.errors import SettingError, SinkMisconfigured
from analytics_sdk.pace import ITEMS_A_LOOK, breathe, is_short, rested
from analytics_sdk.sinks.rows import Columns

BUSY_TIMEOUT_SECONDS = 5.0
MAX_ROWS_A_STATEMENT = 1024
INCREMENTAL = 2
MAX_VARIABLES = 32_766
"""SQLite's own limit since 3.32; a build may have another, which is asked for."""


def is_memory(url: URL) -> bool:
    """Whether a SQLite URL names a database in memory."""
    return url.database in (None, "", ":memory:")


def file_of(url: URL) -> str | None:
    """The file of a SQLite URL; None for memory, and for a `file:` URI, which SQLite reads by itself."""
    if is_memory(url) or str(url.database).startswith("file:"):
        return None
    return str(url.database)


def make_absolute(url: URL) -> URL:
    """The URL with its file's whole path, because the working folder may change before the file is opened."""
    file = file_of(url)
    return url if file is None else url.set(database=os.path.abspath(file))


def make_engine(url: URL) -> Engine:
    """An engine of our own, without a pool: every connection is whoever's asked for it, and may change threads.

    Engines for a database in memory share one database in each process; it lives as long as a connection to it.
    """
    if is_memory(url):
        engine = create_engine("sqlite://", creator=_connect_memory, poolclass=NullPool, hide_parameters=True)
    else:
        arguments = {"timeout": BUSY_TIMEOUT_SECONDS, "isolation_level": None, "check_same_thread": False}
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _connect_memory() -> sqlite3.Connection:
    # Because a plain :memory: database belongs to one connection, and those who read have another.
    kind = "vfs=memdb" if sqlite3.sqlite_version_info >= (3, 36) else "mode=memory&cache=shared"
    return sqlite3.connect(
        f"file:/analytics-sdk-{os.getpid()}?{kind}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _set_up(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    try:
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")  # now, because it is a matter of how a file is made
        with suppress(sqlite3.OperationalError):  # because another process may be changing the mode at this moment
            cursor.execute("PRAGMA journal_mode = WAL")  # where a file system cannot, SQLite stays with what it has
        cursor.execute("PRAGMA synchronous = FULL")  # because a journal goes once its rows are committed
        cursor.execute("PRAGMA journal_size_limit = 67108864")
    finally:
        cursor.close()


def begin_immediate(connection: Connection) -> None:
    """Begin as a writer, unless a transaction is open: one that becomes a writer later fails instead of waiting."""
    if not connection.in_transaction():
        connection.begin()
    _begin(connection)


def _begin(connection: Connection) -> None:
    raw: Any = connection.connection.dbapi_connection
    if not raw.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def create_file(path: str) -> None:
    """Make the file of a new database, readable for its owner only.

    Raises:
        SinkMisconfigured: there is no such folder, or it cannot be written.
    """
    if os.path.exists(path):
        if os.path.isdir(path):
            raise SinkMisconfigured(f"{path} is a folder; name a file for the database")
        if not os.path.isfile(path):
            raise SinkMisconfigured(f"{path} is a pipe or a device; name a file for the database")
        return
    if os.path.islink(path):  # because SQLite would make what it points to, readable for everybody
        raise SinkMisconfigured(f"{path} is a link to nothing; remove it, or make the file that it points to")
    try:
        # Closed before anything connects, because closing it later would drop the locks of this process.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)  # because the umask may have taken more than it should
        finally:
            os.close(fd)
    except FileExistsError:
        pass
    except (FileNotFoundError, NotADirectoryError):
        raise SinkMisconfigured(f"the folder {os.path.dirname(path)} does not exist; make it, or set sink") from None
    except OSError as problem:
        raise SinkMisconfigured(f"{path} cannot be made: {problem.strerror}; allow it, or set sink") from None


class Pages(NamedTuple):
    """What a file consists of."""

    total: int
    free: int
    size: int
    """Of one page, in bytes."""
    mode: int
    """INCREMENTAL where free pages can be given back."""


def pages_of(driver: sqlite3.Connection) -> Pages:
    """The pages of a file."""
    names = ("page_count", "freelist_count", "page_size", "auto_vacuum")
    return Pages(*(int(driver.execute(f"PRAGMA {name}").fetchone()[0]) for name in names))


def give_back_pages(driver: sqlite3.Connection, n: int) -> None:
    """Cut free pages off a file, at most so many. The connection must be in no transaction."""
    driver.executescript(f"PRAGMA incremental_vacuum({int(n)})")  # because the driver's `execute` takes one step only


def refuse_unshared(engine: Engine) -> None:
    """Raises:
    SettingError: a given engine shows each thread a database of its own.
    """
    if isinstance(engine.pool, SingletonThreadPool):
        raise SettingError(
            "this engine's in-memory database differs from thread to thread; give the URL sqlite://, "
            "or create the engine with poolclass=StaticPool and connect_args={'check_same_thread': False}"
        )


def insert(connection: Connection, table: Table, columns: Columns) -> None:
    """Add rows."""
    _run(connection, table, columns, "")


def upsert(connection: Connection, table: Table, columns: Columns) -> None:
    """Add rows, or replace those of the same (source, seq); an unknown `end_seq` keeps the stored one."""
    _run(connection, table, columns, _replacing(table.name, tuple(columns)))


def _run(connection: Connection, table: Table, columns: Columns, ending: str) -> None:
    left = len(next(iter(columns.values()), ()))
    if not left:
        return
    rows = zip(*columns.values(), strict=True)
    most = _most_rows(connection, len(columns))
    if is_short():
        most = min(most, ITEMS_A_LOOK)  # because binding so many values keeps the host's threads waiting
    while left:
        breathe()
        n = min(left, most)
        left -= n
        room = 1 << (n - 1).bit_length()
        parameters = (*chain.from_iterable(islice(rows, n)), *repeat(0, (room - n) * len(columns)), n)
        connection.exec_driver_sql(_statement(table.name, tuple(columns), room, ending), parameters)
        rested()


def _most_rows(connection: Connection, n_columns: int) -> int:
    """The largest power of two of rows that one statement may hold."""
    raw: Any = connection.connection.dbapi_connection
    limit = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) if hasattr(raw, "getlimit") else MAX_VARIABLES
    rows = min(MAX_ROWS_A_STATEMENT, (limit - 1) // n_columns)
    return int(1 << (max(1, rows).bit_length() - 1))


@lru_cache(maxsize=128)
def _statement(table: str, names: tuple[str, ...], room: int, ending: str) -> str:
    """A statement with room for so many rows, of which it takes as many as its last parameter says. Powers of two,
    because the driver then compiles a dozen of them and keeps them."""
    values = ",".join([f"({','.join('?' * len(names))})"] * room)
    return f'INSERT INTO "{table}" ({", ".join(names)}) SELECT * FROM (VALUES {values}) LIMIT ?{ending}'


@lru_cache(maxsize=16)
def _replacing(table: str, names: tuple[str, ...]) -> str:
    kept = f'end_seq = coalesce(excluded.end_seq, "{table}".end_seq)'
    others = [f"{name} = excluded.{name}" for name in names if name not in ("source", "seq", "end_seq")]
    return f" ON CONFLICT (source, seq) DO UPDATE SET {', '.join([kept, *others])}"
