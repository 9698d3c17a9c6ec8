"""What became of what was healed: told by the steps that ended behind it, when the execution ends."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from analytics_sdk import copy_context, recovery_attempt, track_step, track_workflow
from analytics_sdk.capture import verdicts
from analytics_sdk.integration import AnalyticsIntegration, get_analytics_integration
from analytics_sdk.vocabulary import VERDICTS, Kind


def passing(name: str) -> None:
    with track_step(node_id=name):
        pass


def failing(name: str) -> None:
    with track_step(node_id=name) as step:
        step.fail("no such button")


def cancelled(name: str) -> None:
    with track_step(node_id=name) as step:
        step.cancel()


def skipped(name: str) -> None:
    with track_step(node_id=name) as step:
        step.skip()


def heal(name: str) -> None:
    """Heal the latest failed step of a node, and of the same task."""
    with recovery_attempt(name, node_id=name):
        pass


def healed_inside(name: str) -> None:
    with track_step(node_id=name), recovery_attempt(name):
        pass


def fails_though_healed(name: str) -> None:
    with track_step(node_id=name) as step:
        with recovery_attempt(name):
            pass
        step.fail("healed in vain")


def nested(*inside: Callable[[], None], fails: bool = False) -> None:
    with track_step(node_id="around") as step:
        for part in inside:
            part()
        if fails:
            step.fail("all of it")


def told(journal: Any) -> dict[str, str]:
    """The verdicts by strategy."""
    return {one.strategy: VERDICTS[one.verdict] for one in journal.of(Kind.VERDICT)}


def run(*parts: Callable[[], None]) -> None:
    with track_workflow(workflow_id="flow"):
        for part in parts:
            part()


F, P, H, S = (lambda name, do=do: lambda: do(name) for do in (failing, passing, heal, healed_inside))

STORIES: dict[str, tuple[list[Callable[[], None]], dict[str, str]]] = {
    "the next steps pass": ([F("a"), H("a"), P("b"), P("c")], {"a": "verified"}),
    "the next step passes, of a step healed while it was open": ([S("a"), P("b")], {"a": "verified"}),
    "the next step fails": ([F("a"), H("a"), F("b")], {"a": "refuted"}),
    "the next step fails, of a step healed while it was open": ([S("a"), F("b"), P("c")], {"a": "refuted"}),
    "nothing comes after": ([P("x"), F("a"), H("a")], {}),
    "nothing comes after a step healed while it was open": ([S("a")], {}),
    "the trouble comes only later": ([S("a"), P("b"), F("c")], {}),
    "the next step fails and is healed in turn": ([S("a"), F("b"), H("b"), P("c")], {"a": "verified", "b": "verified"}),
    "the next is healed in turn, and the one behind it fails": ([S("a"), F("b"), H("b"), F("c")], {"b": "refuted"}),
    "the healing of the next is the last thing": ([S("a"), F("b"), H("b")], {"a": "verified"}),
    "two fail, and only the second is healed": (
        [S("a"), F("b"), F("c"), H("c"), P("d")],
        {"a": "refuted", "c": "verified"},
    ),
    "the next is cancelled": ([S("a"), lambda: cancelled("b")], {}),
    "the next is skipped": ([S("a"), lambda: skipped("b"), P("c")], {"a": "verified"}),
    "only skipped ones come after": ([S("a"), lambda: skipped("b")], {}),
    "what failed before it tells nothing": ([F("x"), S("a"), P("b")], {"a": "verified"}),
    "two in a row": ([S("a"), S("b"), F("c")], {"b": "refuted"}),
    "its own step fails all the same": ([lambda: fails_though_healed("a"), P("b")], {"a": "refuted"}),
    "its own step fails all the same, and is healed again": (
        [lambda: fails_though_healed("a"), lambda: heal_as("again", "a"), P("b")],
        {"again": "verified"},
    ),
    "its own step fails all the same, inside another that passes": (
        [lambda: nested(lambda: fails_though_healed("a"))],
        {"a": "refuted"},
    ),
    "inside another step that passes": ([lambda: nested(S("a"))], {"a": "verified"}),
    "inside another step that fails": ([lambda: nested(S("a"), fails=True)], {"a": "refuted"}),
    "inside another step, a failed neighbour is judged by the step around": (
        [lambda: nested(S("a"), F("b"))],
        {"a": "verified"},
    ),
    "of the execution itself": ([P("x"), H("loop"), P("b")], {"loop": "verified"}),
}  # fmt: skip


def heal_as(strategy: str, node_id: str) -> None:
    with recovery_attempt(strategy, node_id=node_id):
        pass


@pytest.mark.parametrize("story", STORIES)
def test_the_steps_behind_a_heal_tell_what_became_of_it(story: str, journal: Any) -> None:
    parts, expected = STORIES[story]
    run(*parts)
    assert told(journal) == expected


def test_a_verdict_repeats_its_recovery(journal: Any) -> None:
    """So that it finds the row by its position, and the rollup cell by the rest."""
    run(P("x"), F("a"), H("a"), P("b"))
    (recovery,), (verdict,) = journal.recoveries, journal.of(Kind.VERDICT)
    assert journal.events[verdict.recovery] == (Kind.RECOVERY, recovery)
    assert (verdict.workflow_id, verdict.node_id, verdict.strategy, verdict.started_at_ns) == (
        recovery.workflow_id,
        recovery.node_id,
        recovery.strategy,
        recovery.started_at_ns,
    )


def test_an_attempt_that_failed_has_no_verdict(journal: Any) -> None:
    """It healed nothing."""
    with track_workflow(workflow_id="flow"):
        failing("a")
        with recovery_attempt("a") as attempt:
            attempt.fail()
        passing("b")
    assert told(journal) == {}


def test_without_an_execution_nobody_can_tell(journal: Any) -> None:
    healed_inside("a")
    passing("b")
    assert len(journal.recoveries) == 1
    assert told(journal) == {}


def test_an_execution_that_fails_by_an_exception_refutes_by_its_step(journal: Any) -> None:
    """The step that was open behind the heal."""
    with pytest.raises(KeyError), track_workflow(workflow_id="flow"):
        healed_inside("a")
        with track_step(node_id="b"):
            raise KeyError("b")
    assert told(journal) == {"a": "refuted"}


def test_an_execution_that_is_cancelled_with_the_next_step_open_tells_nothing(journal: Any) -> None:
    with pytest.raises(KeyboardInterrupt), track_workflow(workflow_id="flow"):
        healed_inside("a")
        with track_step(node_id="b"):
            raise KeyboardInterrupt
    assert told(journal) == {}


def test_a_step_that_began_before_the_heal_does_not_refute_it(journal: Any) -> None:
    """Beside each other in tasks: it failed later, but for what was there before."""

    async def beside(go_on: asyncio.Event) -> None:
        with track_step(node_id="beside") as step:
            await go_on.wait()
            step.fail()

    async def main() -> None:
        async with track_workflow(workflow_id="flow"):
            go_on = asyncio.Event()
            task = asyncio.create_task(beside(go_on))
            await asyncio.sleep(0)
            healed_inside("a")
            go_on.set()
            await task

    asyncio.run(main())
    assert journal.statuses(Kind.STEP_END) == ["recovered", "failed"]
    assert told(journal) == {}


def test_tasks_of_one_execution_are_told_by_each_others_steps(journal: Any) -> None:
    """What ends later and began later, in whichever task."""

    async def heals() -> None:
        healed_inside("a")

    async def fails() -> None:
        failing("b")

    async def main() -> None:
        async with track_workflow(workflow_id="flow"):
            await asyncio.create_task(heals())
            await asyncio.create_task(fails())

    asyncio.run(main())
    assert told(journal) == {"a": "refuted"}


def test_threads_that_share_an_execution_lose_no_verdict(journal: Any) -> None:
    """Eight threads heal ten steps each; one more step passes behind all of them."""
    with track_workflow(workflow_id="flow"):
        contexts = [copy_context() for _ in range(8)]
        threads = [
            threading.Thread(target=context.run, args=(lambda n=n: [healed_inside(f"{n}.{i}") for i in range(10)],))
            for n, context in enumerate(contexts)
        ]
        healed_inside("first")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        passing("last")
    assert len(journal.of(Kind.VERDICT)) == 81
    assert set(told(journal).values()) == {"verified"}


def test_beyond_a_bound_nobody_can_tell(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because an execution may run for weeks; those that are kept are told rightly."""
    monkeypatch.setattr(verdicts, "MOST_HEALS", 3)
    run(*(S(str(n)) for n in range(5)), P("x"))
    assert told(journal) == dict.fromkeys("012", "verified")


def test_beyond_a_bound_of_troubles_nothing_is_verified(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because nobody knows any more whether all of them were healed."""
    monkeypatch.setattr(verdicts, "MOST_TROUBLES", 2)
    troubles = [part for n in range(2) for part in (F(str(n)), H(str(n)))]
    run(S("a"), *troubles, F("x"), S("b"), P("y"))
    assert "a" not in told(journal)
    assert "b" not in told(journal)


def test_an_execution_without_a_heal_keeps_nothing(journal: Any) -> None:
    with track_workflow(workflow_id="flow") as execution:
        failing("a")
        passing("b")
        assert execution.healing is None
    assert told(journal) == {}


@pytest.fixture
def hooks(journal: Any) -> AnalyticsIntegration:
    return get_analytics_integration()


def hooked(hooks: AnalyticsIntegration, run_id: str, node_id: str, success: bool, heals: str | None = None) -> None:
    hooks.on_step_start(run_id, node_id, 1)
    if heals is not None:
        hooks.on_recovery_attempt(run_id, "flow", node_id, heals, True, 0.1)
    hooks.on_step_complete(run_id, "flow", node_id, "click", None, None, 0.2, success)


@pytest.mark.parametrize(("success", "verdict"), [(True, "verified"), (False, "refuted")])
def test_the_hooks_tell_as_decorators_do(
    success: bool, verdict: str, hooks: AnalyticsIntegration, journal: Any
) -> None:
    """Attempt first, then the completion; or the completion first, and then the attempt."""
    run_id = hooks.on_execution_start("flow", 3)
    hooked(hooks, run_id, "a", True, heals="open")
    hooked(hooks, run_id, "b", success)
    hooks.on_execution_complete(run_id, "flow", status="success")
    run_id = hooks.on_execution_start("flow", 3)
    hooked(hooks, run_id, "a", False)
    hooks.on_recovery_attempt(run_id, "flow", "a", "ended", True, 0.1)
    hooked(hooks, run_id, "b", success)
    hooks.on_execution_complete(run_id, "flow", status="success")
    assert told(journal) == {"open": verdict, "ended": verdict}


def test_a_heal_of_an_execution_that_has_ended_is_told_by_nothing(hooks: AnalyticsIntegration, journal: Any) -> None:
    run_id = hooks.on_execution_start("flow", 1)
    hooked(hooks, run_id, "a", False)
    hooks.on_execution_complete(run_id, "flow", status="failed")
    hooks.on_recovery_attempt(run_id, "flow", "a", "late", True, 0.1)
    assert len(journal.recoveries) == 1
    assert told(journal) == {}
