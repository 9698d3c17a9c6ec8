"""A store that version 1 made, with rows in it, is taken forward, and nothing in it is lost."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sink_stores import JOURNAL, T0_NS, rows_in, sample
from sqlalchemy import Engine, text

from analytics_sdk.errors import SinkMisconfigured
from analytics_sdk.query import Query
from analytics_sdk.rollup import WHOLE, Cell, hour_of
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Batch
from analytics_sdk.sinks.schema import SCHEMA_VERSION
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import SUCCESS

HERE = Path(__file__).parent
SECOND_NS = 10**9


def make_version_1(engine: Engine) -> None:
    """The tables as version 1 made them, with an execution that was healed: rows, and cells up to position 600."""
    statements = (HERE / f"version_1_{engine.dialect.name}.sql").read_text("utf-8").split(";\n")
    schema = "" if engine.dialect.name == "sqlite" else "analytics_sdk."
    with engine.begin() as connection:
        for statement in filter(None, statements):
            connection.exec_driver_sql(statement)
        rows: dict[str, list[dict[str, Any]]] = {
            "journal_positions": [{"source": 1, "position": 900, "rollup_position": 600, **_identity()}],
            "executions": [_execution(100, 500)],
            "recoveries": [_recovery(200, "n1"), _recovery(300, "n2"), _recovery(700, "n2")],
            "resource_samples": [{"source": 1, "seq": 400, "at_ns": T0_NS, "host": "h", "pid": 1}],
            "rollups": [
                {
                    "workflow_id": "w",
                    "level": "hour",
                    "bucket_start_ns": hour_of(T0_NS),
                    "source": 1,
                    "cells": _cells_of_version_1(),
                }
            ],
        }
        for table, some in rows.items():
            for row in some:
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {schema}{table} ({names}) VALUES ({values})"), row)


def _identity() -> dict[str, Any]:
    return {name: getattr(JOURNAL, name) for name in JOURNAL.__struct_fields__}


def _execution(seq: int, end_seq: int) -> dict[str, Any]:
    return {
        "source": 1,
        "seq": seq,
        "execution_id": "e",
        "workflow_id": "w",
        "status": "success",
        "started_at_ns": T0_NS,
        "ended_at_ns": T0_NS + SECOND_NS,
        "duration_ns": SECOND_NS,
        "steps_completed": 2,
        "steps_failed": 0,
        "steps_recovered": 2,
        "end_seq": end_seq,
        "host": "h",
        "pid": 1,
    }


def _recovery(seq: int, node_id: str) -> dict[str, Any]:
    common = {"source": 1, "execution_id": "e", "workflow_id": "w", "strategy": "retry", "success": True}
    return {**common, "seq": seq, "node_id": node_id, "started_at_ns": T0_NS + seq, "duration_ns": SECOND_NS // 10}


def _cells_of_version_1() -> bytes:
    """Cells whose strategies have three fields, as they were then."""
    whole = Cell(started=1)
    whole.add_end(SUCCESS, SECOND_NS, first_pass=False)
    nodes = {WHOLE: whole, "n1": Cell(), "n2": Cell()}
    for node_id in ("n1", "n2"):
        nodes[node_id].add_recovery("retry", True, SECOND_NS // 10)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(nodes), strict=False)
    for cell in plain.values():
        strategies = cell[-1]
        for name in strategies:
            strategies[name] = strategies[name][:3]
    return zlib.compress(msgspec.msgpack.encode(plain), 1)


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlSink]:
    """A sink on a store of version 1."""
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/a.db" if is_sqlite else request.getfixturevalue("postgres_url")
    sink = make_sink(url)
    assert isinstance(sink, SqlSink)
    make_version_1(sink.engine)
    yield sink
    sink.close()


def _open(sink: SqlSink) -> None:
    """Our own file is taken forward when it is opened; a server's tables wait for `db upgrade`."""
    if sink.engine.dialect.name != "sqlite":
        with pytest.raises(SinkMisconfigured, match=f"version 1, .* needs {SCHEMA_VERSION}: run `analytics-sdk db up"):
            sink.open()
        assert sink.upgrade() == list(range(2, SCHEMA_VERSION + 1))
    sink.open()


def test_it_is_taken_forward_with_what_stands_in_it(old: SqlSink) -> None:
    """Of its recoveries nobody can tell what became of them."""
    _open(old)
    assert [(row["seq"], row["verdict"], row["verdict_seq"]) for row in rows_in(old, "recoveries")] == [
        (200, None, None),
        (300, None, None),
        (700, None, None),
    ]
    assert old.upgrade() == []
    stats: Any = Query(old).stats("w", now_ns=T0_NS + SECOND_NS)
    recovery = stats["recovery"]
    assert (recovery["attempts"], recovery["succeeded"]) == (3, 3)
    assert (recovery["verified"], recovery["refuted"], recovery["unknown"]) == (0, 0, 3)


def test_a_verdict_that_comes_later_finds_its_recovery_there(old: SqlSink) -> None:
    """In the rows at once; in the answer too, though the rollups had counted the recovery before."""
    _open(old)
    old.write(
        Batch(JOURNAL, 900, 1000, late_verdicts=[(200, "refuted", 950), (700, "verified", 960), (1, "refuted", 970)])
    )
    assert [row["verdict"] for row in rows_in(old, "recoveries")] == ["refuted", None, "verified"]
    for asked in ({}, {"start_ns": T0_NS, "end_ns": T0_NS + SECOND_NS}):
        stats: Any = Query(old).stats("w", now_ns=T0_NS + SECOND_NS, **asked)
        recovery = stats["recovery"]
        assert (recovery["attempts"], recovery["verified"], recovery["refuted"], recovery["unknown"]) == (3, 1, 1, 1)


def test_samples_say_what_ran_from_then_on(old: SqlSink) -> None:
    """Of those that stand there nobody can tell."""
    _open(old)
    old.write(Batch(JOURNAL, 900, 1000, samples=[sample(950, executions=2)]))
    assert [row["executions"] for row in rows_in(old, "resource_samples")] == [None, 2]


def test_whoever_reads_it_before_is_told_what_to_do(old: SqlSink) -> None:
    """Reading changes no table."""
    with pytest.raises(SinkMisconfigured, match="of an older version: run `analytics-sdk db upgrade"):
        Query(old).stats("w", now_ns=T0_NS + SECOND_NS)
