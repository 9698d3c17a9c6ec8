"""What a report costs over ten million steps in 100 days, with a resource sample a minute, on SQLite.

    python benchmarks/report_cost.py [--json FILE] [--quick]

Asking the store and drawing the page are timed apart. The first report of the process counts, as a command would make
it, after the libraries that it needs are imported, whose time stands beside it. `--quick` has 300,000 steps.
"""

import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from _figures import Figures, options
from _filling import DAY_NS, T0_NS, History, deliver

from analytics_sdk.query import Query
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import SAMPLE_COLUMNS, Batch
from analytics_sdk.testing import FakeClock

STEPS, QUICK_STEPS, DAYS = 10_000_000, 300_000, 100
MOST_SECONDS = 3.0
MINUTE_NS = 60 * 10**9
T0 = datetime.fromtimestamp(T0_NS / 1e9, UTC)
NOW = T0 + timedelta(days=DAYS, minutes=17)
AGAIN = 3


def fill(file: Path, steps: int) -> int:
    """A store of so many steps; the number of samples in it."""
    history = History(DAYS * DAY_NS, executions_a_batch=5_000)
    sink = make_sink(f"sqlite:///{file}")
    sink.open()
    for _ in deliver(history, [sink], steps):
        pass
    batch = Batch(history.journal, history.position, history.position + DAYS * 1_440 * 100)
    for i in range(DAYS * 1_440):
        values = {"seq": history.position + 100 * i, "at_ns": T0_NS + i * MINUTE_NS, "cpu_percent": 20.0 + i % 60}
        values |= {"rss_bytes": (1 << 29) + (i % 97 << 20), "elapsed_ns": MINUTE_NS, "executions": 1}
        values |= {"host_cpu_percent": 30.0 + i % 40, "host_memory_used_bytes": 9 << 30}
        batch.samples.append(tuple(values.get(name) for name in SAMPLE_COLUMNS))
    sink.write(batch)
    sink.fold(batch.journal, {}, batch.old_position, batch.new_position)
    sink.close()
    return len(batch.samples)


def make(generator: ReportGenerator, config: ReportConfig) -> tuple[float, float]:
    """The seconds that asking and drawing took."""
    begun = time.perf_counter()
    data = generator.generate_report(config)
    asked = time.perf_counter()
    page = generator.export_html(data)
    assert page.stat().st_size > 50_000, "the page is empty"
    return asked - begun, time.perf_counter() - asked


def add(figures: Figures, told: str, costs: list[tuple[float, float]]) -> None:
    """The first report, and what it was made of."""
    (asking, drawing), later = costs[0], costs[1:]
    cost = asking + drawing
    goal = f"under {MOST_SECONDS:g} s besides importing matplotlib"
    figures.add(f"a report over {told}", cost, "s", target=goal, met=cost < MOST_SECONDS)
    figures.add(f"of these, asking the store, {told}", asking, "s")
    figures.add(f"of these, drawing the page, {told}", drawing, "s")
    figures.add(f"a later one in the same process, {told}", statistics.median(map(sum, later)), "s")


def main() -> None:
    given = options(__doc__ or "").parse_args()
    steps = QUICK_STEPS if given.quick else STEPS
    figures = Figures("an HTML report")
    folder = Path(tempfile.mkdtemp(prefix="report"))
    try:
        begun = time.perf_counter()
        import analytics_sdk.reporting.html  # noqa: F401  # now, because its time is told apart

        imported = time.perf_counter() - begun
        samples = fill(folder / "analytics.db", steps)
        sink: Any = make_sink(f"sqlite:///{folder}/analytics.db")
        generator = ReportGenerator(lambda: Query(sink), folder, FakeClock(NOW))
        everything = ReportConfig("All of it", start_time=T0, tz="UTC")
        add(
            figures,
            f"{steps:,} steps in {DAYS} days, {samples:,} samples",
            [make(generator, everything) for _ in range(1 + AGAIN)],
        )
        week = ReportConfig("The last 7 days", tz="UTC")
        add(figures, f"7 days of them, {steps // DAYS * 7:,} steps", [make(generator, week) for _ in range(1 + AGAIN)])
        figures.add("importing matplotlib and jinja2", imported, "s")
        figures.close(given.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
