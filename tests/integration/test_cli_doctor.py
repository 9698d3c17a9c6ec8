"""The doctor finds the mistakes that people make; here they are made for real."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from terminal import CLI, environment_of

from analytics_sdk.cli.doctor.finding import found_wrong
from analytics_sdk.cli.doctor.place import look_at_room
from analytics_sdk.errors import SinkMisconfigured

RECORD = """
import os, signal, sys, time
from analytics_sdk import configure, track_workflow
from analytics_sdk.clock import SystemClock

class Shifted(SystemClock):
    def time_ns(self):
        return time.time_ns() + int(os.environ.get("SHIFT_SECONDS", "0")) * 10**9

given = {"sink": os.environ["SINK"]} if "SINK" in os.environ else {}
system = configure(clock=Shifted(), flush_interval_seconds=3600 if "die" in sys.argv else 0.05, **given)
with track_workflow(workflow_id="job"):
    pass
if "die" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
if "stay" in sys.argv:
    while not system.flush(1) and not system.status()["problems"]:
        pass
    print("recorded", flush=True)
    sys.stdin.read()
"""


def record(folder: Path, *arguments: str, **environment: str) -> int:
    """Run a program that records one execution in a folder; its exit code."""
    return subprocess.run(
        [sys.executable, "-c", RECORD, *arguments], cwd=folder, env=environment_of(**environment), timeout=60
    ).returncode


@contextmanager
def recording(folder: Path, **environment: str) -> Iterator[int]:
    """The process id of a program that has recorded one execution and still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", RECORD, "stay"],
        cwd=folder,
        env=environment_of(**environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        yield process.pid
        process.communicate(timeout=60)


def examine(folder: Path, *arguments: str, before: tuple[str, ...] = (), **environment: str) -> tuple[int, list[Any]]:
    """The doctor's exit code and its findings that are no mere ok."""
    done = subprocess.run(
        [*before, *CLI, "doctor", "--json", *arguments],
        cwd=folder,
        env=environment_of(XDG_STATE_HOME=str(folder / "state"), **environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "error" not in done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is (done.returncode == 0)
    return done.returncode, [one for one in answer["findings"] if one["advice"] and one["subject"] != "python"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project."""
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_nothing_recorded_yet_says_how_to_record(folder: Path) -> None:
    code, (finding,) = examine(folder)
    assert code == 0
    assert finding["text"].startswith("nothing is recorded here yet")
    assert "analytics-sdk run --loop" in finding["advice"]


def test_a_healthy_program_has_nothing_wrong(folder: Path) -> None:
    assert record(folder) == 0
    assert examine(folder) == (0, [])


# ---------------------------------------------------------------- switched off, and settings that mean nothing


def test_the_environment_switched_it_off(folder: Path) -> None:
    code, (finding, _) = examine(folder, ANALYTICS_SDK_DISABLED="true")
    assert code == 1
    assert finding["text"] == "off: the environment says ANALYTICS_SDK_DISABLED=true"
    assert "unset ANALYTICS_SDK_DISABLED" in finding["advice"]


def test_the_code_switches_it_off(folder: Path) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "main.py").write_text("from analytics_sdk import configure\n\nconfigure(enabled=False)\n")
    code, (finding, _) = examine(folder)
    assert code == 0
    assert finding["text"].startswith("app/main.py:3 turns recording off")


def test_pyproject_has_settings_that_mean_nothing(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.analytics_sdk]\nenabled = false\nflush_interval = 5\n")
    code, findings = examine(folder)
    assert code == 1
    assert [(one["text"].partition(" in ")[0], one["advice"]) for one in findings[:2]] == [
        ("enabled", "take it out; what turns recording off is ANALYTICS_SDK_DISABLED=true in the environment"),
        ("flush_interval", "did you mean flush_interval_seconds?"),
    ]
    assert str(folder / "pyproject.toml") in findings[0]["text"]


def test_a_misspelt_variable_means_nothing_and_its_value_is_not_shown(folder: Path) -> None:
    code, (finding, _) = examine(folder, ANALYTICS_SDK_SNIK="postgresql://me:hunter2@host/db")
    assert code == 1
    assert finding["text"] == "the variable ANALYTICS_SDK_SNIK means nothing"
    assert finding["advice"] == "did you mean ANALYTICS_SDK_SINK?"


# ---------------------------------------------------------------- nothing delivered, and why


def test_an_unreachable_server_is_seen_from_here_and_as_the_program_saw_it(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: whoever connects is refused
        sink = f"postgresql://me:hunter2@127.0.0.1:{taken.getsockname()[1]}/db"
        with recording(folder, SINK=sink, XDG_STATE_HOME=str(folder / "state")) as pid:
            code, findings = examine(folder, "--db", sink)
    assert code == 1
    assert "hunter2" not in json.dumps(findings)
    assert [one["subject"] for one in findings] == ["sink", "delivery"]
    assert "refused" in findings[0]["text"]
    assert findings[1]["text"].startswith(f"process {pid} was told, on ")
    assert {one["advice"] for one in findings} == {"start the server, or correct host and port in the sink's URL"}


def test_the_note_of_a_problem_goes_when_delivery_works(folder: Path) -> None:
    """The program waits for its folder to be made, and delivers."""
    sink = f"sqlite:///{folder}/later/analytics.db"
    journals = folder / "journals"
    environment = {"SINK": sink, "ANALYTICS_SDK_JOURNAL_DIR": str(journals)}
    with recording(folder, **environment):
        (note,) = journals.glob("*.problem")
        code, findings = examine(folder, "--db", sink, ANALYTICS_SDK_JOURNAL_DIR=str(journals))
        assert code == 1
        assert f"the folder {folder}/later does not exist" in findings[0]["text"]
        (folder / "later").mkdir()
    assert not note.exists()
    assert examine(folder, "--db", sink, ANALYTICS_SDK_JOURNAL_DIR=str(journals)) == (0, [])


def test_a_server_without_tables_needs_an_upgrade(folder: Path, postgres_url: str) -> None:
    code, findings = examine(folder, "--db", postgres_url)
    assert code == 1
    assert "no tables of analytics-sdk" in findings[0]["text"]
    assert "db upgrade" in findings[0]["text"] + findings[0]["advice"]


def test_a_wrong_password_is_told_from_a_server_that_is_away() -> None:
    problem = SinkMisconfigured('db: password authentication failed for user "me" (OperationalError); act')
    assert found_wrong("sink", problem).advice == "correct user and password in the sink's URL"


def test_records_that_the_sink_refused_are_shown(folder: Path) -> None:
    assert record(folder, "die") == -signal.SIGKILL
    journals = folder / "analytics.db.journals"
    refused = journals / f"{'0' * 32}.rejected"
    refused.write_text("{}\n")
    code, findings = examine(folder)
    assert code == 1
    assert str(refused) in findings[-1]["text"]


# ---------------------------------------------------------------- journals


def test_a_killed_program_left_a_journal(folder: Path) -> None:
    assert record(folder) == 0
    assert record(folder, "die") == -signal.SIGKILL
    code, (finding,) = examine(folder)
    assert code == 1
    assert "in 1 journal that have not been delivered" in finding["text"]
    assert "analytics-sdk ship --once" in finding["advice"]
    subprocess.run([*CLI, "ship", "--once"], cwd=folder, env=environment_of(), check=True, stdout=subprocess.DEVNULL)
    assert examine(folder) == (0, [])


def test_a_journal_lost_its_owner_file(folder: Path) -> None:
    assert record(folder, "die") == -signal.SIGKILL
    for owner in (folder / "analytics.db.journals").glob("*.owner"):
        owner.unlink()
    code, findings = examine(folder)
    assert code == 1
    assert "1 journal lost the file that says whose they are" in [one["text"] for one in findings]


def test_journals_stand_where_the_settings_do_not_look(folder: Path) -> None:
    assert record(folder, "die") == -signal.SIGKILL
    code, findings = examine(folder, ANALYTICS_SDK_JOURNAL_DIR=str(folder / "elsewhere"))
    assert code == 1
    assert findings[-1]["advice"] == f"run `analytics-sdk ship --once --journal-dir {folder}/analytics.db.journals`"


# ---------------------------------------------------------------- the wrong folder


@pytest.mark.parametrize("arguments", [(), ("die",)], ids=["delivered", "not delivered"])
def test_the_program_ran_in_another_folder(folder: Path, arguments: tuple[str, ...]) -> None:
    """Below this one or above it; whether its database is there already, or only its journals."""
    for place in ("service", "service/logs/deep"):
        (folder / place).mkdir(parents=True)
    record(folder / "service", *arguments)
    for place in (folder, folder / "service" / "logs"):
        code, (finding, *_) = examine(place)
        assert code == 1
        assert finding["advice"].startswith(f"look at it with --db sqlite:///{folder}/service/analytics.db,")


# ---------------------------------------------------------------- versions


def set_version(database: Path, version: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM analytics_sdk_schema")
        connection.execute("INSERT INTO analytics_sdk_schema VALUES (?, 0)", (version,))


@pytest.mark.parametrize(
    ("version", "advice"), [(0, "run `analytics-sdk db upgrade"), (99, "install a newer analytics-sdk")]
)
def test_the_tables_are_of_another_version(folder: Path, version: int, advice: str) -> None:
    assert record(folder) == 0
    set_version(folder / "analytics.db", version)
    code, findings = examine(folder)
    assert code == 1
    assert f"tables of version {version}" in findings[0]["text"]
    assert advice in findings[0]["text"] + findings[0]["advice"]


def install(folder: Path, version: str) -> None:
    """What an installer leaves of a version, as far as metadata goes."""
    place = folder / f"analytics_sdk-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: analytics-sdk\nVersion: {version}\n")


def test_two_versions_stand_on_one_path(folder: Path) -> None:
    install(folder / "old", "0.0.1")
    code, (finding, _) = examine(folder, PYTHONPATH=str(folder / "old"))
    assert code == 1
    assert f"0.0.1 in {folder}/old" in finding["text"]


def test_the_python_of_the_shell_has_another_version(folder: Path) -> None:
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = (folder / ".venv").glob("lib/python*/site-packages")
    install(packages, "0.0.1")
    path = f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([*CLI, "doctor"], cwd=folder, env=environment_of(PATH=path), capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{folder}/.venv/bin/python, has analytics-sdk 0.0.1" in done.stdout


# ---------------------------------------------------------------- rights, locks, room


def examine_without_rights(folder: Path, *arguments: str) -> tuple[int, list[Any]]:
    """As a user whom file modes bind, which root is not."""
    if os.geteuid() != 0:
        return examine(folder, *arguments)
    if shutil.which("setpriv") is None:
        assert "CI" not in os.environ, "setpriv is not installed"
        pytest.skip("setpriv is not installed")
    taken = "-dac_override,-dac_read_search"
    return examine(folder, *arguments, before=("setpriv", f"--bounding-set={taken}", f"--inh-caps={taken}"))


def test_the_folder_cannot_be_written(folder: Path) -> None:
    place = folder / "kept"
    place.mkdir(mode=0o555)
    code, findings = examine_without_rights(folder, "--db", f"sqlite:///{place}/analytics.db")
    assert code == 1
    assert findings[0]["text"] == f"the folder {place} cannot be written"


def test_the_file_cannot_be_written(folder: Path) -> None:
    assert record(folder) == 0
    (folder / "analytics.db").chmod(0o444)
    code, findings = examine_without_rights(folder)
    assert code == 1
    assert findings[0]["text"] == f"{folder}/analytics.db cannot be written"
    assert "chmod u+rw" in findings[0]["advice"]


def test_the_journals_are_open_to_others(folder: Path) -> None:
    assert record(folder, "die") == -signal.SIGKILL
    (folder / "analytics.db.journals").chmod(0o755)
    code, findings = examine(folder)
    assert code == 1
    assert f"run chmod 700 {folder}/analytics.db.journals" in [one["advice"] for one in findings]


HOLD = """
import sqlite3, sys
connection = sqlite3.connect("analytics.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_holds_the_database(folder: Path) -> None:
    assert record(folder) == 0
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        code, (finding,) = examine(folder)
        holder.communicate(timeout=60)
    assert code == 1
    assert finding["text"].startswith(f"{folder}/analytics.db is locked by python")
    assert f"({holder.pid})" in finding["text"]


def test_a_disk_that_is_nearly_full_is_told_of_before_recording_ends(folder: Path) -> None:
    (finding,) = look_at_room(folder / "not" / "there", 100 << 20)
    assert (finding.ok, "100 MiB are free" in finding.text) == (False, True)
    (finding,) = look_at_room(folder, 800 << 20)
    assert (finding.ok, finding.advice[:14]) == (True, "make room soon")
    assert list(look_at_room(folder, 8 << 30)) == []


# ---------------------------------------------------------------- clocks


def test_rows_lie_in_the_future(folder: Path) -> None:
    assert record(folder, SHIFT_SECONDS="10800") == 0
    code, (finding,) = examine(folder)
    assert code == 1
    assert f"an execution on {socket.gethostname()} started " in finding["text"]
    assert finding["text"].endswith("in the future")


@pytest.mark.parametrize(("shift", "says"), [("7200", "in the future"), ("-7200", "before it was started")])
def test_the_clock_of_a_running_program_jumped(folder: Path, shift: str, says: str) -> None:
    with recording(folder, SHIFT_SECONDS=shift) as pid:
        code, findings = examine(folder)
    assert code == 1
    (text,) = [one["text"] for one in findings if f"process {pid}" in one["text"]]
    assert says in text


def test_what_the_doctor_prints_names_how_many_things_are_wrong(folder: Path) -> None:
    done = subprocess.run(
        [*CLI, "doctor"], cwd=folder, env=environment_of(ANALYTICS_SDK_DISABLED="true"), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "1 thing wrong."
