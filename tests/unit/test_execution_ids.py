"""Ids of executions are unique: across threads, forks without hooks, and machines started from one snapshot."""

import os
import subprocess
import sys
import threading
import time
import uuid

from analytics_sdk.capture import execution_id
from analytics_sdk.capture.execution_id import new_execution_id


def test_it_is_a_uuid_of_version_7_and_tells_the_time():
    """So that databases store it well and people can sort by it."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_execution_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_of_many_made_at_once_none_are_alike():
    """Four threads, many in each millisecond."""
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(new_execution_id() for _ in range(5_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20_000


def test_a_file_of_the_host_named_random_is_not_taken_for_pythons(tmp_path):
    """Nor is it run: importing us does what importing us did before."""
    (tmp_path / "random.py").write_text("raise SystemExit('the host: run by somebody else')")
    program = tmp_path / "program.py"
    program.write_text("import analytics_sdk\nprint('fine')")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_a_forked_child_does_not_go_on_with_its_parents_numbers(monkeypatch):
    """Not even where the clock stands still, and nothing here hangs on Python's own hooks."""
    monkeypatch.setattr(execution_id.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, new_execution_id().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    made = os.read(reading, 100).decode()
    os.close(reading)
    assert uuid.UUID(made)
    assert made != new_execution_id()


def test_machines_started_from_one_snapshot_make_different_ones(monkeypatch):
    """Their generators are alike, their clocks differ by a nanosecond."""
    state = execution_id._random.getstate()
    made = []
    for at_ns in (1_700_000_000_000_000_000, 1_700_000_000_000_000_001):
        execution_id._random.setstate(state)
        monkeypatch.setattr(execution_id.time, "time_ns", lambda at_ns=at_ns: at_ns)
        made.append(new_execution_id())
    assert made[0] != made[1]
