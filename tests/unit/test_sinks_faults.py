"""Trouble in our words: what is tried again, what somebody must put right, what is left out. From real databases."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from analytics_sdk.errors import Fenced, RejectedRecord, SinkError, SinkMisconfigured, SinkUnavailable
from analytics_sdk.sinks.base import STEP_COLUMNS, Batch, JournalIdentity
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.sql import SqlSink

JOURNAL = JournalIdentity("ab" * 16, "host", 1, 0)


def step(seq: int, message: str) -> tuple[Any, ...]:
    values = {"seq": seq, "status": "failed", "started_at_ns": seq, "error_message": message}
    return tuple(values.get(name) for name in STEP_COLUMNS)


def raised(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # because which it is, is what is asked
        act()
    return caught.value


def test_a_full_disk_is_a_matter_of_time(tmp_path: Path) -> None:
    """And nothing of the batch is there; the next batch that fits is."""
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", poolclass=NullPool)
    sink = SqlSink(engine)
    sink.open()

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 60")

    with pytest.raises(SinkUnavailable, match="full"):
        sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(i, "x" * 4_000) for i in range(200)]))
    assert sink.position(JOURNAL).rows == 0
    sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(1, "x")]))
    sink.close()
    engine.dispose()


def test_a_file_that_may_only_be_read_is_for_somebody_to_put_right(tmp_path: Path) -> None:
    SqlSink(f"sqlite:///{tmp_path}/a.db").upgrade()
    sink = SqlSink(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true")
    sink.open()
    with pytest.raises(SinkMisconfigured, match="readonly"):
        sink.write(Batch(JOURNAL, 0, 10))
    sink.close()


def test_a_message_shows_no_value_that_was_to_be_kept(tmp_path: Path) -> None:
    """Rows hold what the host put there, and logs are read by others."""
    sink = SqlSink(f"sqlite:///{tmp_path}/a.db")
    sink.open()
    with pytest.raises(RejectedRecord) as caught:
        sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(1, "IBAN DE02 1203"), step(1, "IBAN DE02 1203")]))
    sink.close()
    assert "UNIQUE" in str(caught.value)
    assert "IBAN" not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT * FROM nowhere", SinkMisconfigured),
        ("SELECT nothing", SinkMisconfigured),
        ("INSERT INTO t VALUES (NULL)", RejectedRecord),
        ("INSERT INTO t VALUES ('no number')", RejectedRecord),
    ],
)
def test_what_sqlite_says(statement: str, kind: type[SinkError]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER NOT NULL) STRICT")
    assert type(sink_error(raised(lambda: connection.execute(statement)), "db")) is kind
    connection.close()


@pytest.mark.parametrize("value", [1 << 63, object(), "\udcff"])
def test_a_value_that_cannot_be_bound_is_rejected(value: object) -> None:
    connection = sqlite3.connect(":memory:")
    assert type(sink_error(raised(lambda: connection.execute("SELECT ?", (value,))), "db")) is RejectedRecord
    connection.close()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT * FROM nowhere", SinkMisconfigured),
        ("SELECT 1/0", RejectedRecord),
        ("SELECT 'abc'::bigint", RejectedRecord),
        ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", SinkUnavailable),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", SinkUnavailable),
        ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", SinkUnavailable),
        ("DO $$ BEGIN RAISE SQLSTATE '57P01'; END $$", SinkUnavailable),
        ("DO $$ BEGIN RAISE SQLSTATE '23505'; END $$", RejectedRecord),
        ("DO $$ BEGIN RAISE SQLSTATE '42501'; END $$", SinkMisconfigured),
        ("SET TRANSACTION READ ONLY; CREATE TABLE t (a INT)", SinkMisconfigured),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)", SinkUnavailable),
    ],
)
def test_what_postgresql_says(postgres_url: str, statement: str, kind: type[SinkError]) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        assert type(sink_error(raised(lambda: connection.execute(statement)), "db")) is kind
        connection.rollback()


def test_a_pool_without_a_free_connection_is_a_matter_of_time() -> None:
    assert type(sink_error(PoolTimeoutError("QueuePool limit"), "db")) is SinkUnavailable


def test_our_own_errors_stay_what_they_are() -> None:
    fenced = Fenced("another was faster")
    assert sink_error(fenced, "db") is fenced


def test_a_password_in_what_a_driver_says_is_hidden() -> None:
    said = str(sink_error(OSError("cannot use dsn user:s3sam@host\nDETAIL: s3sam"), "db", password="s3sam"))
    assert "s3sam" not in said
    assert "user:***@host" in said


def test_tables_that_are_not_there_are_an_error_that_names_the_command() -> None:
    """What to do, and not only what is missing."""
    problem = sink_error(sqlite3.OperationalError("no such table: steps"), "sqlite:///x.db")
    assert "analytics-sdk db upgrade" in str(problem)
