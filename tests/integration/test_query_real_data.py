"""Statistics of a real test suite's 32 runs against the reference figures that numpy gave for them.

`tests/data/boltons.json.gz`: 14,944 tests of boltons 26.2.0 under eight conditions; 24 runs completed, 6 failed, 2 were
killed. The reference percentiles interpolate, and are taken over an action type; so those of nodes are compared with
numpy over the very same durations.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics_sdk.events import ExecutionEnd, ExecutionStart, StepEnd, StepStart
from analytics_sdk.histogram import RELATIVE_ERROR
from analytics_sdk.query import Query
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED, SUCCESS, Kind

DATA: Any = json.loads(gzip.decompress((Path(__file__).parents[1] / "data" / "boltons.json.gz").read_bytes()))
REFERENCE = DATA["reference"]


def _events(number: int) -> list[tuple[int, Kind, Any]]:
    """The records of one run, each 100 bytes long; a killed run has no end."""
    execution_id = f"run-{number}"
    _, started_at_ns, wall_ns, status, _ = DATA["executions"][number - 1]
    steps = [step for step in DATA["steps"] if step[0] == number]
    events: list[tuple[Kind, Any]] = [
        (Kind.EXECUTION_START, ExecutionStart(execution_id, "boltons", started_at_ns, len(steps)))
    ]
    failed = 0
    for step_no, (_, node, offset_us, duration_ns, success, error) in enumerate(steps, 1):
        node_id, action_type = DATA["nodes"][node]
        at_ns = started_at_ns + offset_us * 1000
        events.append((Kind.STEP_START, StepStart(execution_id, "boltons", step_no, node_id, action_type, at_ns)))
        message = DATA["errors"][error] or None
        position = (len(events) - 1) * 100
        outcome = SUCCESS if success else FAILED
        failed += not success
        end = StepEnd(position, execution_id, "boltons", step_no, node_id, action_type, at_ns, outcome, duration_ns)
        if not success:
            end.error_type, end.error_message = "AssertionError", message
        events.append((Kind.STEP_END, end))
    if status != "killed":
        outcome = SUCCESS if status == "completed" else FAILED
        done = (len(steps) - failed, failed, 0)
        end_of_all = ExecutionEnd(0, execution_id, "boltons", started_at_ns, outcome, wall_ns, *done)
        events.append((Kind.EXECUTION_END, end_of_all))
    return [(index * 100, kind, event) for index, (kind, event) in enumerate(events)]


def _deliver(sink: Any) -> None:
    """Every run has a journal of its own; the rollups of every third one lag behind by half of it."""
    for number in range(1, len(DATA["executions"]) + 1):
        records = _events(number)
        journal = JournalIdentity(f"{number:032x}", "bench", 4000 + number, DATA["executions"][number - 1][1])
        half, end = len(records) // 2 * 100, len(records) * 100
        folded = 0
        for low, high in ((0, half), (half, end)):
            part = [record for record in records if low <= record[0] < high]
            sink.position(journal)
            sink.write(merge(journal, part, low, high))
            killed = DATA["executions"][number - 1][3] == "killed"
            if isinstance(sink, SqlSink) and (number % 3 or high == half or killed):
                cells = Cells()
                fold(cells, [record for record in records if folded <= record[0] < high])
                sink.fold(journal, cells, folded, high)
                folded = high
        if killed:
            sink.write(Batch(journal, end, end, settle_as="crashed"))


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def query(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """The real runs in a SQLite file, half as rollups, and in memory."""
    path = tmp_path_factory.mktemp("real") / "analytics.db"
    sink: Any = SqlSink(f"sqlite:///{path}") if request.param == "sqlite" else MemorySink()
    sink.open()
    _deliver(sink)
    yield Query(sink)
    sink.close()


def _stats(query: Query, **asked: Any) -> Any:
    last_ns = max(run[1] + run[2] for run in DATA["executions"])
    return query.stats("boltons", now_ns=last_ns, **asked)


def test_the_success_rates_are_the_reference_rates(query: Query) -> None:
    """A killed run counts as crashed, and so against the rate."""
    stats = _stats(query)
    rate = stats["success_rate"]
    assert rate["success_rate"] == 100 * REFERENCE["success_rate_all"] == 75.0
    assert rate["n"] == REFERENCE["n_executions"]
    counts = stats["status_counts"]
    assert (counts["success"], counts["failed"], counts["crashed"]) == tuple(REFERENCE["by_status"].values())
    assert rate["ci_low"] < 75.0 < rate["ci_high"]
    assert sum(step["n"] for step in stats["steps"]) == REFERENCE["steps"]["n"]
    assert sum(step["failed"] for step in stats["steps"]) == REFERENCE["steps"]["failed"]


def test_each_kind_of_step_is_as_the_reference_has_it(query: Query) -> None:
    """Counts, failures and mean durations by action type, and the nodes that fail."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    steps = _stats(query)["steps"]
    for step in steps:
        total = totals[step["action_type"]]
        total[0], total[1], total[2] = (
            total[0] + step["n"],
            total[1] + step["failed"],
            total[2] + step["total_duration"],
        )
    assert set(totals) == set(REFERENCE["by_action_type"])
    for action_type, wanted in REFERENCE["by_action_type"].items():
        n, failed, seconds = totals[action_type]
        assert (n, failed) == (wanted["n"], wanted["failed"])
        assert seconds / n == pytest.approx(wanted["mean"])
    failing = {step["node_id"]: step["failed"] for step in steps if step["failed"]}
    assert len(failing) == REFERENCE["distinct_failing_nodes"]
    assert failing.items() >= REFERENCE["nodes_with_failures"].items()


@pytest.mark.parametrize("exact", [False, True])
def test_percentiles_are_numpys(query: Query, exact: bool) -> None:
    """Of executions and of all 519 nodes: within the promised error, or to the nanosecond when exact."""
    stats = _stats(query, exact=exact)
    durations: dict[str, list[int]] = defaultdict(list)
    for _, node, _, duration_ns, _, _ in DATA["steps"]:
        durations[DATA["nodes"][node][0]].append(duration_ns)
    wholes = [wall_ns for _, _, wall_ns, status, _ in DATA["executions"] if status != "killed"]
    error = 0.0 if exact else RELATIVE_ERROR
    assert stats["performance"]["relative_error"] == error
    for found, values in [
        (stats["performance"], wholes),
        *((step, durations[step["node_id"]]) for step in stats["steps"]),
    ]:
        wanted = np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf") / 1e9
        answer = np.array([found["p50_duration"], found["p95_duration"], found["p99_duration"]])
        assert np.all(np.abs(answer - wanted) <= wanted * error + 1e-15)


def test_a_part_of_the_hour_counts_what_started_in_it(query: Query) -> None:
    """An explicit window is honoured to the nanosecond, though a rollup knows only hours."""
    started = sorted(run[1] for run in DATA["executions"])
    stats = _stats(query, start_ns=started[3], end_ns=started[20])
    assert stats["success_rate"]["n"] == 17
    assert not stats["window"]["widened"]
    points = query.series("boltons", started[3], started[20], HOUR_NS // 60)
    assert sum(point.n for point in points) == 17


def test_errors_are_grouped_and_counted_once(query: Query) -> None:
    """84 failed steps, grouped by what they have in common; their executions' failures add nothing of their own."""
    errors = _stats(query)["errors"]
    assert sum(error["n"] for error in errors) == 84
    assert len({error["fingerprint"] for error in errors}) == len(errors)
    assert all(error["first_seen"] <= error["last_seen"] for error in errors)


def test_a_timeline_has_every_step_in_order(query: Query) -> None:
    """The 519 tests of one run."""
    timeline = query.timeline("run-1")
    assert timeline is not None
    assert [step.step_no for step in timeline.steps] == list(range(1, 520))
    assert timeline.execution.status == "success"
    assert query.timeline("nobody") is None
    slowest = query.slowest("boltons", 0, 2**62)
    assert slowest is not None and slowest.duration_ns == max(
        run[2] for run in DATA["executions"] if run[3] != "killed"
    )
