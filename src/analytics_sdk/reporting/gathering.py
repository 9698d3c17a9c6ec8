"""All numbers of a report, asked of the store: which period, in which stretches, and how much of it."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from analytics_sdk.errors import ReportError
from analytics_sdk.query import Course, choose_bucket_ns, to_ns
from analytics_sdk.query.results import Distribution, ExecutionRow
from analytics_sdk.query.usage import describe_resources
from analytics_sdk.reporting.config import METRIC_TYPES, ReportConfig
from analytics_sdk.reporting.report_data import (
    Halves,
    Numbers,
    Queries,
    ReportData,
    find_cut_ns,
    halve_points,
    read_stats,
)
from analytics_sdk.reporting.words import Words

MOST_EXECUTIONS = 10_000
"""So many executions are kept with the numbers, the newest; a report as CSV keeps all."""
FEWEST_POINTS, MOST_POINTS = 12, 60
ENOUGH_A_POINT = 20
"""So many executions a point, where there are enough for FEWEST_POINTS: a rate or a p95 of fewer is mostly chance."""
DEFAULT_PERIOD = timedelta(days=7)

_SHORT_BUCKETS_NS = tuple(seconds * 10**9 for seconds in (1, 2, 5, 10, 15, 30))
_NOTHING = Distribution([], 0, None, None)


def gather(config: ReportConfig, query: Queries, now_ns: int) -> ReportData:
    """Ask for everything that a report needs.

    Raises:
        ReportError: it ends before it starts.
        AnalyticsError: the store cannot be read.
    """
    zone = config.zone_name()
    words = Words(config.language, ZoneInfo(zone) if zone else None)
    ids = None if config.workflow_ids is None else list(config.workflow_ids)
    start_ns, end_ns = _choose_period(config, query, ids, now_ns)
    wants = set(config.metric_types)
    samples = query.samples(start_ns, end_ns) if "resource" in wants else []
    of_some = ids is not None and "resource" in wants  # else what these samples say is what the answer would
    stats = query.stats(ids, start_ns=start_ns, end_ns=end_ns, resources=of_some, now_ns=now_ns)
    if not of_some:
        stats["resources"] = describe_resources(samples)
    numbers = _keep_wanted(read_stats(stats), wants)
    bucket_ns, origin_ns = _choose_buckets(start_ns, end_ns, numbers.success_rate.n, words)
    points, distribution, halves, executions, timeline, course = [], _NOTHING, None, [], None, None
    limit = None if config.format == "csv" else MOST_EXECUTIONS
    if "execution" in wants:
        course = query.course(ids, start_ns, end_ns, bucket_ns, origin_ns=origin_ns)
        points, distribution = course.points, course.distribution()
        cut_ns = find_cut_ns(points)
        if cut_ns is not None:
            durations = (course.distribution(end_ns=cut_ns), course.distribution(start_ns=cut_ns))
            halves = Halves(cut_ns, *halve_points(points, cut_ns), durations)
        executions = query.executions(ids, start_ns, end_ns, None if limit is None else limit + 1)
    if "step" in wants:
        slowest = _find_slowest(query, ids, start_ns, end_ns, course)
        timeline = query.timeline(slowest.execution_id) if slowest else None
    return ReportData(
        title=str(config.title),
        metric_types=tuple(name for name in METRIC_TYPES if name in wants),
        workflow_ids=None if ids is None else tuple(ids),
        format=config.format,
        language=config.language,
        zone=zone,
        generated_at_ns=now_ns,
        start_ns=start_ns,
        end_ns=end_ns,
        bucket_ns=bucket_ns,
        numbers=numbers,
        points=points,
        distribution=distribution,
        halves=halves,
        timeline=timeline,
        samples=samples,
        executions=executions[:limit],
        executions_complete=limit is None or len(executions) <= limit,
    )


def _find_slowest(
    query: Queries, ids: list[str] | None, start_ns: int, end_ns: int, course: Course | None
) -> ExecutionRow | None:
    """The execution that took longest; looked for where the course says that it is, because there is no index of
    durations and a period may have millions."""
    longest = course.longest() if course is not None else None
    if longest is not None:
        point, longest_ns = longest
        found = query.slowest(ids, point.start_ns, point.end_ns)
        if found is not None and found.duration_ns == longest_ns:
            return found
    return query.slowest(ids, start_ns, end_ns)


def _choose_period(config: ReportConfig, query: Queries, ids: list[str] | None, now_ns: int) -> tuple[int, int]:
    end_ns = now_ns + 1 if config.end_time is None else to_ns(config.end_time)
    if config.start_time is not None:
        start_ns = to_ns(config.start_time)
    else:
        first_ns = query.first_started_at_ns(ids)
        start_ns = end_ns - DEFAULT_PERIOD // timedelta(microseconds=1) * 1000
        if first_ns is not None and start_ns < first_ns < end_ns:
            start_ns = first_ns
    if start_ns >= end_ns:
        raise ReportError("the report ends before it starts: its start_time lies in the future")
    return start_ns, end_ns


def _choose_buckets(start_ns: int, end_ns: int, n: int, words: Words) -> tuple[int, int]:
    """The length of a chart's buckets, and where they begin to count: at local midnight, so that days are days.

    Few executions get few buckets, because a rate of one or two says nothing.
    """
    most = min(MOST_POINTS, max(FEWEST_POINTS, n // ENOUGH_A_POINT))
    span_ns = (end_ns - start_ns) * MOST_POINTS // most
    bucket_ns = next((step for step in _SHORT_BUCKETS_NS if span_ns / step <= MOST_POINTS), None)
    if bucket_ns is None:
        bucket_ns = choose_bucket_ns(0, span_ns)
    midnight = words.local(start_ns).replace(hour=0, minute=0, second=0, microsecond=0)
    return bucket_ns, to_ns(midnight)


def _keep_wanted(numbers: Numbers, wants: set[str]) -> Numbers:
    """Numbers without the parts that were not asked for."""
    blank = Numbers()
    if "step" not in wants:
        numbers = replace(numbers, steps=blank.steps)
    if "recovery" not in wants:
        numbers = replace(numbers, recovery=blank.recovery)
    if "resource" not in wants:
        numbers = replace(numbers, resources=blank.resources)
    return numbers
