"""What the statistics say of healing: what worked, what became of it, what it costs, and where it hides failure."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk.events import ExecutionEnd, Recovery, StepEnd, Verdict
from analytics_sdk.query import Query, empty_stats
from analytics_sdk.query.aggregates import newcombe_interval, wilson_interval
from analytics_sdk.query.healing import CUTS, Z_MASKED
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import JournalIdentity
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED, RECOVERED, REFUTED, SUCCESS, VERIFIED, Kind

HOUR = 500_000 * HOUR_NS
JOURNAL = JournalIdentity("a" * 32, "here", 7, HOUR)
SECOND = 10**9
Event = tuple[Kind, Any]


@pytest.fixture(params=["memory", "rows", "cells"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Writes events and yields a query: over rows in memory, rows in SQLite, and rollup cells."""
    sink: Any = MemorySink() if request.param == "memory" else SqlSink(f"sqlite:///{tmp_path / 'analytics.db'}")
    sink.open()

    def write(*events: Event) -> Query:
        decoded = [(64 + index, kind, event) for index, (kind, event) in enumerate(events)]
        sink.write(merge(JOURNAL, decoded, 0, 64 + len(decoded)))
        if request.param == "cells":
            cells: Cells = {}
            fold(cells, decoded)
            sink.fold(JOURNAL, cells, 0, 64 + len(decoded))
        return Query(sink)

    yield write
    sink.close()


def execution(workflow_id: str = "w", at_ns: int = HOUR, status: int = SUCCESS, healed: int = 0) -> Event:
    end = ExecutionEnd(-1, f"{workflow_id}{at_ns}", workflow_id, at_ns, status, 10 * SECOND, 1, 0, healed)
    return Kind.EXECUTION_END, end


def recoveries(
    n: int, node_id: str | None, strategy: str = "retry", workflow_id: str = "w", **more: Any
) -> list[Event]:
    success, took = more.get("success", True), more.get("took", SECOND)
    return [(Kind.RECOVERY, Recovery("e", workflow_id, 1, node_id, strategy, success, HOUR, took))] * n


def verdicts(first: int, n: int, verdict: int, node_id: str | None, strategy: str = "retry") -> list[Event]:
    """Verdicts on `n` recoveries that stand one behind the other."""
    return [(Kind.VERDICT, Verdict(64 + first + index, "w", node_id, strategy, HOUR, verdict)) for index in range(n)]


def ask(query: Query, workflow_id: str | None = "w", hours: int = 1) -> Any:
    return query.stats(workflow_id, start_ns=HOUR, end_ns=HOUR + hours * HOUR_NS, now_ns=HOUR + hours * HOUR_NS)


def test_an_empty_answer_has_every_key() -> None:
    stats: Any = empty_stats()
    assert stats["warnings"] == stats["recovery"]["hotspots"] == []
    recovery = stats["recovery"]
    assert all(math.isnan(recovery[key]) for key in ("success_rate", "ci_low", "ci_high", "time_share"))
    assert [recovery[key] for key in ("attempts", "succeeded", "verified", "refuted", "unknown")] == [0] * 5
    assert stats["success_rate"]["recovered"] == 0


def test_recoveries_carry_their_intervals_verdicts_and_cost(store: Any) -> None:
    """Together and by strategy; `unknown` is the rest of the successful."""
    stats = ask(
        store(
            *recoveries(4, "n"),
            *recoveries(1, "n", success=False),
            *recoveries(1, "m", "variant", took=3 * SECOND),
            *verdicts(0, 2, VERIFIED, "n"),
            *verdicts(2, 1, REFUTED, "n"),
            execution(healed=1),
            (Kind.STEP_END, StepEnd(-1, "e", "w", 1, "n", "click", HOUR, RECOVERED, SECOND)),
        )
    )
    recovery = stats["recovery"]
    assert (recovery["attempts"], recovery["succeeded"]) == (6, 5)
    assert (recovery["ci_low"], recovery["ci_high"]) == wilson_interval(5, 6)
    assert (recovery["verified"], recovery["refuted"], recovery["unknown"]) == (2, 1, 2)
    assert (recovery["total_duration"], recovery["time_share"]) == (8.0, 80.0)
    retry, variant = recovery["strategies"]
    assert (retry["strategy"], retry["attempts"], retry["total_duration"], retry["avg_duration"]) == ("retry", 5, 5, 1)
    assert (retry["verified"], retry["refuted"], retry["unknown"]) == (2, 1, 1)
    assert (retry["ci_low"], retry["ci_high"]) == wilson_interval(4, 5)
    assert (variant["verified"], variant["refuted"], variant["unknown"]) == (0, 0, 1)
    (step,) = stats["steps"]
    assert (step["recovery_attempts"], step["recovery_duration"]) == (5, 5.0)
    assert stats["success_rate"]["recovered"] == 1


def test_the_share_of_time_is_unknown_where_recoveries_took_longer_than_what_ended(store: Any) -> None:
    """Then some are of executions that still run or have crashed; one outside any execution is of none."""
    assert math.isnan(ask(store(*recoveries(11, "n"), execution()))["recovery"]["time_share"])


def test_recoveries_outside_executions_take_no_share(store: Any) -> None:
    outside = (Kind.RECOVERY, Recovery(None, None, 1, "n", "retry", True, HOUR, 5 * SECOND))
    recovery = ask(store(outside, *recoveries(1, "n"), execution()), None)["recovery"]
    assert (recovery["total_duration"], recovery["time_share"]) == (6.0, 10.0)


def test_hotspots_are_the_nodes_that_cost_most_healed_again_and_again(store: Any) -> None:
    """At least three heals each; recoveries of executions as such belong to no node."""
    stats = ask(
        store(
            *recoveries(3, "often", took=2 * SECOND),
            *recoveries(2, "often", "variant", success=False),
            *recoveries(3, "slow", took=9 * SECOND),
            *recoveries(2, "twice", took=100 * SECOND),
            *recoveries(5, None),
            *verdicts(0, 2, VERIFIED, "often"),
        ),
        None,
    )
    slow, often = stats["recovery"]["hotspots"]
    assert (slow["workflow_id"], slow["node_id"], slow["total_duration"]) == ("w", "slow", 27.0)
    assert often == {
        "workflow_id": "w",
        "node_id": "often",
        "attempts": 5,
        "succeeded": 3,
        "failed": 2,
        "total_duration": 8.0,
        "verified": 2,
        "refuted": 0,
        "unknown": 1,
        "top_strategy": "retry",
    }


def test_at_most_twenty_hotspots_are_named(store: Any) -> None:
    events = [event for n in range(25) for event in recoveries(3, f"n{n:02}", took=(n + 1) * SECOND)]
    hotspots = ask(store(*events))["recovery"]["hotspots"]
    assert [one["node_id"] for one in hotspots] == [f"n{n:02}" for n in range(24, 4, -1)]


def history(*hours: tuple[int, int, int]) -> list[Event]:
    """For each hour so many executions that pass at once, that are healed, and that fail."""
    return [
        execution(at_ns=HOUR + hour * HOUR_NS + n, status=status, healed=healed)
        for hour, counts in enumerate(hours)
        for status, healed, count in zip((SUCCESS, SUCCESS, FAILED), (0, 1, 0), counts, strict=True)
        for n in range(count)
    ]


def test_healing_that_masks_failure_is_warned_of(store: Any) -> None:
    """All succeed as before; but half of them only because something was healed."""
    (warning,) = ask(store(*history((40, 0, 0), (40, 0, 0), (20, 20, 0), (20, 20, 0))), hours=4)["warnings"]
    assert warning["code"] == "healing_masks_failure"
    assert warning["workflow_id"] == "w"
    assert warning["split_at"].timestamp() * 10**9 == HOUR + 2 * HOUR_NS
    assert (warning["n_before"], warning["n_after"]) == (80, 80)
    assert (warning["success_rate_before"], warning["success_rate_after"]) == (100.0, 100.0)
    assert (warning["first_pass_rate_before"], warning["first_pass_rate_after"]) == (100.0, 50.0)
    assert warning["change_ci_low"] < -50.0 < warning["change_ci_high"] < 0


@pytest.mark.parametrize(
    ("what", "hours"),
    [
        ("success fell as well", ((40, 0, 0), (40, 0, 0), (10, 0, 30), (10, 0, 30))),
        ("too few behind the cut", ((40, 0, 0), (0, 19, 0))),
        ("too few before the cut", ((19, 0, 0), (0, 40, 0))),
        ("less than five points", ((40_00, 0, 0), (38_20, 180, 0))),
        ("chance", ((30, 0, 0), (29, 1, 0))),
        ("it got better", ((20, 20, 0), (40, 0, 0))),
        ("one hour only", ((40, 40, 0),)),
        ("as much healing as ever", ((20, 20, 0), (20, 20, 0), (20, 20, 0))),
    ],
)
def test_no_warning_where_nothing_is_masked(what: str, hours: Any, tmp_path: Path) -> None:
    sink = MemorySink()
    events = history(*hours)
    decoded = [(64 + index, kind, event) for index, (kind, event) in enumerate(events)]
    sink.write(merge(JOURNAL, decoded, 0, 64 + len(decoded)))
    assert ask(Query(sink), hours=4)["warnings"] == [], what


def test_each_workflow_is_looked_at_alone(store: Any) -> None:
    """The worst first; one that only began later is no change of the other."""
    steady = [execution("steady", HOUR + hour * HOUR_NS + n, healed=n % 2) for hour in range(2) for n in range(40)]
    worse = [execution("worse", HOUR + hour * HOUR_NS + n, healed=hour) for hour in range(2) for n in range(40)]
    bad = [execution("bad", HOUR + hour * HOUR_NS + n, healed=hour * (n % 2)) for hour in range(2) for n in range(40)]
    warnings = ask(store(*steady, *bad, *worse), None, hours=2)["warnings"]
    assert [one["workflow_id"] for one in warnings] == ["worse", "bad"]


def test_a_strategy_that_is_refuted_again_and_again_is_warned_of(store: Any) -> None:
    """Eight judged, six refuted: credibly more than a quarter; the other strategy is fine."""
    stats = ask(
        store(
            *recoveries(8, "n"),
            *recoveries(8, "n", "variant"),
            *verdicts(0, 6, REFUTED, "n"),
            *verdicts(6, 2, VERIFIED, "n"),
            *verdicts(8, 2, REFUTED, "n", "variant"),
            *verdicts(10, 6, VERIFIED, "n", "variant"),
        )
    )
    low, high = wilson_interval(6, 8) or (0, 0)
    assert stats["warnings"] == [
        {
            "code": "refuted_heals",
            "strategy": "retry",
            "succeeded": 8,
            "verified": 2,
            "refuted": 6,
            "unknown": 0,
            "refuted_rate": 75.0,
            "ci_low": low,
            "ci_high": high,
        }
    ]


def test_seven_judged_are_too_few_to_warn(store: Any) -> None:
    assert ask(store(*recoveries(9, "n"), *verdicts(0, 7, REFUTED, "n")))["warnings"] == []


def test_the_interval_of_a_change_is_newcombes() -> None:
    """Against the published values for 56 of 70 and 48 of 80: 5.24 to 33.39 points."""
    low, high = newcombe_interval((48, 80), (56, 70)) or (0, 0)
    assert (round(low, 2), round(high, 2)) == (5.24, 33.39)
    assert newcombe_interval((0, 0), (1, 2)) is None


def test_the_quantile_of_the_warning_is_that_of_all_its_cuts() -> None:
    """99 % for all of them together."""
    from statistics import NormalDist

    assert pytest.approx(NormalDist().inv_cdf(1 - 0.01 / (CUTS - 1) / 2)) == Z_MASKED


def test_a_timeline_tells_the_verdict(store: Any) -> None:
    end = ExecutionEnd(-1, "e", "w", HOUR, SUCCESS, SECOND, 1, 0, 1)
    query = store(*recoveries(2, "n"), *verdicts(1, 1, REFUTED, "n"), (Kind.EXECUTION_END, end))
    timeline = query.timeline("e")
    assert sorted((one.verdict for one in timeline.recoveries), key=str) == [None, "refuted"]
