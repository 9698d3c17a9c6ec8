"""What every sink must do, as one check that the author of a sink runs over theirs."""

from collections.abc import Callable
from typing import Any

from analytics_sdk.errors import Fenced
from analytics_sdk.sinks.base import (
    EXECUTION_COLUMNS,
    LOSS_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    Batch,
    JournalIdentity,
    Positions,
    RollupSink,
    Row,
    Sink,
)

_AT_NS = 1_767_225_600_000_000_000
_OURS = JournalIdentity("0c" * 16, "host", 1, _AT_NS)
_OTHER = JournalIdentity("0d" * 16, "host", 2, _AT_NS)


def check_sink(make_sink: Callable[[], Sink]) -> None:
    """Hold a sink against the rules that exactly once rests on. What it keeps of the rows is its own business.

    Args:
        make_sink: gives a new sink over the same place each time, which must be empty at first. It is opened and closed
            here.

    Raises:
        AssertionError: a rule is broken; the message is the rule.
    """
    sink = make_sink()
    _holds(isinstance(sink, Sink), "a sink has the methods open, position, write and close")
    sink.open()
    _holds(sink.position(_OURS) == Positions(), "a journal that is not known begins at 0, not settled")
    _holds(sink.position(_OURS) == Positions(), "asking for a position changes nothing")
    sink.write(_batch(_OURS, 0, 100))
    _is_at(sink, _OURS, 100, "a batch moves the position of its journal")
    _is_fenced(sink, _batch(_OURS, 0, 100), "a batch that was kept is not kept again")
    _is_fenced(sink, _batch(_OURS, 200, 300), "a batch that begins behind the position is not kept")
    _is_at(sink, _OURS, 100, "what is fenced does not move the position")
    sink.write(_late(_OURS, 100, 200))
    _is_at(sink, _OURS, 200, "late rows replace what an earlier batch has brought")
    sink.write(_batch(_OTHER, 0, 50))
    _is_at(sink, _OURS, 200, "each journal has a position of its own")
    sink.close()
    sink.close()
    sink.open()
    _is_at(sink, _OURS, 200, "a sink that was closed, twice even, may be opened again")
    _check_rollups(sink, 200)
    sink.close()

    again = make_sink()
    again.open()
    _is_at(again, _OURS, 200, "another sink over the same place knows the position")
    again.write(_batch(_OURS, 200, 300, text="a NUL \0, a word \u00e9\u4e2d\U0001f600"))
    if isinstance(again, RollupSink):
        again.fold(_OURS, {}, 200, 300)  # because a journal is judged when its rollups have come as far as its rows
    again.write(Batch(_OURS, 300, 300, settle_as="crashed"))
    _holds(again.position(_OURS).settled, "a journal that was judged is settled")
    _is_fenced(again, _batch(_OURS, 300, 400), "nothing is kept of a settled journal")
    _holds(not again.position(_OTHER).settled, "each journal is settled for itself")
    again.close()


def _holds(truth: bool, rule: str) -> None:
    if not truth:
        raise AssertionError(f"this sink breaks the rule: {rule}")


def _is_at(sink: Sink, journal: JournalIdentity, rows: int, rule: str) -> None:
    found = sink.position(journal)
    _holds(found.rows == rows and not found.settled, f"{rule} (expected {rows}, found {found})")
    if not isinstance(sink, RollupSink):
        _holds(found.rollups == rows, f"a sink that keeps no rollups reports the same as rows for them (found {found})")


def _is_fenced(sink: Sink, batch: Batch, rule: str) -> None:
    try:
        sink.write(batch)
    except Fenced:
        return
    _holds(False, f"{rule}: write raises Fenced")


def _check_rollups(sink: Sink, rows: int) -> None:
    if not isinstance(sink, RollupSink):
        return
    _holds(sink.position(_OURS).rollups == 0, "rollups have a position of their own")
    sink.fold(_OURS, {}, 0, rows)
    _holds(sink.position(_OURS).rollups == rows, "fold moves the position of the rollups")
    try:
        sink.fold(_OURS, {}, 0, rows)
    except Fenced:
        return
    _holds(False, "rollups are folded once: fold raises Fenced")


def _row(columns: tuple[str, ...], **values: Any) -> Row:
    return tuple(values.get(name) for name in columns)


def _batch(journal: JournalIdentity, old: int, new: int, text: str = "step") -> Batch:
    """One of everything, as an execution that still runs would bring it."""
    shared = {"execution_id": f"run-{old}", "workflow_id": "w", "started_at_ns": _AT_NS + old}
    running = {**shared, "status": "running", "steps_completed": 0, "steps_failed": 0, "steps_recovered": 0}
    return Batch(
        journal,
        old,
        new,
        new_executions=[_row(EXECUTION_COLUMNS, seq=old, **running)],
        new_steps=[_row(STEP_COLUMNS, seq=old + 1, step_no=1, node_id=text, **running)],
        recoveries=[_row(RECOVERY_COLUMNS, seq=old + 2, strategy="retry", success=True, duration_ns=1, **shared)],
        samples=[_row(SAMPLE_COLUMNS, seq=old + 3, at_ns=_AT_NS + old, cpu_percent=12.5)],
        losses=[_row(LOSS_COLUMNS, kind="sample", reason="quota", n=1, first_at_ns=_AT_NS, last_at_ns=_AT_NS)],
    )


def _late(journal: JournalIdentity, old: int, new: int) -> Batch:
    """The endings of what the batch from 0 began."""
    ended = {"execution_id": "run-0", "workflow_id": "w", "started_at_ns": _AT_NS, "ended_at_ns": _AT_NS + 5}
    ended |= {"status": "success", "duration_ns": 5, "steps_completed": 1, "steps_failed": 0, "steps_recovered": 0}
    return Batch(
        journal,
        old,
        new,
        late_executions=[_row(EXECUTION_COLUMNS, seq=0, end_seq=old + 1, **ended)],
        late_steps=[_row(STEP_COLUMNS, seq=1, step_no=1, node_id="step", end_seq=old, **ended)],
    )
