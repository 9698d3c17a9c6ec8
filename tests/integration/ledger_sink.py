"""A sink in one SQLite file, written out as the protocol says it: real transactions between real processes.

Kept apart from the product's own sinks, so that these tests judge the journal and the shipper alone.
"""

import os
import sqlite3
from pathlib import Path

from analytics_sdk.errors import Fenced, RejectedRecord, SinkUnavailable
from analytics_sdk.rollup import Cells, encode_nodes
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions

TABLES = """
CREATE TABLE IF NOT EXISTS positions (journal TEXT PRIMARY KEY, n INT, rollups INT, settled INT);
CREATE TABLE IF NOT EXISTS steps
    (journal TEXT, seq INT, node TEXT, status TEXT, end_seq INT, PRIMARY KEY (journal, seq));
CREATE TABLE IF NOT EXISTS losses (journal TEXT, kind TEXT, reason TEXT, n INT, PRIMARY KEY (journal, kind, reason));
CREATE TABLE IF NOT EXISTS cells (journal TEXT, n INT, workflow TEXT, hour INT, nodes BLOB);
"""


class LedgerSink:
    """Keeps steps, losses, positions and cells."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self.refused: str | None = None
        """A node id that this sink refuses."""
        self.is_down = False
        self.connection: sqlite3.Connection | None = None

    def open(self) -> None:
        if self.is_down:
            raise SinkUnavailable("down")
        fresh = not os.path.exists(self.path)
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        if fresh:
            self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.executescript(TABLES)

    def position(self, journal: JournalIdentity) -> Positions:
        if self.is_down:
            raise SinkUnavailable("down")
        db = self._db()
        db.execute("INSERT OR IGNORE INTO positions VALUES (?, 0, 0, 0)", (journal.journal_id,))
        rows, rollups, settled = db.execute(
            "SELECT n, rollups, settled FROM positions WHERE journal = ?", (journal.journal_id,)
        ).fetchone()
        return Positions(rows, rollups, bool(settled))

    def write(self, batch: Batch) -> None:
        if self.is_down:
            raise SinkUnavailable("down")
        if any(row[5] == self.refused for row in batch.new_steps + batch.late_steps):
            raise RejectedRecord(f"{self.refused} is refused")
        db = self._db()
        me = batch.journal.journal_id
        db.execute("BEGIN IMMEDIATE")
        try:
            moved = db.execute(
                "UPDATE positions SET n = ?, settled = ? WHERE journal = ? AND n = ? AND NOT settled",
                (batch.new_position, batch.settle_as is not None, me, batch.old_position),
            ).rowcount
            if moved != 1:
                raise Fenced("another shipper was faster")
            db.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?)",
                [(me, row[0], row[5], row[7], row[14]) for row in batch.new_steps],
            )
            db.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status,"
                " end_seq = coalesce(excluded.end_seq, end_seq)",
                [(me, row[0], row[5], row[7], row[14]) for row in batch.late_steps],
            )
            db.executemany(
                "INSERT INTO losses VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " n = iif(reason IN ('damaged', 'rejected'), n, 0) + excluded.n",
                [(me, *row[:3]) for row in batch.losses],
            )
            if batch.settle_as is not None:
                db.execute(
                    "UPDATE steps SET status = ? WHERE journal = ? AND status = 'running'", (batch.settle_as, me)
                )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        if self.is_down:
            raise SinkUnavailable("down")
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            moved = db.execute(
                "UPDATE positions SET rollups = ? WHERE journal = ? AND rollups = ?",
                (new_position, journal.journal_id, old_position),
            ).rowcount
            if moved != 1:
                raise Fenced("another shipper was faster")
            db.executemany(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?)",
                [
                    (journal.journal_id, new_position, workflow, hour, encode_nodes(nodes))
                    for (workflow, hour), nodes in cells.items()
                ],
            )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _db(self) -> sqlite3.Connection:
        assert self.connection is not None, "the shipper must open a sink before it uses it"
        return self.connection


def ask(path: Path | str, query: str) -> list[tuple[object, ...]]:
    """What the database answers."""
    db = sqlite3.connect(str(path), timeout=30)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()
