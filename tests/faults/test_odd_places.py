"""Recording from where one would rather not: trace functions, finalizers, warnings, signal handlers, all of which may
come in the middle of a record, of the making of a journal, or of the change to its next file."""

import sys
from pathlib import Path

import pytest
from child_program import LOSSES, STEPS, ask_delivered, run_program

TRACING = """
    import sys, threading
    from analytics_sdk import current_execution, track_step, track_workflow
    main, busy, seen = threading.get_ident(), False, 0
    def watch(*_):
        global busy, seen
        if not busy and seen < 6000 and threading.get_ident() == main:
            busy = True
            with track_step(node_id="traced"):
                seen += 1
            busy = False
        return watch
    @track_step(node_id="work")
    def work(): pass
    kind = sys.argv[1]
    if kind == "settrace":
        sys.settrace(watch)
    elif kind == "setprofile":
        sys.setprofile(watch)
    else:
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(sys.monitoring.DEBUGGER_ID, "watch")
        for event in (events.LINE, events.PY_START, events.CALL):
            sys.monitoring.register_callback(sys.monitoring.DEBUGGER_ID, event, watch)
        sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, events.LINE | events.PY_START | events.CALL)
    with track_workflow(workflow_id="run"):
        while seen < 6000:
            work()
    sys.settrace(None)
    sys.setprofile(None)
    if kind == "monitoring":
        sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, 0)
    assert current_execution() is None
    with track_step(node_id="after"): pass
"""


@pytest.mark.parametrize("kind", ["settrace", "setprofile"] + ["monitoring"] * (sys.version_info >= (3, 12)))
def test_a_trace_function_that_records_at_every_line_of_ours_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Also where it runs between the two halves of an append, and while the journal goes over to its next file."""
    done = run_program(TRACING, tmp_path, kind)
    assert (done.returncode, done.stderr) == (0, "")
    found = {node: (status, n) for node, status, n in ask_delivered(tmp_path, STEPS)}
    assert found.keys() == {"after", "traced", "work"}
    assert found["traced"] == ("success", 6000)
    assert found["after"] == ("success", 1)
    assert ask_delivered(tmp_path, LOSSES) == []


def test_threads_that_are_traced_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """A trace function lets other threads run at every line, also where they could not without it."""
    done = run_program(
        """
        import sys, threading
        from analytics_sdk import configure, track_step
        configure(sink="sqlite:///analytics.db")
        def watch(frame, event, _):
            return watch
        def record():
            sys.settrace(watch)
            for _ in range(700):
                with track_step(node_id="traced"): pass
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=record) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ask_delivered(tmp_path, STEPS) == [("traced", "success", 2800)]
    assert ask_delivered(tmp_path, LOSSES) == []


def test_finalizers_that_record_in_the_middle_of_a_record_lose_nothing(tmp_path: Path) -> None:
    """The collector runs at every object that is made: `__del__` and `weakref.finalize` of objects in cycles."""
    done = run_program(
        """
        import gc, sys, weakref
        from analytics_sdk import current_execution, track_step, track_workflow
        ended = 0
        def record():
            global ended
            with track_step(node_id="finalizer"): pass
            ended += 1
        class Ending:
            def __init__(self): self.itself = self
            def __del__(self): record()
        class Finalized:
            def __init__(self):
                if sys.version_info >= (3, 12):  # because 3.11 itself crashes so, also without us
                    self.itself = self
                weakref.finalize(self, record)
        @track_step(node_id="work")
        def work(kind): kind()
        gc.set_threshold(1)
        with track_workflow(workflow_id="run"):
            for _ in range(1000):
                work(Ending)
                work(Finalized)
        while ended < 2000:  # because a finalizer may run in another thread of ours, and the process must not end there
            gc.collect()
        assert current_execution() is None
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ask_delivered(tmp_path, STEPS) == [("finalizer", "success", 2000), ("work", "success", 2000)]
    assert ask_delivered(tmp_path, LOSSES) == []


WARNING = """
    import logging, sys, warnings
    from analytics_sdk import current_execution, track_step, track_workflow
    handled = 0
    class Recording(logging.Handler):
        def emit(self, record):
            global handled
            handled += 1
            with track_step(node_id="handler"): pass
    class Old:
        def __str__(self):
            warnings.warn("old")
            return "old"
    logging.captureWarnings(True)
    logging.basicConfig(level="DEBUG", handlers=[Recording()])
    warnings.simplefilter(sys.argv[1])
    @track_step(node_id=lambda thing: thing, tags={"thing": lambda thing: thing})
    def work(thing, raises=False):
        if raises:
            raise LookupError(thing)
    with track_workflow(workflow_id="run"):
        for _ in range(50):
            work(Old())
        try:
            work(Old(), raises=True)
        except LookupError:
            pass
    assert current_execution() is None
    print(handled)
"""


@pytest.mark.parametrize(("warnings", "name"), [("always", "old"), ("error", "<Old>")])
def test_warnings_that_a_recording_handler_gets_or_that_are_errors_lose_nothing(
    tmp_path: Path, warnings: str, name: str
) -> None:
    """The host's objects warn while we ask them for their text: into a logging handler that records, or as errors."""
    done = run_program(WARNING, tmp_path, warnings)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0
    expected = [("handler", "success", int(done.stdout)), (name, "failed", 1), (name, "success", 50)]
    assert sorted(ask_delivered(tmp_path, STEPS)) == sorted(expected)
    assert ask_delivered(tmp_path, LOSSES) == []


SIGNALS = """
    import faulthandler, signal
    faulthandler.dump_traceback_later(20, exit=True)
    from analytics_sdk import current_execution, track_step
    busy, seen, worked = False, 0, 0
    def handle(*_):
        global busy, seen
        if not busy and seen < ROUNDS:
            busy = True
            with track_step(node_id="signal"):
                seen += 1
            busy = False
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    while seen < ROUNDS or not worked:
        with track_step(node_id="work"):
            worked += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert current_execution() is None
    print(seen, worked)
"""


@pytest.mark.parametrize("rounds", [20, 20, 1000])
def test_signal_handlers_that_record_while_a_journal_is_opened_or_changes_files_lose_nothing(
    tmp_path: Path, rounds: int
) -> None:
    """From the first tracked call on, which puts the system together, a signal comes five thousand times a second."""
    done = run_program(SIGNALS.replace("ROUNDS", str(rounds)), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    seen, worked = map(int, done.stdout.split())
    assert ask_delivered(tmp_path, STEPS) == [("signal", "success", seen), ("work", "success", worked)]
    assert ask_delivered(tmp_path, LOSSES) == []
    assert ask_delivered(tmp_path, "select count(distinct source) from steps") == [(1,)]
