"""What queries answer with, beside the dict of statistics: typed, in nanoseconds; rates in percent.

Unknown is None here; `stats` turns it into nan, because that is what its users format with `:.1f`.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

Stats: TypeAlias = dict[str, object]
"""The dict of `get_workflow_stats` and `system.stats`: see `query.stats` and `query.healing` for keys and units."""


@dataclass(frozen=True, slots=True)
class Point:
    """One stretch of time of a series: what started in [start_ns, end_ns)."""

    start_ns: int
    end_ns: int
    n: int
    """Executions that count: success + failed + timeout + crashed."""
    succeeded: int
    first_pass: int
    counts: dict[str, int]
    """Executions by status word, cancelled, skipped and running too."""
    p50_duration_ns: int | None
    p95_duration_ns: int | None

    @property
    def success_rate(self) -> float | None:
        return 100.0 * self.succeeded / self.n if self.n else None

    @property
    def first_pass_rate(self) -> float | None:
        return 100.0 * self.first_pass / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations of executions as counts in log buckets: (low_ns, high_ns, count), ascending, half-open ranges."""

    buckets: list[tuple[int, int, int]]
    n: int
    p50_ns: int | None
    p95_ns: int | None


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One stored execution."""

    execution_id: str
    workflow_id: str
    status: str
    started_at_ns: int
    ended_at_ns: int | None
    duration_ns: int | None
    total_steps: int | None
    steps_completed: int
    steps_failed: int
    steps_recovered: int
    error_type: str | None
    error_message: str | None
    host: str
    pid: int
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepRow:
    """One stored step."""

    execution_id: str | None
    workflow_id: str | None
    step_no: int
    parent_step_no: int | None
    node_id: str
    action_type: str | None
    status: str
    started_at_ns: int
    ended_at_ns: int | None
    duration_ns: int | None
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """One stored recovery attempt."""

    execution_id: str | None
    workflow_id: str | None
    step_no: int | None
    node_id: str | None
    strategy: str
    success: bool
    started_at_ns: int
    duration_ns: int
    error_message: str | None
    verdict: str | None = None
    """"verified": the steps behind it then passed; "refuted": the next one did not; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One stored look at resources; unknown is None. Field names are those of `events.Sample`."""

    host: str
    pid: int
    at_ns: int
    cpu_percent: float | None
    rss_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None
    host_cpu_percent: float | None
    host_memory_used_bytes: int | None
    host_memory_total_bytes: int | None
    elapsed_ns: int | None
    executions: int | None
    gpus: list[dict[str, object]] = field(default_factory=list)
    running: list[dict[str, object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything of one execution, in the order of its beginnings."""

    execution: ExecutionRow
    steps: list[StepRow]
    recoveries: list[RecoveryRow]


@dataclass(frozen=True, slots=True)
class Usage:
    """What samples saw of an execution, a step, a recovery or a node. Unknown is None, never 0."""

    samples: int = 0
    """So many samples were taken while it ran. Without any, everything else is None."""
    shared: int = 0
    """Of these, so many while several executions ran in this process: what they say is of all of them together."""
    cpu_percent_avg: float | None = None
    """Of one core, of the process and its descendants."""
    cpu_percent_max: float | None = None
    rss_bytes_max: int | None = None
    read_bytes: int | None = None
    """Between its first and its last sample, so at most what it really read; None with fewer than two."""
    written_bytes: int | None = None
    gpu_utilization_percent_avg: float | None = None
    """Of the visible GPUs, whoever kept them busy."""
    gpu_utilization_percent_max: float | None = None
    gpu_memory_bytes_max: int | None = None
    """Of this process and its descendants, on all visible GPUs together."""


@dataclass(frozen=True, slots=True)
class ExecutionUsage:
    """What one execution used: as a whole, by step and by recovery, in the order of their beginnings."""

    execution: Usage
    steps: list[tuple[StepRow, Usage]]
    recoveries: list[tuple[RecoveryRow, Usage]]
