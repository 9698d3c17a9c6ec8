"""Days and weeks beside the hours change no answer, whenever they are made and whatever is told afterwards."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_history import BASE_NS, History, deliver, make_history
from sqlalchemy import func, select
from test_query_agreement import assert_agree, few, memory_of, seeds, workflows

from analytics_sdk.archive.compacting import Compactor
from analytics_sdk.query import Query
from analytics_sdk.query.window import Span, plan_reading
from analytics_sdk.rollup import DAY_NS, HOUR_NS, WEEK_NS
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import FakeClock

DAYS = 20
AFTERWARDS_NS = BASE_NS + (DAYS + 20) * DAY_NS

edges = st.one_of(
    st.integers(-1, DAYS + 2).map(lambda n: BASE_NS - BASE_NS % DAY_NS + n * DAY_NS),
    st.integers(BASE_NS - 10, BASE_NS + DAYS * DAY_NS + 10),
)
windows = st.tuples(edges, edges).map(sorted).filter(lambda pair: pair[0] < pair[1])


def compactor_of(sink: SqlSink) -> Compactor:
    """One for which all is long over, and that sums even what is alone."""
    return Compactor(sink, clock=FakeClock(AFTERWARDS_NS), fewest_rows=1)


def levels_in(sink: SqlSink) -> dict[str, int]:
    """How many rows each level has."""
    c = sink.tables.rollups.c
    with sink.engine.connect() as connection:
        found = connection.execute(select(c.level, func.count()).group_by(c.level))
        return {row[0]: row[1] for row in found}


def tell(history: History, sink: SqlSink, seed: int) -> None:
    """Deliver a history, and compact between any of its writes and mostly at the end."""
    chance, own = random.Random(seed), SqlSink(sink.engine, schema=sink.tables.schema)
    compactor = compactor_of(own)

    def meanwhile() -> None:
        if chance.random() < 0.4:
            compactor.run()

    deliver(history, sink, meanwhile)
    if chance.random() < 0.7:
        compactor.run()


def assert_series_agree(one: Query, other: Query, window: list[int], workflow_id: str | None) -> None:
    """Charts in buckets of days and weeks, and of such that tear them."""
    lengths = (DAY_NS, DAY_NS + HOUR_NS, WEEK_NS)
    for bucket_ns, origin_ns in itertools.product(lengths, (0, HOUR_NS // 2, 4 * DAY_NS)):
        asked = (workflow_id, *window, bucket_ns)
        assert one.series(*asked, origin_ns=origin_ns) == other.series(*asked, origin_ns=origin_ns)


@settings(few, max_examples=12)
@given(seeds, windows, workflows)
def test_levels_change_no_answer_of_a_sqlite_file(seed: int, window: list[int], workflow_id: str | None) -> None:
    """Memory has no rollups: what it answers is counted from the rows."""
    history = make_history(seed, executions=20, hours=DAYS * 24)
    with tempfile.TemporaryDirectory() as folder:
        sink = SqlSink(f"sqlite:///{Path(folder) / 'analytics.db'}")
        sink.open()
        try:
            tell(history, sink, seed)
            memory = memory_of(history)
            assert_agree(Query(sink), memory, history, window, workflow_id)
            assert_series_agree(Query(sink), memory, window, workflow_id)
        finally:
            sink.close()


@pytest.mark.parametrize("seed", range(4))
def test_levels_change_no_answer_of_postgresql(seed: int, postgres_url: str) -> None:
    """The same statements on another database."""
    history = make_history(seed, executions=20, hours=DAYS * 24)
    sink = SqlSink(postgres_url)
    sink.upgrade()
    sink.open()
    try:
        tell(history, sink, seed)
        memory = memory_of(history)
        window = [BASE_NS + HOUR_NS // 3, BASE_NS + DAYS * DAY_NS]
        for workflow_id in (None, "login"):
            assert_agree(Query(sink), memory, history, window, workflow_id)
            assert_series_agree(Query(sink), memory, window, workflow_id)
    finally:
        sink.close()


def test_there_are_days_and_weeks_to_be_wrong_about(tmp_path: Path) -> None:
    """So that the tests above test something."""
    history = make_history(3, executions=20, hours=DAYS * 24)
    sink = SqlSink(f"sqlite:///{tmp_path}/a.db")
    sink.open()
    deliver(history, sink)
    assert set(levels_in(sink)) == {"hour"}
    done = compactor_of(SqlSink(sink.engine)).run()
    before = levels_in(sink)
    assert (before["day"], before["week"]) == (done.days, done.weeks) and done.days > done.weeks > 1
    again = compactor_of(SqlSink(sink.engine)).run()
    assert (again.days, again.weeks, again.left) == (0, 0, 0)
    sink.close()


def test_a_chart_uses_only_days_that_no_line_goes_through() -> None:
    """Local midnight is mostly not that of UTC."""
    window = Span(4 * DAY_NS, 18 * DAY_NS)
    assert [span.end_ns - span.start_ns for span in plan_reading(window).days] == [14 * DAY_NS]
    midnights = [n * DAY_NS + HOUR_NS for n in range(4, 18)]
    assert plan_reading(window, midnights).days == ()
    assert plan_reading(window).weeks == (window,)
    by_day = plan_reading(window, [n * DAY_NS for n in range(4, 18)])
    assert sum(span.end_ns - span.start_ns for span in by_day.days) == 14 * DAY_NS and not by_day.weeks
