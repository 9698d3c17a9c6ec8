"""Plain steps by the short way are the rows and the cells that the general way makes of the same journal."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics_sdk.events import ExecutionStart, Recovery, StepEnd, StepStart
from analytics_sdk.journal.record import Record
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import lost_healings, merge
from analytics_sdk.shipper.plain import fold_plain, rows_of, sort_out
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.vocabulary import FAILED, NO_START, RECOVERED, SUCCESS, Kind

ME = JournalIdentity("a" * 32, "host", 1, 1)
AT = 1_700_000_000_000_000_000
ORIGIN = 1000
MORE: list[dict[str, object]] = [{}, {}, {}, {"tags": {"a": "b"}}, {"error_type": "E"}, {"error_message": "m"}]


@st.composite
def journals(draw: st.DrawFn) -> list[Record]:
    """Steps that succeed or do not, interleaved with others, some healed or ended twice, some without a beginning."""
    records: list[Record] = []
    position = ORIGIN
    running: list[tuple[int, StepStart]] = []
    ended: list[tuple[int, StepStart]] = []

    def append(kind: Kind, event: msgspec.Struct | None) -> int:
        nonlocal position
        payload = b"\xc1" if event is None else msgspec.msgpack.encode(event)
        records.append(Record(position, int(kind), payload))
        position += 8 + len(payload)
        return records[-1].position

    def end(start: int, of: StepStart, status: int, **more: object) -> None:
        told = (of.execution_id, of.workflow_id, of.step_no, of.node_id, of.action_type, of.started_at_ns, status)
        append(Kind.STEP_END, StepEnd(start, *told, draw(st.integers(0, 10**10)), of.parent_step_no, **more))

    for number in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(["begin"] * 4 + ["end"] * 4 + ["again", "heal", "lost", "other", "broken"]))
        if what == "begin":
            node = draw(st.sampled_from(["pay", "", "send"]))
            at = AT + draw(st.integers(0, 3)) * HOUR_NS // 2
            parent = draw(st.sampled_from([None, 7]))
            began = StepStart(draw(st.sampled_from([None, "e"])), "w", number, node, f"do {node}", at, parent)
            running.append((append(Kind.STEP_START, began), began))
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
                draw(st.sampled_from([NO_START, ORIGIN - 9, position])),
                StepStart("e", "w", 1, "pay", None, AT),
                SUCCESS,
            )
        elif what == "other":
            append(Kind.EXECUTION_START, ExecutionStart("e", "w", AT))
            append(Kind.RECOVERY, Recovery("e", "w", None, None, "s", True, AT, 5))
        elif what == "broken":
            append(draw(st.sampled_from([Kind.STEP_END, Kind.RECOVERY])), None)
    return records


def generally(records: list[Record], old: int, new: int, cells: Cells) -> tuple[Batch, list[int], object]:
    """What comes of a stretch, one event after the other."""
    decoded, broken = decode(records)
    batch = merge(ME, decoded, old, new, origin=ORIGIN)
    batch.new_steps.sort()
    fold(cells, decoded, origin=ORIGIN)
    return batch, lost_healings(decoded, ORIGIN), sorted(broken)


def shortly(records: list[Record], old: int, new: int, cells: Cells) -> tuple[Batch, list[int], object]:
    """The same with what is plain taken out."""
    plain, decoded, broken = sort_out(records)
    batch = merge(ME, decoded, old, new, origin=ORIGIN)
    batch.new_steps = sorted(batch.new_steps + rows_of(plain))
    fold_plain(cells, plain)
    fold(cells, decoded, origin=ORIGIN)
    return batch, lost_healings(decoded, ORIGIN), sorted(broken)


@given(journals(), st.data())
def test_the_short_way_and_the_general_way_agree_on_rows_cells_and_losses(
    records: list[Record], data: st.DataObject
) -> None:
    """In every stretch of a journal, wherever it is cut."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(records)), max_size=3)) if records else [])
    positions = [*(record.position for record in records), 1 << 40]
    short_cells: Cells = {}
    general_cells: Cells = {}
    for first, last in pairwise([0, *cuts, len(records)]):
        stretch = records[first:last], positions[first], positions[last]
        assert shortly(*stretch, short_cells) == generally(*stretch, general_cells)
    assert short_cells == general_cells


def test_only_steps_that_succeeded_and_tell_nothing_more_are_plain() -> None:
    """Their beginnings are not decoded, and every other record is among the events."""
    began = StepStart("e", "w", 1, "pay", "click", AT)
    told = ("e", "w", 1, "pay", "click", AT)
    events = [
        (Kind.STEP_START, began),
        (Kind.STEP_END, StepEnd(1000, *told, SUCCESS, 5)),
        (Kind.STEP_START, began),
        (Kind.STEP_END, StepEnd(1002, *told, SUCCESS, 5, tags={"a": "b"})),
        (Kind.STEP_END, StepEnd(999, *told, SUCCESS, 5)),
    ]
    encoded = [(n, int(kind), msgspec.msgpack.encode(event)) for n, (kind, event) in enumerate(events, ORIGIN)]
    plain, decoded, broken = sort_out([Record(*one) for one in encoded])
    assert [(position, ending.start) for position, ending in zip(*plain, strict=True)] == [(1001, 1000)]
    assert [position for position, _, _ in decoded] == [1002, 1003, 1004]
    assert broken == []
