"""The commands that read, deliver and look after things, over stores that real programs wrote."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from analytics_sdk.cli import main
from analytics_sdk.cli.faults import split_advice
from analytics_sdk.cli.period import parse_period
from analytics_sdk.cli.terminal import Column, shorten, table_lines, width_of
from analytics_sdk.sinks.schema import SCHEMA_VERSION

HOSTILE = "evil\x1b[31m\u202eid\x07"
PROGRAM = f"""
import os, signal, sys
from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
system = configure(flush_interval_seconds=3600)
for number in range(4):
    try:
        with track_workflow(workflow_id="import", total_steps=1):
            with track_step(node_id="read", action_type="file"):
                if number == 1:
                    with recovery_attempt("next_door"):
                        pass
                if number == 2:
                    raise ValueError("no file 17")
    except ValueError:
        pass
with track_workflow(workflow_id={HOSTILE!r}, total_steps=0):
    pass
if "die" in sys.argv:
    with track_workflow(workflow_id="import", total_steps=1):
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Type a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in os.environ if name.startswith("ANALYTICS_SDK_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["analytics-sdk", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


def record(folder: Path, *arguments: str) -> int:
    """Run the program in a folder; its exit code."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=environment, timeout=60, check=False
    ).returncode


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that a program wrote and ended well."""
    folder = tmp_path_factory.mktemp("delivered")
    assert record(folder) == 0
    return folder / "analytics.db"


def url(file: Path) -> str:
    return f"sqlite:///{file}"


# ---------------------------------------------------------------- stats


def test_stats_say_what_happened(cli: Cli, delivered: Path) -> None:
    said = cli("stats", "import", "--db", url(delivered))
    assert said.code == 0
    assert "Executions    3 success, 1 failed" in said.out
    assert "75.0 % (3 of 4, 30 - 95 %)" in said.out
    assert "saved 1 of 2 executions that needed it; 1 of 1 attempts worked" in said.out
    assert "ValueError  no file 17" in said.out
    assert "Not delivered" not in said.out


def test_stats_of_all_name_every_workflow_and_print_stored_text_inert(cli: Cli, delivered: Path) -> None:
    out = cli("stats", "--db", url(delivered)).out
    assert "import" in out
    assert "evil" in out
    assert not {"\x1b", "\u202e", "\x07"} & set(out)


def test_stats_as_json_know_no_nan(cli: Cli, delivered: Path) -> None:
    answer = json.loads(cli("stats", HOSTILE, "--db", url(delivered), "--json").out, parse_constant=pytest.fail)
    assert answer["success_rate"]["success_rate"] == 100
    assert answer["recovery"]["success_rate"] is None
    assert answer["undelivered"]["bytes"] == 0
    assert answer["data_complete"] is True


def test_a_workflow_without_executions_is_the_answer_no(cli: Cli, delivered: Path) -> None:
    said = cli("stats", "nobody", "--db", url(delivered))
    assert (said.code, said.out.splitlines()[-1]) == (1, "Nothing was recorded in this time.")


@pytest.mark.parametrize("command", [["stats"], ["report"]])
def test_a_missing_database_is_told_and_not_made(cli: Cli, tmp_path: Path, command: list[str]) -> None:
    said = cli(*command)
    assert said.code == 3
    assert said.err.splitlines() == [
        f"error: there is no database {tmp_path}/analytics.db",
        "  run your program first, or name the right one with --db sqlite:///PATH",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_the_sink_may_be_named_by_environment_and_by_pyproject(
    cli: Cli, delivered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.analytics_sdk]\nsink = "{url(delivered)}"\n')
    assert cli("stats", "import").code == 0
    monkeypatch.setenv("ANALYTICS_SDK_SINK", url(tmp_path / "other.db"))
    assert cli("stats", "import").code == 3


@pytest.mark.parametrize(
    "arguments", [["stats", "--db", "analytics.db"], ["stats", "--last", "soon"], ["stats", "--lats", "7d"], ["state"]]
)
def test_what_was_typed_wrongly_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


@pytest.mark.parametrize("command", [["stats"], ["doctor"], ["ship", "--once"], ["db", "upgrade"]])
def test_a_password_is_never_shown(cli: Cli, command: list[str]) -> None:
    """Neither where the server is away, nor among the settings."""
    said = cli(*command, "--db", "postgresql://user:hunter2@127.0.0.1:1/db?connect_timeout=2")
    assert said.code == (0 if command == ["ship", "--once"] else 1 if command == ["doctor"] else 3)
    assert "hunter2" not in said.out + said.err


def test_a_file_that_is_no_database_is_an_error_of_two_lines(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "analytics.db").write_text("this is no database, " * 100)
    said = cli("stats")
    assert (said.code, len(said.err.splitlines())) == (3, 2)


# ---------------------------------------------------------------- ship


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder in which a program was killed before it had delivered anything."""
    assert record(tmp_path, "die") == -signal.SIGKILL
    return tmp_path


def test_what_a_killed_program_left_is_told_of_then_shipped_then_counted(cli: Cli, killed: Path) -> None:
    assert "1 of ended ones" in cli("doctor").out
    shipped = cli("ship", "--once")
    assert (shipped.code, "1 journal finished and removed" in shipped.out) == (0, True)
    answer = json.loads(cli("stats", "import", "--json").out)
    assert answer["status_counts"]["crashed"] == 1
    assert answer["success_rate"]["n"] == 5
    assert answer["undelivered"]["bytes"] == 0
    again = cli("ship", "--once", "--json")
    assert (again.code, json.loads(again.out)["records"]) == (0, 0)


def test_a_database_tells_what_it_has_not_been_given_yet(cli: Cli, killed: Path) -> None:
    assert cli("db", "upgrade").code == 0
    said = cli("stats")
    assert said.code == 1
    assert "Not delivered yet" in said.out
    assert json.loads(cli("stats", "--json").out)["undelivered"]["bytes"] > 0


def test_nothing_to_ship_is_fine_and_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("ship", "--once").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_what_cannot_be_delivered_is_the_answer_no(cli: Cli, killed: Path) -> None:
    said = cli("ship", "--once", "--db", url(killed / "nowhere" / "a.db"), "--journal-dir", "analytics.db.journals")
    assert said.code == 1
    assert "error:" in said.err


def test_ship_delivers_until_it_is_told_to_stop(cli: Cli, killed: Path) -> None:
    """Told to stop, it finishes what it is at, and ends with 0."""
    owner = next((killed / "analytics.db.journals").glob("*.owner"))
    with subprocess.Popen(
        [sys.executable, "-m", "analytics_sdk", "ship"], cwd=killed, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "until told to stop" in process.stderr.readline()
        assert "records delivered" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert not owner.exists()
    assert cli("stats", "import").code == 0


# ---------------------------------------------------------------- doctor


def test_an_empty_folder_is_healthy_and_stays_empty(cli: Cli, tmp_path: Path) -> None:
    said = cli("doctor")
    assert (said.code, "WRONG" in said.out) == (0, False)
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_doctor_says_where_a_setting_comes_from(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.analytics_sdk]\nretention_days = 30\n")
    monkeypatch.setenv("ANALYTICS_SDK_REALTIME", "off")
    settings = {row["name"]: row for row in json.loads(cli("doctor", "--json").out)["settings"]}
    assert settings["retention_days"] == {"name": "retention_days", "value": "30.0", "from": "pyproject"}
    assert settings["realtime"] == {"name": "realtime", "value": "False", "from": "environment"}
    assert settings["on_full"]["from"] == "default"


def test_doctor_says_who_switched_it_off(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_SDK_DISABLED", "TRUE")
    said = cli("doctor")
    assert said.code == 1
    assert "the environment says ANALYTICS_SDK_DISABLED=true" in said.out


def test_doctor_finds_journals_that_others_may_read(cli: Cli, tmp_path: Path, delivered: Path) -> None:
    shutil.copytree(delivered.parent, tmp_path / "copy")
    folder = tmp_path / "copy" / "analytics.db.journals"
    folder.chmod(0o755)
    said = cli("doctor", "--db", url(tmp_path / "copy" / "analytics.db"))
    assert said.code == 1
    assert f"run chmod 700 {folder}" in said.out


def test_doctor_knows_a_database_of_somebody_else(cli: Cli, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "analytics.db")
    connection.execute("CREATE TABLE executions (name TEXT)")
    connection.commit()
    connection.close()
    before = (tmp_path / "analytics.db").read_bytes()
    said = cli("doctor")
    assert said.code == 1
    assert "executions" in said.out
    assert (tmp_path / "analytics.db").read_bytes() == before


def test_doctor_of_a_delivered_store_is_content(cli: Cli, delivered: Path) -> None:
    findings = {
        row["subject"]: row for row in json.loads(cli("doctor", "--db", url(delivered), "--json").out)["findings"]
    }
    assert f"tables of version {SCHEMA_VERSION}" in findings["sink"]["text"]
    assert findings["journals"]["text"].endswith("0 B not delivered")


# ---------------------------------------------------------------- db


def test_upgrade_makes_the_tables_once(cli: Cli, tmp_path: Path) -> None:
    assert cli("db", "upgrade").out == f"sqlite:///{tmp_path}/analytics.db: upgraded to version {SCHEMA_VERSION}\n"
    assert cli("db", "upgrade").out == f"sqlite:///{tmp_path}/analytics.db: up to date\n"
    assert stat.S_IMODE((tmp_path / "analytics.db").stat().st_mode) == 0o600


# ---------------------------------------------------------------- words and tables


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7 d", 604_800), ("1.5h", 5400)]
)
def test_stretches_of_time(text: str, seconds: float) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "0h", "-3d", "7 fortnights"])
def test_what_is_no_stretch_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 30m, 24h or 7d"):
        parse_period(text)


def test_a_table_fits_the_terminal_and_cuts_ids_in_their_middle() -> None:
    columns = [Column("step", flexible=True), Column("n", right=True)]
    lines = table_lines(columns, [("tests/test_cacheutils.py::test_lru_add", "519"), ("短い", "7")], 24)
    assert lines == ["step                   n", "tests/tes…t_lru_add  519", "短い                   7"]
    assert {width_of(line) for line in lines} == {24}


def test_a_table_in_a_pipe_is_whole() -> None:
    (_, line) = table_lines([Column("step", flexible=True)], [("x" * 300,)], None)
    assert line == "x" * 300


@pytest.mark.parametrize("width", range(3, 12))
def test_what_is_shortened_is_never_too_wide(width: int) -> None:
    for text in ("abcdefghijklmnop", "短い名前の長い列", "a短b短c短d短e"):
        assert width_of(shorten(text, width)) <= width


@pytest.mark.parametrize(
    ("message", "what", "advice"),
    [
        ("x is away; start it", "x is away", "start it"),
        ("db has no tables: run `upgrade` now", "db has no tables", "run `upgrade` now"),
        ("a: b: no such file", "a: b: no such file", "run `analytics-sdk doctor` to see settings, sink and journals"),
    ],
)
def test_an_error_is_what_happened_and_what_to_do(message: str, what: str, advice: str) -> None:
    assert split_advice(message) == (what, advice)


# ---------------------------------------------------------------- report


@pytest.mark.parametrize(
    ("name", "magic"), [("r.html", b"<!doctype html>"), ("r.pdf", b"%PDF-"), ("r.json", b"{"), ("r.csv", b"")]
)
def test_a_report_is_made_where_and_as_its_name_says(
    cli: Cli, delivered: Path, tmp_path: Path, name: str, magic: bytes
) -> None:
    said = cli("report", "--out", name, "--db", url(delivered))
    assert (said.code, Path(said.out.strip()).resolve()) == (0, tmp_path / name)
    assert (tmp_path / name).read_bytes()[:100].lower().startswith(magic.lower())


def test_a_report_goes_into_a_folder_under_a_name_of_its_own(cli: Cli, delivered: Path, tmp_path: Path) -> None:
    said = cli(
        "report", "import", "--format", "json", "--out", "kept", "--last", "1h", "--db", url(delivered), "--json"
    )
    path = Path(json.loads(said.out)["path"])
    assert (path.parent.resolve(), path.suffix) == (tmp_path / "kept", ".json")
    assert json.loads(path.read_text("utf-8"))


def test_a_format_that_does_not_exist_is_a_usage_error(cli: Cli, delivered: Path) -> None:
    assert cli("report", "--format", "docx", "--db", url(delivered)).code == 2
