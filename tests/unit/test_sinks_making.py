"""From what the user wrote to a sink: URLs, engines, objects, third parties; and what is shown of it."""

import os
import stat
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk.errors import SettingError
from analytics_sdk.sinks import describe, make_sink
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions
from analytics_sdk.sinks.memory import MemorySink

JOURNAL = JournalIdentity("cd" * 16, "host", 1, 0)


class Carrier:
    """The smallest sink that there is."""

    def __init__(self, url: str = "", schema: str | None = None, table_prefix: str | None = None) -> None:
        self.made_of = url, schema, table_prefix

    def open(self) -> None: ...

    def position(self, journal: JournalIdentity) -> Positions:
        return Positions()

    def write(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


def test_a_sink_stays_the_object_that_it_is() -> None:
    sink = Carrier()
    assert make_sink(sink) is sink


def test_memory_is_a_url() -> None:
    assert isinstance(make_sink("memory://"), MemorySink)


def test_a_relative_file_is_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host may change its folder before the first delivery."""
    monkeypatch.chdir(tmp_path)
    sink: Any = make_sink("sqlite:///rel.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sink.open()
    sink.close()
    assert (tmp_path / "rel.db").exists()
    assert not (tmp_path / "elsewhere" / "rel.db").exists()


def test_a_path_is_a_sqlite_file(tmp_path: Path) -> None:
    sink: Any = make_sink(tmp_path / "a.db")
    assert sink.engine.url.database == str(tmp_path / "a.db")


def test_making_a_sink_touches_nothing(tmp_path: Path) -> None:
    make_sink(f"sqlite:///{tmp_path}/a.db")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    """So are what SQLite puts beside it while it is written."""
    before = os.umask(0)
    try:
        sink: Any = make_sink(f"sqlite:///{tmp_path}/a.db")
        sink.open()
        sink.write(Batch(JOURNAL, 0, 10))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        sink.close()
    finally:
        os.umask(before)
    assert set(modes) == {"a.db", "a.db-wal", "a.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_file_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch(0o640)
    (tmp_path / "a.db").chmod(0o640)
    sink: Any = make_sink(f"sqlite:///{tmp_path}/a.db")
    sink.open()
    sink.close()
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o640


def test_sinks_in_memory_share_one_database_for_as_long_as_one_is_open() -> None:
    """Because who ships and who reads each make one."""
    writer, reader = make_sink("sqlite://"), make_sink("sqlite:///:memory:")
    writer.open()
    reader.open()
    writer.write(Batch(JOURNAL, 0, 10))
    assert reader.position(JOURNAL).rows == 10
    writer.close()
    assert reader.position(JOURNAL).rows == 10
    reader.close()
    reader.open()
    assert reader.position(JOURNAL).rows == 0
    reader.close()


@pytest.mark.parametrize("url", ["postgresql://u:p@h/d", "postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"])
def test_postgresql_means_psycopg_3(url: str) -> None:
    """Whatever the database library's own default is."""
    pytest.importorskip("psycopg") if not os.environ.get("CI") else None
    sink: Any = make_sink(url)
    assert sink.engine.dialect.driver == "psycopg"
    assert sink.tables.schema == "analytics_sdk"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("analytics.db", "no database URL"),
        ("oracle://u:geheim@h/d", r"entry point group analytics_sdk\.sinks"),
        ("mysql://u:geheim@h/d", "use one of sqlite, postgresql"),
        ("postgresql+nosuch://u:geheim@h/d", "driver"),
        ("postgresql://u:geheim@h:port/d", r"^setting|not a database URL"),
        (17, "not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_sink_is_told_without_a_password(target: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        make_sink(target)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["Analytics", "a-b", 'x"; DROP TABLE y', "", "a" * 32, "1a"])
def test_only_plain_names_come_into_sql(name: str) -> None:
    for setting in ("schema", "table_prefix"):
        with pytest.raises(SettingError, match=setting):
            make_sink("sqlite://", **{setting: name})


def test_a_missing_driver_is_named_with_what_installs_it(tmp_path: Path) -> None:
    """In a process that cannot import psycopg."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from analytics_sdk.sinks import make_sink\n"
        "try: make_sink('postgresql://u:geheim@h/d')\n"
        "except Exception as problem: print(type(problem).__name__, problem)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("SettingError")
    assert "pip install 'analytics-sdk[postgres]'" in said
    assert "geheim" not in said


def test_a_third_party_registers_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point whose name is the scheme."""
    point = EntryPoint("pigeon", f"{__name__}:Carrier", "analytics_sdk.sinks")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **asked: EntryPoints([point]).select(**asked))
    sink = make_sink("pigeon://loft/7", schema="s", table_prefix="p_")
    assert sink.made_of == ("pigeon://loft/7", "s", "p_")  # type: ignore[attr-defined]  # a Carrier of ours
    with pytest.raises(SettingError, match="no sink is known for raven"):
        make_sink("raven://loft/7")


def test_a_third_party_that_fails_is_named_and_keeps_the_password_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("pigeon", f"{__name__}:fail", "analytics_sdk.sinks")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **asked: EntryPoints([point]).select(**asked))
    with pytest.raises(SettingError, match=rf"{__name__}:fail.*OSError") as caught:
        make_sink("pigeon://u:geheim@loft/7")
    assert "geheim" not in str(caught.value)


def fail(url: str, **_names: Any) -> None:
    raise OSError(f"cannot reach {url}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss:w/o?rd@h/d", "postgresql://u:***@h/d"),
        ("postgresql://:p@h/d", "postgresql://:***@h/d"),
        ("postgresql://u@h/d?password=p&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("memory://", "memory://"),
    ],
)
def test_nobody_is_shown_a_password(url: str, shown: str) -> None:
    assert describe(url) == shown


def test_an_engine_and_a_sink_are_shown_too() -> None:
    from sqlalchemy import create_engine

    engine = create_engine("postgresql+psycopg://u:geheim@h/d")
    assert describe(engine) == "postgresql+psycopg://u:***@h/d"
    assert repr(make_sink(engine)) == "SqlSink('postgresql+psycopg://u:***@h/d')"
    assert describe(Carrier()) == "Carrier"


def test_importing_sinks_loads_no_database_library() -> None:
    program = (
        "import sys, analytics_sdk.sinks, analytics_sdk.sinks.memory\n"
        "print([name for name in ('sqlalchemy', 'sqlite3', 'psycopg') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_forked_child_leaves_the_parents_connection_alone(tmp_path: Path) -> None:
    """The child forgets the connection, opens its own, and the parent's still works afterwards."""
    sink: Any = make_sink(f"sqlite:///{tmp_path}/a.db")
    sink.open()
    sink.write(Batch(JOURNAL, 0, 10))
    program_ok = 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # because a test runner may have a thread of its own
        child = os.fork()
    if child == 0:
        try:
            mine: Any = make_sink(f"sqlite:///{tmp_path}/a.db")
            mine.open()
            mine.write(Batch(JOURNAL, 10, 20))
            mine.close()
            os._exit(program_ok if sink._connection is None else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == program_ok
    sink.write(Batch(JOURNAL, 20, 30))
    assert sink.position(JOURNAL).rows == 30
    sink.close()
