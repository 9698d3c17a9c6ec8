"""What a store must be able to yield for queries: rollup cells and rows, all from one moment.

Rollups lag the rows. `Source.rollup_position` says how far the rollups of one journal have come, and the rows with
facts behind it are that journal's tail. Cells plus tail are everything, each fact once:

- a row counts as started if its `seq` is at or behind the position;
- it counts as ended (with `first_status` if that is set) if its `end_seq` is;
- it counts as healed (from `first_status`) if its `heal_seq` is;
- a recovery's verdict counts if its `verdict_seq` is.

What was judged (crashed, or cancelled without an `end_seq`) is in the rollups as soon as its source is settled.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from analytics_sdk.query.results import ExecutionRow, SampleRow, Timeline
from analytics_sdk.query.window import Plan, Span
from analytics_sdk.rollup import WHOLE, Cell, tally

Workflows = Sequence[str] | None
"""Which workflows a question is about; None for all. Steps outside any execution stand under workflow ""."""


class Source(NamedTuple):
    """One journal that rows came from, and how far its rollups have come."""

    position: int
    rollup_position: int
    settled: bool

    @property
    def lags(self) -> bool:
        """Whether there may be a tail."""
        return self.rollup_position < self.position


class CellRow(NamedTuple):
    """The cells of one workflow in one stretch of whole hours, all of which have the same place in a question."""

    sources: Sequence[int]
    workflow_id: str
    start_ns: int
    nodes: dict[str, Cell]
    trend: Sequence[tuple[int, tuple[int, int, int]]]
    """The hours that have whole executions, each with its `rollup.tally`."""


def hour_row(source: int, workflow_id: str, hour_ns: int, nodes: dict[str, Cell]) -> CellRow:
    """The cells of one hour from one source."""
    whole = nodes.get(WHOLE)
    return CellRow((source,), workflow_id, hour_ns, nodes, [] if whole is None else [(hour_ns, tally(whole))])


class ExecutionFact(NamedTuple):
    """Of one execution, what is counted. Field names are columns."""

    source: int
    seq: int
    end_seq: int | None
    workflow_id: str | None
    status: str
    started_at_ns: int
    duration_ns: int | None
    steps_recovered: int | None
    error_type: str | None
    error_message: str | None


class StepFact(NamedTuple):
    """Of one step, what is counted. Field names are columns."""

    source: int
    seq: int
    end_seq: int | None
    heal_seq: int | None
    first_status: str | None
    workflow_id: str | None
    node_id: str
    action_type: str | None
    status: str
    started_at_ns: int
    duration_ns: int | None
    error_type: str | None
    error_message: str | None


class RecoveryFact(NamedTuple):
    """Of one recovery, what is counted. Field names are columns."""

    source: int
    seq: int
    workflow_id: str | None
    node_id: str | None
    strategy: str
    success: bool
    started_at_ns: int
    duration_ns: int
    verdict: str | None
    verdict_seq: int | None


class Loss(NamedTuple):
    """What is known to be missing, summed over journals. `kind` and `reason` are words."""

    kind: str
    reason: str
    n: int
    first_at_ns: int
    last_at_ns: int


class DurationRange(NamedTuple):
    """The durations [low_ns, high_ns] of one node, or of whole executions (`rollup.WHOLE`), of one workflow."""

    workflow_id: str
    node_id: str
    low_ns: int
    high_ns: int


class Snapshot(Protocol):
    """One moment of a store. Not safe for use by two threads. Iterators are to be used up one at a time."""

    def sources(self) -> Mapping[int, Source]:
        """Every journal, by its key in the other tables."""
        ...

    def cells(self, workflows: Workflows, plan: Plan, /) -> Iterator[CellRow]:
        """The rollup cells of a plan's whole hours, oldest first, each fact in one row. Where all of a day or week has
        one place by the plan, a row may stand for all its hours and sources."""
        ...

    def executions(self, workflows: Workflows, spans: Sequence[Span], tail: bool, /) -> Iterator[ExecutionFact]:
        """Executions that started in the spans: all of them, or those of the tail only."""
        ...

    def steps(self, workflows: Workflows, spans: Sequence[Span], tail: bool, /) -> Iterator[StepFact]:
        """Steps that started in the spans: all of them, or those of the tail only."""
        ...

    def recoveries(self, workflows: Workflows, spans: Sequence[Span], tail: bool, /) -> Iterator[RecoveryFact]:
        """Recoveries that started in the spans: all of them, or those of the tail only."""
        ...

    def durations(self, span: Span, ranges: Sequence[DurationRange]) -> Mapping[DurationRange, list[int]]:
        """The timed durations that lie in each of some disjoint ranges, in any order."""
        ...

    def execution_rows(
        self, workflows: Workflows, span: Span, *, running_only: bool = False, limit: int | None = None
    ) -> list[ExecutionRow]:
        """Executions that started in a span, newest first; only those that have not ended, if so asked."""
        ...

    def slowest(self, workflows: Workflows, span: Span) -> ExecutionRow | None:
        """The execution of a span that took longest, of those that ran their course."""
        ...

    def timeline(self, execution_id: str) -> Timeline | None:
        """One execution with its steps and recoveries in the order of their beginnings; other processes' too."""
        ...

    def samples(self, span: Span, sources: Sequence[int] | None = None) -> Iterator[SampleRow]:
        """Resource samples taken in a span, oldest first; of some sources only, if these are given."""
        ...

    def samples_during(self, execution_id: str) -> Iterator[SampleRow]:
        """What the process of an execution sampled while that ran, oldest first."""
        ...

    def losses(self, span: Span) -> list[Loss]:
        """What is known to be missing from a span, ascending by kind and reason."""
        ...

    def first_started_at_ns(self, workflows: Workflows) -> int | None:
        """When the first execution started that is stored, as rollup or as row."""
        ...

    def check(self) -> None:
        """Let only a store through whose tables are ours and of today's version.

        Raises:
            SinkMisconfigured: they aren't; the message says what to do.
        """
        ...

    def positions(self) -> dict[str, int]:
        """How far the rows of each journal have come, by its id."""
        ...

    def workflow_ids(self, limit: int) -> list[str]:
        """The first so many workflow ids of stored executions, ascending; in a time that grows with their number."""
        ...


class Reader(Protocol):
    """A store that can be read."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A consistent view for the length of a with block: writers meanwhile change nothing in it.

        Raises:
            SinkUnavailable: the store cannot be reached now.
        """
        ...
