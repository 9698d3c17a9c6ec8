"""Values that no tidy host has: they are made fit, counted where something is lost, and never reach the host again."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import configure, get_analytics_integration, guard, recovery_attempt, track_step, track_workflow
from analytics_sdk.rollup import OTHER
from analytics_sdk.testing import FakeClock, capture_events, isolate


class Raises:
    """Everything that may be asked of it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __int__(self) -> int:
        raise RuntimeError("no number")


class Recurses:
    def __str__(self) -> str:
        return f"{self}"


class NoText:
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307  # because that is what is tried


class OddText(str):
    """A text of a class of its own, which lies about itself; and so does what its `str()` gives."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def lower(self) -> str:
        raise RuntimeError("no lower")

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError("no bytes")

    def __contains__(self, _: object) -> bool:
        raise RuntimeError("holds nothing")


def make_cyclic() -> list[Any]:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return cyclic


VALUES: dict[str, Callable[[], Any]] = {
    "raises": Raises,
    "recurses": Recurses,
    "no text": NoText,
    "odd text": lambda: OddText("odd"),
    "cyclic": make_cyclic,
    "decimal": lambda: Decimal("NaN"),
    "nan": lambda: math.nan,
    "inf": lambda: -math.inf,
    "huge": lambda: 1 << 70,
    "more digits than Python prints": lambda: 10**5000,
    "true": lambda: True,
    "unhashable": lambda: {"a": [1]},
    "bytes": lambda: b"\xff\x00",
    "long": lambda: "x" * 10_000_000,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    guard.counters.clear()
    with isolate():
        yield tmp_path


@pytest.mark.parametrize("name", VALUES)
def test_any_object_in_any_place_reaches_the_database_as_text_and_the_host_not_at_all(folder: Path, name: str) -> None:
    """As ids, tags, totals, verdicts, strategies, messages and results, by decorators, blocks and hooks."""
    value = VALUES[name]()
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)

    @track_step(node_id="{value}", action_type="{value}", tags={"a": "{value}"}, success=lambda result: result)
    def step(value: Any) -> Any:
        with recovery_attempt(value, tags={"b": value}) as attempt:
            attempt.fail(value)
        return value

    @track_workflow(workflow_id="{value}", total_steps="{value}", error=lambda value: value, success=lambda: False)
    def flow(value: Any) -> Any:
        return step(value)

    assert flow(value) is value
    with pytest.raises(ValueError), track_workflow(workflow_id=value), track_step(node_id=value):
        raise ValueError(value)
    hooks = get_analytics_integration()
    execution_id = hooks.on_execution_start(value, value)
    hooks.on_step_start(execution_id, value, value)
    hooks.on_step_complete(execution_id, value, value, value, value, value, value, value, value)
    hooks.on_recovery_attempt(execution_id, value, value, value, value, value)
    hooks.on_execution_complete(execution_id, value, value, value, value, value, value, value, value)
    assert system.flush()
    answer = system.stats(hours=1)
    assert answer["success_rate"]["n"] == 3
    assert sum(step["n"] for step in answer["steps"]) >= 2
    assert answer["data_complete"], "nothing was lost"
    assert all(len(row["workflow_id"]) <= 256 for row in answer["workflows"])


def type_without_name() -> type[Exception]:
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]  # because that is what is tried
            raise RuntimeError("no module")

    return Meta("Odd", (Exception,), {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: type("x" * 100_000, (Exception,), {})("m"),
        lambda: type("a\U0001f4a5b", (Exception,), {"__module__": "\ud800\0"})("m"),
        lambda: type_without_name()("m"),
        lambda: ExceptionGroup("g", [ValueError(str(i)) for i in range(10_000)]),
        lambda: ValueError(*range(100_000)),
    ],
    ids=["long name", "odd name", "no module", "group of 10,000", "many arguments"],
)
def test_an_odd_exception_is_recorded_in_bounds_and_reaches_the_host_as_it_was(
    folder: Path, make: Callable[[], Exception]
) -> None:
    """The same object, its context and notes untouched; the step failed and its error has a name."""
    problem = make()
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)
    with (
        pytest.raises(Exception) as raised,
        track_workflow(workflow_id="w"),
        track_step(node_id="n"),
    ):  # because each is another
        raise problem
    assert raised.value is problem
    assert problem.__context__ is None and not hasattr(problem, "__notes__")
    assert system.flush()
    (step,) = system.stats(hours=1)["steps"]
    assert (step["n"], step["success_rate"]) == (1, 0.0)
    (error,) = system.stats(hours=1)["errors"]
    assert error["error_type"] and len(error["error_type"]) <= 2000


def test_causes_in_a_loop_and_deep_tracebacks_cost_nothing() -> None:
    """Neither is looked at."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise first

    with capture_events() as events, pytest.raises(ValueError, match="first"), track_step(node_id="n"):
        fall(900)
    assert events.steps[0].error_message == "first"
    assert first.__cause__ is second and second.__cause__ is first


MOMENTS = [
    datetime.min,
    datetime.max,
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(2300, 1, 1, tzinfo=UTC),
    datetime(1500, 1, 1),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("seconds", [0.0, 1e9, 8.9e9, -1.0, Decimal("1.5"), True, 1 << 80])
def test_times_that_no_database_holds_are_replaced_and_counted(folder: Path, moment: datetime, seconds: Any) -> None:
    """By ours. Nothing is refused later, and sums do not run over."""
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)
    hooks = get_analytics_integration()
    for _ in range(3):
        execution_id = hooks.on_execution_start("w", total_steps=1 << 70)
        hooks.on_step_complete(execution_id, "w", "n", "a", moment, moment, seconds, True)
        hooks.on_execution_complete(execution_id, "w", moment, moment, seconds, "success", 1 << 70, 0)
    assert system.flush()
    system.shipper.fleet.fold()
    answer = system.stats(hours=1)
    assert (answer["success_rate"]["n"], answer["steps"][0]["n"]) == (3, 3)
    assert answer["data_complete"]
    assert answer["performance"]["avg_duration"] >= 0
    assert guard.counters["time"] > 0 and guard.counters["total_steps"] > 0


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(days=3653), timedelta(days=-20_000)])
def test_a_wall_clock_that_jumps_changes_no_duration_and_no_order(folder: Path, jump: timedelta) -> None:
    """Back an hour, ten years on, back to before 1970's first week: times are kept as they were seen."""
    clock = FakeClock(datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC))
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600, clock=clock)
    with track_workflow(workflow_id="w"):
        with track_step(node_id="first"):
            clock.advance(2)
            clock.set_time(clock.now + jump)
        with track_step(node_id="second"):
            clock.advance(3)
    assert system.flush()
    start, end = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    answer = system.stats("w", start=start, end=end)
    steps = {step["node_id"]: step["avg_duration"] for step in answer["steps"]}
    assert steps == {"first": pytest.approx(2), "second": pytest.approx(3)}
    assert answer["performance"]["avg_duration"] == pytest.approx(5)
    assert answer["data_complete"]


def test_more_nodes_than_have_room_of_their_own_count_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one name that says so. All totals stay right, each node that has a place keeps it, rows keep all names."""
    monkeypatch.setattr("analytics_sdk.rollup.MAX_NODES", 50)
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)
    for _ in range(2):
        with track_workflow(workflow_id="w"):
            for i in range(80):
                with track_step(node_id=f"node-{i}"):
                    pass
        assert system.flush()
        system.shipper.fleet.fold()
    hour = datetime.now().astimezone().replace(minute=0, second=0, microsecond=0)
    answer = system.stats("w", start=hour - timedelta(hours=1), end=hour + timedelta(hours=1))
    steps = {step["node_id"]: step["n"] for step in answer["steps"]}
    assert sum(steps.values()) == 160
    assert len(steps) <= 51
    assert steps.pop(OTHER) >= 60
    assert set(steps.values()) == {2}
    assert answer["success_rate"]["n"] == 2


MANY = """
import resource, sys
from analytics_sdk import configure, track_step, track_workflow
n = int(sys.argv[1])
system = configure(sink="sqlite:///a.db")
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with track_workflow(workflow_id="warm"):
    pass
system.flush(); before = peak()
with track_workflow(workflow_id="w"):
    for i in range(n):
        with track_step(node_id=f"node-{i}"):
            pass
for i in range(n // 10):
    with track_workflow(workflow_id=f"w-{i}"):
        pass
assert system.flush(60)
system.shipper.fleet.fold()
print(peak() - before)
"""


def test_distinct_ids_take_no_memory_that_grows_with_them(folder: Path) -> None:
    """ANALYTICS_SDK_TEST_IDS=1000000 tries a million, which takes half a minute."""
    n = os.environ.get("ANALYTICS_SDK_TEST_IDS", "40000")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_")}
    done = subprocess.run(
        [sys.executable, "-c", MANY, n], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250, "MiB"
