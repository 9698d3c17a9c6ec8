"""Whatever happens to processes, shippers, sinks and files: accepted = in the sink + counted as lost, nothing twice."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from ledger_sink import LedgerSink, ask

from analytics_sdk.errors import SinkUnavailable
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import FRAME_BYTES, base_of_segment, segment_name
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.rollup import Cells, decode_nodes
from analytics_sdk.shipper.fleet import Fleet
from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.vocabulary import NO_START, Kind

SEGMENT_FILLER = "x" * 1500


class FailingLedger(LedgerSink):
    """Fails its next writes: before anything is written, or after the commit, when nobody can know."""

    plan: list[str] = []  # noqa: RUF012  # because every instance of a run shares it

    def write(self, batch: Batch) -> None:
        self._fail("before")
        super().write(batch)
        self._fail("after")

    def fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        self._fail("before")
        super().fold(journal, cells, old_position, new_position)
        self._fail("after")

    def _fail(self, when: str) -> None:
        if self.plan and self.plan[0] == when:
            self.plan.pop(0)
            raise SinkUnavailable(f"cut off {when} the commit")


class Line(RuleBasedStateMachine):
    """Processes are writers here; a kill lets go of a writer as the kernel does, and forks are real."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journals, self.ledger = self.folder / "journals", self.folder / "ledger.db"
        self.writers: list[JournalWriter] = []
        self.accepted: set[str] = set()
        self.flipped: set[str] = set()
        self.n = 0
        FailingLedger.plan = []

    @initialize()
    def begin(self) -> None:
        self.start_process()

    def _append(self, writer: JournalWriter, message: str | None = None) -> str:
        self.n += 1
        name = f"{os.getpid()}-{self.n}"
        position = writer.append(
            Kind.STEP_END,
            (NO_START, "e", "w", self.n, name, "click", 1_700_000_000_000_000_000, 0, 5, None, None, message),
        )
        assert position != NO_START
        return name

    @rule()
    @precondition(lambda self: len(self.writers) < 4)
    def start_process(self) -> None:
        self.writers.append(JournalWriter(self.journals, min_free_bytes=0))

    @rule(n=st.integers(1, 60), which=st.integers(0, 3))
    @precondition(lambda self: self.writers)
    def append(self, n: int, which: int) -> None:
        writer = self.writers[which % len(self.writers)]
        self.accepted |= {self._append(writer) for _ in range(n)}

    @rule(which=st.integers(0, 3), upkeep=st.booleans())
    @precondition(lambda self: self.writers)
    def rotate(self, which: int, upkeep: bool) -> None:
        """Fill what is left of a segment, with or without a spare at hand."""
        writer = self.writers[which % len(self.writers)]
        self.accepted.add(self._append(writer))
        before = writer._segment
        while writer._segment is before:
            if upkeep:
                writer.maintain()
            self.accepted.add(self._append(writer, SEGMENT_FILLER))

    @rule(which=st.integers(0, 3), clean=st.booleans())
    @precondition(lambda self: self.writers)
    def end_process(self, which: int, clean: bool) -> None:
        writer = self.writers.pop(which % len(self.writers))
        if clean:
            writer.say_clean()
        writer.release()

    @rule(n=st.integers(0, 30), which=st.integers(0, 3))
    @precondition(lambda self: self.writers)
    def fork(self, n: int, which: int) -> None:
        """A child records into a journal of its own and is gone; the parent's own goes on."""
        writer = self.writers[which % len(self.writers)]
        self.accepted.add(self._append(writer))
        child = os.fork()
        if child == 0:
            try:
                for _ in range(n):
                    self._append(writer)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        self.accepted |= {f"{child}-{self.n + i}" for i in range(1, n + 1)}

    @rule(fails=st.lists(st.sampled_from(["before", "after"]), max_size=3))
    def ship(self, fails: list[str]) -> None:
        """A pass of a shipping process, into a sink that may be cut off meanwhile."""
        FailingLedger.plan = list(fails)
        ship_once(self.journals, [lambda: FailingLedger(self.ledger)])
        FailingLedger.plan = []

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.writers)
    def deliver_own(self, which: int) -> None:
        """A turn of a host's own shipper, which is then forgotten with the cells that it had at hand."""
        identity = self.writers[which % len(self.writers)].identity
        if identity is not None:
            fleet = Fleet([lambda: FailingLedger(self.ledger)], self.writers[0].clock)
            reader = JournalReader(self.journals, identity.journal_id)
            fleet.deliver(reader, final=False)
            reader.close()
            fleet.close()

    @rule(which=st.integers(0, 1 << 20), place=st.integers(0, 1 << 20), bit=st.integers(0, 7))
    @precondition(lambda self: self.journals.exists())
    def flip_a_bit(self, which: int, place: int, bit: int) -> None:
        """In a record of a dead process that nobody has shipped, and that is neither the last nor beside another
        damaged one: a torn last record was never acknowledged, and two damages side by side count as one."""
        records = [found for found in self._undelivered() if found[3] not in self.flipped]
        if not records:
            return
        path, offset, length, name = sorted(records, key=lambda found: found[3])[which % len(records)]
        with path.open("r+b") as file:
            file.seek(offset + place % length)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes((byte ^ (1 << bit),)))
        self.flipped.add(name)

    def _undelivered(self) -> list[tuple[Path, int, int, str]]:
        """(file, offset, length, name) of the records that may be damaged."""
        import msgspec

        living = {writer.identity.journal_id for writer in self.writers if writer.identity is not None}
        delivered = dict(ask(self.ledger, "SELECT journal, n FROM positions")) if self.ledger.exists() else {}
        found = []
        for journal_id in set(find_journals(self.journals)) - living:
            reader = JournalReader(self.journals, journal_id)
            stretch = reader.read(int(str(delivered.get(journal_id, 0))), final=True, max_records=10_000)
            for before, record, after in zip(stretch.records, stretch.records[1:], stretch.records[2:], strict=False):
                n = next(n for n in sorted(reader._segments(), reverse=True) if base_of_segment(n) <= record.position)
                near = {msgspec.msgpack.decode(one.payload)[4] for one in (before, after)}
                touching = before.position + FRAME_BYTES + len(before.payload) == record.position
                if touching and not near & self.flipped and not stretch.damages:
                    name = msgspec.msgpack.decode(record.payload)[4]
                    path = self.journals / segment_name(journal_id, n)
                    size = FRAME_BYTES + len(record.payload)
                    found.append((path, record.position - base_of_segment(n), size, name))
            reader.close()
        return found

    @invariant()
    def nothing_is_invented_or_doubled(self) -> None:
        if self.ledger.exists():
            kept = [name for (name,) in ask(self.ledger, "SELECT node FROM steps")]
            assert len(kept) == len(set(kept))
            assert set(map(str, kept)) <= self.accepted

    def teardown(self) -> None:
        try:
            for writer in self.writers:
                writer.release()
            shipment = ship_once(self.journals, [lambda: LedgerSink(self.ledger)])
            assert (shipment.unfinished, shipment.problems) == (0, [])
            assert find_journals(self.journals) == []
            kept: set[str] = set()
            lost = 0
            if self.ledger.exists():
                kept = {str(name) for (name,) in ask(self.ledger, "SELECT node FROM steps")}
                lost = int(str(ask(self.ledger, "SELECT coalesce(sum(n), 0) FROM losses")[0][0]))
                cells = [decode_nodes(blob) for (blob,) in ask(self.ledger, "SELECT nodes FROM cells")]
                assert sum(sum(cell.ended) for nodes in cells for node, cell in nodes.items() if node) == len(kept)
            assert self.accepted - kept <= self.flipped
            assert len(self.accepted) == len(kept) + lost
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


Line.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestLine = Line.TestCase
