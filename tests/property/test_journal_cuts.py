"""However a journal is cut into stretches, the same rows and the same cells come out."""

from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk.events import RECORD_TYPES, ExecutionEnd, ExecutionStart, Recovery, StepEnd, StepStart, Verdict
from analytics_sdk.journal.record import Record
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import RECOVERY_COLUMNS, STEP_COLUMNS, Batch, JournalIdentity, Row
from analytics_sdk.vocabulary import FAILED, NO_START, RECOVERED, REFUTED, SUCCESS, VERDICTS, VERIFIED, Kind

ME = JournalIdentity("a" * 32, "host", 1, 1)
AT = 1_700_000_000_000_000_000
END_SEQ = STEP_COLUMNS.index("end_seq")
VERDICT = RECOVERY_COLUMNS.index("verdict")
ORIGIN = 1000


@dataclass
class Store:
    """What a sink keeps: late rows replace, and a None end_seq keeps the stored one."""

    executions: dict[object, Row] = field(default_factory=dict)
    steps: dict[object, Row] = field(default_factory=dict)
    recoveries: dict[object, Row] = field(default_factory=dict)

    def take(self, batch: Batch) -> None:
        for row in batch.new_executions:
            assert row[0] not in self.executions, "a new row must be new"
            self.executions[row[0]] = row
        for row in batch.new_steps:
            assert row[0] not in self.steps, "a new row must be new"
            self.steps[row[0]] = row
        for row in batch.late_executions:
            self.executions[row[0]] = row
        for row in batch.late_steps:
            stored = self.steps.get(row[0])
            end_seq = stored[END_SEQ] if row[END_SEQ] is None and stored is not None else row[END_SEQ]
            self.steps[row[0]] = (*row[:END_SEQ], end_seq, *row[END_SEQ + 1 :])
        self.recoveries.update({row[0]: row for row in batch.recoveries})
        for seq, *told in batch.late_verdicts:
            self.recoveries[seq] = (*self.recoveries[seq][:VERDICT], *told)


@st.composite
def journals(draw: st.DrawFn) -> list[Record]:
    """A few executions with steps that begin, end, are healed, or are lost at either side, interleaved."""
    records: list[Record] = []
    position = ORIGIN
    open_steps: list[tuple[int, int]] = []
    failed: list[tuple[int, int]] = []
    open_executions: list[tuple[int, int]] = []
    healed: list[tuple[int, Recovery]] = []

    def append(kind: Kind, event: msgspec.Struct) -> int:
        nonlocal position
        payload = msgspec.msgpack.encode(event)
        records.append(Record(position, int(kind), payload))
        position += 8 + len(payload)
        return records[-1].position

    for number in range(draw(st.integers(1, 30))):
        at = AT + draw(st.integers(0, 3)) * HOUR_NS // 2
        duration = draw(st.integers(0, 10**10))
        lost = draw(st.integers(0, 9)) == 0
        foreign = draw(st.integers(0, 9)) == 0
        action = draw(
            st.sampled_from(["execution", "step", "end step", "end execution", "heal", "recovery", "verdict"])
        )
        if action == "execution":
            start = append(Kind.EXECUTION_START, ExecutionStart(str(number), "w", at))
            open_executions.append((start, at))
        elif action == "step":
            start = append(Kind.STEP_START, StepStart("e", "w", number, f"node {number % 3}", "click", at))
            open_steps.append((start, at))
        elif action == "recovery":
            recovery = Recovery("e", "w", None, draw(st.sampled_from([None, "a"])), "s", not lost, at, duration)
            start = append(Kind.RECOVERY, recovery)
            if recovery.success:
                healed.append((start, recovery))
        elif action == "verdict" and healed:
            start, of = healed.pop(draw(st.integers(0, len(healed) - 1)))
            start = NO_START if lost else ORIGIN - 500 if foreign else start
            verdict = draw(st.integers(VERIFIED, REFUTED))
            append(Kind.VERDICT, Verdict(start, of.workflow_id, of.node_id, of.strategy, of.started_at_ns, verdict))
        elif action == "end step" and open_steps:
            start, at = open_steps.pop(draw(st.integers(0, len(open_steps) - 1)))
            start = NO_START if lost else ORIGIN - 500 if foreign else start
            status = draw(st.integers(SUCCESS, 5))
            append(Kind.STEP_END, StepEnd(start, "e", "w", number, "n", "c", at, status, duration, None, "E", "m"))
            if status == FAILED:
                failed.append((start, at))
        elif action == "end execution" and open_executions:
            start, at = open_executions.pop()
            start = NO_START if lost else start
            append(Kind.EXECUTION_END, ExecutionEnd(start, "e", "w", at, draw(st.integers(0, 5)), duration, 1, 0, 0))
        elif action == "heal" and failed:
            start, at = failed.pop()
            append(
                Kind.STEP_END,
                StepEnd(start, "e", "w", number, "n", "c", at, RECOVERED, duration, revises=FAILED),
            )
    return records


def delivered(records: list[Record], cuts: list[int]) -> tuple[Store, Cells]:
    """What is kept after the records were delivered in stretches that end before the records with these numbers."""
    store = Store()
    cells: Cells = {}
    edges = [0, *sorted(cuts), len(records)]
    end = records[-1].position + 1 if records else ORIGIN
    positions = [*(record.position for record in records), end]
    for first, last in pairwise(edges):
        events, broken = decode(records[first:last])
        assert broken == []
        store.take(merge(ME, events, positions[first], positions[last], origin=ORIGIN))
        fold(cells, events, origin=ORIGIN)
    return store, cells


@given(journals(), st.data())
def test_any_cut_gives_the_same_rows_and_the_same_cells(records: list[Record], data: st.DataObject) -> None:
    """Each record alone, all at once, and anything between."""
    whole = delivered(records, [])
    assert delivered(records, list(range(1, len(records)))) == whole
    cuts = data.draw(st.lists(st.integers(0, len(records)), max_size=5))
    assert delivered(records, cuts) == whole


@given(journals())
def test_every_ending_is_in_exactly_one_row_and_in_the_cells_once(records: list[Record]) -> None:
    """Rows and rollups are two views of the same facts."""
    store, cells = delivered(records, [])
    ends = [
        record.position
        for record in records
        if record.kind == Kind.STEP_END
        and msgspec.msgpack.decode(record.payload, type=RECORD_TYPES[Kind.STEP_END]).revises is None
    ]
    assert sorted(row[END_SEQ] for row in store.steps.values() if row[END_SEQ] is not None) == ends
    counted = sum(sum(cell.ended) for nodes in cells.values() for node, cell in nodes.items() if node)
    assert counted == len(ends)
    healed = sum(cell.healed_failed for nodes in cells.values() for cell in nodes.values())
    assert healed == sum(row[STEP_COLUMNS.index("heal_seq")] is not None for row in store.steps.values())
    started = sum(cell.started for nodes in cells.values() for node, cell in nodes.items() if node)
    assert started == len(store.steps)


@given(journals())
def test_the_verdicts_of_rows_are_those_of_the_cells(records: list[Record]) -> None:
    """One about a recovery that is not in this journal is in neither."""
    store, cells = delivered(records, [])
    counts = [count for nodes in cells.values() for cell in nodes.values() for count in cell.strategies.values()]
    words = [row[VERDICT] for row in store.recoveries.values()]
    assert words.count("verified") == sum(count.verified for count in counts)
    assert words.count("refuted") == sum(count.refuted for count in counts)
    assert set(words) <= {None, *VERDICTS}
