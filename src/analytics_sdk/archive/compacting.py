"""Compacting: the hours of a workflow that are over are summed to days, and days to weeks, which are kept besides.

A sum is made in the open and stored under a lock, where the rows that it was made of must be byte for byte the same
again. So writers wait for as long as it takes to read one day of one workflow, and who is killed leaves what was there.
Two compactors at once cannot hurt: the second finds what the first has stored.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, not_, select

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.query.sql_reader import SqlReader, cell_row
from analytics_sdk.rollup import HOUR_NS, Total, day_of, encode_total, week_of
from analytics_sdk.sinks.keeping import insert_into
from analytics_sdk.sinks.levels import LENGTHS_NS, OF_ALL, choose_rows, covered_by, try_alone
from analytics_sdk.sinks.schema import DAY, HOUR, WEEK
from analytics_sdk.sinks.sql import SqlSink

SETTLED_AFTER_NS = HOUR_NS
"""So long a day must be over, because what is told late of it would have its sum made again."""
FEWEST_ROWS = 4
"""So many rows a sum must stand for, because one that saves nothing only takes place."""
ROWS_A_REST = 50
_LEVELS = ((DAY, HOUR, day_of), (WEEK, DAY, week_of))
"""Level, the level that it is summed from, and the start of the stretch in which an instant lies."""


@dataclass(slots=True)
class Compacted:
    """What a run did."""

    days: int = 0
    weeks: int = 0
    left: int = 0
    """Sums that were not stored, because what they were made of changed, or somebody was adding to hours. The next run
    makes them."""

    def add(self, other: "Compacted") -> None:
        """Add what another run did, in another database."""
        self.days += other.days
        self.weeks += other.weeks
        self.left += other.left


class Compactor:
    """Compacts one store. For one thread; the sink is this compactor's own, and open."""

    def __init__(
        self,
        sink: SqlSink,
        *,
        clock: Clock = SYSTEM_CLOCK,
        rest_seconds: float = 0.0,
        gate: AbstractContextManager[object] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        fewest_rows: int = FEWEST_ROWS,
    ) -> None:
        """`rest_seconds`: between two sums, and after some rows, others of this process have the interpreter for so
        long. `gate` is held while something is written to the database."""
        self._sink, self._clock, self._rest_seconds = sink, clock, rest_seconds
        self._gate = gate if gate is not None else threading.RLock()
        self._should_stop = should_stop
        self._fewest_rows = fewest_rows
        self._reader = SqlReader(sink.engine, sink.tables)

    def run(self) -> Compacted:
        """Store every sum that is due.

        Raises:
            SinkUnavailable, SinkMisconfigured: what was stored so far stays, and the next run goes on from there.
        """
        done = Compacted()
        for workflow_id in self._workflows():
            for level, below, start_of in _LEVELS:
                end_ns = start_of(self._clock.time_ns() - SETTLED_AFTER_NS)
                for start_ns in self._due(workflow_id, level, below, start_of, end_ns):
                    if self._should_stop():
                        return done
                    if not self._store(workflow_id, level, start_ns):
                        done.left += 1
                    elif level == DAY:
                        done.days += 1
                    else:
                        done.weeks += 1
                    self._rest()
        return done

    def _workflows(self) -> Iterator[str]:
        """One after the other, because DISTINCT would read every row."""
        c, last = self._sink.tables.rollups.c, None
        while not self._should_stop():
            after: list[Any] = [] if last is None else [c.workflow_id > last]
            with self._reader.reading() as connection:
                last = connection.execute(select(func.min(c.workflow_id)).where(*after)).scalar()
            if last is None:
                return
            yield last
            self._rest()

    def _due(self, workflow_id: str, level: str, below: str, start_of: Callable[[int], int], end_ns: int) -> list[int]:
        """The stretches before an instant that have many rows below and no sum."""
        c = self._sink.tables.rollups.c
        first_ns = start_of(LENGTHS_NS[level])  # because a remainder in SQL is what it should be of positive numbers
        stretch = c.bucket_start_ns - (c.bucket_start_ns - first_ns) % LENGTHS_NS[level]
        asked = (
            select(stretch.label("start_ns"))
            .where(c.workflow_id == workflow_id, c.level == below)
            .where(c.bucket_start_ns >= first_ns, c.bucket_start_ns < end_ns)
            .where(not_(covered_by(self._sink.tables, level)))
            .group_by("start_ns")
            .having(func.count() >= self._fewest_rows)
            .order_by("start_ns")
        )
        with self._reader.reading() as connection:
            return list(connection.execute(asked).scalars())

    def _store(self, workflow_id: str, level: str, start_ns: int) -> bool:
        """Sum and store one stretch; False where that cannot be now."""
        with self._reader.reading() as connection:
            rows = self._read(connection, workflow_id, level, start_ns)
        made_of, cells = _digest(rows), encode_total(self._sum(rows, start_ns))
        tables = self._sink.tables
        with self._gate, self._sink.transaction() as connection:
            if not try_alone(connection, tables):
                return False
            if _digest(self._read(connection, workflow_id, level, start_ns)) != made_of:
                return False
            key = {"workflow_id": workflow_id, "level": level, "bucket_start_ns": start_ns, "source": OF_ALL}
            new = insert_into(connection, tables.rollups).on_conflict_do_nothing()
            connection.execute(new, [{**key, "cells": cells}])
        return True

    def _read(self, connection: Connection, workflow_id: str, level: str, start_ns: int) -> Sequence[Any]:
        """The rows that readers would take if there was no sum."""
        span = [(start_ns, start_ns + LENGTHS_NS[level])]
        below = {HOUR: span} if level == DAY else {DAY: span, HOUR: span}
        return connection.execute(choose_rows(self._sink.tables, below, lambda column: [column == workflow_id])).all()

    def _sum(self, rows: Sequence[Any], start_ns: int) -> Total:
        total, sources, trend = Total(), set[int](), dict[int, list[int]]()
        for n, stored in enumerate(rows, 1):
            row = cell_row(*stored)
            total.add(row.nodes)
            sources.update(row.sources)
            for hour_ns, counts in row.trend:
                known = trend.get((hour_ns - start_ns) // HOUR_NS, (0, 0, 0))
                trend[(hour_ns - start_ns) // HOUR_NS] = [a + b for a, b in zip(known, counts, strict=True)]
            if n % ROWS_A_REST == 0:
                self._rest()
        last = 0
        for source in sorted(sources):
            total.sources.append(source - last)
            last = source
        total.trend = [(hour, n, succeeded, first) for hour, (n, succeeded, first) in sorted(trend.items())]
        return total

    def _rest(self) -> None:
        if self._rest_seconds:
            time.sleep(self._rest_seconds)


def _digest(rows: Sequence[Any]) -> bytes:
    found = hashlib.blake2b()
    for level, source, _, start_ns, blob in rows:
        found.update(f"{level} {source} {start_ns} {len(blob)}:".encode())
        found.update(blob)
    return found.digest()
