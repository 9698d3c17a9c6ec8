"""Stores for the tests of sinks, and rows as a loop of twenty steps would make them."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from analytics_sdk.rollup import Cells, decode_nodes
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import (
    EXECUTION_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    JournalIdentity,
    Row,
    Sink,
)
from analytics_sdk.sinks.clickhouse_sink import ClickHouseSink
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink

_OF_READERS = ("late", "last_seq", "version", "journal_month", "at")
_FINAL: dict[str, Any] = {"execution_options": {"settings": {"final": 1}}}
"""What ClickHouse needs to be told, and others leave alone."""
T0_NS = 1_767_225_600_000_000_000
"""2026-01-01 in UTC."""
JOURNAL = JournalIdentity("0f" * 16, "buero-7", 4711, T0_NS, "machine", "boot")


def execution(seq: int, **changes: Any) -> Row:
    """An execution that succeeded."""
    values: dict[str, Any] = {
        "seq": seq,
        "execution_id": f"run-{seq}",
        "workflow_id": "rechnungseingang",
        "status": "success",
        "started_at_ns": T0_NS + seq * 1_000,
        "ended_at_ns": T0_NS + seq * 1_000 + 5_000_000,
        "duration_ns": 5_000_000,
        "total_steps": 20,
        "steps_completed": 20,
        "steps_failed": 0,
        "steps_recovered": 0,
        "end_seq": seq + 1,
    }
    return _row(EXECUTION_COLUMNS, {**values, **changes})


def step(seq: int, **changes: Any) -> Row:
    """A step that succeeded."""
    values: dict[str, Any] = {
        "seq": seq,
        "execution_id": "run-0",
        "workflow_id": "rechnungseingang",
        "step_no": seq,
        "node_id": f"node_{seq % 20}",
        "action_type": "click",
        "status": "success",
        "started_at_ns": T0_NS + seq * 1_000,
        "ended_at_ns": T0_NS + seq * 1_000 + 250_000,
        "duration_ns": 250_000,
        "end_seq": seq + 1,
    }
    return _row(STEP_COLUMNS, {**values, **changes})


RUNNING: dict[str, Any] = {"status": "running", "ended_at_ns": None, "duration_ns": None, "end_seq": None}
"""What is different in a row whose end is not known."""
RUNNING_EXECUTION: dict[str, Any] = {**RUNNING, "steps_completed": 0}


def recovery(seq: int, **changes: Any) -> Row:
    """A recovery attempt that succeeded."""
    values: dict[str, Any] = {
        "seq": seq,
        "execution_id": "run-0",
        "workflow_id": "rechnungseingang",
        "step_no": 1,
        "node_id": "node_1",
        "strategy": "semantic_variant",
        "success": True,
        "started_at_ns": T0_NS + seq,
        "duration_ns": 90_000,
    }
    return _row(RECOVERY_COLUMNS, {**values, **changes})


def sample(seq: int, **changes: Any) -> Row:
    """A resource sample of a machine without GPU."""
    values: dict[str, Any] = {"seq": seq, "at_ns": T0_NS + seq, "cpu_percent": 12.5, "rss_bytes": 6 << 30}
    return _row(SAMPLE_COLUMNS, {**values, **changes})


def _row(names: tuple[str, ...], values: dict[str, Any]) -> Row:
    unknown = set(values) - set(names)
    assert not unknown, unknown
    return tuple(values.get(name) for name in names)


def rows_in(sink: Sink, name: str) -> list[dict[str, Any]]:
    """All rows of a table by key, without what only readers of rollups need."""
    sink = getattr(sink, "inner", sink)
    if isinstance(sink, MemorySink):
        rows = getattr(sink, name.replace("resource_", ""))
    else:
        assert isinstance(sink, SqlSink)
        with sink.engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(getattr(sink.tables, name).select(), **_FINAL)]
        if isinstance(sink, ClickHouseSink):
            rows = _as_elsewhere(sink, name, rows)
    rows = [{key: row[key] for key in row if key not in _OF_READERS} for row in rows]
    return sorted(rows, key=lambda row: (row["source"], row.get("seq", 0), row.get("kind", ""), row.get("reason", "")))


def _as_elsewhere(sink: ClickHouseSink, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ClickHouse as they are in the other stores: small numbers of journals, one row a loss."""
    with sink.engine.connect() as connection:
        asked = sink.tables.journal_positions.select().order_by("host")
        numbers = {row.source: i + 1 for i, row in enumerate(connection.execute(asked, **_FINAL))}
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        row["source"] = numbers[row["source"]]
        if name == "losses":
            known = merged.setdefault((row["source"], row["kind"], row["reason"]), {**row, "n": 0})
            known["n"] += row["n"]
            known["first_at_ns"] = min(known["first_at_ns"], row["first_at_ns"])
            known["last_at_ns"] = max(known["last_at_ns"], row["last_at_ns"])
    return list(merged.values()) if name == "losses" else rows


class Store:
    """A place that outlives the sinks on it."""

    def __init__(self, kind: str, make: Callable[[], Sink]) -> None:
        self.kind = kind
        self._make = make
        self._sinks: list[Sink] = []

    def open(self) -> Any:
        """One more sink on this store."""
        sink = self._make()
        sink.open()
        self._sinks.append(sink)
        return sink

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        return rows_in(self._sinks[-1], name)

    def cells(self) -> Cells:
        """The stored rollups, all sources added up."""
        sink = self._sinks[-1]
        assert isinstance(sink, SqlSink)
        found: Cells = {}
        with sink.engine.connect() as connection:
            c = sink.tables.rollups.c
            cells = func.hex(c.cells) if self.kind == "clickhouse" else c.cells
            for row in connection.execute(select(c.workflow_id, c.bucket_start_ns, cells), **_FINAL):
                nodes = found.setdefault((row.workflow_id, row.bucket_start_ns), {})
                blob = bytes.fromhex(row[2]) if self.kind == "clickhouse" else bytes(row[2])
                for node_id, cell in decode_nodes(blob).items():
                    if node_id in nodes:
                        nodes[node_id].add(cell)
                    else:
                        nodes[node_id] = cell
        return found


def sqlite_store(folder: Path) -> Store:
    return Store("sqlite", lambda: make_sink(f"sqlite:///{folder}/analytics.db"))


def postgres_store(url: str) -> Store:
    first = SqlSink(url)
    first.upgrade()
    first.close()
    return Store("postgres", lambda: make_sink(url))


def clickhouse_store(url: str, schema: str) -> Store:
    first = SqlSink(url, schema=schema)
    first.upgrade()
    first.close()
    return Store("clickhouse", lambda: make_sink(url, schema=schema))


def integrity_of(path: Path) -> str:
    """What SQLite says of a file's health."""
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
