"""Rollups, the tail behind them and the rows at the edges add up to what happened, wherever they are cut."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_history import BASE_NS, HOURS, History, count_naively, deliver, judge_naively, make_history

from analytics_sdk.query import Query
from analytics_sdk.rollup import HOUR_NS, TIMED
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink

NOW_NS = BASE_NS + (HOURS + 1) * HOUR_NS
TIMED_WORDS = {"success", "recovered", "failed", "timeout"}

seeds = st.integers(0, 2**32)
edges = st.one_of(
    st.integers(0, HOURS).map(lambda n: BASE_NS + n * HOUR_NS),
    st.integers(BASE_NS - 10, BASE_NS + HOURS * HOUR_NS + 10),
)
windows = st.tuples(edges, edges).map(sorted).filter(lambda pair: pair[0] < pair[1])
workflows = st.sampled_from([None, "login", "export", "nothing"])
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def sqlite_of(history: History) -> Iterator[Query]:
    """A query over a SQLite file that holds a history."""
    with tempfile.TemporaryDirectory() as folder:
        sink = SqlSink(f"sqlite:///{Path(folder) / 'analytics.db'}")
        sink.open()
        try:
            deliver(history, sink)
            yield Query(sink)
        finally:
            sink.close()


def memory_of(history: History) -> Query:
    """A query over a `MemorySink` that holds a history."""
    sink = MemorySink()
    sink.open()
    deliver(history, sink)
    return Query(sink)


def plain(value: Any) -> Any:
    """The same answer with nan made comparable."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def assert_agree(one: Query, other: Query, history: History, window: list[int], workflow_id: str | None) -> None:
    """Every question has the same answer in both."""
    start_ns, end_ns = window
    for exact in (False, True):
        asked = {"start_ns": start_ns, "end_ns": end_ns, "exact": exact, "now_ns": NOW_NS}
        assert plain(one.stats(workflow_id, **asked)) == plain(other.stats(workflow_id, **asked))
    for bucket_ns in (HOUR_NS, 2 * HOUR_NS, HOUR_NS // 4, HOUR_NS + 1):
        assert one.series(workflow_id, start_ns, end_ns, bucket_ns) == other.series(
            workflow_id, start_ns, end_ns, bucket_ns
        )
    distribution = one.distribution(workflow_id, start_ns, end_ns)
    assert distribution == other.distribution(workflow_id, start_ns, end_ns)
    course = one.course(workflow_id, start_ns, end_ns, HOUR_NS)
    assert course.distribution() == distribution
    edge_ns = course.points[len(course.points) // 2].start_ns
    assert course.distribution(start_ns=edge_ns) == one.distribution(workflow_id, edge_ns, end_ns)
    if edge_ns > start_ns:
        assert course.distribution(end_ns=edge_ns) == one.distribution(workflow_id, start_ns, edge_ns)
    slowest, longest = one.slowest(workflow_id, start_ns, end_ns), course.longest()
    assert (slowest and slowest.duration_ns) == (longest and longest[1])
    if longest is not None:  # the first of several, as everywhere
        assert one.slowest(workflow_id, longest[0].start_ns, longest[0].end_ns) == slowest
    rows = one.executions(workflow_id, start_ns, end_ns)
    assert {row.execution_id for row in rows} == {
        row.execution_id for row in other.executions(workflow_id, start_ns, end_ns)
    }
    assert slowest == other.slowest(workflow_id, start_ns, end_ns)
    assert one.samples(start_ns, end_ns) == other.samples(start_ns, end_ns)
    for row in rows:
        assert one.usage(row.execution_id) == other.usage(row.execution_id)
    for row in rows[:2]:
        assert one.timeline(row.execution_id) == other.timeline(row.execution_id)


@few
@given(seeds, windows, workflows)
def test_a_sqlite_file_and_memory_give_the_same_answers(seed: int, window: list[int], workflow_id: str | None) -> None:
    """Though one adds up cells, tail and edges, and the other reads every row."""
    history = make_history(seed)
    with sqlite_of(history) as stored:
        assert_agree(stored, memory_of(history), history, window, workflow_id)


@pytest.mark.parametrize("seed", range(5))
def test_postgresql_and_memory_give_the_same_answers(seed: int, postgres_url: str) -> None:
    """The same arithmetic over another database."""
    history = make_history(seed, executions=12)
    sink = SqlSink(postgres_url)
    sink.upgrade()
    sink.open()
    try:
        deliver(history, sink)
        window = [BASE_NS + HOUR_NS // 3, BASE_NS + 3 * HOUR_NS + HOUR_NS // 2]
        for workflow_id in (None, "login"):
            assert_agree(Query(sink), memory_of(history), history, window, workflow_id)
    finally:
        sink.close()


@pytest.mark.xdist_group("clickhouse")
@pytest.mark.parametrize("seed", range(5))
def test_clickhouse_and_memory_give_the_same_answers(seed: int, clickhouse_server: str, clickhouse_schema: str) -> None:
    """The same arithmetic, though no transaction holds its statements together."""
    history = make_history(seed, executions=12)
    sink = SqlSink(clickhouse_server, schema=clickhouse_schema)
    sink.upgrade()
    sink.open()
    try:
        deliver(history, sink)
        window = [BASE_NS + HOUR_NS // 3, BASE_NS + 3 * HOUR_NS + HOUR_NS // 2]
        for workflow_id in (None, "login"):
            assert_agree(Query(sink), memory_of(history), history, window, workflow_id)
    finally:
        sink.close()


@few
@given(seeds, windows, st.sampled_from(["login", "export"]))
def test_counts_and_percentiles_are_what_happened(seed: int, window: list[int], workflow_id: str) -> None:
    """Each status counts what a naive count of the history counts; exact percentiles are numpy's."""
    history = make_history(seed, executions=10)
    start_ns, end_ns = window
    with sqlite_of(history) as query:
        stats: Any = query.stats(workflow_id, start_ns=start_ns, end_ns=end_ns, exact=True, now_ns=NOW_NS)
    wholes = count_naively(history, "", start_ns, end_ns, workflow_id)
    assert {word: n for word, n in stats["status_counts"].items() if n} == wholes
    rate = stats["success_rate"]
    n = sum(wholes[word] for word in ("success", "failed", "timeout", "crashed"))
    assert (rate["n"], rate["succeeded"], rate["failed"]) == (n, wholes["success"], n - wholes["success"])
    assert math.isnan(rate["success_rate"]) if not n else rate["ci_low"] <= rate["success_rate"] <= rate["ci_high"]
    inside = [one for one in history.lived if start_ns <= one.started_at_ns < end_ns and one.workflow_id == workflow_id]
    first_pass = sum(one.first_pass for one in inside if not one.node_id)
    assert not n or rate["first_pass_rate"] == pytest.approx(100 * first_pass / n)
    assert len(stats["running"]) == wholes["running"]
    for step in stats["steps"]:
        assert {word: n for word, n in step["status_counts"].items() if n} == count_naively(
            history, step["node_id"], start_ns, end_ns, workflow_id
        )
    assert {step["node_id"] for step in stats["steps"]} == {one.node_id for one in inside if one.node_id}
    assert stats["performance"]["relative_error"] == 0.0
    for found, node_id in [(stats["performance"], ""), *((step, step["node_id"]) for step in stats["steps"])]:
        durations = [one.duration_ns for one in inside if one.node_id == node_id and one.status in TIMED_WORDS]
        if not durations:
            assert math.isnan(found["p95_duration"]) and math.isnan(found["avg_duration"])
            continue
        p50, p95, p99 = np.quantile(durations, [0.5, 0.95, 0.99], method="inverted_cdf") / 1e9
        assert (found["p50_duration"], found["p95_duration"], found["p99_duration"]) == (p50, p95, p99)
        assert found["avg_duration"] == pytest.approx(np.mean(durations) / 1e9)


@few
@given(seeds, windows, st.sampled_from(["login", "export"]))
def test_verdicts_are_what_was_told(seed: int, window: list[int], workflow_id: str) -> None:
    """However late they came, and wherever the rollups had come to."""
    history = make_history(seed, executions=10)
    start_ns, end_ns = window
    with sqlite_of(history) as query:
        stats: Any = query.stats(workflow_id, start_ns=start_ns, end_ns=end_ns, now_ns=NOW_NS)
    told = judge_naively(history, start_ns, end_ns, workflow_id)
    recovery = stats["recovery"]
    for line in (recovery, *recovery["strategies"]):
        named = {line["strategy"]} if "strategy" in line else {"retry", "variant"}
        for verdict in ("verified", "refuted"):
            assert line[verdict] == sum(n for (name, word), n in told.items() if name in named and word == verdict)
        assert line["unknown"] == line["succeeded"] - line["verified"] - line["refuted"]


def test_the_naive_count_knows_the_timed_words() -> None:
    """So that the tests above cannot drift away from the rule."""
    from analytics_sdk.vocabulary import STATUSES

    assert {STATUSES[status] for status in TIMED} == TIMED_WORDS
