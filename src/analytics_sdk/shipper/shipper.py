"""The background thread that takes this process's journal, and those of the dead, to the sinks.

Order at the end of a process: open executions are ended, the journal is marked clean, the thread is asked to deliver
what there is within the time allowed, then the sinks are closed. Nothing is lost when the time is not enough: the
journal stays, and the next process delivers it.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.guard import SUBINTERPRETER, in_subinterpreter, start_thread, trouble
from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import list_journals
from analytics_sdk.journal.owner import Identity
from analytics_sdk.journal.private import open_private
from analytics_sdk.journal.problem import note_problem
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.pace import SLICE_NS, in_this_thread
from analytics_sdk.shipper.bell import Bell
from analytics_sdk.shipper.fleet import Fleet, SinkMaker
from analytics_sdk.shipper.whole import ship_journal

ORPHANS_EVERY_SECONDS = 5.0
ORPHANS_A_TURN = 64
ORPHANS_APART = 100
"""What is spent of the host's CPU on journals of the dead is followed by so many times as long without."""
EXIT_SECONDS = 0.01
LOCK_NAME = "ship.lock"


class Shipper:
    """Delivers in the background. Its methods may be called from any thread; none raises for what a sink does."""

    def __init__(
        self,
        folder: Path,
        makers: Sequence[SinkMaker],
        writer: JournalWriter,
        *,
        interval_seconds: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.folder = folder
        self.writer = writer
        self.interval_seconds = interval_seconds
        self.fleet = Fleet(makers, clock)
        self.fleet.on_delivered = writer.maintain  # because a backlog takes seconds, and the host goes on recording
        self._clock = clock
        self.after_turn: Callable[[], None] = _nothing
        """Called in the thread after each turn in which this process delivers by itself. Must not raise."""
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._bell = Bell()
        self._turn_done = threading.Condition()
        self._turning = threading.Lock()
        self._stopping = False
        self._resting = False
        self._awaited = 0
        self._reader: JournalReader | None = None
        self._orphans_due = 0.0
        self._orphans: list[tuple[str, set[int]]] = []
        """What is left of the listing that is being gone through."""
        self._noted: list[str] = []

    # ---------------------------------------------------------------- asked by others

    def ensure_started(self) -> None:
        """Start the thread where it does not run. Where none can be started, journaling goes on without."""
        if self._pid != os.getpid():
            self.fleet.abandon()
            self._forget()
        if self._thread is not None or self._stopping:
            return
        thread = threading.Thread(target=self._run, name="analytics-sdk-shipper", daemon=True)
        self._thread = thread
        try:
            start_thread(thread)
        except RuntimeError as problem:  # because there may be no room for a thread, or the interpreter is ending
            self._thread = None
            trouble("thread", "no delivery in the background: %s; what is recorded stays in the journal", problem)

    def rest(self, longest_seconds: float) -> bool:
        """End the thread after a last turn; `ensure_started` has it go on. Whether one ran and is gone now."""
        thread = self._thread
        if thread is None or self._pid != os.getpid() or thread is threading.current_thread():
            return False
        if not thread.is_alive():
            return False  # because another thread is just about to start it
        self._resting = True
        self._bell.ring()
        thread.join(longest_seconds)
        self._resting = False
        if thread.is_alive():
            return False
        self._thread = None
        until = time.monotonic() + EXIT_SECONDS
        while os.path.exists(f"/proc/self/task/{thread.native_id}") and time.monotonic() < until:
            pass  # because before 3.13 a join does not wait for the system to know of the end
        return True

    def wake(self) -> None:
        """Have a turn now. Safe in a signal handler."""
        self._bell.ring()

    def flush(self, timeout: float = 5.0, deadline: float | None = None) -> bool:
        """Deliver now; True when all that this process had recorded is in every sink.

        Gives up after `timeout` seconds without progress, or at `deadline` (of `time.monotonic`) in any case.
        """
        identity = self.writer.identity
        if self._pid != os.getpid() or identity is None or self.writer.is_empty():
            return self.writer.problem is None
        if in_subinterpreter():
            return False  # because the database library can be loaded in one interpreter of a process only
        target = self.writer.position
        self.fleet.hurry()
        reached, since = -1, time.monotonic()
        while True:
            now = self.fleet.rows_to(identity.journal_id)
            if now >= target:
                return True
            if now > reached:
                reached, since = now, time.monotonic()
            left = since + timeout - time.monotonic()
            if deadline is not None:
                left = min(left, deadline - time.monotonic())
            if left <= 0:
                return False
            self._one_turn(min(left, 0.5))

    def _one_turn(self, longest_seconds: float) -> None:
        """Wait for a turn of the thread, or take one here where there is no thread. Meanwhile it makes no pauses."""
        self._awaited += 1
        try:
            self._wait_for_turn(longest_seconds)
        finally:
            self._awaited -= 1

    def _wait_for_turn(self, longest_seconds: float) -> None:
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            self._turn()
            time.sleep(min(0.01, longest_seconds))  # because a sink that is down must not be asked without pause
            return
        with self._turn_done:
            self._bell.ring()
            self._turn_done.wait(longest_seconds)

    def close(self, timeout: float) -> bool:
        """Deliver what there is within `timeout` seconds and stop; True when everything was delivered. What dead
        processes left is delivered too, as far as time allows: they may be our own workers, and nobody comes after us.
        """
        if self._pid != os.getpid():
            return True  # because in a forked child that recorded nothing, the open sinks are the parent's
        deadline = time.monotonic() + timeout
        done = self.flush(timeout, deadline)
        # not a second time, as in a worker of forkserver: once we are stopping, nobody takes up what is left
        self._orphans, more = [], done and self._thread is not None and not self._stopping
        while more and time.monotonic() < deadline:
            self._orphans_due = 0.0
            self._one_turn(max(0.0, deadline - time.monotonic()))
            more = bool(self._orphans)
        self._stopping = True
        self._bell.ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.05, deadline - time.monotonic()))
        if (thread is None or not thread.is_alive()) and self._turning.acquire(blocking=False):
            try:
                self.fleet.close()
                if self._reader is not None:
                    self._reader.close()
            finally:
                self._turning.release()
        return done

    def remove_own_journal(self) -> None:
        """After `writer.release()`: judge and remove this process's journal, as if it were a dead owner's."""
        identity = self.writer.identity
        if identity is None:
            return
        reader = JournalReader(self.folder, identity.journal_id)
        adoption = reader.adopt(new_identity())
        if adoption is None:
            return  # because somebody else was faster, and does the same
        try:
            ship_journal(self.fleet, reader)
        finally:
            adoption.close()

    def status(self) -> dict[str, object]:
        """What `doctor` tells about delivery in this process."""
        identity = self.writer.identity
        delivered_to = 0 if identity is None else self.fleet.rows_to(identity.journal_id)
        return {
            "running": self._thread is not None and self._thread.is_alive(),
            "delivered_records": self.fleet.delivered_records,
            "undelivered_bytes": max(0, self.writer.position - delivered_to) if identity is not None else 0,
            "problems": [
                *self.fleet.problems(),
                *([self.writer.problem] if self.writer.problem else []),
                *([SUBINTERPRETER] if in_subinterpreter() else []),
            ],
        }

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopping:
            self._bell.wait(self.interval_seconds)
            resting = self._resting
            with in_this_thread(self._slice_ns):
                self._turn()
            if resting:
                return

    def _slice_ns(self) -> int:
        """How long the thread may keep the host's threads waiting: less short the fuller the journal is, and without
        any pause where somebody waits for delivery, or something may be lost soon."""
        identity = self.writer.identity
        if self._awaited or self._stopping or identity is None:
            return 0
        waiting = self.writer.position - self.fleet.rows_to(identity.journal_id)
        share = waiting / max(1, self.writer.quota.max_bytes)
        return 0 if share > 0.5 else 10 * SLICE_NS if share > 0.25 else SLICE_NS

    def _turn(self) -> None:
        if not self._turning.acquire(blocking=False):
            time.sleep(0.001)  # because another thread has a turn, and ours would only do the same
            return
        try:
            self.writer.maintain()
            if daemon_ships(self.folder):
                self._watch_daemon()
            else:
                self._deliver_own()
                if time.monotonic() >= self._orphans_due:
                    self._orphans_due = time.monotonic() + ORPHANS_EVERY_SECONDS
                    self._deliver_orphans()
                self.after_turn()
        except Exception as problem:  # because the thread must live as long as the process
            trouble("turn", "a turn of the shipper failed: %s", problem, exc=problem)
        finally:
            self._turning.release()
            with self._turn_done:
                self._turn_done.notify_all()

    def _own_reader(self) -> JournalReader | None:
        identity = self.writer.identity
        if identity is None:
            return None
        if self._reader is None or self._reader.journal_id != identity.journal_id:
            if self._reader is not None:
                self._reader.close()
            self._reader = JournalReader(self.folder, identity.journal_id)
        return self._reader

    def _deliver_own(self) -> None:
        reader = self._own_reader()
        if reader is None:
            return
        self.fleet.deliver(reader, final=False)
        reader.release_before(self.fleet.done_to(reader.journal_id))
        self.fleet.make_room(reader, self._is_short)
        problems = self.fleet.problems()
        if problems != self._noted:
            note_problem(self.folder, reader.journal_id, problems, self._clock.time_ns())
            self._noted = problems

    def _watch_daemon(self) -> None:
        reader = self._own_reader()
        if reader is not None:
            self.fleet.look_up(reader)

    def _is_short(self) -> bool:
        """Whether room has to be made. Never where the user chose to wait for room rather than to lose something."""
        return self.writer.on_full != "block" and self.writer.watch.is_short(self.folder, self.writer.quota)

    def _deliver_orphans(self) -> None:
        """Deliver what dead processes left, some of them a turn: the host must not feel how many there are."""
        if self.fleet.must_wait():
            return
        began = time.thread_time()
        here = self.writer.identity or new_identity()
        self._orphans = self._orphans or list(list_journals(self.folder).items())
        for _ in range(ORPHANS_A_TURN):
            if not self._orphans or self._stopping:
                break
            self._deliver_orphan(*self._orphans.pop(), here)
            if self._bell.is_rung():
                return  # because somebody waits for our own journal: the other dead can wait
        pause = ORPHANS_APART * (time.thread_time() - began)
        self._orphans_due = time.monotonic() + (pause if self._orphans else max(pause, ORPHANS_EVERY_SECONDS))

    def _deliver_orphan(self, journal_id: str, listed: set[int], here: Identity) -> None:
        if self.writer.identity is not None and journal_id == self.writer.identity.journal_id:
            return
        reader = JournalReader(self.folder, journal_id, listed)
        adoption = reader.adopt(here)
        if adoption is None:
            reader.close()
            return
        try:
            ship_journal(self.fleet, reader, self._is_short)
        finally:
            adoption.close()


def _nothing() -> None:
    """After a turn, where nobody waits for it."""


def daemon_ships(folder: Path) -> bool:
    """Whether a `ship` process looks after this folder: then we stand aside."""
    try:
        fd = open_private(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)
