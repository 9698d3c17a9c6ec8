"""Files are their owner's alone whatever the umask, and a link, a pipe or another's file in their place is not used."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import configure, guard, track_workflow
from analytics_sdk.errors import AnalyticsError, JournalError, ReportError, SettingError, SinkMisconfigured
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.private import open_private
from analytics_sdk.journal.problem import SUFFIX, note_problem, read_problems
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import segment_name
from analytics_sdk.reporting.report_generator import ReportConfig
from analytics_sdk.shipper.delivery import _append_line
from analytics_sdk.shipper.once import ship_lock
from analytics_sdk.shipper.shipper import LOCK_NAME, daemon_ships
from analytics_sdk.sinks import make_sink
from analytics_sdk.testing import isolate

WRITING = os.O_WRONLY | os.O_CREAT
JOURNAL_ID = "0123456789abcdef" * 2
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="only root may give a file to another user"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with isolate():
        yield tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


RECORDING = """
import os, sys
os.umask(int(sys.argv[1], 8))
from analytics_sdk import configure, track_workflow
from analytics_sdk.journal.problem import note_problem
from analytics_sdk.reporting.report_generator import ReportConfig
from analytics_sdk.shipper.delivery import _append_line
from analytics_sdk.shipper.once import ship_lock
system = configure(sink="sqlite:///a.db", reports_dir="reports")
with track_workflow(workflow_id="w"):
    pass
assert system.flush()
folder = system.settings.journal_dir
note_problem(folder, "x", ["p"], 0)
_append_line(folder / "x.rejected", b"{}")
with ship_lock(folder):
    pass
os.makedirs("reports", mode=0o700, exist_ok=True)
os.chmod("reports", 0o700)
for format in ("json", "csv"):
    system.report_generator.export(system.report_generator.generate_report(ReportConfig(format=format)))
with track_workflow(workflow_id="after"):
    pass
os._exit(0)
"""


@pytest.mark.parametrize("umask", ["000", "077", "777"])
def test_every_file_is_private_whatever_the_umask_of_the_host(folder: Path, umask: str) -> None:
    """Journals, locks, notes, refused records, the database and what SQLite puts beside it; a report is never written
    by others, and its owner can always read it."""
    subprocess.run([sys.executable, "-c", RECORDING, umask], cwd=folder, check=True, timeout=30)
    modes = {str(path.relative_to(folder)): mode_of(path) for path in folder.rglob("*") if path.is_file()}
    reports = {name: mode for name, mode in modes.items() if name.startswith("reports")}
    kept = {name: mode for name, mode in modes.items() if name not in reports}
    assert {Path(name).suffix for name in kept} >= {
        ".db",
        ".db-wal",
        ".owner",
        ".seg",
        ".lock",
        ".problem",
        ".rejected",
    }
    assert {name: oct(mode) for name, mode in kept.items() if mode != 0o600} == {}
    assert mode_of(folder / "a.db.journals") == 0o700
    assert len(reports) == 2
    assert all(mode & 0o600 == 0o600 and not mode & 0o133 for mode in reports.values())


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def make_dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def make_other(path: Path) -> None:
    path.write_bytes(b"x")
    os.chown(path, 12345, 12345)


PLANTED = [make_link, make_dangling, os.mkfifo, Path.mkdir, pytest.param(make_other, marks=needs_root)]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, WRITING | os.O_APPEND, WRITING | os.O_TRUNC])
def test_what_is_no_file_of_ours_is_not_opened(tmp_path: Path, plant: Any, flags: int) -> None:
    """Neither for reading nor for writing, and a pipe keeps nobody waiting."""
    (tmp_path / "elsewhere").write_bytes(b"somebody's")
    plant(tmp_path / "planted")
    with pytest.raises(OSError):
        os.close(open_private(tmp_path / "planted", flags))
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody's"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_planted_in_a_folder_of_journals_stops_nothing(tmp_path: Path, plant: Any) -> None:
    """Under every name that is opened there: nothing waits, nothing is written elsewhere, nothing raises."""
    (tmp_path / "elsewhere").write_bytes(b"somebody's")
    names = [
        LOCK_NAME,
        f"a{SUFFIX}",
        f"b{SUFFIX}.tmp",
        "c.rejected",
        f"{JOURNAL_ID}.owner",
        segment_name(JOURNAL_ID, 0),
    ]
    for name in names:
        plant(tmp_path / name)
    assert not daemon_ships(tmp_path)
    assert read_problems(tmp_path) == []
    note_problem(tmp_path, "b", ["down"], 0)
    _append_line(tmp_path / "c.rejected", b"{}")
    with pytest.raises(JournalError), ship_lock(tmp_path):
        pass
    reader = JournalReader(tmp_path, JOURNAL_ID)
    assert find_journals(tmp_path) == [JOURNAL_ID]
    assert reader.read(0, final=True).records == []
    assert reader.identity.host == ""
    reader.close()
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody's"
    assert not (tmp_path / "nowhere").exists()


def spoil_by_link(place: Path) -> None:
    (place.parent / "theirs").mkdir(mode=0o700)
    place.symlink_to(place.parent / "theirs")


def spoil_by_rights(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def spoil_by_owner(place: Path) -> None:
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)


SPOILS = [spoil_by_link, spoil_by_rights, os.mkfifo, Path.touch, pytest.param(spoil_by_owner, marks=needs_root)]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_folder_of_journals_that_is_not_ours_alone_is_refused(folder: Path, spoil: Any) -> None:
    """With the reason, where the user named it; else what is recorded is lost, which is counted and told."""
    spoil(folder / "journals")
    with pytest.raises(SettingError, match="journal folder"):
        configure(sink="sqlite:///a.db", journal_dir=folder / "journals")
    (folder / "default").mkdir()
    os.chdir(folder / "default")
    spoil(folder / "default" / "analytics.db.journals")
    guard.counters.clear()
    with track_workflow(workflow_id="w"):
        pass
    assert guard.counters["journal"] >= 1
    assert not list(folder.rglob("*.seg"))


def test_a_database_that_is_a_pipe_or_a_link_to_nothing_is_refused(folder: Path) -> None:
    """SQLite would wait, or make a file that everybody may read; a link to a file is the user's own choice."""
    os.mkfifo(folder / "pipe.db")
    (folder / "dangling.db").symlink_to(folder / "made-elsewhere.db")
    for name in ("pipe.db", "dangling.db"):
        sink: Any = make_sink(f"sqlite:///{folder / name}")
        with pytest.raises(SinkMisconfigured, match=name):
            sink.open()
    assert not (folder / "made-elsewhere.db").exists()
    (folder / "real.db").touch(0o600)
    (folder / "linked.db").symlink_to(folder / "real.db")
    sink = make_sink(f"sqlite:///{folder / 'linked.db'}")
    sink.open()
    sink.close()
    assert (folder / "real.db").stat().st_size > 0


@pytest.mark.parametrize(
    "command", [["stats"], ["doctor", "--json"], ["report", "--out", "r.html"], ["ship", "--once"]]
)
def test_no_command_waits_for_a_database_that_is_a_pipe(folder: Path, command: list[str]) -> None:
    os.mkfifo(folder / "pipe.db")
    done = subprocess.run(
        [sys.executable, "-m", "analytics_sdk", *command, "--db", f"sqlite:///{folder}/pipe.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if "--json" in command:
        assert json.loads(done.stdout)
    else:
        assert done.returncode in (1, 3) or "ship" in command


def test_a_report_follows_no_link_and_replaces_no_device(folder: Path) -> None:
    """What a link points to stays as it was; a pipe or a device is told of."""
    system = configure(sink="sqlite:///a.db")
    with track_workflow(workflow_id="w"):
        pass
    assert system.flush()
    reports = system.report_generator
    data = reports.generate_report(ReportConfig(format="json"))
    (folder / "theirs").write_bytes(b"somebody's")
    (folder / "link.json").symlink_to(folder / "theirs")
    assert reports.export_json(data, folder / "link.json").read_bytes().startswith(b"{")
    assert (folder / "theirs").read_bytes() == b"somebody's"
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(ReportError, match="it is no file"):
        reports.export_json(data, folder / "pipe.json")
    assert stat.S_ISFIFO((folder / "pipe.json").stat().st_mode)
    assert not list(folder.glob(".*tmp"))
    assert issubclass(ReportError, AnalyticsError)
