"""Answers for charts: points of a time series, and the distribution of durations."""

from collections.abc import Iterable
from dataclasses import dataclass

from analytics_sdk.errors import AnalyticsError
from analytics_sdk.histogram import bucket_edges_ns
from analytics_sdk.query.aggregates import durations_of, gather, merge, outcome_of
from analytics_sdk.query.reader import Snapshot, Workflows
from analytics_sdk.query.results import Distribution, Point
from analytics_sdk.query.window import Span, plan_reading
from analytics_sdk.rollup import HOUR_NS, WHOLE, Cell

_MINUTE_NS = HOUR_NS // 60
_DAY_NS = 24 * HOUR_NS
_STEPS_NS = (
    *(n * _MINUTE_NS for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR_NS for n in (1, 2, 3, 6, 12)),
    *(n * _DAY_NS for n in (1, 2, 7, 14, 28)),
)
_MOST_WANTED = 60
_FINE_UP_TO_NS = 12 * HOUR_NS
_MOST_POINTS = 5_000


def choose_bucket_ns(start_ns: int, end_ns: int) -> int:
    """A round length for the buckets of a chart over a window, so that there are some dozens of them.

    Longer windows get whole hours, because cells answer these, and finer buckets are read row by row.
    """
    wanted_ns = max(1, end_ns - start_ns) / _MOST_WANTED
    if end_ns - start_ns > _FINE_UP_TO_NS:
        wanted_ns = max(wanted_ns, HOUR_NS)
    for step_ns in _STEPS_NS:
        if step_ns >= wanted_ns:
            return step_ns
    return -(-int(wanted_ns) // _STEPS_NS[-1]) * _STEPS_NS[-1]


@dataclass(frozen=True, slots=True)
class Course:
    """A series, and the durations that belong to its points."""

    points: list[Point]
    cells: list[Cell]
    """One for each point."""

    def distribution(self, start_ns: int | None = None, end_ns: int | None = None) -> Distribution:
        """The durations of the executions of those points that lie between two instants; of all without."""
        return distribution_of(
            cell
            for point, cell in zip(self.points, self.cells, strict=True)
            if (start_ns is None or point.start_ns >= start_ns) and (end_ns is None or point.end_ns <= end_ns)
        )

    def longest(self) -> tuple[Point, int] | None:
        """The first point with the longest duration of all, and that, in nanoseconds; None where there are none."""
        known = [
            (cell.max_ns, point) for point, cell in zip(self.points, self.cells, strict=True) if cell.max_ns is not None
        ]
        longest_ns, point = max(known, key=lambda one: one[0], default=(0, None))
        return None if point is None else (point, longest_ns)


def read_course(snapshot: Snapshot, workflows: Workflows, window: Span, bucket_ns: int, origin_ns: int = 0) -> Course:
    """One point for each bucket of a window, empty ones too; the first and the last end where the window does.

    Raises:
        AnalyticsError: the bucket is not positive, or so short that the chart would have more than 5,000 points.
    """
    if bucket_ns <= 0 or (window.end_ns - window.start_ns) // bucket_ns >= _MOST_POINTS:
        raise AnalyticsError(f"a series of this window in buckets of {bucket_ns} ns is too fine: make them longer")
    first, last = (window.start_ns - origin_ns) // bucket_ns, (window.end_ns - 1 - origin_ns) // bucket_ns
    lines = [origin_ns + place * bucket_ns for place in range(first + 1, last + 1)]
    gathered = gather(
        snapshot,
        plan_reading(window, lines),
        workflows,
        place_of=lambda at_ns: (at_ns - origin_ns) // bucket_ns,
        whole_only=True,
    )
    cells: dict[int, Cell] = {}
    for (_, place), nodes in gathered.cells.items():
        cells.setdefault(place, Cell()).add(nodes[WHOLE])
    edges = [window.start_ns, *lines, window.end_ns]
    placed = [cells.get(place) or Cell() for place in range(first, last + 1)]
    return Course([_point(edges[i], edges[i + 1], cell) for i, cell in enumerate(placed)], placed)


def _point(start_ns: int, end_ns: int, cell: Cell) -> Point:
    outcome, durations = outcome_of(cell), durations_of(cell)
    return Point(
        start_ns,
        end_ns,
        outcome.n,
        outcome.succeeded,
        outcome.first_pass,
        outcome.counts,
        durations.p50_ns,
        durations.p95_ns,
    )


def distribution_of(wholes: Iterable[Cell]) -> Distribution:
    """The durations of executions in the buckets of their histogram; buckets without any are left out."""
    total = merge(wholes)
    durations = durations_of(total)
    buckets = [(*bucket_edges_ns(bucket), count) for bucket, count in sorted(total.buckets.items())]
    return Distribution(buckets, durations.n, durations.p50_ns, durations.p95_ns)
