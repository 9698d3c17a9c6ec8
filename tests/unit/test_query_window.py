"""Windows: what users say, and how it is divided into whole hours and the rest."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk.errors import AnalyticsError
from analytics_sdk.query import resolve_window, to_datetime, to_ns
from analytics_sdk.query.window import Span, plan_reading
from analytics_sdk.rollup import HOUR_NS

NOW_NS = 1_800_000_000_123_456_789


@pytest.fixture
def paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in Paris for one test."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    if before is None:
        monkeypatch.delenv("TZ")
    else:
        monkeypatch.setenv("TZ", before)
    time.tzset()


def test_a_naive_datetime_is_local_time(paris: None) -> None:
    """Noon in Paris in summer is ten o'clock in UTC."""
    assert to_ns(datetime(2026, 7, 1, 12)) == to_ns(datetime(2026, 7, 1, 10, tzinfo=UTC))
    assert to_datetime(to_ns(datetime(2026, 7, 1, 12))).replace(tzinfo=None) == datetime(2026, 7, 1, 12)


def test_the_hour_that_comes_twice_is_told_apart(paris: None) -> None:
    """When the clocks go back, `fold` says which half past two is meant."""
    first, second = datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 2, 30, fold=1)
    assert to_ns(second) - to_ns(first) == HOUR_NS


def test_an_aware_datetime_keeps_its_zone() -> None:
    """Its offset decides, not the machine's."""
    assert to_ns(datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))) == to_ns(
        datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
    )


@given(st.integers(0, 4 * 10**18))
def test_an_instant_survives_the_way_there_and_back(at_ns: int) -> None:
    """To the microsecond."""
    assert to_ns(to_datetime(at_ns)) == at_ns // 1000 * 1000


def test_hours_reach_back_from_now_and_now_is_inside() -> None:
    """A relative window may be widened."""
    assert resolve_window(24, None, None, NOW_NS) == (NOW_NS - 24 * HOUR_NS, NOW_NS + 1, True)


def test_a_start_beats_the_hours() -> None:
    """And is honoured exactly; an end alone is reached back from."""
    start, end = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 2, tzinfo=UTC)
    assert resolve_window(24, start, None, NOW_NS) == (to_ns(start), NOW_NS + 1, False)
    assert resolve_window(1, None, end, NOW_NS) == (to_ns(end) - HOUR_NS, to_ns(end), False)
    assert resolve_window(None, None, None, NOW_NS).start_ns is None


@pytest.mark.parametrize("hours", [0, -1, float("inf"), float("nan")])
def test_hours_that_are_none_are_refused(hours: float) -> None:
    """With what to write instead."""
    with pytest.raises(AnalyticsError, match="hours must be"):
        resolve_window(hours, None, None, NOW_NS)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    """Rather than answered with nothing."""
    with pytest.raises(AnalyticsError, match="swap start and end"):
        resolve_window(None, datetime(2026, 7, 2, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC), NOW_NS)


instants = st.integers(0, 10 * HOUR_NS) | st.integers(0, 10).map(lambda n: n * HOUR_NS)


@given(instants, instants, st.lists(instants, max_size=5))
def test_a_plan_covers_the_window_once_and_cells_only_where_they_can_answer(a: int, b: int, lines: list[int]) -> None:
    """Whole hours without a line in them come from cells, and nothing is read twice or left out."""
    window = Span(min(a, b), max(a, b) + 1)
    plan = plan_reading(window, lines)
    spans = sorted((*plan.hours, *plan.edges))
    assert spans[0].start_ns == window.start_ns and spans[-1].end_ns == window.end_ns
    assert all(left.end_ns == right.start_ns for left, right in pairwise(spans))
    for start_ns, end_ns in plan.hours:
        assert start_ns % HOUR_NS == end_ns % HOUR_NS == 0 < end_ns - start_ns
        assert not any(start_ns < line < end_ns and line % HOUR_NS for line in lines)
    whole = sum(end_ns - start_ns for start_ns, end_ns in plan.hours)
    assert whole >= window.end_ns - window.start_ns - (2 + len(lines)) * HOUR_NS
