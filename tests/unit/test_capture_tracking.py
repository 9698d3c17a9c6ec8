"""Decorators, blocks, selectors, recoveries: what is recorded, and that nothing reaches the host."""

import asyncio
import inspect
import logging
import pickle
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from analytics_sdk import current_execution, guard, recovery_attempt, track_step, track_workflow
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import current
from analytics_sdk.errors import SelectorError
from analytics_sdk.vocabulary import STATUSES, Kind


def node(node_id: Any = "a", action_type: Any = "click") -> SimpleNamespace:
    return SimpleNamespace(node_id=node_id, action_type=action_type)


@track_step
def module_level(x: int = 1) -> int:
    """Documented."""
    return x


def test_the_guide_shapes_are_found_without_a_selector(journal: Any) -> None:
    """workflow.workflow_id, len(workflow.nodes), node.node_id, node.action_type."""

    class Loop:
        @track_workflow
        def execute_workflow(self, workflow: Any) -> None:
            for one in workflow.nodes:
                self._execute_node(one)

        @track_step
        def _execute_node(self, node: Any) -> None:
            pass

    Loop().execute_workflow(SimpleNamespace(workflow_id="checkout", nodes=[node("a"), node("b", "type")]))
    (execution,) = journal.executions
    assert (execution.workflow_id, execution.total_steps, execution.steps_completed) == ("checkout", 2, 2)
    assert [(s.node_id, s.action_type, s.step_no) for s in journal.steps] == [("a", "click", 1), ("b", "type", 2)]


def test_another_argument_that_has_the_attribute_serves_too(journal: Any) -> None:
    """Else the first argument that has it; else the qualified name."""

    @track_step
    def act(settings: dict[str, int], thing: Any) -> None:
        pass

    act({}, node("x"))
    act({}, 3)
    assert [s.node_id for s in journal.steps] == ["x", act.__qualname__]
    assert [s.action_type for s in journal.steps] == ["click", None]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("fetch", "fetch"),
        ("{node.node_id}", "n1"),
        ("{node.action_type}-{times}", "click-2"),
        ("{times:03d}", "002"),
        ("{rest[0]}", "r0"),
        ("{{literal}}", "{literal}"),
        ("{extra}", "more"),
        (lambda node, times: f"{node.node_id}x{times}", "n1x2"),
        (lambda extra: extra, "more"),
        (7, "7"),
    ],
)
def test_selectors_pick_from_the_bound_arguments(journal: Any, selector: Any, expected: str) -> None:
    """Constants, templates and callables, with arguments given by position, by name, or by default."""

    @track_step(node_id=selector)
    def act(node: Any, times: int = 2, *rest: str, **named: str) -> None:
        pass

    act(node("n1"), 2, "r0", extra="more")
    assert journal.steps[0].node_id == expected
    if not callable(selector) and "rest" not in str(selector):
        act(node=node("n1"), extra="more")
        assert journal.steps[1].node_id == expected


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"node_id": "{nod.node_id}"}, "takes no argument 'nod'"),
        ({"node_id": "{result.id}"}, "evaluated before the call"),
        ({"node_id": lambda result: result}, "evaluated before the call"),
        ({"tags": {"t": "{result}"}}, "evaluated before the call"),
        ({"node_id": "{node"}, "not a template"),
        ({"node_id": "{}"}, "name an argument"),
        ({"success": lambda outcome: outcome}, "takes no argument 'outcome'"),
        ({"control_flow": ("Left",)}, "exception types"),
    ],
)
def test_a_bad_selector_is_an_error_while_decorating(options: dict[str, Any], complaint: str) -> None:
    """And the message says what is wrong."""
    with pytest.raises(SelectorError, match=complaint):

        @track_step(**options)
        def act(node: Any) -> None:
            pass


@pytest.mark.parametrize("thing", [3, dict, property(lambda self: 1)])
def test_what_is_no_function_cannot_be_decorated(thing: Any) -> None:
    """A class is pointed at auto_instrument."""
    with pytest.raises(SelectorError, match="not a function or method"):
        track_step(node_id="x")(thing)


def test_a_selector_that_raises_costs_a_log_line_and_nothing_else(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The default id, one line, a count a call."""

    @track_step(node_id="{node.missing}", success=lambda result: 1 / 0, error=lambda exception: 1 / 0)
    def act(node: Any) -> str:
        return "fine"

    for _ in range(3):
        assert act(node("n")) == "fine"
    assert [(s.node_id, s.status) for s in journal.steps] == [("n", 0)] * 3
    assert guard.counters["selector:node_id"] == guard.counters["selector:success"] == 3
    assert len([r for r in caplog.records if "node_id selector" in r.message]) == 1


def test_success_and_error_may_ask_for_the_exception(journal: Any) -> None:
    """Where the call raised, success is asked only if it takes `exception`."""

    @track_step(success=lambda exception, result: isinstance(exception, KeyError) or result == "ok")
    def lenient(error: Exception | None) -> str:
        if error:
            raise error
        return "ok"

    @track_step(success=lambda result: True, error="{exception.args[0]} of {what}")
    def strict(what: str) -> None:
        raise ValueError("lack")

    assert lenient(None) == "ok"
    for error in (KeyError("x"), ValueError("y")):
        with pytest.raises(type(error)):
            lenient(error)
    with pytest.raises(ValueError):
        strict("time")
    assert journal.statuses(Kind.STEP_END) == ["success", "success", "failed", "failed"]
    assert journal.steps[-1].error_message == "lack of time"


def test_tags_are_kept_as_text(journal: Any) -> None:
    """Each value is a selector; None is left out."""

    @track_workflow(
        workflow_id="w", tags={"customer": "{customer}", "n": lambda count: count, "fixed": "x", "no": "{none}"}
    )
    def run(customer: str, count: int, none: None = None) -> None:
        pass

    run("ACME", 3)
    assert journal.executions[0].tags == {"customer": "ACME", "n": "3", "fixed": "x"}


def test_the_decorated_function_looks_like_itself(journal: Any) -> None:
    """Name, documentation, signature, kind, and pickling by name."""
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Documented."
    assert str(inspect.signature(module_level)) == "(x: int = 1) -> int"
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert module_level.__wrapped__(5) == 5  # type: ignore[attr-defined]  # because every wrapper has it

    @track_step
    async def coroutine() -> None:
        pass

    @track_step
    def generator() -> Any:
        yield

    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)


def test_decorating_twice_counts_once(journal: Any) -> None:
    """The same decorator again gives the same function back."""
    once = track_step(node_id="x")(lambda: None)
    assert track_step(node_id="y")(once) is once
    once()
    assert len(journal.steps) == 1


def test_blocks_work_inline_and_tell_their_ids(journal: Any) -> None:
    """with and async with; current_execution() anywhere inside."""

    async def work() -> None:
        async with track_step(node_id="second", action_type="sql"):
            assert current_execution() is run

    with track_workflow(workflow_id="nightly", total_steps=3, tags={"env": "test"}) as run:
        with track_step(node_id="first", action_type="http") as step:
            assert current_execution() is run
        asyncio.run(work())
    assert step.node_id == "first"
    assert current_execution() is None
    (execution,) = journal.executions
    assert (execution.execution_id, execution.total_steps, execution.tags) == (run.execution_id, 3, {"env": "test"})
    assert [(s.node_id, s.action_type) for s in journal.steps] == [("first", "http"), ("second", "sql")]


def test_one_block_object_may_be_entered_again_inside_itself(journal: Any) -> None:
    """State is per entry, not per object."""
    block = track_step(node_id="n")
    with block as outer, block as inner:
        assert outer is not inner
    assert [s.parent_step_no for s in journal.steps] == [outer.step_no, None]


@pytest.mark.parametrize(("say", "status"), [("fail", "failed"), ("skip", "skipped"), ("cancel", "cancelled")])
def test_the_handle_may_say_how_it_ended(journal: Any, say: str, status: str) -> None:
    """And why."""
    with track_workflow(workflow_id="w") as run:
        with track_step(node_id="s") as step:
            getattr(step, say)("no stock")
        getattr(run, say)("as the step")
    assert journal.statuses(Kind.STEP_END) == journal.statuses(Kind.EXECUTION_END) == [status]
    assert journal.steps[0].error_message == "no stock"


def test_a_block_that_raises_is_failed_and_the_exception_goes_on(journal: Any) -> None:
    """With its type and message."""
    with pytest.raises(ValueError), track_workflow(workflow_id="w"), track_step(node_id="s"):
        raise ValueError("broken")
    assert [(s.error_type, s.error_message) for s in journal.steps] == [("ValueError", "broken")]
    assert journal.statuses(Kind.EXECUTION_END) == ["failed"]


def test_what_an_execution_leaves_open_is_closed_with_it(journal: Any) -> None:
    """failed where it failed or timed out, else cancelled."""
    for error in (None, ValueError(), TimeoutError()):
        try:
            with track_workflow(workflow_id="w"):
                track_step(node_id="left").__enter__()
                if error:
                    raise error
        except Exception as raised:
            assert raised is error
    assert journal.statuses(Kind.STEP_END) == ["cancelled", "failed", "failed"]


# ------------------------------------------------------------------ recoveries


def test_a_recovery_inside_a_step_that_then_succeeds_makes_it_recovered(journal: Any) -> None:
    """The strategy, the time, the step; the execution knows that it needed one."""
    healing = recovery_attempt("semantic_variant", tags={"by": "css"})
    with track_workflow(workflow_id="w"), track_step(node_id="pay"), healing:
        pass
    (recovery,) = journal.recoveries
    assert (recovery.strategy, recovery.success, recovery.step_no, recovery.node_id) == (
        "semantic_variant",
        True,
        1,
        "pay",
    )
    assert recovery.tags == {"by": "css"}
    assert journal.statuses(Kind.STEP_END) == ["recovered"]
    assert (journal.executions[0].steps_completed, journal.executions[0].steps_recovered) == (1, 1)


def test_a_recovery_that_fails_heals_nothing(journal: Any) -> None:
    """By fail(), or by an exception."""
    with track_workflow(workflow_id="w"), track_step(node_id="pay"):
        with recovery_attempt("a") as attempt:
            attempt.fail("not on the page")
        with pytest.raises(ValueError), recovery_attempt("b"):
            raise ValueError("worse")
    assert [(r.strategy, r.success, r.error_message) for r in journal.recoveries] == [
        ("a", False, "not on the page"),
        ("b", False, "worse"),
    ]
    assert journal.statuses(Kind.STEP_END) == ["success"]


def test_a_step_that_failed_is_recovered_by_an_attempt_that_comes_later(journal: Any) -> None:
    """By its node in the execution, also when another step failed since; its ending is recorded anew."""
    with track_workflow(workflow_id="w", total_steps=2):
        for name in ("pay", "ship"):
            with pytest.raises(ValueError), track_step(node_id=name):
                raise ValueError(name)
        with recovery_attempt("retry", node_id="pay"):
            pass
        with recovery_attempt("retry"):
            pass
    assert [(s.node_id, STATUSES[s.status], s.revises) for s in journal.steps] == [
        ("pay", "failed", None),
        ("ship", "failed", None),
        ("pay", "recovered", 2),
        ("ship", "recovered", 2),
    ]
    assert (journal.executions[0].steps_completed, journal.executions[0].steps_failed) == (2, 0)
    assert [s.start for s in journal.steps[2:]] == [s.start for s in journal.steps[:2]]


def test_a_recovery_outside_any_failure_belongs_to_the_execution(journal: Any) -> None:
    """Which then was no first-pass success."""
    with track_workflow(workflow_id="w") as run, recovery_attempt("restart"):
        pass
    (recovery,) = journal.recoveries
    assert (recovery.execution_id, recovery.step_no) == (run.execution_id, None)
    assert journal.executions[0].steps_recovered == 1


@pytest.mark.parametrize(
    ("said", "status"), [("fh", "recovered"), ("hf", "failed"), ("fhf", "failed"), ("fhfh", "recovered")]
)
def test_what_is_said_last_of_an_open_step_decides(journal: Any, said: str, status: str) -> None:
    """`fail()` and a healing in any order: f and h."""
    with track_step(node_id="a") as step:
        for word in said:
            if word == "f":
                step.fail("gone")
            else:
                with recovery_attempt("retry"):
                    pass
    assert [STATUSES[one.status] for one in journal.steps] == [status]


def test_a_step_that_fails_after_a_recovery_is_failed(journal: Any) -> None:
    """Attempt first; then the step's own ending decides."""
    with track_workflow(workflow_id="w"), pytest.raises(ValueError), track_step(node_id="pay"):
        with recovery_attempt("retry"):
            pass
        raise ValueError
    assert journal.statuses(Kind.STEP_END) == ["failed"]


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_recovery_decorator_selects_strategy_and_success_from_the_result(journal: Any, kind: str) -> None:
    """strategy and success may ask for the result."""
    decorate = recovery_attempt("{result.strategy_used}", success=lambda result: result.healed)
    outcomes = [SimpleNamespace(strategy_used="css", healed=True), SimpleNamespace(strategy_used="xpath", healed=False)]

    @decorate
    def heal(outcome: Any) -> Any:
        return outcome

    @decorate
    async def heal_async(outcome: Any) -> Any:
        return outcome

    for outcome in outcomes:
        result = heal(outcome) if kind == "function" else asyncio.run(heal_async(outcome))
        assert result is outcome
    assert [(r.strategy, r.success) for r in journal.recoveries] == [("css", True), ("xpath", False)]


# ------------------------------------------------------------------ hostile values, and off


@pytest.mark.parametrize(
    "value", ["a\nb", "\U0001f680", "\x00", "<script>", "\ud800", "x" * 100_000, 3, 2.5, None, ("t",)]
)
def test_any_value_may_be_an_id(journal: Any, value: Any) -> None:
    """Something is always recorded, and the host goes on."""

    @track_step(node_id="{value}")
    def act(value: Any) -> str:
        return "ok"

    assert act(value) == "ok"


class Hostile:
    """Raises from everything that anybody could ask it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]  # because being unhashable is part of it


def test_an_object_that_raises_from_everything_is_harmless(journal: Any) -> None:
    """As argument, id, verdict, total, tag and result."""

    @track_workflow(workflow_id="{thing}", total_steps="{thing}", success=lambda result: result, tags={"t": "{thing}"})
    def run(thing: Any) -> Any:
        return step(thing)

    @track_step
    def step(thing: Any) -> Any:
        return thing

    hostile = Hostile()
    assert run(hostile) is hostile
    assert len(journal.executions) == len(journal.steps) == 1
    assert journal.executions[0].total_steps is None


def test_a_journal_that_raises_is_harmless(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong inside of us: one log line, a counter, and the host goes on."""

    def refuse(kind: int, fields: Any) -> int:
        raise OSError("no")

    monkeypatch.setattr(active.recorder, "append", refuse)

    @track_workflow
    def run() -> str:
        with track_step(node_id="s"), recovery_attempt("r"):
            return module_level(4) and "done"  # type: ignore[return-value]  # because 4 is true

    assert run() == "done"
    assert current.get() is None
    assert guard.counters["begin"] >= 1


def test_a_logging_handler_that_records_does_not_recurse(journal: Any) -> None:
    """A handler of the host's is called from inside recording, and records itself."""

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            module_level()

    handler = Recording()
    guard.logger.addHandler(handler)
    try:

        @track_step(node_id="{x.missing}")
        def act(x: int) -> None:
            pass

        act(1)
    finally:
        guard.logger.removeHandler(handler)
    assert Counter(s.node_id for s in journal.steps) == {act.__qualname__: 1, "module_level": 1}


def test_disabled_by_the_environment_means_the_original_callable(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the word true disables."""
    monkeypatch.setenv("ANALYTICS_SDK_DISABLED", "True")

    def act() -> None:
        pass

    assert track_step(act) is act
    assert track_workflow(workflow_id="x")(act) is act
    assert recovery_attempt("s")(act) is act
    monkeypatch.setenv("ANALYTICS_SDK_DISABLED", "1")
    assert track_step(act) is not act


def test_off_at_run_time_keeps_ids_real(journal: Any) -> None:
    """Nothing is recorded, and every handle works."""
    kept = active.recorder, active.enabled
    active.recorder, active.enabled = None, False
    try:
        with track_workflow(workflow_id="w") as run, track_step(node_id="s") as step, recovery_attempt("r") as attempt:
            assert current_execution() is run
            step.fail("x")
            attempt.fail("y")
        assert module_level(3) == 3
        assert list(track_step(node_id="g")(lambda: iter([1, 2]))()) == [1, 2]
    finally:
        active.recorder, active.enabled = kept
    assert len(run.execution_id) == 36
    assert current.get() is None
    assert journal.events == []


def test_execution_ids_sort_by_time(journal: Any) -> None:
    """UUID version 7, variant 10."""
    ids = []
    for _ in range(3):
        with track_workflow(workflow_id="w") as run:
            ids.append(run.execution_id)
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)
    assert len(set(ids)) == 3
