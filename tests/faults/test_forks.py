"""Forks: what parents and children record is counted once, by the process that did it, and nobody hangs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from child_program import EXECUTIONS, STEPS_BY_SOURCE, delivered, noise_of, run_python

from analytics_sdk.journal.listing import find_journals

FORKS = int(os.environ.get("ANALYTICS_TEST_FORKS", "25"))
"""A hundred and more take long, and are for who looks for rare meetings."""


@pytest.mark.parametrize("fork", ["os.fork"])
def test_forks_of_a_program_with_eight_recording_threads_lose_nothing_and_hang_nobody(
    tmp_path: Path, fork: str
) -> None:
    """Each child records two steps and leaves by `os._exit`, while the shipper delivers: the parent's threads lose
    none, and the database is whole."""
    done = run_python(
        f"""
        import ctypes, os, signal, threading
        from analytics_sdk import configure, track_step
        configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.05)
        stop, counts = threading.Event(), [0] * 8
        def record(i):
            while not stop.is_set():
                for _ in range(20):
                    with track_step(node_id="parent"):
                        counts[i] += 1
                stop.wait(0.001)
        threads = [threading.Thread(target=record, args=(i,)) for i in range(8)]
        for thread in threads: thread.start()
        for _ in range({FORKS}):
            pid = {fork}()
            if pid == 0:
                signal.alarm(20)
                for _ in range(2):
                    with track_step(node_id="child"): pass
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        print(sum(counts))
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [
        ("child", "success", 2 * FORKS, FORKS),
        ("parent", "success", int(done.stdout), 1),
    ]


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_what_began_before_a_fork_ends_in_the_parent_alone(tmp_path: Path, fork: str) -> None:
    """A child that walks out of the blocks that its parent opened, with or without steps of its own before, ends
    nothing of the parent's; what it began itself, also inside the parent's execution, is there."""
    done = run_python(
        f"""
        import ctypes, os, sys
        from analytics_sdk import configure, track_step, track_workflow
        configure(sink="sqlite:///analytics.db")
        children = []
        for kind in ("silent", "stepping", "working"):
            with track_workflow(workflow_id=kind), track_step(node_id="open"):
                pid = {fork}()
                if pid == 0 and kind == "stepping":
                    with track_step(node_id="own"): pass
                elif pid == 0 and kind == "working":
                    with track_workflow(workflow_id="childs"), track_step(node_id="own"): pass
            if pid == 0:
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        with track_step(node_id="orphan"):
            pid = {fork}()
        if pid == 0:
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(tmp_path, EXECUTIONS) == [
        ("childs", "success", 1),
        ("silent", "success", 1),
        ("stepping", "success", 1),
        ("working", "success", 1),
    ]
    assert delivered(tmp_path, "select node_id, status, count(*) from steps group by 1, 2 order by 1") == [
        ("open", "success", 3),
        ("orphan", "success", 1),
        ("own", "success", 2),
    ]


def test_workers_that_are_recycled_after_a_few_tasks_lose_none(tmp_path: Path) -> None:
    """A pool whose workers end after two tasks each, and the same made by hand: forked before work, gone by
    `os._exit`."""
    done = run_python(
        """
        import multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor
        from analytics_sdk import configure, track_workflow
        @track_workflow(workflow_id="job")
        def work(number): return number
        if __name__ == "__main__":
            configure(sink="sqlite:///analytics.db")
            with track_workflow(workflow_id="loaded before the fork"): pass
            with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2) as pool:
                assert pool.map(work, range(12), chunksize=1) == list(range(12))
            with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver"), max_tasks_per_child=2) as pool:
                assert list(pool.map(work, range(4))) == list(range(4))
            for _ in range(6):
                pid = os.fork()
                if pid == 0:
                    work(1); work(2)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(tmp_path, EXECUTIONS) == [
        ("job", "success", 28),
        ("loaded before the fork", "success", 1),
    ]


def test_a_program_that_turns_into_a_daemon_and_closes_every_file_goes_on_recording(tmp_path: Path) -> None:
    """Fork, new session, fork, `os.closerange` over all descriptors: what both lives of it recorded
    is there when somebody delivers."""
    done = run_python(
        """
        import os
        from analytics_sdk import configure, track_step
        system = configure(sink="sqlite:///analytics.db")
        with track_step(node_id="before"): pass
        assert system.flush(20)
        gone, end = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.dup2(end, 100)
                os.closerange(0, 100)
                for _ in range(3):
                    with track_step(node_id="daemon"): pass
            os._exit(0)
        os.close(end)
        os.read(gone, 1)
        os.wait()
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [("before", "success", 1, 1), ("daemon", "success", 3, 1)]


def test_what_was_recorded_before_exec_is_delivered_and_what_was_open_is_crashed(tmp_path: Path) -> None:
    """`exec` runs no exit handlers: the journal is left to whoever comes, here the program that took its place."""
    done = run_python(
        """
        import os, sys
        from analytics_sdk import configure, track_step, track_workflow
        configure(sink="sqlite:///analytics.db")
        if len(sys.argv) == 1:
            with track_step(node_id="before"): pass
            track_workflow(workflow_id="open").__enter__()
            os.execv(sys.executable, [sys.executable, sys.argv[0], "again"])
        with track_step(node_id="after"): pass
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [("after", "success", 1, 1), ("before", "success", 1, 1)]
    assert delivered(tmp_path, "select workflow_id, status from executions") == [("open", "crashed")]
    assert find_journals(tmp_path / "analytics.db.journals") == []


def test_an_idle_child_that_outlives_its_killed_parent_holds_nothing_back_for_ever(tmp_path: Path) -> None:
    """What the parent had recorded is delivered while the child lives; how the parent's open execution ended is known
    when the child is gone, or records something itself."""
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
            import os, signal, sys
            from analytics_sdk import configure, track_step, track_workflow
            configure(sink="sqlite:///analytics.db")
            track_workflow(workflow_id="open").__enter__()
            with track_step(node_id="parent"): pass
            if os.fork() == 0:
                os.write(1, b"x")
                os.read(0, 1)
                with track_step(node_id="child"): pass
                os.write(1, b"y")
                os.read(0, 1)
                os._exit(0)
            signal.pause()
            """),
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert program.stdin is not None and program.stdout is not None
    with program, program.stdin, program.stdout:
        assert program.stdout.read(1) == b"x"
        program.kill()
        program.wait()
        status = "select status, (select count(*) from steps where node_id = 'parent') from executions"
        assert delivered(tmp_path, status) in ([("running", 1)], [("crashed", 1)])
        program.stdin.write(b".")
        assert program.stdout.read(1) == b"y"
        assert delivered(tmp_path, status) == [("crashed", 1)]
        program.stdin.write(b".")
    assert delivered(tmp_path, "select node_id, count(*) from steps group by 1 order by 1") == [
        ("child", 1),
        ("parent", 1),
    ]


def test_a_process_that_gets_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    """Both say that they are process 7 of the same machine, as the first processes of two containers do: the dead
    one's journal is judged by its lock, and its execution is crashed while the living one's runs."""
    code = """
        import os, signal, sys
        os.getpid = lambda: 7
        from analytics_sdk import configure, track_workflow
        configure(sink="sqlite:///analytics.db")
        track_workflow(workflow_id=sys.argv[1]).__enter__()
        os.write(1, b"x")
        os.read(0, 1)
        os._exit(0)
        """

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), name],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    with start("dead") as dead:
        assert dead.stdout is not None and dead.stdout.read(1) == b"x"
        dead.kill()
    with start("living") as living:
        assert living.stdout is not None and living.stdout.read(1) == b"x"
        found = delivered(tmp_path, "select workflow_id, status, pid from executions order by 1")
        living.kill()
    assert found == [("dead", "crashed", 7), ("living", "running", 7)]
