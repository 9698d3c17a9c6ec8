"""The stack is full, or memory is short, inside a record: the host sees its own results and exceptions, no others."""

from pathlib import Path

from child_program import EXECUTIONS, LOSSES, STEPS, delivered, run_program

DEEP = """
    import sys
    from analytics_sdk import configure, current_execution, recovery_attempt, track_step, track_workflow
    system = configure(sink="sqlite:///analytics.db")
    OWN = LookupError("own")
    @track_step(node_id="step")
    def step(): return 7
    @track_step(node_id="tagged", tags={"a": "b"})
    def tagged(): return 7
    @track_step(node_id="failing")
    def failing(): raise OWN
    @track_workflow(workflow_id="workflow")
    def workflow(): return 7
    @track_workflow(workflow_id="broken")
    def broken(): raise OWN
    @recovery_attempt("again")
    def recover(): return 7
    @track_step(node_id="items")
    def items(): yield 7
    def use_items(): return next(items())
    def block():
        with track_step(node_id="block"): return 7
    def failing_block():
        with track_step(node_id="failing_block"): raise OWN
    def workflow_block():
        with track_workflow(workflow_id="workflow_block"): return 7
    def recovery_block():
        with recovery_attempt("again"): raise OWN
    def go_down(levels, call): return call() if levels <= 0 else go_down(levels - 1, call)
    def outcome(levels, call):
        OWN.__context__ = OWN.__traceback__ = None
        try:
            assert go_down(levels, call) == 7
            return "value"
        except LookupError as error:
            assert error is OWN and error.__context__ is None, error.__context__
            return "value"
        except RecursionError:
            return "full"
    FRAMES = {"block": 6, "failing_block": 6, "workflow_block": 6, "recovery_block": 6, "use_items": 3}
    calls = [step, tagged, failing, workflow, broken, recover, use_items, block, failing_block, workflow_block]
    calls.append(recovery_block)
    for call in calls:
        outcome(0, call)  # because the first of a kind imports and compiles
    sys.setrecursionlimit(500)
    def room_for_nothing():
        return next(levels for levels in range(400, 600) if outcome(levels, lambda: 7) == "full")
    full, made = room_for_nothing(), 0
    def exhaust():
        global made
        for call in calls:
            frames = FRAMES.get(call.__name__, 4 if call in (step, failing) else 3)
            for room in range(80):
                before = current_execution()
                found = outcome(full - room, call)
                assert room < frames or found == "value", (call.__name__, room, found)
                assert current_execution() is before
                made += found == "value" and call in (step, tagged, failing, block, failing_block)
    exhaust()
    with track_workflow(workflow_id="around"):
        exhaust()
    sys.setrecursionlimit(3000)
    with track_workflow(workflow_id="after"), track_step(node_id="after"): pass
    print(made + 5)
"""


def test_where_the_stack_is_full_the_host_has_its_own_results_and_exceptions_and_no_other(tmp_path: Path) -> None:
    """Each kind of call, at each of the last 80 frames that the stack has room for: what is not recorded is counted."""
    done = run_program(DEEP, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made = int(done.stdout)
    [(kept,)] = delivered(tmp_path, "select count(*) from steps where node_id not in ('items', 'after')")
    lost = {kind: n for kind, reason, n in delivered(tmp_path, LOSSES) if reason == "error"}
    assert lost.keys() == {"execution_end", "recovery", "step_end"}
    assert kept <= made <= kept + lost["step_end"]
    assert ("after", "success", 1) in delivered(tmp_path, STEPS)
    assert {("after", "success", 1), ("around", "success", 1)} <= set(delivered(tmp_path, EXECUTIONS))
    assert delivered(tmp_path, "select count(*) from executions where status = 'running'") == [(0,)]


MEMORY = """
    import sys, time
    import msgspec
    from analytics_sdk import configure, current_execution, track_step, track_workflow
    class Short:
        at = 0
        def ask(self):
            self.at -= 1
            if self.at == 0:
                raise MemoryError
    short = Short()
    class Clock:
        def time_ns(self):
            short.ask()
            return time.time_ns()
        def perf_counter_ns(self):
            short.ask()
            return time.perf_counter_ns()
        def sleep(self, seconds): time.sleep(seconds)
    encoder = msgspec.msgpack.Encoder()
    class Encoder:
        def encode(self, value):
            short.ask()
            return encoder.encode(value)
    msgspec.msgpack.Encoder = Encoder
    class Name:
        def __init__(self, node_id): self.node_id = node_id
        def __str__(self):
            short.ask()
            return self.node_id
    OWN = LookupError("own")
    configure(sink="sqlite:///analytics.db", clock=Clock(), flush_interval_seconds=3600)
    @track_step(node_id="{node.node_id}")
    def usual(node): return 7
    @track_step(node_id="{node}", tags={"a": "b"})
    def general(node): return 7
    @track_step(node_id="{node}")
    def failing(node): raise OWN
    @track_workflow(workflow_id="{node}")
    def workflow(node): return 7
    def block(node):
        with track_step(node_id=node): return 7
    def outcome(call, at):
        OWN.__context__, short.at = None, at
        try:
            assert call(Name(call.__name__)) == 7
        except LookupError as error:
            assert error is OWN and error.__context__ is None
        assert current_execution() is around
    made = 0
    with track_workflow(workflow_id="around") as around:
        for call in (usual, general, failing, workflow, block):
            for at in range(20):
                outcome(call, at)
                made += call is not workflow
        short.at = 0
    print(made)
"""


def test_where_memory_is_short_the_host_has_its_own_results_and_exceptions_and_no_other(tmp_path: Path) -> None:
    """Each call of a clock, of the encoder and of `__str__` that a record makes gets no memory, one after the other."""
    done = run_program(MEMORY, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made = int(done.stdout)
    [(kept,)] = delivered(tmp_path, "select count(*) from steps")
    lost = {kind: n for kind, reason, n in delivered(tmp_path, LOSSES) if reason == "error"}
    assert kept < made <= kept + lost["step_end"] + lost.get("step_start", 0)
    assert ("around", "success", 1) in delivered(tmp_path, EXECUTIONS)
    assert delivered(tmp_path, "select count(*) from executions where status = 'running'") == [(0,)]
