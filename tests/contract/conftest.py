"""The stores that every sink is held against."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sink_stores import Store, postgres_store, sqlite_store

from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FailingSink


@pytest.fixture(params=["memory", "failing", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store, empty."""
    if request.param == "memory":
        kept = MemorySink()
        made = Store("memory", lambda: kept)
    elif request.param == "failing":
        never = FailingSink()
        made = Store("memory", lambda: never)
    elif request.param == "sqlite":
        made = sqlite_store(tmp_path)
    else:
        made = postgres_store(request.getfixturevalue("postgres_url"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def sql_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of SQL store, empty."""
    is_sqlite = request.param == "sqlite"
    made = sqlite_store(tmp_path) if is_sqlite else postgres_store(request.getfixturevalue("postgres_url"))
    yield made
    made.close()
