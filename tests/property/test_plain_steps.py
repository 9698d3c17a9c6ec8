"""Plain steps by the short way are the rows and the cells that the general way makes of the same journal."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk.events import ExecutionStart, Recovery, StepEnd, StepStart
from analytics_sdk.journal.record import Record
from analytics_sdk.journal.stretch import Stretch
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import lost_healings, merge
from analytics_sdk.shipper.plain import sort_out
from analytics_sdk.shipper.ready import fold_records, make_ready
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.vocabulary import FAILED, NO_START, RECOVERED, SUCCESS, Kind

ME = JournalIdentity("a" * 32, "host", 1, 1)
AT = 1_700_000_000_000_000_000
FIRST = 1000
MORE: list[dict[str, object]] = [{}, {}, {}, {"tags": {"a": "b"}}, {"error_type": "E"}, {"error_message": "m"}]


@st.composite
def journals(draw: st.DrawFn) -> list[Record]:
    """Steps that succeed or do not, interleaved with others, some healed or ended twice, some without a beginning."""
    records: list[Record] = []
    position = FIRST
    running: list[tuple[int, StepStart]] = []
    ended: list[tuple[int, StepStart]] = []

    def append(kind: Kind, event: msgspec.Struct | None) -> int:
        nonlocal position
        payload = b"\xc1" if event is None else msgspec.msgpack.encode(event)
        records.append(Record(position, int(kind), payload))
        position += 8 + len(payload)
        return records[-1].position

    def end(start: int, of: StepStart, status: int, **more: object) -> None:
        at = of.started_at_ns + draw(st.sampled_from([0, 0, 0, 0, -HOUR_NS]))  # a host may tell late when it began
        workflow = draw(st.sampled_from([of.workflow_id] * 9 + ["another"]))
        node = draw(st.sampled_from([of.node_id] * 9 + ["another"]))
        told = (of.execution_id, workflow, of.step_no, node, f"do {node}", at, status)
        append(Kind.STEP_END, StepEnd(start, *told, draw(st.integers(0, 10**10)), of.parent_step_no, **more))

    for number in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(["begin"] * 4 + ["end"] * 4 + ["again", "heal", "lost", "other", "broken"]))
        if what == "begin":
            node = draw(st.sampled_from(["pay", "", "send"]))
            at = AT + draw(st.integers(0, 3)) * HOUR_NS // 2
            parent = draw(st.sampled_from([None, 7]))
            began = StepStart(draw(st.sampled_from([None, "e"])), "w", number, node, f"do {node}", at, parent)
            told = began if draw(st.integers(0, 9)) else None
            running.append((append(Kind.STEP_START, told), began))
        elif what == "end" and running:
            start, began = running.pop(draw(st.integers(0, len(running) - 1)))
            end(start, began, draw(st.sampled_from([SUCCESS, SUCCESS, SUCCESS, FAILED])), **draw(st.sampled_from(MORE)))
            ended.append((start, began))
        elif what == "again" and ended:
            end(*ended[-1], SUCCESS)
        elif what == "heal" and ended:
            end(*ended[-1], RECOVERED, revises=FAILED)
        elif what == "lost":
            end(
                draw(st.sampled_from([NO_START, FIRST - 9, position])), StepStart("e", "w", 1, "pay", None, AT), SUCCESS
            )
        elif what == "other":
            append(Kind.EXECUTION_START, ExecutionStart("e", "w", AT))
            append(Kind.RECOVERY, Recovery("e", "w", None, None, "s", True, AT, 5))
        elif what == "broken":
            append(draw(st.sampled_from([Kind.STEP_END, Kind.RECOVERY])), None)
    return records


def generally(stretch: Stretch, origin: int, cells: Cells) -> tuple[Batch, object]:
    """What comes of a stretch, one event after the other."""
    decoded, broken = decode(stretch.records)
    batch = merge(ME, decoded, stretch.old, stretch.new, origin=origin)
    batch.new_steps.sort()
    fold(cells, decoded, origin=origin)
    healings = [(position, int(Kind.STEP_END)) for position in lost_healings(decoded, origin)]
    return batch, sorted((position, kind, "damaged") for position, kind in broken + healings)


@given(journals(), st.integers(FIRST - 50, FIRST + 200), st.data())
def test_the_short_way_and_the_general_way_agree_on_rows_cells_and_losses(
    records: list[Record], origin: int, data: st.DataObject
) -> None:
    """In every stretch of a journal, wherever it is cut and wherever the journal begins."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(records)), max_size=3)) if records else [])
    positions = [*(record.position for record in records), 1 << 40]
    short_cells: Cells = {}
    again_cells: Cells = {}
    general_cells: Cells = {}
    for first, last in pairwise([0, *cuts, len(records)]):
        stretch = Stretch(positions[first], positions[last], records[first:last])
        ready = make_ready(ME, stretch, origin)
        assert (ready.batch, sorted(ready.found)) == generally(stretch, origin, general_cells)
        ready.fold(short_cells)
        fold_records(again_cells, stretch.records, origin)
    assert short_cells == again_cells == general_cells


def test_only_steps_that_succeeded_and_tell_nothing_more_are_plain() -> None:
    """Every other record is among the events, the beginnings of the others too."""
    began = StepStart("e", "w", 1, "pay", "click", AT)
    told = ("e", "w", 1, "pay", "click", AT)
    events = [
        (Kind.STEP_START, began),
        (Kind.STEP_END, StepEnd(1000, *told, SUCCESS, 5)),
        (Kind.STEP_START, began),
        (Kind.STEP_END, StepEnd(1002, *told, SUCCESS, 5, tags={"a": "b"})),
        (Kind.STEP_END, StepEnd(999, *told, SUCCESS, 5)),
        (Kind.STEP_END, StepEnd(1006, *told, SUCCESS, 5)),  # before its beginning
        (Kind.STEP_START, began),
    ]
    encoded = [(n, int(kind), msgspec.msgpack.encode(event)) for n, (kind, event) in enumerate(events, FIRST)]
    plain, decoded, broken = sort_out([Record(*one) for one in encoded], FIRST)
    assert [(position, ending.start) for position, ending in zip(*plain, strict=True)] == [(1001, 1000)]
    assert [position for position, _, _ in decoded] == [1002, 1003, 1004, 1005, 1006]
    assert broken == []
