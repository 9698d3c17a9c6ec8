"""How tables come to be, and how they get from one version to the next."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from analytics_sdk.errors import SinkMisconfigured
from analytics_sdk.sinks import migrations
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.schema import SCHEMA_VERSION, Tables, tables
from analytics_sdk.sinks.sql import SqlSink

JOURNAL = JournalIdentity("ef" * 16, "host", 1, 0)
NEXT = SCHEMA_VERSION + 1


@pytest.fixture
def sink(tmp_path: Path) -> SqlSink:
    return SqlSink(f"sqlite:///{tmp_path}/a.db")


def test_every_version_behind_the_first_has_a_migration() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(2, SCHEMA_VERSION + 1))


def test_a_new_store_is_made_at_todays_version(sink: SqlSink) -> None:
    assert sink.upgrade() == list(range(1, SCHEMA_VERSION + 1))
    assert sink.upgrade() == []
    with sink.engine.connect() as connection:
        migrations.check(connection, sink.tables)
    sink.close()


def test_the_version_table_is_ours_by_name(sink: SqlSink) -> None:
    """And never that of a tool that other programs use in the same database."""
    names = set(sink.tables.metadata.tables)
    assert "analytics_sdk_schema" in names
    assert "alembic_version" not in names
    assert set(tables("s", "p_").metadata.tables) == {f"s.p_{name}" for name in names}


def _next_version(monkeypatch: pytest.MonkeyPatch, sink: SqlSink, fails: bool = False) -> None:
    """As if this were the version after today's."""

    def migrate(connection: Connection, _tables: Tables) -> None:
        connection.execute(text("ALTER TABLE losses ADD COLUMN seen_by TEXT"))
        if fails:
            connection.execute(text("ALTER TABLE nowhere ADD COLUMN a TEXT"))

    monkeypatch.setattr(migrations, "SCHEMA_VERSION", NEXT)
    monkeypatch.setitem(migrations.MIGRATIONS, NEXT, migrate)


def _columns(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [row[1] for row in connection.execute("PRAGMA table_info(losses)")]
    finally:
        connection.close()


def test_our_own_file_is_taken_forward_when_it_is_opened(
    sink: SqlSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what stands in it."""
    sink.open()
    sink.write(Batch(JOURNAL, 0, 70))
    sink.close()
    _next_version(monkeypatch, sink)
    sink.open()
    assert sink.position(JOURNAL).rows == 70
    sink.close()
    assert "seen_by" in _columns(tmp_path / "a.db")
    assert sink.upgrade() == []


def test_a_migration_that_fails_leaves_everything_as_it_was(
    sink: SqlSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.upgrade()
    _next_version(monkeypatch, sink, fails=True)
    with pytest.raises(SinkMisconfigured, match="nowhere"):
        sink.upgrade()
    assert "seen_by" not in _columns(tmp_path / "a.db")
    with sink.engine.connect() as connection:
        assert migrations.look(connection, sink.tables).version == SCHEMA_VERSION
    sink.close()


def test_the_file_of_a_given_engine_is_made_but_not_taken_forward(
    sink: SqlSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user decides when."""
    given = SqlSink(sink.engine)
    given.open()
    given.close()
    _next_version(monkeypatch, sink)
    with pytest.raises(SinkMisconfigured, match="db upgrade"):
        given.open()
    assert given.upgrade() == [NEXT]
    given.open()
    given.close()


def test_a_version_table_of_somebody_else_is_no_version(sink: SqlSink, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE analytics_sdk_schema (word TEXT)")
    connection.close()
    with pytest.raises(SinkMisconfigured, match=r"analytics_sdk_schema.*table_prefix"):
        sink.open()
    sink.close()


def test_a_table_that_is_gone_is_named(sink: SqlSink, tmp_path: Path) -> None:
    sink.open()
    sink.close()
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("DROP TABLE recoveries")
    connection.close()
    with pytest.raises(SinkMisconfigured, match="lacks the tables recoveries"):
        sink.open()
    sink.close()


def test_tables_of_others_in_the_same_file_stay_alone(sink: SqlSink, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE invoices (id INTEGER)")
    connection.close()
    sink.open()
    sink.close()
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (0,)
    connection.close()
