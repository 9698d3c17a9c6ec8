"""Sub-interpreters: one that shares the lock records, and another process delivers; one that has its own is refused."""

import sys
from pathlib import Path

from child_program import EXECUTIONS, STEPS, delivered, run_program

FIRST = """
    import sys
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    run = getattr(interpreters, "exec", None) or interpreters.run_string
    def make(shared):
        if sys.version_info >= (3, 13):
            return interpreters.create("legacy" if shared else "isolated")
        return interpreters.create(isolated=not shared)
"""

SHARED = """
    inside = '''
    from analytics_sdk import get_analytics_system, track_step, track_workflow
    for _ in range(3):
        with track_workflow(workflow_id="inner"), track_step(node_id="inner"): pass
    system = get_analytics_system()
    system.start_resource_monitoring(3600)
    print(system.flush(), system.status()["running"], system.status()["problems"])
    import threading
    print(threading.active_count())
    '''
    import textwrap
    from analytics_sdk import configure, track_step, track_workflow
    system = configure(sink="sqlite:///analytics.db")
    with track_workflow(workflow_id="outer"), track_step(node_id="outer"): pass
    assert system.flush()
    interpreter = make(shared=True)
    assert run(interpreter, textwrap.dedent(inside)) is None
    interpreters.destroy(interpreter)
    with track_workflow(workflow_id="outer"), track_step(node_id="outer"): pass
"""


def test_a_sub_interpreter_records_starts_no_thread_and_says_so(tmp_path: Path) -> None:
    """Python 3.11 ends the whole process where a sub-interpreter ends with a daemon thread in it."""
    done = run_program(FIRST + SHARED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False False ['this is a sub-interpreter, where no thread delivers: run `analytics-sdk ship` beside it']",
        "1",
    ]
    assert delivered(tmp_path, STEPS) == [("inner", "success", 3), ("outer", "success", 2)]
    assert delivered(tmp_path, EXECUTIONS) == [("inner", "success", 3), ("outer", "success", 2)]


OWN_LOCK = """
    from analytics_sdk import track_step
    with track_step(node_id="outer"): pass
    try:
        failed = run(make(shared=False), "import analytics_sdk")  # 3.13 gives what failed, 3.12 raises it
        print(failed.formatted)
    except interpreters.RunFailedError as error:
        print(error)
    with track_step(node_id="outer"): pass
"""


if sys.version_info >= (3, 12):  # because before that all of them share one lock

    def test_a_sub_interpreter_with_a_lock_of_its_own_cannot_import_us_and_harms_nobody(tmp_path: Path) -> None:
        done = run_program(FIRST + OWN_LOCK, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "module msgspec._core does not support loading in subinterpreters" in done.stdout
        assert delivered(tmp_path, STEPS) == [("outer", "success", 2)]
