"""What the SQL sinks promise besides: rollups, schemas, who migrates, what is told of trouble."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sink_stores import (
    JOURNAL,
    RUNNING,
    RUNNING_EXECUTION,
    T0_NS,
    Store,
    execution,
    integrity_of,
    postgres_store,
    step,
)
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from analytics_sdk.errors import Fenced, SettingError, SinkMisconfigured, SinkUnavailable
from analytics_sdk.rollup import HOUR_NS, WHOLE, Cell, Cells, cell_of, hour_of
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions
from analytics_sdk.sinks.schema import SCHEMA_VERSION, is_late
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import CRASHED, SUCCESS


def some_cells(turn: int) -> Cells:
    """What thirty steps of two workflows left in three hours; each turn other durations."""
    cells: Cells = {}
    for i in range(30):
        cell = cell_of(cells, f"flow-{i % 2}", f"node_{i % 5}", T0_NS + (i % 3) * HOUR_NS)
        cell.started += 1
        cell.add_end(SUCCESS, 1_000 * (turn + 1) * (i + 1), first_pass=True)
        cell.add_error("KeyError", f"no field {i}", T0_NS + i)
        cell.add_recovery("retry", i % 2 == 0, 50)
    return cells


def total(batches: list[Cells]) -> Cells:
    sums: Cells = {}
    for cells in batches:
        for key, nodes in cells.items():
            for node_id, cell in nodes.items():
                sums.setdefault(key, {}).setdefault(node_id, Cell()).add(cell)
    return sums


def test_rollups_are_the_sum_of_what_was_folded(sql_store: Store) -> None:
    sink = sql_store.open()
    for turn in range(5):
        sink.write(Batch(JOURNAL, turn * 10, turn * 10 + 10))
        sink.fold(JOURNAL, some_cells(turn), turn * 10, turn * 10 + 10)
    assert sql_store.cells() == total([some_cells(turn) for turn in range(5)])
    assert sink.position(JOURNAL) == Positions(50, 50, False)


def test_rollups_of_journals_that_share_a_cell_add_up(sql_store: Store) -> None:
    """Four journals fold into the same workflows and hours at once, and nothing is lost between them."""
    journals = [JournalIdentity(f"{i:032x}", "host", i, T0_NS) for i in range(4)]
    sinks = [sql_store.open() for _ in journals]
    problems: list[Exception] = []

    def fold(i: int) -> None:
        try:
            for turn in range(5):
                sinks[i].write(Batch(journals[i], turn, turn + 1))
                sinks[i].fold(journals[i], some_cells(turn), turn, turn + 1)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=fold, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sql_store.cells() == total([some_cells(turn) for turn in range(5)] * 4)


def test_rollups_are_fenced_by_a_position_of_their_own(sql_store: Store) -> None:
    """They are folded once, and never get ahead of the rows."""
    sink = sql_store.open()
    sink.write(Batch(JOURNAL, 0, 100))
    sink.fold(JOURNAL, some_cells(0), 0, 60)
    for old, new in ((0, 60), (0, 100), (60, 101), (50, 70)):
        with pytest.raises(Fenced):
            sink.fold(JOURNAL, some_cells(1), old, new)
    assert sql_store.cells() == some_cells(0)
    assert sink.position(JOURNAL) == Positions(100, 60, False)


def test_a_thousand_workflows_fold_at_once(sql_store: Store) -> None:
    sink = sql_store.open()
    cells = {(f"flow\0{i}", hour_of(T0_NS)): {"a\0b": Cell(started=i)} for i in range(1_000)}
    for turn in range(2):
        sink.write(Batch(JOURNAL, turn, turn + 1))
        sink.fold(JOURNAL, cells, turn, turn + 1)
    kept = sql_store.cells()
    assert len(kept) == 1_000
    assert kept["flow\u2400999", hour_of(T0_NS)]["a\u2400b"].started == 1_998


def test_judgements_enter_the_rollups_with_the_rows(sql_store: Store) -> None:
    """`started - ended` of a settled source is 0: nothing of it counts as running any more."""
    sink = sql_store.open()
    rows = [execution(0, **RUNNING_EXECUTION), execution(50)]
    orphan = step(2, execution_id=None, workflow_id=None, **RUNNING)
    sink.write(Batch(JOURNAL, 0, 100, new_executions=rows, new_steps=[step(1, **RUNNING), orphan]))
    with pytest.raises(Fenced):
        sink.write(Batch(JOURNAL, 100, 100, settle_as="crashed"))
    sink.fold(JOURNAL, {("rechnungseingang", hour_of(T0_NS)): {WHOLE: Cell(started=2)}}, 0, 100)
    sink.write(Batch(JOURNAL, 100, 100, settle_as="crashed"))
    cells = sql_store.cells()
    nodes = cells["rechnungseingang", hour_of(T0_NS)]
    assert (nodes[WHOLE].started, nodes[WHOLE].ended[CRASHED], nodes["node_1"].ended[CRASHED]) == (2, 1, 1)
    assert cells["", hour_of(T0_NS)]["node_2"].ended[CRASHED] == 1
    assert sink.position(JOURNAL) == Positions(100, 100, True)


def test_readers_find_what_lies_behind_the_rollups(sql_store: Store) -> None:
    """`seq` at or behind the position, or `late` with `last_seq` at or behind it: all facts, and those alone."""
    sink = sql_store.open()
    new = [step(1, **RUNNING), step(3), step(5, status="failed"), step(7, **RUNNING)]
    sink.write(Batch(JOURNAL, 0, 100, new_steps=new))
    sink.write(Batch(JOURNAL, 100, 200, late_steps=[step(1, end_seq=150)], new_steps=[step(110)]))
    healed = step(5, status="recovered", first_status="failed", heal_seq=250, end_seq=None)
    sink.write(Batch(JOURNAL, 200, 300, late_steps=[healed], new_steps=[step(210)]))
    table = sink.tables.steps

    def behind(position: int) -> list[int]:
        late = is_late(table) & (table.c.last_seq >= position)
        with sink.engine.connect() as connection:
            found = connection.execute(table.select().where((table.c.seq >= position) | late).order_by(table.c.seq))
            return [row.seq for row in found]

    assert behind(0) == [1, 3, 5, 7, 110, 210]
    assert behind(100) == [1, 5, 110, 210]
    assert behind(200) == [5, 210]
    assert behind(300) == []


def test_the_tail_is_found_by_an_index(tmp_path: Path) -> None:
    """SQLite takes the partial index only when the condition is a literal."""
    sink = make_sink(f"sqlite:///{tmp_path}/a.db")
    sink.open()
    assert isinstance(sink, SqlSink)
    table = sink.tables.steps
    wanted = table.select().where(table.c.source == 1, is_late(table), table.c.last_seq >= 5)
    compiled = wanted.compile(sink.engine)
    with sink.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", (1, 5)).all()
    sink.close()
    assert "steps_late" in str(plan)


# -------------------------------------------------------------------- schemas


def test_schemas_and_prefixes_keep_apart(sql_store: Store, postgres_url: str, tmp_path: Path) -> None:
    """Two sinks in one database with other names know nothing of each other."""
    if sql_store.kind == "postgres":
        sinks = [SqlSink(postgres_url, schema="eins"), SqlSink(postgres_url, schema="eins", table_prefix="zwei_")]
    else:
        url = f"sqlite:///{tmp_path}/shared.db"
        sinks = [SqlSink(url), SqlSink(url, table_prefix="zwei_")]
    for i, sink in enumerate(sinks):
        assert sink.upgrade() == list(range(1, SCHEMA_VERSION + 1))
        sink.open()
        sink.write(Batch(JOURNAL, 0, 100 + i, new_steps=[step(i)]))
    assert [sink.position(JOURNAL).rows for sink in sinks] == [100, 101]
    for sink in sinks:
        sink.close()


def test_a_server_without_tables_is_refused_with_what_to_run(postgres_url: str) -> None:
    sink = make_sink(postgres_url)
    with pytest.raises(SinkMisconfigured, match="analytics-sdk db upgrade --db postgresql"):
        sink.open()
    sink.close()


def set_version(sink: Any, version: int) -> None:
    with sink.engine.connect() as connection:
        connection.execute(sink.tables.version.delete())
        connection.execute(sink.tables.version.insert().values(version=version, applied_at_ns=0))
        connection.commit()


def test_newer_tables_are_refused_and_both_versions_named(sql_store: Store) -> None:
    sink = sql_store.open()
    set_version(sink, SCHEMA_VERSION + 1)
    for attempt in (sink.open, sink.upgrade):
        with pytest.raises(
            SinkMisconfigured, match=f"version {SCHEMA_VERSION + 1}.* {SCHEMA_VERSION}: install a newer"
        ):
            attempt()


def test_older_tables_on_a_server_wait_for_whoever_may_upgrade(postgres_url: str) -> None:
    sink = SqlSink(postgres_url)
    sink.upgrade()
    set_version(sink, 0)
    with pytest.raises(SinkMisconfigured, match=f"version 0.* needs {SCHEMA_VERSION}: run `analytics-sdk db upgrade"):
        sink.open()
    sink.close()


def test_tables_of_somebody_else_are_refused_with_what_to_set(
    sql_store: Store, postgres_url: str, tmp_path: Path
) -> None:
    """And stay as they are."""
    url = postgres_url if sql_store.kind == "postgres" else f"sqlite:///{tmp_path}/theirs.db"
    theirs = create_engine(make_url(url).set(drivername="postgresql+psycopg") if "postgres" in url else url)
    with theirs.begin() as connection:
        connection.execute(text("CREATE TABLE executions (id INTEGER, verdict TEXT)"))
        connection.execute(text("INSERT INTO executions VALUES (1, 'guilty')"))
    sink = SqlSink(url, schema="public" if "postgres" in url else None)
    for attempt in (sink.open, sink.upgrade):
        with pytest.raises(SinkMisconfigured, match=r"executions.*`schema` or `table_prefix`"):
            attempt()
    sink.close()
    with theirs.connect() as connection:
        assert connection.execute(text("SELECT verdict FROM executions")).scalar() == "guilty"
    beside = SqlSink(url, schema="public" if "postgres" in url else None, table_prefix="mine_")
    beside.upgrade()
    beside.open()
    beside.close()
    theirs.dispose()


def test_a_table_that_lost_a_column_is_refused(sql_store: Store) -> None:
    sink = sql_store.open()
    with sink.engine.connect() as connection:
        name = sink.tables.losses.fullname
        connection.execute(text(f"ALTER TABLE {name} DROP COLUMN last_at_ns"))
        connection.commit()
    with pytest.raises(SinkMisconfigured, match="losses"):
        sink.open()


_START = """
import sys
from analytics_sdk.sinks.sql import SqlSink
sink = SqlSink(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(sink.upgrade(), flush=True)
sink.open()
sink.close()
"""


def test_of_eight_processes_that_begin_at_once_one_migrates(
    request: pytest.FixtureRequest, tmp_path: Path, server: str
) -> None:
    file = tmp_path / "analytics.db"
    url = request.getfixturevalue("postgres_url") if server == "postgres" else f"sqlite:///{file}"
    begun = [
        subprocess.Popen([sys.executable, "-c", _START, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for process in begun:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in begun]
    assert [process.returncode for process in begun] == [0] * 8
    assert sorted(said) == sorted([str(list(range(1, SCHEMA_VERSION + 1)))] + ["[]"] * 7)
    if server == "sqlite":
        assert integrity_of(file) == "ok"


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -------------------------------------------------------------------- trouble


def test_a_wrong_password_is_told_without_the_password(postgres_server: str, postgres_url: str) -> None:
    """Neither message, nor what it came from, nor the sink's own name shows it."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as connection:
        role = f"r{os.urandom(6).hex()}"
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'the-right-one'")
        (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        before = Path(hba).read_text()
        Path(hba).write_text(f"local all {role} scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        try:
            url = postgres_url.replace("postgres:@", f"{role}:sesam-%40-offen@")
            sink = make_sink(url)
            with pytest.raises(SinkMisconfigured) as caught:
                sink.open()
            sink.close()
        finally:
            Path(hba).write_text(before)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"DROP ROLE {role}")
    for shown in (str(caught.value), repr(caught.value), repr(sink), str(caught.value.__cause__)):
        assert "sesam" not in shown
    assert "password" in str(caught.value)


def test_a_server_that_is_not_there_is_a_matter_of_time(tmp_path: Path) -> None:
    sink = make_sink(f"postgresql://nobody:geheim@/db?host={tmp_path}")
    with pytest.raises(SinkUnavailable) as caught:
        sink.open()
    sink.close()
    assert "geheim" not in str(caught.value)


def test_a_database_that_does_not_exist_is_for_somebody_to_make(postgres_url: str) -> None:
    before, after = postgres_url.split("?")
    sink = make_sink(f"{before}x?{after}")
    with pytest.raises(SinkMisconfigured, match="does not exist"):
        sink.open()
    sink.close()


def test_a_server_that_restarted_is_reached_again(postgres_url: str, postgres_server: str) -> None:
    """The first write after the connection was cut fails as unavailable, the next one is delivered, once."""
    import psycopg

    sink = SqlSink(postgres_url)
    sink.upgrade()
    sink.open()
    sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(1)]))
    database = make_url(postgres_url).database
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
    batch = Batch(JOURNAL, 10, 20, new_steps=[step(11)])
    with pytest.raises(SinkUnavailable):
        sink.write(batch)
    sink.write(batch)
    assert sink.position(JOURNAL).rows == 20
    sink.close()


def test_a_missing_right_is_for_somebody_to_grant(postgres_url: str) -> None:
    import psycopg

    sink = SqlSink(postgres_url)
    sink.upgrade()
    role = f"r{os.urandom(6).hex()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        weak = SqlSink(postgres_url.replace("postgres:@", f"{role}@"))
        with pytest.raises(SinkMisconfigured, match="permission denied"):
            weak.open()
        weak.close()
        connection.execute(f"DROP ROLE {role}")
    sink.close()


def test_a_locked_file_is_a_matter_of_time(tmp_path: Path) -> None:
    """With an engine whose user lets it wait for 20 ms only."""
    url = f"sqlite:///{tmp_path}/a.db"
    holder = SqlSink(url)
    holder.open()
    engine = create_engine(url, connect_args={"timeout": 0.02}, poolclass=NullPool)
    sink = SqlSink(engine)
    sink.open()
    with holder.engine.connect() as connection:
        connection.execute(holder.tables.losses.delete())
        with pytest.raises(SinkUnavailable, match="locked"):
            sink.write(Batch(JOURNAL, 0, 10))
    sink.write(Batch(JOURNAL, 0, 10))
    for one in (sink, holder):
        one.close()
    engine.dispose()


@pytest.mark.parametrize("kind", ["folder-missing", "is-a-folder", "folder-is-a-file", "no-database"])
def test_a_file_that_cannot_be_one_is_for_somebody_to_put_right(tmp_path: Path, kind: str) -> None:
    (tmp_path / "letter.txt").write_text("Sehr geehrte Damen und Herren, " * 100)
    path = {
        "folder-missing": "no/such/a.db",
        "is-a-folder": "",
        "folder-is-a-file": "letter.txt/a.db",
        "no-database": "letter.txt",
    }[kind]
    sink = make_sink(f"sqlite:///{tmp_path}/{path}")
    with pytest.raises(SinkMisconfigured) as caught:
        sink.open()
    sink.close()
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / "letter.txt").read_text().startswith("Sehr geehrte")


# -------------------------------------------------------------------- engines that were given


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE", None])
def test_an_engine_that_was_given_works_as_its_user_made_it(sql_store: Store, level: str | None) -> None:
    """Whatever its isolation, a batch is kept whole or not at all; and it is never disposed of."""
    own = sql_store.open()
    options = {} if level is None else {"isolation_level": level}
    url = own.engine.url if sql_store.kind == "postgres" else f"sqlite:///{own.engine.url.database}"
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=1, **options)
    sink = SqlSink(engine)
    sink.open()
    sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(1, **RUNNING)]))
    from analytics_sdk.errors import RejectedRecord

    with pytest.raises(RejectedRecord):
        sink.write(Batch(JOURNAL, 10, 20, new_steps=[step(11), step(12, duration_ns=1 << 64)]))
    assert sink.position(JOURNAL).rows == 10
    sink.write(Batch(JOURNAL, 10, 20, late_steps=[step(1, end_seq=15)], new_steps=[step(11)]))
    assert [row["seq"] for row in sql_store.rows("steps")] == [1, 11]
    sink.close()
    with engine.connect() as connection:  # the pool's one connection came back, and the pool lives
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_another_driver_than_psycopg_3_is_given_ordinary_inserts(postgres_url: str) -> None:
    """As a stand-in for such a driver, psycopg 3 under another name."""
    store = postgres_store(postgres_url)
    own = store.open()
    engine = create_engine(own.engine.url, poolclass=NullPool)
    engine.dialect.driver = "another"
    sink = SqlSink(engine)
    sink.open()
    sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(i) for i in range(500)]))
    assert len(store.rows("steps")) == 500
    sink.close()
    store.close()


def test_a_memory_engine_that_threads_do_not_share_is_refused() -> None:
    lonely = create_engine("sqlite://")
    with pytest.raises(SettingError, match="StaticPool"):
        SqlSink(lonely)
    lonely.dispose()
    shared = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    sink = SqlSink(shared)
    sink.open()
    sink.write(Batch(JOURNAL, 0, 10, new_steps=[step(1)]))
    sink.close()
    shared.dispose()


def test_judging_a_journal_does_not_walk_all_its_rows(tmp_path: Path) -> None:
    """SQLite finds what still runs by the index of what runs."""
    from sqlalchemy import select

    from analytics_sdk.sinks.keeping import _still_running

    sink = SqlSink(f"sqlite:///{tmp_path / 'x.db'}")
    sink.open()
    question = select(sink.tables.steps.c.node_id).where(_still_running(sink.tables.steps, 1))
    text = str(question.compile(sink.engine, compile_kwargs={"literal_binds": True}))
    with sink.engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
    sink.close()
    assert "steps_running" in plan
