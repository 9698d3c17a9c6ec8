"""Every kind of callable, ended in every way, alone, nested and concurrently: the same record each time."""

import asyncio
import functools
import inspect
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from analytics_sdk import track_step, track_workflow
from analytics_sdk.capture.context import copy_context, current
from analytics_sdk.vocabulary import STATUSES, Kind


class Left(Exception):
    """Control flow of the host's."""


RESULT = SimpleNamespace(success=False, error="no such button")

# ending -> (how the body ends, status of a step, status of an execution, error_type)
ENDINGS: dict[str, tuple[Any, str, str, str | None]] = {
    "returns": ("done", "success", "success", None),
    "returns None": (None, "success", "success", None),
    "returns False": (False, "success", "failed", None),
    "returns 0": (0, "success", "success", None),
    "result.success is False": (RESULT, "failed", "failed", None),
    "TimeoutError": (TimeoutError("late"), "timeout", "timeout", "TimeoutError"),
    "asyncio.TimeoutError": (TimeoutError(), "timeout", "timeout", "TimeoutError"),
    "ValueError": (ValueError("bad"), "failed", "failed", "ValueError"),
    "SystemExit(0)": (SystemExit(0), "success", "success", None),
    "SystemExit()": (SystemExit(), "success", "success", None),
    "SystemExit(3)": (SystemExit(3), "failed", "failed", "SystemExit"),
    "KeyboardInterrupt": (KeyboardInterrupt(), "cancelled", "cancelled", "KeyboardInterrupt"),
    "CancelledError": (asyncio.CancelledError(), "cancelled", "cancelled", "asyncio.exceptions.CancelledError"),
    "control flow": (Left("not today"), "skipped", "skipped", "test_conformance_matrix.Left"),
    "selector says None": ("skip", "skipped", "skipped", None),
    "selector says False": ("bad", "failed", "failed", None),
}
SELECTED = {"selector says None": lambda result: None, "selector says False": lambda result: result != "bad"}


def body(ending: Any) -> Any:
    if isinstance(ending, BaseException):
        raise ending
    return ending


def run_coroutine(coroutine: Any) -> Any:
    """Drive a coroutine by hand, so that KeyboardInterrupt and the like come out as they are."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


def make(kind: str, decorate: Any, ending: Any) -> Any:
    """A decorated callable of one kind, as a function without arguments that runs it to its end."""

    def function() -> Any:
        return body(ending)

    async def coroutine() -> Any:
        return body(ending)

    def generator() -> Any:
        yield 1
        return body(ending)

    async def async_generator() -> Any:
        yield 1
        body(ending)

    def future() -> Any:
        made: Future[Any] = Future()
        try:
            made.set_result(body(ending))
        except BaseException as error:
            made.set_exception(error)
        return made

    def awaitable() -> Any:
        return coroutine()

    class Host:
        @decorate
        def method(self) -> Any:
            return body(ending)

        @staticmethod
        @decorate
        def static() -> Any:
            return body(ending)

        @decorate
        @staticmethod
        def static_inside() -> Any:
            return body(ending)

        @classmethod
        @decorate
        def class_(cls) -> Any:
            return body(ending)

        @decorate
        @classmethod
        def class_inside(cls) -> Any:
            return body(ending)

        def __call__(self) -> Any:
            return body(ending)

    def exhaust(iterator: Any) -> Any:
        while True:
            try:
                next(iterator)
            except StopIteration as stop:
                return stop.value

    async def exhaust_async(iterator: Any) -> None:
        async for _ in iterator:
            pass

    return {
        "function": lambda: decorate(function)(),
        "method": lambda: Host().method(),
        "static method": lambda: Host.static(),
        "static method, decorated outside": lambda: Host().static_inside(),
        "class method": lambda: Host.class_(),
        "class method, decorated outside": lambda: Host().class_inside(),
        "coroutine": lambda: run_coroutine(decorate(coroutine)()),
        "generator": lambda: exhaust(decorate(generator)()),
        "async generator": lambda: run_coroutine(exhaust_async(decorate(async_generator)())),
        "partial": lambda: decorate(functools.partial(lambda a: body(a), ending))(),
        "callable object": lambda: decorate(Host())(),
        "returns a Future": lambda: decorate(future)().result(),
        "returns an awaitable": lambda: run_coroutine(decorate(awaitable)()),
    }[kind]


KINDS = [
    "function",
    "method",
    "static method",
    "static method, decorated outside",
    "class method",
    "class method, decorated outside",
    "coroutine",
    "generator",
    "async generator",
    "partial",
    "callable object",
    "returns a Future",
    "returns an awaitable",
]
NO_RESULT = {"returns False", "result.success is False", "selector says None", "selector says False"}


def call(run: Any, ending: Any) -> None:
    """Run it, and see that the host gets exactly what the body gave."""
    if isinstance(ending, BaseException):
        try:
            run()
        except BaseException as error:
            assert error is ending or type(error) is type(ending)
        else:
            raise AssertionError("the host's exception was swallowed")
    else:
        assert run() is ending


def decorator_for(tracker: Any, name: str) -> Any:
    options: dict[str, Any] = {"control_flow": (Left,)}
    if name in SELECTED:
        options["success"] = SELECTED[name]
    return tracker(**options)


# A concurrent Future has a CancelledError of its own: see test_a_cancelled_future_of_a_pool_is_cancelled.
CROSSED = [(kind, name) for kind in KINDS for name in ENDINGS if (kind, name) != ("returns a Future", "CancelledError")]


@pytest.mark.parametrize(("kind", "name"), CROSSED)
@pytest.mark.parametrize("role", ["step", "execution"])
@pytest.mark.parametrize("setting", ["alone", "nested", "concurrent"])
def test_every_kind_of_callable_records_every_ending(
    journal: Any, kind: str, name: str, role: str, setting: str
) -> None:
    """One beginning, one ending, the status of the table, and the host notices nothing."""
    ending, step_status, execution_status, error_type = ENDINGS[name]
    if kind == "async generator" and name in NO_RESULT:
        ending, step_status, execution_status = None, "success", "success"
        if name in SELECTED:
            step_status = execution_status = "skipped" if name == "selector says None" else "success"
    tracker = track_step if role == "step" else track_workflow
    decorate = decorator_for(tracker, name)
    run = make(kind, decorate, ending)
    if kind == "async generator" and not isinstance(ending, BaseException):
        ending = None
    times = 1
    if setting == "alone":
        call(run, ending)
    elif setting == "nested":
        with track_workflow(workflow_id="outer"), track_step(node_id="outer"):
            call(run, ending)
    else:
        times = 4
        barrier = threading.Barrier(times)
        with ThreadPoolExecutor(times) as pool:
            list(pool.map(lambda _: (barrier.wait(), call(run, ending)), range(times)))
    expected = step_status if role == "step" else execution_status
    what = Kind.STEP_END if role == "step" else Kind.EXECUTION_END
    begun = Kind.STEP_START if role == "step" else Kind.EXECUTION_START
    endings = journal.of(what)[:times]
    assert [STATUSES[one.status] for one in endings] == [expected] * times
    extra = 1 if setting == "nested" else 0
    assert len(journal.of(begun)) == len(journal.of(what)) == times + extra
    assert {one.error_type for one in endings} == {error_type}
    assert all(one.duration_ns >= 0 for one in endings)
    assert current.get() is None
    if setting == "nested":
        parent = journal.of(Kind.EXECUTION_START)[0].execution_id
        if role == "step":
            assert (endings[0].execution_id, endings[0].parent_step_no) == (parent, 1)
        else:
            assert (endings[0].parent_execution_id, endings[0].parent_step_no) == (parent, 1)


@pytest.mark.parametrize("left", ["closed", "garbage collected", "never begun"])
def test_a_generator_that_is_left_early_is_cancelled(journal: Any, left: str) -> None:
    """What was begun and left is cancelled; what never ran is not recorded at all."""

    @track_step
    def numbers() -> Any:
        yield from range(10)

    iterator = numbers()
    if left != "never begun":
        assert next(iterator) == 0
    if left == "closed":
        iterator.close()
    del iterator
    assert journal.statuses(Kind.STEP_END) == ([] if left == "never begun" else ["cancelled"])


def test_an_async_generator_that_is_left_early_is_cancelled(journal: Any) -> None:
    """Closing from another task raises nothing about contexts."""

    @track_step
    async def numbers() -> Any:
        for i in range(10):
            yield i

    async def main() -> None:
        iterator = numbers()
        assert await anext(iterator) == 0
        await asyncio.create_task(iterator.aclose())

    asyncio.run(main())
    assert journal.statuses(Kind.STEP_END) == ["cancelled"]


def test_a_generator_does_not_leak_its_step_to_its_caller(journal: Any) -> None:
    """Between two items the caller is where it was before."""

    @track_step
    def numbers() -> Any:
        with track_step(node_id="inside"):
            pass
        yield 1
        with track_step(node_id="inside"):
            pass
        yield 2

    with track_workflow(workflow_id="w"):
        for _ in numbers():
            with track_step(node_id="caller's"):
                pass
    parents = {step.node_id: step.parent_step_no for step in journal.of(Kind.STEP_START)}
    assert parents["inside"] == 1
    assert parents["caller's"] is None


def test_generators_pass_on_what_is_sent_and_thrown(journal: Any) -> None:
    """send, throw and the returned value reach whom they are meant for."""

    @track_step
    def echo() -> Any:
        got = yield "first"
        try:
            got = yield got
        except KeyError:
            got = yield "caught"
        return got

    iterator = echo()
    assert inspect.isgenerator(iterator)
    assert next(iterator) == "first"
    assert iterator.send("a") == "a"
    assert iterator.throw(KeyError("x")) == "caught"
    with pytest.raises(StopIteration) as stop:
        iterator.send("end")
    assert stop.value.value == "end"
    assert journal.statuses(Kind.STEP_END) == ["success"]


def test_an_item_that_the_selector_refuses_makes_a_generator_failed(journal: Any) -> None:
    """success=... of `item` is asked for each; a single False is enough."""

    @track_step(success=lambda item: item < 2)
    def numbers() -> Any:
        yield from range(4)

    assert list(numbers()) == [0, 1, 2, 3]
    assert journal.statuses(Kind.STEP_END) == ["failed"]


@pytest.mark.parametrize("ending", ["cancelled", "failed", "result"])
def test_an_asyncio_task_that_a_function_returns_is_followed_to_its_end(journal: Any, ending: str) -> None:
    """The task itself comes back, and ends the step when it ends."""

    async def work() -> str:
        await asyncio.sleep(0)
        if ending == "failed":
            raise ValueError("bad")
        if ending == "cancelled":
            await asyncio.Event().wait()
        return "done"

    @track_step
    def begin() -> "asyncio.Task[str]":
        return asyncio.get_running_loop().create_task(work())

    async def main() -> None:
        task = begin()
        assert isinstance(task, asyncio.Task)
        await asyncio.sleep(0.001)
        if ending == "cancelled":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert journal.statuses(Kind.STEP_END) == [{"result": "success"}.get(ending, ending)]


def test_a_cancelled_future_of_a_pool_is_cancelled(journal: Any) -> None:
    """concurrent.futures has a CancelledError of its own."""

    @track_step
    def begin() -> "Future[None]":
        return Future()

    future = begin()
    assert journal.steps == []
    future.cancel()
    assert journal.statuses(Kind.STEP_END) == ["cancelled"]


def test_tasks_of_one_execution_know_it_and_not_each_other(journal: Any) -> None:
    """Context follows tasks by itself: a thousand at once, each step in its own execution."""

    @track_step
    async def step() -> None:
        await asyncio.sleep(0)

    @track_workflow(workflow_id="{name}")
    async def workflow(name: str) -> None:
        await asyncio.gather(step(), step())

    async def main() -> None:
        await asyncio.gather(*(workflow(f"w{i}") for i in range(500)))

    asyncio.run(main())
    by_execution = {e.execution_id: e.workflow_id for e in journal.of(Kind.EXECUTION_START)}
    assert len(by_execution) == 500
    assert len(journal.steps) == 1000
    assert all(by_execution[step.execution_id] == step.workflow_id for step in journal.steps)
    assert all(step.parent_step_no is None for step in journal.steps)
    assert {(e.steps_completed, e.steps_failed) for e in journal.executions} == {(2, 0)}


def test_a_thread_belongs_to_the_execution_whose_context_it_was_given(journal: Any) -> None:
    """copy_context() carries; a bare thread does not."""

    @track_step
    def step() -> None:
        pass

    with track_workflow(workflow_id="w") as run, ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, step).result()
        pool.submit(step).result()
    assert [one.execution_id for one in journal.steps] == [run.execution_id, None]
