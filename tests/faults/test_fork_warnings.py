"""Forks of a program that has no threads but ours, and ends that are asked for twice."""

import time
from pathlib import Path

from child_program import LOSSES, STEPS, ask_delivered, run_program

from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.vocabulary import Kind


def test_python_does_not_warn_a_program_without_threads_of_its_own_when_it_forks(tmp_path: Path) -> None:
    """From 3.12 on Python warns who forks with threads: ours is gone at that moment, and delivers again afterwards."""
    done = run_program(
        """
        import os
        from analytics_sdk import configure, track_step
        system = configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.05)
        for _ in range(15):
            for _ in range(20):
                with track_step(node_id="parent"): pass
            pid = os.fork()
            if pid == 0:
                with track_step(node_id="child"): pass
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        with track_step(node_id="parent"): pass
        assert system.status()["running"]
        """,
        tmp_path,
        flags=("-W", "always"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ask_delivered(tmp_path, STEPS) == [("child", "success", 15), ("parent", "success", 301)]
    assert ask_delivered(tmp_path, LOSSES) == []


def test_a_second_end_waits_for_nobody(tmp_path: Path) -> None:
    """As in a worker of multiprocessing's forkserver, whose exit handlers run twice from Python 3.13 on."""
    writers = [JournalWriter(tmp_path, min_free_bytes=0) for _ in range(3)]
    for writer in writers:
        writer.append(Kind.STEP_END, (0, "run", "checkout", 1, "pay", "click", 1, 0, 5))
    shipper = Shipper(tmp_path, [MemorySink], writers[0])
    shipper.ensure_started()
    assert shipper.close(10)
    writers[1].release()
    began = time.monotonic()
    assert shipper.close(10)
    assert time.monotonic() - began < 5
    for writer in writers:
        writer.release()
