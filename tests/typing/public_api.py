"""What type checkers are promised of the public API. Read by mypy --strict, never run."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from analytics_sdk import (
    AnalyticsSystem,
    Execution,
    Instrumentation,
    Step,
    Target,
    auto_instrument,
    configure,
    current_execution,
    get_analytics_system,
    recovery_attempt,
    track_step,
    track_workflow,
)
from analytics_sdk.integration import get_analytics_integration


@track_workflow
def bare(number: int) -> str:
    return str(number)


@track_workflow(workflow_id="{number}", total_steps=lambda number: number, tags={"kind": "nightly"})
def with_arguments(number: int) -> str:
    return str(number)


@track_step
async def coroutine(number: int) -> str:
    return str(number)


@track_step(success=lambda item: item > 0, control_flow=StopIteration)
def generator(number: int) -> Iterator[int]:
    yield number


@track_step(node_id="pages", control_flow=(KeyError, IndexError))
async def async_generator(number: int) -> AsyncIterator[int]:
    yield number


@recovery_attempt("retry", success=lambda result: result is not None)
def heal(number: int) -> int | None:
    return number or None


class Loop:
    @track_step(node_id="{self.name}")
    def method(self, number: int) -> bytes:
        return bytes(number)

    @staticmethod
    @track_step
    def static(number: int) -> bytes:
        return bytes(number)


async def decorated_functions_keep_their_types() -> None:
    assert_type(bare(1), str)
    assert_type(with_arguments(1), str)
    assert_type(await coroutine(1), str)
    assert_type(generator(1), Iterator[int])
    assert_type(async_generator(1), AsyncIterator[int])
    assert_type(heal(1), int | None)
    assert_type(Loop().method(1), bytes)
    assert_type(Loop.static(1), bytes)


async def arguments_are_still_checked() -> None:
    bare("1")  # type: ignore[arg-type]  # because it is the point: the decorated function takes an int
    with_arguments()  # type: ignore[call-arg]  # because it is the point: it takes one argument


async def blocks_give_what_they_opened() -> None:
    with track_workflow(workflow_id="nightly", total_steps=3) as run:
        assert_type(run, Execution)
        assert_type(run.execution_id, str)
    async with track_step(node_id="fetch", action_type="http") as step:
        assert_type(step, Step)
    async with recovery_attempt("retry") as attempt:
        attempt.fail("why")
    assert_type(current_execution(), Execution | None)


def an_exception_goes_through_a_block() -> int:
    """A block never swallows, so that what comes after it is reached only when it went well."""
    with track_step(node_id="fetch"):
        return 1


def the_rest(engine: Any) -> None:
    assert_type(configure(sink=["sqlite:///a.db", engine], flush_interval_seconds=2), AnalyticsSystem)
    system = get_analytics_system(db_path="a.db", reports_dir="reports")
    assert_type(system, AnalyticsSystem)
    assert_type(system.flush(timeout=1), bool)
    assert_type(system.stats("nightly", hours=24), dict[str, Any])
    with auto_instrument("pkg.mod:Loop", recovery=Target("heal", strategy="retry"), threads=True) as instrumentation:
        assert_type(instrumentation, Instrumentation)
        assert_type(instrumentation.pending, list[str])
    analytics = get_analytics_integration(enabled=True)
    assert_type(analytics.enabled, bool)
    assert_type(analytics.on_execution_start(workflow_id="nightly", total_steps=2), str)
    assert_type(analytics.get_live_metrics("id"), dict[str, Any])
    assert_type(analytics.get_workflow_stats(workflow_id="nightly", hours=24), dict[str, Any])
