"""The kit for users' own tests: it sees everything, changes nothing that stays, and its errors help."""

import asyncio
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import (
    auto_instrument,
    configure,
    copy_context,
    current_execution,
    get_analytics_integration,
    get_analytics_system,
    recovery_attempt,
    track_step,
    track_workflow,
)
from analytics_sdk.capture.active import active
from analytics_sdk.errors import AnalyticsError, RejectedRecord, SettingError, SinkUnavailable
from analytics_sdk.sinks.base import Batch, RollupSink, Sink
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import (
    FailingSink,
    FakeClock,
    MemorySink,
    capture,
    capture_events,
    check_sink,
    drain,
    isolate,
)

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where nothing is written, and from where no thread of ours stays behind."""
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    yield tmp_path
    assert not {thread.name for thread in set(threading.enumerate()) - before}


@track_workflow(workflow_id="nightly", total_steps=2)
def run(*, fails: bool = False) -> None:
    with track_step(node_id="fetch", action_type="http", tags={"shop": "Paris"}), recovery_attempt("mirror"):
        pass
    with track_step(node_id="store"):
        if fails:
            raise KeyError("no such table")


def workflows(captured: Any) -> list[str]:
    return [execution.workflow_id for execution in captured.executions]


# ---------------------------------------------------------------- capture_events: what it sees


def test_what_decorators_and_blocks_record_is_typed_and_readable_at_once() -> None:
    with capture_events() as captured:
        run()
        execution = captured.execution("nightly")
        assert (execution.status, execution.total_steps, execution.steps_completed) == ("success", 2, 2)
        assert captured.step("fetch").status == "recovered"
        assert captured.step("fetch").tags == {"shop": "Paris"}
        assert captured.step("fetch").action_type == "http"
        assert captured.step("store").execution_id == execution.execution_id
        recovery = captured.recovery("mirror")
        assert (recovery.success, recovery.node_id, recovery.step_no) == (True, "fetch", 1)


def test_what_runs_is_running_and_what_was_left_open_is_cancelled() -> None:
    """Inside the block the truth of the moment, after it the truth of the end."""
    with capture_events() as captured:
        track_workflow(workflow_id="endless").__enter__()
        assert captured.execution("endless").status == "running"
        assert captured.execution("endless").ended_at_ns is None
    assert captured.execution("endless").status == "cancelled"
    assert current_execution() is None


def test_hooks_auto_instrument_and_samples_are_seen() -> None:
    class Loop:
        def execute_workflow(self, workflow: str) -> None:
            self._execute_node(workflow)

        def _execute_node(self, node: str) -> None: ...

    with capture_events() as captured, auto_instrument(Loop, workflow_id="{workflow}", node_id="{node}"):
        Loop().execute_workflow("patched")
        hooks = get_analytics_integration()
        execution_id = hooks.on_execution_start("hooked", total_steps=1)
        hooks.on_execution_complete(execution_id, "hooked", NOON, NOON, 0.5, "timeout", 0, 1)
        assert captured.execution("patched").status == "success"
        assert captured.step("patched").status == "success"
        assert captured.execution("hooked").status == "timeout"
        assert captured.execution("hooked").duration_ns == 500_000_000
        assert captured.execution("hooked").steps_failed == 1
        arrived = threading.Event()
        recorder = captured.system._append_sample

        def append(kind: int, fields: tuple[Any, ...]) -> int:
            position = recorder(kind, fields)
            arrived.set()
            return position

        captured.system._append_sample = append  # type: ignore[method-assign]  # because the test waits for a sample
        captured.system.start_resource_monitoring(0.1)
        assert arrived.wait(10)
        assert captured.samples[0].rss_bytes


def test_threads_tasks_and_forked_children_are_seen() -> None:
    """Each in its own way: a thread with a context, tasks by themselves, a child through its own journal."""

    async def work(number: int) -> None:
        async with track_step(node_id=f"task-{number}"):
            await asyncio.sleep(0)

    async def gather() -> None:
        async with track_workflow(workflow_id="tasks"):
            await asyncio.gather(*(work(number) for number in range(3)))

    with capture_events() as captured:
        with track_workflow(workflow_id="threads"), ThreadPoolExecutor(2) as pool:
            for number in range(3):
                pool.submit(copy_context().run, track_step(node_id=f"thread-{number}")(lambda: None))
        asyncio.run(gather())
        child = multiprocessing.get_context("fork").Process(target=run)
        child.start()
        child.join()
        assert sorted(workflows(captured)) == ["nightly", "tasks", "threads"]
        of = {execution.execution_id: execution.workflow_id for execution in captured.executions}
        assert sorted((step.node_id, of[step.execution_id or ""]) for step in captured.steps) == [
            ("fetch", "nightly"),
            ("store", "nightly"),
            *((f"task-{number}", "tasks") for number in range(3)),
            *((f"thread-{number}", "threads") for number in range(3)),
        ]
        assert captured.execution("nightly").pid == child.pid


def test_statistics_are_those_of_the_program() -> None:
    """Also where the program asks for them itself, and after the block."""
    with capture_events() as captured:
        run()
        with pytest.raises(KeyError):
            run(fails=True)
        assert get_analytics_system().stats("nightly")["success_rate"]["success_rate"] == 50.0
        assert captured.stats("nightly")["success_rate"]["n"] == 2
    assert captured.stats("nightly")["success_rate"]["success_rate"] == 50.0
    assert captured.stats("nightly")["errors"][0]["error_type"] == "KeyError"
    assert captured.losses == []


def test_clear_forgets_what_was_so_far() -> None:
    with capture_events() as captured:
        run()
        captured.clear()
        assert (captured.executions, captured.steps, captured.recoveries) == ([], [], [])
        run()
        assert workflows(captured) == ["nightly"]


# ---------------------------------------------------------------- capture_events: errors that help


def test_an_error_names_what_was_recorded_instead() -> None:
    with capture_events() as captured:
        with pytest.raises(AssertionError, match=r"^no step 'fetch' was recorded, and no other step either$"):
            captured.step("fetch")
        run()
        with pytest.raises(AssertionError, match=r"^no step 'fecth' was recorded; recorded were 'fetch' recovered, "):
            captured.step("fecth")
        with pytest.raises(AssertionError, match="recorded were 'nightly' success"):
            captured.execution("weekly")
        with pytest.raises(AssertionError, match="recorded were 'mirror' of 'fetch' succeeded"):
            captured.recovery("retry")
        with pytest.raises(AssertionError, match=r"^2 steps were recorded, not 1: .*; look at \.steps$"):
            captured.step()
        for _ in range(30):
            run()
        with pytest.raises(AssertionError, match=r"^31 executions 'nightly' were recorded.* and 11 more; "):
            captured.execution("nightly")


def test_where_the_environment_has_switched_it_off_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_SDK_DISABLED", "true")
    with capture_events() as captured:
        run()
        with pytest.raises(AssertionError, match="ANALYTICS_SDK_DISABLED is true"):
            captured.execution()


def test_a_sink_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="MemorySink"), capture_events(sink=SqlSink(f"sqlite:///{tmp_path}/a.db")):
        pass


def test_a_setting_that_cannot_work_is_refused_inside_and_at_the_start() -> None:
    with pytest.raises(SettingError, match="realtime"), capture_events(realtime="perhaps"):
        pass
    with capture_events(), pytest.raises(SettingError, match="no_such"):
        configure(no_such=1)


# ---------------------------------------------------------------- capture_events: what it leaves alone


def test_configure_inside_changes_everything_but_where_things_go(empty_folder: Path) -> None:
    """A program under test that sets itself up writes no database; its other settings hold."""
    clock = FakeClock(NOON)
    with capture_events() as captured:
        run()
        system = configure(sink="sqlite:///production.db", journal_dir="production", realtime=False, clock=clock)
        assert system is get_analytics_system(db_path="elsewhere.db")
        assert system.settings.realtime is False
        run()
        assert workflows(captured) == ["nightly", "nightly"]
        assert int(NOON.timestamp()) * 10**9 in [execution.started_at_ns for execution in captured.executions]
    assert list(empty_folder.iterdir()) == []


def test_the_hosts_own_system_and_open_execution_go_on_afterwards(empty_folder: Path) -> None:
    """What was set up before has no part in the block, and all of it afterwards, also after an exception."""
    with isolate():
        own = configure(sink=f"sqlite:///{empty_folder}/own.db")
        with track_workflow(workflow_id="around") as around:
            with pytest.raises(ZeroDivisionError), capture_events() as captured:
                assert current_execution() is None
                assert get_analytics_system() is not own
                configure(enabled=False)
                configure(enabled=True)
                run()
                raise ZeroDivisionError
            assert get_analytics_system() is own
            assert current_execution() is around
            assert captured.system.closed
            with track_step(node_id="own"):
                pass
        assert workflows(captured) == ["nightly"]
        drain(own)
        connection = sqlite3.connect(empty_folder / "own.db")
        assert connection.execute("SELECT workflow_id FROM executions").fetchall() == [("around",)]
        assert connection.execute("SELECT node_id FROM steps").fetchall() == [("own",)]
        connection.close()


def test_switched_off_is_restored() -> None:
    """Off around the block is on inside and off again; off inside ends with the block."""
    with isolate():
        configure(sink=MemorySink(), enabled=False)
        with capture_events() as captured:
            run()
            configure(enabled=False)
            run()
        assert workflows(captured) == ["nightly"]
        assert not get_analytics_integration().enabled
    with capture_events() as captured:
        run()
    assert workflows(captured) == ["nightly"]


def test_blocks_may_be_nested() -> None:
    """Each sees what is recorded while it is the innermost."""
    with capture_events() as outer:
        with track_workflow(workflow_id="outer"):
            with capture_events() as inner:
                run()
                assert [execution.status for execution in outer.executions] == ["running"]
                assert outer.system is not inner.system
            with track_step(node_id="after"):
                pass
        assert workflows(inner) == ["nightly"]
        assert workflows(outer) == ["outer"]
        assert outer.step().node_id == "after"


def test_blocks_of_two_threads_may_overlap() -> None:
    """The first to come is the first to go: the second goes on recording, and the process is as it was in the end."""
    before = get_analytics_integration().enabled
    first, second = capture_events(), capture_events()
    one = first.__enter__()
    run()
    other = second.__enter__()
    first.__exit__(None, None, None)
    with track_workflow(workflow_id="late"):
        pass
    assert workflows(other) == ["late"]
    second.__exit__(None, None, None)
    assert workflows(one) == ["nightly"]
    with capture_events() as captured:
        run()
    assert workflows(captured) == ["nightly"]
    assert get_analytics_integration().enabled is before


def test_what_a_thread_records_after_its_block_is_no_longer_part_of_it() -> None:
    """It began inside and was ended with the block; what it does later is recorded by whatever records then."""
    entered, go_on = threading.Event(), threading.Event()

    def linger() -> None:
        with track_workflow(workflow_id="lingering"):
            entered.set()
            go_on.wait(10)
            with track_step(node_id="late"):
                pass

    thread = threading.Thread(target=linger)
    with capture_events() as outer:
        with capture_events() as captured:
            thread.start()
            assert entered.wait(10)
        go_on.set()
        thread.join()
        assert captured.execution("lingering").status == "cancelled"
        assert captured.steps == []
        assert outer.step("late").status == "success"
        assert outer.executions == []


def test_a_system_that_was_ended_opens_no_journal_again(empty_folder: Path) -> None:
    """Whoever still holds its recorder writes nowhere: the folder may be gone."""
    with capture_events(folder=empty_folder / "kept") as captured:
        run()
        recorder = captured.system.recorder
    left = sorted((empty_folder / "kept/journals").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(active, "recorder", recorder)
        run()
    assert sorted((empty_folder / "kept/journals").iterdir()) == left
    assert workflows(captured) == ["nightly"]


def test_isolate_has_the_real_thing_and_takes_it_away(empty_folder: Path) -> None:
    with isolate():
        system = configure(sink=f"sqlite:///{empty_folder}/a.db")
        run()
        assert system.stats()["success_rate"]["n"] == 1
    assert system.closed
    assert not (empty_folder / "a.db.journals").exists() or not list((empty_folder / "a.db.journals").glob("*.seg"))


# ---------------------------------------------------------------- FakeClock


def test_time_passes_as_it_is_told() -> None:
    clock = FakeClock(NOON)
    with capture_events(clock=clock) as captured:
        with track_workflow(workflow_id="slow"):
            with track_step(node_id="wait"):
                clock.sleep(1.5)
            clock.advance(timedelta(minutes=2))
            with track_step(node_id="set back"):
                clock.set_time(NOON - timedelta(hours=1))
                clock.advance(0.25)
        assert captured.step("wait").duration_ns == 1_500_000_000
        assert captured.step("set back").duration_ns == 250_000_000
        assert captured.execution().duration_ns == 121_750_000_000
        assert captured.execution().started_at_ns == int(NOON.timestamp()) * 10**9
        assert captured.stats("slow", start=NOON, end=NOON + timedelta(seconds=1))["performance"]["n"] == 1


def test_an_estimate_follows_the_clock() -> None:
    clock = FakeClock(NOON)
    with capture_events(clock=clock), track_workflow(workflow_id="w", total_steps=4) as execution:
        with track_step(node_id="first"):
            clock.advance(30)
        live = get_analytics_integration().get_live_metrics(execution.execution_id)
        assert live["elapsed_seconds"] == 30.0
        assert live["estimated_completion"].astimezone(UTC) == NOON + timedelta(seconds=120)


def test_a_clock_is_shared_by_threads_and_never_goes_back() -> None:
    clock = FakeClock(0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: [clock.advance(0.001) for _ in range(500)], range(4)))
    assert clock.perf_counter_ns() == clock.time_ns() == 2_000_000_000
    with pytest.raises(ValueError, match="set_time"):
        clock.advance(-1)
    clock.set_time(5)
    assert (clock.time_ns(), clock.perf_counter_ns()) == (5, 2_000_000_000)


def test_sleeping_tasks_let_each_other_run() -> None:
    clock = FakeClock(NOON)
    turns: list[str] = []

    async def work(name: str) -> None:
        for _ in range(2):
            await clock.async_sleep(10)
            turns.append(name)

    async def both() -> None:
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(both())
    assert turns == ["a", "b", "a", "b"]
    assert clock.now == NOON + timedelta(seconds=40)


def test_a_clock_takes_naive_datetimes_as_local_time() -> None:
    local = datetime(2026, 3, 29, 12)
    assert FakeClock(local).time_ns() == int(time.mktime(local.timetuple())) * 10**9
    assert repr(FakeClock(NOON)) == "FakeClock(2026-03-29T12:00:00+00:00)"


# ---------------------------------------------------------------- FailingSink


def test_a_failing_sink_is_a_sink_of_the_kind_that_it_stands_before(tmp_path: Path) -> None:
    assert isinstance(FailingSink(), Sink)
    assert not isinstance(FailingSink(), RollupSink)
    assert isinstance(FailingSink(SqlSink(f"sqlite:///{tmp_path}/a.db")), RollupSink)


def test_a_transient_failure_loses_and_doubles_nothing() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.fail(2)
        run()
        assert workflows(captured) == ["nightly"]
        assert (sink.failures, len(sink.batches)) == (2, 1)
        assert sink.attempts == 3


def test_an_answer_lost_after_the_commit_doubles_nothing() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.fail_after_keeping()
        run()
        assert workflows(captured) == ["nightly"]
        assert len(captured.steps) == 2
        assert (sink.failures, len(sink.batches)) == (1, 1)


def test_a_batch_kept_in_part_is_completed() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.fail_partway(2)
        run()
        assert len(captured.steps) == 2
        assert sink.failures == 2


def test_a_refused_record_is_set_aside_and_counted() -> None:
    """It is one loss, however many batches follow; the rest arrives."""
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        run()
        assert captured.flush()
        sink.fail(1, RejectedRecord("no such column"))
        with recovery_attempt("by hand"):
            pass
        for _ in range(3):
            assert captured.flush()
            run()
        assert [(loss.kind, loss.reason, loss.n) for loss in captured.losses] == [("recovery", "rejected", 1)]
        assert len(captured.executions) == 4


def test_a_misconfigured_sink_says_what_it_said_and_everything_arrives_when_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.fail(1_000_000, "misconfigured")
        run()
        assert not captured.flush(timeout=0.1)
        with pytest.raises(AssertionError, match=r"bytes were not delivered: .*told to fail \(misconfigured\)"):
            drain(timeout=0.1)
        monkeypatch.setattr(capture, "PATIENCE_SECONDS", 0.1)
        with pytest.raises(AnalyticsError, match="misconfigured"):
            captured.executions  # noqa: B018  # because reading it is what raises
        monkeypatch.setattr(capture, "PATIENCE_SECONDS", 5.0)
        sink.mend()
        drain()
        assert workflows(captured) == ["nightly"]


def test_any_exception_at_any_call() -> None:
    sink = FailingSink()
    sink.fail(1, OSError("the cable is out"), at="open")
    sink.fail(1, SinkUnavailable("busy"), at="position")
    with capture_events(sink=sink) as captured:
        run()
        assert workflows(captured) == ["nightly"]
        assert sink.failures == 2
    with pytest.raises(ValueError, match="1 or more"):
        sink.fail(0)


def test_a_hanging_sink_holds_up_nobody_but_delivery() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.hang()
        run()
        assert not captured.system.flush(0.05)
        assert sink.wait_until_hanging()
        run()
        assert sink.batches == []
        sink.release()
        assert workflows(captured) == ["nightly", "nightly"]


def test_a_sink_that_still_hangs_at_the_end_of_the_block_is_released() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.hang()
        run()
    assert workflows(captured) == ["nightly"]


def test_statistics_read_through_to_the_sink_behind(empty_folder: Path) -> None:
    """A database that comes back: everything is in it, rollups and all."""
    sink = FailingSink(SqlSink(f"sqlite:///{empty_folder}/a.db"))
    sink.fail(2, RejectedRecord("never"), at="fold")
    with isolate():
        system = configure(sink=sink, journal_dir=empty_folder / "journals")
        sink.fail(2)
        run()
        drain(system)
        assert system.stats("nightly")["success_rate"]["n"] == 1


def test_drain_takes_the_process_own_system_by_default() -> None:
    with capture_events() as captured:
        run()
        drain()
        assert len(captured.sink.executions) == 1  # type: ignore[attr-defined]  # because it is a MemorySink


# ---------------------------------------------------------------- check_sink


class Forgetful(MemorySink):
    """Keeps everything, also what it was given before."""

    def write(self, batch: Batch) -> None:
        super().write(Batch(batch.journal, self.position(batch.journal).rows, batch.new_position))


class Homeless(MemorySink):
    """Forgets how far it has come when it is closed."""

    def close(self) -> None:
        self.__init__()  # type: ignore[misc]  # because forgetting is the point


def test_a_sink_that_breaks_a_rule_is_told_which() -> None:
    with pytest.raises(AssertionError, match="a batch that was kept is not kept again: write raises Fenced"):
        check_sink(Forgetful)
    with pytest.raises(AssertionError, match=r"may be opened again \(expected 200, found Positions\(rows=0"):
        check_sink(Homeless)
    with pytest.raises(AssertionError, match="another sink over the same place knows the position"):
        check_sink(MemorySink)
    with pytest.raises(AssertionError, match="has the methods open, position"):
        check_sink(object)  # type: ignore[arg-type]  # because it is no sink
