"""A program whose threads gevent has made greenlets: counted exactly, contexts of their own, and nobody is stopped."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from child_program import EXECUTIONS, STEPS_BY_SOURCE, delivered, noise_of, run_python, write_program

from analytics_sdk.sinks import make_sink

PATCH = "from gevent import monkey; monkey.patch_all()"
THOUSAND = """
    {before}
    import analytics_sdk
    from analytics_sdk import configure, current_execution, recovery_attempt, track_step, track_workflow
    {after}
    import gevent
    system = configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.05)
    def work(number):
        with track_workflow(workflow_id="greenlet") as run:
            for _ in range(3):
                with track_step(node_id="step") as step:
                    gevent.sleep(0.001 * (number % 3))
                    assert current_execution() is run and step.execution is run
                with recovery_attempt("inside", node_id="step"):
                    gevent.sleep(0)
        assert current_execution() is None
    with track_workflow(workflow_id="main") as main:
        for greenlet in [gevent.spawn(work, number) for number in range(1000)]:
            greenlet.get()
        assert current_execution() is main
    with gevent.Timeout(20):
        while system.status()["undelivered_bytes"]:  # it is delivered while the program runs, and nobody asks for it
            gevent.sleep(0.01)
    with track_step(node_id="last"): pass
"""


@pytest.mark.parametrize(("before", "after"), [(PATCH, ""), ("", PATCH)], ids=["patched first", "imported first"])
def test_a_thousand_greenlets_are_counted_exactly_and_do_not_mix(tmp_path: Path, before: str, after: str) -> None:
    """Each switches in the middle of its steps; delivery goes on beside them, and the end delivers the last."""
    done = run_python(THOUSAND.format(before=before, after=after), tmp_path)
    assert (done.returncode, noise_of(done)) == (0, "")
    with closing(sqlite3.connect(tmp_path / "analytics.db")) as database:
        assert database.execute(EXECUTIONS).fetchall() == [("greenlet", "success", 1000), ("main", "success", 1)]
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [("last", "success", 1, 1), ("step", "success", 3000, 1)]
    assert delivered(tmp_path, "select count(*), count(distinct execution_id), sum(success) from recoveries") == [
        (3000, 1000, 3000)
    ]


def test_a_database_that_is_locked_stops_no_greenlet_and_holds_up_no_end(tmp_path: Path) -> None:
    """SQLite waits for a lock for five seconds and knows nothing of greenlets: it waits in a real thread."""
    made = make_sink(f"sqlite:///{tmp_path / 'analytics.db'}")
    made.open()
    made.close()
    program = write_program(
        f"""
        {PATCH}
        import gevent, time
        from analytics_sdk import configure, track_step
        system = configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.05, exit_timeout_seconds=0.5)
        longest, until = 0, time.monotonic() + 1
        while time.monotonic() < until:
            began = time.monotonic()
            with track_step(node_id="step"): pass
            gevent.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        print(longest, time.monotonic())
        """,
        tmp_path,
    )
    with closing(sqlite3.connect(tmp_path / "analytics.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with subprocess.Popen(
            [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            longest, ended = map(float, process.stdout.readline().split())
            assert process.stderr.read() == ""
            process.wait(30)
            gone = time.monotonic()
    assert longest < 2.5  # half of what SQLite waits
    assert gone - ended < 2.5
    ((node, status, n, sources),) = delivered(tmp_path, STEPS_BY_SOURCE)
    assert (node, status, sources) == ("step", "success", 1) and n > 10
