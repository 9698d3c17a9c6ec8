"""One portion of rows as a Parquet file: written under another name, synced, read back, compared, and only then named.

pyarrow is imported by the functions, because importing us must cost little.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Integer, SmallInteger, Table

from analytics_sdk.errors import ArchiveError
from analytics_sdk.journal.private import open_private
from analytics_sdk.query.archived import sha256_of
from analytics_sdk.sinks.manifest import ArchiveFile, is_ours

INSTALL = "run `pip install 'analytics-sdk[archive]'`"
ROWS_A_GROUP = 50_000
_COMPRESSION_LEVEL = 3


def require_pyarrow() -> None:
    """Raises:
    ArchiveError: pyarrow or duckdb is not installed.
    """
    from importlib.util import find_spec  # here, because only an archive asks for it

    missing = [name for name in ("pyarrow", "duckdb") if find_spec(name) is None]
    if missing:
        raise ArchiveError(f"the archive needs {' and '.join(missing)}, and that is not installed: {INSTALL}")


def to_arrow(table: Table, chunks: Iterable[Sequence[Sequence[Any]]], rest_seconds: float = 0.0) -> Any:
    """Rows of a table, given in chunks, as an Arrow table. After each chunk others have the interpreter for a rest."""
    import pyarrow

    schema = pyarrow.schema([(column.name, _arrow_type(column.type)) for column in table.columns])
    batches = []
    for rows in chunks:
        columns = zip(*rows, strict=True)
        arrays = [pyarrow.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
        batches.append(pyarrow.record_batch(arrays, schema=schema))
        if rest_seconds:
            time.sleep(rest_seconds)
    return pyarrow.Table.from_batches(batches, schema=schema)


def _arrow_type(kind: Any) -> Any:
    import pyarrow

    if isinstance(kind, BigInteger):
        return pyarrow.int64()
    if isinstance(kind, SmallInteger):
        return pyarrow.int16()
    if isinstance(kind, Integer):
        return pyarrow.int32()
    if isinstance(kind, Boolean):
        return pyarrow.bool_()
    return pyarrow.float64() if isinstance(kind, Double) else pyarrow.string()


def write_file(folder: Path, file: ArchiveFile, rows: Any) -> ArchiveFile:
    """Write an Arrow table to the file's place, and read it back; the file with its size and checksum.

    The file and its folder are synced before it is told of.

    Raises:
        ArchiveError: what was read back is not what was written.
        OSError: it cannot be written.
    """
    import pyarrow.parquet

    path = folder / file.path
    make_private_folder(folder, path.parent)
    unfinished = unfinished_path(path)
    descriptor = open_private(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as stream:
        pyarrow.parquet.write_table(
            rows, stream, compression="zstd", compression_level=_COMPRESSION_LEVEL, row_group_size=ROWS_A_GROUP
        )
        stream.flush()
        os.fsync(stream.fileno())
    with pyarrow.OSFile(str(unfinished)) as stream:
        kept = pyarrow.parquet.read_table(stream, use_threads=False)
    if not kept.equals(rows):
        raise ArchiveError(f"{path} does not give back what was written to it; look at the disk of the archive")
    written = file._replace(sha256=sha256_of(unfinished), bytes=unfinished.stat().st_size)
    os.rename(unfinished, path)
    sync_folder(path.parent)
    return written


def unfinished_path(path: Path) -> Path:
    """Where a file stands while it is being written."""
    return path.with_name(f".{path.name}.unfinished")


def remove_file(folder: Path, path: str) -> None:
    """Remove a file, finished or not, that nobody names any more. One that no archiver names so is left alone.

    Raises:
        OSError: it cannot be removed.
    """
    if not is_ours(path):
        return
    for one in (folder / path, unfinished_path(folder / path)):
        one.unlink(missing_ok=True)


def make_private_folder(root: Path, folder: Path) -> None:
    """Make a folder below the root, and the root, for this user only, so that they survive a crash.

    Raises:
        OSError: they cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if one.is_relative_to(root) and not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, parents=one == root, exist_ok=True)
        one.chmod(0o700)  # because the umask may have taken more than it should
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
