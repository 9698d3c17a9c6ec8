"""Which rows may go to the archive, and in which portions.

What is chosen never changes while it is on its way. Rows of a journal that is settled are final. Of a journal whose
program lives, only what has ended and was counted in rollups may go, as far as these had come when the run began:
whatever is recorded later lies behind that, so a row may leave the choice (because it was healed or judged since), and
none can join it. That is why a deletion by the same condition that hits as many rows as the file holds has hit
exactly these rows, unchanged.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, false, func, or_, select

from analytics_sdk.rollup import HOUR_NS
from analytics_sdk.sinks.schema import Tables, is_running

DAY_NS = 24 * HOUR_NS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Conditions = list[ColumnElement[bool]]


class Portion(NamedTuple):
    """A stretch of time within one UTC day, of one table: what of it may go makes one file."""

    table: Table
    start_ns: int
    end_ns: int

    @property
    def day(self) -> str:
        """The UTC day, as 2026-08-01."""
        return (_EPOCH + timedelta(days=self.start_ns // DAY_NS)).strftime("%Y-%m-%d")


@dataclass(frozen=True)
class Bounds:
    """What a run goes by, seen at one moment before it begins."""

    before_ns: int
    counted_to: Mapping[int, int] = field(default_factory=dict)
    """Journal -> how far its rollups had come."""
    settled: frozenset[int] = frozenset()
    """Journals of which nothing more will ever come."""
    staying: frozenset[str] = frozenset()
    """Executions that run, or ended too late to go: what belongs to them stays too."""


def take_bounds(connection: Connection, tables: Tables, before_ns: int) -> Bounds:
    """The bounds of a run that begins now."""
    c, e = tables.journal_positions.c, tables.executions.c
    positions = connection.execute(select(c.source, c.rollup_position, c.settled)).all()
    running = select(e.execution_id).where(is_running(tables.executions), e.source >= 0)
    ended_late = select(e.execution_id).where(e.started_at_ns < before_ns, e.ended_at_ns >= before_ns)
    staying = {name for asked in (running, ended_late) for name in connection.execute(asked).scalars()}
    return Bounds(
        before_ns,
        {row.source: row.rollup_position for row in positions},
        frozenset(row.source for row in positions if row.settled),
        frozenset(staying),
    )


def time_of(table: Table) -> Any:
    """The column that tells when a row began."""
    return table.c["at_ns"] if "at_ns" in table.c else table.c["started_at_ns"]


def portions(
    connection_of: Callable[[], AbstractContextManager[Connection]], tables: Tables, before_ns: int, most_rows: int
) -> Iterator[Portion]:
    """The portions of a run, oldest day first, in it the parts of executions before these. `connection_of()` opens a
    transaction for reading."""
    parts = (tables.steps, tables.recoveries, tables.resource_samples, tables.executions)
    reached_ns = -(1 << 63)
    while True:
        with connection_of() as connection:
            firsts = [_first_ns(connection, tables, table, reached_ns, before_ns) for table in parts]
        known = [first_ns for first_ns in firsts if first_ns is not None]
        if not known:
            return
        day_end_ns = min(before_ns, (min(known) // DAY_NS + 1) * DAY_NS)
        for table, first_ns in zip(parts, firsts, strict=True):
            start_ns = first_ns
            while start_ns is not None and start_ns < day_end_ns:
                with connection_of() as connection:
                    end_ns = _end_ns(connection, tables, table, start_ns, day_end_ns, most_rows)
                yield Portion(table, start_ns, end_ns)
                with connection_of() as connection:
                    start_ns = _first_ns(connection, tables, table, end_ns, day_end_ns)
        reached_ns = day_end_ns


def between(tables: Tables, table: Table, start_ns: int, end_ns: int) -> Conditions:
    """That a row began in a stretch of time, said so that the index by time is used."""
    time = time_of(table)
    conditions = [time >= start_ns, time < end_ns]
    if table is tables.resource_samples:  # whose index begins with the host
        conditions.append(table.c.host.in_(select(tables.journal_positions.c.host).distinct()))
    return conditions


def _first_ns(connection: Connection, tables: Tables, table: Table, start_ns: int, end_ns: int) -> int | None:
    asked = select(func.min(time_of(table))).where(*between(tables, table, start_ns, end_ns))
    found: int | None = connection.execute(asked).scalar()
    return found


def _end_ns(connection: Connection, tables: Tables, table: Table, start_ns: int, end_ns: int, most_rows: int) -> int:
    """Where a portion ends that begins at an instant and has about so many rows: more where they all began at once."""
    time = time_of(table)
    asked = select(time).where(*between(tables, table, start_ns, end_ns)).order_by(time).limit(1).offset(most_rows)
    found: int | None = connection.execute(asked).scalar()
    return end_ns if found is None else max(found, start_ns + 1)


def sources_in(connection: Connection, tables: Tables, portion: Portion) -> list[int]:
    """The journals whose rows stand in a portion."""
    c = portion.table.c
    asked = select(c.source).distinct().where(*between(tables, portion.table, portion.start_ns, portion.end_ns))
    return sorted(connection.execute(asked).scalars())


def may_go(tables: Tables, portion: Portion, bounds: Bounds, sources: list[int], without: list[str]) -> Conditions:
    """The conditions under which a row of a portion may go; `without` are executions whose parts stay.

    `source` is told as an expression, so that the key makes no range of it and the index by time is used.
    """
    c = portion.table.c
    settled = [source for source in sources if source in bounds.settled]
    living = [source for source in sources if source not in bounds.settled and source in bounds.counted_to]
    of_sources = [
        and_(c.source + 0 == source, *_is_counted(portion.table, bounds.counted_to[source])) for source in living
    ]
    if settled:
        of_sources.append((c.source + 0).in_(settled))
    conditions = [*between(tables, portion.table, portion.start_ns, portion.end_ns), or_(false(), *of_sources)]
    if "status" in c:
        conditions.append(c.status != "running")
    if "heal_seq" in c:  # because what was healed after it was archived is half a row, and belongs to the one that went
        conditions.append(or_(c.end_seq.is_not(None), c.heal_seq.is_(None)))
    if without:
        conditions.append(or_(c.execution_id.is_(None), c.execution_id.not_in(without)))
    return conditions


def _is_counted(table: Table, to: int) -> Conditions:
    """That everything told of a row lies before a position, and nothing is to come."""
    c = table.c
    conditions = [c.seq < to]
    if "end_seq" in c:
        conditions += [c.end_seq < to, or_(c.last_seq.is_(None), c.last_seq < to)]
    if "heal_seq" in c:
        conditions.append(or_(c.heal_seq.is_(None), c.heal_seq < to))
    if "verdict_seq" in c:  # one that succeeded in an execution may be judged until its program ends
        judged = or_(c.success.is_(False), c.execution_id.is_(None), c.verdict_seq.is_not(None))
        conditions += [or_(c.verdict_seq.is_(None), c.verdict_seq < to), judged]
    return conditions
