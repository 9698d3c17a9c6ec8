"""A stretch of records folded into rollup cells: only facts, each counted in the hour in which its step began."""

from analytics_sdk.events import ExecutionEnd, StepEnd
from analytics_sdk.rollup import WHOLE, Cells, cell_of
from analytics_sdk.shipper.merge import Decoded, key_of, recorded_status, tells
from analytics_sdk.vocabulary import FAILED, SUCCESS, TIMEOUT, Kind

_WITH_ERROR = (FAILED, TIMEOUT)


def fold(cells: Cells, decoded: Decoded, *, origin: int = 0) -> None:
    """Add the facts of the events to the cells, in place. `origin`: the journal's first position."""
    for position, kind, event in decoded:
        if kind is Kind.STEP_END:
            _fold_step_end(cells, event, key_of(position, event.start, origin) == position)
        elif kind is Kind.STEP_START:
            cell = cell_of(cells, event.workflow_id, event.node_id or "-", event.started_at_ns)
            cell.started += 1
            cell.action_type = event.action_type or cell.action_type
        elif kind is Kind.EXECUTION_END:
            _fold_execution_end(cells, event, key_of(position, event.start, origin) == position)
        elif kind is Kind.EXECUTION_START:
            cell_of(cells, event.workflow_id, WHOLE, event.started_at_ns).started += 1
        elif kind is Kind.RECOVERY:
            cell = cell_of(cells, event.workflow_id, event.node_id or WHOLE, event.started_at_ns)
            cell.add_recovery(event.strategy, event.success, event.duration_ns)
        elif kind is Kind.VERDICT and tells(position, event, origin):
            cell = cell_of(cells, event.workflow_id, event.node_id or WHOLE, event.started_at_ns)
            cell.add_verdict(event.strategy, event.verdict)


def _fold_step_end(cells: Cells, event: StepEnd, alone: bool) -> None:
    cell = cell_of(cells, event.workflow_id, event.node_id or "-", event.started_at_ns)
    if event.revises is not None:
        if not alone:
            cell.add_heal(event.revises)
        return
    cell.action_type = event.action_type or cell.action_type
    if alone:  # because nobody counted its beginning
        cell.started += 1
    status = recorded_status(event.status)
    cell.add_end(status, event.duration_ns, first_pass=status == SUCCESS)
    if status in _WITH_ERROR:
        cell.add_error(event.error_type, event.error_message, event.started_at_ns)


def _fold_execution_end(cells: Cells, event: ExecutionEnd, alone: bool) -> None:
    cell = cell_of(cells, event.workflow_id, WHOLE, event.started_at_ns)
    if alone:  # because nobody counted its beginning
        cell.started += 1
    status = recorded_status(event.status)
    cell.add_end(status, event.duration_ns, first_pass=event.steps_recovered == 0)
    if status in _WITH_ERROR:
        cell.add_error(event.error_type, event.error_message, event.started_at_ns)
