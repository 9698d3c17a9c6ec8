"""The archive under fault: whatever dies when, a row stands in the store or in a file, never in both or in neither."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from analytics_sdk.archive import archiver
from analytics_sdk.archive.archiver import BUSY, OUT_OF_TIME, STAYING, Archiver
from analytics_sdk.archive.lock import try_lock
from analytics_sdk.archive.verifying import verify
from analytics_sdk.errors import ArchiveError, SinkMisconfigured
from analytics_sdk.events import ExecutionEnd, ExecutionStart, StepEnd, StepStart
from analytics_sdk.query import Query
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.manifest import find_files, find_unfinished
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED, RECOVERED, SUCCESS, Kind

if not os.environ.get("CI"):
    for name in ("pyarrow", "duckdb"):
        pytest.importorskip(name, reason=f"{name} is not installed")

DAY_NS = 24 * HOUR_NS
T0_NS = 20_600 * DAY_NS
"""A midnight in UTC."""
NOW_NS = T0_NS + 10 * DAY_NS
JOURNAL = JournalIdentity("0a" * 16, "host", 1, T0_NS)
EXECUTIONS_A_DAY, STEPS = 20, 5


def record(sink: SqlSink, journal: JournalIdentity, days: range, *, settle: bool, fold_it: bool = True) -> None:
    """Some executions a day, spread over its hours, each with its steps."""
    decoded: list[tuple[int, Kind, Any]] = []
    position = 64
    for day in days:
        for number in range(EXECUTIONS_A_DAY):
            at_ns = T0_NS + day * DAY_NS + number * HOUR_NS
            execution_id = f"{journal.journal_id[:4]}-{day}-{number}"
            decoded.append((position, Kind.EXECUTION_START, ExecutionStart(execution_id, "w", at_ns, STEPS)))
            started, position = position, position + 50
            for step_no in range(1, STEPS + 1):
                begun = at_ns + step_no * 10**9
                decoded.append((position, Kind.STEP_START, StepStart(execution_id, "w", step_no, "n", "click", begun)))
                end = StepEnd(position, execution_id, "w", step_no, "n", "click", begun, SUCCESS, 10**6 * step_no)
                decoded.append((position + 50, Kind.STEP_END, end))
                position += 100
            duration_ns = (STEPS + 1) * 10**9 + number
            end_event = ExecutionEnd(started, execution_id, "w", at_ns, SUCCESS, duration_ns, STEPS, 0, 0, STEPS)
            decoded.append((position, Kind.EXECUTION_END, end_event))
            position += 50
    old = sink.position(journal).rows
    sink.write(merge(journal, decoded, old, position))
    cells: Cells = {}
    fold(cells, decoded)
    if fold_it:
        sink.fold(journal, cells, old, position)
    if settle:
        sink.write(Batch(journal, position, position, settle_as="cancelled"))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Because nobody waits for these stores."""
    monkeypatch.setattr(archiver, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SqlSink]:
    """A store with three days of a program that has ended."""
    made = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    made.open()
    record(made, JOURNAL, range(3), settle=True)
    yield made
    made.close()


def answers(sink: SqlSink, folder: Path | None = None) -> list[Any]:
    """What users may ask about these days, with edges inside them."""
    query = Query(sink, folder)
    start_ns, end_ns = T0_NS + HOUR_NS // 2, T0_NS + 3 * DAY_NS - HOUR_NS // 2
    return [
        str(query.stats("w", start_ns=start_ns, end_ns=end_ns, now_ns=NOW_NS)),
        str(query.stats("w", start_ns=start_ns, end_ns=end_ns, exact=True, now_ns=NOW_NS)),
        query.executions(None, start_ns, end_ns),
        query.executions(None, start_ns, end_ns, limit=7),
        query.series(None, start_ns, end_ns, HOUR_NS // 2),
        query.slowest(None, start_ns, end_ns),
        query.timeline("0a0a-1-3"),
        query.first_started_at_ns(None),
        query.first_started_at_ns("w"),
        query.workflow_ids(),
    ]


def count(sink: SqlSink) -> dict[str, int]:
    """Rows in the tables."""
    found = {}
    with sink.engine.connect() as connection:
        for name in ("executions", "steps"):
            found[name] = connection.execute(select(func.count()).select_from(getattr(sink.tables, name))).scalar_one()
    return found


def files_of(sink: SqlSink) -> list[Any]:
    with sink.engine.connect() as connection:
        return find_files(connection, sink.tables)


def on_disk(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet*")}


def test_a_run_moves_what_is_old_and_answers_stay(sink: SqlSink, tmp_path: Path) -> None:
    before = answers(sink)
    done = Archiver(sink, tmp_path / "archive").run(T0_NS + 2 * DAY_NS)
    assert done.rows == {"steps": 2 * EXECUTIONS_A_DAY * STEPS, "executions": 2 * EXECUTIONS_A_DAY}
    assert (done.left, done.reasons, done.is_complete) == ({}, [], True)
    assert count(sink) == {"executions": EXECUTIONS_A_DAY, "steps": EXECUTIONS_A_DAY * STEPS}
    assert answers(sink) == before
    assert verify(sink, tmp_path / "archive") == (done.files, [])


def test_files_stand_by_table_and_day_and_are_private(sink: SqlSink, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Archiver(sink, tmp_path / "archive").run(NOW_NS)
    finally:
        os.umask(old)
    folder = tmp_path / "archive"
    assert {path.rpartition("/")[0] for path in on_disk(folder)} == {
        f"{table}/day={day}" for table in ("executions", "steps") for day in ("2026-05-27", "2026-05-28", "2026-05-29")
    }
    assert on_disk(folder) == {file.path for file in files_of(sink)}
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_dry_run_says_what_would_go_and_writes_nothing(sink: SqlSink, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    would = Archiver(sink, tmp_path / "archive").run(T0_NS + 2 * DAY_NS, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    done = Archiver(sink, tmp_path / "archive").run(T0_NS + 2 * DAY_NS)
    assert (would.rows, would.left, would.files) == (done.rows, done.left, 0)


DIE_AT = {
    "announce": ("archiver.announce = after(archiver.announce)", 1),
    "announced": ("archiver.to_arrow = before(archiver.to_arrow)", 4),
    "half_a_file": ("import pyarrow.parquet as p; p.write_table = after(p.write_table)", 2),
    "before_rename": ("os.rename = before(os.rename)", 1),
    "after_rename": ("os.rename = after(os.rename)", 5),
    "before_swap": ("archiver.confirm = before(archiver.confirm)", 2),
    "believed": ("archiver.confirm = after(archiver.confirm)", 4),
    "deleted": ("archiver.delete = after(archiver.delete)", 3),
    "before_commit": ("from sqlalchemy import event; from sqlalchemy.engine import Engine; arm(Engine)", 7),
    "after_commit": ("archiver._add = before(archiver._add)", 3),
    "giving_back": ("archiver.give_back = before(archiver.give_back)", 1),
}
"""Where a child kills itself, and the how many-th time that it comes by."""
CHILD = """
import os, signal, sys
from pathlib import Path
from analytics_sdk.archive import archiver
from analytics_sdk.sinks.sql import SqlSink
left = [int(sys.argv[3])]
def die(): os.kill(os.getpid(), signal.SIGKILL)
def over():
    left[0] -= 1
    return left[0] == 0
def before(real): return lambda *a, **k: die() if over() else real(*a, **k)
def after(real):
    def fatal(*a, **k):
        made = real(*a, **k)
        if over(): die()
        return made
    return fatal
def arm(engine): event.listen(engine, "commit", lambda _: over() and die())
archiver.PAUSE_SECONDS = 0
{point}
sink = SqlSink(f"sqlite:///{{sys.argv[1]}}")
archiver.Archiver(sink, Path(sys.argv[2]), portion_rows=40).run(int(sys.argv[4]))
"""


@pytest.mark.parametrize("point", DIE_AT)
def test_kill_at_any_step_loses_nothing_and_the_next_run_goes_on(point: str, sink: SqlSink, tmp_path: Path) -> None:
    """Answers are right when it has died, and when the next has done the rest; no file is left that nobody names."""
    before, folder = answers(sink), tmp_path / "archive"
    armed, n = DIE_AT[point]
    code = CHILD.format(point=armed)
    arguments = [str(tmp_path / "analytics.db"), str(folder), str(n), str(NOW_NS)]
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert answers(sink) == before
    Archiver(sink, folder, portion_rows=40).run(NOW_NS)
    assert answers(sink) == before
    assert count(sink) == {"executions": 0, "steps": 0}
    assert on_disk(folder) == {file.path for file in files_of(sink)}
    assert sum(file.rows for file in files_of(sink)) == 3 * EXECUTIONS_A_DAY * (STEPS + 1)


def test_files_that_nobody_announced_are_left_alone(sink: SqlSink, tmp_path: Path) -> None:
    """Because another database may have its archive in the same folder."""
    folder = tmp_path / "archive"
    other = SqlSink(f"sqlite:///{tmp_path}/other.db")
    other.open()
    record(other, JournalIdentity("0b" * 16, "host", 2, T0_NS), range(1), settle=True)
    Archiver(other, folder).run(NOW_NS)
    theirs = on_disk(folder)
    done = Archiver(sink, folder).run(NOW_NS)
    assert done.removed == 0
    assert theirs <= on_disk(folder)
    assert verify(other, folder) == (len(theirs), [])
    other.close()


def test_late_rows_become_a_second_file_of_their_day(sink: SqlSink, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    Archiver(sink, folder).run(NOW_NS)
    record(sink, JournalIdentity("0c" * 16, "laptop", 3, T0_NS), range(1), settle=True)
    before = answers(sink)
    done = Archiver(sink, folder).run(NOW_NS)
    assert (done.files, done.left) == (2, {})
    assert [file.day for file in files_of(sink) if file.table_name == "steps"].count("2026-05-27") == 2
    assert answers(sink) == before
    assert len(Query(sink).executions(None, T0_NS, T0_NS + DAY_NS)) == 2 * EXECUTIONS_A_DAY


def test_what_runs_or_is_not_counted_stays_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """And goes once it has ended."""
    sink = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    sink.open()
    start = (64, Kind.EXECUTION_START, ExecutionStart("runs", "w", T0_NS, 2))
    ended = [
        (114, Kind.STEP_START, StepStart("runs", "w", 1, "n", "click", T0_NS + 1)),
        (164, Kind.STEP_END, StepEnd(114, "runs", "w", 1, "n", "click", T0_NS + 1, SUCCESS, 5)),
    ]
    sink.write(merge(JOURNAL, [start, *ended], 0, 214))
    folder = tmp_path / "archive"
    assert Archiver(sink, folder).run(NOW_NS).rows == {}
    cells: Cells = {}
    fold(cells, [start, *ended])
    sink.fold(JOURNAL, cells, 0, 214)
    done = Archiver(sink, folder).run(NOW_NS)
    assert (done.rows, done.left, done.reasons) == ({}, {"executions": 1, "steps": 1}, [STAYING])
    assert done.is_complete
    sink.write(Batch(JOURNAL, 214, 214, settle_as="crashed"))
    assert Query(sink).timeline("runs") is not None
    assert Query(sink).executions(None, T0_NS, NOW_NS)[0].steps_completed == 1  # counted from a step that stayed
    done = Archiver(sink, folder).run(NOW_NS)
    assert (done.rows, done.left) == ({"steps": 1, "executions": 1}, {})
    sink.close()


def test_a_step_that_is_healed_after_it_was_archived_counts_once(tmp_path: Path) -> None:
    """As recovered, though its two halves stand in two places; also when the next run comes by."""
    sink = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    sink.open()
    step = ("e", "w", 1, "n", "click", T0_NS + 1)
    first: list[tuple[int, Kind, Any]] = [
        (64, Kind.EXECUTION_START, ExecutionStart("e", "w", T0_NS, 1)),
        (114, Kind.STEP_START, StepStart(*step)),
        (164, Kind.STEP_END, StepEnd(114, *step, FAILED, 5)),
        (214, Kind.EXECUTION_END, ExecutionEnd(64, "e", "w", T0_NS, FAILED, 9, 0, 1, 0, 1)),
    ]
    heal = [(264, Kind.STEP_END, StepEnd(114, *step, RECOVERED, 5, revises=FAILED))]
    cells: Cells = {}
    fold(cells, first)
    sink.write(merge(JOURNAL, first, 0, 264))
    sink.fold(JOURNAL, cells, 0, 264)
    assert Archiver(sink, tmp_path / "archive").run(NOW_NS).rows == {"steps": 1, "executions": 1}
    sink.write(merge(JOURNAL, heal, 264, 314))
    for _ in range(2):
        stats: Any = Query(sink).stats("w", start_ns=T0_NS, end_ns=T0_NS + 10, now_ns=NOW_NS)
        assert {word: n for word, n in stats["steps"][0]["status_counts"].items() if n} == {"recovered": 1}
        timeline = Query(sink).timeline("e")
        assert timeline is not None
        assert [row.status for row in timeline.steps] == ["recovered"]
        Archiver(sink, tmp_path / "archive").run(NOW_NS)
    sink.close()


@pytest.mark.parametrize(("fault", "spoil"), [("missing", Path.unlink), ("damaged", lambda path: _flip(path))])
def test_a_file_that_is_gone_or_damaged_is_never_passed_over_in_silence(
    fault: str, spoil: Callable[[Path], None], sink: SqlSink, tmp_path: Path
) -> None:
    """Statistics say what is missing, lists refuse, and what does not need the file is answered as ever."""
    folder = tmp_path / "archive"
    Archiver(sink, folder).run(NOW_NS)
    whole = str(Query(sink).stats("w", start_ns=T0_NS, end_ns=NOW_NS, now_ns=NOW_NS))
    for file in files_of(sink):
        if file.day == "2026-05-28":
            spoil(folder / file.path)
    query = Query(sink)
    edge = {"start_ns": T0_NS + DAY_NS + HOUR_NS // 2, "end_ns": NOW_NS, "now_ns": NOW_NS}
    stats: Any = query.stats("w", **edge)
    assert stats["data_complete"] is False
    assert {(loss["kind"], loss["reason"]) for loss in stats["losses"]} == {
        (table, f"archive file {fault}") for table in ("executions", "steps")
    }
    exact: Any = query.stats("w", start_ns=T0_NS, end_ns=NOW_NS, exact=True, now_ns=NOW_NS)
    assert (exact["data_complete"], exact["performance"]["relative_error"] > 0) == (False, True)
    for ask in (
        lambda: query.executions(None, T0_NS, NOW_NS),
        lambda: query.timeline("0a0a-1-3"),
        lambda: query.series(None, T0_NS + DAY_NS + 1, NOW_NS, DAY_NS),
    ):
        with pytest.raises(ArchiveError, match=fault):
            ask()
    assert str(query.stats("w", start_ns=T0_NS, end_ns=NOW_NS, now_ns=NOW_NS)) == whole
    assert len(query.executions(None, T0_NS, T0_NS + DAY_NS)) == EXECUTIONS_A_DAY
    n, faults = verify(sink, folder)
    assert (n, {one.fault for one in faults}, len(faults)) == (6, {fault}, 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_of_two_archivers_of_one_folder_one_stands_aside(sink: SqlSink, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    with try_lock(folder) as alone:
        assert alone
        done = Archiver(sink, folder).run(NOW_NS)
        assert (done.rows, done.reasons, done.is_complete) == ({}, [BUSY], False)
    assert Archiver(sink, folder).run(NOW_NS).is_complete


def test_two_archivers_that_do_not_know_of_each_other_do_no_harm(
    sink: SqlSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds its rows gone when it comes to delete them, and takes its file back."""
    before, folder = answers(sink), tmp_path / "archive"
    other, real = SqlSink(f"sqlite:///{tmp_path}/analytics.db"), archiver.write_file
    met: list[int] = []

    def meanwhile(*args: Any) -> Any:
        if not met:
            met.append(1)
            monkeypatch.setattr(archiver, "try_lock", lambda _: _always())
            Archiver(other, folder).run(NOW_NS)
        return real(*args)

    monkeypatch.setattr(archiver, "write_file", meanwhile)
    done = Archiver(sink, folder).run(NOW_NS)
    assert (done.rows, done.files) == ({}, 0)
    assert answers(sink) == before
    assert on_disk(folder) == {file.path for file in files_of(sink)}
    with sink.engine.connect() as connection:
        assert find_unfinished(connection, sink.tables) == []
    other.close()


class _always:
    """A lock that lets everybody in."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass


def test_a_run_beside_a_writer_loses_nothing(tmp_path: Path) -> None:
    """Which goes on delivering old and new rows meanwhile."""
    sink = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    sink.open()
    record(sink, JOURNAL, range(2), settle=True)
    journals = [JournalIdentity(f"{n:032x}", "host", n, T0_NS) for n in range(1, 21)]
    failed: list[BaseException] = []

    def write() -> None:
        writer = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
        try:
            for journal in journals:
                record(writer, journal, range(2), settle=True)
        except BaseException as problem:
            failed.append(problem)
        finally:
            writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    folder = tmp_path / "archive"
    while thread.is_alive():
        Archiver(sink, folder, portion_rows=100).run(NOW_NS)
    thread.join()
    assert not failed
    Archiver(sink, folder, portion_rows=100).run(NOW_NS)
    assert count(sink) == {"executions": 0, "steps": 0}
    assert len(Query(sink).executions(None, T0_NS, NOW_NS)) == 21 * 2 * EXECUTIONS_A_DAY
    assert sum(file.rows for file in files_of(sink)) == 21 * 2 * EXECUTIONS_A_DAY * (STEPS + 1)
    sink.close()


def test_a_run_that_is_out_of_time_is_gone_on_with(sink: SqlSink, tmp_path: Path) -> None:
    before, folder = answers(sink), tmp_path / "archive"
    done = Archiver(sink, folder, portion_rows=20).run(NOW_NS, max_seconds=0)
    assert (done.rows, done.reasons, done.is_complete) == ({}, [OUT_OF_TIME], False)
    turns: list[int] = []
    stopped = Archiver(sink, folder, portion_rows=20, should_stop=lambda: turns.append(1) or len(turns) > 3)
    assert 0 < sum(stopped.run(NOW_NS).rows.values()) < 100
    assert answers(sink) == before
    assert Archiver(sink, folder, portion_rows=20).run(NOW_NS).is_complete
    assert answers(sink) == before


def test_space_is_given_back_and_a_file_of_old_is_rewritten_when_asked(tmp_path: Path) -> None:
    """`auto_vacuum` is a matter of how a file was made; `--vacuum` makes it over."""
    from analytics_sdk.archive.space import vacuum

    sink = SqlSink(f"sqlite:///{tmp_path}/new.db")
    sink.open()
    for n in range(1, 30):
        record(sink, JournalIdentity(f"{n:032x}", "host", n, T0_NS), range(3), settle=True)
    big = _size(sink)
    done = Archiver(sink, tmp_path / "archive").run(NOW_NS)
    assert done.gives_back
    assert done.freed_bytes > big * 0.7
    assert _size(sink) < big * 0.3
    sink.close()

    import sqlite3

    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("CREATE TABLE theirs (a)")  # made by something that knows nothing of it
    old.commit()
    old.close()
    sink = SqlSink(f"sqlite:///{tmp_path}/old.db")
    sink.upgrade()
    for n in range(1, 30):
        record(sink, JournalIdentity(f"{n:032x}", "host", n, T0_NS), range(3), settle=True)
    big = _size(sink)
    done = Archiver(sink, tmp_path / "archive").run(NOW_NS)
    assert (done.gives_back, done.freed_bytes) == (False, 0)
    assert done.free_bytes > big * 0.7
    assert vacuum(sink).freed_bytes > big * 0.7
    assert _size(sink) < big * 0.3
    sink.close()


def _size(sink: SqlSink) -> int:
    with sink.driver() as driver:
        return int(driver.execute("PRAGMA page_count").fetchone()[0] * driver.execute("PRAGMA page_size").fetchone()[0])


def test_a_store_with_an_archive_is_not_copied(sink: SqlSink, tmp_path: Path) -> None:
    """Because its files know journals by the numbers of that store."""
    from analytics_sdk.copying import copy_store

    Archiver(sink, tmp_path / "archive").run(NOW_NS)
    target = make_sink(f"sqlite:///{tmp_path}/copy.db")
    assert isinstance(target, SqlSink)
    with pytest.raises(SinkMisconfigured, match="archive"):
        copy_store(sink, target)
    target.close()


def test_the_archive_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    """The same by another database, with portions that a transaction of its own deletes."""
    sink = SqlSink(postgres_url)
    sink.upgrade()
    sink.open()
    record(sink, JOURNAL, range(3), settle=True)
    before = answers(sink, tmp_path)
    done = Archiver(sink, tmp_path, portion_rows=40).run(T0_NS + 2 * DAY_NS)
    assert done.rows == {"steps": 2 * EXECUTIONS_A_DAY * STEPS, "executions": 2 * EXECUTIONS_A_DAY}
    assert answers(sink, tmp_path) == before
    sink.close()


def test_the_background_run_waits_its_time_and_stops_when_told(tmp_path: Path) -> None:
    """It is due when the process is a minute old; nothing is left of its thread when it was told to stop."""
    from analytics_sdk.archive import keeper
    from analytics_sdk.config import resolve

    sink = SqlSink(f"sqlite:///{tmp_path}/analytics.db")
    sink.open()
    record(sink, JOURNAL, range(3), settle=True)
    settings = resolve(
        {"sink": f"sqlite:///{tmp_path}/analytics.db", "retention_days": 1, "archive_dir": tmp_path / "a"}
    )
    one = keeper.Keeper(settings, threading.RLock())
    one.look()
    assert one.thread is None
    one.due = time.monotonic()
    one.look()
    thread = one.thread
    assert thread is not None
    thread.join(60)
    assert count(sink) == {"executions": 0, "steps": 0}
    one.due = time.monotonic()
    one.look()
    assert one.thread is None, "another process, or this one, ran within the hour"
    one.stop()
    sink.close()
