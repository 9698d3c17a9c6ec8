"""A stretch of records folded into rollup cells: only facts, each counted in the hour in which its step began.

Nearly all records are of steps that succeeded, many in the same cell: they are gathered first, and counted together.
"""

from analytics_sdk.events import ExecutionEnd, StepEnd
from analytics_sdk.histogram import add_counts, count_in_buckets
from analytics_sdk.pace import in_slices
from analytics_sdk.rollup import HOUR_NS, MAX_SUM_NS, WHOLE, Cell, Cells, cell_of
from analytics_sdk.shipper.merge import Decoded, key_of, recorded_status, tells
from analytics_sdk.vocabulary import FAILED, SUCCESS, TIMEOUT, Kind

_WITH_ERROR = (FAILED, TIMEOUT)
_STEP_START, _STEP_END = int(Kind.STEP_START), int(Kind.STEP_END)  # because a look into an Enum costs more
_STEPS = (_STEP_START, _STEP_END)


class _Gathered:
    """What is told of the steps of one cell."""

    __slots__ = ("action_type", "endings", "started", "succeeded_ns")

    def __init__(self) -> None:
        self.started = 0
        self.action_type: str | None = None
        self.succeeded_ns: list[int] = []
        """The durations of those that succeeded."""
        self.endings: list[tuple[int, StepEnd]] = []
        """Every other ending, with its position."""


def fold(cells: Cells, decoded: Decoded, *, origin: int = 0) -> None:
    """Add the facts of the events to the cells, in place. `origin`: the journal's first position."""
    steps: dict[tuple[str | None, str, int], _Gathered] = {}
    for position, kind, event in in_slices(decoded):
        if kind in _STEPS:
            key = (event.workflow_id or "", event.node_id or "-", event.started_at_ns // HOUR_NS)
            gathered = steps.get(key)
            if gathered is None:
                gathered = steps[key] = _Gathered()
            if kind == _STEP_START:
                gathered.started += 1
            elif event.revises is not None:
                gathered.endings.append((position, event))
                continue
            else:
                if not origin <= event.start < position:  # because nobody counted its beginning
                    gathered.started += 1
                if event.status == SUCCESS:
                    gathered.succeeded_ns.append(event.duration_ns)
                else:
                    gathered.endings.append((position, event))
            if event.action_type:
                gathered.action_type = event.action_type
        elif kind == Kind.EXECUTION_END:
            _fold_execution_end(cells, event, key_of(position, event.start, origin) == position)
        elif kind == Kind.EXECUTION_START:
            cell_of(cells, event.workflow_id, WHOLE, event.started_at_ns).started += 1
        elif kind == Kind.RECOVERY:
            cell = cell_of(cells, event.workflow_id, event.node_id or WHOLE, event.started_at_ns)
            cell.add_recovery(event.strategy, event.success, event.duration_ns)
        elif kind == Kind.VERDICT and tells(position, event, origin):
            cell = cell_of(cells, event.workflow_id, event.node_id or WHOLE, event.started_at_ns)
            cell.add_verdict(event.strategy, event.verdict)
    for (workflow_id, node_id, hour), gathered in steps.items():
        _fold_steps(cell_of(cells, workflow_id, node_id, hour * HOUR_NS), gathered, origin)


def _fold_steps(cell: Cell, gathered: _Gathered, origin: int) -> None:
    cell.started += gathered.started
    cell.action_type = gathered.action_type or cell.action_type
    if gathered.succeeded_ns:
        add_successes(cell, gathered.succeeded_ns)
    for position, event in gathered.endings:
        if event.revises is None:
            status = recorded_status(event.status)
            cell.add_end(status, event.duration_ns, first_pass=False)
            if status in _WITH_ERROR:
                cell.add_error(event.error_type, event.error_message, event.started_at_ns)
        elif key_of(position, event.start, origin) != position:
            cell.add_heal(event.revises)


def add_successes(cell: Cell, durations_ns: list[int]) -> None:
    """`Cell.add_end` of many successes that needed no recovery."""
    n, low, high = len(durations_ns), min(durations_ns), max(durations_ns)
    cell.ended[SUCCESS] += n
    cell.first_pass += n
    cell.sum_ns = min(cell.sum_ns + sum(durations_ns), MAX_SUM_NS)
    cell.min_ns = low if cell.min_ns is None else min(cell.min_ns, low)
    cell.max_ns = high if cell.max_ns is None else max(cell.max_ns, high)
    add_counts(cell.buckets, count_in_buckets(in_slices(durations_ns)))


def _fold_execution_end(cells: Cells, event: ExecutionEnd, alone: bool) -> None:
    cell = cell_of(cells, event.workflow_id, WHOLE, event.started_at_ns)
    if alone:  # because nobody counted its beginning
        cell.started += 1
    status = recorded_status(event.status)
    cell.add_end(status, event.duration_ns, first_pass=event.steps_recovered == 0)
    if status in _WITH_ERROR:
        cell.add_error(event.error_type, event.error_message, event.started_at_ns)
