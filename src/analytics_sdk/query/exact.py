"""Exact percentiles: the histogram tells the bucket that holds the rank, and only that bucket is read and sorted."""

from collections.abc import Iterable, Mapping, Sequence

from analytics_sdk.histogram import bucket_at_rank, bucket_edges_ns, rank_of
from analytics_sdk.query.aggregates import Durations, durations_of, merge
from analytics_sdk.query.reader import DurationRange, Snapshot
from analytics_sdk.query.window import Span
from analytics_sdk.rollup import Cell

_QUANTILES = (0.5, 0.95, 0.99)
_LOWEST_NS = -(1 << 63)

Group = Mapping[tuple[str, str], Cell]
"""(workflow_id, node_id or WHOLE) -> cell: those whose durations are looked at together."""


def _range_of(workflow_id: str, node_id: str, bucket: int) -> DurationRange:
    low_ns, high_ns = bucket_edges_ns(bucket)
    # Because negative durations count in bucket 0, it has no lower edge in the store.
    return DurationRange(workflow_id, node_id, low_ns if bucket else _LOWEST_NS, high_ns - 1)


def _ranges_of(group: Group, bucket: int) -> list[DurationRange]:
    return [_range_of(*key, bucket) for key, cell in group.items() if bucket in cell.buckets]


def read_exact(snapshot: Snapshot, span: Span, groups: Sequence[Group]) -> list[tuple[Durations, bool]]:
    """For each group its durations, with percentiles as numpy's `inverted_cdf` has them, and whether they are exact.

    They are not where the rows of the window no longer exist, which shows by a bucket that yields another number of
    rows than the histogram counted: then they stay as the histogram has them.
    """
    totals = [merge(group.values()) for group in groups]
    wanted: dict[DurationRange, None] = {}
    for group, total in zip(groups, totals, strict=True):
        n = sum(total.buckets.values())
        for quantile in _QUANTILES if n else ():
            bucket, _ = bucket_at_rank(total.buckets, rank_of(quantile, n))
            wanted.update(dict.fromkeys(_ranges_of(group, bucket)))
    found = snapshot.durations(span, list(wanted)) if wanted else {}
    return [_refine(group, total, found) for group, total in zip(groups, totals, strict=True)]


def _refine(group: Group, total: Cell, found: Mapping[DurationRange, Iterable[int]]) -> tuple[Durations, bool]:
    durations = durations_of(total)
    if not durations.n:
        return durations, True
    exact: list[int] = []
    for quantile in _QUANTILES:
        bucket, rank = bucket_at_rank(total.buckets, rank_of(quantile, durations.n))
        values = sorted(value for key in _ranges_of(group, bucket) for value in found.get(key, ()))
        if len(values) != total.buckets[bucket]:
            return durations, False
        exact.append(values[rank - 1])
    p50, p95, p99 = exact
    return durations._replace(p50_ns=p50, p95_ns=p95, p99_ns=p99), True
