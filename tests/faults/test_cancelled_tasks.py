"""Tasks that are cancelled at any await, groups that fail, generators that are closed from elsewhere."""

import asyncio
import contextvars
import gc
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from child_program import EXECUTIONS, delivered, run_python

from analytics_sdk import current_execution, recovery_attempt, track_step, track_workflow
from analytics_sdk.capture.context import current
from analytics_sdk.testing import CapturedEvents, capture_events


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Iterator[CapturedEvents]:
    """What a test records; nobody logs a warning, and at the end who called is outside of everything again."""
    with capture_events() as captured:
        yield captured
        gc.collect()
        assert current.get() is None and current_execution() is None
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def statuses(events: CapturedEvents) -> dict[str, str]:
    """How each step and each execution ended, by its name."""
    return {
        **{execution.workflow_id: execution.status for execution in events.executions},
        **{step.node_id: step.status for step in events.steps},
    }


class Pause:
    """One await that somebody else ends."""

    def __await__(self) -> Iterator[None]:
        yield


class Job:
    """A workflow with everything in it that may be open at an await; it notes for itself what began and what ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.finished: list[str] = []

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        self.begun.append(name)
        yield
        self.finished.append(name)

    @track_workflow(workflow_id="job")
    async def run(self) -> None:
        with self.noted("job"):
            await Pause()
            await self.plain()
            with track_step(node_id="inline"), self.noted("inline"):
                await Pause()
                await self.nested()
                await Pause()
            async with track_workflow(workflow_id="inner"), track_step(node_id="within"):
                with self.noted("inner"), self.noted("within"):
                    await Pause()
            async for _ in self.items():
                await Pause()
            with suppress(ValueError):
                await self.failing()
            async with recovery_attempt("again", node_id="failing"):
                with self.noted("recovery"):
                    await Pause()
            await Pause()

    @track_step(node_id="plain")
    async def plain(self) -> None:
        with self.noted("plain"):
            await Pause()

    @track_step(node_id="nested")
    async def nested(self) -> None:
        with self.noted("nested"):
            await Pause()

    @track_step(node_id="items")
    async def items(self) -> AsyncIterator[int]:
        with self.noted("items"):
            await Pause()
            yield 1
            await Pause()

    @track_step(node_id="failing")
    async def failing(self) -> None:
        with self.noted("failing"):
            await Pause()
        raise ValueError("on purpose")

    def expected(self) -> dict[str, str]:
        """How each thing that began has ended, by the contract."""
        found = {name: "success" if name in self.finished else "cancelled" for name in self.begun}
        if found.pop("recovery", None) == "success":
            found["failing"] = "recovered"
        elif "failing" in self.finished:
            found["failing"] = "failed"
        return found


def go_to(n: int, task: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine by hand to its n-th await; whether it got there."""
    try:
        for _ in range(n):
            task.send(None)
    except StopIteration:
        return False
    return True


def cancel(task: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        task.throw(asyncio.CancelledError())


def close(task: Coroutine[Any, Any, None]) -> None:
    task.close()


def close_elsewhere(task: Coroutine[Any, Any, None]) -> None:
    contextvars.Context().run(task.close)


@pytest.mark.parametrize("stop", [cancel, close, close_elsewhere], ids=lambda stop: stop.__name__)
def test_a_workflow_that_is_stopped_at_any_await_ends_as_cancelled(
    stop: Callable[[Coroutine[Any, Any, None]], None], caplog: pytest.LogCaptureFixture
) -> None:
    """What was open at that await is cancelled, what had ended keeps its ending, nothing stays open."""
    reached = 0
    for n in range(1, 100):
        job = Job()
        with capture_events() as events:
            task = contextvars.copy_context().run(lambda job=job: job.run())
            inside = contextvars.copy_context()
            if not inside.run(go_to, n, task):
                break
            reached = n
            inside.run(stop, task)
            if stop is not close_elsewhere:
                assert inside.run(current.get) is None
            assert current.get() is None and current_execution() is None
            assert statuses(events) == job.expected(), f"at await {n}"
            assert not events.system.recorder.open_executions
            assert {attempt.success for attempt in events.recoveries} == (
                {"recovery" in job.finished} if "recovery" in job.begun else set()
            )
    assert reached == 12
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_group_whose_child_fails_cancels_the_others(events: CapturedEvents) -> None:
    """The failed child, its siblings, and the workflow around them each end as what they are."""

    @track_step(node_id="{name}")
    async def child(name: str) -> None:
        if name == "bad":
            await asyncio.sleep(0)
            raise ValueError("on purpose")
        await asyncio.sleep(3600)

    @track_workflow(workflow_id="group")
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in ("one", "bad", "two"):
                tasks.create_task(child(name))

    with pytest.raises(ExceptionGroup):
        asyncio.run(group())
    assert statuses(events) == {"group": "failed", "one": "cancelled", "bad": "failed", "two": "cancelled"}
    assert {step.execution_id for step in events.steps} == {events.execution().execution_id}
    assert (events.step("bad").error_type, events.execution().error_type) == ("ValueError", "ExceptionGroup")


def test_a_timeout_is_told_where_it_is_an_exception_and_is_a_cancellation_within(events: CapturedEvents) -> None:
    """`asyncio.timeout` cancels what is inside of it, and raises `TimeoutError` from itself."""

    @track_step(node_id="within")
    async def within() -> None:
        await asyncio.sleep(3600)

    @track_step(node_id="around")
    async def around() -> None:
        async with asyncio.timeout(0):
            await within()

    @track_workflow(workflow_id="late")
    async def late() -> None:
        await around()

    with pytest.raises(TimeoutError):
        asyncio.run(late())
    assert statuses(events) == {"late": "timeout", "around": "timeout", "within": "cancelled"}


@track_step(node_id="stream")
async def stream() -> AsyncIterator[int]:
    try:
        for number in range(10):
            with recovery_attempt("inside"):
                yield number
    finally:
        await asyncio.sleep(0)


def test_a_generator_may_be_closed_by_another_task_than_began_it(events: CapturedEvents) -> None:
    """By a task of its own, after being read by tasks of their own: each has another context."""

    async def program() -> list[object]:
        with track_workflow(workflow_id="reader"):
            iterator = stream()
            read = [await asyncio.create_task(anext(iterator)) for _ in range(2)]
        await asyncio.create_task(iterator.aclose(), context=contextvars.Context())
        return [*read, current.get()]

    assert asyncio.run(program()) == [0, 1, None]
    assert statuses(events) == {"reader": "success", "stream": "cancelled"}
    assert [attempt.success for attempt in events.recoveries] == [True, False]


def test_a_generator_that_is_never_used_up_ends_with_its_loop(events: CapturedEvents) -> None:
    """It is left and forgotten inside an execution that goes on, and closed by the collector or the loop's end."""
    kept = []

    async def program() -> None:
        with track_workflow(workflow_id="reader"):
            async for _ in stream():
                break
            kept.append(stream())
            assert await anext(kept[0]) == 0
            assert current_execution() is not None

    asyncio.run(program())
    assert [(step.node_id, step.status) for step in events.steps] == [("stream", "cancelled")] * 2
    assert events.execution().status == "success"


def test_a_plain_generator_may_be_closed_by_another_thread_or_by_the_collector(events: CapturedEvents) -> None:
    """Nothing of where it began is touched where it ends."""

    @track_step(node_id="{name}")
    def numbers(name: str) -> Iterator[int]:
        with recovery_attempt("inside"):
            yield 1
            yield 2

    with track_workflow(workflow_id="reader") as run:
        closed, dropped = numbers("closed"), numbers("dropped")
        assert (next(closed), next(dropped)) == (1, 1)
        thread = threading.Thread(target=closed.close)
        thread.start()
        thread.join()
        del dropped
        gc.collect()
        assert current.get() is run
    assert statuses(events) == {"reader": "success", "closed": "cancelled", "dropped": "cancelled"}


NOISY = """
    import asyncio, gc
    from analytics_sdk import configure, track_step, track_workflow
    configure(sink="sqlite:///analytics.db")
    @track_workflow(workflow_id="waits")
    async def waits():
        with track_step(node_id="waits"):
            await asyncio.get_running_loop().create_future()
    @track_workflow(workflow_id="fails")
    async def fails():
        raise ValueError("nobody looks")
    kept = []  # because asyncio itself keeps no task that waits for nothing, and the collector may come at any moment
    async def cancelled_by_run():
        kept.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)
    asyncio.run(cancelled_by_run())
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(waits()), loop.create_task(fails())]
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    del tasks
    gc.collect()
    waits()
"""


def test_what_asyncio_complains_of_is_the_same_with_us_and_without(tmp_path: Path) -> None:
    """A loop that is closed with tasks pending, an exception that nobody looked at, a coroutine that nobody awaited."""

    def complaints(**environment: str) -> list[str]:
        done = run_python(NOISY, tmp_path, **environment)
        assert done.returncode == 0
        kept = re.findall(r"^(?!  )(?:task:|source_).*|^(?!\s).*", done.stderr, re.MULTILINE)
        return [re.sub(r"(name='Task-\d+' )?coro=.*|0x[0-9a-f]+|\S*\.py:\d+:", "", line) for line in kept]

    with_us = complaints()
    assert with_us == complaints(ANALYTICS_SDK_DISABLED="true")
    assert "Task was destroyed but it is pending!" in with_us
    assert delivered(tmp_path, EXECUTIONS) == [("fails", "failed", 1), ("waits", "cancelled", 2)]
