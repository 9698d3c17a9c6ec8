"""The guide's hooks: what the host says wins, what it forgets is borne, and nothing is raised."""

import math
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analytics_sdk import auto_instrument, current_execution, guard, recovery_attempt, track_step, track_workflow
from analytics_sdk.integration import AnalyticsIntegration, get_analytics_integration
from analytics_sdk.vocabulary import STATUSES, Kind

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import integration_guide
from integration_guide import EnhancedExecutionLoop, Healing, example_workflow, node

hooks = AnalyticsIntegration()
AT = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


def step(execution_id: str, node_id: str, **said: Any) -> None:
    hooks.on_step_start(execution_id=execution_id, node_id=node_id, step_number=1)
    hooks.on_step_complete(
        execution_id=execution_id,
        workflow_id="w",
        node_id=node_id,
        action_type="click",
        started_at=AT,
        completed_at=AT + timedelta(seconds=2),
        **{"duration": 2.0, "success": True, **said},
    )


def complete(execution_id: str, **said: Any) -> None:
    hooks.on_execution_complete(
        **{
            "execution_id": execution_id,
            "workflow_id": "w",
            "started_at": AT,
            "completed_at": AT + timedelta(seconds=5),
            "duration": 5.0,
            "status": "success",
            "steps_completed": 7,
            "steps_failed": 1,
            **said,
        }
    )


def counts(journal: Any) -> tuple[Any, ...]:
    """Executions, final step statuses and recoveries, as the tables would hold them."""
    final = {s.start: STATUSES[s.status] for s in journal.steps}
    recoveries = Counter((r.strategy, r.success, r.node_id) for r in journal.recoveries)
    return journal.statuses(Kind.EXECUTION_END), Counter(final.values()), recoveries


def test_what_the_host_says_wins(journal: Any) -> None:
    """Its times, durations and counts, and its word for the status."""
    execution_id = hooks.on_execution_start(workflow_id="w", total_steps=3)
    step(execution_id, "a")
    complete(execution_id)
    (execution,), (one,) = journal.executions, journal.steps
    assert (execution.duration_ns, execution.steps_completed, execution.steps_failed) == (5_000_000_000, 7, 1)
    assert execution.started_at_ns == one.started_at_ns == int(AT.timestamp()) * 10**9
    assert (one.duration_ns, one.action_type) == (2_000_000_000, "click")


def test_a_zero_that_the_host_says_is_a_zero(journal: Any) -> None:
    """Its counts of 0 beat ours."""
    execution_id = hooks.on_execution_start("w")
    step(execution_id, "a")
    complete(execution_id, steps_completed=0, steps_failed=0)
    assert (journal.executions[0].steps_completed, journal.executions[0].steps_failed) == (0, 0)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("success", "success"),
        ("failed", "failed"),
        ("timeout", "timeout"),
        ("Cancelled", "cancelled"),
        ("odd", "failed"),
    ],
)
def test_the_hosts_word_is_the_status(journal: Any, word: str, status: str) -> None:
    """One that is not known counts as failed."""
    complete(hooks.on_execution_start("w"), status=word)
    assert journal.statuses(Kind.EXECUTION_END) == [status]
    assert guard.counters["status-word"] == (word == "odd")


def test_an_attempt_and_then_success_is_recovered(journal: Any) -> None:
    """The attempt belongs to the open step of its node."""
    execution_id = hooks.on_execution_start("w")
    hooks.on_step_start(execution_id=execution_id, node_id="a", step_number=1)
    hooks.on_recovery_attempt(
        execution_id=execution_id, workflow_id="w", node_id="a", strategy="css", success=True, duration=0.25
    )
    hooks.on_step_complete(execution_id, "w", "a", "click", AT, AT, 0.5, True)
    complete(execution_id)
    assert counts(journal) == (["success"], {"recovered": 1}, {("css", True, "a"): 1})
    assert journal.recoveries[0].duration_ns == 250_000_000
    assert journal.recoveries[0].step_no == 1


def test_a_step_that_nobody_announced_is_the_next_one(journal: Any) -> None:
    """And of two open steps of a node the oldest is completed first."""
    execution_id = hooks.on_execution_start("w")
    hooks.on_step_complete(execution_id, "w", "a", "click", AT, AT, 1.0, True)
    hooks.on_step_start(execution_id, "b", 2)
    hooks.on_step_start(execution_id, "b", 3)
    hooks.on_step_complete(execution_id, "w", "b", "click", AT, AT, 1.0, False, "first")
    hooks.on_step_complete(execution_id, "w", "b", "click", AT, AT, 1.0, True)
    assert [(s.step_no, s.node_id, s.error_message) for s in journal.steps] == [
        (1, "a", None),
        (2, "b", "first"),
        (3, "b", None),
    ]
    assert all(s.parent_step_no is None for s in journal.steps)


@pytest.mark.parametrize("duration", [math.nan, math.inf, -1.0, "soon", None, 10**400])
def test_a_duration_that_makes_no_sense_is_replaced_by_ours(journal: Any, duration: Any) -> None:
    """Counted and logged, unless it was just left out; from the two times where they make sense."""
    execution_id = hooks.on_execution_start("w")
    step(execution_id, "a", duration=duration)
    hooks.on_step_complete(execution_id, "w", "b", "click", "now", None, duration, True)
    assert journal.steps[0].duration_ns == 2_000_000_000
    assert 0 <= journal.steps[1].duration_ns < 10**9
    assert guard.counters["duration"] == (0 if duration is None else 2)


@pytest.mark.parametrize("text", ["a\nb", "\U0001f4a5", "\ud800", "\x00", "<img src=x>", "x" * 10_000_000])
def test_hostile_text_is_borne(journal: Any, text: str) -> None:
    """As id, node, strategy and message."""
    execution_id = hooks.on_execution_start(workflow_id=text, total_steps=-3)
    step(execution_id, text, success=False, error_message=text)
    hooks.on_recovery_attempt(execution_id, text, text, text, False, 0.1)
    complete(execution_id, status="failed", error_message=text)
    assert len(journal.executions) == len(journal.steps) == len(journal.recoveries) == 1
    assert len(journal.steps[0].error_message) < 9000
    assert len(journal.steps[0].node_id) < 300


@pytest.mark.parametrize("arguments", [{}, {"nonsense": 1}, {"execution_id": object()}, {"execution_id": None}])
def test_no_hook_raises_whatever_it_is_given(journal: Any, arguments: dict[str, Any]) -> None:
    """Not even for arguments that do not exist."""
    for hook in (hooks.on_step_start, hooks.on_step_complete, hooks.on_recovery_attempt, hooks.on_execution_complete):
        hook(**arguments)
    assert isinstance(hooks.on_execution_start(odd=1), str)


def test_what_is_completed_without_a_beginning_is_kept(journal: Any) -> None:
    """An execution and a step whose id nobody here knows: recorded whole."""
    hooks.on_step_complete("e-elsewhere", "w", "a", "click", AT, AT, 1.0, True)
    complete("e-elsewhere", status="failed", error_message="late")
    (execution,) = journal.executions
    assert (execution.execution_id, execution.workflow_id, execution.duration_ns) == ("e-elsewhere", "w", 5_000_000_000)
    assert journal.steps[0].execution_id == "e-elsewhere"


def test_completing_twice_counts_once(journal: Any) -> None:
    """The first word holds."""
    execution_id = hooks.on_execution_start("w")
    complete(execution_id)
    complete(execution_id, status="failed")
    assert journal.statuses(Kind.EXECUTION_END) == ["success"]


def test_hooks_inside_tracked_calls_join_them(journal: Any) -> None:
    """One execution and one step; the host's word decides."""

    @track_workflow(workflow_id="w")
    def run() -> None:
        execution_id = hooks.on_execution_start("w", 1)
        assert current_execution() is not None
        assert execution_id == current_execution().execution_id  # type: ignore[union-attr]  # because it is not None
        act(execution_id)
        complete(execution_id, status="timeout")

    @track_step(node_id="a")
    def act(execution_id: str) -> None:
        step(execution_id, "a", success=False, error_message="said so")

    run()
    assert counts(journal) == (["timeout"], {"failed": 1}, {})
    assert (journal.steps[0].duration_ns, journal.steps[0].error_message) == (2_000_000_000, "said so")
    assert journal.executions[0].duration_ns == 5_000_000_000


def test_a_tracked_call_inside_a_hooks_step_of_its_node_joins_it(journal: Any) -> None:
    """As when the guide's loop calls hooks and is instrumented too; another node is nested."""
    execution_id = hooks.on_execution_start("w", 1)
    hooks.on_step_start(execution_id, "a", 1)
    with_same = track_step(node_id="a")(lambda: None)
    with_other = track_step(node_id="b")(lambda: None)
    with_same()
    with_other()
    with recovery_attempt("inside"):
        pass
    hooks.on_step_complete(execution_id, "w", "a", "click", AT, AT, 1.0, True)
    complete(execution_id)
    assert [(s.node_id, s.parent_step_no) for s in journal.steps] == [("b", 1), ("a", None)]
    assert journal.statuses(Kind.STEP_END) == ["success", "recovered"]
    assert current_execution() is None


def test_live_metrics_tell_progress_and_an_unknown_id_has_every_key(journal: Any) -> None:
    """progress_percent is always a float, the estimate a naive local datetime or a reason."""
    execution_id = hooks.on_execution_start("w", 4)
    unknown = hooks.get_live_metrics("nobody")
    fresh = hooks.get_live_metrics(execution_id)
    assert fresh["progress_percent"] == 0.0
    assert (fresh["estimated_completion"], fresh["estimate_reason"]) == (None, "no step has ended yet")
    step(execution_id, "a")
    hooks.on_step_start(execution_id, "b", 2)
    live = hooks.get_live_metrics(execution_id)
    assert live.keys() == unknown.keys()
    assert (live["progress_percent"], live["steps_completed"], live["current_step"]) == (25.0, 1, "b")
    assert live["estimated_completion"].tzinfo is None
    assert abs(live["estimated_completion"] - datetime.now()) < timedelta(seconds=5)
    complete(execution_id)
    assert hooks.get_live_metrics(execution_id)["status"] == "success"
    assert math.isnan(unknown["progress_percent"])
    assert f"{unknown['progress_percent']:.1f}" == "nan"


def test_disabled_hooks_give_real_ids_and_every_key(journal: Any) -> None:
    """get_analytics_integration(enabled=False) turns capture off for the process."""
    from analytics_sdk.capture.active import active

    kept = active.recorder
    integration = get_analytics_integration(enabled=False)
    try:
        assert not integration.enabled
        execution_id = integration.on_execution_start("w", 1)
        assert len(execution_id) == 36
        step(execution_id, "a")
        complete(execution_id)
        assert journal.events == []
    finally:
        active.enabled, active.recorder = True, kept
    assert integration.enabled


# ------------------------------------------------------------------ the guide's own loop


class UnhookedLoop:
    """The guide's loop with its hook calls taken out."""

    def __init__(self) -> None:
        self.healing = Healing()
        self.current_workflow_id = None

    def execute_workflow(self, workflow: Any) -> bool:
        self.current_workflow_id = workflow.workflow_id
        for one in workflow.nodes:
            self._execute_step(one)
        return True

    def _execute_step(self, node: Any) -> bool:
        try:
            result = self._execute_node(node)
            success = result.success
            if not success:
                recovery = self.healing.handle_execution_failure(
                    action_info=node.action_info,
                    execution_result=result,
                    workflow_id=self.current_workflow_id,
                    node_id=node.node_id,
                )
                if recovery and recovery.success:
                    success = True
        except Exception:
            success = False
        return success

    _execute_node = EnhancedExecutionLoop._execute_node


@pytest.fixture(autouse=True)
def guide_uses_these_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the guide's loop records into the test's journal, and makes no database."""
    monkeypatch.setattr(integration_guide, "get_analytics_integration", lambda enabled: hooks)


EXPECTED = (
    ["success"],
    Counter(success=1, recovered=1, failed=3),
    Counter(
        {("semantic_variant", True, "pay"): 1, ("semantic_variant", False, "confirm"): 1, ("none", False, "print"): 1}
    ),
)


def test_the_guides_loop_counts_what_happened(journal: Any) -> None:
    """One works, one is healed, three fail; three attempts."""
    loop = EnhancedExecutionLoop()
    assert loop.execute_workflow(example_workflow()) is True
    assert counts(journal) == EXPECTED
    (execution,) = journal.executions
    assert (execution.workflow_id, execution.total_steps) == ("my_workflow", 5)
    assert (execution.steps_completed, execution.steps_failed) == (2, 3)
    assert {s.error_message for s in journal.steps if s.error_message} == {"element not found", "the window is gone"}


@pytest.mark.parametrize("hooked", [False, True])
def test_the_guides_loop_instrumented_from_outside_gives_the_same_counts(journal: Any, hooked: bool) -> None:
    """Without its hooks, and with hooks and instrumentation together."""
    loop: Any = EnhancedExecutionLoop if hooked else UnhookedLoop
    recovery = None if hooked else "integration_guide:Healing.handle_execution_failure"
    with auto_instrument(loop, recovery=recovery):
        loop().execute_workflow(example_workflow())
    assert counts(journal) == EXPECTED
    assert (journal.executions[0].steps_completed, journal.executions[0].steps_failed) == (2, 3)


def test_a_workflow_without_nodes_is_a_success(journal: Any) -> None:
    """Nothing to do, done."""
    EnhancedExecutionLoop().execute_workflow(SimpleNamespace(workflow_id="empty", nodes=[]))
    EnhancedExecutionLoop().execute_workflow(SimpleNamespace(workflow_id="one", nodes=[node("a")]))
    assert journal.statuses(Kind.EXECUTION_END) == ["success", "success"]
