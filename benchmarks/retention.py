"""Archiving 100 days of 100,000 steps a day, all but the last ten: time, room, and that every answer stays the same.

    python benchmarks/retention.py [--json FILE] [--quick]

It is what `analytics-sdk archive` does to a SQLite file: rows go in portions to Parquet files, are read back and
compared, and are deleted, with a pause behind each portion in which others write. Answers that rollups give are asked
before and after, and so are those that need rows: exact percentiles, and the newest and slowest executions. `--quick`
has 10 days of 10,000 steps, of which all but the last goes.
"""

import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _figures import Figures, options
from _filling import ASKED, DAY_NS, T0_NS, History, deliver

from analytics_sdk.archive.archiver import Archiver
from analytics_sdk.query import Query
from analytics_sdk.sinks import make_sink

DAYS, STEPS_A_DAY, KEPT_DAYS = 100, 100_000, 10
QUICK_DAYS, QUICK_STEPS_A_DAY, QUICK_KEPT_DAYS = 10, 10_000, 1
MEGABYTE = 1e6
ROUNDS = 5


def size_of(file: Path) -> int:
    """The bytes of a SQLite database, in its file or still in its log."""
    connection = sqlite3.connect(file)
    try:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    finally:
        connection.close()
    return int(pages * size)


def answers_of(query: Any, end_ns: int) -> dict[str, Any]:
    """Answers of every kind, as text where nan must be like nan."""
    asked = {"start_ns": T0_NS, "end_ns": end_ns}
    # Hours cut in two at both edges, because these are read row by row.
    cut = {"start_ns": T0_NS + DAY_NS // 7, "end_ns": end_ns - DAY_NS // 7}
    middle = T0_NS + (end_ns - T0_NS) // 2
    slowest = query.slowest(ASKED, T0_NS, end_ns)
    return {
        "statistics": repr(query.stats(ASKED, **asked, now_ns=end_ns)),
        "all statistics": repr(query.stats(None, **asked, now_ns=end_ns)),
        "cut hours": repr(query.stats(ASKED, **cut, now_ns=end_ns)),
        "a day, exactly": repr(query.stats(ASKED, start_ns=middle - DAY_NS, end_ns=middle, exact=True, now_ns=end_ns)),
        "series": query.series(None, T0_NS, end_ns, DAY_NS),
        "newest executions": query.executions(ASKED, T0_NS, middle, 100),
        "slowest execution": slowest,
        "its timeline": query.timeline(slowest.execution_id),
    }


def time_of(ask: Any) -> float:
    """Milliseconds, the median of some."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def questions(query: Any, history: History, kept_ns: int) -> dict[str, Any]:
    """What is timed before and after."""
    end_ns = history.end_ns
    across = kept_ns - DAY_NS // 2, kept_ns + DAY_NS // 2
    return {
        "statistics of all days": lambda: query.stats(ASKED, start_ns=T0_NS, end_ns=end_ns, now_ns=end_ns),
        "exact statistics of a day, half of it archived": lambda: query.stats(
            ASKED, start_ns=across[0], end_ns=across[1], exact=True, now_ns=end_ns
        ),
        "the newest 1,000 executions before the archive's end": lambda: query.executions(
            ASKED, T0_NS, kept_ns + 1, 1_000
        ),
    }


def measure(figures: Figures, folder: Path, days: int, steps_a_day: int, kept_days: int) -> None:
    """Fill, ask, archive, ask again."""
    file = folder / "analytics.db"
    history = History(days * DAY_NS, executions_a_batch=5_000)
    sink: Any = make_sink(f"sqlite:///{file}")
    sink.open()
    for _ in deliver(history, [sink], days * steps_a_day):
        pass
    query = Query(sink, folder / "archive")
    kept_ns = history.end_ns - kept_days * DAY_NS
    before, size = answers_of(query, history.end_ns), size_of(file)
    times = {name: time_of(ask) for name, ask in questions(query, history, kept_ns).items()}
    done = Archiver(make_sink(f"sqlite:///{file}"), folder / "archive").run(kept_ns)
    after = answers_of(query, history.end_ns)
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"these answers changed: {changed}"
    assert done.rows["steps"] > (days - kept_days) * steps_a_day * 0.99, done
    add(figures, done, size, size_of(file))
    figures.add(
        "kinds of answers that are the same before and after", len(before), "of them", target="all", met=not changed
    )
    for name, ask in questions(query, history, kept_ns).items():
        cost = time_of(ask)
        figures.add(name, cost, "ms", beside="before it went", ratio=cost / times[name])
    sink.close()


def add(figures: Figures, done: Any, before: int, after: int) -> None:
    """What a run did."""
    rows = sum(done.rows.values())
    figures.add("rows archived", rows, "rows")
    figures.add("time", done.seconds, "s")
    figures.add("rows a second", rows / done.seconds, "rows/s")
    figures.add("longest that another writer waited", done.longest_hold_seconds, "s")
    figures.add("the database before", before / MEGABYTE, "MB")
    figures.add("the database after", after / MEGABYTE, "MB", beside="before", ratio=after / before)
    figures.add("given back to the disk", done.freed_bytes / MEGABYTE, "MB")
    figures.add("free in the database for new rows", done.free_bytes / MEGABYTE, "MB")
    parquet = done.bytes / MEGABYTE
    figures.add("the archive", parquet, "MB", beside="what is given back", ratio=done.bytes / max(1, done.freed_bytes))
    figures.add("files in the archive", done.files, "files")


def main() -> None:
    given = options(__doc__ or "").parse_args()
    figures = Figures("archiving old rows")
    folder = Path(tempfile.mkdtemp(prefix="retention"))
    try:
        if given.quick:
            measure(figures, folder, QUICK_DAYS, QUICK_STEPS_A_DAY, QUICK_KEPT_DAYS)
        else:
            measure(figures, folder, DAYS, STEPS_A_DAY, KEPT_DAYS)
        figures.close(given.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
