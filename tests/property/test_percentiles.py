"""Percentiles out of a store are what numpy says of the same durations: within the proven error from rollups, and to
the nanosecond when asked for exactly. Of any distribution, on a SQLite file and on PostgreSQL."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics_sdk.histogram import RELATIVE_ERROR
from analytics_sdk.query import Query
from analytics_sdk.rollup import HOUR_NS, WHOLE, Cells, cell_of
from analytics_sdk.sinks.base import EXECUTION_COLUMNS, STEP_COLUMNS, Batch, JournalIdentity, Row
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import SUCCESS

T0_NS = 1_767_225_600_000_000_000
DAY_NS = 24 * HOUR_NS
QUANTILES = {"p50_duration": 0.5, "p95_duration": 0.95, "p99_duration": 0.99}
Draw = Callable[[random.Random], float]
DISTRIBUTIONS: dict[str, tuple[int, Draw]] = {
    "heavy tail": (400, lambda chance: 10**5 * chance.paretovariate(0.6)),
    "heavier tail": (400, lambda chance: 10 ** chance.expovariate(0.3)),
    "constant": (300, lambda chance: 123_456_789),
    "two modes": (
        400,
        lambda chance: chance.gauss(*((1e6, 1e4) if chance.random() < 0.95 else (9e11, 1e9))),
    ),
    "nanoseconds to days": (400, lambda chance: 10 ** chance.uniform(0, 14)),
    "nanoseconds": (400, lambda chance: chance.randrange(300)),
    "edges of buckets": (400, lambda chance: (1 << chance.randrange(7, 50)) + chance.choice([-1, 0, 1])),
    "three values": (3, lambda chance: 10 ** chance.randrange(16)),
    "one value": (1, lambda chance: chance.randrange(10**15)),
}


def _durations(seed: int) -> dict[str, list[int]]:
    """Of each node, named after its distribution, and of whole executions."""
    chance = random.Random(seed)
    drawn = {
        name: [min(2**53, max(0, int(draw(chance)))) for _ in range(n)] for name, (n, draw) in DISTRIBUTIONS.items()
    }
    return {**drawn, WHOLE: [duration_ns for some in drawn.values() for duration_ns in some]}


def _row(names: tuple[str, ...], **values: Any) -> Row:
    return tuple(values.get(name) for name in names)


def _keep(sink: SqlSink, durations: dict[str, list[int]]) -> None:
    """Store what took so long, over three hours, with its rollups."""
    journal = JournalIdentity("0a" * 16, "host", 1, T0_NS)
    batch, cells = Batch(journal, 0, 0), Cells()
    for node_id, some in durations.items():
        for i, duration_ns in enumerate(some):
            seq, started_at_ns = 64 + batch.new_position, T0_NS + i * 1_009 * 10**9 % (3 * HOUR_NS)
            batch.new_position += 100
            times = {"started_at_ns": started_at_ns, "ended_at_ns": started_at_ns + duration_ns}
            same = {"seq": seq, "end_seq": seq + 50, "execution_id": f"run-{seq}", "workflow_id": "w", **times}
            if node_id == WHOLE:
                counts = {"steps_completed": 1, "steps_failed": 0, "steps_recovered": 0}
                batch.new_executions.append(
                    _row(EXECUTION_COLUMNS, status="success", duration_ns=duration_ns, **counts, **same)
                )
            else:
                told = {"status": "success", "duration_ns": duration_ns, "step_no": 1, "node_id": node_id}
                batch.new_steps.append(_row(STEP_COLUMNS, **told, **same))
            cell = cell_of(cells, "w", node_id, started_at_ns)
            cell.started += 1
            cell.add_end(SUCCESS, duration_ns, first_pass=True)
    batch.new_position += 64
    sink.open()
    sink.position(journal)
    sink.write(batch)
    sink.fold(journal, cells, 0, batch.new_position)


def _assert_numpys(sink: SqlSink, seed: int) -> None:
    durations = _durations(seed)
    try:
        _keep(sink, durations)
        for exact, error in ((False, RELATIVE_ERROR), (True, 0.0)):
            asked = {"start_ns": T0_NS, "end_ns": T0_NS + 3 * HOUR_NS, "now_ns": T0_NS + DAY_NS}
            stats: Any = Query(sink).stats("w", exact=exact, **asked)
            assert stats["performance"]["relative_error"] == error
            found = {WHOLE: stats["performance"], **{step["node_id"]: step for step in stats["steps"]}}
            assert found.keys() == durations.keys()
            for node_id, some in durations.items():
                for name, quantile in QUANTILES.items():
                    wanted_ns = int(np.quantile(some, quantile, method="inverted_cdf"))
                    answer_ns = found[node_id][name] * 1e9
                    assert abs(answer_ns - wanted_ns) <= wanted_ns * (error + 1e-15), (node_id, name, exact)
    finally:
        sink.close()


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_of_a_sqlite_file_are_numpys(seed: int, tmp_path: Path) -> None:
    """Each node has a distribution of its own, and the executions have all of them together."""
    _assert_numpys(SqlSink(f"sqlite:///{tmp_path}/analytics.db"), seed)


@pytest.mark.parametrize("seed", range(2))
def test_percentiles_of_postgresql_are_numpys(seed: int, postgres_url: str) -> None:
    """The same, where the server finds what lies in the buckets."""
    sink = SqlSink(postgres_url)
    sink.upgrade()
    _assert_numpys(sink, seed)
