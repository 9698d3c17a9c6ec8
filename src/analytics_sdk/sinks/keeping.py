"""What is kept besides rows, inside the transaction that a sink has open: losses, rollups, and the last judgement."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from analytics_sdk.rollup import WHOLE, Cell, Cells, add_nodes, cell_of, decode_nodes, encode_nodes
from analytics_sdk.sinks.base import ADDED_REASONS, LOSS_COLUMNS, VERDICT_COLUMNS, Row
from analytics_sdk.sinks.levels import forget_sums
from analytics_sdk.sinks.rows import as_dicts, columns_of, without_nul
from analytics_sdk.sinks.schema import HOUR, Tables, is_running
from analytics_sdk.vocabulary import STATUSES

_KEYS_A_QUERY = 200
_COMPLETED = ("success", "recovered")
_FAILED = ("failed", "timeout")


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that may have an ON CONFLICT clause."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def keep_losses(connection: Connection, tables: Tables, source: int, rows: list[Row]) -> None:
    """Replace the journal's running totals, and add to what delivery itself found out."""
    if not rows:
        return
    table = tables.losses
    new = (statement := insert_into(connection, table)).excluded
    added = or_(*(table.c.reason == reason for reason in sorted(ADDED_REASONS)))
    stored = table.c
    first = case((added & (stored.first_at_ns < new.first_at_ns), stored.first_at_ns), else_=new.first_at_ns)
    last = case((added & (stored.last_at_ns > new.last_at_ns), stored.last_at_ns), else_=new.last_at_ns)
    replacing = statement.on_conflict_do_update(
        index_elements=["source", "kind", "reason"],
        set_={"n": case((added, stored.n + new.n), else_=new.n), "first_at_ns": first, "last_at_ns": last},
    )
    connection.execute(replacing, as_dicts(columns_of(LOSS_COLUMNS, rows, source=source)))


def keep_verdicts(connection: Connection, tables: Tables, source: int, rows: list[Row]) -> None:
    """Say of stored recoveries what became of them."""
    if not rows:
        return
    table = tables.recoveries
    own = update(table).where(table.c.source == source, table.c.seq == bindparam("at"))
    told = own.values(verdict=bindparam("word"), verdict_seq=bindparam("told_at"))
    columns = columns_of(VERDICT_COLUMNS, rows)
    connection.execute(
        told, [dict(zip(("at", "word", "told_at"), row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )


def add_cells(connection: Connection, tables: Tables, source: int, cells: Cells) -> None:
    """Add cells to this source's stored ones. Nobody else writes those, so they are read, added to and written."""
    table = tables.rollups
    wanted = kept_names(cells)
    if wanted:
        forget_sums(connection, tables, wanted)
    workflows = sorted({workflow_id for workflow_id, _ in wanted})
    stored: Cells = {}
    for i in range(0, len(workflows), _KEYS_A_QUERY):
        some = set(workflows[i : i + _KEYS_A_QUERY])
        hours = [hour for workflow_id, hour in wanted if workflow_id in some]
        found = select(table.c.workflow_id, table.c.bucket_start_ns, table.c.cells).where(
            table.c.workflow_id.in_(sorted(some)),
            table.c.level == HOUR,
            table.c.bucket_start_ns.between(min(hours), max(hours)),
            table.c.source == source,
        )
        for workflow_id, hour, blob in connection.execute(found):
            if (workflow_id, hour) in wanted:
                stored[workflow_id, hour] = decode_nodes(bytes(blob))
    rows = []
    for (workflow_id, hour), nodes in wanted.items():
        sums = stored.setdefault((workflow_id, hour), {})
        add_nodes(sums, nodes)
        key = {"workflow_id": workflow_id, "level": HOUR, "bucket_start_ns": hour, "source": source}
        rows.append({**key, "cells": encode_nodes(sums)})
    if rows:
        statement = insert_into(connection, table)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["workflow_id", "level", "bucket_start_ns", "source"],
                set_={"cells": statement.excluded.cells},
            ),
            rows,
        )


def kept_names(cells: Cells) -> Cells:
    """The cells under the names that rows have."""
    kept: Cells = {}
    for (workflow_id, hour), nodes in cells.items():
        into = kept.setdefault((without_nul(workflow_id), hour), {})
        for node_id, cell in nodes.items():
            into.setdefault(without_nul(node_id), Cell()).add(cell)
    return kept


def judge(connection: Connection, tables: Tables, source: int, word: str) -> None:
    """Give what still runs in a source its last status, in the rows and in the rollups."""
    executions, steps = tables.executions, tables.steps
    running = select(executions.c.seq, executions.c.execution_id, executions.c.workflow_id, executions.c.started_at_ns)
    judged = connection.execute(running.where(_still_running(executions, source))).all()
    open_steps = select(steps.c.workflow_id, steps.c.node_id, steps.c.started_at_ns)
    cells = judged_cells(judged, connection.execute(open_steps.where(_still_running(steps, source))), word)
    for table in (executions, steps):
        connection.execute(update(table).where(_still_running(table, source)).values(status=word))
    if judged:
        _keep_counts(connection, tables, source, {row.execution_id: row.seq for row in judged})
    add_cells(connection, tables, source, cells)


def judged_cells(executions: Iterable[Any], steps: Iterable[Any], word: str) -> Cells:
    """The endings of rows that were judged."""
    verdict = STATUSES.index(word)
    cells: Cells = {}
    for execution in executions:
        cell_of(cells, execution.workflow_id, WHOLE, execution.started_at_ns).add_end(verdict, None, first_pass=False)
    for step in steps:
        cell_of(cells, step.workflow_id, step.node_id, step.started_at_ns).add_end(verdict, None, first_pass=False)
    return cells


def _still_running(table: Table, source: int) -> ColumnElement[bool]:
    """The rows of a source that run. A range of one source, because for an equality SQLite would walk all its rows."""
    return and_(table.c.source.between(source, source), is_running(table))


def count_steps(
    connection: Connection, tables: Tables, source: int, judged: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """The counts of executions whose end was not recorded, from their top-level steps and their recoveries.

    `judged`: the position of each execution, by its id.
    """
    counts: dict[str, dict[str, int]] = {
        execution_id: {"steps_completed": 0, "steps_failed": 0, "steps_recovered": 0} for execution_id in judged
    }
    since = min(judged.values(), default=0)
    s, r = tables.steps.c, tables.recoveries.c
    by_status = (
        select(s.execution_id, s.status, func.count())
        .where(s.source == source, s.seq > since, s.parent_step_no.is_(None), s.status.in_(_COMPLETED + _FAILED))
        .group_by(s.execution_id, s.status)
    )
    for execution_id, status, n in connection.execute(by_status):
        if execution_id in counts:
            counts[execution_id]["steps_completed" if status in _COMPLETED else "steps_failed"] += n
    # Because several recoveries may heal one step, and that is one success that needed help.
    healed = (
        select(r.execution_id, func.count(r.step_no.distinct()) + func.count() - func.count(r.step_no))
        .where(r.source == source, r.seq > since, r.success.is_(True))
        .group_by(r.execution_id)
    )
    for execution_id, n in connection.execute(healed):
        if execution_id in counts:
            counts[execution_id]["steps_recovered"] = n
    return counts


def _keep_counts(connection: Connection, tables: Tables, source: int, judged: Mapping[str, int]) -> None:
    counts = count_steps(connection, tables, source, judged)
    table = tables.executions
    for execution_id, seq in judged.items():
        if any(counts[execution_id].values()):
            own = update(table).where(table.c.source == source, table.c.seq == seq)
            connection.execute(own.values(**counts[execution_id]))
