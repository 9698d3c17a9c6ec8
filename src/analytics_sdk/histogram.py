"""Counts of durations in logarithmic buckets: they merge by adding, and every percentile has a known error.

Bucket edges are integers. A value below 128 has a bucket of its own; above, each power of two is cut into 64 equal
buckets, as in HdrHistogram (6 bits of precision). The middle of a bucket is at most 1/128 of the value away from any
value in it, so a percentile read from the buckets is within `RELATIVE_ERROR` (0.78 %) of the exact one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

RELATIVE_ERROR = 1 / 128
_BITS = 6
_EXACT_BELOW = 1 << (_BITS + 1)


def bucket_of(value_ns: int) -> int:
    """The bucket that holds a duration. Negative durations count as 0."""
    if value_ns < _EXACT_BELOW:
        return value_ns if value_ns > 0 else 0
    shift = value_ns.bit_length() - _BITS - 1
    return (shift << _BITS) + (value_ns >> shift)


def count_in_buckets(values_ns: Iterable[int]) -> Counter[int]:
    """How many of some durations, none of them negative, lie in each bucket: `bucket_of` written out."""
    return Counter(
        value if value < _EXACT_BELOW else ((shift := value.bit_length() - _BITS - 1) << _BITS) + (value >> shift)
        for value in values_ns
    )


def bucket_edges_ns(bucket: int) -> tuple[int, int]:
    """The half-open range [low, high) of durations that a bucket holds, in nanoseconds."""
    if bucket < _EXACT_BELOW:
        return bucket, bucket + 1
    shift = (bucket >> _BITS) - 1
    low = (bucket - (shift << _BITS)) << shift
    return low, low + (1 << shift)


def bucket_middle_ns(bucket: int) -> int:
    """The duration that stands for all in a bucket, in nanoseconds."""
    low, high = bucket_edges_ns(bucket)
    return (low + high - 1) // 2 if high - low > 1 else low


def rank_of(quantile: float, n: int) -> int:
    """The 1-based rank that numpy's `inverted_cdf` reads for a quantile in [0, 1] of n values."""
    scaled = n * quantile
    rank = int(scaled)
    return max(1, min(n, rank if rank == scaled else rank + 1))


def bucket_at_rank(counts: Mapping[int, int], rank: int) -> tuple[int, int]:
    """(bucket, rank within it, from 1) of the value with a 1-based rank among all that are counted.

    Raises:
        ValueError: the rank is beyond what is counted.
    """
    buckets = sorted(counts)
    for bucket, seen in zip(buckets, accumulate(counts[b] for b in buckets), strict=True):
        if seen >= rank:
            return bucket, rank - (seen - counts[bucket])
    raise ValueError(f"rank {rank} is beyond the {sum(counts.values())} values counted")


def percentile_ns(counts: Mapping[int, int], quantile: float, low_ns: int, high_ns: int) -> int:
    """The quantile (0 - 1) of what is counted, in nanoseconds, within RELATIVE_ERROR of numpy's `inverted_cdf`.

    `low_ns` and `high_ns` are the exact extremes; the answer never leaves them.
    """
    bucket, _ = bucket_at_rank(counts, rank_of(quantile, sum(counts.values())))
    return min(max(bucket_middle_ns(bucket), low_ns), high_ns)


def add_counts(into: dict[int, int], counts: Mapping[int, int]) -> None:
    """Add counts by bucket into others, in place."""
    if not into:
        into.update(counts)
        return
    known = into.get  # once, because this loop is most of the time that an answer takes
    for bucket, count in counts.items():
        into[bucket] = known(bucket, 0) + count
