"""The table `archive_files`: which files of the archive hold rows that stood in this store.

A file is named here before it is written, and is believed once `written_at_ns` is set, in the transaction that deletes
its rows. So nobody counts a row twice or never, and what a dead archiver left behind is known by its name.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from analytics_sdk.sinks.schema import Tables

_OURS = re.compile(
    r"(executions|steps|recoveries|resource_samples)/day=-?\d{4,6}-\d\d-\d\d/part-[0-9a-f]{16}\.parquet", re.ASCII
)


def is_ours(path: str) -> bool:
    """Whether an archiver could have named a file so. Who may write to the database could name any other, which would
    be read or removed with the rights of whoever asks or archives."""
    return _OURS.fullmatch(path) is not None


class ArchiveFile(NamedTuple):
    """One file of the archive. Field names are columns; `path` is relative to the archive's folder."""

    path: str
    table_name: str
    day: str
    rows: int
    first_started_at_ns: int
    last_started_at_ns: int
    """Of samples these are the instants at which they were taken."""
    sha256: str
    bytes: int


def find_files(
    connection: Connection, tables: Tables, table_name: str | None = None, spans: Sequence[tuple[int, int]] = ()
) -> list[ArchiveFile]:
    """The files that are to be believed, oldest day first: of one table, and with rows in half-open spans, where these
    are given."""
    c = tables.archive_files.c
    asked = select(*(c[name] for name in ArchiveFile._fields)).where(c.written_at_ns.is_not(None))
    if table_name is not None:
        asked = asked.where(c.table_name == table_name)
    if spans:
        met = (and_(c.last_started_at_ns >= start_ns, c.first_started_at_ns < end_ns) for start_ns, end_ns in spans)
        asked = asked.where(or_(*met))
    return [ArchiveFile._make(row) for row in connection.execute(asked.order_by(c.day, c.path))]


def count_files(connection: Connection, tables: Tables) -> int:
    """How many files are to be believed."""
    c = tables.archive_files.c
    asked = select(func.count()).select_from(tables.archive_files).where(c.written_at_ns.is_not(None))
    return int(connection.execute(asked).scalar_one())


def find_unfinished(connection: Connection, tables: Tables) -> list[str]:
    """The paths of files that somebody began to write, and has not finished."""
    c = tables.archive_files.c
    return list(connection.execute(select(c.path).where(c.written_at_ns.is_(None))).scalars())


def announce(connection: Connection, tables: Tables, path: str, table_name: str, day: str) -> None:
    """Say that a file is about to be written."""
    connection.execute(tables.archive_files.insert().values(path=path, table_name=table_name, day=day))


def confirm(connection: Connection, tables: Tables, file: ArchiveFile, written_at_ns: int) -> bool:
    """Have a file believed; False where somebody has taken the announcement back."""
    c = tables.archive_files.c
    own = update(tables.archive_files).where(c.path == file.path, c.written_at_ns.is_(None))
    return connection.execute(own.values(**file._asdict(), written_at_ns=written_at_ns)).rowcount == 1


def take_back(connection: Connection, tables: Tables, path: str) -> bool:
    """Forget a file that was announced and not confirmed; False where it is believed, or not known."""
    c = tables.archive_files.c
    own = delete(tables.archive_files).where(c.path == path, c.written_at_ns.is_(None))
    return connection.execute(own).rowcount == 1


def is_believed(connection: Connection, tables: Tables, path: str) -> bool:
    """Whether readers trust a file."""
    c = tables.archive_files.c
    asked = select(c.path).where(c.path == path, c.written_at_ns.is_not(None))
    return connection.execute(asked).first() is not None
