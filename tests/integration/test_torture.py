"""Promise 2 under a short torture: hosts and shippers are killed at random and at every named instant."""

import random
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))

from analytics_sdk.sinks.sql import SqlSink
from torture import Torture

FIRST = "(source, seq) IN (SELECT source, seq FROM {} LIMIT 1)"
DAMAGES = {
    "a step is missing": (f"DELETE FROM steps WHERE {FIRST.format('steps')}", "rollups say"),
    "a recovery is missing": (f"DELETE FROM recoveries WHERE {FIRST.format('recoveries')}", "rollups say"),
    "a step is there twice": (
        f"INSERT INTO steps SELECT source, -seq, {{rest}} FROM steps WHERE {FIRST.format('steps')}",
        "twice",
    ),
    "an execution seems to run": (
        f"UPDATE executions SET status = 'running' WHERE {FIRST.format('executions')}",
        "running",
    ),
    "rollups are missing": ("DELETE FROM rollups", "rollups say"),
    "something was lost": ("INSERT INTO losses VALUES (1, 'step_end', 'quota', 1, 1, 1)", "losses"),
}
"""What is done to the database -> (how, a word of what the torture says then)."""


def torture(folder: Path, sink: str, kills: int) -> Torture:
    made = SqlSink(sink)
    made.upgrade()
    made.close()
    run = Torture(folder, sink, seed=random.randrange(1 << 30))
    try:
        run.run(kills, mean_events=300)
    finally:
        run.close()
    return run


def test_thirty_kills_lose_nothing_and_double_nothing_in_sqlite(tmp_path: Path) -> None:
    """Each host counts for itself what had returned; the database has all of it, once, and at most one call more."""
    run = torture(tmp_path, f"sqlite:///{tmp_path}/analytics.db", 30)
    assert run.outcome.wrong == []
    assert run.outcome.kills.total() - run.outcome.kills["shipper"] == 30
    assert run.outcome.acknowledged > 1000


def test_twenty_kills_lose_nothing_and_double_nothing_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """The same with a server, whose transactions outlive the process that began them."""
    run = torture(tmp_path, postgres_url, 20)
    assert run.outcome.wrong == []
    assert run.outcome.acknowledged > 1000


def test_the_torture_would_notice_one_event_too_few_and_one_too_many(tmp_path: Path) -> None:
    """A check that cannot fail would prove nothing."""
    file, whole = tmp_path / "analytics.db", tmp_path / "whole.db"
    run = torture(tmp_path, f"sqlite:///{file}", 8)
    assert run.outcome.wrong == []
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        columns = [row[1] for row in database.execute("PRAGMA table_info(steps)")]
    shutil.copy(file, whole)
    for damage, (how, word) in DAMAGES.items():
        shutil.copy(whole, file)
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            rest = ", ".join(name for name in columns if name not in ("source", "seq"))
            assert database.execute(how.format(rest=rest)).rowcount >= 1, damage
        run.outcome.wrong = []
        run.judge()
        assert any(word in line for line in run.outcome.wrong), (damage, run.outcome.wrong)
