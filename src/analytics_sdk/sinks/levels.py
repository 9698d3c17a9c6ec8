"""Rows of days and weeks: sums of the hours below, kept besides them, so that readers have less to add up.

Hours are the truth and are never taken away. What stands at a level is, at every commit, the exact sum of the hours
below it, because

- whoever adds to an hour deletes the rows above it in the same transaction (`forget_sums`);
- whoever stores a sum holds a lock that excludes these, and checks under it that the hours are still those that were
  summed (`try_alone`). On SQLite every writer is alone; on PostgreSQL it is an advisory lock that ends with the
  transaction, shared by all who add to hours. It is tried and never waited for.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union_all,
)

from analytics_sdk.rollup import DAY_NS, WEEK_NS, day_of, week_of
from analytics_sdk.sinks.schema import DAY, HOUR, WEEK, Tables

OF_ALL = 0
"""The source of rows that hold what all sources have; no journal has this number."""
LENGTHS_NS = {WEEK: WEEK_NS, DAY: DAY_NS}
"""The levels above hours, coarse ones first."""
_KEYS_A_QUERY = 200

Spans = Sequence[tuple[int, int]]
Conditions = Callable[[Any], list[Any]]
"""From the column of workflow ids to what is asked of it."""


def choose_rows(tables: Tables, spans: Mapping[str, Spans], of_workflows: Conditions) -> Any:
    """The statement that yields each fact of the hours in `spans[HOUR]` once: (level, source, workflow_id,
    bucket_start_ns, cells), oldest first. Coarser levels are used within their own spans, which lie in those of the
    hours; what a row of them covers is left out below. One statement, so it sees one moment in any transaction."""
    parts: list[Any] = []
    above: list[str] = []
    for level in (*LENGTHS_NS, HOUR):
        if not spans.get(level):
            continue
        c = tables.rollups.c
        columns = select(literal(level).label("level"), c.source, c.workflow_id, c.bucket_start_ns, c.cells)
        uncovered = [not_(covered_by(tables, coarser, spans[coarser])) for coarser in above]
        inside = within(c.bucket_start_ns, spans[level])
        parts.append(columns.where(c.level == level, inside, *of_workflows(c.workflow_id), *uncovered))
        above.append(level)
    chosen = union_all(*parts).subquery()
    return select(chosen).order_by(chosen.c.bucket_start_ns, chosen.c.source)


def covered_by(tables: Tables, level: str, spans: Spans = ()) -> Any:
    """Whether a row of a level covers this row of `rollups`; only rows in some spans, where these are given."""
    c, above = tables.rollups.c, tables.rollups.alias(f"of_{level}")
    start = above.c.bucket_start_ns
    # By comparing and not by the remainder, because that of a negative number is not the same in SQL.
    over = and_(start <= c.bucket_start_ns, start > c.bucket_start_ns - LENGTHS_NS[level])
    found = (
        select(literal(1)).select_from(above).where(above.c.workflow_id == c.workflow_id, above.c.level == level, over)
    )
    if spans:
        found = found.where(within(start, spans))
    return exists(found.correlate(tables.rollups))


def within(column: ColumnElement[Any], spans: Spans) -> ColumnElement[bool]:
    """The condition that an instant lies in one of some spans."""
    return or_(*(and_(column >= start_ns, column < end_ns) for start_ns, end_ns in spans))


def forget_sums(connection: Connection, tables: Tables, hours: Iterable[tuple[str, int]]) -> None:
    """Delete the sums over some (workflow_id, hour), because these hours are about to change; and have nobody store
    one until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock_shared(_key(tables))))
    wanted: dict[str, set[tuple[str, int]]] = {}
    for workflow_id, hour_ns in hours:
        wanted.setdefault(workflow_id, set()).update(((DAY, day_of(hour_ns)), (WEEK, week_of(hour_ns))))
    workflows, c = sorted(wanted), tables.rollups.c
    for i in range(0, len(workflows), _KEYS_A_QUERY):
        some = workflows[i : i + _KEYS_A_QUERY]
        starts = [start_ns for workflow_id in some for _, start_ns in wanted[workflow_id]]
        asked = select(c.workflow_id, c.level, c.bucket_start_ns).where(
            c.workflow_id.in_(some), c.level.in_(list(LENGTHS_NS)), c.bucket_start_ns.between(min(starts), max(starts))
        )
        stale = [row for row in connection.execute(asked) if (row[1], row[2]) in wanted[row[0]]]
        if stale:
            own = (c.workflow_id == bindparam("w"), c.level == bindparam("l"), c.bucket_start_ns == bindparam("b"))
            # One by one in this order, because two who delete the same rows in different orders wait for each other.
            in_order = [dict(zip("wlb", row, strict=True)) for row in sorted(map(tuple, stale))]
            connection.execute(delete(tables.rollups).where(*own), in_order)


def try_alone(connection: Connection, tables: Tables) -> bool:
    """Have nobody add to hours until this transaction ends; False where somebody is doing so now."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_key(tables)))).scalar_one())


def _key(tables: Tables) -> int:
    return zlib.crc32(f"analytics_sdk rollups:{tables.schema}.{tables.prefix}".encode())
