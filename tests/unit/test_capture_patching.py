"""auto_instrument: what it finds, what it leaves as it was, and what it says when it cannot."""

import asyncio
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from analytics_sdk import Target, auto_instrument, guard, track_step, track_workflow
from analytics_sdk.errors import SelectorError, TargetError
from analytics_sdk.vocabulary import Kind


class Loop:
    """Somebody's loop."""

    def execute_workflow(self, workflow: Any) -> bool:
        for node in workflow.nodes:
            result = self._execute_node(node)
            if not result.success:
                self.heal(node_id=node.node_id, result=result)
        return True

    def _execute_node(self, node: Any) -> Any:
        return SimpleNamespace(success=node.node_id != "bad", error="missing")

    def heal(self, node_id: str, result: Any) -> Any:
        return SimpleNamespace(strategy_used="neighbour", success=True)

    @staticmethod
    def static(node: Any) -> int:
        return 1

    @classmethod
    def class_(cls, node: Any) -> type:
        return cls

    async def run_async(self, workflow: Any) -> None:
        pass


class Child(Loop):
    """Overrides, and calls its parent."""

    def execute_workflow(self, workflow: Any) -> bool:
        return super().execute_workflow(workflow)


def workflow(*names: str) -> SimpleNamespace:
    nodes = [SimpleNamespace(node_id=name, action_type="click") for name in names]
    return SimpleNamespace(workflow_id="w", nodes=nodes)


def module_function(node: Any) -> None:
    pass


def test_the_default_names_are_tracked_and_put_back(journal: Any) -> None:
    """execute_workflow, _execute_node, a recovery method; afterwards the very same functions stand there."""
    before = dict(vars(Loop))
    with auto_instrument(Loop, recovery="heal") as instrumentation:
        assert inspect.signature(Loop.execute_workflow) == inspect.signature(before["execute_workflow"])
        assert Loop().execute_workflow(workflow("a", "bad")) is True
    assert dict(vars(Loop)) == before
    assert (instrumentation.pending, instrumentation.failed) == ([], {})
    assert journal.statuses(Kind.STEP_END) == ["success", "failed", "recovered"]
    (recovery,) = journal.recoveries
    assert (recovery.strategy, recovery.success, recovery.node_id, recovery.step_no) == ("neighbour", True, "bad", 2)
    assert (journal.executions[0].steps_completed, journal.executions[0].total_steps) == (2, 2)


@pytest.mark.parametrize("target", [Loop(), "test_capture_patching:Loop", sys.modules[__name__]])
def test_a_target_may_be_an_instance_a_module_or_a_place(journal: Any, target: Any) -> None:
    """An instance stands for its class."""
    if isinstance(target, ModuleType):
        with auto_instrument(target, workflow=[], step="module_function"):
            module_function(SimpleNamespace(node_id="m"))
        assert [s.node_id for s in journal.steps] == ["m"]
        return
    with auto_instrument(target):
        Loop().execute_workflow(workflow("a"))
    assert len(journal.executions) == len(journal.steps) == 1


def test_instrumenting_twice_counts_once(journal: Any) -> None:
    """And undoing the second leaves the first."""
    with auto_instrument(Loop):
        with auto_instrument(Loop):
            Loop().execute_workflow(workflow("a"))
        Loop().execute_workflow(workflow("a"))
    assert len(journal.executions) == len(journal.steps) == 2


@pytest.mark.parametrize("first_undone", [0, 1])
def test_each_instrumentation_undoes_its_own_and_the_last_restores_the_original(
    journal: Any, first_undone: int
) -> None:
    """Two parts of a program track one class: whichever stops first, the other goes on."""
    before = dict(vars(Loop))
    both = [auto_instrument(Loop), auto_instrument(Loop)]
    both.pop(first_undone).uninstrument()
    Loop().execute_workflow(workflow("a"))
    assert len(journal.executions) == len(journal.steps) == 1
    both.pop().uninstrument()
    assert dict(vars(Loop)) == before


def test_a_child_class_is_tracked_on_when_its_parent_is_no_longer(journal: Any) -> None:
    """What the child inherits is the parent's wrapper, so it stays until both are undone."""
    before = dict(vars(Loop))
    parents = auto_instrument(Loop)
    childs = auto_instrument(Child)
    parents.uninstrument()
    Child().execute_workflow(workflow("a"))
    assert len(journal.executions) == len(journal.steps) == 1
    childs.uninstrument()
    assert dict(vars(Loop)) == before


@pytest.mark.parametrize("targets", [[Loop, Child], [Child, Loop], [Child]])
def test_a_method_that_calls_its_parents_is_one_execution(journal: Any, targets: list[type]) -> None:
    """Through super(), with both patched; an inherited method is patched on the child alone."""
    instrumentations = [auto_instrument(target) for target in targets]
    try:
        Child().execute_workflow(workflow("a"))
        if targets == [Child]:
            Loop().execute_workflow(workflow("a"))
    finally:
        for instrumentation in reversed(instrumentations):
            instrumentation.uninstrument()
    assert len(journal.executions) == len(journal.steps) == 1
    assert "_execute_node" not in vars(Child)


def test_a_true_recursion_is_counted_each_time(journal: Any) -> None:
    """The same method with another workflow inside itself."""

    class Nested:
        def execute_workflow(self, workflow: Any) -> None:
            for inner in workflow.nodes:
                self.execute_workflow(inner)

    inner = SimpleNamespace(workflow_id="w", nodes=[])
    with auto_instrument(Nested):
        Nested().execute_workflow(SimpleNamespace(workflow_id="w", nodes=[inner, inner]))
    assert len(journal.executions) == 3
    assert [e.parent_execution_id is None for e in journal.executions] == [False, False, True]


def test_static_class_and_async_methods_stay_what_they_are(journal: Any) -> None:
    """And are tracked."""
    node = SimpleNamespace(node_id="n")
    with auto_instrument(Loop, workflow="run_async", step=["static", "class_"]):
        assert isinstance(inspect.getattr_static(Loop, "static"), staticmethod)
        assert Loop.static(node) == Loop().static(node) == 1
        assert Child.class_(node) is Child
        assert inspect.iscoroutinefunction(Loop.run_async)
        asyncio.run(Loop().run_async(workflow()))
        assert pickle.loads(pickle.dumps(Loop.static)) is Loop.static
        assert pickle.loads(pickle.dumps(Loop().run_async)).__func__ is Loop.run_async
    assert len(journal.steps) == 3
    assert len(journal.executions) == 1


def test_a_target_has_selectors_of_its_own(journal: Any) -> None:
    """Beside those that all share."""
    target = Target("_execute_node", id="step-{node.node_id}", action_type="x", tags={"k": "{node.action_type}"})
    with auto_instrument(Loop, step=target, success=lambda result: True, workflow_id="shared"):
        Loop()._execute_node(SimpleNamespace(node_id="bad", action_type="click"))
        Loop().execute_workflow(workflow())
    (step,) = journal.steps
    assert (step.node_id, step.action_type, step.tags, step.status) == ("step-bad", "x", {"k": "click"}, 0)
    assert journal.executions[0].workflow_id == "shared"


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: auto_instrument(Loop, step="_execute_nod"), "did you mean _execute_node"),
        (lambda: auto_instrument(SimpleNamespace), "nothing to track"),
        (lambda: auto_instrument(None), "nothing to track"),
        (lambda: auto_instrument(None, step="act"), "needs a target"),
        (lambda: auto_instrument(Loop, step=3), "takes a method name"),
        (lambda: auto_instrument(Loop, step=[3]), "takes a method name"),
        (lambda: auto_instrument(Loop, step="__doc__"), "not a function or method"),
        (lambda: auto_instrument("no place"), "is no place"),
        (lambda: auto_instrument("test_capture_patching:Lop"), "did you mean Loop"),
    ],
)
def test_what_cannot_be_patched_is_an_error_that_says_what_could(call: Any, complaint: str) -> None:
    """And leaves everything as it was."""
    before = dict(vars(Loop))
    with pytest.raises(TargetError, match=complaint):
        call()
    assert dict(vars(Loop)) == before


def test_a_selector_that_does_not_fit_is_an_error_and_nothing_is_patched() -> None:
    """Also when another place has been patched before it."""
    before = dict(vars(Loop))
    with pytest.raises(SelectorError, match="takes no argument 'nod'"):
        auto_instrument(Loop, node_id="{nod.id}")
    assert dict(vars(Loop)) == before


def test_a_decorated_class_is_not_counted_twice(journal: Any) -> None:
    """Decorators first, then auto_instrument on top."""

    class Decorated:
        @track_workflow
        def execute_workflow(self, workflow: Any) -> None:
            self._execute_node(workflow.nodes[0])

        @track_step
        def _execute_node(self, node: Any) -> None:
            pass

    with auto_instrument(Decorated):
        Decorated().execute_workflow(workflow("a"))
    assert len(journal.executions) == len(journal.steps) == 1


def test_what_is_not_imported_yet_is_patched_when_it_is(
    journal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never earlier; what then does not exist is a log line and `.failed`, and the host's import goes on."""
    (tmp_path / "later_loop.py").write_text(
        "class Loop:\n    def execute_workflow(self, workflow): return 'ran'\n    def _execute_node(self, node): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with auto_instrument("later_loop:Loop", recovery="later_loop:Healer.heal") as instrumentation:
        assert "later_loop" not in sys.modules
        assert len(instrumentation.pending) == 3
        import later_loop

        assert later_loop.Loop().execute_workflow(workflow()) == "ran"
        assert instrumentation.pending == []
        assert list(instrumentation.failed) == ["later_loop:Healer.heal"]
    assert later_loop.Loop().execute_workflow(workflow()) == "ran"
    assert len(journal.executions) == 1
    assert guard.counters["target:later_loop:Healer.heal"] == 1
    del sys.modules["later_loop"]


def test_disabled_by_the_environment_patches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class stays as it is."""
    monkeypatch.setenv("ANALYTICS_SDK_DISABLED", "true")
    before = dict(vars(Loop))
    auto_instrument(Loop)
    assert dict(vars(Loop)) == before


def test_threads_belong_to_the_call_that_started_them(journal: Any) -> None:
    """threads=True: Thread and ThreadPoolExecutor; afterwards they are what they were."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    class Threaded:
        def execute_workflow(self, workflow: Any) -> None:
            thread = threading.Thread(target=self._execute_node, args=(workflow.nodes[0],))
            thread.start()
            thread.join()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(self._execute_node, workflow.nodes))

        def _execute_node(self, node: Any) -> None:
            pass

    with auto_instrument(Threaded, threads=True):
        Threaded().execute_workflow(workflow("a", "b"))
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (start, submit)
    assert {s.execution_id for s in journal.steps} == {journal.executions[0].execution_id}
    assert len(journal.steps) == 3
