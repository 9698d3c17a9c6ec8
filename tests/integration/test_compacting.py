"""Sums of days and weeks are those of their hours at every moment, whoever writes or dies meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from analytics_sdk.archive import compacting
from analytics_sdk.archive.compacting import Compactor
from analytics_sdk.copying import copy_store
from analytics_sdk.query import Query
from analytics_sdk.query.sql_reader import SqlReader, cell_row
from analytics_sdk.rollup import DAY_NS, HOUR_NS, WEEK_NS, WHOLE, Cell, Cells, cell_of, decode_nodes, week_of
from analytics_sdk.sinks import levels
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.levels import choose_rows
from analytics_sdk.sinks.schema import DAY, HOUR, WEEK
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import FakeClock
from analytics_sdk.vocabulary import FAILED, SUCCESS

T0_NS = week_of(490_000 * HOUR_NS)
NOW_NS = T0_NS + 5 * WEEK_NS
HOURS = 14 * 24


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlSink]:
    url = f"sqlite:///{tmp_path}/a.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    sink = again(url)
    yield sink
    sink.close()


def again(target: Any) -> SqlSink:
    """Another sink on a store: what another process has."""
    sink = SqlSink(target.engine.url if isinstance(target, SqlSink) else target)
    sink.upgrade()
    sink.open()
    return sink


def journal(number: int) -> JournalIdentity:
    return JournalIdentity(f"{number:032x}", "host", number, T0_NS)


def cells_at(*hours: int, n: int = 1) -> Cells:
    """`n` executions in each hour, of one step."""
    cells: Cells = {}
    for hour in hours:
        for node_id in (WHOLE, "click"):
            cell = cell_of(cells, "w", node_id, T0_NS + hour * HOUR_NS)
            cell.started += n
            for _ in range(n):
                cell.add_end(SUCCESS, 10**9 + hour, first_pass=True)
    return cells


def fold(sink: SqlSink, number: int, cells: Cells) -> None:
    known = sink.position(journal(number))
    sink.write(Batch(journal(number), known.rows, known.rows + 10))
    sink.fold(journal(number), cells, known.rollups, known.rows + 10)


def run(sink: SqlSink, now_ns: int = NOW_NS) -> compacting.Compacted:
    return Compactor(sink, clock=FakeClock(now_ns)).run()


def count(sink: SqlSink) -> dict[str, int]:
    c = sink.tables.rollups.c
    with SqlReader(sink.engine, sink.tables).reading() as connection:
        found = connection.execute(select(c.level, func.count()).group_by(c.level))
        return {row[0]: row[1] for row in found}


def started(sink: SqlSink, connection: Connection, coarse: bool) -> int:
    """The executions of all time, by sums where there are any, or by hours alone."""
    span = [(T0_NS, T0_NS + 3 * WEEK_NS)]
    spans = {HOUR: span, DAY: span, WEEK: span} if coarse else {HOUR: span}
    rows = connection.execute(choose_rows(sink.tables, spans, lambda _: []))
    return sum(cell_row(*row).nodes[WHOLE].started for row in rows)


def assert_sums(sink: SqlSink) -> int:
    """That both ways say the same of one moment."""
    with SqlReader(sink.engine, sink.tables).reading() as connection:
        by_hours = started(sink, connection, coarse=False)
        assert started(sink, connection, coarse=True) == by_hours
    return by_hours


def test_what_is_told_late_takes_its_day_and_its_week_away(store: SqlSink) -> None:
    """In the same transaction, and the next run makes them again."""
    fold(store, 1, cells_at(*range(HOURS)))
    done = run(store)
    assert (done.days, done.weeks, done.left) == (14, 2, 0)
    assert count(store) == {"hour": HOURS, "day": 14, "week": 2}
    fold(store, 2, cells_at(30))
    assert count(store) == {"hour": HOURS + 1, "day": 13, "week": 1}
    assert assert_sums(store) == HOURS + 1
    done = run(store)
    assert (done.days, done.weeks) == (1, 1) and assert_sums(store) == HOURS + 1
    done = run(store)
    assert (done.days, done.weeks) == (0, 0)


def test_only_what_has_been_over_for_a_while_is_summed(store: SqlSink) -> None:
    """And only where a sum stands for several rows."""
    fold(store, 1, cells_at(*range(24), *range(24, 27), *range(48, 60)))
    assert run(store, T0_NS + DAY_NS + HOUR_NS - 1).days == 0
    assert run(store, T0_NS + DAY_NS + HOUR_NS).days == 1
    assert run(store, T0_NS + 2 * DAY_NS + HOUR_NS).days == 0
    assert run(store, NOW_NS).days == 1
    assert assert_sums(store) == 39


@pytest.mark.parametrize("then", ["told more", "compacted"])
def test_hours_that_change_meanwhile_are_not_stored_as_they_were(
    store: SqlSink, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Between the reading and the lock another process may do what it wants."""
    fold(store, 1, cells_at(*range(24)))
    plain, seen = compacting._digest, []

    def interrupted(rows: Any) -> bytes:
        seen.append(rows)
        if len(seen) == 1:
            fold(again(store), 2, cells_at(3, n=5)) if then == "told more" else run(again(store))
        return plain(rows)

    monkeypatch.setattr(compacting, "_digest", interrupted)
    done = run(store)
    assert (done.days, done.left) == ((0, 1) if then == "told more" else (1, 0))
    assert assert_sums(store) == (29 if then == "told more" else 24)


def test_nothing_is_stored_while_somebody_adds_to_hours(postgres_url: str) -> None:
    """On a database where writers go side by side: what they add may be committed or not."""
    store, other = again(postgres_url), again(postgres_url)
    fold(store, 1, cells_at(*range(24)))
    with other.transaction() as connection:
        levels.forget_sums(connection, other.tables, [("another", T0_NS)])
        done = run(store)
        assert (done.days, done.left) == (0, 1)
    assert run(store).days == 1
    store.close()
    other.close()


@pytest.mark.parametrize("at", ["the lock", "the insert"])
def test_who_dies_between_the_statements_leaves_what_was_there(
    store: SqlSink, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever came before in that transaction goes with it."""
    fold(store, 1, cells_at(*range(24)))
    name = "try_alone" if at == "the lock" else "insert_into"
    plain = getattr(compacting, name)

    class Dies(Exception):
        pass

    def dies(connection: Connection, table: Any) -> Any:
        made = plain(connection, table)
        if at == "the insert":
            connection.execute(made.values(workflow_id="w", level=DAY, bucket_start_ns=T0_NS, source=0, cells=b"half"))
        raise Dies

    monkeypatch.setattr(compacting, name, dies)
    with pytest.raises(Exception, match="Dies"):
        run(again(store))
    monkeypatch.undo()
    assert count(store) == {"hour": 24}
    assert run(store).days == 1 and assert_sums(store) == 24


def test_writers_and_compactors_at_once_leave_sums_that_are_right(store: SqlSink) -> None:
    """Two that add to the same days, two that sum them, and one that reads."""
    problems: list[BaseException] = []
    over = threading.Event()

    def guarded(work: Any, *args: Any) -> threading.Thread:
        def go() -> None:
            sink = again(store)
            try:
                work(sink, *args)
            except BaseException as problem:
                problems.append(problem)
            finally:
                sink.close()

        thread = threading.Thread(target=go)
        thread.start()
        return thread

    def write(sink: SqlSink, number: int) -> None:
        for turn in range(12):
            fold(sink, number, cells_at(*range(turn % 5, HOURS, 7 + number)))

    def until_over(sink: SqlSink, work: Any) -> None:
        while not over.is_set():
            work(sink)

    busy = [guarded(until_over, work) for work in (run, run, assert_sums)]
    for writer in [guarded(write, number) for number in (1, 2)]:
        writer.join()
    over.set()
    for thread in busy:
        thread.join()
    assert not problems
    run(store)
    told = sum(len(range(turn % 5, HOURS, 7 + number)) for turn in range(12) for number in (1, 2))
    assert assert_sums(store) == told and count(store)["week"] == 2


def test_more_errors_than_a_cell_has_room_for_are_the_same_ones(store: SqlSink) -> None:
    """A sum keeps them all, so that the reader runs out of room where it would have without it."""
    cells = cells_at(*range(48))
    for hour in range(48):
        for n in range(40):
            cell = cell_of(cells, "w", "click", T0_NS + hour * HOUR_NS)
            cell.add_end(FAILED, 10**9, first_pass=False)
            cell.add_error("E" + "abcdefgh"[hour % 7] * (n + hour), None, T0_NS + hour * HOUR_NS)
    fold(store, 1, cells)
    asked: dict[str, Any] = {"start_ns": T0_NS, "end_ns": T0_NS + 7 * DAY_NS, "now_ns": NOW_NS}
    before = Query(store).stats("w", **asked)["errors"]
    assert run(store).days == 2
    assert Query(store).stats("w", **asked)["errors"] == before
    assert len(before) > 100


def test_hours_before_1970_are_read_beside_the_days_behind_it(store: SqlSink) -> None:
    """Nobody's clock is right always."""
    fold(store, 1, cells_at(*(n - T0_NS // HOUR_NS for n in range(-30, 60))))
    done = run(store)
    assert done.days >= 1
    spans = [(-10 * DAY_NS, 10 * DAY_NS)]
    with SqlReader(store.engine, store.tables).reading() as connection:
        rows = connection.execute(choose_rows(store.tables, {HOUR: spans, DAY: spans, WEEK: spans}, lambda _: []))
        assert sum(cell_row(*row).nodes[WHOLE].started for row in rows) == 90


def test_a_copy_takes_the_sums_of_the_target_away(store: SqlSink, tmp_path: Path) -> None:
    """It brings hours, and the target makes its own sums."""
    target = again(f"sqlite:///{tmp_path}/copy.db")
    fold(target, 9, cells_at(*range(24)))
    run(target)
    fold(store, 1, cells_at(*range(HOURS)))
    run(store)
    copy_store(store, target)
    assert count(target) == {"hour": HOURS + 24}
    assert assert_sums(target) == HOURS + 24
    run(target)
    copy_store(store, target)
    assert assert_sums(target) == HOURS + 24
    target.close()


def test_hours_stay_as_they_are(store: SqlSink) -> None:
    """So no answer loses its resolution."""
    fold(store, 1, cells_at(*range(24)))
    run(store)
    c = store.tables.rollups.c
    with store.engine.connect() as connection:
        found = connection.execute(
            select(c.bucket_start_ns, c.cells).where(c.level == HOUR).order_by(c.bucket_start_ns)
        )
        kept = {start_ns: decode_nodes(bytes(blob))[WHOLE] for start_ns, blob in found}
    assert list(kept) == [T0_NS + hour * HOUR_NS for hour in range(24)]
    assert all(isinstance(cell, Cell) and cell.started == 1 for cell in kept.values())
