"""Plain steps: those that began and succeeded in one stretch, and of which nothing more is told. Nearly all are.

What differs from one to the next is little, so that their rows and cells are made in half the time that one event after
the other takes.
"""

from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from typing import NamedTuple

from analytics_sdk.events import StepEnd, StepStart
from analytics_sdk.journal.record import Record
from analytics_sdk.pace import in_slices
from analytics_sdk.rollup import HOUR_NS, Cells, cell_of
from analytics_sdk.shipper.decoding import decode, decode_kind
from analytics_sdk.shipper.fold import add_successes
from analytics_sdk.shipper.merge import Decoded, step_row
from analytics_sdk.sinks.base import Row
from analytics_sdk.vocabulary import SUCCESS, Kind

_STEP_START, _STEP_END = int(Kind.STEP_START), int(Kind.STEP_END)  # because a look into an Enum costs more


class PlainSteps(NamedTuple):
    """Endings with their positions. Two lists, because a pair for each would be work for the garbage collector."""

    positions: list[int]
    endings: list[StepEnd]


def sort_out(records: Sequence[Record], origin: int) -> tuple[PlainSteps, Decoded, list[tuple[int, int]]]:
    """The plain steps of a stretch, the other events, and (position, kind) of the records that cannot be decoded.

    `origin`: the journal's first position.
    """
    starts = _starts_of(records, origin)
    positions, endings, bad = decode_kind(
        _STEP_END, (record for record in in_slices(records) if record.kind == _STEP_END)
    )
    fits = [
        ending.status == SUCCESS
        and (began := starts.get(ending.start)) is not None
        and began.started_at_ns == ending.started_at_ns
        and began.node_id == ending.node_id
        and began.workflow_id == ending.workflow_id
        and ending.start < position
        and ending.error_type is None
        and ending.error_message is None
        and ending.tags is None
        and ending.revises is None
        for position, ending in in_slices(zip(positions, endings, strict=True))
    ]
    plain = PlainSteps(list(compress(in_slices(positions), fits)), list(compress(in_slices(endings), fits)))
    others: Decoded = [
        (position, _STEP_END, ending)
        for position, ending, fit in in_slices(zip(positions, endings, fits, strict=True))
        if not fit
    ]
    begun = {ending.start for ending in in_slices(plain.endings)}
    if len(begun) < len(plain.endings) or any(ending.start in begun for _, _, ending in others):
        return PlainSteps([], []), *decode(records)  # because one of them ended twice, or was healed
    decoded, broken = decode(
        record
        for record in in_slices(records)
        if record.kind != _STEP_END and (record.kind != _STEP_START or record.position not in begun)
    )
    broken += [(position, _STEP_END) for position in bad]
    return plain, sorted([*decoded, *others], key=itemgetter(0)), broken


def _starts_of(records: Sequence[Record], origin: int) -> dict[int, StepStart]:
    positions, starts, _ = decode_kind(
        _STEP_START,
        (record for record in in_slices(records) if record.kind == _STEP_START and record.position >= origin),
    )
    return dict(in_slices(zip(positions, starts, strict=True)))


def rows_of(plain: PlainSteps) -> list[Row]:
    """Their rows, in the order of `STEP_COLUMNS`."""
    return [step_row(ending.start, position, ending) for position, ending in in_slices(zip(*plain, strict=True))]


def fold_plain(cells: Cells, plain: PlainSteps) -> None:
    """Add their facts to cells, in place."""
    groups: dict[tuple[str | None, str, int], list[StepEnd]] = {}
    for ending in in_slices(plain.endings):
        key = (ending.workflow_id, ending.node_id, ending.started_at_ns // HOUR_NS)
        group = groups.get(key)
        if group is None:
            group = groups[key] = []
        group.append(ending)
    for (workflow_id, node_id, hour), group in groups.items():
        cell = cell_of(cells, workflow_id or "", node_id or "-", hour * HOUR_NS)
        cell.started += len(group)
        cell.action_type = next((one.action_type for one in reversed(group) if one.action_type), cell.action_type)
        add_successes(cell, [ending.duration_ns for ending in in_slices(group)])
