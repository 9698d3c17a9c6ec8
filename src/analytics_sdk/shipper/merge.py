"""A stretch of records turned into rows: pure, and the same however the journal is cut into stretches.

An ending carries everything about what ended, and where it began. So a beginning whose ending is in the same stretch
costs no row of its own; one that began in an earlier stretch becomes a late row.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from analytics_sdk.events import LARGEST, ExecutionEnd, ExecutionStart, Recovery, Sample, StepEnd, StepStart, Verdict
from analytics_sdk.pace import in_slices
from analytics_sdk.sinks.base import Batch, JournalIdentity, Row
from analytics_sdk.vocabulary import CANCELLED, FAILED, STATUSES, VERDICTS, Kind

_RECORDABLE = range(CANCELLED + 1)
_WORDS = STATUSES[: CANCELLED + 1]
_EXECUTION_START, _EXECUTION_END = int(Kind.EXECUTION_START), int(Kind.EXECUTION_END)
_STEP_START, _STEP_END = int(Kind.STEP_START), int(Kind.STEP_END)  # because a look into an Enum costs more
Decoded = list[tuple[int, int, Any]]


def key_of(position: int, start: int, origin: int) -> int:
    """The key of the row that an ending belongs to: where it began, or where it stands itself when that is not here.

    `origin` is the journal's first position: what began before stands in another journal.
    """
    return start if origin <= start < position else position


def lost_healings(decoded: Decoded, origin: int = 0) -> list[int]:
    """The positions of healings of which nobody can tell any more what they healed."""
    return [
        position
        for position, kind, event in in_slices(decoded)
        if kind == _STEP_END and event.revises is not None and key_of(position, event.start, origin) == position
    ]


def tells(position: int, event: Verdict, origin: int) -> bool:
    """Whether a verdict is one, and about a recovery of this journal: another's cannot be found."""
    return origin <= event.recovery < position and 0 <= event.verdict < len(VERDICTS)


def merge(journal: JournalIdentity, decoded: Decoded, old: int, new: int, *, origin: int = 0) -> Batch:
    """The rows of the events between two positions. `origin`: the journal's first position."""
    executions: dict[int, Row] = {}
    steps: dict[int, Row | StepStart] = {}
    late_executions: dict[int, Row] = {}
    late_steps: dict[int, Row] = {}
    recoveries: dict[int, Row] = {}
    batch = Batch(journal, old, new)
    for position, kind, event in in_slices(decoded):
        if kind == _STEP_END:
            start = event.start
            key = start if origin <= start < position else position
            if event.revises is None:
                if key >= old:
                    steps[key] = step_row(key, position, event)
                else:
                    late_steps[key] = step_row(key, position, event)
            elif key != position:  # else see lost_healings
                earlier = steps.get(key) if key >= old else late_steps.get(key)
                healed = _healed_step_row(key, position, event, earlier if type(earlier) is tuple else None)
                if key >= old:
                    steps[key] = healed
                else:
                    late_steps[key] = healed
        elif kind == _STEP_START:
            steps[position] = event  # in the place of its row, because most of them end before a row is needed
        elif kind == _EXECUTION_END:
            key = key_of(position, event.start, origin)
            place = executions if key >= old else late_executions
            place[key] = _execution_row(key, position, event)
        elif kind == _EXECUTION_START:
            executions[position] = _running_execution_row(position, event)
        elif kind == Kind.RECOVERY:
            recoveries[position] = _recovery_row(position, event)
        elif kind == Kind.VERDICT:
            told = (VERDICTS[event.verdict], position) if tells(position, event, origin) else None
            if told and event.recovery < old:
                batch.late_verdicts.append((event.recovery, *told))
            elif told and event.recovery in recoveries:
                recoveries[event.recovery] = (*recoveries[event.recovery][:-2], *told)
        elif kind == Kind.SAMPLE:
            batch.samples.append(_sample_row(position, event))
    batch.new_executions = list(executions.values())
    batch.new_steps = [
        row if type(row) is tuple else _running_step_row(key, row)  # type: ignore[arg-type]  # because a Row is a tuple
        for key, row in in_slices(steps.items())
    ]
    batch.recoveries = list(recoveries.values())
    batch.late_executions = list(late_executions.values())
    batch.late_steps = list(late_steps.values())
    return batch


def recorded_status(index: int) -> int:
    """The index of a recorded status; what no writer of ours writes counts as failed."""
    return index if index in _RECORDABLE else FAILED


def status_word(index: int) -> str:
    """The word of a recorded status."""
    return _WORDS[index] if 0 <= index <= CANCELLED else STATUSES[FAILED]


def _ended_at_ns(event: ExecutionEnd | StepEnd) -> int:
    return min(event.started_at_ns + event.duration_ns, LARGEST)


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _list_json(values: Sequence[msgspec.Struct] | None) -> str | None:
    """Structs that stand as arrays in a journal as JSON objects, whose names people can read."""
    return None if values is None else _json([msgspec.structs.asdict(value) for value in values])


def _node_id(node_id: str) -> str:
    return node_id or "-"  # because the empty id stands for whole executions in rollups


def _running_execution_row(position: int, event: ExecutionStart) -> Row:
    return (
        position,
        event.execution_id,
        event.workflow_id,
        "running",
        event.started_at_ns,
        None,
        None,
        event.total_steps,
        0,
        0,
        0,
        None,
        None,
        event.parent_execution_id,
        event.parent_step_no,
        _json(event.tags),
        None,
    )


def _execution_row(key: int, position: int, event: ExecutionEnd) -> Row:
    return (
        key,
        event.execution_id,
        event.workflow_id,
        status_word(event.status),
        event.started_at_ns,
        _ended_at_ns(event),
        event.duration_ns,
        event.total_steps,
        event.steps_completed,
        event.steps_failed,
        event.steps_recovered,
        event.error_type,
        event.error_message,
        event.parent_execution_id,
        event.parent_step_no,
        _json(event.tags),
        position,
    )


def _running_step_row(position: int, event: StepStart) -> Row:
    return (
        position,
        event.execution_id,
        event.workflow_id,
        event.step_no,
        event.parent_step_no,
        _node_id(event.node_id),
        event.action_type,
        "running",
        event.started_at_ns,
        None,
        None,
        None,
        None,
        _json(event.tags),
        None,
        None,
        None,
    )


def step_row(key: int, position: int, event: StepEnd) -> Row:
    """The row of an ending. Written out, because it is made once a step."""
    status, began, took, tags = event.status, event.started_at_ns, event.duration_ns, event.tags
    return (
        key,
        event.execution_id,
        event.workflow_id,
        event.step_no,
        event.parent_step_no,
        event.node_id or "-",
        event.action_type,
        _WORDS[status] if 0 <= status <= CANCELLED else status_word(status),
        began,
        began + took if began + took <= LARGEST else LARGEST,
        took,
        event.error_type,
        event.error_message,
        None if tags is None else _json(tags),
        position,
        None,
        None,
    )


def _healed_step_row(key: int, position: int, event: StepEnd, earlier: Row | None) -> Row:
    """The row of a healing that revises an ending, whose own position is kept."""
    assert event.revises is not None
    end_seq = earlier[14] if earlier is not None else None
    return (*step_row(key, position, event)[:14], end_seq, status_word(event.revises), position)


def _recovery_row(position: int, event: Recovery) -> Row:
    return (
        position,
        event.execution_id,
        event.workflow_id,
        event.step_no,
        event.node_id,
        event.strategy,
        event.success,
        event.started_at_ns,
        event.duration_ns,
        event.error_message,
        _json(event.tags),
        None,
        None,
    )


def _sample_row(position: int, event: Sample) -> Row:
    return (
        position,
        event.at_ns,
        event.cpu_percent,
        event.rss_bytes,
        event.read_bytes,
        event.written_bytes,
        event.host_cpu_percent,
        event.host_memory_used_bytes,
        event.host_memory_total_bytes,
        event.elapsed_ns,
        event.executions,
        _list_json(event.gpus),
        _list_json(event.running),
    )
