"""A disk without room: no SIGBUS, no exception, and everything that could not be kept is counted and told of."""

import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

from small_disk import run_on_small_disk

from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks import make_sink

START = """
    import json, os, sys
    from pathlib import Path
    from analytics_sdk import guard
    from analytics_sdk.journal.listing import find_journals
    from analytics_sdk.journal.reader import JournalReader
    from analytics_sdk.journal.writer import JournalWriter
    disk, room = Path(sys.argv[1]), Path(sys.argv[2])
    END = (-1, "e", "w", 1, "pay", "click", 1, 0, 5)
    def fill():
        with open(disk / "ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    def read_all(writer):
        reader = JournalReader(writer.folder, writer.identity.journal_id)
        try:
            return reader.read(0, final=True, max_records=10**6, max_bytes=1 << 30)
        finally:
            reader.close()
"""


def test_a_disk_that_is_full_from_the_beginning_costs_records_and_one_warning_until_there_is_room(
    tmp_path: Path,
) -> None:
    """Nothing raises; what is lost is counted in memory, and the count is in the journal once there is one."""
    said = run_on_small_disk(
        START
        + """
    import logging
    logged = []
    class Keep(logging.Handler):
        def emit(self, record): logged.append(record.getMessage())
    logging.getLogger("analytics_sdk").addHandler(Keep())
    fill()
    writer = JournalWriter(disk / "journals", min_free_bytes=0)
    lost = sum(writer.append(4, END) == -1 for _ in range(1000))
    left = [path.name for path in disk.rglob("*.seg")]
    os.unlink(disk / "ballast")
    writer.maintain()
    kept = sum(writer.append(4, END) >= 0 for _ in range(1000))
    stretch = read_all(writer)
    counted = JournalReader(writer.folder, writer.identity.journal_id).losses()
    print(json.dumps([lost, left, kept, len(stretch.records), [[c.kind, c.reason, c.n] for c in counted], len(logged)]))
    """,
        tmp_path / "disk",
        "1m",
    )
    assert said == [1000, [], 1000, 1000, [["step_end", "disk", 1000]], 1]


def test_a_disk_that_fills_up_at_a_rotation_kills_nobody_and_leaves_no_half_file(tmp_path: Path) -> None:
    """A segment is allocated before it is mapped: the records of the spare are kept, later ones counted."""
    said = run_on_small_disk(
        START
        + """
    writer = JournalWriter(disk / "journals", min_free_bytes=0)
    asked = kept = 0
    for turn in range(400):
        for _ in range(100):
            asked += 1
            kept += writer.append(4, END) >= 0
        writer.maintain()
    stretch = read_all(writer)
    sizes = [path.stat().st_size for path in sorted((disk / "journals").glob("*.seg"))]
    lost = sum(loss.n for loss in writer.losses())
    print(json.dumps([asked, kept, len(stretch.records), stretch.damages, lost, sizes,
                      sorted({loss.reason for loss in writer.losses()})]))
    """,
        tmp_path / "disk",
        "1m",
    )
    asked, kept, read, damages, lost, sizes, reasons = said
    assert (asked, read, damages, reasons) == (40_000, kept, [], ["disk"])
    assert 0 < kept < asked
    assert kept + lost == asked
    assert sizes == [256 << 10, 512 << 10]


def test_losses_on_a_full_disk_are_delivered_with_the_rest_when_there_is_room_again(tmp_path: Path) -> None:
    """The journal's disk is full, the database's is not: rows and counts arrive, and delivery itself makes room."""
    said = run_on_small_disk(
        START
        + """
    from analytics_sdk.shipper.shipper import Shipper
    from analytics_sdk.sinks import make_sink
    import sqlite3
    url = f"sqlite:///{room}/a.db"
    writer = JournalWriter(disk / "journals", min_free_bytes=0)
    shipper = Shipper(disk / "journals", [lambda: make_sink(url)], writer)
    first = [writer.append(4, END) >= 0 for _ in range(40_000)]
    assert shipper.flush(10)
    shipper.fleet.fold()
    shipper._turn()
    writer.maintain()
    second = [writer.append(4, END) >= 0 for _ in range(100)]
    assert shipper.flush(10)
    shipper.close(5)
    db = sqlite3.connect(room / "a.db")
    rows = db.execute("select count(*) from steps").fetchone()[0]
    losses = db.execute("select kind, reason, n from losses").fetchall()
    db.close()
    print(json.dumps([sum(first), sum(second), rows, losses]))
    """,
        tmp_path / "disk",
        "1m",
    )
    first, second, rows, losses = said
    assert 0 < first < 40_000
    assert second == 100
    assert rows == first + second
    assert losses == [["step_end", "disk", 40_000 - first]]


FILL_THE_QUOTA_AND_DIE = """
    import os, sys
    from analytics_sdk import configure, track_step, track_workflow
    system = configure(sink=sys.argv[1], journal_max_bytes=1 << 20)
    kept = 0
    with track_workflow(workflow_id="w"):
        for turn in range(120):
            for _ in range(100):
                with track_step(node_id="s"): pass
            system.writer.maintain()
        print(sum(loss.n for loss in system.writer.losses()), flush=True)
        os.kill(os.getpid(), 9)
"""


def analytics(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "analytics_sdk", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_losses_at_the_quota_survive_a_kill_and_every_answer_tells_of_them(tmp_path: Path) -> None:
    """The database is locked, the quota is reached, the host is killed: afterwards `ship` delivers what was kept with
    the counts of the rest, and `stats`, the report and `doctor` tell of them."""
    file = tmp_path / "analytics.db"
    url = f"sqlite:///{file}"
    made = make_sink(url)
    made.open()
    made.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FILL_THE_QUOTA_AND_DIE), url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == -signal.SIGKILL
    lost = int(done.stdout)
    assert lost > 0
    assert ship_once(tmp_path / "analytics.db.journals", [lambda: make_sink(url)]).problems == []
    with closing(sqlite3.connect(file)) as database:
        counts = dict(database.execute("SELECT kind, n FROM losses WHERE reason = 'quota'"))
        steps = database.execute("SELECT count(*) FROM steps WHERE status = 'success'").fetchone()[0]
    assert sum(counts.values()) == lost
    assert steps + counts["step_end"] == 12_000
    stats: dict[str, Any] = json.loads(analytics(tmp_path, "stats", "--json", "--db", url).stdout)
    assert stats["data_complete"] is False
    assert sum(loss["n"] for loss in stats["losses"]) == lost
    report = tmp_path / "r.html"
    assert analytics(tmp_path, "report", "--db", url, "--out", str(report)).returncode == 0
    assert "the journal was full" in report.read_text("utf-8")
    doctor = analytics(tmp_path, "doctor", "--db", url)
    assert "raise journal_max_bytes" in doctor.stdout


def test_a_database_on_a_full_disk_takes_no_part_of_a_batch_and_all_of_it_later(tmp_path: Path) -> None:
    """SQLite says that the disk is full: the batch is rolled back, tried again, and stored once."""
    said = run_on_small_disk(
        START
        + """
    from analytics_sdk.shipper.shipper import Shipper
    from analytics_sdk.sinks import make_sink
    import sqlite3
    url = f"sqlite:///{disk}/a.db"
    writer = JournalWriter(room / "journals", min_free_bytes=0)
    shipper = Shipper(room / "journals", [lambda: make_sink(url)], writer)
    writer.append(4, END)
    assert shipper.flush(5)
    fill()
    for _ in range(5_000): writer.append(4, END)
    full = shipper.flush(0.2)
    problems = shipper.status()["problems"]
    os.unlink(disk / "ballast")
    later = shipper.flush(10)
    shipper.close(5)
    db = sqlite3.connect(disk / "a.db")
    rows = db.execute("select count(*) from steps").fetchone()[0]
    whole = db.execute("pragma integrity_check").fetchone()[0]
    db.close()
    print(json.dumps([full, len(problems), later, rows, whole, writer.losses() == []]))
    """,
        tmp_path / "disk",
        "3m",
    )
    assert said == [False, 1, True, 5_001, "ok", True]


def test_a_lack_of_file_handles_costs_records_and_no_exception_and_recording_goes_on_later(tmp_path: Path) -> None:
    """A real limit of a real process: no journal can be opened, then one can."""
    code = """
    import json, os, resource, sys
    from pathlib import Path
    from analytics_sdk.journal.writer import JournalWriter
    END = (-1, "e", "w", 1, "pay", "click", 1, 0, 5)
    writer = JournalWriter(Path(sys.argv[1]), min_free_bytes=0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True: taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    lost = [writer.append(4, END) for _ in range(3)]
    for fd in taken: os.close(fd)
    writer.maintain()
    kept = writer.append(4, END)
    print(json.dumps([lost, kept >= 0, [[loss.kind, loss.reason, loss.n] for loss in writer.losses()]]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "journals")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[-1, -1, -1], True, [["step_end", "disk", 3]]]
