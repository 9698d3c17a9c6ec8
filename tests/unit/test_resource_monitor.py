"""What a sample says of the stretch behind it, and of what was running when it was taken."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from analytics_sdk import guard, recovery_attempt, track_step, track_workflow
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import current
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.capture.resources import LONGEST_LISTING, SHORTEST_STRETCH_NS, ResourceMonitor
from analytics_sdk.events import Running, Sample
from analytics_sdk.vocabulary import Kind

SECOND = 10**9


class SetClock:
    """Two clocks that stand until they are moved, each by itself."""

    def __init__(self) -> None:
        self.wall_ns, self.tick_ns = 1_767_225_600 * SECOND, 5 * SECOND

    def time_ns(self) -> int:
        return self.wall_ns

    def perf_counter_ns(self) -> int:
        return self.tick_ns

    def advance(self, seconds: float) -> None:
        self.wall_ns += int(seconds * SECOND)
        self.tick_ns += int(seconds * SECOND)


@pytest.fixture
def clock(journal: Any) -> SetClock:
    """Capture goes into a list, and its time stands."""
    made = SetClock()
    active.recorder = Recorder(journal, clock=made)
    return made


@pytest.fixture
def look(journal: Any, clock: SetClock) -> Callable[[], Sample]:
    """Take a sample, as it will be read."""
    monitor = ResourceMonitor(journal.append, 60, recorder=active.recorder, clock=clock)

    def take() -> Sample:
        journal.append(int(Kind.SAMPLE), monitor.sample())
        sample: Sample = journal.of(Kind.SAMPLE)[-1]
        return sample

    return take


def test_the_first_sample_knows_memory_but_no_cpu(look: Callable[[], Sample], clock: SetClock) -> None:
    """Because CPU is about a stretch of time: unknown, and not 0."""
    first = look()
    assert (first.elapsed_ns, first.cpu_percent, first.host_cpu_percent) == (None, None, None)
    assert (first.rss_bytes or 0) > 1_000_000 and (first.host_memory_total_bytes or 0) > 1_000_000
    clock.advance(2)
    second = look()
    assert second.elapsed_ns == 2 * SECOND
    assert second.cpu_percent is not None


def test_cpu_is_percent_of_one_core(look: Callable[[], Sample], clock: SetClock) -> None:
    """Of monotonic time: neither a wall clock that is set nor time asleep, which that leaves out, changes it."""
    look()
    used = psutil.Process().cpu_times()
    while sum(psutil.Process().cpu_times()[:2]) - sum(used[:2]) < 0.3:
        pass
    clock.advance(0.2)
    clock.wall_ns -= 3600 * SECOND
    sample = look()
    assert sample.elapsed_ns == SECOND // 5
    assert sample.cpu_percent is not None and 140 < sample.cpu_percent < 1000
    assert sample.at_ns == clock.wall_ns


def test_a_stretch_too_short_for_a_percentage_goes_on_to_the_next_sample(
    look: Callable[[], Sample], clock: SetClock
) -> None:
    look()
    clock.tick_ns += SHORTEST_STRETCH_NS - 1
    short = look()
    assert (short.elapsed_ns, short.cpu_percent, short.host_cpu_percent) == (SHORTEST_STRETCH_NS - 1, None, None)
    clock.tick_ns += 1
    assert look().elapsed_ns == SHORTEST_STRETCH_NS


def test_a_sample_says_what_runs_and_for_how_much_of_its_stretch(look: Callable[[], Sample], clock: SetClock) -> None:
    """Executions, steps and steps within; those in a recovery go on; what has ended is not there."""
    look()
    with track_workflow(workflow_id="w"):
        with track_step(node_id="over"):
            pass
        clock.advance(3)
        with track_step(node_id="outer"), recovery_attempt("retry"), track_step(node_id=""):
            clock.advance(1)
            sample = look()
    assert sample.executions == 1
    assert sample.running == [Running("w", None, 1.0), Running("w", "outer", 0.25), Running("w", "-", 0.25)]
    clock.advance(1)
    after = look()
    assert (after.executions, after.running) == (0, [])


def test_the_share_is_that_of_the_one_that_ran_longest(look: Callable[[], Sample], clock: SetClock) -> None:
    """Of a thousand at once, each node and workflow is listed once."""
    look()
    began = []
    for _ in range(100):
        current.set(None)
        execution = track_workflow(workflow_id="w")
        began.append((execution, execution.__enter__()))
        clock.advance(0.01)
    sample = look()
    assert (sample.executions, sample.running) == (100, [Running("w", None, 1.0)])
    for execution, _ in reversed(began):
        execution.__exit__(None, None, None)


def test_an_execution_inside_another_does_not_share_with_it(look: Callable[[], Sample], clock: SetClock) -> None:
    look()
    clock.advance(1)
    with track_workflow(workflow_id="outer"), track_step(node_id="s"), track_workflow(workflow_id="inner"):
        clock.advance(1)
        sample = look()
    assert sample.executions == 1
    assert [(one.workflow_id, one.node_id, one.share) for one in sample.running or []] == [
        ("outer", None, 0.5),
        ("outer", "s", 0.5),
        ("inner", None, 0.5),
    ]


def test_steps_outside_any_execution_are_listed_too(look: Callable[[], Sample], clock: SetClock) -> None:
    look()
    with track_step(node_id="alone"):
        clock.advance(1)
        sample = look()
    assert (sample.executions, sample.running) == (0, [Running("", "alone", 1.0)])


def test_a_listing_is_bounded(look: Callable[[], Sample], clock: SetClock) -> None:
    """The ones that ran longest stay."""
    look()
    with track_workflow(workflow_id="w"):
        steps = [track_step(node_id=f"n{number}") for number in range(LONGEST_LISTING + 5)]
        for step in steps:
            step.__enter__()
            clock.advance(0.001)
        sample = look()
        for step in reversed(steps):
            step.__exit__(None, None, None)
    assert [one.node_id for one in sample.running or []] == [None, *(f"n{n}" for n in range(LONGEST_LISTING - 1))]


def test_a_short_program_has_a_sample_of_its_start_and_one_of_its_end(journal: Any) -> None:
    """However long the interval; the last one is there when `stop` returns."""
    monitor = ResourceMonitor(journal.append, 3600, recorder=active.recorder)
    monitor.start()
    monitor.stop()
    assert len(journal.of(Kind.SAMPLE)) == 2


def test_a_host_that_lets_no_thread_run_has_its_start_all_the_same(journal: Any) -> None:
    """The first sample is there when `start` returns, so the last one knows the CPU of everything between."""
    monitor = ResourceMonitor(journal.append, 3600, recorder=active.recorder)
    monitor.start()
    assert len(journal.of(Kind.SAMPLE)) == 1
    began_ns = time.perf_counter_ns()
    while time.perf_counter_ns() - began_ns < SHORTEST_STRETCH_NS:
        pass
    monitor.stop()
    first, last = journal.of(Kind.SAMPLE)
    assert first.elapsed_ns is None and last.elapsed_ns >= SHORTEST_STRETCH_NS
    assert last.cpu_percent >= 0 and 0 <= last.host_cpu_percent <= 100


def test_a_sample_that_fails_is_a_line_in_the_log_and_looking_goes_on(journal: Any) -> None:
    """Nothing reaches the host."""
    asked = threading.Event()
    problems = iter([OSError("no room")])

    def append(kind: int, fields: tuple[Any, ...]) -> int:
        for problem in problems:
            raise problem
        asked.set()
        return int(journal.append(kind, fields))

    monitor = ResourceMonitor(append, 0.01, recorder=active.recorder)
    monitor.start()
    assert asked.wait(20)
    monitor.stop()
    assert guard.counters["resources"] == 1
    assert journal.of(Kind.SAMPLE)
