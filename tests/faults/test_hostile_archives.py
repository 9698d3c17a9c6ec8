"""An archive that somebody tampered with: names that leave its folder, links, pipes, other content than was written."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from analytics_sdk.archive.archiver import Archiver
from analytics_sdk.archive.verifying import verify
from analytics_sdk.errors import ArchiveError
from analytics_sdk.events import ExecutionEnd, ExecutionStart
from analytics_sdk.query import Query
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.manifest import announce, find_files
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import SUCCESS, Kind

if not os.environ.get("CI"):
    for name in ("pyarrow", "duckdb"):
        pytest.importorskip(name, reason=f"{name} is not installed")

T0_NS = 20_600 * 24 * 3600 * 10**9
NOW_NS = T0_NS + 10 * 24 * 3600 * 10**9
JOURNAL = JournalIdentity("0a" * 16, "host", 1, T0_NS)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SqlSink]:
    """A store with one execution that has ended."""
    made = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    made.open()
    start = (64, Kind.EXECUTION_START, ExecutionStart("e", "w", T0_NS, 0))
    end = (114, Kind.EXECUTION_END, ExecutionEnd(64, "e", "w", T0_NS, SUCCESS, 9, 0, 0, 0, 0))
    made.write(merge(JOURNAL, [start, end], 0, 164))
    made.fold(JOURNAL, {}, 0, 164)
    made.write(Batch(JOURNAL, 164, 164, settle_as="cancelled"))
    yield made
    made.close()


def archived(sink: SqlSink, folder: Path) -> Path:
    """The one file of the archive, written now."""
    Archiver(sink, folder).run(NOW_NS)
    with sink.engine.connect() as connection:
        [file] = find_files(connection, sink.tables)
    assert [row.execution_id for row in Query(sink, folder).executions(None, T0_NS, NOW_NS)] == ["e"]
    return folder / file.path


def is_refused(sink: SqlSink, folder: Path) -> None:
    """Lists refuse, statistics say what is missing, and the check of the archive tells of it."""
    query = Query(sink, folder)
    with pytest.raises(ArchiveError, match="damaged"):
        query.executions(None, T0_NS, NOW_NS)
    stats: Any = query.stats("w", start_ns=T0_NS, end_ns=T0_NS + 60 * 10**9, now_ns=NOW_NS)
    assert not stats["data_complete"]
    n, faults = verify(sink, folder)
    assert (n, [fault.fault for fault in faults]) == (1, ["damaged"])


def test_a_name_in_the_manifest_that_leaves_the_folder_is_not_read(sink: SqlSink, tmp_path: Path) -> None:
    """Though the file is there, and has the content that the manifest promises."""
    folder = tmp_path / "archive"
    file = archived(sink, folder)
    elsewhere = tmp_path / "elsewhere.parquet"
    elsewhere.write_bytes(file.read_bytes())
    for path in (
        "../elsewhere.parquet",
        str(elsewhere),
        f"executions/../../{elsewhere.name}",
        "executions/*/*.parquet",
    ):
        with sink.transaction() as connection:
            connection.execute(update(sink.tables.archive_files).values(path=path))
        is_refused(sink, folder)


@pytest.mark.parametrize("path", ["../precious", "executions/../../precious", "executions/day=2026-05-27/precious"])
def test_an_announced_name_that_no_archiver_gives_removes_nothing(sink: SqlSink, tmp_path: Path, path: str) -> None:
    """A run takes back what a dead one had announced, and removes its file: but no other than an archiver's."""
    folder = tmp_path / "archive"
    archived(sink, folder)
    precious = folder / path
    precious.write_text("kept")
    with sink.transaction() as connection:
        announce(connection, sink.tables, path, "executions", "2026-05-27")
    Archiver(sink, folder).run(NOW_NS)
    assert precious.read_text() == "kept"


def test_a_link_in_the_place_of_a_file_is_not_followed(sink: SqlSink, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    file = archived(sink, folder)
    file.rename(tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    is_refused(sink, folder)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(sink: SqlSink, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    file = archived(sink, folder)
    file.unlink()
    os.mkfifo(file)
    with sink.transaction() as connection:
        connection.execute(update(sink.tables.archive_files).values(bytes=0))  # because a pipe has that size
    is_refused(sink, folder)


def test_another_content_of_the_same_length_is_refused(sink: SqlSink, tmp_path: Path) -> None:
    """Whoever may not write to the database cannot have his own rows believed."""
    folder = tmp_path / "archive"
    file = archived(sink, folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    assert hashlib.sha256(content).digest() != hashlib.sha256(file.read_bytes()).digest()
    file.write_bytes(content)
    is_refused(sink, folder)


def test_a_planted_file_that_the_manifest_does_not_name_is_not_read(sink: SqlSink, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    file = archived(sink, folder)
    file.with_name("part-0123456789abcdef.parquet").write_bytes(file.read_bytes())
    file.with_name("part-1123456789abcdef.parquet").write_bytes(b"PAR1 is what it begins with")
    assert [row.execution_id for row in Query(sink, folder).executions(None, T0_NS, NOW_NS)] == ["e"]
