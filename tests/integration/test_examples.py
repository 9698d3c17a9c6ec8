"""The examples, each as its reader runs it: in an empty folder, warnings being errors. What counts is what is kept."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import check_sink

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
from custom_sink import JsonLinesSink, from_url

EXECUTIONS = "SELECT workflow_id, status, count(*) FROM executions GROUP BY 1, 2 ORDER BY 1, 2"
STEPS = "SELECT node_id, status, count(*) FROM steps GROUP BY 1, 2 ORDER BY 1, 2"
RECOVERIES = "SELECT strategy, success, count(*) FROM recoveries GROUP BY 1, 2 ORDER BY 1, 2"


def run(folder: Path, *command: str) -> list[str]:
    """Run a command in the folder; the lines that it printed. It must end well, and say nothing on stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_SDK_")}
    patient = {**clean, "ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS": "30"}  # because the machine may be busy
    done = subprocess.run(command, cwd=folder, env=patient, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def run_example(folder: Path, name: str, *arguments: str) -> list[str]:
    return run(folder, sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments)


def stored(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "analytics.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_quickstart(tmp_path: Path) -> None:
    lines = run_example(tmp_path, "quickstart")
    assert lines[:3] == ["coffee and tea: 6.00", "tea and cake: 6.80", "coffee and wine: there is no 'wine'"]
    assert lines[3] == "2 of 3 bills worked, 33 % at first pass"
    assert stored(tmp_path, EXECUTIONS) == [("bill", "failed", 1), ("bill", "success", 2)]
    assert stored(tmp_path, STEPS) == [
        ("price-cake", "recovered", 1),
        ("price-coffee", "success", 2),
        ("price-tea", "success", 2),
        ("price-wine", "failed", 1),
    ]
    assert stored(tmp_path, RECOVERIES) == [("spelled_out", 1, 1)]
    stats = json.loads("\n".join(run(tmp_path, sys.executable, "-m", "analytics_sdk", "stats", "bill", "--json")))
    assert (stats["success_rate"]["n"], stats["data_complete"]) == (3, True)


def test_inline_with(tmp_path: Path) -> None:
    """A file that is there, and one that is not."""
    (tmp_path / "people.csv").write_text("city;people\nLille;236710\n")
    lines = run_example(tmp_path, "inline_with", "people.csv", "missing.csv")
    assert [line.split(",")[0] for line in lines[:2]] == ["people.csv: 236710 people", "missing.csv: 2624900 people"]
    assert stored(tmp_path, EXECUTIONS) == [("add-up", "success", 2)]
    assert stored(tmp_path, STEPS) == [
        ("add", "success", 2),
        ("number", "skipped", 1),
        ("number", "success", 3),
        ("read", "recovered", 1),
        ("read", "success", 1),
    ]
    assert stored(tmp_path, "SELECT tags FROM executions ORDER BY started_at_ns") == [
        ('{"file":"people.csv"}',),
        ('{"file":"missing.csv"}',),
    ]
    assert run_example(tmp_path, "inline_with")[0].startswith("sample: 2624900 people")


def test_async_tasks(tmp_path: Path) -> None:
    lines = run_example(tmp_path, "async_tasks")
    assert lines[0] == "['<h1>home</h1>', '<h1>news</h1>', 'TimeoutError']"
    assert stored(tmp_path, EXECUTIONS) == [("gather", "success", 1), ("task-group", "failed", 2)]
    assert stored(tmp_path, STEPS) == [
        ("archive", "timeout", 1),
        ("cart", "success", 2),
        ("help", "cancelled", 2),
        ("home", "success", 1),
        ("news", "success", 1),
        ("search", "timeout", 2),
    ]
    assert "  help: 0 counted, cancelled" in lines


def test_threads_and_processes(tmp_path: Path) -> None:
    """Every step belongs to the execution that sent it, and every process has delivered at its end."""
    lines = run_example(tmp_path, "threads_and_processes")
    assert lines[:3] == [
        "squares: [0, 1, 4, 9]",
        "thumbnails: ['cat.small', 'dog.small', 'owl.small']",
        "words: [1, 2, 3]",
    ]
    assert len(lines) == 8
    steps = "SELECT e.workflow_id, count(*) FROM steps s JOIN executions e USING (execution_id) GROUP BY 1 ORDER BY 1"
    assert stored(tmp_path, steps) == [
        ("chapter-1", 1),
        ("chapter-2", 1),
        ("chapter-3", 1),
        ("squares", 4),
        ("thumbnails", 3),
    ]
    ((processes,),) = stored(tmp_path, "SELECT count(DISTINCT pid) FROM executions")
    assert processes in (2, 3)  # because one worker may be faster than the other and do it all


def test_auto_instrument(tmp_path: Path) -> None:
    lines = run_example(tmp_path, "auto_instrument")
    assert lines[:3] == ["log-in worked", "pay stopped: no button 'Pay now'", "log-out stopped: no button ''"]
    check_untouched_loop(tmp_path)


def test_the_untouched_loop_under_the_command(tmp_path: Path) -> None:
    """The command in its docstring, and the same numbers as with a line of code."""
    program = str(EXAMPLES / "untouched_loop.py")
    command = re.search(r"analytics-sdk (run .* -- )python ", Path(program).read_text("utf-8"))
    assert command is not None
    words = command[1].split()
    lines = run(tmp_path, sys.executable, "-m", "analytics_sdk", *words, sys.executable, program)
    assert lines == ["log-in worked", "pay stopped: no button 'Pay now'", "log-out stopped: no button ''"]
    check_untouched_loop(tmp_path)


def check_untouched_loop(folder: Path) -> None:
    """What both ways of recording it must have stored."""
    assert stored(folder, EXECUTIONS) == [("log-in", "success", 1), ("log-out", "failed", 1), ("pay", "failed", 1)]
    assert stored(folder, STEPS) == [
        ("cart", "success", 1),
        ("exit", "failed", 1),
        ("password", "success", 1),
        ("pay", "failed", 1),
        ("send", "recovered", 1),
        ("user", "success", 2),
    ]
    assert stored(folder, RECOVERIES) == [("none", 0, 1), ("similar_label", 0, 1), ("similar_label", 1, 1)]


def test_retries_as_recoveries(tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("tenacity", reason="tenacity is not installed", exc_type=ImportError)
    lines = run_example(tmp_path, "retries_as_recoveries")
    assert lines[1] == "2 of 3 imports worked"
    assert stored(tmp_path, EXECUTIONS) == [("calm", "success", 1), ("lost", "failed", 1), ("saved", "success", 1)]
    assert stored(tmp_path, STEPS) == [
        ("count", "failed", 1),
        ("count", "recovered", 1),
        ("count", "success", 1),
        ("download", "recovered", 1),
        ("download", "success", 2),
    ]
    assert stored(tmp_path, RECOVERIES) == [
        ("retry-count", 0, 2),
        ("retry-count", 1, 1),
        ("retry-download", 0, 1),
        ("retry-download", 1, 1),
    ]


def test_postgresql(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables by the command, records by the program, numbers by both."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run(tmp_path, sys.executable, "-m", "analytics_sdk", "db", "upgrade", "--db", postgres_url)
    lines = run_example(tmp_path, "postgresql", postgres_url)
    assert lines == ["20 executions, 200 steps", "40 of 40 recoveries succeeded"]
    sink = SqlSink(postgres_url)
    with sink.engine.connect() as connection:
        rows = connection.execute(sink.tables.steps.select()).all()
    sink.close()
    assert len(rows) == 200
    assert sum(row.status == "recovered" for row in rows) == 40


def test_postgresql_before_its_tables_are_made(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to do, and what was recorded arrives when that was done."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ANALYTICS_SDK_SINK", postgres_url)
    command = [sys.executable, "-W", "error", str(EXAMPLES / "postgresql.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "db upgrade" in done.stdout
    run(tmp_path, sys.executable, "-m", "analytics_sdk", "db", "upgrade", "--db", postgres_url)
    run(tmp_path, sys.executable, "-m", "analytics_sdk", "ship", "--once", "--db", postgres_url)
    sink = SqlSink(postgres_url)
    with sink.engine.connect() as connection:
        assert len(connection.execute(sink.tables.executions.select()).all()) == 20
    sink.close()


def test_custom_sink(tmp_path: Path) -> None:
    """Twice: the second run goes on where the first has ended, after a crash cut its last line off."""
    assert run_example(tmp_path, "custom_sink") == ["['success', 'failed', 'success']", "the database says 66.7 %"]
    file = tmp_path / "events.jsonl"
    with file.open("a") as journal:
        journal.write('{"journal": "cut o')
    run_example(tmp_path, "custom_sink")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    statuses = [execution["status"] for line in lines for execution in line["executions"]]
    assert statuses.count("success") == 6
    assert stored(tmp_path, EXECUTIONS) == [("export", "success", 6)]


def test_the_custom_sink_keeps_the_rules_of_sinks(tmp_path: Path) -> None:
    check_sink(lambda: JsonLinesSink(tmp_path / "events.jsonl"))
    assert from_url("jsonl:///var/events.jsonl").path == Path("var/events.jsonl")


def test_own_tests_as_a_test_run(tmp_path: Path) -> None:
    """Its tests pass, and leave nothing in the folder where they ran."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    lines = run(tmp_path, *command, "--basetemp", str(tmp_path / "temporary"), str(EXAMPLES / "own_tests.py"))
    assert lines[-1].startswith("5 passed")
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_list_of_examples_names_each_of_them_and_only_those() -> None:
    """And each says how it is run, and is short enough to be read."""
    named = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert named == {path.name for path in EXAMPLES.glob("*.py")}
    for name in named:
        text = (EXAMPLES / name).read_text("utf-8")
        assert re.search(rf"^ *(python|pytest) (examples/)?{name}", text, re.MULTILINE), name
        assert len(text.splitlines()) <= 105 or name == "integration_guide.py"
