"""Crashes, signals and power cuts: what had returned is there, and the host sees what it would have seen without us."""

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import segment_name
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks import make_sink
from analytics_sdk.vocabulary import Kind

END = (-1, "e", "w", 1, "pay", "click", 1_700_000_000_000_000_000, 0, 5)
RECORD = """
    import os, sys, signal, threading
    from analytics_sdk import configure, track_step, track_workflow
    configure(sink=f"sqlite:///{sys.argv[1]}/a.db", flush_interval_seconds=60)
    with track_workflow(workflow_id="w"):
        for _ in range(500):
            with track_step(node_id="done"): pass
        with track_step(node_id="last"):
"""
CRASHES = {
    "os.abort": ("os.abort()", -signal.SIGABRT),
    "a segmentation fault in C": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    "the same with faulthandler": (
        "import faulthandler; faulthandler.enable(); faulthandler._sigsegv()",
        -signal.SIGSEGV,
    ),
    "an illegal instruction": ("os.kill(os.getpid(), signal.SIGILL)", -signal.SIGILL),
    "SIGTERM by default": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "the kernel out of memory": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )


def delivered(folder: Path) -> dict[tuple[str, str], int]:
    file = folder / "a.db"
    assert ship_once(folder / "a.db.journals", [lambda: make_sink(f"sqlite:///{file}")]).problems == []
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT node_id, status, count(*) FROM steps GROUP BY 1, 2")
        return {(node, status): n for node, status, n in found}


@pytest.mark.parametrize("name", CRASHES)
def test_whatever_a_process_dies_of_all_that_had_returned_is_there(name: str, tmp_path: Path) -> None:
    """The process ends by the signal that it would have ended by, and the step that it died in has crashed."""
    crash, code = CRASHES[name]
    done = run(f"{RECORD}            {crash}\n", tmp_path)
    assert done.returncode == code, done.stderr
    assert delivered(tmp_path) == {("done", "success"): 500, ("last", "crashed"): 1}


SIGNALLED = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from analytics_sdk.journal.writer import JournalWriter
    END = (-1, "e", "w", 1, "pay", "click", 1, 0, 5)
    writer = JournalWriter(Path(sys.argv[1]) / "journals", min_free_bytes=0)
    told = interrupted = 0
    armed = False
    def stop(number, frame):
        global armed
        if armed:
            armed = False  # so that what is not under test is not interrupted
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, stop)
    writer.append(4, END)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        try:
            armed = True
            while True:
                writer.append(4, END)
                told += 1
        except KeyboardInterrupt:
            interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    other = threading.Thread(target=writer.append, args=(4, END))
    other.start(); other.join(5)
    print(told, interrupted, other.is_alive(), flush=True)
    os._exit(0)
"""


def test_an_interrupt_in_the_middle_of_a_record_reaches_the_host_and_nothing_that_returned_is_lost(
    tmp_path: Path,
) -> None:
    """Thousands of interrupts, at any instruction: each is seen by the host, no lock stays taken, no record is torn."""
    done = run(SIGNALLED, tmp_path)
    assert done.returncode == 0, done.stderr
    told, interrupted, stuck = done.stdout.split()
    assert int(interrupted) > 100
    assert stuck == "False"
    (journal_id,) = find_journals(tmp_path / "journals")
    reader = JournalReader(tmp_path / "journals", journal_id)
    stretch = reader.read(0, final=True, max_records=10**8, max_bytes=1 << 32)
    reader.close()
    assert int(told) + 2 <= len(stretch.records) <= int(told) + 2 + int(interrupted)
    assert stretch.damages == []


@pytest.mark.parametrize("seed", range(12))
def test_after_a_power_cut_pages_that_were_written_keep_their_records(seed: int, tmp_path: Path) -> None:
    """Any pages of a segment may be zeros then: records in the others are read, and each hole is counted once."""
    chance = random.Random(seed)
    writer = JournalWriter(tmp_path, min_free_bytes=0)
    positions = [writer.append(Kind.STEP_END, END) for _ in range(3_000)]
    assert writer.identity is not None
    journal_id, end = writer.identity.journal_id, writer.position
    writer.release()
    path = tmp_path / segment_name(journal_id, 0)
    data = bytearray(path.read_bytes())
    zeroed = {page for page in range(end // 4096 + 1) if chance.random() < 0.3}
    for page in zeroed:
        data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(data)
    size = positions[1] - positions[0]
    whole = {at for at in positions if not zeroed & {at // 4096, (at + size - 1) // 4096}}
    reader = JournalReader(tmp_path, journal_id)
    stretch = reader.read(0, final=True, max_records=10**6)
    reader.close()
    assert {record.position for record in stretch.records} == whole
    holes = [page for page in zeroed if page - 1 not in zeroed]
    assert 0 <= len(holes) - len(stretch.damages) <= 1  # zeros at the end may as well have been nothing


def test_a_reader_is_not_killed_by_a_segment_that_somebody_truncates(tmp_path: Path) -> None:
    """It reads, and does not map: what is left is delivered."""
    writer = JournalWriter(tmp_path, min_free_bytes=0)
    kept = [writer.append(Kind.STEP_END, END) for _ in range(1_000)]
    assert writer.identity is not None
    reader = JournalReader(tmp_path, writer.identity.journal_id)
    assert len(reader.read(0, final=False, max_records=10).records) == 10
    path = tmp_path / segment_name(writer.identity.journal_id, 0)
    writer.release()
    with path.open("r+b") as file:
        file.truncate(kept[500])
    assert len(reader.read(0, final=True).records) == 500
    reader.close()


NO_THREAD = """
    import logging, sys, threading
    logging.basicConfig(level=logging.WARNING)
    from analytics_sdk import configure, track_step
    class Refused(threading.Thread):
        def start(self): raise RuntimeError("can't start new thread")
    configure(sink=f"sqlite:///{sys.argv[1]}/a.db")
    threading.Thread = Refused
    for _ in range(20):
        with track_step(node_id="done"): pass
    import os
    os._exit(0)
"""


def test_where_no_thread_can_be_started_recording_goes_on_and_ship_delivers(tmp_path: Path) -> None:
    """As under a limit on the number of processes: what `RuntimeError` Python raises then, is raised here."""
    done = run(NO_THREAD, tmp_path)
    assert (done.returncode, done.stderr.count("can't start new thread")) == (0, 1)
    assert delivered(tmp_path) == {("done", "success"): 20}
