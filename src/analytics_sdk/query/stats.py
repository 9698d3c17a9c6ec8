"""The dict of statistics: every key always there, seconds and percents, nan and 0 where nothing is known.

Instants are aware datetimes of the local zone. Beside the keys of the guide it names the window that was used,
counts by status, what still runs, and what is known to be missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import nan

from analytics_sdk.histogram import RELATIVE_ERROR
from analytics_sdk.query.aggregates import (
    Durations,
    Outcome,
    Tally,
    durations_of,
    errors_of,
    merge,
    outcome_of,
    wilson_interval,
)
from analytics_sdk.query.exact import Group, read_exact
from analytics_sdk.query.healing import describe_effort, describe_recovery, describe_warnings
from analytics_sdk.query.reader import Loss, Snapshot
from analytics_sdk.query.results import ExecutionRow, Stats
from analytics_sdk.query.usage import describe_resources
from analytics_sdk.query.window import Span, to_datetime
from analytics_sdk.rollup import WHOLE, Cell

_NS = 1_000_000_000

WorkflowCells = Mapping[str, Mapping[str, Cell]]
"""workflow_id -> node_id or WHOLE -> cell."""


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _seconds(value_ns: float | None) -> float:
    return nan if value_ns is None else value_ns / _NS


def describe(
    span: Span, cells: WorkflowCells, trend: Mapping[str, Mapping[int, Tally]], exact_from: Snapshot | None = None
) -> Stats:
    """What cells say about success, time, steps, errors and recoveries; percentiles from the rows of a snapshot if one
    is given. `trend`: how executions came out, by workflow and hour."""
    wholes = {(workflow_id, WHOLE): nodes[WHOLE] for workflow_id, nodes in cells.items() if WHOLE in nodes}
    steps = {
        (workflow_id, node_id): cell
        for workflow_id, nodes in cells.items()
        for node_id, cell in nodes.items()
        if node_id != WHOLE and cell.started + sum(cell.ended)
    }
    groups: list[Group] = [wholes, *({key: cell} for key, cell in steps.items())]
    if exact_from is not None:
        (durations, is_exact), *step_durations = read_exact(exact_from, span, groups)
    else:
        (durations, is_exact), *step_durations = [(durations_of(merge(group.values())), False) for group in groups]
    outcome = outcome_of(merge(wholes.values()))
    all_nodes = [(node_id, cell) for nodes in cells.values() for node_id, cell in nodes.items()]
    return {
        "success_rate": _success_rate(outcome),
        "status_counts": outcome.counts,
        "performance": {**_performance(durations), "relative_error": 0.0 if is_exact else RELATIVE_ERROR},
        "steps": sorted(
            (
                _step(key, cell, durations)
                for (key, cell), (durations, _) in zip(steps.items(), step_durations, strict=True)
            ),
            key=lambda step: (step["workflow_id"], step["node_id"]),
        ),
        "errors": _errors(all_nodes),
        "recovery": describe_recovery(cells),
        "warnings": describe_warnings(cells, trend),
    }


def empty_stats(workflow_id: str | None = None) -> Stats:
    """The dict of statistics where nothing is known: every key, nan and 0, and no window."""
    stats = describe(Span(0, 0), {}, {})
    stats["resources"] = describe_resources(())
    stats["running"] = []
    stats["data_complete"] = True
    stats["losses"] = []
    stats["window"] = {"start": None, "end": None, "start_ns": None, "end_ns": None, "widened": False}
    if workflow_id is None:
        stats["workflows"] = []
    return stats


def _success_rate(outcome: Outcome) -> dict[str, object]:
    interval = wilson_interval(outcome.succeeded, outcome.n) or (nan, nan)
    return {
        "success_rate": _number(outcome.success_rate),
        "first_pass_rate": _number(outcome.first_pass_rate),
        "n": outcome.n,
        "succeeded": outcome.succeeded,
        "recovered": outcome.succeeded - outcome.first_pass,
        "failed": outcome.failed,
        "ci_low": interval[0],
        "ci_high": interval[1],
    }


def _performance(durations: Durations) -> dict[str, object]:
    return {
        "n": durations.n,
        "avg_duration": _seconds(durations.avg_ns),
        "min_duration": _seconds(durations.min_ns),
        "max_duration": _seconds(durations.max_ns),
        "p50_duration": _seconds(durations.p50_ns),
        "p95_duration": _seconds(durations.p95_ns),
        "p99_duration": _seconds(durations.p99_ns),
    }


def _step(key: tuple[str, str], cell: Cell, durations: Durations) -> dict[str, object]:
    outcome = outcome_of(cell)
    return {
        "workflow_id": key[0],
        "node_id": key[1],
        "action_type": cell.action_type,
        "n": outcome.n,
        "success_rate": _number(outcome.success_rate),
        "first_pass_rate": _number(outcome.first_pass_rate),
        "recovered": outcome.counts["recovered"],
        "failed": outcome.failed,
        "status_counts": outcome.counts,
        "avg_duration": _seconds(durations.avg_ns),
        "p50_duration": _seconds(durations.p50_ns),
        "p95_duration": _seconds(durations.p95_ns),
        "p99_duration": _seconds(durations.p99_ns),
        "total_duration": cell.sum_ns / _NS,
        **describe_effort(cell),
    }


def _errors(nodes: Iterable[tuple[str, Cell]]) -> list[dict[str, object]]:
    """Most frequent first; what a cell had no room for stands under the fingerprint `__other__`."""
    found = sorted(errors_of(nodes).items(), key=lambda item: (-item[1].n, item[0]))
    return [
        {
            "fingerprint": key,
            "error_type": error.error_type,
            "message": error.message,
            "n": error.n,
            "first_seen": to_datetime(error.first_seen_ns),
            "last_seen": to_datetime(error.last_seen_ns),
        }
        for key, error in found
    ]


def describe_workflows(cells: WorkflowCells) -> list[dict[str, object]]:
    """One line for each workflow that has executions, by its id."""
    lines = []
    for workflow_id, nodes in sorted(cells.items()):
        whole = nodes.get(WHOLE)
        if whole is None or not whole.started + sum(whole.ended):
            continue
        outcome, durations = outcome_of(whole), durations_of(whole)
        lines.append(
            {
                "workflow_id": workflow_id,
                "n": outcome.n,
                "success_rate": _number(outcome.success_rate),
                "first_pass_rate": _number(outcome.first_pass_rate),
                "avg_duration": _seconds(durations.avg_ns),
                "p95_duration": _seconds(durations.p95_ns),
                "status_counts": outcome.counts,
            }
        )
    return lines


def describe_running(rows: Sequence[ExecutionRow], now_ns: int) -> list[dict[str, object]]:
    """What started in the window and has not ended, newest first."""
    return [
        {
            "execution_id": row.execution_id,
            "workflow_id": row.workflow_id,
            "started_at": to_datetime(row.started_at_ns),
            "elapsed_seconds": max(0, now_ns - row.started_at_ns) / _NS,
            "total_steps": row.total_steps,
            "host": row.host,
            "pid": row.pid,
        }
        for row in rows
    ]


def describe_losses(losses: Sequence[Loss]) -> list[dict[str, object]]:
    """What is known to be missing."""
    return [
        {
            "kind": loss.kind,
            "reason": loss.reason,
            "n": loss.n,
            "first_at": to_datetime(loss.first_at_ns),
            "last_at": to_datetime(loss.last_at_ns),
        }
        for loss in losses
    ]
