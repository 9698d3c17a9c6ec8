"""What answers look like: every key is always there, what is missing is said, and the window is named."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk.errors import AnalyticsError, SinkMisconfigured
from analytics_sdk.events import ExecutionEnd, ExecutionStart, GpuSample, Recovery, Sample, StepEnd
from analytics_sdk.histogram import RELATIVE_ERROR
from analytics_sdk.query import Query, choose_bucket_ns, empty_stats, resolve_window
from analytics_sdk.query.aggregates import wilson_interval
from analytics_sdk.query.query import CHEAP_ROWS
from analytics_sdk.query.window import Span
from analytics_sdk.rollup import HOUR_NS, WHOLE, Cell
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED, RECOVERED, SUCCESS, Kind

HOUR = 500_000 * HOUR_NS
NOW_NS = HOUR + HOUR_NS // 2
JOURNAL = JournalIdentity("a" * 32, "here", 7, HOUR)
SECOND = 10**9


def _execution(start: int, name: str = "e1", status: int = SUCCESS, **more: Any) -> ExecutionEnd:
    return ExecutionEnd(start, name, "login", more.pop("at", HOUR), status, more.pop("took", SECOND), 1, 0, 0, **more)


def _write(sink: Any, *events: tuple[Kind, Any], old: int = 0, losses: Any = ()) -> int:
    """One batch of records, each 100 bytes long; the new position."""
    decoded = [(old + index * 100, kind, event) for index, (kind, event) in enumerate(events)]
    new = old + max(1, len(decoded)) * 100
    batch = merge(JOURNAL, decoded, old, new)
    batch.losses = list(losses)
    sink.position(JOURNAL)
    sink.write(batch)
    return new


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SqlSink]:
    """An open sink on a SQLite file."""
    made = SqlSink(f"sqlite:///{tmp_path / 'analytics.db'}")
    made.open()
    yield made
    made.close()


def _stats(sink: Any, workflow_id: str | None = "login", **asked: Any) -> Any:
    return Query(sink).stats(workflow_id, now_ns=NOW_NS, **asked)


def _keys(value: Any) -> Any:
    return {key: _keys(item) for key, item in value.items()} if isinstance(value, dict) else None


CONTRACT: dict[str, set[str]] = {
    "success_rate": {"success_rate", "first_pass_rate", "n", "succeeded", "recovered", "failed"}
    | {"ci_low", "ci_high"},
    "performance": {"avg_duration", "min_duration", "max_duration", "p50_duration", "p95_duration", "p99_duration"}
    | {"relative_error"},
    "recovery": {"attempts", "succeeded", "success_rate", "total_duration", "strategies", "hotspots", "time_share"}
    | {"ci_low", "ci_high", "verified", "refuted", "unknown"},
    "window": {"start", "end", "widened"},
}
LISTED: dict[str, set[str]] = {
    "steps": {"node_id", "action_type", "n", "success_rate", "recovered", "avg_duration", "p50_duration"}
    | {"p95_duration", "p99_duration"},
    "errors": {"fingerprint", "error_type", "message", "n", "first_seen", "last_seen"},
    "workflows": {"workflow_id", "n", "success_rate", "first_pass_rate", "avg_duration", "p95_duration"},
    "running": {"execution_id", "workflow_id", "started_at"},
    "losses": {"kind", "reason", "n", "first_at", "last_at"},
    "warnings": {"code"},
}


def test_an_empty_store_has_every_key(sink: SqlSink) -> None:
    """nan and 0, never a missing key; the same keys as where nothing could be read."""
    stats = _stats(sink, None)
    for key, wanted in CONTRACT.items():
        assert wanted <= stats[key].keys()
    for key in LISTED:
        assert stats[key] == []
    assert stats["data_complete"] is True
    assert stats["resources"]["samples"] == 0
    assert math.isnan(stats["success_rate"]["success_rate"]) and math.isnan(stats["performance"]["p95_duration"])
    assert _keys(empty_stats()) == _keys(stats)
    assert _keys(empty_stats("login")) == _keys(_stats(sink, "login"))


def test_every_list_has_the_keys_that_are_promised(sink: SqlSink) -> None:
    """One of each in the store."""
    loss = ("step_start", "quota", 3, HOUR, HOUR + 1)
    error = {"error_type": "KeyError", "error_message": "no key 7"}
    _write(
        sink,
        (Kind.STEP_END, StepEnd(-1, "e1", "login", 1, "open", "web", HOUR, FAILED, SECOND, **error)),
        (Kind.STEP_END, StepEnd(0, "e1", "login", 1, "open", "web", HOUR, RECOVERED, SECOND, revises=FAILED, **error)),
        (Kind.RECOVERY, Recovery("e1", "login", 1, "open", "retry", True, HOUR, 2 * SECOND)),
        (Kind.EXECUTION_END, _execution(-1)),
        losses=[loss],
    )
    stats = _stats(sink, None)
    for key, wanted in LISTED.items():
        if key not in ("running", "warnings"):
            assert wanted <= stats[key][0].keys(), key
    step = stats["steps"][0]
    assert (step["node_id"], step["n"], step["recovered"], step["success_rate"]) == ("open", 1, 1, 100.0)
    assert step["first_pass_rate"] == 0.0
    assert stats["errors"][0]["n"] == 1 and stats["errors"][0]["message"] == "no key 7"
    assert stats["recovery"]["total_duration"] == 2.0
    assert stats["recovery"]["strategies"][0]["strategy"] == "retry"


@pytest.mark.parametrize("make", [SqlSink, MemorySink])
def test_what_still_runs_is_listed_apart(make: Any, tmp_path: Path) -> None:
    """It counts in no rate."""
    sink = make() if make is MemorySink else make(f"sqlite:///{tmp_path / 'a.db'}")
    sink.open()
    started = ExecutionStart("e2", "login", HOUR + SECOND, 5)
    _write(sink, (Kind.EXECUTION_END, _execution(-1)), (Kind.EXECUTION_START, started))
    stats = _stats(sink)
    sink.close()
    assert stats["success_rate"]["n"] == 1
    assert [run["execution_id"] for run in stats["running"]] == ["e2"]
    assert stats["running"][0]["elapsed_seconds"] == 1799.0
    assert stats["status_counts"]["running"] == 1


def test_losses_that_touch_the_window_make_the_answer_incomplete(sink: SqlSink) -> None:
    """And others do not."""
    _write(sink, (Kind.EXECUTION_END, _execution(-1)), losses=[("sample", "quota", 2, HOUR + 5, HOUR + 9)])
    assert _stats(sink)["data_complete"] is False
    assert _stats(sink)["losses"][0]["n"] == 2
    assert _stats(sink, start_ns=HOUR + 10)["data_complete"] is True
    assert _stats(sink, start_ns=HOUR - 10, end_ns=HOUR + 5)["data_complete"] is True


def test_an_error_counts_once_though_it_failed_the_step_and_the_execution(sink: SqlSink) -> None:
    """But one that the loop itself raised counts too."""
    error = {"error_type": "KeyError", "error_message": "no key 7"}
    _write(
        sink,
        (Kind.STEP_END, StepEnd(-1, "e1", "login", 1, "open", "web", HOUR, FAILED, SECOND, **error)),
        (Kind.EXECUTION_END, _execution(-1, "e1", FAILED, error_type="KeyError", error_message="no key 8")),
        (Kind.EXECUTION_END, _execution(-1, "e2", FAILED, error_type="OSError", error_message="disk")),
        (Kind.EXECUTION_END, _execution(-1, "e3", FAILED)),
    )
    assert {(one["error_type"], one["n"]) for one in _stats(sink)["errors"]} == {("KeyError", 1), ("OSError", 1)}


def test_a_relative_window_moves_outward_over_a_busy_hour_only(sink: SqlSink) -> None:
    """Where the part hour has too many rows to read; an explicit window stays, and both name what they used."""
    new = _write(sink, (Kind.EXECUTION_END, _execution(-1, at=HOUR + 10)))
    asked: dict[str, Any] = {"start_ns": HOUR + 100, "relative": True}
    assert _stats(sink, **asked)["window"]["widened"] is False
    busy = Cell(started=CHEAP_ROWS + 1)
    sink.fold(JOURNAL, {("login", HOUR): {WHOLE: busy}}, 0, new)
    widened = _stats(sink, **asked)
    assert (widened["window"]["start_ns"], widened["window"]["end_ns"]) == (HOUR, HOUR + HOUR_NS)
    assert widened["window"]["widened"] is True
    assert widened["window"]["start"].utcoffset() is not None
    explicit = _stats(sink, start_ns=HOUR + 100, end_ns=NOW_NS)
    assert (explicit["window"]["start_ns"], explicit["window"]["widened"]) == (HOUR + 100, False)
    same = Query(sink).stats("login", window=resolve_window(0.4, None, None, NOW_NS), now_ns=NOW_NS)
    assert same["window"] == widened["window"]


def test_exact_percentiles_say_so_where_the_rows_are_gone(sink: SqlSink) -> None:
    """Then the histogram answers, with its error."""
    new = _write(sink, (Kind.EXECUTION_END, _execution(-1, took=123_456_789)))
    performance = _stats(sink, exact=True)["performance"]
    assert (performance["p95_duration"], performance["relative_error"]) == (0.123456789, 0.0)
    cell = Cell(started=3)
    for took in (SECOND, 2 * SECOND, 3 * SECOND):
        cell.add_end(SUCCESS, took, first_pass=True)
    sink.fold(JOURNAL, {("login", HOUR - HOUR_NS): {WHOLE: cell}}, 0, new)
    performance = _stats(sink, exact=True, start_ns=HOUR - HOUR_NS, end_ns=HOUR)["performance"]
    assert performance["relative_error"] == RELATIVE_ERROR
    assert performance["p50_duration"] == pytest.approx(2.0, rel=RELATIVE_ERROR)
    assert Query(sink).first_started_at_ns("login") == HOUR - HOUR_NS


def test_resources_are_of_the_processes_that_ran_the_workflow(sink: SqlSink) -> None:
    """Averages and peaks, each GPU apart; another process's samples belong to another workflow."""
    gpu = GpuSample(0, "H", utilization_percent=40.0, memory_used_bytes=5)
    gpus = [gpu, GpuSample(1, "H", utilization_percent=None)]
    _write(
        sink,
        (Kind.EXECUTION_END, _execution(-1)),
        (Kind.SAMPLE, Sample(HOUR + 1, cpu_percent=50.0, rss_bytes=10, gpus=gpus)),
        (Kind.SAMPLE, Sample(HOUR + 2, cpu_percent=150.0)),
    )
    other = JournalIdentity("b" * 32, "there", 8, HOUR)
    sink.position(other)
    sink.write(merge(other, [(0, Kind.SAMPLE, Sample(HOUR + 3, cpu_percent=900.0))], 0, 100))
    resources = _stats(sink)["resources"]
    assert (resources["samples"], resources["cpu_percent_avg"], resources["cpu_percent_max"]) == (2, 100.0, 150.0)
    assert resources["rss_bytes_max"] == 10 and math.isnan(resources["host_cpu_percent_avg"])
    first, second = resources["gpus"]
    assert (first["utilization_percent_avg"], first["memory_used_bytes_max"], first["samples"]) == (40.0, 5, 1)
    assert math.isnan(second["utilization_percent_max"])
    assert _stats(sink, None)["resources"]["cpu_percent_max"] == 900.0
    assert len(Query(sink).samples(HOUR, HOUR + HOUR_NS)) == 3


def test_a_snapshot_does_not_see_what_is_written_meanwhile(sink: SqlSink) -> None:
    """And the writer does not wait for it."""
    new = _write(sink, (Kind.EXECUTION_END, _execution(-1)))
    query = Query(sink)
    with query._reader.snapshot() as snapshot:
        before = dict(snapshot.sources())
        writer = threading.Thread(
            target=_write, args=(sink, (Kind.EXECUTION_END, _execution(-1, "e2"))), kwargs={"old": new}
        )
        writer.start()
        writer.join(timeout=20)
        assert not writer.is_alive()
        assert snapshot.sources() == before
        assert len(snapshot.execution_rows(None, Span(0, NOW_NS))) == 1
    assert _stats(sink)["success_rate"]["n"] == 2


def test_a_sink_that_cannot_be_read_says_which_can() -> None:
    """Rather than failing at its first attribute."""
    with pytest.raises(AnalyticsError, match="a SqlSink or a MemorySink"):
        Query(object())


def test_reading_makes_no_file_and_says_what_is_missing(tmp_path: Path) -> None:
    """A database that is not there is not made by asking it."""
    path = tmp_path / "nothing.db"
    with pytest.raises(SinkMisconfigured):
        Query(SqlSink(f"sqlite:///{path}")).stats(now_ns=NOW_NS)
    assert not path.exists()


def test_a_database_in_memory_can_be_read() -> None:
    """Though it is no file that a second engine could open."""
    sink = SqlSink("sqlite://")
    sink.open()
    _write(sink, (Kind.EXECUTION_END, _execution(-1)))
    assert _stats(sink)["success_rate"]["n"] == 1
    sink.close()


def test_a_series_has_a_point_for_every_bucket(sink: SqlSink) -> None:
    """Empty ones too, clipped at the window, and counted from the origin."""
    _write(sink, (Kind.EXECUTION_END, _execution(-1, at=HOUR + HOUR_NS // 2)))
    points = Query(sink).series("login", HOUR - HOUR_NS // 2, HOUR + 2 * HOUR_NS, HOUR_NS)
    assert [point.n for point in points] == [0, 1, 0]
    assert points[0].start_ns == HOUR - HOUR_NS // 2 and points[0].end_ns == HOUR
    assert points[0].success_rate is None and points[1].success_rate == 100.0
    shifted = Query(sink).series("login", HOUR, HOUR + HOUR_NS, HOUR_NS, origin_ns=HOUR + HOUR_NS // 2)
    assert [point.n for point in shifted] == [0, 1]
    with pytest.raises(AnalyticsError, match="make them longer"):
        Query(sink).series("login", HOUR, HOUR + HOUR_NS, 1000)


@pytest.mark.parametrize("hours", [0.01, 1, 6, 12, 24, 168, 24 * 90, 24 * 3650])
def test_a_chart_has_some_dozens_of_points(hours: float) -> None:
    """Never more than sixty, and whole hours for longer windows."""
    bucket_ns = choose_bucket_ns(HOUR, HOUR + int(hours * HOUR_NS))
    assert hours * HOUR_NS / bucket_ns <= 60
    assert hours <= 12 or bucket_ns % HOUR_NS == 0
    assert hours < 1 or hours * HOUR_NS / bucket_ns >= 20


def test_the_interval_of_a_rate_is_wilsons() -> None:
    """Against the published values for 1 of 10 and for none and all of 10."""
    low, high = wilson_interval(1, 10) or (0, 0)
    assert (round(low, 2), round(high, 2)) == (1.79, 40.42)
    low, high = wilson_interval(0, 10) or (1, 1)
    assert low == 0 and round(high, 2) == 27.75
    low, high = wilson_interval(10, 10) or (1, 1)
    assert round(low, 2) == 72.25 and high == 100
    assert wilson_interval(0, 0) is None


def test_a_crash_counts_against_the_rate(sink: SqlSink) -> None:
    """Judged when its journal is settled, and in the rollups from then on."""
    new = _write(sink, (Kind.EXECUTION_START, ExecutionStart("e1", "login", HOUR)))
    sink.fold(JOURNAL, {("login", HOUR): {WHOLE: Cell(started=1)}}, 0, new)
    sink.write(Batch(JOURNAL, new, new, settle_as="crashed"))
    for asked in ({}, {"start_ns": HOUR, "end_ns": HOUR + 1}):
        stats = _stats(sink, **asked)
        assert stats["status_counts"]["crashed"] == 1
        assert (stats["success_rate"]["success_rate"], stats["running"]) == (0.0, [])
