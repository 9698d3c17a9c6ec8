"""The sinks of one shipper and the deliveries into them: opened late, backed off from when they fail."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from analytics_sdk.clock import Clock
from analytics_sdk.errors import Fenced, JournalError, SinkError, SinkMisconfigured
from analytics_sdk.guard import logger, trouble
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.shipper.delivery import Backoff, Delivery
from analytics_sdk.shipper.native_thread import run_natively
from analytics_sdk.shipper.outage import make_room
from analytics_sdk.sinks.base import Sink

T = TypeVar("T")
SinkMaker = Callable[[], Sink]
FORK_WAITS_SECONDS = 0.5

_fleets: "weakref.WeakSet[Fleet]" = weakref.WeakSet()
_held: list[threading.RLock] = []
_kept: list[object] = []
"""Sinks inherited from a parent process: freeing them would close its connections from here."""


class _Berth:
    """One sink, with what is known of it. `sink` is None until it is open."""

    def __init__(self, make: SinkMaker) -> None:
        self.make = make
        self.sink: Sink | None = None
        self.backoff = Backoff()
        self.problem: str | None = None
        self.stopped = False
        """Somebody must act before anything is delivered here again."""


class Fleet:
    """All sinks that a journal goes to; each has its own position, and one that is down holds up no other."""

    def __init__(self, makers: Sequence[SinkMaker], clock: Clock) -> None:
        self.clock = clock
        self._berths = [_Berth(make) for make in makers]
        self._deliveries: dict[tuple[str, int], Delivery] = {}
        self.delivered_records = 0
        self.delivered_bytes = 0
        self.on_delivered: Callable[[], None] | None = None
        """Called after each stretch, for whoever shows progress."""
        self.gate = threading.RLock()
        """Held while a sink is at work, and while the process forks: see `_hold`."""
        _fleets.add(self)

    def deliver(self, reader: JournalReader, *, final: bool, budget_seconds: float = 5.0) -> bool:
        """Deliver what a journal holds into every sink that takes it; whether all of them have all of it."""
        complete = True
        until = time.monotonic() + budget_seconds
        for i, berth in enumerate(self._berths):
            if berth.backoff.must_wait():
                complete = False
                continue
            try:
                complete = self._deliver_to(reader, i, final, until) and complete
                self._worked(berth)
            except JournalError as problem:
                complete = False
                trouble("unreadable", "%s; it is kept, and tried again", problem)
            except Exception as problem:  # because whatever a sink raises must not end delivery to the others
                complete = False
                self._failed(berth, problem)
        return complete

    def _deliver_to(self, reader: JournalReader, i: int, final: bool, until: float) -> bool:
        """Deliver into one sink until nothing is left, or until some time; whether it has all of it."""
        while True:
            n = self._at_gate(partial(self._advance, reader, i, final))
            if n == 0:
                return True
            if n is not None and self.on_delivered is not None:
                self.on_delivered()
            if time.monotonic() > until:
                return False
            time.sleep(0.00005)  # because the host's threads shall not wait for a whole batch

    def _advance(self, reader: JournalReader, i: int, final: bool) -> int | None:
        """Deliver one stretch; how many records it held, or None where another shipper was faster."""
        delivery = self._delivery(reader, i)
        before = delivery.delivered_bytes
        try:
            n = delivery.advance(final=final)
        except Fenced:
            logger.debug("journal %s: another shipper was faster", delivery.journal.journal_id)
            delivery.look_up()  # because who asks how far we have come shall see what the other has done
            return None
        self.delivered_records += n
        self.delivered_bytes += delivery.delivered_bytes - before
        return n

    def settle(self, reader: JournalReader) -> bool:
        """Judge what still runs in a dead owner's journal; whether every sink has done so."""
        settled = True
        for i, berth in enumerate(self._berths):
            if berth.backoff.must_wait():
                settled = False
                continue
            try:
                settled = self._at_gate(partial(self._settle, reader, i)) and settled
            except Fenced:
                settled = False  # because another shipper was faster, and may do more
            except JournalError as problem:
                settled = False
                trouble("unreadable", "%s; it is kept, and tried again", problem)
            except Exception as problem:  # because whatever a sink raises must not end delivery to the others
                settled = False
                self._failed(berth, problem)
        return settled

    def _settle(self, reader: JournalReader, i: int) -> bool:
        delivery = self._delivery(reader, i)
        delivery.settle()
        return delivery.positions is not None and delivery.positions.settled

    def done_to(self, journal_id: str) -> int:
        """The position before which every sink has everything, rollups included."""
        return min((self._known(journal_id, i, "done_to") for i in range(len(self._berths))), default=0)

    def rows_to(self, journal_id: str) -> int:
        """The position before which every sink has all rows."""
        return min((self._known(journal_id, i, "rows") for i in range(len(self._berths))), default=0)

    def _known(self, journal_id: str, i: int, what: str) -> int:
        delivery = self._deliveries.get((journal_id, i))
        if delivery is None or delivery.positions is None:
            return 0
        return delivery.done_to if what == "done_to" else delivery.positions.rows

    def make_room(self, reader: JournalReader, is_short: Callable[[], bool]) -> None:
        """Where the journals are full, give up what one sink has and another, which is away, lacks."""
        if len(self._berths) > 1 and is_short():
            self.fold()
            reader.release_before(self.done_to(reader.journal_id))
            known = [self._deliveries.get((reader.journal_id, i)) for i in range(len(self._berths))]
            make_room(reader, [None if delivery is None else delivery.claim for delivery in known], is_short)

    def look_up(self, reader: JournalReader) -> int:
        """Ask every sink how far a journal has come, because somebody else delivers it."""
        for i, berth in enumerate(self._berths):
            try:
                self._at_gate(partial(self._look_up, reader, i))
            except Exception as problem:  # because whatever a sink raises must not end the wait for the others
                self._failed(berth, problem)
        return self.rows_to(reader.journal_id)

    def _look_up(self, reader: JournalReader, i: int) -> None:
        self._delivery(reader, i).look_up()

    def fold(self) -> None:
        """Write the rollups that are due in every delivery, whatever the time."""
        for (_, i), delivery in self._deliveries.items():
            try:
                self._at_gate(delivery.fold)
            except Exception as problem:  # because whatever a sink raises must not end delivery to the others
                self._failed(self._berths[i], problem)

    def forget(self, journal_id: str) -> None:
        """Drop what is known of a journal that is gone."""
        for key in [key for key in self._deliveries if key[0] == journal_id]:
            del self._deliveries[key]

    def hurry(self) -> None:
        """Let sinks that failed be tried again now."""
        for berth in self._berths:
            berth.backoff.hurry()

    def must_wait(self) -> bool:
        """Whether it is too early to try any of them again."""
        return all(berth.backoff.must_wait() for berth in self._berths)

    def problems(self) -> list[str]:
        """What keeps sinks from taking anything, one line each."""
        return [berth.problem for berth in self._berths if berth.problem]

    def close(self) -> None:
        """Close every sink."""
        self._deliveries.clear()
        for berth in self._berths:
            sink, berth.sink = berth.sink, None
            if sink is not None:
                try:
                    sink.close()
                except Exception as problem:  # because a sink that cannot close must not keep the others open
                    trouble("close", "closing a sink failed: %s", problem, exc=problem)

    def abandon(self) -> None:
        """In a forked child: forget the parent's sinks without touching their connections."""
        _kept.append((self._deliveries, self._berths))
        self.gate = threading.RLock()  # because another thread of the parent may hold the old one for ever
        self._deliveries = {}
        self._berths = [_Berth(berth.make) for berth in self._berths]

    def _at_gate(self, work: Callable[[], T]) -> T:
        with self.gate:
            return run_natively(work)

    def _delivery(self, reader: JournalReader, i: int) -> Delivery:
        berth = self._berths[i]
        if berth.sink is None:
            sink = berth.make()
            sink.open()
            berth.sink = sink
        key = (reader.journal_id, i)
        delivery = self._deliveries.get(key)
        if delivery is None:
            delivery = self._deliveries[key] = Delivery(reader, berth.sink, clock=self.clock)
        delivery.reader = reader  # because the reader of an earlier pass has been closed
        return delivery

    def _worked(self, berth: _Berth) -> None:
        berth.backoff.worked()
        berth.problem, berth.stopped = None, False

    def _failed(self, berth: _Berth, problem: Exception) -> None:
        berth.backoff.failed(problem)
        berth.problem = (
            str(problem) if isinstance(problem, SinkError) else type(problem).__name__
        )  # it may hold a password
        berth.stopped = isinstance(problem, SinkMisconfigured)
        kind = "sink-stopped" if berth.stopped else "sink"
        what = "nothing is delivered until somebody acts" if berth.stopped else "delivery is tried again"
        trouble(f"{kind}:{id(berth)}", "%s; %s, journaling goes on", berth.problem, what, exc=problem)


def _hold() -> None:
    """Before a fork: wait for sinks to finish what they do, a short time at most.

    A database library keeps locks in memory. A child that is forked in the middle of a transaction inherits them as
    taken by somebody who does not exist there, and could not use that database, not even in the host's own code.
    """
    for fleet in list(_fleets):
        if fleet.gate.acquire(timeout=FORK_WAITS_SECONDS):
            _held.append(fleet.gate)


def _let_go() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)
