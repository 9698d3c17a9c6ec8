"""What an HTML report costs over ten million steps in 100 days, on SQLite.

    python benchmarks/report_cost.py [--json FILE] [--quick]

Asking the store and drawing the page are timed apart. The first report of the process counts, as a command would make
it, after the libraries that it needs are imported, whose time stands beside it. Then the same with a resource sample a
minute in the store, and of the last seven days alone. `--quick` has 300,000 steps in 10 days.
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

STEPS, DAYS = 10_000_000, 100
QUICK_STEPS, QUICK_DAYS = 300_000, 10
MOST_SECONDS = 3.0
MINUTE_NS = 60 * 10**9
T0 = datetime.fromtimestamp(T0_NS / 1e9, UTC)
MINUTES_SINCE = 17
AGAIN = 1


def add_samples(sink: Any, history: History, days: int) -> int:
    """Have a resource sample a minute in the store; how many."""
    n, first = days * 1_440, history.position
    batch = Batch(history.journal, first, first + n * 100)
    for i in range(n):
        values = {"seq": first + 100 * i, "at_ns": T0_NS + i * MINUTE_NS, "cpu_percent": 20.0 + i % 60}
        values |= {"rss_bytes": (1 << 29) + (i % 97 << 20), "elapsed_ns": MINUTE_NS, "executions": 1}
        values |= {"host_cpu_percent": 30.0 + i % 40, "host_memory_used_bytes": 9 << 30}
        batch.samples.append(tuple(values.get(name) for name in SAMPLE_COLUMNS))
    sink.write(batch)
    sink.fold(batch.journal, {}, batch.old_position, batch.new_position)
    return n


def make(generator: ReportGenerator, config: ReportConfig) -> tuple[float, float, float]:
    """The seconds that asking and drawing took, and those of the processor."""
    begun, busy = time.perf_counter(), time.process_time()
    data = generator.generate_report(config)
    asked = time.perf_counter()
    page = generator.export_html(data)
    assert page.stat().st_size > 50_000, "the page is empty"
    return asked - begun, time.perf_counter() - asked, time.process_time() - busy


def add(figures: Figures, told: str, costs: list[tuple[float, float, float]], judged: bool = False) -> None:
    """The first report, and what it was made of."""
    (asking, drawing, busy), later = costs[0], costs[1:]
    cost = asking + drawing
    goal = f"under {MOST_SECONDS:g} s besides importing matplotlib" if judged else None
    figures.add(f"a report over {told}", cost, "s", target=goal, met=cost < MOST_SECONDS if judged else None)
    figures.add("of these, asking the store", asking, "s")
    figures.add("of these, drawing the page", drawing, "s")
    figures.add("of these, processor time, which others' work does not change much", busy, "s")
    if later:
        figures.add(
            "the next one in the same process", statistics.median(asking + drawing for asking, drawing, _ in later), "s"
        )


def main() -> None:
    given = options(__doc__ or "").parse_args()
    steps, days = (QUICK_STEPS, QUICK_DAYS) if given.quick else (STEPS, DAYS)
    figures = Figures("an HTML report")
    folder = Path(tempfile.mkdtemp(prefix="report"))
    try:
        begun = time.perf_counter()
        import analytics_sdk.reporting.html  # noqa: F401  # now, because its time is told apart

        imported = time.perf_counter() - begun
        history = History(days * DAY_NS, executions_a_batch=5_000)
        sink: Any = make_sink(f"sqlite:///{folder}/analytics.db")
        sink.open()
        for _ in deliver(history, [sink], steps):
            pass
        now = FakeClock(T0 + timedelta(days=days, minutes=MINUTES_SINCE))
        generator = ReportGenerator(lambda: Query(sink), folder, now)
        everything, week = ReportConfig("All of it", start_time=T0, tz="UTC"), ReportConfig("The last days", tz="UTC")
        of = f"{steps:,} steps in {days} days"
        add(figures, of, [make(generator, everything) for _ in range(1 + AGAIN)], judged=True)
        add(figures, f"7 of these days, {steps // days * 7:,} steps", [make(generator, week)])
        samples = add_samples(sink, history, days)
        add(figures, f"{of} with {samples:,} samples", [make(generator, everything)])
        figures.add("importing matplotlib and jinja2", imported, "s")
        sink.close()
        figures.close(given.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
