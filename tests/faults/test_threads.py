"""Threads by the thousand, and threads that die: each step is counted once, with the ending that it had."""

from pathlib import Path

from child_program import EXECUTIONS, STEPS_BY_SOURCE, delivered, noise_of, run_python


def test_a_thousand_threads_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    """All begin together, each in an execution of its own, while the shipper delivers; what they leave is nothing."""
    done = run_python(
        """
        import threading
        from analytics_sdk import configure, current_execution, track_step, track_workflow
        system = configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.05)
        threading.stack_size(256 * 1024)
        begin, outside = threading.Barrier(1000), []
        def record():
            begin.wait()
            with track_workflow(workflow_id="thread") as run:
                for _ in range(5):
                    with track_step(node_id="step") as step:
                        assert step.execution is run
            outside.append(current_execution())
        threads = [threading.Thread(target=record) for _ in range(1000)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert outside == [None] * 1000
        assert not system.recorder.open_executions and system.writer.losses() == []
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert delivered(tmp_path, STEPS_BY_SOURCE) == [("step", "success", 5000, 1)]
    assert delivered(tmp_path, EXECUTIONS) == [("thread", "success", 1000)]
    assert delivered(tmp_path, "select steps_completed, count(*) from executions group by 1") == [(5, 1000)]


def test_threads_that_come_and_go_leave_nothing_in_memory(tmp_path: Path) -> None:
    """Two thousand short ones, one after the other: what is held then is what was held before."""
    done = run_python(
        """
        import gc, threading, tracemalloc
        from analytics_sdk import configure, track_step, track_workflow
        system = configure(sink="sqlite:///analytics.db")
        def record():
            with track_workflow(workflow_id="thread"), track_step(node_id="step"): pass
        def run(n):
            for _ in range(n):
                thread = threading.Thread(target=record)
                thread.start()
                thread.join()
            assert system.flush(20)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        run(200)
        tracemalloc.start()
        before = run(200)
        print(run(2000) - before)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 200_000
    assert delivered(tmp_path, EXECUTIONS) == [("thread", "success", 2400)]


def test_a_thread_that_dies_in_a_step_ends_it_as_its_exception_says(tmp_path: Path) -> None:
    """`SystemExit` in a thread, a plain exception, an interrupt; blocks that a thread never left, and daemon threads
    that the end of the process finds inside one, are cancelled. We say nothing of it on stderr."""
    done = run_python(
        """
        import threading
        from analytics_sdk import configure, track_step, track_workflow
        configure(sink="sqlite:///analytics.db")
        threading.excepthook = lambda problem: None  # because Python's own word is not what is looked at
        def die(name, how):
            with track_workflow(workflow_id=name), track_step(node_id=name):
                raise how
        def forget():
            track_workflow(workflow_id="forgotten").__enter__()
            track_step(node_id="forgotten").__enter__()
        for _ in range(20):
            for name, how in [("exit 0", SystemExit(0)), ("exit 3", SystemExit(3)), ("error", ValueError("no")),
                              ("interrupt", KeyboardInterrupt())]:
                thread = threading.Thread(target=die, args=(name, how))
                thread.start()
                thread.join()
            thread = threading.Thread(target=forget)
            thread.start()
            thread.join()
        inside = threading.Barrier(21)
        def wait():
            with track_workflow(workflow_id="daemon"), track_step(node_id="daemon"):
                inside.wait()
                threading.Event().wait()
        for _ in range(20): threading.Thread(target=wait, daemon=True).start()
        inside.wait()
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    endings = {
        "daemon": "cancelled",
        "error": "failed",
        "exit 0": "success",
        "exit 3": "failed",
        "forgotten": "cancelled",
        "interrupt": "cancelled",
    }
    expected = [(name, status, 20) for name, status in endings.items()]
    assert delivered(tmp_path, EXECUTIONS) == expected
    assert delivered(tmp_path, "select node_id, status, count(*) from steps group by 1, 2 order by 1") == expected


def test_a_pool_of_a_thousand_threads_belongs_to_who_handed_its_context_over(tmp_path: Path) -> None:
    """Half of the tasks are given the context of one execution by `copy_context`, half none."""
    done = run_python(
        """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from analytics_sdk import configure, copy_context, track_step, track_workflow
        configure(sink="sqlite:///analytics.db")
        threading.stack_size(256 * 1024)
        all_here = threading.Barrier(1000)
        def work(node):
            all_here.wait()
            with track_step(node_id=node): pass
        with track_workflow(workflow_id="giver"), ThreadPoolExecutor(1000) as pool:
            given = [pool.submit(copy_context().run, work, "given") for _ in range(500)]
            left = [pool.submit(work, "left") for _ in range(500)]
            for future in given + left: future.result()
        """,
        tmp_path,
    )
    assert (done.returncode, noise_of(done)) == (0, "")
    assert delivered(
        tmp_path,
        "select node_id, execution_id is not null, count(*), count(distinct step_no) from steps group by 1, 2",
    ) == [("given", 1, 500, 500), ("left", 0, 500, 500)]
