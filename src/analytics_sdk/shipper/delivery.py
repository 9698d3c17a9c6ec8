"""One journal into one sink: read, turn into rows, write, move on; rollups follow behind a position of their own."""

import base64
import os
import random
import time
from pathlib import Path

import msgspec

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import RejectedRecord, SinkError, SinkMisconfigured
from analytics_sdk.guard import trouble
from analytics_sdk.journal.gaps import losses_of
from analytics_sdk.journal.owner import Loss, losses_found
from analytics_sdk.journal.private import open_private
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.stretch import Stretch
from analytics_sdk.rollup import Cells
from analytics_sdk.shipper.outage import Claim, claim_of
from analytics_sdk.shipper.ready import fold_records, make_ready
from analytics_sdk.sinks.base import ADDED_REASONS, Batch, JournalIdentity, Positions, RollupSink, Row, Sink

FOLD_EVERY_SECONDS = 30.0
FOLD_EVERY_RECORDS = 50_000
MISCONFIGURED_RETRY_SECONDS = 60.0
REJECTED_LIMIT_BYTES = 16 << 20


class Backoff:
    """When to try again: full jitter between 0.1 and 30 s, without a limit in time."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def failed(self, error: Exception) -> None:
        """Put the next try off."""
        self._failures += 1
        longest = min(30.0, 0.1 * 2 ** min(self._failures, 12))
        wait = MISCONFIGURED_RETRY_SECONDS if isinstance(error, SinkMisconfigured) else random.uniform(0.1, longest)
        self._until = time.monotonic() + wait

    def worked(self) -> None:
        """Forget the failures."""
        self._failures, self._until = 0, 0.0

    def must_wait(self) -> bool:
        """Whether it is too early to try again."""
        return time.monotonic() < self._until

    def hurry(self) -> None:
        """Let the next try come now: somebody waits for it."""
        self._until = 0.0


class Delivery:
    """How far one sink has come with one journal. Used by one thread at a time."""

    def __init__(self, reader: JournalReader, sink: Sink, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.reader = reader
        self.sink = sink
        self.clock = clock
        identity = reader.identity
        self.journal = JournalIdentity(
            identity.journal_id,
            identity.host,
            identity.pid,
            identity.started_at_ns,
            identity.machine_id,
            identity.boot_id,
        )
        self.positions: Positions | None = None
        self.claim: Claim | None = None
        """Where the sink stands as far as anybody here knows, also while its positions are not known for certain."""
        self._cells: Cells = {}
        self._folded_to = 0
        self._unfolded = 0
        self._fold_due = 0.0
        self._losses: list[Loss] = []
        self.delivered_bytes = 0

    @property
    def done_to(self) -> int:
        """Everything before this position is in the sink, rollups included: its segments may go."""
        return 0 if self.positions is None else min(self.positions.rows, self.positions.rollups)

    def advance(self, *, final: bool) -> int:
        """Deliver one stretch; how many records it held. 0 means there is nothing to deliver now.

        `final`: nobody writes to the journal any more.

        Raises:
            Fenced: another shipper was faster, so nothing is known of what is left.
            SinkError: what else the sink said. The position is read again before the next try.
        """
        try:
            return self._advance(final)
        except SinkError:
            self.positions = None  # because the outcome is unknown
            raise

    def _advance(self, final: bool) -> int:
        positions = self._known_positions()
        if positions.settled:
            return 0
        losses = self.reader.losses()
        stretch = self.reader.read(positions.rows, final=final)
        if stretch.new != stretch.old or losses != self._losses:
            self._write(stretch)
        if self._unfolded >= FOLD_EVERY_RECORDS or time.monotonic() >= self._fold_due:
            self.fold()
        return len(stretch.records)

    def _known_positions(self) -> Positions:
        """The sink's positions, with the cells behind the rollups' position read again where they are not at hand."""
        positions = self.positions or self.look_up()
        while self._folded_to < positions.rows:
            stretch = self.reader.read(self._folded_to, final=True)
            if stretch.new == self._folded_to:
                self._folded_to = positions.rows
                break
            records = [record for record in stretch.records if record.position < positions.rows]
            fold_records(self._cells, records, self.reader.identity.origin)
            self._unfolded += len(records)
            self._folded_to = min(stretch.new, positions.rows)
        return positions

    def look_up(self) -> Positions:
        """Ask the sink how far it has come, and drop the cells at hand: somebody else may have written them.

        Raises:
            SinkError: what the sink said.
        """
        self.positions = positions = self.sink.position(self.journal)
        self.claim = claim_of(positions)
        self._cells, self._unfolded = {}, 0
        self._folded_to = positions.rollups if isinstance(self.sink, RollupSink) else positions.rows
        self._fold_due = time.monotonic() + FOLD_EVERY_SECONDS
        return positions

    def _write(self, stretch: Stretch) -> None:
        """Write a stretch; where the sink refuses it, narrow down to the record that it refuses and set that aside."""
        ready = make_ready(self.journal, stretch, self.reader.identity.origin)
        try:
            self._send(ready.batch, stretch, ready.found)
        except RejectedRecord as problem:
            if len(stretch.records) <= 1:
                self._set_aside(stretch, problem)
                return
            for half in stretch.split(len(stretch.records) // 2):
                self._write(half)
            return
        self._moved(stretch)
        ready.fold(self._cells)

    def _send(self, batch: Batch, stretch: Stretch, found: list[tuple[int, int, str]]) -> None:
        """Write a batch with what is lost: the owner's running totals, and what was found in this very batch. Then keep
        what was found in the journal, so that its readers know of it."""
        now_ns = self.clock.time_ns()
        losses = self.reader.losses(found, now_ns)
        told = [one for one in losses if one.reason not in ADDED_REASONS] + losses_found(found, now_ns)
        told += losses_of(gap for _, gap in stretch.gaps)
        batch.losses = [_loss_row(one) for one in told]
        placed = [(one[0], losses_found([one], now_ns)) for one in found]
        placed += [(position, losses_of([gap])) for position, gap in stretch.gaps]
        batch.found = [(position, _loss_row(one)) for position, each in placed for one in each]
        if self.claim is not None:
            self.claim = self.claim._replace(rows=batch.new_position)  # before, because the answer may be lost
        self.sink.write(batch)
        self.reader.keep_found(found, now_ns)
        self._losses = losses

    def _moved(self, stretch: Stretch) -> None:
        assert self.positions is not None
        rollups = self.positions.rollups if isinstance(self.sink, RollupSink) else stretch.new
        self.positions = Positions(stretch.new, rollups)
        self.claim = claim_of(self.positions)
        self.delivered_bytes += stretch.new - stretch.old
        self._folded_to = stretch.new
        self._unfolded += len(stretch.records)

    def _set_aside(self, stretch: Stretch, problem: RejectedRecord) -> None:
        """Keep a refused record in a file beside the journal, and count it as lost."""
        trouble("rejected", "the sink refused a record, it is set aside: %s", problem)
        self._send(
            Batch(self.journal, stretch.old, stretch.new),
            stretch,
            [(record.position, record.kind, "rejected") for record in stretch.records],
        )
        path = self.reader.folder / f"{self.journal.journal_id}.rejected"
        for record in stretch.records:
            line = {
                "position": record.position,
                "kind": record.kind,
                "payload": base64.b64encode(record.payload).decode(),
                "reason": str(problem),
            }
            _append_line(path, msgspec.json.encode(line))
        self._moved(stretch)
        self.fold()  # now, because whoever reads the journal from the rollups' position on would count it

    def fold(self) -> None:
        """Write the cells behind the rollups' position.

        Raises:
            SinkError: as `advance`.
        """
        positions = self.positions
        if positions is None or not isinstance(self.sink, RollupSink) or positions.rollups >= positions.rows:
            return
        try:
            self.sink.fold(self.journal, self._cells, positions.rollups, positions.rows)
        except SinkError:
            self.positions = None  # because another shipper was faster, or the outcome is unknown
            raise
        self.positions = Positions(positions.rows, positions.rows)
        self.claim = claim_of(self.positions)
        self._cells, self._unfolded = {}, 0
        self._fold_due = time.monotonic() + FOLD_EVERY_SECONDS

    def settle(self) -> None:
        """Judge what still runs in a journal whose owner is dead. Does nothing while anything is left to deliver.

        Raises:
            SinkError: as `advance`.
        """
        positions = self._known_positions()
        if positions.settled or self.reader.read(positions.rows, final=True, max_records=1).records:
            return
        self.fold()
        if self.positions is None:
            return
        at = self.positions.rows
        verdict = "cancelled" if self.reader.ended_cleanly() else "crashed"
        try:
            self.sink.write(Batch(self.journal, at, at, settle_as=verdict))
        except SinkError:
            self.positions = None
            raise
        self.positions = Positions(at, at, settled=True)
        self.claim = claim_of(self.positions)


def _loss_row(loss: Loss) -> Row:
    return loss.kind, loss.reason, loss.n, loss.first_at_ns, loss.last_at_ns


def _append_line(path: Path, line: bytes) -> None:
    try:
        fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as problem:
        trouble("set-aside", "a refused record cannot be set aside: %s", problem)
        return
    try:
        if os.fstat(fd).st_size < REJECTED_LIMIT_BYTES:
            os.write(fd, line + b"\n")
    except OSError as problem:
        trouble("set-aside", "a refused record cannot be set aside: %s", problem)
    finally:
        os.close(fd)
