"""Thousands of journals of dead processes: the host goes on as before, and they are delivered some at a time."""

import os
import struct
import time
import uuid
import zlib
from pathlib import Path

import msgspec

from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.owner import OWNER_MAGIC, SIZE, owner_path
from analytics_sdk.journal.record import FIRST_FRAME, FRAME, SYNC, SegmentHeader, salts, segment_name
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper import shipper as shipping
from analytics_sdk.shipper.once import ship_once, undelivered
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FailingSink
from analytics_sdk.vocabulary import Kind

MANY = int(os.environ.get("ANALYTICS_TEST_DEAD_JOURNALS", "2000"))
END = (-1, "e", "w", 1, "pay", "click", 1_700_000_000_000_000_000, 0, 5)


def leave_dead(folder: Path, n: int) -> None:
    """Journals of one record each, as a killed process leaves them, but with files of a few bytes."""
    folder.mkdir(mode=0o700, exist_ok=True)
    here = msgspec.json.decode(msgspec.json.encode(new_identity()))
    payload = msgspec.msgpack.encode(END)
    for _ in range(n):
        journal_id = uuid.uuid4().hex
        body = msgspec.json.encode({**here, "journal_id": journal_id})
        page = OWNER_MAGIC + struct.pack("<II", len(body), zlib.crc32(body)) + body
        owner_path(folder, journal_id).write_bytes(page.ljust(SIZE, b"\0"))
        crc = zlib.crc32(payload, salts(journal_id, 0)[Kind.STEP_END])
        frame = FRAME.pack(SYNC, Kind.STEP_END, len(payload), crc) + payload
        header = SegmentHeader(journal_id, 0, 4096, 0).pack().ljust(FIRST_FRAME, b"\0")
        (folder / segment_name(journal_id, 0)).write_bytes((header + frame).ljust(4096, b"\0"))


def test_a_sweep_takes_some_of_many_dead_journals_a_turn_and_comes_to_all(tmp_path: Path) -> None:
    """At most 64 a turn; turn by turn all of them are delivered, each once."""
    leave_dead(tmp_path / "journals", 200)
    sink = MemorySink()
    shipper = Shipper(tmp_path / "journals", [lambda: sink], JournalWriter(tmp_path / "journals", min_free_bytes=0))
    seen = []
    while find_journals(tmp_path / "journals"):
        shipper._orphans_due = 0.0
        shipper._turn()
        seen.append(len(sink.steps))
    assert seen == [64, 128, 192, 200]
    shipper.close(1)


def test_the_end_of_a_process_delivers_more_dead_journals_than_one_turn_takes(tmp_path: Path) -> None:
    """They may be its own workers' journals, and nobody comes after it."""
    leave_dead(tmp_path / "journals", 150)
    sink = MemorySink()
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    shipper = Shipper(tmp_path / "journals", [lambda: sink], writer, interval_seconds=60)
    writer.append(Kind.STEP_END, END)
    shipper.ensure_started()
    assert shipper.close(20)
    assert len(sink.steps) == 151
    writer.release()


def test_thousands_of_dead_journals_cost_the_host_next_to_nothing_while_a_database_is_away(tmp_path: Path) -> None:
    """Every journal stays, and is looked at again and again: a hundredth of the time, and never more of them at once.

    A turn that looks at none of them costs less than a hundredth of the second that lies between two turns.
    """
    leave_dead(tmp_path / "journals", MANY)
    here, away = MemorySink(), FailingSink()
    away.fail(1_000_000, at="position")
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    shipper = Shipper(tmp_path / "journals", [lambda: here, lambda: away], writer)
    writer.append(Kind.STEP_END, END)
    idle = []
    for _ in range(4):
        shipper._orphans_due = 0.0
        before = time.thread_time()
        shipper._turn()
        spent = time.thread_time() - before
        assert shipper._orphans_due - time.monotonic() > 50 * (spent - 0.05)  # a turn does other things too
        time.sleep(0.11)  # because a folder that has just changed is listed anew
        shipper._turn()
        before = time.thread_time()
        shipper._turn()
        idle.append(time.thread_time() - before)
    assert 0 <= len(here.steps) - 4 * shipping.ORPHANS_A_TURN <= 1  # our own is one more, or one of those
    assert len(find_journals(tmp_path / "journals")) == MANY + 1
    assert min(idle) < 0.01
    shipper.close(0)
    writer.release()


def test_one_ship_delivers_thousands_of_dead_journals_in_a_time_that_grows_with_them_only(tmp_path: Path) -> None:
    """Each journal costs about as much among many as among few, because nobody lists the folder for each."""
    took = []
    for n in (MANY // 8, MANY):
        folder = tmp_path / f"journals{n}"
        leave_dead(folder, n)
        assert undelivered(folder, lambda _: 0).journals == n
        sink = MemorySink()
        began = time.process_time()
        shipment = ship_once(folder, [lambda sink=sink: sink])
        took.append((time.process_time() - began) / n)
        assert (shipment.finished, shipment.records, shipment.unfinished) == (n, n, 0)
    assert took[1] < 3 * took[0]
