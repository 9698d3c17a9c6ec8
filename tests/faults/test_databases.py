"""Databases that go away, wait, refuse, restart or answer nothing: everything arrives, once, and in order."""

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa

from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.query.query import Query
from analytics_sdk.query.window import Span
from analytics_sdk.shipper.delivery import Backoff
from analytics_sdk.shipper.once import ship_once
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import NO_START, Kind

T0_NS = 1_700_000_000_000_000_000


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    yield writer
    writer.release()


def record(writer: JournalWriter, n: int, node: str = "pay") -> None:
    """Steps whose numbers go on where the last ones ended."""
    first = getattr(writer, "steps_so_far", 0)
    for no in range(first, first + n):
        writer.append(Kind.STEP_END, (NO_START, "run", "checkout", no, node, "click", T0_NS + no, 0, 5))
    vars(writer)["steps_so_far"] = first + n


def stored(sink: SqlSink) -> list[int]:
    """The numbers of the steps, in the order in which they were delivered."""
    with sink.engine.connect() as connection:
        steps = sink.tables.steps.c
        return list(connection.execute(sa.select(steps.step_no).order_by(steps.source, steps.seq)).scalars())


def upgraded(url: str) -> SqlSink:
    sink = SqlSink(url)
    sink.upgrade()
    return sink


class Proxy:
    """Stands before a server's socket, and drops the connection at the n-th COMMIT: before it, or behind it."""

    def __init__(self, folder: Path, server: Path, *, swallow: str) -> None:
        self.folder, self.server, self.swallow = folder, server, swallow
        self.cuts = 1
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / server.name))
        self._listening.listen()
        self._pairs: list[socket.socket] = [self._listening]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.server))
                self._pairs += [client, server]
                cut = threading.Event()
                threading.Thread(target=self._pass, args=(client, server, cut, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, cut, False), daemon=True).start()

    def _pass(self, source: socket.socket, into: socket.socket, cut: threading.Event, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and b"COMMIT" in data and self.cuts:
                    self.cuts -= 1
                    if self.swallow == "question":
                        break
                    cut.set()
                elif not asks and cut.is_set():
                    break  # because the server has committed, and nobody shall know
                into.sendall(data)
        for one in (source, into):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._pairs:
            one.close()


@pytest.mark.parametrize("swallow", ["question", "answer"])
@pytest.mark.parametrize("cuts", [1, 3])
def test_a_connection_that_is_cut_at_commit_neither_loses_nor_doubles(
    tmp_path: Path, writer: JournalWriter, postgres_url: str, swallow: str, cuts: int
) -> None:
    """Whether the server got the COMMIT or not: the position says what is there."""
    url = sa.make_url(postgres_url)
    folder = str(url.query["host"])
    with psycopg.connect(postgres_url) as connection:
        server = Path(folder) / f".s.PGSQL.{connection.info.port}"
    direct = upgraded(postgres_url)
    proxied = tmp_path / "p"
    proxied.mkdir()
    proxy = Proxy(proxied, server, swallow=swallow)
    proxy.cuts = 0
    try:
        through = url.set(query={**url.query, "host": str(proxied)}).render_as_string(hide_password=False)
        shipper = Shipper(writer.folder, [lambda: SqlSink(through)], writer)
        record(writer, 10)
        assert shipper.flush(10)
        proxy.cuts = cuts
        for _ in range(cuts + 1):
            record(writer, 50)
            assert shipper.flush(10)
        assert proxy.cuts == 0
        shipper.fleet.fold()
        assert shipper.close(5)
        assert stored(direct) == list(range(10 + 50 * (cuts + 1)))
    finally:
        proxy.close()
        direct.close()


def test_a_deadlock_is_tried_again_and_everything_is_there_once(writer: JournalWriter, postgres_url: str) -> None:
    """Somebody else holds the table that we need, and waits for the row that we hold: the server ends one of us."""
    sink = upgraded(postgres_url)
    shipper = Shipper(writer.folder, [lambda: SqlSink(postgres_url)], writer)
    record(writer, 10)
    assert shipper.flush(10)
    with psycopg.connect(postgres_url) as other:
        other.execute("SET deadlock_timeout = '20s'")
        other.execute("LOCK TABLE analytics_sdk.steps IN ACCESS EXCLUSIVE MODE")
        record(writer, 10)
        delivered: list[bool] = []
        waiting = threading.Thread(target=lambda: delivered.append(shipper.flush(15)))
        waiting.start()
        with psycopg.connect(postgres_url, autocommit=True) as watching:
            ask = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            until = time.monotonic() + 10
            while watching.execute(ask).fetchone() == (0,):
                assert time.monotonic() < until
        other.execute("UPDATE analytics_sdk.journal_positions SET pid = pid")
        other.commit()
    waiting.join()
    assert delivered == [True]
    assert stored(sink) == list(range(20))
    assert shipper.close(5)
    sink.close()


def test_connections_that_the_server_ends_in_the_middle_are_opened_again(
    writer: JournalWriter, postgres_url: str
) -> None:
    """As a restart or a failover does: again and again, while batches are written."""
    sink = upgraded(postgres_url)
    shipper = Shipper(writer.folder, [lambda: SqlSink(postgres_url)], writer, interval_seconds=0.01)
    shipper.ensure_started()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        ended = 0
        until = time.monotonic() + 20
        while ended < 3 and time.monotonic() < until:
            record(writer, 500)
            shipper.fleet.hurry()
            shipper.wake()
            rows = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'analytics-sdk'"
            ).fetchall()
            ended += len(rows)
    assert ended >= 3
    assert shipper.flush(20)
    assert stored(sink) == list(range(vars(writer)["steps_so_far"]))
    assert shipper.close(10)
    sink.close()


def test_a_file_that_another_process_holds_gets_everything_when_it_is_let_go(
    tmp_path: Path, writer: JournalWriter
) -> None:
    """Recording goes on meanwhile; `flush` says no, and later yes."""
    url = f"sqlite:///{tmp_path}/a.db"
    sink = upgraded(url)
    shipper = Shipper(writer.folder, [lambda: SqlSink(url)], writer)
    shipper.ensure_started()
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        record(writer, 5_000)
        began = time.monotonic()
        assert not shipper.flush(0.2)
        assert time.monotonic() - began < 2
        record(writer, 5_000)
        other.execute("ROLLBACK")
    assert shipper.flush(20)
    assert stored(sink) == list(range(10_000))
    assert shipper.close(5)
    sink.close()


def test_a_database_that_is_away_for_days_is_asked_for_ever_and_never_more_than_twice_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock of the test's: a week of failures; the state is one number, and the longest wait half a minute."""
    now = [0.0]
    monkeypatch.setattr("analytics_sdk.shipper.delivery.time.monotonic", lambda: now[0])
    backoff = Backoff()
    tries = []
    while now[0] < 7 * 86400:
        if not backoff.must_wait():
            tries.append(now[0])
            backoff.failed(ConnectionError("away"))
        now[0] += 0.5
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert max(waits) <= 30.5
    assert len(tries) >= 7 * 86400 / 30
    assert sum(waits[10:]) / len(waits[10:]) > 10
    backoff.worked()
    assert not backoff.must_wait()


def test_a_reader_that_looks_for_long_holds_up_no_writer(tmp_path: Path, writer: JournalWriter) -> None:
    """A report that takes its time sees one moment; what is delivered meanwhile is there afterwards."""
    url = f"sqlite:///{tmp_path}/a.db"
    sink = upgraded(url)
    shipper = Shipper(writer.folder, [lambda: SqlSink(url)], writer)
    record(writer, 10)
    assert shipper.flush(10)
    query = Query(sink)
    spans = [Span(T0_NS - 1, T0_NS + 10**12)]
    with query._reader.snapshot() as snapshot:
        before = sum(1 for _ in snapshot.steps(None, spans, False))
        for _ in range(5):
            record(writer, 1_000)
            assert shipper.flush(5)
        assert sum(1 for _ in snapshot.steps(None, spans, False)) == before == 10
    assert len(stored(sink)) == 5_010
    assert shipper.close(5)
    sink.close()


def test_a_file_that_is_no_database_stops_delivery_and_is_left_as_it_is(tmp_path: Path, writer: JournalWriter) -> None:
    """The journal keeps everything until somebody has put it right."""
    file = tmp_path / "a.db"
    file.write_bytes(b"this is a letter to my aunt" * 100)
    before = file.read_bytes()
    record(writer, 10)
    writer.release()
    shipment = ship_once(writer.folder, [lambda: SqlSink(f"sqlite:///{file}")])
    assert (shipment.finished, shipment.unfinished) == (0, 1)
    assert "not a database" in shipment.problems[0]
    assert file.read_bytes() == before
    file.unlink()
    assert ship_once(writer.folder, [lambda: SqlSink(f"sqlite:///{file}")]).finished == 1
    sink = SqlSink(f"sqlite:///{file}")
    assert stored(sink) == list(range(10))
    sink.close()


def test_a_password_is_in_no_word_of_a_server_that_refuses_it(postgres_url: str) -> None:
    """Neither in the error nor in what is shown of the sink."""
    secret = "h@nter/2 and so on"
    url = sa.make_url(postgres_url).set(username="nobody_here", password=secret)
    sink = SqlSink(url)
    with pytest.raises(Exception, match="nobody_here") as refused:
        sink.open()
    shown = f"{refused.value!r} {refused.value} {sink!r}"
    assert secret not in shown
    assert quote(secret, safe="") not in shown
    sink.close()
