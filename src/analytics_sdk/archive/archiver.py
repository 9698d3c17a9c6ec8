"""A run of the archive: each portion of rows becomes a file, is named in the manifest and deleted, one after the other.

The steps of a portion, and what a crash behind each leaves:

1. The file's name is announced in the manifest.     A name without a file, which the next run takes back.
2. The rows are read and the file is written.        The same, with a file that the next run removes.
3. In one transaction the manifest believes the file, and the rows are deleted by the condition by which they were
   chosen. Where that hits another number of rows than the file holds, nothing of it happens and the file goes.

So at every moment a row stands in the tables or in a believed file, never in both. Two archivers at once cannot hurt:
the second deletes fewer rows than its file holds. For the sake of order only one at a time works on a folder.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from analytics_sdk.archive.choosing import (
    Bounds,
    Conditions,
    Portion,
    between,
    may_go,
    portions,
    sources_in,
    take_bounds,
    time_of,
)
from analytics_sdk.archive.lock import try_lock
from analytics_sdk.archive.parquet import make_private_folder, remove_file, require_pyarrow, to_arrow, write_file
from analytics_sdk.archive.space import give_back
from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.query.sql_reader import SqlReader
from analytics_sdk.sinks.manifest import ArchiveFile, announce, confirm, find_unfinished, is_believed, take_back
from analytics_sdk.sinks.sql import SqlSink

PORTION_ROWS = 20_000
"""Because deleting so many keeps other writers of a SQLite file waiting for a fifth of a second or so."""
PAUSE_SECONDS = 0.1
"""After each deletion, because who waits for a SQLite file looks again a tenth of a second later at most."""
ROWS_A_CHUNK = 1_000
_TRIES = 3


@dataclass(slots=True)
class Archived:
    """What a run did."""

    before_ns: int
    rows: dict[str, int] = field(default_factory=dict)
    """Rows that went, by table; in a dry run those that would."""
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    left: dict[str, int] = field(default_factory=dict)
    """Rows that are old enough and stay, by table."""
    reasons: list[str] = field(default_factory=list)
    """Why they stay, and what could not be done."""
    removed: int = 0
    """Files of a run that died, removed now."""
    freed_bytes: int = 0
    """Given back to the disk."""
    free_bytes: int = 0
    """Free within the database file, for rows to come."""
    gives_back: bool = True
    """False where only VACUUM can make the file smaller."""
    longest_hold_seconds: float = 0.0
    """So long other writers had to wait at most."""
    dry_run: bool = False

    def add(self, other: "Archived") -> None:
        """Add what another run did, in another database."""
        for mine, theirs in ((self.rows, other.rows), (self.left, other.left)):
            for name, n in theirs.items():
                _add(mine, name, n)
        for name in ("files", "bytes", "seconds", "removed", "freed_bytes", "free_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons += [reason for reason in other.reasons if reason not in self.reasons]
        self.longest_hold_seconds = max(self.longest_hold_seconds, other.longest_hold_seconds)
        self.gives_back = self.gives_back and other.gives_back
        self.dry_run = self.dry_run or other.dry_run

    @property
    def is_complete(self) -> bool:
        """Whether everything that may go went."""
        return not {OUT_OF_TIME, BUSY}.intersection(self.reasons)


OUT_OF_TIME = "the time was over; the next run goes on from there"
BUSY = "another process archives at this moment"
STAYING = "they belong to executions that run, or may still be healed or judged, or are not counted yet"


class _Changed(AnalyticsError):
    """Rows of a portion went or changed while their file was written."""


class Archiver:
    """Archives one store. For one thread; the sink is this archiver's own."""

    def __init__(
        self,
        sink: SqlSink,
        folder: Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        portion_rows: int = PORTION_ROWS,
        rest_seconds: float = 0.0,
        gate: AbstractContextManager[object] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Archived], None] | None = None,
    ) -> None:
        """`rest_seconds`: after each thousand rows others of this process have the interpreter for so long. `gate` is
        held while something is written to the database. `on_progress` is called after each portion."""
        self._sink, self._folder, self._clock = sink, folder, clock
        self._portion_rows, self._rest_seconds = portion_rows, rest_seconds
        self._gate = gate if gate is not None else threading.RLock()
        self._should_stop = should_stop
        self._on_progress = on_progress
        self._reader = SqlReader(sink.engine, sink.tables)

    def run(self, before_ns: int, *, max_seconds: float | None = None, dry_run: bool = False) -> Archived:
        """Archive what began before an instant and may go.

        Raises:
            ArchiveError: a library is missing, or the folder gives back something else than was written to it.
            SinkUnavailable, SinkMisconfigured: what went so far is archived, and the next run goes on from there.
            OSError: the folder cannot be written.
        """
        began = time.monotonic()
        until = None if max_seconds is None else began + max_seconds
        done = Archived(before_ns, dry_run=dry_run)
        if dry_run:
            self._work(done, until, self._count)
        else:
            require_pyarrow()
            self._sink.open()
            make_private_folder(self._folder, self._folder)
            with try_lock(self._folder) as alone:
                if alone:
                    self._clear(done)
                    self._work(done, until, self._move)
                    self._give_back(done)
                else:
                    done.reasons.append(BUSY)
        done.seconds = time.monotonic() - began
        return done

    # ---------------------------------------------------------------- the run

    def _work(self, done: Archived, until: float | None, treat: Callable[[Portion, Bounds, Archived], None]) -> None:
        tables = self._sink.tables
        with self._reader.reading() as connection:
            bounds = take_bounds(connection, tables, done.before_ns)
        for portion in portions(self._reader.reading, tables, done.before_ns, self._portion_rows):
            if self._should_stop() or (until is not None and time.monotonic() >= until):
                done.reasons.append(OUT_OF_TIME)
                break
            treat(portion, bounds, done)
            if self._on_progress is not None:
                self._on_progress(done)
        self._count_left(done)

    def _count(self, portion: Portion, bounds: Bounds, done: Archived) -> None:
        """In a dry run: count what would go."""
        with self._reader.reading() as connection:
            where = self._choose(connection, portion, bounds)
            n = connection.execute(select(func.count()).select_from(portion.table).where(*where)).scalar_one()
        _add(done.rows, self._name(portion), n)

    def _move(self, portion: Portion, bounds: Bounds, done: Archived) -> None:
        """Archive one portion."""
        for _ in range(_TRIES):
            try:
                self._try_to_move(portion, bounds, done)
                return
            except _Changed:
                continue  # because what changed is not chosen again
        done.reasons.append(f"rows of {portion.day} changed again and again")

    def _try_to_move(self, portion: Portion, bounds: Bounds, done: Archived) -> None:
        tables, name = self._sink.tables, self._name(portion)
        with self._reader.reading() as connection:
            where = self._choose(connection, portion, bounds)
            if connection.execute(select(portion.table.c.seq).where(*where).limit(1)).first() is None:
                return
        path = f"{name}/day={portion.day}/part-{secrets.token_hex(8)}.parquet"
        with self._writing() as connection:
            announce(connection, tables, path, name, portion.day)
        try:
            rows = self._read(portion, where)
            times = rows[time_of(portion.table).name]
            first_ns, last_ns = (times[0].as_py(), times[-1].as_py()) if rows.num_rows else (0, 0)
            file = ArchiveFile(path, name, portion.day, rows.num_rows, first_ns, last_ns, "", 0)
            file = write_file(self._folder, file, rows)
            self._swap(portion, where, file, done)
        except BaseException:
            self._forget(path)
            raise
        done.files += 1
        done.bytes += file.bytes
        _add(done.rows, name, file.rows)
        time.sleep(PAUSE_SECONDS)

    def _choose(self, connection: Connection, portion: Portion, bounds: Bounds) -> Conditions:
        """The conditions under which rows of a portion go."""
        tables = self._sink.tables
        sources = sources_in(connection, tables, portion)
        where = may_go(tables, portion, bounds, sources, [])
        if not bounds.staying or "execution_id" not in portion.table.c:
            return where
        named = select(portion.table.c.execution_id).distinct().where(*where)
        staying = sorted(bounds.staying.intersection(connection.execute(named).scalars()))
        return may_go(tables, portion, bounds, sources, staying)

    def _read(self, portion: Portion, where: Conditions) -> Any:
        asked = select(portion.table).where(*where).order_by(time_of(portion.table))
        with self._reader.reading() as connection:
            chunks = connection.execute(asked, execution_options={"yield_per": ROWS_A_CHUNK}).partitions()
            return to_arrow(portion.table, chunks, self._rest_seconds)

    def _swap(self, portion: Portion, where: Conditions, file: ArchiveFile, done: Archived) -> None:
        """Have the file believed and its rows deleted, both or neither.

        Raises:
            _Changed: these are not the rows any more that the file holds.
        """
        with self._gate, self._sink.transaction() as connection:
            began = time.monotonic()
            believed = confirm(connection, self._sink.tables, file, self._clock.time_ns())
            if not believed or connection.execute(delete(portion.table).where(*where)).rowcount != file.rows:
                raise _Changed("nothing was deleted, and the file is not believed")
        done.longest_hold_seconds = max(done.longest_hold_seconds, time.monotonic() - began)

    # ---------------------------------------------------------------- what goes before and behind

    def _clear(self, done: Archived) -> None:
        """Remove what a run has left that died: its files are named, and nobody believes them."""
        with self._reader.reading() as connection:
            unfinished = find_unfinished(connection, self._sink.tables)
        for path in unfinished:
            # The announcement first, because another host's archiver may be at work on it: then it finds it gone.
            with self._writing() as connection:
                ours = take_back(connection, self._sink.tables, path)
            if ours:
                remove_file(self._folder, path)
                done.removed += 1

    def _forget(self, path: str) -> None:
        """Take back an announcement and remove its file, unless the file is believed all the same: then only the
        answer to the commit was lost."""
        with suppress(AnalyticsError, OSError):  # because what is told is why; the next run clears the rest
            with self._writing() as connection:
                take_back(connection, self._sink.tables, path)
                believed = is_believed(connection, self._sink.tables, path)
            if not believed:
                remove_file(self._folder, path)

    def _count_left(self, done: Archived) -> None:
        tables = self._sink.tables
        with self._reader.reading() as connection:
            for table in (tables.executions, tables.steps, tables.recoveries, tables.resource_samples):
                where = between(tables, table, -(1 << 63), done.before_ns)
                n = connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
                name = table.name.removeprefix(tables.prefix)
                if done.dry_run:
                    n -= done.rows.get(name, 0)
                _add(done.left, name, n)
        if done.left and OUT_OF_TIME not in done.reasons:
            done.reasons.append(STAYING)

    def _give_back(self, done: Archived) -> None:
        space = give_back(self._sink, self._gate, should_stop=self._should_stop)
        done.freed_bytes, done.free_bytes, done.gives_back = space

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._gate, self._sink.transaction() as connection:
            yield connection

    def _name(self, portion: Portion) -> str:
        return portion.table.name.removeprefix(self._sink.tables.prefix)


def _add(counts: dict[str, int], name: str, n: int) -> None:
    if n:
        counts[name] = counts.get(name, 0) + n
