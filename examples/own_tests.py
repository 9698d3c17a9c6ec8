"""Tests of a program that is instrumented: what it records is part of what it does.

    pytest examples/own_tests.py

The fixture `capture_analytics` comes with the package. It keeps records in memory, and leaves no file.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
from analytics_sdk.testing import FailingSink, FakeClock, capture_events, drain

if TYPE_CHECKING:
    from analytics_sdk.testing import CapturedEvents


# ---------------------------------------------------------------- the program


@track_workflow(workflow_id="order", total_steps=2)
def place_order(stock: dict[str, int], article: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Take an article from the stock, wait for the parcel service."""
    with track_step(node_id="take", action_type="stock"):
        if stock.get(article, 0) < 1:
            with recovery_attempt("reorder"):
                stock[article] = {"tea": 10}[article]
        stock[article] -= 1
    with track_step(node_id="ship", action_type="http"):
        sleep(1.5)


# ---------------------------------------------------------------- its tests


def no_wait(seconds: float) -> None:
    """In the place of `time.sleep`."""


def test_an_empty_shelf_is_reordered(capture_analytics: "CapturedEvents") -> None:
    place_order({"tea": 0}, "tea", no_wait)
    assert capture_analytics.execution("order").status == "success"
    assert capture_analytics.step("take").status == "recovered"
    assert capture_analytics.recovery("reorder").success


def test_an_unknown_article_fails_where_it_is_taken(capture_analytics: "CapturedEvents") -> None:
    with pytest.raises(KeyError):
        place_order({}, "coffee", no_wait)
    assert capture_analytics.step("take").error_type == "KeyError"
    assert [step.node_id for step in capture_analytics.steps] == ["take"]
    assert capture_analytics.stats("order")["success_rate"]["success_rate"] == 0.0


def test_the_program_may_configure_itself(capture_analytics: "CapturedEvents") -> None:
    configure(sink="sqlite:///production.db")  # goes nowhere: the fixture keeps records in memory
    place_order({"tea": 1}, "tea", no_wait)
    assert len(capture_analytics.executions) == 1


def test_shipping_takes_as_long_as_the_clock_says() -> None:
    clock = FakeClock()
    with capture_events(clock=clock) as captured:
        place_order({"tea": 1}, "tea", clock.sleep)
    assert captured.step("ship").duration_ns == 1_500_000_000


def test_a_database_that_is_down_loses_nothing() -> None:
    sink = FailingSink()
    with capture_events(sink=sink) as captured:
        sink.fail(1, "transient")
        place_order({"tea": 1}, "tea", no_wait)
        drain()
        assert sink.failures == 1
        assert captured.execution().status == "success"
