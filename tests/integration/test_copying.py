"""A store copied into another says the same, however often the copying was cut off, and delivery goes on there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import analytics_sdk.copying as copying
from analytics_sdk.cli import main
from analytics_sdk.copying import copy_store, keyed_tables
from analytics_sdk.errors import SinkMisconfigured
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.query.query import Query
from analytics_sdk.rollup import HOUR_NS
from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import Kind

T0_NS = 1_767_225_600_000_000_000
END_NS = T0_NS + 3 * HOUR_NS


class Host:
    """A journal that executions are written to, and shipped from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = JournalWriter(folder, min_free_bytes=0)
        self.n = 0

    def run(self, executions: int) -> None:
        """Executions of three steps: one succeeds, one fails, one fails and is healed; the last of all still runs."""
        append = self.writer.append
        for _ in range(executions):
            self.n += 1
            run, at = f"run-{self.n}", T0_NS + self.n * 60_000_000_000
            began = append(Kind.EXECUTION_START, (run, "checkout", at, 3, None, None, {"shop": "Köln"}))
            for no, (node, status) in enumerate((("open", 0), ("pay", 3), ("ship", 3)), 1):
                head = (run, "checkout", no, node, "click", at + no)
                step = append(Kind.STEP_START, head)
                tail = (status, 5_000_000 * no, None, None if status == 0 else "LookupError", "no button", None)
                append(Kind.STEP_END, (step, *head, *tail))
                if node == "ship":
                    append(Kind.RECOVERY, (run, "checkout", no, node, "retry", True, at + 9, 7_000_000, None, None))
                    append(Kind.STEP_END, (step, *head, 1, *tail[1:], 3))
            append(Kind.SAMPLE, (at, 12.5, 1 << 20, 10, 20, 30.0, 1 << 30, 2 << 30, None))
            append(Kind.EXECUTION_END, (began, run, "checkout", at, 0, 60_000_000, 2, 1, 1, 3))
        append(Kind.EXECUTION_START, (f"open-{self.n}", "checkout", T0_NS, 3))

    def ship(self, url: str) -> None:
        assert ship_once(self.folder, [lambda: SqlSink(url)]).problems == []


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "journals")
    yield host
    host.writer.release()


def sink(url: str) -> SqlSink:
    made = SqlSink(url)
    made.upgrade()
    made.open()
    return made


def said(store: SqlSink) -> dict[str, Any]:
    """What a store answers, without what differs by the moment of asking."""
    stats: dict[str, Any] = Query(store).stats(start_ns=T0_NS, end_ns=END_NS, now_ns=END_NS)
    stats["running"] = [run["execution_id"] for run in stats["running"]]
    return stats


def counts(store: SqlSink) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in keyed_tables(store.tables)
        }


def test_a_copy_in_postgresql_says_what_the_sqlite_file_says(tmp_path: Path, host: Host, postgres_url: str) -> None:
    """Every row, rollup and loss; and back again; with the same checksums everywhere."""
    url = f"sqlite:///{tmp_path}/a.db"
    host.run(100)
    host.ship(url)
    here, there, back = sink(url), sink(postgres_url), sink(f"sqlite:///{tmp_path}/b.db")
    try:
        seen: list[tuple[int, int]] = []
        first = copy_store(here, there, lambda *at: seen.append(at))
        assert (first.journals, first.ahead) == (1, [])
        assert {name: table.copied for name, table in first.tables.items()} == counts(here) == counts(there)
        rows = sum(counts(here).values())
        assert seen[-1] == (rows, rows)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        second = copy_store(there, back)
        assert [table.checksum for table in first.tables.values()] == [t.checksum for t in second.tables.values()]
        again = said(here)
        assert again["success_rate"]["n"] == 100
        assert again["recovery"]["succeeded"] == 100
        assert str(again) == str(said(there)) == str(said(back))
    finally:
        for store in (here, there, back):
            store.close()


def test_a_copy_that_was_cut_off_goes_on_and_is_right_in_between(
    tmp_path: Path, host: Host, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after every block: each run goes a block further, and statistics never count anything twice."""
    monkeypatch.setattr(copying, "BLOCK_ROWS", 30)
    url = f"sqlite:///{tmp_path}/a.db"
    host.run(40)
    host.ship(url)
    here, there = sink(url), sink(postgres_url)
    runs, stood = 0, 0
    try:
        while True:
            budget = runs + 1

            def cut(*_: Any) -> None:
                nonlocal budget
                budget -= 1
                if not budget:
                    raise KeyboardInterrupt

            runs += 1
            try:
                copied = copy_store(here, there, cut)
                break
            except KeyboardInterrupt:
                now = sum(counts(there).values())
                assert now > stood
                stood = now
                assert said(there)["success_rate"]["n"] <= 40
        assert runs > 5
        assert sum(table.copied for table in copied.tables.values()) <= 30
        assert str(said(there)) == str(said(here))
    finally:
        here.close()
        there.close()


def test_a_second_copy_brings_only_what_came_or_changed_meanwhile(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New rows, and the end of what ran at the first copy."""
    monkeypatch.setattr(copying, "BLOCK_ROWS", 50)
    url = f"sqlite:///{tmp_path}/a.db"
    host.run(200)
    host.ship(url)
    here, there = sink(url), sink(f"sqlite:///{tmp_path}/b.db")
    try:
        first = copy_store(here, there)
        assert sum(table.copied for table in first.tables.values()) == 201 + 600 + 200 + 200
        host.run(1)
        host.writer.release()
        host.ship(url)
        second = copy_store(here, there)
        assert 0 < sum(table.copied for table in second.tables.values()) <= 4 * 2 * 50
        assert str(said(there)) == str(said(here))
        assert sum(table.copied for table in copy_store(here, there).tables.values()) == 0
    finally:
        here.close()
        there.close()


def test_delivery_goes_on_in_the_copy_where_it_stopped(tmp_path: Path, host: Host, postgres_url: str) -> None:
    """The same journal, shipped to the other URL: each record once, and the old store cannot be copied over it."""
    url = f"sqlite:///{tmp_path}/a.db"
    host.run(20)
    host.ship(url)
    here, there = sink(url), sink(postgres_url)
    try:
        copy_store(here, there)
        host.run(20)
        host.writer.release()
        host.ship(postgres_url)
        stats = said(there)
        assert (stats["success_rate"]["n"], stats["success_rate"]["succeeded"]) == (42, 40)
        assert counts(there)["steps"] == 120
        after = copy_store(here, there)
        assert len(after.ahead) == 1
        assert str(said(there)) == str(stats)
    finally:
        here.close()
        there.close()


def test_the_command_copies_tells_what_it_did_and_says_no_when_the_target_is_ahead(
    tmp_path: Path, host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user types it; a second time it copies nothing; a file that is not there is not made."""
    here, there = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"

    def command() -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr("sys.argv", ["analytics-sdk", "db", "copy", "--db", here, "--to", there, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    code, said = command()
    assert (code, "there is no database" in said["error"]["message"]) == (3, True)
    assert not (tmp_path / "a.db").exists()
    host.run(10)
    host.ship(here)
    code, said = command()
    assert (code, said["journals"], said["ahead"]) == (0, 1, [])
    assert {name: (table["rows"], table["copied"]) for name, table in said["tables"].items()} == {
        "executions": (11, 11),
        "steps": (30, 30),
        "recoveries": (10, 10),
        "resource_samples": (10, 10),
    }
    assert {table["copied"] for table in command()[1]["tables"].values()} == {0}
    host.run(1)
    host.ship(there)
    code, said = command()
    assert (code, len(said["ahead"])) == (1, 1)


def test_a_store_is_not_copied_into_itself(tmp_path: Path) -> None:
    here = sink(f"sqlite:///{tmp_path}/a.db")
    try:
        with pytest.raises(SinkMisconfigured, match="same database"):
            copy_store(here, sink(f"sqlite:///{tmp_path}/a.db"))
    finally:
        here.close()
