"""The numbers of a report, and nothing else: typed, immutable, made by pure functions from what queries answer.

Durations in fields named `*_duration` are seconds and rates are percents, as in `Query.stats`; nan is unknown. Fields
named `*_ns` are integer nanoseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import nan
from typing import Any, Protocol, TypeAlias

import msgspec

from analytics_sdk.histogram import bucket_middle_ns, bucket_of
from analytics_sdk.query import Course
from analytics_sdk.query.results import Distribution, ExecutionRow, Point, SampleRow, Stats, Timeline

Workflows: TypeAlias = str | Sequence[str] | None


class Queries(Protocol):
    """What a report asks; `analytics_sdk.query.Query` answers it."""

    def stats(
        self,
        workflow_id: Workflows = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        exact: bool = False,
        relative: bool = False,
        resources: bool = True,
        now_ns: int,
    ) -> Stats: ...
    def first_started_at_ns(self, workflow_ids: Workflows) -> int | None: ...
    def course(
        self, workflow_ids: Workflows, start_ns: int, end_ns: int, bucket_ns: int, *, origin_ns: int = 0
    ) -> Course: ...
    def executions(
        self, workflow_ids: Workflows, start_ns: int, end_ns: int, limit: int | None = None
    ) -> list[ExecutionRow]: ...
    def slowest(self, workflow_ids: Workflows, start_ns: int, end_ns: int) -> ExecutionRow | None: ...
    def timeline(self, execution_id: str) -> Timeline | None: ...
    def samples(self, start_ns: int, end_ns: int) -> list[SampleRow]: ...


@dataclass(frozen=True, slots=True)
class Success:
    """How many of the `n` that count succeeded, with the 95 % interval of the rate."""

    success_rate: float = nan
    first_pass_rate: float = nan
    n: int = 0
    succeeded: int = 0
    failed: int = 0
    ci_low: float = nan
    ci_high: float = nan

    @property
    def first_pass(self) -> int:
        """How many succeeded without a recovery."""
        return round(self.first_pass_rate * self.n / 100) if self.n else 0

    @property
    def healed(self) -> int:
        """How many succeeded thanks to a recovery."""
        return self.succeeded - self.first_pass


@dataclass(frozen=True, slots=True)
class Performance:
    """Durations of executions that ran their course, in seconds."""

    n: int = 0
    avg_duration: float = nan
    min_duration: float = nan
    max_duration: float = nan
    p50_duration: float = nan
    p95_duration: float = nan
    p99_duration: float = nan
    relative_error: float = 0.0


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of one workflow, over all its runs."""

    node_id: str
    workflow_id: str = ""
    action_type: str | None = None
    n: int = 0
    success_rate: float = nan
    recovered: int = 0
    failed: int = 0
    avg_duration: float = nan
    p50_duration: float = nan
    p95_duration: float = nan
    p99_duration: float = nan


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """One kind of error."""

    fingerprint: str
    error_type: str | None
    message: str | None
    n: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class StrategyLine:
    """One way of recovering. Of the attempts that worked, later steps verified or refuted some; the rest is unknown."""

    strategy: str
    attempts: int = 0
    succeeded: int = 0
    success_rate: float = nan
    ci_low: float = nan
    ci_high: float = nan
    avg_duration: float = nan
    total_duration: float = nan
    verified: int = 0
    refuted: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class HotspotLine:
    """A step that recovery has to help again and again."""

    workflow_id: str | None
    node_id: str | None
    attempts: int = 0
    succeeded: int = 0
    failed: int = 0
    total_duration: float = nan
    verified: int = 0
    refuted: int = 0
    unknown: int = 0
    top_strategy: str | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """All attempts to recover; `time_share` is what they took of the time of all executions, in percent."""

    attempts: int = 0
    succeeded: int = 0
    success_rate: float = nan
    ci_low: float = nan
    ci_high: float = nan
    total_duration: float = 0.0
    time_share: float = nan
    verified: int = 0
    refuted: int = 0
    unknown: int = 0
    strategies: list[StrategyLine] = field(default_factory=list)
    hotspots: list[HotspotLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WarningLine:
    """Something that a reader should know before trusting the headline; which fields it has depends on its code."""

    code: str
    workflow_id: str | None = None
    split_at: datetime | None = None
    n_before: int = 0
    n_after: int = 0
    success_rate_before: float = nan
    success_rate_after: float = nan
    first_pass_rate_before: float = nan
    first_pass_rate_after: float = nan
    change_ci_low: float = nan
    change_ci_high: float = nan
    strategy: str | None = None
    verified: int = 0
    refuted: int = 0


@dataclass(frozen=True, slots=True)
class WorkflowLine:
    """One workflow, over all its executions."""

    workflow_id: str
    n: int = 0
    success_rate: float = nan
    first_pass_rate: float = nan
    avg_duration: float = nan
    p95_duration: float = nan


@dataclass(frozen=True, slots=True)
class RunningLine:
    """An execution that has not ended."""

    execution_id: str
    workflow_id: str | None
    started_at: datetime
    elapsed_seconds: float = nan


@dataclass(frozen=True, slots=True)
class LossLine:
    """What is known to be missing."""

    kind: str
    reason: str
    n: int
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """The part of `Query.stats` that a report shows."""

    success_rate: Success = field(default_factory=Success)
    status_counts: dict[str, int] = field(default_factory=dict)
    performance: Performance = field(default_factory=Performance)
    steps: list[StepLine] = field(default_factory=list)
    errors: list[ErrorLine] = field(default_factory=list)
    recovery: Recovery = field(default_factory=Recovery)
    workflows: list[WorkflowLine] = field(default_factory=list)
    running: list[RunningLine] = field(default_factory=list)
    losses: list[LossLine] = field(default_factory=list)
    resources: dict[str, Any] = field(default_factory=dict)
    warnings: list[WarningLine] = field(default_factory=list)
    data_complete: bool = True


@dataclass(frozen=True, slots=True)
class Halves:
    """The period cut in two where half of its executions had started, to see whether something changed."""

    cut_ns: int
    n: tuple[int, int]
    succeeded: tuple[int, int]
    durations: tuple[Distribution, Distribution]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ReportData:
    """All that a report says, as numbers."""

    title: str
    metric_types: tuple[str, ...]
    workflow_ids: tuple[str, ...] | None
    format: str
    language: str
    zone: str | None
    """An IANA name; None is the machine's own zone."""
    generated_at_ns: int
    start_ns: int
    end_ns: int
    bucket_ns: int
    numbers: Numbers
    points: list[Point]
    distribution: Distribution
    halves: Halves | None
    timeline: Timeline | None
    samples: list[SampleRow]
    executions: list[ExecutionRow]
    executions_complete: bool
    """False when `executions` holds the newest only."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was recorded."""
        numbers = self.numbers
        return not (
            any(numbers.status_counts.values())
            or numbers.success_rate.n
            or numbers.steps
            or numbers.recovery.attempts
            or self.samples
        )


def read_stats(stats: Stats) -> Numbers:
    """What `Query.stats` answered, typed. Keys that a report does not know are left out."""
    return msgspec.convert(stats, Numbers)


def find_cut_ns(points: Sequence[Point]) -> int | None:
    """The edge between two points that halves the executions best; None when all lie in one point."""
    total = sum(point.n for point in points)
    best: tuple[int, int] | None = None
    seen = 0
    for before, after in pairwise(points):
        seen += before.n
        if 0 < seen < total:
            best = min(best or (total, 0), (abs(total - 2 * seen), after.start_ns))
    return best[1] if best else None


def halve_points(points: Sequence[Point], cut_ns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(n before, n after), (succeeded before, succeeded after) a cut."""
    before = [point for point in points if point.start_ns < cut_ns]
    after = [point for point in points if point.start_ns >= cut_ns]
    return (
        (sum(point.n for point in before), sum(point.n for point in after)),
        (sum(point.succeeded for point in before), sum(point.succeeded for point in after)),
    )


def bucket_counts(distribution: Distribution) -> dict[int, int]:
    """Counts by the middle of their bucket, in nanoseconds."""
    return {bucket_middle_ns(bucket_of(low_ns)): count for low_ns, _, count in distribution.buckets}
