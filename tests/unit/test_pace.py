"""A thread that works in slices: when it pauses, and when it does not."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk import pace
from analytics_sdk.histogram import bucket_of, count_in_buckets
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.pace import HOST_COMPUTES_NS, ITEMS_A_LOOK, PAUSE_SECONDS, SLICE_NS, UNSLICED_NS
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.vocabulary import Kind


class FakeTime:
    """Time in one thread: it works as long as it is told, and sleeps as long as the host lets it."""

    def __init__(self) -> None:
        self.worked_ns = 0
        self.slept_ns = 0
        self.sleep_lasts_ns = int(PAUSE_SECONDS * 1e9)
        self.pauses = 0

    def thread_time_ns(self) -> int:
        return self.worked_ns

    def perf_counter_ns(self) -> int:
        return self.worked_ns + self.slept_ns

    def sleep(self, seconds: float) -> None:
        assert seconds == PAUSE_SECONDS
        self.pauses += 1
        self.slept_ns += self.sleep_lasts_ns


@pytest.fixture
def clock(monkeypatch):
    clock = FakeTime()
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(pace, "_here", pace._Slices())
    return clock


def work(clock: FakeTime, total_ns: int, step_ns: int = 10_000) -> int:
    """Work for so long, with a breath wherever one is possible; how many pauses that made."""
    before = clock.pauses
    for _ in range(total_ns // step_ns):
        clock.worked_ns += step_ns
        pace.breathe()
    return clock.pauses - before


def test_a_thread_that_nobody_told_anything_makes_no_pause(clock):
    assert work(clock, 100 * SLICE_NS) == 0
    assert not pace.is_short()


def test_a_pause_comes_when_a_slice_of_work_is_used_up(clock):
    with pace.in_this_thread(lambda: SLICE_NS):
        assert pace.is_short()
        assert work(clock, 100 * SLICE_NS) == 100
    assert work(clock, 100 * SLICE_NS) == 0


def test_no_pause_while_somebody_waits_for_the_work(clock):
    with pace.in_this_thread(lambda: 0):
        assert not pace.is_short()
        assert work(clock, 100 * SLICE_NS) == 0


def test_after_a_call_that_needed_no_lock_a_new_slice_begins(clock):
    """The host's threads had their turn while it ran."""
    with pace.in_this_thread(lambda: SLICE_NS):
        pace.rested()
        for _ in range(100):
            assert work(clock, SLICE_NS - 10_000) == 0
            clock.worked_ns += 5 * SLICE_NS
            pace.rested()
        assert work(clock, SLICE_NS) == 1
    pace.rested()
    assert work(clock, 100 * SLICE_NS) == 0


def test_beside_a_thread_that_computes_such_a_call_does_not_shorten_the_stretch(clock):
    clock.sleep_lasts_ns = 2 * HOST_COMPUTES_NS
    with pace.in_this_thread(lambda: SLICE_NS):
        work(clock, 3 * SLICE_NS)
        assert not pace.is_short()
        pace.rested()
        assert work(clock, UNSLICED_NS // 2) == 0


def test_beside_a_thread_that_computes_pauses_are_rare_and_become_frequent_again_after_it(clock):
    with pace.in_this_thread(lambda: SLICE_NS):
        work(clock, SLICE_NS)
        clock.sleep_lasts_ns = 2 * HOST_COMPUTES_NS
        work(clock, 2 * SLICE_NS)
        assert not pace.is_short()
        assert work(clock, 10 * UNSLICED_NS) <= 10
        clock.sleep_lasts_ns = int(PAUSE_SECONDS * 1e9)
        work(clock, UNSLICED_NS)
        assert pace.is_short()
        assert work(clock, 10 * SLICE_NS) == 10


def test_one_long_wait_alone_changes_nothing(clock):
    with pace.in_this_thread(lambda: SLICE_NS):
        work(clock, SLICE_NS)
        clock.sleep_lasts_ns = 4 * HOST_COMPUTES_NS
        work(clock, SLICE_NS)
        clock.sleep_lasts_ns = int(PAUSE_SECONDS * 1e9)
        assert work(clock, 10 * SLICE_NS) == 10


def test_other_threads_are_not_told(clock):
    told: list[bool] = []
    with pace.in_this_thread(lambda: SLICE_NS):
        thread = threading.Thread(target=lambda: told.append(pace.is_short()))
        thread.start()
        thread.join()
    assert told == [False]


@given(st.integers(0, 3 * ITEMS_A_LOOK), st.booleans())
def test_items_come_whole_and_in_order(n, sliced):
    with pace.in_this_thread((lambda: 1) if sliced else (lambda: 0)):
        assert list(pace.in_slices(range(n))) == list(range(n))
        slices = list(pace.slices_of(range(n)))
    assert [item for some in slices for item in some] == list(range(n))
    assert all(len(some) <= ITEMS_A_LOOK for some in slices)


@given(st.lists(st.integers(0, 1 << 62)))
def test_counting_in_buckets_is_finding_the_bucket_of_each(values):
    counts = count_in_buckets(values)
    assert sorted(counts.elements()) == sorted(map(bucket_of, values))


def test_the_shipper_pauses_the_less_the_more_waits_and_never_while_somebody_waits_for_it(tmp_path):
    writer = JournalWriter(tmp_path / "journals", max_bytes=4 << 20, min_free_bytes=0)
    shipper = Shipper(tmp_path / "journals", [], writer)
    asked = [shipper._slice_ns()]
    ending = (0, "e", "w", 1, "n" * 1000, None, 1, 0, 1)
    while writer.append(Kind.STEP_END, ending) >= 0 and asked[-1:] != [0] * (len(asked) > 1):
        asked.append(shipper._slice_ns())
    assert asked[0] == 0  # because there is no journal yet
    assert list(dict.fromkeys(asked[1:])) == [SLICE_NS, 10 * SLICE_NS, 0]
    writer.release()
