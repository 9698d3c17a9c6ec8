"""What is recorded: one typed record for each fact, as it stands in the journal.

A record is a msgpack array with its fields in the order given here; trailing fields that have their default may be
left out. The hot path encodes plain tuples in this very order; the readers decode into these classes. `start` is the
position in the journal of the record that opened the same execution or step: it is the key of its row.

All times are integer nanoseconds: `started_at_ns` since 1970 in UTC, `duration_ns` of the monotonic clock. What
holds a number that no database can keep is no record: a journal may have been written by anybody.
"""

from typing import Annotated

import msgspec

from analytics_sdk.vocabulary import Kind

LARGEST = (1 << 63) - 1
Int64 = Annotated[int, msgspec.Meta(ge=-LARGEST - 1, le=LARGEST)]
AtNs = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=LARGEST)]
"""From the year 1823 to 2262."""
DurationNs = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]


class ExecutionStart(msgspec.Struct, array_like=True, gc=False):
    execution_id: str
    workflow_id: str
    started_at_ns: AtNs
    total_steps: Int64 | None = None
    parent_execution_id: str | None = None
    parent_step_no: Int64 | None = None
    tags: dict[str, str] | None = None


class ExecutionEnd(msgspec.Struct, array_like=True, gc=False):
    start: Int64
    execution_id: str
    workflow_id: str
    started_at_ns: AtNs
    status: Int64
    duration_ns: DurationNs
    steps_completed: Int64
    steps_failed: Int64
    steps_recovered: Int64
    """Recoveries that this execution needed and that succeeded; 0 with success is a first-pass success."""
    total_steps: Int64 | None = None
    parent_execution_id: str | None = None
    parent_step_no: Int64 | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: dict[str, str] | None = None


class StepStart(msgspec.Struct, array_like=True, gc=False):
    execution_id: str | None
    workflow_id: str | None
    step_no: Int64
    node_id: str
    action_type: str | None
    started_at_ns: AtNs
    parent_step_no: Int64 | None = None
    tags: dict[str, str] | None = None


class StepEnd(msgspec.Struct, array_like=True, gc=False):
    start: Int64
    execution_id: str | None
    workflow_id: str | None
    step_no: Int64
    node_id: str
    action_type: str | None
    started_at_ns: AtNs
    status: Int64
    duration_ns: DurationNs
    parent_step_no: Int64 | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: dict[str, str] | None = None
    revises: Int64 | None = None
    """The status index that an earlier ending of this step gave it: this record says it was healed since."""


class Recovery(msgspec.Struct, array_like=True, gc=False):
    execution_id: str | None
    workflow_id: str | None
    step_no: Int64 | None
    node_id: str | None
    strategy: str
    success: bool
    started_at_ns: AtNs
    duration_ns: DurationNs
    error_message: str | None = None
    tags: dict[str, str] | None = None


class Verdict(msgspec.Struct, array_like=True, gc=False):
    """Whether the steps behind a recovery that succeeded then passed; told when its execution ends, if it can be."""

    recovery: Int64
    """The recovery's position in the journal; what follows is as it stands there."""
    workflow_id: str | None
    node_id: str | None
    strategy: str
    started_at_ns: AtNs
    verdict: Int64
    """An index into VERDICTS."""


class Sample(msgspec.Struct, array_like=True, gc=False):
    """One look at the resources of this process tree, its host and its GPUs. Unknown is None, never 0."""

    at_ns: AtNs
    cpu_percent: float | None = None
    """Of one core, over the time since the sample before, children included."""
    rss_bytes: Int64 | None = None
    read_bytes: Int64 | None = None
    written_bytes: Int64 | None = None
    host_cpu_percent: float | None = None
    """Of all cores."""
    host_memory_used_bytes: Int64 | None = None
    host_memory_total_bytes: Int64 | None = None
    gpus: list["GpuSample"] | None = None
    elapsed_ns: DurationNs | None = None
    """The stretch that `cpu_percent` is about: the time since the sample before, without time asleep."""
    executions: Int64 | None = None
    """How many executions of this process ran at once, not counting those inside another."""
    running: list["Running"] | None = None


class GpuSample(msgspec.Struct, array_like=True, gc=False):
    index: Int64
    name: str
    utilization_percent: float | None = None
    memory_used_bytes: Int64 | None = None
    memory_total_bytes: Int64 | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    process_memory_bytes: Int64 | None = None
    """Of this process tree."""
    uuid: str | None = None


class Running(msgspec.Struct, array_like=True, gc=False):
    """What ran when a sample was taken: the steps of one node, or the executions of a workflow."""

    workflow_id: str
    node_id: str | None
    """None: executions of the workflow."""
    share: float
    """Of the sample's stretch, the part through which the one that had run longest ran: 1.0 is all of it."""


RECORD_TYPES: dict[Kind, type[msgspec.Struct]] = {
    Kind.EXECUTION_START: ExecutionStart,
    Kind.EXECUTION_END: ExecutionEnd,
    Kind.STEP_START: StepStart,
    Kind.STEP_END: StepEnd,
    Kind.RECOVERY: Recovery,
    Kind.SAMPLE: Sample,
    Kind.VERDICT: Verdict,
}
