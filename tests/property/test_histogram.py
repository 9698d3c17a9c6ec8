"""Histograms of durations: no value falls between two buckets, and every percentile keeps its promised error."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk.histogram import (
    RELATIVE_ERROR,
    bucket_at_rank,
    bucket_edges_ns,
    bucket_middle_ns,
    bucket_of,
    percentile_ns,
    rank_of,
)
from analytics_sdk.rollup import Cell, decode_nodes, encode_nodes

DAY_NS = 86_400 * 10**9
durations = st.one_of(
    st.integers(0, 300), st.integers(0, 10**6), st.integers(0, 400 * DAY_NS), st.just(0), st.integers(0, 2**62)
)
quantiles = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]), st.floats(0, 1))


def _exact(values: list[int], quantile: float) -> int:
    """numpy's `inverted_cdf` over integers; numpy only picks the rank, because floats would round large values."""
    return sorted(values)[int(np.quantile(np.arange(len(values)), quantile, method="inverted_cdf"))]


def _counted(values: list[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    return counts


def _assert_close(values: list[int]) -> None:
    counts = _counted(values)
    for quantile in (0.5, 0.9, 0.95, 0.99, 0.999):
        exact = _exact(values, quantile)
        answer = percentile_ns(counts, quantile, min(values), max(values))
        assert abs(answer - exact) <= exact * RELATIVE_ERROR, (quantile, answer, exact)


@given(durations)
def test_every_duration_lies_in_its_bucket_and_near_its_middle(value: int) -> None:
    """The edges hold the value, and the middle is at most the relative error away."""
    low, high = bucket_edges_ns(bucket_of(value))
    assert low <= value < high
    assert abs(bucket_middle_ns(bucket_of(value)) - value) <= value * RELATIVE_ERROR


@given(st.integers(0, 3_700))
def test_buckets_follow_each_other_without_a_gap(bucket: int) -> None:
    """A bucket ends where the next begins, and its edges belong to the buckets that say so."""
    low, high = bucket_edges_ns(bucket)
    assert bucket_edges_ns(bucket + 1)[0] == high
    assert bucket_of(low) == bucket_of(high - 1) == bucket
    assert bucket_of(high) == bucket + 1


def test_a_negative_duration_counts_as_nothing() -> None:
    """A clock that went back does not break a histogram."""
    assert bucket_of(-5) == 0


@given(st.lists(durations, min_size=1, max_size=300), quantiles)
def test_a_percentile_is_within_the_relative_error(values: list[int], quantile: float) -> None:
    """Of any durations, sparse or dense, from nanoseconds to years."""
    exact = _exact(values, quantile)
    answer = percentile_ns(_counted(values), quantile, min(values), max(values))
    assert abs(answer - exact) <= exact * RELATIVE_ERROR


@given(st.integers(1, 5_000), quantiles)
def test_a_rank_is_numpys_rank(n: int, quantile: float) -> None:
    """`inverted_cdf` of 0, 1, ..., n - 1 is the 0-based rank itself."""
    assert rank_of(quantile, n) - 1 == np.quantile(np.arange(n), quantile, method="inverted_cdf")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["lognormal", "pareto", "bimodal", "uniform", "sparse"])
def test_percentiles_hold_for_the_shapes_that_durations_have(shape: str, seed: int) -> None:
    """Heavy tails, two modes, few values: the error stays within its bound."""
    chance = random.Random(f"{shape}{seed}")
    draw = {
        "lognormal": lambda: chance.lognormvariate(15, 3),
        "pareto": lambda: 10**5 * chance.paretovariate(0.7),
        "bimodal": lambda: chance.gauss(10**6, 10**4) if chance.random() < 0.949 else chance.gauss(10**11, 10**9),
        "uniform": lambda: chance.uniform(0, DAY_NS),
        "sparse": lambda: 10 ** chance.randrange(18),
    }[shape]
    _assert_close([min(2**62, max(0, int(draw()))) for _ in range(7 if shape == "sparse" else 3_000)])


@given(durations, st.integers(1, 1_000))
def test_the_percentiles_of_a_constant_are_the_constant(value: int, n: int) -> None:
    """Because the exact extremes bound every answer."""
    assert percentile_ns({bucket_of(value): n}, 0.95, value, value) == value


def test_a_rank_beyond_what_is_counted_is_an_error() -> None:
    """It is a mistake of the caller, not the last value."""
    with pytest.raises(ValueError, match="beyond the 3 values"):
        bucket_at_rank({4: 3}, 4)


facts = st.lists(
    st.tuples(st.integers(0, 5), durations, st.booleans(), st.sampled_from(["timeout 5", "no file 'a'", None])),
    max_size=60,
)


def _cell(rows: list[tuple[int, int, bool, str | None]]) -> Cell:
    cell = Cell()
    for status, duration_ns, first_pass, message in rows:
        cell.started += 1
        cell.add_end(status, duration_ns, first_pass)
        if message is not None:
            cell.add_error("ValueError", message, duration_ns)
            cell.add_recovery("retry", first_pass, duration_ns)
    return cell


@given(facts, st.integers(1, 6), st.randoms(use_true_random=False))
def test_cells_merge_in_any_order_to_what_one_cell_would_have_counted(
    rows: list[tuple[int, int, bool, str | None]], parts: int, chance: random.Random
) -> None:
    """Split over journals and hours in any way, stored and read again, and added in any order: the same cell."""
    split: list[list[tuple[int, int, bool, str | None]]] = [[] for _ in range(parts)]
    for row in rows:
        chance.choice(split).append(row)
    stored = [decode_nodes(encode_nodes({"": _cell(part)}))[""] for part in split]
    chance.shuffle(stored)
    total = Cell()
    for cell in stored:
        total.add(cell)
    assert total == _cell(rows)
