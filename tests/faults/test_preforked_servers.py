"""gunicorn and Celery: each request and each task is stored once, by whichever worker did it and however that ended."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from child_program import EXECUTIONS, STEPS_BY_SOURCE, delivered, run_python, write_program

STOPS = [signal.SIGKILL]
if os.environ.get("CI") or os.environ.get("ANALYTICS_TEST_SLOW_STOPS") == "1":
    STOPS.append(signal.SIGTERM)  # a choice, because Celery's own warm stop takes five seconds, with us and without
PATIENCE_SECONDS = 30

WEB = """
    import os
    from analytics_sdk import configure, track_step, track_workflow
    configure(sink="sqlite:///analytics.db")
    with track_step(node_id="loading"): pass
    @track_workflow(workflow_id="request")
    def answer():
        with track_step(node_id="work"), track_workflow(workflow_id="inner"):
            return str(os.getpid()).encode()
    def app(environ, start_response):
        body = answer()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""
TASKS = """
    import os
    from celery import Celery
    from analytics_sdk import configure, track_step, track_workflow
    configure(sink="sqlite:///analytics.db")
    app = Celery("tasks", broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.02}
    app.conf.worker_prefetch_multiplier = 1
    @track_workflow(workflow_id="job")
    def job():
        with track_step(node_id="work"), track_workflow(workflow_id="inner"): pass
    @app.task
    def work(number):
        job()
        with open("done", "a") as file:
            file.write(f"{os.getpid()}\\n")
    def send():
        with track_workflow(workflow_id="sender"):
            for number in range(20):
                work.delay(number)
"""
PARENTS = """
    select child.workflow_id, parent.workflow_id, count(*) from executions child
    left join executions parent on parent.execution_id = child.parent_execution_id group by 1, 2 order by 1
"""


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(folder)}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def ask(folder: Path) -> int:
    """The number of the process that answered one request."""
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(PATIENCE_SECONDS)
        to.connect(f"/proc/self/fd/{here}/socket")  # because the path of a socket must be short
        os.close(here)
        connection = http.client.HTTPConnection("gunicorn")
        connection.sock = to
        connection.request("GET", "/", headers={"Connection": "close"})
        return int(connection.getresponse().read())


def workers_of_celery(folder: Path) -> list[str]:
    """The number of the process that did each task."""
    done = folder / "done"
    return done.read_text().split() if done.exists() else []


def wait_for(folder: Path, server: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Until a server has come so far."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.01)


def complaints_in(folder: Path) -> list[str]:
    """The lines of a server's log that speak of us, or of something that went wrong."""
    said = (folder / "log").read_text("utf-8").splitlines()
    return [line for line in said if "analytics" in line or "Traceback" in line or "[ERROR]" in line]


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_what_workers_of_gunicorn_record_is_stored_once(tmp_path: Path, options: list[str]) -> None:
    """Two workers that are replaced after four requests each, and a master that is asked to end."""
    write_program(WEB, tmp_path, "web.py")
    server = start(tmp_path, "gunicorn", "--bind=unix:socket", "--workers=2", "--max-requests=4", *options, "web:app")
    try:
        wait_for(tmp_path, server, lambda: "Listening at" in (tmp_path / "log").read_text("utf-8"))
        workers = {ask(tmp_path) for _ in range(12)}
    finally:
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0
    assert len(workers) >= 3
    loaded, worked = delivered(tmp_path, STEPS_BY_SOURCE)
    assert worked == ("work", "success", 12, len(workers))
    assert loaded[3] == 1 if options else loaded[3] >= len(workers)
    assert delivered(tmp_path, PARENTS) == [("inner", "request", 12), ("request", None, 12)]
    assert delivered(tmp_path, EXECUTIONS) == [("inner", "success", 12), ("request", "success", 12)]
    assert complaints_in(tmp_path) == []


@pytest.mark.parametrize("stop", STOPS)
def test_what_workers_of_celery_record_is_stored_once(tmp_path: Path, stop: signal.Signals) -> None:
    """Two workers that are replaced after three tasks each, then all are killed, or the master asked to end. The
    sender's execution is not their parent, because a message carries none of ours."""
    write_program(TASKS, tmp_path, "tasks.py")
    (tmp_path / "queue").mkdir()
    (tmp_path / "control").mkdir()
    done = run_python("import tasks; tasks.send()", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    server = start(tmp_path, "celery", "-A", "tasks", "worker", "--concurrency=2", "--max-tasks-per-child=3", *quiet)
    try:
        wait_for(tmp_path, server, lambda: len(workers_of_celery(tmp_path)) == 20)
    finally:
        os.killpg(server.pid, stop) if stop == signal.SIGKILL else server.send_signal(stop)
        assert server.wait(PATIENCE_SECONDS) == (-stop if stop == signal.SIGKILL else 0)
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [("work", "success", 20, len(set(workers_of_celery(tmp_path))))]
    assert delivered(tmp_path, EXECUTIONS) == [
        ("inner", "success", 20),
        ("job", "success", 20),
        ("sender", "success", 1),
    ]
    assert delivered(tmp_path, PARENTS) == [("inner", "job", 20), ("job", None, 20), ("sender", None, 1)]
    assert complaints_in(tmp_path) == []
