"""For the tests of programs that are instrumented: see what they record, at a time that you say, with faults at will.

    capture    `capture_events()`: what is recorded inside the block, in memory; `isolate()`; `drain()`
    rows       what was recorded, typed
    clock      `FakeClock`: a clock that stands still until it is told to go on
    faults     `FailingSink`: a sink that fails on command
    contract   `check_sink()`: whether a sink of your own keeps the rules

With pytest there is the fixture `capture_analytics`. Nothing here needs pytest, and nothing else here looks for it.
"""

from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing.capture import CapturedEvents, capture_events, drain, isolate
from analytics_sdk.testing.clock import FakeClock
from analytics_sdk.testing.contract import check_sink
from analytics_sdk.testing.faults import FailingSink
from analytics_sdk.testing.rows import CapturedExecution, CapturedLoss, CapturedRecovery, CapturedSample, CapturedStep

__all__ = [
    "CapturedEvents",
    "CapturedExecution",
    "CapturedLoss",
    "CapturedRecovery",
    "CapturedSample",
    "CapturedStep",
    "FailingSink",
    "FakeClock",
    "MemorySink",
    "capture_events",
    "check_sink",
    "drain",
    "isolate",
]
