"""What type checkers are promised of the test kit. Read by mypy --strict, never run."""

from datetime import timedelta
from typing import assert_type

from analytics_sdk import configure
from analytics_sdk.clock import Clock
from analytics_sdk.sinks.base import Sink
from analytics_sdk.testing import (
    CapturedEvents,
    CapturedExecution,
    CapturedRecovery,
    CapturedStep,
    FailingSink,
    FakeClock,
    capture_events,
    drain,
    isolate,
)


def a_fake_clock_is_a_clock() -> Clock:
    clock = FakeClock()
    clock.advance(1.5)
    clock.advance(timedelta(minutes=1))
    return clock


def a_failing_sink_is_a_sink() -> Sink:
    sink = FailingSink()
    sink.fail(2, "permanent")
    sink.fail(error=OSError("gone"), at="open")
    sink.fail(1, "for ever")  # type: ignore[arg-type]  # because it is the point: the word is not known
    return sink


def what_was_captured_is_typed() -> None:
    with capture_events(clock=FakeClock(), realtime=False) as captured:
        assert_type(captured, CapturedEvents)
        assert_type(captured.executions, list[CapturedExecution])
        assert_type(captured.step("fetch"), CapturedStep)
        assert_type(captured.step("fetch").duration_ns, int | None)
        assert_type(captured.recovery("retry"), CapturedRecovery)
        assert_type(captured.recovery("retry").success, bool)
    with isolate():
        drain(configure(sink="sqlite:///a.db"))
