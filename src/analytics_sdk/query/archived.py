"""Rows in the archive, read by DuckDB out of exactly those files that the manifest names, and that are what it says.

Every file is compared with its checksum before it is believed; one that is missing or damaged is left out and noted.
DuckDB is imported with the first file that has to be read.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from analytics_sdk.errors import ArchiveError
from analytics_sdk.query.reader import Workflows
from analytics_sdk.query.window import Span
from analytics_sdk.sinks.manifest import ArchiveFile, is_ours

FindFiles = Callable[[str, Sequence[Span]], list[ArchiveFile]]
"""(table, spans) -> the files with rows in them; without spans, all files of the table."""

_ROWS_A_FETCH = 5_000
_FILES_KNOWN = 16_384


def fault_of(folder: Path, file: ArchiveFile) -> str | None:
    """What is wrong with a file, as one word: "missing", "damaged"; None where it is what the manifest says."""
    path = folder / file.path
    try:
        if not is_ours(file.path):
            return "damaged"
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.bytes:
            return "damaged"  # a link or a pipe too, because nobody may have us read another file, or wait for one
        return None if _sha256_of(str(path), found.st_mtime_ns, found.st_ino) == file.sha256 else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "damaged"


@lru_cache(maxsize=_FILES_KNOWN)
def _sha256_of(path: str, _mtime_ns: int, _inode: int) -> str:
    return sha256_of(path)


def sha256_of(path: str | Path) -> str:
    """The checksum of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArchivedRows:
    """What a snapshot sees of the archive. Used by one thread at a time; `close` when the snapshot ends."""

    def __init__(self, folder: Path, find: FindFiles) -> None:
        self._folder = folder
        self._find = find
        self._duck: Any = None
        self.unread: dict[str, tuple[ArchiveFile, str]] = {}
        """Files that an answer needed and that could not be read, by their path, each with what is wrong with it."""

    def close(self) -> None:
        """Give back what DuckDB holds."""
        duck, self._duck = self._duck, None
        if duck is not None:
            duck.close()

    def files(self, table: str, spans: Sequence[Span] = ()) -> list[ArchiveFile]:
        """The files with rows of a table in some spans; all of them without."""
        return self._find(table, spans)

    def read(
        self,
        table: str,
        columns: Iterable[str],
        conditions: Sequence["Condition"] = (),
        *,
        spans: Sequence[Span] = (),
        ending: str = "",
    ) -> Iterator[tuple[Any, ...]]:
        """The columns of those rows that meet all conditions. `spans` choose the files only. `ending` is what stands
        behind the conditions in SQL: an order, a limit.

        Raises:
            ArchiveError: DuckDB is not installed, or it cannot read a file.
        """
        paths = []
        for file in self.files(table, spans):
            fault = fault_of(self._folder, file)
            if fault is None:
                paths.append(str(self._folder / file.path))
            else:
                self.unread[file.path] = (file, fault)
        if not paths:
            return
        where = " AND ".join(f"({text})" for text, _ in conditions) or "true"
        names = ", ".join(columns)
        values = [paths, *(value for _, some in conditions for value in some)]
        cursor = self._connected().execute(
            f"SELECT {names} FROM read_parquet(?, hive_partitioning = false) WHERE {where} {ending}",
            values,
        )
        while rows := cursor.fetchmany(_ROWS_A_FETCH):
            yield from rows

    def _connected(self) -> Any:
        if self._duck is None:
            try:
                import duckdb  # here, because only what has been archived needs it
            except ImportError:
                raise ArchiveError(
                    "these rows are archived, and duckdb, which reads them, is not installed: "
                    "run `pip install 'analytics-sdk[archive]'`"
                ) from None
            # Because nothing may be fetched from the network; Parquet is built in.
            options: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
            self._duck = duckdb.connect(":memory:", config=options)
        return self._duck.cursor()


Condition = tuple[str, Sequence[Any]]
"""A condition in SQL, whose names are columns of ours, and the values of its question marks."""


def in_spans(column: str, spans: Sequence[Span]) -> Condition:
    """As `sql_rows.within`."""
    text = " OR ".join([f"{column} >= ? AND {column} < ?"] * len(spans))
    return text, [edge for span in spans for edge in span]


def of_workflows(workflows: Workflows) -> list[Condition]:
    """As `sql_rows.of`."""
    if workflows is None:
        return []
    text = "workflow_id IN (SELECT unnest(?::VARCHAR[]))"
    return [(f"{text} OR workflow_id IS NULL" if "" in workflows else text, [list(workflows)])]


def one_of(column: str, values: Iterable[Any]) -> Condition:
    """That a column has one of some values, of which there is at least one."""
    return f"{column} IN (SELECT unnest(?))", [list(values)]
