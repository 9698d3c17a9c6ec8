"""What is recorded: one typed record for each fact, as it stands in the journal.

A record is a msgpack array with its fields in the order given here; trailing fields that have their default may be
left out. The hot path encodes plain tuples in this very order; the readers decode into these classes. `start` is the
position in the journal of the record that opened the same execution or step: it is the key of its row.

All times are integer nanoseconds: `started_at_ns` since 1970 in UTC, `duration_ns` of the monotonic clock.
"""

import msgspec

from analytics_sdk.vocabulary import Kind


class ExecutionStart(msgspec.Struct, array_like=True, gc=False):
    execution_id: str
    workflow_id: str
    started_at_ns: int
    total_steps: int | None = None
    parent_execution_id: str | None = None
    parent_step_no: int | None = None
    tags: dict[str, str] | None = None


class ExecutionEnd(msgspec.Struct, array_like=True, gc=False):
    start: int
    execution_id: str
    workflow_id: str
    started_at_ns: int
    status: int
    duration_ns: int
    steps_completed: int
    steps_failed: int
    steps_recovered: int
    """Recoveries that this execution needed and that succeeded; 0 with success is a first-pass success."""
    total_steps: int | None = None
    parent_execution_id: str | None = None
    parent_step_no: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: dict[str, str] | None = None


class StepStart(msgspec.Struct, array_like=True, gc=False):
    execution_id: str | None
    workflow_id: str | None
    step_no: int
    node_id: str
    action_type: str | None
    started_at_ns: int
    parent_step_no: int | None = None
    tags: dict[str, str] | None = None


class StepEnd(msgspec.Struct, array_like=True, gc=False):
    start: int
    execution_id: str | None
    workflow_id: str | None
    step_no: int
    node_id: str
    action_type: str | None
    started_at_ns: int
    status: int
    duration_ns: int
    parent_step_no: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: dict[str, str] | None = None
    revises: int | None = None
    """The status index that an earlier ending of this step gave it: this record says it was healed since."""


class Recovery(msgspec.Struct, array_like=True, gc=False):
    execution_id: str | None
    workflow_id: str | None
    step_no: int | None
    node_id: str | None
    strategy: str
    success: bool
    started_at_ns: int
    duration_ns: int
    error_message: str | None = None
    tags: dict[str, str] | None = None


class Verdict(msgspec.Struct, array_like=True, gc=False):
    """Whether the steps behind a recovery that succeeded then passed; told when its execution ends, if it can be."""

    recovery: int
    """The recovery's position in the journal; what follows is as it stands there."""
    workflow_id: str | None
    node_id: str | None
    strategy: str
    started_at_ns: int
    verdict: int
    """An index into VERDICTS."""


class Sample(msgspec.Struct, array_like=True, gc=False):
    """One look at the resources of this process tree, its host and its GPUs. Unknown is None, never 0."""

    at_ns: int
    cpu_percent: float | None = None
    """Of one core, over the time since the sample before, children included."""
    rss_bytes: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    host_cpu_percent: float | None = None
    """Of all cores."""
    host_memory_used_bytes: int | None = None
    host_memory_total_bytes: int | None = None
    gpus: list["GpuSample"] | None = None
    elapsed_ns: int | None = None
    """The stretch that `cpu_percent` is about: the time since the sample before, without time asleep."""
    executions: int | None = None
    """How many executions of this process ran at once, not counting those inside another."""
    running: list["Running"] | None = None


class GpuSample(msgspec.Struct, array_like=True, gc=False):
    index: int
    name: str
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    process_memory_bytes: int | None = None
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
