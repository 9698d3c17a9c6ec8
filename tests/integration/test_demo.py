"""The demo: what it prints, leaves behind, and does when it runs again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_sdk.cli import demo_loop


def run(folder: Path, *arguments: str) -> str:
    """Type a command in a folder; what it printed. It must end well, and on stderr only say how far it is."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "analytics_sdk", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    story = ("Running", "Making", "Deliver")
    assert all(line.startswith(story) for line in done.stderr.splitlines()), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which a small demo ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, "demo", "--executions", "24")


def test_it_says_what_a_person_wants_to_know(demo: tuple[Path, str]) -> None:
    _, printed = demo
    for title in ("Executions", "Success", "Duration", "Healing", "Workflows", "Steps", "Errors", "Files", "Next:"):
        assert f"\n{title}" in printed


def test_it_leaves_database_report_and_charts_and_nothing_else(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    assert [path.name for path in folder.iterdir()] == ["analytics-demo"]
    left = folder / "analytics-demo"
    assert {path.name for path in left.iterdir()} - {"analytics.db.journals"} == {
        "analytics.db",
        "report.html",
        "charts",
    }
    charts = list((left / "charts").iterdir())
    assert len(charts) >= 4
    for chart in charts:
        assert chart.read_bytes().startswith(b"\x89PNG")


def test_its_work_fails_and_heals_for_real(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    database = f"sqlite:///{folder}/analytics-demo/analytics.db"
    answer = json.loads(run(folder, "stats", "--json", "--db", database))
    assert answer["success_rate"]["n"] == 24
    assert answer["success_rate"]["first_pass_rate"] < answer["success_rate"]["success_rate"] < 100
    assert {row["workflow_id"] for row in answer["workflows"]} == {"invoices-import", "nightly-archive", "partner-sync"}
    assert 0 < answer["recovery"]["succeeded"] < answer["recovery"]["attempts"]
    assert {"TimeoutError", "FileNotFoundError"} <= {error["error_type"] for error in answer["errors"]}
    assert answer["data_complete"] is True


def test_the_next_command_that_it_names_works(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    (line,) = [line for line in printed.splitlines() if line.startswith("Next: ")]
    assert "partner-sync" in run(folder, *line.removeprefix("Next: analytics-sdk ").split())


def test_run_again_it_adds_to_what_is_there(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    out = folder.parent / f"{folder.name}-again"
    for _ in range(2):
        run(folder, "demo", "--executions", "2", "--out", str(out))
    answer = json.loads(run(folder, "stats", "--json", "--db", f"sqlite:///{out}/analytics.db"))
    assert answer["success_rate"]["n"] == 4


def test_as_json_it_is_one_object_and_tells_its_story_on_stderr(tmp_path: Path) -> None:
    answer = json.loads(run(tmp_path, "demo", "--executions", "2", "--json"))
    assert set(answer) == {"database", "report", "charts", "next", "stats"}
    assert answer["stats"]["success_rate"]["n"] == 2
    assert Path(answer["report"]).is_file()


def test_the_loop_that_it_watches_knows_nothing_of_analytics() -> None:
    source = Path(demo_loop.__file__).read_text("utf-8")
    assert "import analytics_sdk" not in source
    assert "from analytics_sdk" not in source
