"""Whether every file of the archive is there and is what the manifest says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analytics_sdk.query.archived import fault_of
from analytics_sdk.query.sql_reader import SqlReader
from analytics_sdk.sinks.manifest import find_files
from analytics_sdk.sinks.sql import SqlSink


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that cannot be believed."""

    path: str
    fault: str
    """"missing" or "damaged"."""
    rows: int
    """So many rows cannot be read."""


def verify(
    sink: SqlSink, folder: Path, on_progress: Callable[[int, int], None] = lambda n, total: None
) -> tuple[int, list[Fault]]:
    """Read every file of a store's manifest; how many there are, and which are missing or damaged.

    Raises:
        SinkUnavailable, SinkMisconfigured: the manifest cannot be read.
    """
    with SqlReader(sink.engine, sink.tables).reading() as connection:
        files = find_files(connection, sink.tables)
    faults = []
    for n, file in enumerate(files, 1):
        fault = fault_of(folder, file)
        if fault is not None:
            faults.append(Fault(file.path, fault, file.rows))
        on_progress(n, len(files))
    return len(files), faults
