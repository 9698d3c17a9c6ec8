"""Capture stays out of contexts that are not its own, and keeps nothing of the host's that has ended."""

import asyncio
import contextvars
import functools
import gc
import os
import threading
import types
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import auto_instrument, current_execution, recovery_attempt, track_step, track_workflow
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import current
from analytics_sdk.errors import TargetError
from analytics_sdk.integration import AnalyticsIntegration
from analytics_sdk.vocabulary import Kind

hooks = AnalyticsIntegration()


def test_a_coroutine_closed_elsewhere_leaves_that_place_as_it_was(journal: Any) -> None:
    """A coroutine that is closed inside another execution ends as cancelled and does not move that execution."""

    @track_step
    async def waiting() -> None:
        await asyncio.sleep(0)

    coroutine = waiting()
    contextvars.Context().run(coroutine.send, None)
    with track_workflow(workflow_id="other") as run:
        coroutine.close()
        assert current_execution() is run
    assert journal.statuses(Kind.STEP_END) == ["cancelled"]


def test_a_block_in_a_generator_may_end_inside_the_consumers_step(journal: Any) -> None:
    """A generator that leaves its block while its consumer is in a later step takes nothing of that step away."""

    def pages() -> Iterator[int]:
        with track_step(node_id="pages"):
            yield 1

    with track_workflow(workflow_id="w"):
        read = pages()
        next(read)
        with track_step(node_id="consumer"):
            assert list(read) == []
    assert [(step.node_id, step.status) for step in journal.steps] == [("pages", 0), ("consumer", 0)]


def test_a_block_left_in_another_context_ends_there(journal: Any) -> None:
    """A block that a generator entered in one context and leaves in another ends, and moves nobody."""

    def fixture() -> Generator[int, None, None]:
        with track_workflow(workflow_id="w"):
            yield 1

    held = fixture()
    contextvars.Context().run(next, held)
    held.close()
    assert journal.statuses(Kind.EXECUTION_END) == ["cancelled"]
    assert current.get() is None


def test_a_recovery_block_that_tasks_share_keeps_their_attempts_apart(journal: Any) -> None:
    """Each task leaves its own attempt of a block that many have entered."""
    heal = recovery_attempt("shared")

    async def one(node_id: str, mine: asyncio.Event, others: asyncio.Event) -> None:
        with track_step(node_id=node_id), heal as attempt:
            mine.set()
            await others.wait()
            if node_id == "bad":
                attempt.fail("no luck")

    async def both() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        with track_workflow(workflow_id="w"):
            await asyncio.gather(one("bad", first, second), one("good", second, first))

    asyncio.run(both())
    assert {made.node_id: made.success for made in journal.recoveries} == {"bad": False, "good": True}


def test_an_awaitable_generator_stays_awaitable(journal: Any) -> None:
    """What `types.coroutine` made can be awaited when it is tracked."""

    @track_step
    @types.coroutine
    def pause() -> Generator[None, None, int]:
        yield
        return 3

    async def main() -> int:
        return await pause()

    assert asyncio.run(main()) == 3
    assert journal.statuses(Kind.STEP_END) == ["success"]


def test_arguments_are_let_go_when_the_call_has_ended(journal: Any) -> None:
    """What a failed step was called with is not kept by what is remembered of the step."""

    class Batch:
        """Something large."""

    @track_step
    def work(batch: Batch) -> None:
        raise ValueError("too large")

    batch = Batch()
    kept = weakref.ref(batch)
    with track_workflow(workflow_id="w"):
        with pytest.raises(ValueError, match="too large"):
            work(batch)
        del batch
        gc.collect()
        assert kept() is None


def test_executions_that_start_one_another_are_not_all_kept(journal: Any) -> None:
    """A program that starts each execution from inside the one before keeps a bounded number of them."""

    def turn(left: int, done: asyncio.Future[int]) -> None:
        with track_workflow(workflow_id="w"):
            if left:
                asyncio.get_running_loop().call_soon(turn, left - 1, done)
                return
            depth, frame = 0, current.get()
            while frame is not None:
                depth, frame = depth + 1, frame.parent
            done.set_result(depth)

    async def main() -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        turn(50, done)
        return await done

    assert asyncio.run(main()) <= 3


def test_what_another_thread_said_is_complete_has_no_children(journal: Any) -> None:
    """An execution that the hooks complete in another thread is not the parent of the next one."""
    first = hooks.on_execution_start("w")
    thread = threading.Thread(target=hooks.on_execution_complete, args=(first, "w"))
    thread.start()
    thread.join()
    hooks.on_execution_complete(hooks.on_execution_start("w"), "w")
    assert [one.parent_execution_id for one in journal.executions] == [None, None]


def test_what_the_hooks_began_ends_also_while_capture_is_off(journal: Any) -> None:
    """Turned off in the middle, capture records how that which runs ends, and nothing new."""
    execution_id = hooks.on_execution_start("w")
    hooks.on_step_start(execution_id, "open", 1)
    recorder, active.recorder, active.enabled = active.recorder, None, False
    hooks.on_step_complete(execution_id, "w", "open")
    hooks.on_step_complete(execution_id, "w", "new")
    hooks.on_execution_complete(execution_id, "w")
    assert recorder is not None and not recorder.open_executions
    assert [step.node_id for step in journal.steps] == ["open"]
    assert journal.statuses(Kind.EXECUTION_END) == ["success"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_capture_is_off_does_not_end_what_is_its_parents(journal: Any) -> None:
    """What is open belongs to the parent process, also where capture is off at the fork."""
    with track_workflow(workflow_id="w") as run:
        active.recorder, recorder = None, active.recorder
        child = os.fork()
        if child == 0:
            os._exit(0 if run.inherited else 1)
        active.recorder = recorder
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pool_thread_belongs_to_nobody(journal: Any) -> None:
    """A thread that a pool starts in a tracked call is in no execution afterwards, and the host's variables stay."""
    setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="default")

    class Loop:
        def execute_workflow(self, pool: ThreadPoolExecutor) -> Any:
            setting.set("caller's")
            return pool.submit(lambda: (current_execution(), setting.get())).result()

    with ThreadPoolExecutor(1) as pool, auto_instrument(Loop, threads=True):
        inside, seen = Loop().execute_workflow(pool)
        assert inside is not None and seen == "default"
        assert pool.submit(current_execution).result() is None


class Doubler:
    """Something callable that binds no instance."""

    def __call__(self, value: int) -> int:
        return 2 * value


def test_what_binds_no_instance_does_not_begin_to(journal: Any) -> None:
    """A callable object in a class is called with the same arguments as before."""

    class Loop:
        _execute_node = Doubler()
        execute_workflow = functools.partial(int, "3")

    with auto_instrument(Loop):
        assert (Loop()._execute_node(4), Loop().execute_workflow()) == (8, 3)
    assert isinstance(vars(Loop)["_execute_node"], Doubler)
    assert len(journal.steps) == len(journal.executions) == 1


def test_a_built_in_type_is_refused_in_our_words() -> None:
    """Where Python lets nobody set an attribute, that is said as a TargetError."""
    with pytest.raises(TargetError, match="cannot be replaced"):
        auto_instrument(list, workflow="append")


def test_a_class_with_nothing_to_track_is_told_when_it_appears(
    journal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the import comes later and has neither of the default methods, `.failed` says so; the import succeeds."""
    (tmp_path / "bare_module_of_contexts.py").write_text("class Bare: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    instrumentation = auto_instrument("bare_module_of_contexts:Bare")
    __import__("bare_module_of_contexts")
    assert instrumentation.pending == []
    assert "nothing to track" in " ".join(instrumentation.failed.values())


def test_a_reason_may_be_anything(journal: Any) -> None:
    """Saying why something failed never raises, and keeps no more text than can be kept."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    with track_step(node_id="a") as step:
        step.fail(Broken())
    with track_step(node_id="b") as step:
        step.fail("y" * 100_000)
    assert journal.steps[0].error_message == "<Broken>"
    assert len(journal.steps[1].error_message) <= 8192


def test_a_decorator_that_binds_in_its_own_way_still_gets_its_instance(journal: Any) -> None:
    """A method under a `wrapt` decorator, and one borrowed from another object, are called as they were before."""
    import wrapt

    def insert(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, instance.name, **kwargs)

    named: Callable[[Any], Any] = wrapt.decorator(insert)

    class Loop:
        name = "loop"
        _execute_node = Doubler().__call__

        @named
        def execute_workflow(self, workflow: int, name: str) -> Any:
            return name, workflow

        @named
        async def run(self, workflow: int, name: str) -> Any:
            return name, workflow

    with auto_instrument(Loop, workflow=["execute_workflow", "run"]):
        assert Loop().execute_workflow(1) == ("loop", 1)
        assert Loop()._execute_node(4) == 8
        assert asyncio.run(Loop().run(2)) == ("loop", 2)
    assert len(journal.executions) == 2 and len(journal.steps) == 1
