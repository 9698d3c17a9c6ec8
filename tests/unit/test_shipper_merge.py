"""Records become rows: beginnings and endings are paired by position, wherever the stretch was cut."""

import msgspec

from analytics_sdk.events import ExecutionEnd, ExecutionStart, GpuSample, Recovery, Sample, StepEnd, StepStart
from analytics_sdk.journal.record import Record
from analytics_sdk.rollup import WHOLE, counted
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import lost_healings, merge
from analytics_sdk.sinks.base import (
    EXECUTION_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    JournalIdentity,
)
from analytics_sdk.vocabulary import CANCELLED, FAILED, NO_START, RECOVERED, SUCCESS, Kind

ME = JournalIdentity("a" * 32, "host", 1, 1)
AT = 1_700_000_000_000_000_000
STARTED = StepStart("e", "w", 1, "pay", "click", AT)


def ended(start: int, status: int = SUCCESS, revises: int | None = None, **more: object) -> StepEnd:
    return StepEnd(start, "e", "w", 1, "pay", "click", AT, status, 50, revises=revises, **more)


def step(row: tuple[object, ...]) -> dict[str, object]:
    return dict(zip(STEP_COLUMNS, row, strict=True))


def test_a_start_and_its_end_in_one_stretch_are_one_new_row_under_the_starts_position():
    """Most beginnings cost no row of their own."""
    batch = merge(ME, [(100, Kind.STEP_START, STARTED), (200, Kind.STEP_END, ended(100))], 64, 300)
    (row,) = batch.new_steps
    assert batch.late_steps == []
    assert step(row) == {
        "seq": 100,
        "execution_id": "e",
        "workflow_id": "w",
        "step_no": 1,
        "parent_step_no": None,
        "node_id": "pay",
        "action_type": "click",
        "status": "success",
        "started_at_ns": AT,
        "ended_at_ns": AT + 50,
        "duration_ns": 50,
        "error_type": None,
        "error_message": None,
        "tags": None,
        "end_seq": 200,
        "first_status": None,
        "heal_seq": None,
    }


def test_a_start_without_an_end_is_a_running_row_and_the_end_comes_as_a_late_row():
    """The late row has everything, so that it can replace the running one."""
    running = merge(ME, [(100, Kind.STEP_START, STARTED)], 64, 150)
    assert [step(row)["status"] for row in running.new_steps] == ["running"]
    late = merge(ME, [(200, Kind.STEP_END, ended(100, FAILED, error_type="E", error_message="m"))], 150, 300)
    assert late.new_steps == []
    (row,) = late.late_steps
    assert (step(row)["seq"], step(row)["status"], step(row)["error_type"]) == (100, "failed", "E")
    assert step(row)["end_seq"] == 200


def test_an_end_whose_start_was_lost_is_a_new_row_under_its_own_position():
    """Also where its start stands in another journal: before the origin of this one."""
    batch = merge(ME, [(200, Kind.STEP_END, ended(NO_START)), (300, Kind.STEP_END, ended(90))], 150, 400, origin=100)
    assert [step(row)["seq"] for row in batch.new_steps] == [200, 300]
    assert batch.late_steps == []


def test_a_healing_in_the_same_stretch_keeps_the_end_and_says_what_was_before():
    """One row: recovered, with the first word and both positions."""
    events = [(100, Kind.STEP_START, STARTED), (200, Kind.STEP_END, ended(100, FAILED))]
    events.append((300, Kind.STEP_END, ended(100, RECOVERED, revises=FAILED)))
    (row,) = merge(ME, events, 64, 400).new_steps
    assert [step(row)[name] for name in ("status", "first_status", "end_seq", "heal_seq")] == [
        "recovered",
        "failed",
        200,
        300,
    ]


def test_a_healing_in_a_later_stretch_leaves_the_stored_end_as_it_is():
    """A late row whose end_seq is None: the sink keeps the one that it has."""
    (row,) = merge(ME, [(300, Kind.STEP_END, ended(100, RECOVERED, revises=FAILED))], 250, 400).late_steps
    assert [step(row)[name] for name in ("seq", "status", "first_status", "end_seq", "heal_seq")] == [
        100,
        "recovered",
        "failed",
        None,
        300,
    ]


def test_a_healing_of_a_step_that_is_not_in_this_journal_makes_no_row_and_no_fact_but_is_found():
    """It would be a second row for the same step, and rollups and rows would tell different stories."""
    events = [(300, Kind.STEP_END, ended(NO_START, RECOVERED, revises=FAILED))]
    batch = merge(ME, events, 250, 400)
    assert batch.new_steps == batch.late_steps == []
    assert lost_healings(events) == [300]
    cells = {}
    fold(cells, events)
    assert all(cell.healed_failed == 0 for nodes in cells.values() for cell in nodes.values())


def test_executions_recoveries_and_samples_become_rows_in_the_order_of_their_columns():
    """Tags and GPUs are JSON text, statuses are words, ends are start and duration."""
    events = [
        (100, Kind.EXECUTION_START, ExecutionStart("e", "w", AT, 3, tags={"a": "b"})),
        (150, Kind.RECOVERY, Recovery("e", "w", 1, "pay", "semantic", True, AT, 9)),
        (180, Kind.SAMPLE, Sample(AT, 1.5, gpus=[GpuSample(0, "H200", 55.0)])),
        (200, Kind.EXECUTION_END, ExecutionEnd(100, "e", "w", AT, CANCELLED, 70, 2, 1, 1, 3, tags={"a": "b"})),
    ]
    batch = merge(ME, events, 64, 300)
    execution = dict(zip(EXECUTION_COLUMNS, batch.new_executions[0], strict=True))
    assert (execution["seq"], execution["status"], execution["ended_at_ns"], execution["end_seq"]) == (
        100,
        "cancelled",
        AT + 70,
        200,
    )
    assert (execution["steps_completed"], execution["steps_failed"], execution["steps_recovered"]) == (2, 1, 1)
    assert msgspec.json.decode(execution["tags"]) == {"a": "b"}
    recovery = dict(zip(RECOVERY_COLUMNS, batch.recoveries[0], strict=True))
    assert (recovery["seq"], recovery["strategy"], recovery["success"]) == (150, "semantic", True)
    sample = dict(zip(SAMPLE_COLUMNS, batch.samples[0], strict=True))
    assert sample["cpu_percent"] == 1.5
    assert msgspec.json.decode(sample["gpus"])[0]["name"] == "H200"


def test_a_node_without_a_name_is_stored_under_a_dash_in_rows_and_in_rollups():
    """The empty name stands for whole executions."""
    nameless = StepStart(None, None, 1, "", None, AT)
    (row,) = merge(ME, [(100, Kind.STEP_START, nameless)], 64, 150).new_steps
    assert step(row)["node_id"] == "-"
    cells = {}
    fold(cells, [(100, Kind.STEP_START, nameless)])
    assert [list(nodes) for nodes in cells.values()] == [["-"]]


def test_one_record_that_cannot_be_decoded_costs_itself_only():
    """Also a kind that is not known."""
    good = msgspec.msgpack.encode(STARTED)
    short = msgspec.msgpack.encode([1, 2])
    found = [(100, 3, good), (200, 3, b"\xc1"), (300, 3, short), (400, 3, good), (500, 9, good), (600, 3, good + good)]
    decoded, broken = decode([Record(*one) for one in found])
    assert [position for position, _, _ in decoded] == [100, 400]
    assert sorted(broken) == [(200, 3), (300, 3), (500, 9), (600, 3)]


def test_the_cells_hold_the_facts_of_steps_executions_and_recoveries():
    """A step that failed and was healed later counts in both, and reads as recovered."""
    events = [
        (1, Kind.EXECUTION_START, ExecutionStart("e", "w", AT)),
        (2, Kind.STEP_START, STARTED),
        (3, Kind.STEP_END, ended(2, FAILED, error_type="E", error_message="no button 7")),
        (4, Kind.RECOVERY, Recovery("e", "w", 1, "pay", "semantic", True, AT, 9)),
        (5, Kind.STEP_END, ended(2, RECOVERED, revises=FAILED)),
        (6, Kind.EXECUTION_END, ExecutionEnd(1, "e", "w", AT, SUCCESS, 70, 1, 0, 1)),
    ]
    cells = {}
    fold(cells, events)
    (nodes,) = cells.values()
    assert counted(nodes["pay"])["recovered"] == 1
    assert counted(nodes["pay"])["failed"] == counted(nodes["pay"])["running"] == 0
    assert nodes["pay"].strategies["semantic"].succeeded == 1
    assert sum(error.n for error in nodes["pay"].errors.values()) == 1
    assert counted(nodes[WHOLE])["success"] == 1
    assert nodes[WHOLE].first_pass == 0
