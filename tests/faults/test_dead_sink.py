"""One of two sinks is away until the journals are full: it alone loses something, and what it loses is counted."""

import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk.journal.gaps import gaps_in, page_with_gap
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.owner import SIZE, owner_path
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.rollup import decode_nodes
from analytics_sdk.shipper.once import ship_once
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks import make_sink
from analytics_sdk.testing import FailingSink
from analytics_sdk.vocabulary import Kind

QUOTA = 1 << 20
STEP = ("e", "w", 1, "pay", "click")


class Line:
    """A host with two sinks; `away` is down from the beginning, or when it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {name: folder.parent / f"{name}.db" for name in ("here", "away")}
        self.here, self.away = (FailingSink(make_sink(f"sqlite:///{file}")) for file in self.files.values())
        self.writer = JournalWriter(folder, max_bytes=QUOTA, min_free_bytes=0)
        self.shipper = Shipper(folder, [lambda: self.here, lambda: self.away], self.writer)
        self.recorded = 0
        self.began_at_ns = time.time_ns()

    def record(self, steps: int) -> None:
        for n in range(steps):
            at_ns = time.time_ns()
            start = self.writer.append(Kind.STEP_START, (*STEP, at_ns))
            self.writer.append(Kind.STEP_END, (start, *STEP, at_ns, 0, 5))
            if n % 250 == 0:
                self.turn()
        self.recorded += steps
        self.turn()

    def turn(self) -> None:
        self.shipper.fleet.hurry()
        self.shipper._turn()

    def fail(self) -> None:
        self.away.fail(1_000_000, at="write")
        self.away.fail(1_000_000, at="fold")
        self.away.fail(1_000_000, at="position")

    def mend(self) -> None:
        self.away.mend()
        assert self.shipper.flush(20)

    def close(self) -> None:
        self.shipper.close(5)
        self.writer.release()


def ask(line: Line, name: str, question: str) -> list[Any]:
    with closing(sqlite3.connect(line.files[name])) as database:
        return database.execute(question).fetchall()


def statuses(line: Line, name: str) -> dict[str, int]:
    return dict(ask(line, name, "SELECT status, count(*) FROM steps GROUP BY 1"))


def ended(line: Line, name: str) -> int:
    """Steps that this database has."""
    return statuses(line, name).get("success", 0)


def lost(line: Line, name: str) -> dict[str, int]:
    """What this database says that it lacks."""
    return dict(ask(line, name, "SELECT kind || ' ' || reason, sum(n) FROM losses GROUP BY 1"))


def counted(line: Line, name: str) -> int:
    """Steps in the rollups of this database."""
    cells = [decode_nodes(blob) for (blob,) in ask(line, name, "SELECT cells FROM rollups")]
    return sum(cell.ended[0] for nodes in cells for node, cell in nodes.items() if node)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path / "journals")


@pytest.mark.parametrize("delivered_before", [0, 3_000])
def test_a_sink_that_is_away_until_the_quota_is_reached_loses_for_itself_alone(
    line: Line, delivered_before: int
) -> None:
    """The other has all of more than twice the quota; the one that was away has the rest, once, and the exact
    count of what it lacks."""
    if delivered_before:
        line.record(delivered_before)
        assert line.shipper.flush(10)
    line.fail()
    line.record(30_000)
    assert line.shipper.flush(0.1) is False
    assert line.writer.losses() == []
    assert ended(line, "here") == line.recorded
    assert lost(line, "here") == {}
    assert sum(path.stat().st_size for path in line.folder.iterdir()) <= QUOTA
    line.mend()
    line.record(100)
    assert line.shipper.flush(10)
    kept, missing = ended(line, "away"), lost(line, "away")
    assert delivered_before <= kept < line.recorded
    assert kept + missing["step_end outage"] == line.recorded
    line.shipper.fleet.fold()
    assert counted(line, "away") == kept
    assert counted(line, "here") == line.recorded
    (first, last) = ask(line, "away", "SELECT min(first_at_ns), max(last_at_ns) FROM losses")[0]
    assert line.began_at_ns <= first <= last <= time.time_ns()
    line.close()


def test_a_sink_that_is_away_twice_is_told_of_both_times_once(line: Line) -> None:
    """Each stretch that it lacks is counted when it comes to it, however often it is asked again."""
    for _ in range(2):
        line.fail()
        line.record(15_000)
        line.mend()
        line.mend()
    assert ended(line, "away") + lost(line, "away")["step_end outage"] == line.recorded
    assert ended(line, "here") == line.recorded
    line.close()


def test_what_was_given_up_is_counted_also_when_the_host_is_killed_meanwhile(line: Line, tmp_path: Path) -> None:
    """The count stands in the journal: who delivers the rest, delivers it."""
    line.fail()
    line.record(20_000)
    line.writer.release()  # as a death does: the lock goes, the files stay
    line.away.mend()
    shipment = ship_once(line.folder, [lambda: line.here, lambda: line.away])
    assert (shipment.unfinished, find_journals(line.folder)) == (0, [])
    assert ended(line, "here") == line.recorded
    kept = ended(line, "away")
    assert kept + lost(line, "away")["step_end outage"] == line.recorded
    assert counted(line, "away") == kept


def test_journals_of_the_dead_are_judged_in_the_sinks_that_have_them_and_given_up_for_the_others(line: Line) -> None:
    """Short-lived programs whose second sink is away for days: their journals must not fill the quota for ever."""
    line.fail()
    for _ in range(12):
        writer = JournalWriter(line.folder, min_free_bytes=0)
        for _ in range(500):
            start = writer.append(Kind.STEP_START, (*STEP, time.time_ns()))
            writer.append(Kind.STEP_END, (start, *STEP, time.time_ns(), 0, 5))
        writer.append(Kind.STEP_START, (*STEP, time.time_ns()))
        writer.release()
        line.shipper._orphans_due = 0.0
        line.turn()
    assert ended(line, "here") == 6_000
    assert statuses(line, "here") == {"success": 6_000, "crashed": 12}
    assert sum(path.stat().st_size for path in line.folder.iterdir()) <= QUOTA
    line.record(100)
    assert line.writer.losses() == []
    line.away.mend()
    line.shipper._orphans_due = 0.0
    line.turn()
    assert find_journals(line.folder) == [line.writer.identity.journal_id] if line.writer.identity else False
    assert ended(line, "away") + lost(line, "away")["step_end outage"] == 6_100
    assert lost(line, "away")["step_end outage"] > 0
    line.close()


def test_with_on_full_block_nothing_is_given_up(line: Line) -> None:
    """Who chose to wait for room rather than to lose something, waits."""
    line.writer.on_full = "block"
    line.fail()
    line.record(8_000)
    reader = JournalReader(line.folder, find_journals(line.folder)[0])
    assert reader.segments()[0] == 0
    reader.close()
    line.mend()
    assert ended(line, "away") == line.recorded
    assert lost(line, "away") == {}
    line.close()


def test_a_note_without_its_removal_is_not_made_twice(line: Line) -> None:
    """Killed between the note and the removal: the segment counts as given up, and is removed by the next."""
    line.fail()
    line.record(3_000)
    assert line.writer.identity is not None
    path = owner_path(line.folder, line.writer.identity.journal_id)
    reader = JournalReader(line.folder, line.writer.identity.journal_id)
    noted = page_with_gap(path.read_bytes(), 0, {Kind.STEP_END: 7}, 1, 2)
    assert noted is not None
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), noted[1088:2048], 1088)
    assert reader.give_up(0, {Kind.STEP_END: 9}, 1, 2)
    assert [(gap.first, gap.behind, sum(gap.counts)) for gap in gaps_in(path.read_bytes())] == [(0, 1, 7)]
    assert 0 not in reader.segments()
    reader.close()
    line.mend()
    assert lost(line, "away") == {"step_end outage": 7}
    line.close()


def test_gaps_that_touch_are_one_and_what_does_not_fit_is_not_given_up() -> None:
    """The room for them is reserved in the owner file, and ends."""
    page: bytes | None = bytes(SIZE)
    for n in (3, 4, 5):
        page = page_with_gap(page, n, {Kind.SAMPLE: n, 99: 1}, n, n)
        assert page is not None
    (gap,) = gaps_in(page)
    assert (gap.first, gap.behind, sum(gap.counts), gap.first_at_ns, gap.last_at_ns) == (3, 6, 15, 3, 5)
    n = 7
    while (more := page_with_gap(page, n, {Kind.SAMPLE: 1}, n, n)) is not None:
        page, n = more, n + 2
    assert len(gaps_in(page)) == 17
    assert page[2048:] == bytes(SIZE - 2048)


DAEMON = """
    import sys
    from pathlib import Path
    from analytics_sdk.journal.quota import Quota
    from analytics_sdk.shipper.once import ship_forever
    from analytics_sdk.sinks import make_sink
    folder, file = Path(sys.argv[1]), sys.argv[2]
    sinks = [lambda: make_sink(f"sqlite:///{file}"), lambda: make_sink("postgresql+psycopg://u@127.0.0.1:1/d")]
    passes = []
    ship_forever(folder, sinks, interval_seconds=0.01, should_stop=lambda: len(passes) > 3, on_pass=passes.append,
                 quota=Quota(1 << 20, 0))
    print(passes[-1].living, passes[-1].problems != [])
"""


def test_a_shipping_process_gives_up_what_a_dead_sink_lacks_too(tmp_path: Path) -> None:
    """`analytics-sdk ship` beside a running host whose second database is away."""
    writer = JournalWriter(tmp_path / "journals", max_bytes=1 << 20, min_free_bytes=0)
    for _ in range(8_000):
        start = writer.append(Kind.STEP_START, (*STEP, 1))
        writer.append(Kind.STEP_END, (start, *STEP, 1, 0, 5))
        if writer.position % 64 == 0:
            writer.maintain()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DAEMON), str(tmp_path / "journals"), str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("1 True\n", 0), done.stderr
    assert writer.identity is not None
    (gap,) = gaps_in(owner_path(writer.folder, writer.identity.journal_id).read_bytes())
    assert gap.first == 0
    writer.release()
