"""Windows of time: what users say (hours, naive or aware datetimes) against what is stored (nanoseconds in UTC).

A window is half-open, and counts what *started* in it. Whole UTC hours of it are answered by rollup cells, the rest
by the rows themselves; `plan_reading` draws that line.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from analytics_sdk.errors import AnalyticsError
from analytics_sdk.rollup import DAY_NS, HOUR_NS, WEEK_NS, day_of, hour_of, week_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_SPANS = 200
"""Because a database takes only so many conditions, a chart whose buckets leave more than this of days is answered by
hours alone."""


class Span(NamedTuple):
    """The half-open stretch [start_ns, end_ns), nanoseconds since 1970 in UTC."""

    start_ns: int
    end_ns: int


class Window(NamedTuple):
    """What a question is about. `None` as start is the beginning of all that is stored.

    The edges of a relative window ("the last 24 hours") may be moved outward to whole hours where reading the part
    hour row by row would be slow; those of an explicit window never are.
    """

    start_ns: int | None
    end_ns: int
    relative: bool


def to_ns(moment: datetime) -> int:
    """A datetime as nanoseconds since 1970 in UTC. A naive one is local time."""
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000


def to_datetime(at_ns: int) -> datetime:
    """Nanoseconds since 1970 in UTC as an aware datetime of the local zone, to the microsecond."""
    return (_EPOCH + at_ns // 1000 * _MICROSECOND).astimezone()


def resolve_window(hours: float | None, start: datetime | None, end: datetime | None, now_ns: int) -> Window:
    """The window that a user means: `start` and `end` where given, else `hours` back from the end, which is now.

    With neither hours nor start it begins with the first thing stored. Now itself is inside.

    Raises:
        AnalyticsError: the window is empty or the wrong way round, or `hours` is not a number above 0.
    """
    end_ns = now_ns + 1 if end is None else to_ns(end)
    start_ns = None if start is None else to_ns(start)
    if start_ns is None and hours is not None:
        if not 0 < hours < float("inf"):
            raise AnalyticsError(f"hours must be a number above 0, not {hours!r}; for everything, pass None")
        start_ns = max(0, (now_ns if end is None else end_ns) - int(hours * HOUR_NS))
    if start_ns is not None and start_ns >= end_ns:
        raise AnalyticsError(
            f"the window ends ({to_datetime(end_ns).isoformat()}) before it starts "
            f"({to_datetime(start_ns).isoformat()}): swap start and end"
        )
    return Window(start_ns, end_ns, relative=start is None and end is None)


def ceil_hour(at_ns: int) -> int:
    """The start of the first UTC hour that does not begin before an instant."""
    return -(-at_ns // HOUR_NS) * HOUR_NS


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read a window: `hours` are whole UTC hours, answered by cells; `edges` are answered by rows.

    `days` are those whole UTC days of `hours`, and `weeks` those whole weeks of `days`, that one row may answer.
    """

    hours: tuple[Span, ...]
    edges: tuple[Span, ...]
    days: tuple[Span, ...] = ()
    weeks: tuple[Span, ...] = ()


def plan_reading(window: Span, lines_ns: Iterable[int] = ()) -> Plan:
    """Divide a window into whole hours and the rest.

    An hour in which the window begins or ends, or through which one of `lines_ns` goes (the edges of a chart's
    buckets), cannot be answered by its cell, because a cell does not know which half of it something started in. The
    same goes for days and weeks.
    """
    lines = tuple(lines_ns)
    hours, edges = _divide(window, lines, hour_of, HOUR_NS)
    days, _ = _divide(window, lines, day_of, DAY_NS)
    weeks, _ = _divide(window, lines, week_of, WEEK_NS)
    if len(days) + len(weeks) > _MOST_SPANS:
        return Plan(hours, edges)
    return Plan(hours, edges, days, weeks)


def _divide(
    window: Span, lines_ns: Iterable[int], start_of: Callable[[int], int], length_ns: int
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """The stretches of a window that consist of whole hours (or other such units) through which no line goes, and
    the rest."""
    start_ns, end_ns = window
    lines = (start_ns, end_ns, *(line for line in lines_ns if start_ns < line < end_ns))
    torn = sorted({start_of(line) for line in lines if start_of(line) != line})
    rest: list[Span] = []
    wholes: list[Span] = []
    reached_ns = start_ns
    for first_ns in torn:
        low_ns, high_ns = max(first_ns, start_ns), min(first_ns + length_ns, end_ns)
        if low_ns > reached_ns:
            wholes.append(Span(reached_ns, low_ns))
        if rest and rest[-1].end_ns == low_ns:
            low_ns = rest.pop().start_ns
        rest.append(Span(low_ns, high_ns))
        reached_ns = high_ns
    if reached_ns < end_ns:
        wholes.append(Span(reached_ns, end_ns))
    return tuple(wholes), tuple(rest)
