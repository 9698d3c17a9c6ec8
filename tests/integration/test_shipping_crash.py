"""Promise 2, between real processes: what append returned from is delivered exactly once, whatever died when."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ledger_sink import LedgerSink, ask

from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import segment_name
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.query import Query
from analytics_sdk.rollup import decode_nodes
from analytics_sdk.shipper.delivery import Delivery
from analytics_sdk.shipper.fleet import Fleet
from analytics_sdk.shipper.once import ship_lock, ship_once, ship_pass, undelivered
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Batch
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FailingSink
from analytics_sdk.vocabulary import Kind

START = ("e", "w", 1, "pay", "click", 1_700_000_000_000_000_000)
HERE = Path(__file__).parent

WRITE_UNTIL_KILLED = """
import os, sys, threading
from pathlib import Path
from analytics_sdk.journal.writer import JournalWriter
writer = JournalWriter(Path(sys.argv[1]), min_free_bytes=0)
def upkeep():
    while True:
        writer.maintain()
threading.Thread(target=upkeep, daemon=True).start()
while True:
    start = writer.append(3, ("e", "w", 1, "pay", "click", 1))
    end = writer.append(4, (start, "e", "w", 1, "pay", "click", 1, 0, 5))
    os.write(1, b"%s %d %d\\n" % (writer.identity.journal_id.encode(), start, end))
"""

SHIP_UNTIL_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ledger_sink import LedgerSink
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.journal.writer import JournalWriter
folder = Path(sys.argv[1])
shipper = Shipper(folder, [lambda: LedgerSink(sys.argv[2])], JournalWriter(folder, min_free_bytes=0))
shipper.fleet.hurry()
sys.stdout.write("up\\n"); sys.stdout.flush()
while True:
    shipper._orphans_due = 0.0
    shipper._turn()
"""


def start(code: str, *arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def kill(process: "subprocess.Popen[bytes]") -> list[bytes]:
    """Kill it, and read the whole lines that it had written."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    process.wait()
    return said.split(b"\n")[:-1]


def ended_in_cells(path: Path) -> int:
    rows = ask(path, "SELECT nodes FROM cells")
    return sum(sum(cell.ended) for (blob,) in rows for node, cell in decode_nodes(blob).items() if node)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journals"


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledger.db"


def steps(writer: JournalWriter, n: int, node: str = "pay") -> None:
    for _ in range(n):
        at = writer.append(Kind.STEP_START, (*START[:3], node, *START[4:]))
        writer.append(Kind.STEP_END, (at, *START[:3], node, *START[4:], 0, 5))


@pytest.mark.parametrize("acknowledged", [1, 50, 3_000, 20_000])
def test_what_a_killed_process_had_recorded_is_delivered_exactly_once(folder, ledger, acknowledged):
    """Killed at any moment: every step that it had told of is there, once; at most one more; what ran has crashed."""
    process = start(WRITE_UNTIL_KILLED, folder)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(acknowledged)]
    told += [line + b"\n" for line in kill(process)]
    shipment = ship_once(folder, [lambda: LedgerSink(ledger)])
    assert (shipment.finished, shipment.unfinished, shipment.problems) == (1, 0, [])
    kept = ask(ledger, "SELECT journal, seq, end_seq, status FROM steps ORDER BY seq")
    acknowledgements = {(line.split()[0].decode(), int(line.split()[1]), int(line.split()[2])) for line in told}
    assert len(acknowledgements) >= acknowledged
    succeeded = [row[:3] for row in kept if row[3] == "success"]
    assert acknowledgements <= set(succeeded)
    assert len(succeeded) <= len(acknowledgements) + 1
    assert [row[3] for row in kept if row[3] != "success"] in ([], ["crashed"])
    assert ended_in_cells(ledger) == len(succeeded)
    assert ask(ledger, "SELECT n FROM losses") == []
    assert find_journals(folder) == []


def test_three_shippers_that_are_killed_at_random_deliver_each_record_once(folder, ledger):
    """Writers and shippers die all the time; in the end every step is there once, in rows and in rollups."""
    writer = start(WRITE_UNTIL_KILLED, folder)
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(10_000)]
    told += [line + b"\n" for line in kill(writer)]
    for round_ in range(4):
        shippers = [start(SHIP_UNTIL_KILLED, folder, ledger, HERE) for _ in range(3)]
        for shipper in shippers:
            assert shipper.stdout is not None
            assert shipper.stdout.readline() == b"up\n"
        kept_before = len(ask(ledger, "SELECT 1 FROM steps")) if ledger.exists() and round_ else 0
        until = time.monotonic() + 5
        while time.monotonic() < until and find_journals(folder):
            if ledger.exists() and round_ < 3 and (find := _steps_in(ledger)) is not None and find > kept_before:
                break
        for shipper in shippers:
            kill(shipper)
    assert ship_once(folder, [lambda: LedgerSink(ledger)]).unfinished == 0
    ended = ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'")[0][0]
    assert len(told) <= ended <= len(told) + 1
    assert ended_in_cells(ledger) == ended
    assert ask(ledger, "PRAGMA integrity_check") == [("ok",)]


def _steps_in(ledger: Path) -> int | None:
    try:
        return int(str(ask(ledger, "SELECT count(*) FROM steps")[0][0]))
    except Exception:  # because the tables may not be there yet
        return None


def test_a_process_that_ended_in_good_order_leaves_cancelled_steps_and_not_crashed_ones(folder, ledger):
    """The mark in the owner's file decides."""
    writer = JournalWriter(folder, min_free_bytes=0)
    writer.append(Kind.STEP_START, START)
    writer.say_clean()
    writer.release()
    ship_once(folder, [lambda: LedgerSink(ledger)])
    assert ask(ledger, "SELECT status FROM steps") == [("cancelled",)]
    assert find_journals(folder) == []


def test_a_living_process_is_delivered_as_far_as_written_and_judged_later(folder, ledger):
    """Its running step stays running, and its end replaces the row."""
    writer = JournalWriter(folder, min_free_bytes=0)
    at = writer.append(Kind.STEP_START, START)
    shipment = ship_once(folder, [lambda: LedgerSink(ledger)])
    assert (shipment.living, shipment.finished, shipment.unfinished) == (1, 0, 0)
    assert ask(ledger, "SELECT seq, status FROM steps") == [(at, "running")]
    end = writer.append(Kind.STEP_END, (at, *START, 0, 5))
    ship_once(folder, [lambda: LedgerSink(ledger)])
    assert ask(ledger, "SELECT seq, status, end_seq FROM steps") == [(at, "success", end)]
    writer.release()


def test_two_shippers_at_once_on_one_living_journal_deliver_each_record_once(folder, ledger):
    """Who is slower is fenced, reads the position again, and goes on."""
    writer = JournalWriter(folder, min_free_bytes=0)
    shippers = [Shipper(folder, [lambda: LedgerSink(ledger)], writer) for _ in range(2)]
    stop = threading.Event()

    def turn(shipper: Shipper) -> None:
        while not stop.is_set():
            shipper._turn()

    threads = [threading.Thread(target=turn, args=(shipper,)) for shipper in shippers]
    for thread in threads:
        thread.start()
    steps(writer, 20_000)
    assert shippers[0].flush(20)
    stop.set()
    for thread in threads:
        thread.join()
    assert ask(ledger, "SELECT count(*), count(DISTINCT seq) FROM steps WHERE status = 'success'") == [(20_000, 20_000)]
    for shipper in shippers:
        assert shipper.close(5)
    writer.release()
    ship_once(folder, [lambda: LedgerSink(ledger)])
    assert ended_in_cells(ledger) == 20_000
    assert ask(ledger, "SELECT count(*) FROM steps") == [(20_000,)]


class OvertakenSink(LedgerSink):
    """Whenever it is about to write or fold, some other shipper has just delivered the next stretch."""

    def __init__(self, path: Path, folder: Path, times: int) -> None:
        super().__init__(path)
        self.folder, self.times = folder, times

    def _be_overtaken(self, journal_id: str) -> None:
        if self.times > 0:
            self.times -= 1
            other = LedgerSink(self.path)
            other.open()
            reader = JournalReader(self.folder, journal_id)
            Delivery(reader, other).advance(final=False)
            reader.close()
            other.close()

    def write(self, batch: Batch) -> None:
        self._be_overtaken(batch.journal.journal_id)
        super().write(batch)


@pytest.mark.parametrize("times", [1, 2, 3, 10])
def test_who_was_overtaken_on_a_dead_journal_delivers_what_is_left_before_removing_it(folder, ledger, times):
    """Another shipper that takes the owner for alive, because its lock is held, delivers a stretch and goes away."""
    writer = JournalWriter(folder, min_free_bytes=0)
    steps(writer, 50_000)
    writer.release()
    shipment = ship_once(folder, [lambda: OvertakenSink(ledger, folder, times)])
    assert (shipment.finished, shipment.problems) == (1, [])
    assert ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'") == [(50_000,)]
    assert ended_in_cells(ledger) == 50_000
    assert ask(ledger, "SELECT settled FROM positions") == [(1,)]


def test_a_shipper_that_stood_aside_folds_nothing_again_that_the_shipping_process_folded(folder, ledger):
    """It had cells at hand when the other took over; the other wrote them, and went."""
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: LedgerSink(ledger)], writer)
    steps(writer, 100)
    assert shipper.flush(10)
    other = Fleet([lambda: LedgerSink(ledger)], SYSTEM_CLOCK)
    with ship_lock(folder):
        steps(writer, 10)
        ship_pass(other, folder)
        other.fold()
        shipper._turn()
    other.close()
    assert ended_in_cells(ledger) == 110
    steps(writer, 1)
    assert shipper.flush(10)
    shipper.fleet.fold()
    assert ended_in_cells(ledger) == 111
    assert shipper.close(5)
    writer.release()


def test_flush_delivers_what_was_recorded_and_says_so(folder, ledger):
    """With the thread, and without one."""
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: LedgerSink(ledger)], writer, interval_seconds=60)
    assert shipper.flush()
    steps(writer, 10)
    assert shipper.flush()
    shipper.ensure_started()
    steps(writer, 10)
    assert shipper.flush()
    assert ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'") == [(20,)]
    assert shipper.status()["undelivered_bytes"] == 0
    assert shipper.close(5)
    writer.release()


def test_flush_into_a_sink_that_is_down_gives_up_in_time_and_nothing_is_lost(folder, ledger):
    """False after the time allowed; what was recorded is delivered once the sink is back."""
    sink = LedgerSink(ledger)
    sink.is_down = True
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: sink], writer, interval_seconds=0.05)
    steps(writer, 10)
    for threaded in (False, True):
        if threaded:
            shipper.ensure_started()
        began = time.monotonic()
        assert not shipper.flush(0.3)
        assert time.monotonic() - began < 2
    assert shipper.status()["problems"] == ["down"]
    sink.is_down = False
    assert shipper.flush(10)
    assert ask(ledger, "SELECT count(*) FROM steps") == [(10,)]
    assert shipper.close(5)
    writer.release()


def test_one_sink_that_is_down_holds_up_no_other_and_keeps_its_segments(folder, tmp_path):
    """The other has everything; the journal stays until both have."""
    down = LedgerSink(tmp_path / "down.db")
    down.is_down = True
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: LedgerSink(tmp_path / "up.db"), lambda: down], writer)
    steps(writer, 5_000)
    assert not shipper.flush(0.2)
    assert ask(tmp_path / "up.db", "SELECT count(*) FROM steps") == [(5_000,)]
    assert (folder / segment_name(writer.identity.journal_id, 0)).exists()
    down.is_down = False
    assert shipper.flush(10)
    assert ask(tmp_path / "down.db", "SELECT count(*) FROM steps") == [(5_000,)]
    shipper.close(5)
    writer.release()


def test_a_refused_record_is_set_aside_and_counted_and_all_others_are_delivered(folder, ledger):
    """One value among a thousand that the sink will never take."""
    writer = JournalWriter(folder, min_free_bytes=0)
    steps(writer, 400)
    refused = writer.append(Kind.STEP_END, (-1, *START[:3], "poison", *START[4:], 0, 5))
    steps(writer, 400)
    journal_id = writer.identity.journal_id
    writer.release()

    def make() -> LedgerSink:
        sink = LedgerSink(ledger)
        sink.refused = "poison"
        return sink

    shipment = ship_once(folder, [make])
    assert (shipment.finished, shipment.problems) == (1, [])
    assert ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'") == [(800,)]
    assert ask(ledger, "SELECT kind, reason, n FROM losses") == [("step_end", "rejected", 1)]
    (line,) = (folder / f"{journal_id}.rejected").read_text().splitlines()
    assert json.loads(line)["position"] == refused
    assert os.stat(folder / f"{journal_id}.rejected").st_mode & 0o077 == 0


def test_what_was_set_aside_is_in_no_rollup_when_another_process_goes_on(folder, ledger):
    """The first is gone before its rollups were due; the second reads again what they do not have."""
    writer = JournalWriter(folder, min_free_bytes=0)
    steps(writer, 40)
    writer.append(Kind.STEP_END, (-1, *START[:3], "poison", *START[4:], 0, 5))
    sink = LedgerSink(ledger)
    sink.refused = "poison"
    first = Fleet([lambda: sink], SYSTEM_CLOCK)
    reader = JournalReader(folder, writer.identity.journal_id)
    assert first.deliver(reader, final=False)
    steps(writer, 40)
    assert first.deliver(reader, final=False)
    reader.close()
    writer.release()
    shipment = ship_once(folder, [lambda: LedgerSink(ledger)])
    assert (shipment.finished, shipment.problems) == (1, [])
    assert ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'") == [(80,)]
    assert ended_in_cells(ledger) == 80
    first.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_was_set_aside_is_counted_once_however_many_batches_follow(folder, tmp_path, kind):
    """In the sinks that people have: one refused record stays one loss."""
    inner = MemorySink() if kind == "memory" else make_sink(f"sqlite:///{tmp_path}/a.db")
    sink = FailingSink(inner)
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: sink], writer)
    writer.append(Kind.STEP_END, (-1, *START, 0, 5))
    sink.fail(1, "permanent")
    for _ in range(3):
        assert shipper.flush(10)
        steps(writer, 5)
    losses = Query(sink).stats(start_ns=0, now_ns=time.time_ns())["losses"]
    assert [(loss["kind"], loss["reason"], loss["n"]) for loss in losses] == [("step_end", "rejected", 1)]
    shipper.close(5)
    writer.release()


def test_damage_is_counted_as_a_running_total_over_several_batches(folder, ledger):
    """Three records damaged in three places, delivered in three turns: three, and not one."""
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: LedgerSink(ledger)], writer)
    for n in (1, 2, 3):
        writer.append(Kind.STEP_END, ("not", "a", "step"))
        steps(writer, 5)
        assert shipper.flush(10)
        assert ask(ledger, "SELECT kind, reason, n FROM losses") == [("step_end", "damaged", n)]
    assert ask(ledger, "SELECT count(*) FROM steps") == [(15,)]
    shipper.close(5)
    writer.release()


def test_rollups_of_an_idle_process_follow_when_they_are_due(folder, ledger, monkeypatch):
    """Also when nothing more is recorded: else a quiet process would keep its segments for ever."""
    monkeypatch.setattr("analytics_sdk.shipper.delivery.FOLD_EVERY_SECONDS", 0.0)
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: LedgerSink(ledger)], writer)
    steps(writer, 10)
    assert shipper.flush(10)
    shipper._turn()
    assert ended_in_cells(ledger) == 10
    shipper.close(5)
    writer.release()


def test_a_child_that_was_forked_from_a_shipping_process_delivers_its_own_and_leaves_the_parents_connection(
    folder, ledger
):
    """Parent and child record and flush at once; everything is there once, and the database is whole."""
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ledger_sink import LedgerSink
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.journal.writer import JournalWriter
folder = Path(sys.argv[1])
writer = JournalWriter(folder, min_free_bytes=0)
shipper = Shipper(folder, [lambda: LedgerSink(sys.argv[2])], writer, interval_seconds=0.01)
writer.on_rotate = lambda: (shipper.ensure_started(), shipper.wake())
def record(n):
    for _ in range(n):
        start = writer.append(3, ("e", "w", 1, "pay", "click", 1))
        writer.append(4, (start, "e", "w", 1, "pay", "click", 1, 0, 5))
record(2000)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        record(500)
        os._exit(0 if shipper.flush(20) else 1)
    children.append(pid)
    record(500)
assert shipper.flush(20)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
assert shipper.close(20)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder), str(ledger), str(HERE)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert ask(ledger, "SELECT count(*) FROM steps WHERE status = 'success'") == [(6_000,)]
    assert ask(ledger, "SELECT count(DISTINCT journal) FROM steps") == [(5,)]
    ship_once(folder, [lambda: LedgerSink(ledger)])
    assert ask(ledger, "SELECT count(*) FROM steps") == [(6_000,)]
    assert ended_in_cells(ledger) == 6_000
    assert ask(ledger, "PRAGMA integrity_check") == [("ok",)]
    assert find_journals(folder) == []


def test_asking_what_is_undelivered_changes_nothing(folder, ledger):
    """Reading commands take no locks that last, and create no file."""
    assert undelivered(folder, lambda journal_id: 0).journals == 0
    assert not folder.exists()
    writer = JournalWriter(folder, min_free_bytes=0)
    steps(writer, 10)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = undelivered(folder, lambda journal_id: 0)
    assert (found.journals, found.living) == (1, 1)
    assert found.bytes > 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    writer.maintain()
    assert writer.identity is not None
    writer.release()
