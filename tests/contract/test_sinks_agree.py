"""However a journal is cut into batches, every sink ends up with the same rows, and readers find every fact once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sink_stores import JOURNAL, T0_NS, rows_in

from analytics_sdk.events import ExecutionEnd, ExecutionStart, Recovery, StepEnd, StepStart, Verdict
from analytics_sdk.rollup import Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import Decoded, merge
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Batch
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.schema import is_late
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.vocabulary import FAILED, RECOVERED, REFUTED, SUCCESS, TIMEOUT, VERIFIED, Kind


@st.composite
def journals(draw: st.DrawFn) -> list[Decoded]:
    """Executions and steps that begin, end, are healed, or are left open, cut into batches anywhere."""
    records: Decoded = []
    position = 0

    def add(kind: Kind, event: Any) -> int:
        nonlocal position
        at = position
        records.append((at, kind, event))
        position += 8
        return at

    open_steps: list[tuple[int, StepStart]] = []
    failed: list[tuple[int, StepStart, int]] = []
    recovered: list[tuple[int, Recovery]] = []
    run = ExecutionStart("run", "flow", T0_NS, 9)
    run_at = add(Kind.EXECUTION_START, run)
    for what in draw(
        st.lists(st.sampled_from(["start", "end", "fail", "heal", "shed", "recover", "judge"]), max_size=25)
    ):
        if what == "start":
            began = StepStart("run", "flow", position, f"node_{position % 3}", "click", T0_NS + position)
            open_steps.append((add(Kind.STEP_START, began), began))
        elif what in ("end", "fail") and open_steps:
            at, began = open_steps.pop(draw(st.integers(0, len(open_steps) - 1)))
            status = SUCCESS if what == "end" else draw(st.sampled_from([FAILED, TIMEOUT]))
            add(Kind.STEP_END, _end(at, began, status))
            if what == "fail":
                failed.append((at, began, status))
        elif what == "heal" and failed:
            at, began, status = failed.pop(draw(st.integers(0, len(failed) - 1)))
            add(Kind.STEP_END, _end(at, began, RECOVERED, revises=status))
        elif what == "recover":
            recovery = Recovery("run", "flow", 1, f"node_{position % 3}", "retry", True, T0_NS + position, 5)
            recovered.append((add(Kind.RECOVERY, recovery), recovery))
        elif what == "judge" and recovered:
            at, recovery = recovered.pop(draw(st.integers(0, len(recovered) - 1)))
            repeated = (recovery.workflow_id, recovery.node_id, recovery.strategy, recovery.started_at_ns)
            add(Kind.VERDICT, Verdict(at, *repeated, draw(st.sampled_from([VERIFIED, REFUTED]))))
        elif what == "shed":
            add(Kind.STEP_END, _end(-1, StepStart("run", "flow", position, "node_1", None, T0_NS), SUCCESS))
    if draw(st.booleans()):
        add(Kind.EXECUTION_END, ExecutionEnd(run_at, "run", "flow", T0_NS, SUCCESS, 5, 1, 0, 0))
    cuts = sorted(draw(st.sets(st.integers(1, len(records)), max_size=6)) | {len(records)})
    return [records[before:after] for before, after in zip([0, *cuts], cuts, strict=False)]


def _end(at: int, began: StepStart, status: int, revises: int | None = None) -> StepEnd:
    return StepEnd(
        at,
        "run",
        "flow",
        began.step_no,
        began.node_id,
        began.action_type,
        began.started_at_ns,
        status,
        7,
        revises=revises,
    )


@pytest.fixture
def sql() -> SqlSink:
    sink = make_sink("sqlite://")
    assert isinstance(sink, SqlSink)
    return sink


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=journals(), folded=st.integers(0, 6), settles=st.booleans())
def test_sinks_agree(sql: SqlSink, batches: list[Decoded], folded: int, settles: bool) -> None:
    memory, whole = MemorySink(), MemorySink()
    whole.write(merge(JOURNAL, [record for batch in batches for record in batch], 0, _end_of(batches[-1])))
    sql.open()
    try:
        at = 0
        for i, batch in enumerate(batches):
            rows = merge(JOURNAL, batch, at, _end_of(batch))
            sql.write(rows)
            memory.write(rows)
            if i == folded:
                _fold(sql, [record for before in batches[: i + 1] for record in before], _end_of(batch))
            at = _end_of(batch)
        _check_tail(sql, [record for batch in batches for record in batch])
        if settles:
            _fold(sql, [record for batch in batches for record in batch if record[0] >= _folded_to(sql)], at)
            for sink in (sql, memory, whole):
                sink.write(Batch(JOURNAL, at, at, settle_as="crashed"))  # type: ignore[attr-defined]  # one of each kind
        for name in ("executions", "steps", "recoveries"):
            first, second, third = (rows_in(sink, name) for sink in (sql, memory, whole))
            assert first == second == third
    finally:
        sql.close()


def _end_of(batch: Decoded) -> int:
    return batch[-1][0] + 8


def _folded_to(sink: SqlSink) -> int:
    return sink.position(JOURNAL).rollups


def _fold(sink: SqlSink, records: Decoded, to: int) -> None:
    cells: Cells = {}
    fold(cells, records)
    sink.fold(JOURNAL, cells, _folded_to(sink), to)


def _check_tail(sink: SqlSink, records: Decoded) -> None:
    """The facts at or behind the rollups' position, found as readers find them, are those of the records there."""
    position = _folded_to(sink)
    table = sink.tables.steps
    late = is_late(table) & (table.c.last_seq >= position)
    with sink.engine.connect() as connection:
        rows = connection.execute(table.select().where((table.c.seq >= position) | late)).all()
    ended = {row.end_seq for row in rows if row.end_seq is not None and row.end_seq >= position}
    healed = {row.heal_seq for row in rows if row.heal_seq is not None and row.heal_seq >= position}
    begun = {row.seq for row in rows if row.seq >= position}
    steps = [(at, kind, event) for at, kind, event in records if at >= position]
    ends = [(at, event) for at, kind, event in steps if kind is Kind.STEP_END]
    assert ended == {at for at, event in ends if event.revises is None}
    assert healed == {at for at, event in ends if event.revises is not None}
    shed = {at for at, event in ends if event.start == -1}
    assert begun == {at for at, kind, _ in steps if kind is Kind.STEP_START} | shed
