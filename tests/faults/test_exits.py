"""The end of a process is bounded whatever the database does, and what was recorded before it comes later, once."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from child_program import run_python

from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks import make_sink

EXIT_SECONDS = 0.4
SPARE_SECONDS = 0.5
"""What our part of the end may take beyond `exit_timeout_seconds`."""
WHOLE_SPARE_SECONDS = 3.0
"""What the whole end may: less than SQLite waits for a lock, and enough for a Python on a busy machine to take itself
apart, which is not ours."""
TRIES = 4
"""A busy machine may stop any process for a while: the fastest of so many ends is what we need."""

PROGRAM = """
    import atexit, os, signal, sys, threading, time
    def tell():
        os.write(1, b"%f\\n" % time.monotonic())
    atexit.register(tell)  # the first to be registered runs last, after ours
    {before}
    import analytics_sdk
    from analytics_sdk import configure, track_step
    configure()
    {after}
    with track_step(node_id="work"):
        pass
    analytics_sdk.get_analytics_system().flush(0.05)  # so that delivery has met the database
    tell()
    {end}
"""
RECORD = "(lambda: track_step(node_id='late').__enter__())"


class Ending(NamedTuple):
    """How a program ends."""

    code: int
    end: str = "pass"
    before: str = ""
    after: str = ""


LATE = "def late():\n        from analytics_sdk import track_step\n        with track_step(node_id='late'): pass"
WORK = "def work():\n        while True:\n            with track_step(node_id='more'): pass"
ENDINGS = {
    "the main function returns": Ending(0),
    "sys.exit": Ending(3, "sys.exit(3)"),
    "an unhandled exception": Ending(1, "raise RuntimeError('on purpose')"),
    "Ctrl-C": Ending(-signal.SIGINT, "signal.raise_signal(signal.SIGINT)"),
    "SIGTERM": Ending(-signal.SIGTERM, "signal.raise_signal(signal.SIGTERM)"),
    "SIGTERM with a handler that exits": Ending(
        143,
        "signal.raise_signal(signal.SIGTERM)",
        after="signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))",
    ),
    "a daemon thread goes on recording": Ending(
        0, "threading.Thread(target=work, daemon=True).start(); time.sleep(0.01)", after=WORK
    ),
    "a daemon thread sends SIGTERM": Ending(
        -signal.SIGTERM,
        "threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM), daemon=True).start(); time.sleep(60)",
    ),
    "SystemExit in a thread": Ending(0, "threading.Thread(target=sys.exit, args=(5,)).start()"),
    "an exit handler registered before ours records": Ending(0, before=f"{LATE}\n    atexit.register(late)"),
    "an exit handler registered after ours records": Ending(0, after=f"{LATE}\n    atexit.register(late)"),
    "os._exit": Ending(4, "os._exit(4)"),
}


@pytest.fixture
def hanging_server() -> Iterator[str]:
    """The URL of a server that accepts and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"postgresql+psycopg://u@127.0.0.1:{server.getsockname()[1]}/d"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


@pytest.fixture
def locked_file(tmp_path: Path) -> Iterator[str]:
    """The URL of a SQLite file of ours that somebody else has locked."""
    file = tmp_path / "analytics.db"
    made = make_sink(f"sqlite:///{file}")
    made.open()
    made.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        yield f"sqlite:///{file}"


class Ended(NamedTuple):
    """What was seen of an end: seconds from the program's word until its exit handlers were done, where it ran any,
    and until it was gone."""

    handled_seconds: float
    gone_seconds: float
    code: int
    complaint: str


def run_to_its_end(code: str, folder: Path, sink: str, exit_seconds: float) -> Ended:
    """Run a program and look at its end."""
    environment = {
        **os.environ,
        "ANALYTICS_SDK_SINK": sink,
        "ANALYTICS_SDK_JOURNAL_DIR": str(folder / "journals"),
        "ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS": str(exit_seconds),
    }
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        said, complaint = process.communicate(timeout=30)
        gone = time.monotonic()
    began, *handled = map(float, said.split())
    return Ended((handled or [gone])[0] - began, gone - began, process.returncode, complaint)


def delivered(folder: Path) -> dict[str, int]:
    """What the journals hold, by node, told by a database that works."""
    file = folder / "later.db"
    ship_once(folder / "journals", [lambda: make_sink(f"sqlite:///{file}")])
    with closing(sqlite3.connect(file)) as database:
        return dict(database.execute("SELECT node_id, count(*) FROM steps GROUP BY 1"))


def check_end(ending: Ending, folder: Path, sink: str, exit_seconds: float) -> None:
    """The end is as without us: its exit code, nothing of ours on stderr, and in time; nothing recorded is lost."""
    code = PROGRAM.format(before=ending.before, after=ending.after, end=ending.end)
    fastest, n = 60.0, 0
    while fastest >= exit_seconds + SPARE_SECONDS and n < TRIES:
        n += 1
        ended = run_to_its_end(code, folder, sink, exit_seconds)
        assert ended.code == ending.code, ended.complaint
        assert "analytics_sdk" not in ended.complaint
        assert ended.gone_seconds < exit_seconds + WHOLE_SPARE_SECONDS
        fastest = min(fastest, ended.handled_seconds)
    assert fastest < exit_seconds + SPARE_SECONDS
    nodes = delivered(folder)
    assert nodes["work"] == n
    assert nodes.get("late", 0) == (n if "late" in ending.before + ending.after else 0)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_end_is_bounded_while_the_database_hangs(name: str, tmp_path: Path, hanging_server: str) -> None:
    """The server takes the connection and never says a word."""
    check_end(ENDINGS[name], tmp_path, hanging_server, EXIT_SECONDS)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_end_is_bounded_while_the_database_is_locked(name: str, tmp_path: Path, locked_file: str) -> None:
    """Another process is inside a transaction, in SQLite."""
    check_end(ENDINGS[name], tmp_path, locked_file, EXIT_SECONDS)


@pytest.mark.parametrize("exit_seconds", [0.0, 1.0])
def test_the_end_is_bounded_by_the_setting_also_where_it_is_nothing(exit_seconds: float, tmp_path: Path) -> None:
    """A server that refuses, the default of a second, and no time at all."""
    check_end(ENDINGS["sys.exit"], tmp_path, "postgresql+psycopg://u@127.0.0.1:1/d", exit_seconds)


def test_the_end_of_a_worker_is_not_held_up_by_the_journals_of_others(tmp_path: Path) -> None:
    """A spawned worker ends twice, as a worker and as a process, while its parent's journal and a dead one stand
    beside its own: it does not wait for them, however long it may."""
    done = run_python(
        """
        import multiprocessing, os, time
        from analytics_sdk import configure, track_step
        def work():
            with track_step(node_id="worker"): pass
        def die():
            work()
            os._exit(0)
        if __name__ == "__main__":
            configure(sink="sqlite:///analytics.db")
            with track_step(node_id="parent"): pass
            for target in (die, work):
                worker = multiprocessing.get_context("spawn").Process(target=target)
                worker.start()
                began = time.monotonic()
                worker.join()
            print(time.monotonic() - began)
        """,
        tmp_path,
        ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS="8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 5
