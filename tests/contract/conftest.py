"""The stores that every sink is held against."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sink_stores import Store, clickhouse_store, postgres_store, sqlite_store

from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FailingSink

CLICKHOUSE = pytest.param("clickhouse", marks=pytest.mark.xdist_group("clickhouse"))


def sql_store_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Store:
    """An empty SQL store of a kind."""
    if kind == "sqlite":
        return sqlite_store(folder)
    if kind == "clickhouse":
        server, schema = request.getfixturevalue("clickhouse_server"), request.getfixturevalue("clickhouse_schema")
        return clickhouse_store(server, schema)
    return postgres_store(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["memory", "failing", "sqlite", "postgres", CLICKHOUSE])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store, empty."""
    if request.param == "memory":
        kept = MemorySink()
        made = Store("memory", lambda: kept)
    elif request.param == "failing":
        never = FailingSink()
        made = Store("memory", lambda: never)
    else:
        made = sql_store_of(request.param, request, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def sql_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of SQL store, empty."""
    made = sql_store_of(request.param, request, tmp_path)
    yield made
    made.close()
