"""`analytics-sdk ship`: deliver all journals of a folder from a process of its own."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import JournalError
from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import list_journals
from analytics_sdk.journal.private import open_private
from analytics_sdk.journal.problem import note_problem
from analytics_sdk.journal.quota import Quota, Watch
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.shipper.fleet import Fleet, SinkMaker
from analytics_sdk.shipper.shipper import LOCK_NAME
from analytics_sdk.shipper.whole import ship_journal


@dataclass(slots=True)
class Shipment:
    """What one pass over a folder did."""

    records: int = 0
    bytes: int = 0
    """Of journals, so many were delivered to all sinks together."""
    finished: int = 0
    """Journals of dead owners that were delivered whole, judged and removed."""
    living: int = 0
    """Journals whose owner lives: delivered as far as written."""
    unfinished: int = 0
    """Journals that a sink did not take whole."""
    foreign: int = 0
    """Journals of another machine: left alone unless asked for."""
    problems: list[str] = field(default_factory=list)


@contextmanager
def ship_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's ship.lock; waits for whoever holds it. Meanwhile the shippers of other processes stand aside.

    Raises:
        JournalError: the folder cannot be used.
    """
    try:
        fd = open_private(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    except OSError as problem:
        raise JournalError(f"{folder} cannot be used: {problem}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def ship_pass(
    fleet: Fleet,
    folder: Path,
    *,
    adopt_foreign: bool = False,
    on_progress: Callable[[Shipment], None] | None = None,
    quota: Quota | None = None,
) -> Shipment:
    """Deliver every journal of the folder once: the dead's wholly, the living's as far as written.

    `on_progress` is called after each stretch that was delivered. `quota`: where it leaves too little
    room, what a sink that is away lacks is given up.
    """

    watch = Watch()

    def short() -> bool:
        return quota is not None and watch.is_short(folder, quota)

    shipment = Shipment()
    records_before, bytes_before = fleet.delivered_records, fleet.delivered_bytes

    def count() -> None:
        shipment.records = fleet.delivered_records - records_before
        shipment.bytes = fleet.delivered_bytes - bytes_before
        if on_progress is not None:
            on_progress(shipment)

    fleet.on_delivered = count
    here = new_identity()
    for journal_id, listed in list_journals(folder).items():
        reader = JournalReader(folder, journal_id, listed)
        adoption = reader.adopt(here, adopt_foreign=adopt_foreign)
        if adoption is not None:
            try:
                gone = ship_journal(fleet, reader, short)
            finally:
                adoption.close()
            shipment.finished += gone
            shipment.unfinished += not gone
        elif reader.is_foreign(here):
            shipment.foreign += 1
            reader.close()
        else:
            complete = fleet.deliver(reader, final=False)
            reader.release_before(fleet.done_to(journal_id))
            fleet.make_room(reader, short)
            reader.close()
            shipment.living += 1
            shipment.unfinished += not complete
    shipment.problems = fleet.problems()
    return shipment


def ship_once(
    folder: Path,
    makers: Sequence[SinkMaker],
    *,
    adopt_foreign: bool = False,
    on_progress: Callable[[Shipment], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Shipment:
    """Wait for our turn, then deliver every journal of a folder once. A folder that is not there holds nothing."""
    if not folder.is_dir():
        return Shipment()
    fleet = Fleet(makers, clock)
    try:
        with ship_lock(folder):
            return ship_pass(fleet, folder, adopt_foreign=adopt_foreign, on_progress=on_progress)
    finally:
        fleet.close()


def ship_forever(
    folder: Path,
    makers: Sequence[SinkMaker],
    *,
    interval_seconds: float,
    should_stop: Callable[[], bool],
    adopt_foreign: bool = False,
    quota: Quota | None = None,
    on_pass: Callable[[Shipment], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Deliver until told to stop, holding ship.lock, so that the shippers of the hosts stand aside.

    `on_pass` is called after each pass over the folder.
    """
    fleet = Fleet(makers, clock)
    noted: list[str] = []
    try:
        with ship_lock(folder):
            while not should_stop():
                shipment = ship_pass(fleet, folder, adopt_foreign=adopt_foreign, quota=quota)
                if shipment.problems != noted:
                    note_problem(folder, "ship", shipment.problems, clock.time_ns())
                    noted = shipment.problems
                if on_pass is not None:
                    on_pass(shipment)
                until = time.monotonic() + interval_seconds
                while time.monotonic() < until and not should_stop():
                    time.sleep(0.05)
            fleet.fold()
    finally:
        note_problem(folder, "ship", [], 0)
        fleet.close()


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What stands in a folder and has not reached a sink. `journals` counts all of them, the living too."""

    journals: int
    living: int
    foreign: int
    bytes: int


def undelivered(folder: Path, position_of: Callable[[str], int]) -> Undelivered:
    """What has not been delivered yet, changing nothing. `position_of`: how far the sink has come with a journal."""
    living = foreign = total = 0
    journals = list_journals(folder)
    here = new_identity()
    for journal_id, listed in journals.items():
        reader = JournalReader(folder, journal_id, listed)
        try:
            total += reader.unread_bytes(position_of(journal_id))
            if reader.is_foreign(here):
                foreign += 1
                continue
            living += not reader.is_dead(here)
        finally:
            reader.close()
    return Undelivered(len(journals), living, foreign, total)
