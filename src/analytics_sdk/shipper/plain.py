"""Plain steps: those that began and succeeded in one stretch, and of which nothing more is told. Nearly all are.

What their beginnings say their endings say again, so these are not even decoded; and what differs from step to step is
little, so that rows and cells are made in half the time that one event after the other takes.
"""

from collections.abc import Sequence
from operator import itemgetter

from analytics_sdk.events import LARGEST, StepEnd
from analytics_sdk.journal.record import Record
from analytics_sdk.pace import in_slices
from analytics_sdk.rollup import HOUR_NS, Cells, cell_of
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.shipper.fold import add_successes
from analytics_sdk.shipper.merge import Decoded
from analytics_sdk.sinks.base import Row
from analytics_sdk.vocabulary import STATUSES, SUCCESS, Kind

_STEP_START, _STEP_END = int(Kind.STEP_START), int(Kind.STEP_END)  # because a look into an Enum costs more
_SUCCESS = STATUSES[SUCCESS]
PlainSteps = list[tuple[int, StepEnd]]
"""Endings with their positions."""


def sort_out(records: Sequence[Record]) -> tuple[PlainSteps, Decoded, list[tuple[int, int]]]:
    """The plain steps of a stretch, the other events, and (position, kind) of the records that cannot be decoded."""
    starts = {record.position for record in in_slices(records) if record.kind == _STEP_START}
    endings, broken = decode(record for record in records if record.kind == _STEP_END)
    plain: PlainSteps = []
    others: Decoded = []
    for ending in in_slices(endings):
        position, _, event = ending
        if (
            event.status == SUCCESS
            and event.start in starts
            and event.start < position
            and event.error_type is None
            and event.error_message is None
            and event.tags is None
            and event.revises is None
        ):
            plain.append((position, event))
        else:
            others.append(ending)
    begun = {event.start for _, event in plain}
    if len(begun) < len(plain) or any(event.start in begun for _, _, event in others):
        return [], *decode(records)  # because one of them ended twice, or was healed
    decoded, unknown = decode(
        record
        for record in records
        if record.kind != _STEP_END and (record.kind != _STEP_START or record.position not in begun)
    )
    return plain, sorted([*decoded, *others], key=itemgetter(0)), broken + unknown


def rows_of(plain: PlainSteps) -> list[Row]:
    """Their rows, in the order of `STEP_COLUMNS`."""
    rows: list[Row] = []
    for position, event in in_slices(plain):
        began, took = event.started_at_ns, event.duration_ns
        rows.append(
            (
                event.start,
                event.execution_id,
                event.workflow_id,
                event.step_no,
                event.parent_step_no,
                event.node_id or "-",
                event.action_type,
                _SUCCESS,
                began,
                began + took if began + took <= LARGEST else LARGEST,
                took,
                None,
                None,
                None,
                position,
                None,
                None,
            )
        )
    return rows


def fold_plain(cells: Cells, plain: PlainSteps) -> None:
    """Add their facts to cells, in place."""
    durations_ns: dict[tuple[str | None, str, str | None, int], list[int]] = {}
    for _, event in in_slices(plain):
        key = (event.workflow_id, event.node_id, event.action_type, event.started_at_ns // HOUR_NS)
        known = durations_ns.get(key)
        if known is None:
            known = durations_ns[key] = []
        known.append(event.duration_ns)
    for (workflow_id, node_id, action_type, hour), those_ns in durations_ns.items():
        cell = cell_of(cells, workflow_id or "", node_id or "-", hour * HOUR_NS)
        cell.started += len(those_ns)
        cell.action_type = action_type or cell.action_type
        add_successes(cell, those_ns)
