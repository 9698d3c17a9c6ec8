"""The short way of usual steps writes what the general way writes, and whatever is not usual takes the general one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from analytics_sdk import current_execution, guard, recovery_attempt, track_workflow
from analytics_sdk.capture import usual_step
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Step, current, latest_failed
from analytics_sdk.capture.trackers import StepTracker
from analytics_sdk.capture.wrapping import wrap_coroutine, wrap_function


class Node:
    node_id = "pay"
    action_type = "click"


class Moody:
    """Raises when it is asked for its id."""

    action_type = "click"

    @property
    def node_id(self) -> str:
        raise RuntimeError("not now")


def _step() -> Step:
    frame = current.get()
    assert isinstance(frame, Step)
    return frame


def _fail() -> None:
    _step().fail("no such element")


def _heal() -> None:
    with recovery_attempt("semantic_variant"):
        pass


def _fail_and_heal() -> None:
    with recovery_attempt("semantic_variant"):
        _step().fail("no such element")


def _say_times() -> None:
    _step().said_duration_ns, _step().said_started_at_ns = 5, 7


def _end_the_execution() -> None:
    execution = _step().execution
    assert execution is not None and execution.recorder is not None
    execution.recorder.end_execution(execution, 0)


def _name_the_action() -> None:
    _step().action_type = "type"


def _raise(error: BaseException) -> None:
    raise error


def _future() -> "Future[int]":
    future: Future[int] = Future()
    future.set_result(3)
    return future


def _switch_off() -> None:
    active.recorder = None


BODIES: dict[str, Callable[[], Any]] = {
    "returns nothing": lambda: None,
    "returns False": lambda: False,
    "returns an object": lambda: SimpleNamespace(success=True),
    "returns what failed": lambda: SimpleNamespace(success=False, error="no"),
    "returns a future": _future,
    "says that it failed": _fail,
    "skips": lambda: _step().skip(),
    "is healed": _heal,
    "fails and is healed": _fail_and_heal,
    "has the host's times": _say_times,
    "ends its execution": _end_the_execution,
    "names its action later": _name_the_action,
    "raises": lambda: _raise(ValueError("bad")),
    "times out": lambda: _raise(TimeoutError("slow")),
    "is cancelled": lambda: _raise(asyncio.CancelledError()),
    "exits": lambda: _raise(SystemExit(0)),
    "switches capture off": _switch_off,
}
IDS = {"node_id": "{node.node_id}", "action_type": "{node.action_type}"}
SELECTORS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "templates": IDS,
    "constants": {"node_id": "fetch", "action_type": "http"},
    "mixed text": {"node_id": "{node.node_id}!", "action_type": "http"},
    "callables": {"node_id": lambda node: node.node_id, "action_type": lambda: None},
    "a number": {"node_id": 7},
    "a URL": {"node_id": "https://ada:secret@example.org/"},
    "a verdict": {**IDS, "success": lambda result: result is not False},
    "tags": {**IDS, "tags": {"region": "eu"}},
}


def _events(journal: Any, wrapper: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, list[Any], Any]:
    """What came of one call inside an execution: its result or exception, the records, and the counters of steps."""
    kept = active.recorder
    begin = len(journal.events)
    guard.counters.clear()
    latest_failed.set(None)
    with track_workflow(workflow_id="checkout") as run:
        try:
            outcome: Any = type(wrapper(*args, **kwargs)).__name__
        except BaseException as error:
            outcome = repr(error)
        assert current.get() is run, "the execution is the current frame again"
    active.recorder = kept
    records = []
    for kind, event in journal.events[begin:]:
        fields = msgspec.to_builtins(msgspec.structs.asdict(event))
        start = fields.pop("start", None)
        fields["begun by"] = None if start is None else start - begin
        for name in ("execution_id", "started_at_ns", "duration_ns"):
            fields.pop(name, None)
        records.append((kind, fields))
    counts = (run.steps_ended, run.steps_completed, run.steps_failed, run.current_step, len(run.open_steps))
    return outcome, records, (counts, dict(guard.counters))


def _both(journal: Any, body: Callable[[], Any], selectors: dict[str, Any]) -> tuple[Any, Any]:
    def act(self: object, node: object = None) -> Any:
        return body()

    tracker = StepTracker(act, **selectors)
    return tracker.wrap_function(act), wrap_function(act, tracker)


def _finished(coroutine_function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function that is called and run to its end at once; nothing in it waits."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            coroutine_function(*args, **kwargs).send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waits")

    return call


def _both_awaited(journal: Any, body: Callable[[], Any], selectors: dict[str, Any]) -> tuple[Any, Any]:
    async def act(self: object, node: object = None) -> Any:
        return body()

    tracker = StepTracker(act, **selectors)
    return _finished(tracker.wrap_coroutine(act)), _finished(wrap_coroutine(act, tracker))


KINDS = pytest.mark.parametrize("both", [_both, _both_awaited], ids=["function", "coroutine"])


@KINDS
@pytest.mark.parametrize("selectors", SELECTORS)
@pytest.mark.parametrize("body", BODIES)
def test_both_ways_write_the_same(journal: Any, body: str, selectors: str, both: Any) -> None:
    """Records, the host's own result or exception, counters, and the frame that is current afterwards."""
    usual, general = both(journal, BODIES[body], SELECTORS[selectors])
    assert _events(journal, usual, "loop", Node()) == _events(journal, general, "loop", Node())


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("loop",), {"node": Node()}),
        (("loop", Moody()), {}),
        (("loop", SimpleNamespace(node_id=12, action_type=3)), {}),
        (("loop", SimpleNamespace(node_id="postgres://ada:pw@db/x", action_type=None)), {}),
        (("loop", None), {}),
        (("loop",), {}),
        (("loop", Node(), "too many"), {}),
        ((), {}),
    ],
    ids=["by name", "raises", "numbers", "URL", "None", "too few", "too many", "none at all"],
)
@KINDS
@pytest.mark.parametrize("selectors", ["defaults", "templates", "constants"])
def test_odd_arguments_come_to_the_same(journal: Any, selectors: str, args: Any, kwargs: Any, both: Any) -> None:
    """Also those that the function itself refuses: the host sees its own TypeError."""
    usual, general = both(journal, lambda: 1, SELECTORS[selectors])
    assert _events(journal, usual, *args, **kwargs) == _events(journal, general, *args, **kwargs)


@KINDS
def test_the_usual_way_is_taken(journal: Any, monkeypatch: pytest.MonkeyPatch, both: Any) -> None:
    """Else everything here would compare the general way with itself."""
    made: list[Step] = []

    def noting(*args: Any) -> Step:
        made.append(Step(*args))
        return made[-1]

    monkeypatch.setattr(usual_step, "Step", noting)
    for name in ("defaults", "templates", "constants", "mixed text", "callables"):
        usual, _ = both(journal, lambda: 1, SELECTORS[name])
        with track_workflow(workflow_id="checkout"):
            usual("loop", Node())
    assert len(made) == 5


@KINDS
def test_a_start_that_fails_half_way_is_not_recorded_twice(
    journal: Any, monkeypatch: pytest.MonkeyPatch, both: Any
) -> None:
    """The call is made, once, and unrecorded from there on; it is counted."""

    def fail(*_args: Any) -> Step:
        raise MemoryError

    calls: list[int] = []
    usual, _ = both(journal, lambda: calls.append(1), IDS)
    monkeypatch.setattr(usual_step, "Step", fail)
    guard.counters.clear()
    with track_workflow(workflow_id="checkout"):
        usual("loop", Node())
    assert (calls, journal.steps, dict(guard.counters)) == ([1], [], {"begin": 1})


@KINDS
def test_a_step_in_a_step_and_one_outside_take_the_general_way(journal: Any, both: Any) -> None:
    """They know where they stand."""
    usual, _ = both(journal, lambda: None, IDS)
    outer, _ = both(journal, lambda: usual("loop", Node()), {"node_id": "outer"})
    outer("loop", Node())
    with track_workflow(workflow_id="checkout"):
        outer("loop", Node())
    steps = [(s.node_id, s.parent_step_no, s.execution_id is None) for s in journal.steps]
    assert steps == [("pay", 1, True), ("outer", None, True), ("pay", 1, False), ("outer", None, False)]


@KINDS
def test_capture_that_is_off_records_nothing(journal: Any, both: Any) -> None:
    """Also inside an execution that began while it was on."""
    usual, _ = both(journal, lambda: current_execution(), IDS)
    with track_workflow(workflow_id="checkout") as run:
        active.recorder, kept = None, active.recorder
        active.enabled = False
        assert usual("loop", Node()) is run
        active.recorder, active.enabled = kept, True
    assert journal.steps == []


def test_a_journal_that_fails_costs_the_host_nothing(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning and at the end: the call is made once, its result comes back, and it is counted as trouble."""
    calls = []
    usual, _ = _both(journal, lambda: calls.append(1) or "done", IDS)
    recorder: Any = active.recorder

    def broken(kind: int, fields: tuple[object, ...]) -> int:
        raise OSError("gone")

    with track_workflow(workflow_id="checkout") as run:
        kept, recorder.append = recorder.append, broken
        assert usual("loop", Node()) == "done"
        assert current.get() is run
        recorder.append = kept
    assert calls == [1]
    assert guard.counters["begin"] == 1
