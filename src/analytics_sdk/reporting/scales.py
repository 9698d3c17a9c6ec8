"""Where the ticks of a chart stand: pure arithmetic on nanoseconds, in the reader's zone and language."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from analytics_sdk.reporting.words import Words

_S, _MIN, _H, _DAY = 10**9, 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
LOG_FACTOR = 20
"""Durations that span more than this stand on a log axis."""


class Tick(NamedTuple):
    """A place on an axis and what stands there."""

    at: float
    label: str


def is_wide(values: Sequence[float]) -> bool:
    """Whether values span so much that they need a log axis."""
    known = [value for value in values if value > 0]
    return bool(known) and max(known) / min(known) > LOG_FACTOR


def round_durations_ns() -> list[int]:
    """Durations that read well on an axis, from 1 ns to 1,000 days."""
    small = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]
    return [
        *(value for value in small),
        *(seconds * _S for seconds in (10, 20, 30)),
        *(minutes * _MIN for minutes in (1, 2, 5, 10, 20, 30)),
        *(hours * _H for hours in (1, 2, 3, 6, 12)),
        *(days * _DAY for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
    ]


def place_log_ticks(low_ns: float, high_ns: float, most: int, words: Words) -> list[Tick]:
    """Round durations within [low, high], evenly spread on a log axis, at most `most`."""
    inside = [value for value in round_durations_ns() if low_ns <= value <= high_ns]
    if len(inside) > most:
        gap = math.log(high_ns / low_ns) / most
        kept: list[int] = []
        # Because 1 s, 1 min, 1 h and the powers of ten are landmarks: they are set first, the rest where there is room.
        ranked = sorted(inside, key=lambda value: (not _is_landmark(value), value))
        for value in ranked:
            if all(abs(math.log(value / other)) >= gap * 0.8 for other in kept):
                kept.append(value)
        inside = sorted(kept)
    return [Tick(value, words.duration(value, terse=True)) for value in inside]


def _is_landmark(value_ns: int) -> bool:
    return value_ns in (_MIN, _H, _DAY) or (value_ns <= 10 * _S and math.log10(value_ns) % 1 == 0)


def place_linear_ticks(high_ns: float, most: int, words: Words) -> list[Tick]:
    """Round durations from 0 up to at least `high_ns`, at most `most` steps."""
    step = next((value for value in round_durations_ns() if high_ns / value <= most), 1000 * _DAY)
    places = [i * step for i in range(math.ceil(high_ns / step) + 1)]
    return [Tick(at, words.duration(at, terse=True) if at else "0") for at in places]


def place_count_ticks(high: int, most: int, words: Words) -> list[Tick]:
    """Whole numbers from 0 up to at least `high`."""
    steps = (digit * 10**power for power in range(18) for digit in (1, 2, 5))
    step = next(value for value in steps if high / value <= most)
    return [Tick(i * step, words.count(i * step)) for i in range(max(1, math.ceil(high / step)) + 1)]


def place_number_ticks(high: float, most: int, words: Words, *, binary: bool = False) -> list[Tick]:
    """Round numbers from 0 up to at least `high`; of bytes in powers of two."""
    high = max(high, 1.0)
    if binary:
        unit = 1024 ** max(0, int(math.log(high, 1024)))
        steps = [unit * factor / 8 for factor in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)]
    else:
        power = 10.0 ** (math.floor(math.log10(high)) - 1)
        steps = [power * digit for digit in (1, 2, 5, 10, 20, 25, 50, 100)]
    step = next((value for value in steps if high / value <= most), steps[-1])
    ticks = [i * step for i in range(math.ceil(high / step) + 1)]
    return [Tick(at, words.size(at, terse=True) if binary else words.number(at, terse=True)) for at in ticks]


_TIME_STEPS = (
    *((timedelta(seconds=n), "second") for n in (1, 2, 5, 10, 15, 30)),
    *((timedelta(minutes=n), "minute") for n in (1, 2, 5, 10, 15, 30)),
    *((timedelta(hours=n), "minute") for n in (1, 2, 3, 6, 12)),
    *((timedelta(days=n), "day") for n in (1, 2, 3, 7, 14, 28, 56, 91, 182, 364)),
)


def place_time_ticks(start_ns: int, end_ns: int, most: int, words: Words) -> list[Tick]:
    """Round local times within a period, at most about `most`; the day is named where it begins and at the first."""
    span = timedelta(microseconds=max(1, (end_ns - start_ns) // 1000))
    step, grain = next(((step, grain) for step, grain in _TIME_STEPS if span / step <= most), _TIME_STEPS[-1])
    # Because ticks stand at round wall-clock times, they are counted on the naive local clock and converted back.
    first = words.local(start_ns).replace(tzinfo=None)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    wall = midnight + (first - midnight) // step * step
    ticks: list[Tick] = []
    shown_day = None
    while len(ticks) < 4 * most:
        at_ns = _wall_to_ns(wall, words)
        if at_ns > end_ns:
            break
        if at_ns >= start_ns:
            if grain == "day":
                label = words.day(at_ns, year=False)
            else:
                label = words.clock(at_ns, seconds=grain == "second")
                if wall.date() != shown_day and span > timedelta(hours=6):
                    label += f"\n{words.day(at_ns, year=False)}"
                shown_day = wall.date()
            ticks.append(Tick(at_ns, label))
        wall += step
    return ticks


def _wall_to_ns(wall: datetime, words: Words) -> int:
    aware = wall.astimezone() if words.zone is None else wall.replace(tzinfo=words.zone)
    return round(aware.timestamp()) * _S


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as can be to the wanted ones, at least `gap` apart, within [low, high] if there is room.

    Of two that want the same place, the first is put higher.
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], -i))
    places = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    if places and places[-1] > high:
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    result = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        result[i] = place
    return result


def merge_buckets(buckets: Sequence[tuple[int, int, int]], most: int) -> list[tuple[float, float, int]]:
    """Counts in about `most` bins of equal width on a log axis: (low_ns, high_ns, count), empty ones too."""
    if not buckets:
        return []
    middles = [(math.log(max(1.0, (low + high) / 2)), count) for low, high, count in buckets]
    first, last = middles[0][0], middles[-1][0]
    # Because a bin narrower than the buckets themselves (1/64 of an octave) would come out empty.
    width = max(math.log(2) / 16, (last - first) / most)
    start = first - width / 2 if last - first < width else math.floor(first / width) * width
    counts = [0] * (int((last - start) / width) + 1)
    for at, count in middles:
        counts[min(len(counts) - 1, int((at - start) / width))] += count
    return [(math.exp(start + i * width), math.exp(start + (i + 1) * width), count) for i, count in enumerate(counts)]
