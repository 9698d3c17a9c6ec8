"""Workers of multiprocessing: what they record is in the database when the program has ended, however they end."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from analytics_sdk import configure, track_step, track_workflow

@track_workflow(workflow_id="job")
def work(number):
    with track_step(node_id="count"):
        return number

def leave_open(number):
    track_workflow(workflow_id="open").__enter__()

def record_nothing():
    pass

def main(method, way):
    context = multiprocessing.get_context(method)
    system = configure(sink="sqlite:///analytics.db")
    with track_workflow(workflow_id="parent"):
        pass
    assert system.flush()
    if way == "executor":
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(work, range(6))) == list(range(6))
    elif way == "terminated pool":
        with context.Pool(2) as pool:
            assert pool.map(work, range(6)) == list(range(6))
    else:
        target = {"open": leave_open, "idle": record_nothing}[way]
        worker = context.Process(target=target, args=(1,) if way == "open" else ())
        worker.start()
        worker.join()
        assert worker.exitcode == 0
    assert system.metrics_collector.flush()
    with track_workflow(workflow_id="parent"):
        pass

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("executor", [("job", "success", 6), ("parent", "success", 2)]),
        ("terminated pool", [("job", "success", 6), ("parent", "success", 2)]),
        ("open", [("open", "cancelled", 1), ("parent", "success", 2)]),
        ("idle", [("parent", "success", 2)]),
    ],
)
def test_what_workers_record_is_there_at_the_end(
    tmp_path: Path, method: str, way: str, expected: list[tuple[Any, ...]]
) -> None:
    """Also what was left open by a worker that ended well, and what a terminated one had finished; and a worker that
    records nothing leaves the parent's connection alone."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program), method, way],
        cwd=tmp_path,
        env={**os.environ, "ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS": "20"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    connection = sqlite3.connect(tmp_path / "analytics.db")
    found = connection.execute(
        "SELECT workflow_id, status, count(*) FROM executions GROUP BY 1, 2 ORDER BY 1"
    ).fetchall()
    connection.close()
    assert found == expected
