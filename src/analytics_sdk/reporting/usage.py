"""Resource samples as lines for a chart: a line a process, thinned to what can be seen, gaps left open."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import nan
from statistics import median

from analytics_sdk.query.results import SampleRow
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.words import shorten

MOST_LINES = 4
_MOST_PLACES = 240
_GAP_FACTOR = 3.5

Line = tuple[str | None, list[int], list[float]]
"""(name, None for "all others"; instants in nanoseconds; values, nan where the line breaks)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One measurement: its name, and a line for each process or GPU."""

    name: str
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest values of one process."""

    process: str
    n: int
    cpu_percent: float
    rss_bytes: float
    gpu_percent: float


_latest: "tuple[weakref.ref[ReportData], list[Usage]] | None" = None
"""Because a chart is drawn at several widths, and there may be a hundred thousand samples."""


def name_process(sample: SampleRow) -> str:
    """`host:pid`, short."""
    return f"{_short(sample.host)}:{sample.pid}"


@lru_cache(maxsize=1_000)
def _short(host: str) -> str:
    return shorten(host, 12)


def read_usage(data: ReportData) -> list[Usage]:
    """CPU and memory by process, and GPU use by GPU, of what was measured at all. Read once for the same data."""
    global _latest
    latest = _latest
    if latest is not None and latest[0]() is data:
        return latest[1]
    panels = _read(data)
    _latest = weakref.ref(data), panels
    return panels


def _read(data: ReportData) -> list[Usage]:
    by_process = _group(data.samples, name_process)
    panels = [
        Usage("cpu", _lines(data, by_process, lambda sample: sample.cpu_percent)),
        Usage("memory", _lines(data, by_process, lambda sample: sample.rss_bytes)),
    ]
    by_gpu: dict[str, list[tuple[int, float]]] = {}
    for sample in data.samples:
        for gpu in sample.gpus:
            used = gpu.get("utilization_percent")
            if isinstance(used, int | float):
                name = f"{_short(sample.host)} GPU {gpu.get('index')}"
                by_gpu.setdefault(name, []).append((sample.at_ns, float(used)))
    panels.append(Usage("gpu", _thin_all(data, by_gpu)))
    return [panel for panel in panels if panel.lines]


def find_peaks(data: ReportData) -> list[Peak]:
    """The highest values of each process, the largest memory first."""
    peaks = []
    for process, samples in _group(data.samples, name_process).items():
        gpus = [gpu.get("utilization_percent") for sample in samples for gpu in sample.gpus]
        peaks.append(
            Peak(
                process,
                len(samples),
                _highest([sample.cpu_percent for sample in samples]),
                _highest([sample.rss_bytes for sample in samples]),
                _highest([value if isinstance(value, int | float) else None for value in gpus]),
            )
        )
    return sorted(peaks, key=lambda peak: (-(peak.rss_bytes if peak.rss_bytes == peak.rss_bytes else 0), peak.process))


def _highest(values: Sequence[float | None]) -> float:
    return max((float(value) for value in values if value is not None), default=nan)


def _group(samples: Sequence[SampleRow], name_of: Callable[[SampleRow], str]) -> dict[str, list[SampleRow]]:
    groups: dict[str, list[SampleRow]] = {}
    for sample in samples:
        groups.setdefault(name_of(sample), []).append(sample)
    return groups


def _lines(
    data: ReportData, by_process: dict[str, list[SampleRow]], value_of: Callable[[SampleRow], float | None]
) -> list[Line]:
    known = {
        name: [(sample.at_ns, float(value)) for sample in samples if (value := value_of(sample)) is not None]
        for name, samples in by_process.items()
    }
    return _thin_all(data, {name: values for name, values in known.items() if values})


def _thin_all(data: ReportData, known: dict[str, list[tuple[int, float]]]) -> list[Line]:
    ranked = sorted(known, key=lambda name: (-max(value for _, value in known[name]), name))
    # Because a fifth line alone says more than "others" made of it alone.
    shown = ranked if len(ranked) <= MOST_LINES + 1 else ranked[:MOST_LINES]
    lines: list[Line] = [(name, *_thin(data, known[name])) for name in shown]
    if len(ranked) > len(shown):
        rest = sorted(pair for name in ranked[len(shown) :] for pair in known[name])
        lines.append((None, *_thin(data, rest)))
    return lines


def _thin(data: ReportData, pairs: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """The highest value of each of so many stretches, with a nan where samples are missing for long."""
    pairs = sorted(pairs)
    stretch_ns = max(1, (data.end_ns - data.start_ns) // _MOST_PLACES)
    tops: dict[int, tuple[int, float]] = {}
    for at_ns, value in pairs:
        place = (at_ns - data.start_ns) // stretch_ns
        known = tops.get(place)
        if known is None or value > known[1]:
            tops[place] = (at_ns, value)
    kept = sorted(tops.values())
    steps = [later - earlier for (earlier, _), (later, _) in pairwise(kept)]
    limit_ns = _GAP_FACTOR * median(steps) if steps else 0
    places: list[int] = []
    values: list[float] = []
    for at_ns, value in kept:
        if places and at_ns - places[-1] > limit_ns:
            places.append((places[-1] + at_ns) // 2)
            values.append(nan)
        places.append(at_ns)
        values.append(value)
    return places, values
