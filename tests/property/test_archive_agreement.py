"""Archiving changes no answer: whatever the history, whenever it happens, however it is cut into files."""

import itertools
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_history import BASE_NS, HOURS, History, deliver, make_history
from test_query_agreement import assert_agree, edges, memory_of, seeds, windows, workflows

from analytics_sdk.archive import archiver
from analytics_sdk.archive.archiver import Archiver
from analytics_sdk.query import Query
from analytics_sdk.query.archived import ArchivedRows
from analytics_sdk.rollup import HOUR_NS
from analytics_sdk.sinks.manifest import count_files
from analytics_sdk.sinks.sql import SqlSink

if not os.environ.get("CI"):
    for name in ("pyarrow", "duckdb"):
        pytest.importorskip(name, reason=f"{name} is not installed")

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Because nobody else writes to these stores."""
    monkeypatch.setattr(archiver, "PAUSE_SECONDS", 0.0)


def archiving(sink: SqlSink, folder: Path, before_ns: int, portion_rows: int, seed: int) -> Callable[[], None]:
    """Archives now and then, the first time that it is called in any case."""
    chance, turn = random.Random(seed), itertools.count()

    def archive() -> None:
        if next(turn) == 0 or chance.random() < 0.3:
            Archiver(sink, folder, portion_rows=portion_rows).run(before_ns)

    return archive


@few
@given(seeds, windows, workflows, edges, st.sampled_from([1, 3, 1_000]))
def test_archiving_at_any_moment_changes_no_answer(
    seed: int, window: list[int], workflow_id: str | None, before_ns: int, portion_rows: int
) -> None:
    """Between any two deliveries, and again behind the last."""
    history = make_history(seed)
    with tempfile.TemporaryDirectory() as place:
        sink, other = SqlSink(f"sqlite:///{place}/analytics.db"), SqlSink(f"sqlite:///{place}/analytics.db")
        sink.open()
        folder = Path(place) / "archive"
        try:
            deliver(history, sink, archiving(other, folder, before_ns, portion_rows, seed))
            Archiver(other, folder, portion_rows=portion_rows).run(before_ns)
            assert_agree(Query(sink), memory_of(history), history, window, workflow_id)
        finally:
            other.close()
            sink.close()


@pytest.mark.parametrize("seed", range(4))
def test_archiving_changes_no_answer_on_postgresql(seed: int, postgres_url: str, tmp_path: Path) -> None:
    """Nor over another database."""
    history = make_history(seed, executions=12)
    sink, other = SqlSink(postgres_url), SqlSink(postgres_url)
    sink.upgrade()
    sink.open()
    before_ns = BASE_NS + (seed + 1) * HOURS * HOUR_NS // 6
    try:
        deliver(history, sink, archiving(other, tmp_path, before_ns, 7, seed))
        done = Archiver(other, tmp_path, portion_rows=7).run(before_ns)
        assert not done.removed
        with sink.transaction() as connection:
            assert count_files(connection, sink.tables)
        for window in ([BASE_NS + HOUR_NS // 3, BASE_NS + 3 * HOUR_NS + HOUR_NS // 2], [BASE_NS, before_ns]):
            for workflow_id in (None, "login"):
                assert_agree(Query(sink, tmp_path), memory_of(history), history, window, workflow_id)
    finally:
        other.close()
        sink.close()


def test_what_is_compared_above_was_archived_indeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the agreement would say nothing: of these histories most rows go, and answers read them."""
    read: list[str] = []
    real = ArchivedRows.read

    def noted(self: ArchivedRows, table: str, *args: object, **named: object) -> object:
        read.append(table)
        return real(self, table, *args, **named)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(ArchivedRows, "read", noted)
    total = gone = 0
    for seed in range(10):
        history: History = make_history(seed, executions=12)
        sink = SqlSink(f"sqlite:///{tmp_path}/{seed}.db")
        sink.open()
        deliver(history, sink)
        done = Archiver(sink, tmp_path / "archive").run(BASE_NS + 2 * HOURS * HOUR_NS)
        gone += sum(done.rows.values())
        total += sum(done.rows.values()) + sum(done.left.values())
        Query(sink).stats(start_ns=BASE_NS + 1, end_ns=BASE_NS + HOURS * HOUR_NS - 1, now_ns=BASE_NS + 9 * HOUR_NS)
        sink.close()
    assert gone > total / 3
    assert {"executions", "steps", "recoveries", "resource_samples"} <= set(read)
