"""A clock for tests: both its hands stand still until they are moved."""

import threading
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FakeClock:
    """Give it to `configure(clock=...)` or `capture_events(clock=...)`. Thread-safe.

    The wall clock says when, the monotonic clock how long. `advance` moves both, `set_time` the wall clock alone, as
    a time server or a change of the system's time does.
    """

    def __init__(self, now: datetime | int = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """`now`: where the wall clock stands, as a datetime (naive is local time) or in nanoseconds since 1970."""
        self._lock = threading.Lock()
        self._time_ns = _since_1970_ns(now)
        self._perf_counter_ns = 0

    def __repr__(self) -> str:
        return f"FakeClock({self.now.isoformat()})"

    def time_ns(self) -> int:
        """The wall clock: nanoseconds since 1970 in UTC."""
        return self._time_ns

    def perf_counter_ns(self) -> int:
        """The monotonic clock: nanoseconds since this clock was made."""
        return self._perf_counter_ns

    @property
    def now(self) -> datetime:
        """The wall clock as a datetime in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self._time_ns // 1000)

    def advance(self, by: float | timedelta) -> None:
        """Move both clocks on, by seconds or a timedelta.

        Raises:
            ValueError: it is negative; time passes one way, and `set_time` is what puts a wall clock back.
        """
        by_ns = by // timedelta(microseconds=1) * 1000 if isinstance(by, timedelta) else round(by * 1e9)
        if by_ns < 0:
            raise ValueError(f"time cannot pass backwards, by {by!r}; set_time() puts the wall clock back")
        with self._lock:
            self._time_ns += by_ns
            self._perf_counter_ns += by_ns

    def set_time(self, now: datetime | int) -> None:
        """Set the wall clock alone, forward or back: a datetime (naive is local time) or nanoseconds since 1970."""
        with self._lock:
            self._time_ns = _since_1970_ns(now)

    def sleep(self, seconds: float) -> None:
        """In the place of `time.sleep`: the time has passed at once."""
        self.advance(seconds)

    async def async_sleep(self, seconds: float) -> None:
        """In the place of `asyncio.sleep`: other tasks get their turn, and the time has passed."""
        import asyncio  # here, because most tests need none

        self.advance(seconds)
        await asyncio.sleep(0)


def _since_1970_ns(at: datetime | int) -> int:
    if isinstance(at, int):
        return at
    return (at.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
