"""The two clocks: wall time says when, the monotonic clock says how long."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a clock must be able to tell, in integer nanoseconds. Both are called on the hot path."""

    def time_ns(self) -> int:
        """Wall clock: nanoseconds since 1970 in UTC. May jump."""
        ...

    def perf_counter_ns(self) -> int:
        """Monotonic clock: nanoseconds since some instant. Never goes back."""
        ...


class SystemClock:
    """The machine's own clocks. Static, so that an attribute read gives the C function itself."""

    time_ns = staticmethod(time.time_ns)
    perf_counter_ns = staticmethod(time.perf_counter_ns)


SYSTEM_CLOCK = SystemClock()
