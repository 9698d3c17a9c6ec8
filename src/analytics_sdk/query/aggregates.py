"""Numbers out of cells and rows. Pure: no SQL here, so every store gets the same arithmetic."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

from msgspec.structs import replace

from analytics_sdk.histogram import percentile_ns
from analytics_sdk.query.reader import ExecutionFact, RecoveryFact, Snapshot, Source, StepFact, Workflows
from analytics_sdk.query.window import Plan
from analytics_sdk.rollup import COUNTED, WHOLE, Cell, ErrorCount, StrategyCount, counted, hour_of
from analytics_sdk.vocabulary import FAILED, RECOVERED, RUNNING, STATUSES, SUCCESS, TIMEOUT, VERDICTS

_Z95 = 1.959963984540054
"""The quantile of the normal distribution that makes an interval one of 95 %."""
_INDEX = {word: index for index, word in enumerate(STATUSES)}

Key = tuple[str, int]
"""(workflow_id, place): a place is whatever the question sorts by, such as the bucket of a chart."""


@dataclass(slots=True)
class Tally:
    """Executions that count, those of them that succeeded, and those of these that needed no recovery."""

    n: int = 0
    succeeded: int = 0
    first_pass: int = 0

    def add(self, n: int, succeeded: int, first_pass: int) -> None:
        """Count more."""
        self.n += n
        self.succeeded += succeeded
        self.first_pass += first_pass


@dataclass(slots=True)
class Gathered:
    """The cells that a question needs, and the sources that its facts came from."""

    cells: dict[Key, dict[str, Cell]] = field(default_factory=dict)
    sources: set[int] = field(default_factory=set)
    trend: dict[str, dict[int, Tally]] = field(default_factory=dict)
    """workflow_id -> the hour in which they started -> executions."""

    def tally(self, workflow_id: str | None, hour_ns: int) -> Tally:
        """The executions of an hour, made when missing."""
        return self.trend.setdefault(workflow_id or "", {}).setdefault(hour_ns, Tally())

    def cell(self, workflow_id: str | None, place: int, node_id: str) -> Cell:
        """The cell to count something in, made when missing."""
        nodes = self.cells.setdefault((workflow_id or "", place), {})
        cell = nodes.get(node_id)
        if cell is None:
            cell = nodes[node_id] = Cell()
        return cell


def _anywhere(_at_ns: int) -> int:
    return 0


def gather(
    snapshot: Snapshot,
    plan: Plan,
    workflows: Workflows,
    *,
    place_of: Callable[[int], int] = _anywhere,
    whole_only: bool = False,
) -> Gathered:
    """Add up rollup cells, the tail behind them and the rows of the edges, each fact once.

    `place_of` tells the place of an instant; all of an hour that the plan reads from cells must have one place.
    `whole_only` leaves out steps and recoveries.
    """
    gathered = Gathered()
    for row in snapshot.cells(workflows, plan):
        gathered.sources.update(row.sources)
        place = place_of(row.start_ns)
        for node_id, cell in row.nodes.items():
            if node_id == WHOLE or not whole_only:
                gathered.cell(row.workflow_id, place, node_id).add(cell)
        for hour_ns, counts in row.trend:
            gathered.tally(row.workflow_id, hour_ns).add(*counts)
    sources = snapshot.sources()  # behind the cells, because only then a store without transactions knows their tail
    for spans, tail in ((plan.hours, True), (plan.edges, False)):
        if not spans:
            continue
        known = sources if tail else {}
        for execution in snapshot.executions(workflows, spans, tail):
            _count_execution(gathered, place_of, execution, known.get(execution.source))
        if whole_only:
            continue
        for step in snapshot.steps(workflows, spans, tail):
            _count_step(gathered, place_of, step, known.get(step.source))
        for recovery in snapshot.recoveries(workflows, spans, tail):
            _count_recovery(gathered, place_of, recovery, known.get(recovery.source))
    return gathered


def _count_execution(
    gathered: Gathered, place_of: Callable[[int], int], fact: ExecutionFact, source: Source | None
) -> None:
    """Count the facts of a row that its source's rollups have not counted; all of them without a source."""
    cell = gathered.cell(fact.workflow_id, place_of(fact.started_at_ns), WHOLE)
    gathered.sources.add(fact.source)
    since = source.rollup_position if source else 0
    if fact.seq >= since:
        cell.started += 1
    status, first_pass = _INDEX[fact.status], not fact.steps_recovered
    if _count_end(cell, fact, status, source, first_pass=first_pass) and status in COUNTED:
        succeeded = status in (SUCCESS, RECOVERED)
        passed = first_pass and status == SUCCESS and fact.end_seq is not None
        gathered.tally(fact.workflow_id, hour_of(fact.started_at_ns)).add(1, succeeded, passed)


def _count_step(gathered: Gathered, place_of: Callable[[int], int], fact: StepFact, source: Source | None) -> None:
    """As with executions; a step may have been healed besides."""
    cell = gathered.cell(fact.workflow_id, place_of(fact.started_at_ns), fact.node_id or "-")
    gathered.sources.add(fact.source)
    since = source.rollup_position if source else 0
    cell.action_type = fact.action_type or cell.action_type
    first_status = _INDEX[fact.first_status or fact.status]
    if fact.heal_seq is not None and fact.heal_seq >= since:
        cell.add_heal(first_status)
    if fact.seq >= since:
        cell.started += 1
    if fact.end_seq is not None or fact.heal_seq is None:  # a healed one was not judged, though its ending was lost
        _count_end(cell, fact, first_status, source, first_pass=True)


def _count_end(
    cell: Cell, fact: ExecutionFact | StepFact, status: int, source: Source | None, *, first_pass: bool
) -> bool:
    """Count an ending, unless its source's rollups have; whether it was counted now."""
    since = source.rollup_position if source else 0
    if fact.end_seq is None:
        if status == RUNNING or (source and source.settled):
            return False
        cell.add_end(status, fact.duration_ns, first_pass=False)
        return True
    if fact.end_seq < since:
        return False
    cell.add_end(status, fact.duration_ns, first_pass=first_pass)
    if status in (FAILED, TIMEOUT):
        cell.add_error(fact.error_type, fact.error_message, fact.started_at_ns)
    return True


def _count_recovery(
    gathered: Gathered, place_of: Callable[[int], int], fact: RecoveryFact, source: Source | None
) -> None:
    """As with executions; what became of it may have been told since."""
    cell = gathered.cell(fact.workflow_id, place_of(fact.started_at_ns), fact.node_id or WHOLE)
    gathered.sources.add(fact.source)
    since = source.rollup_position if source else 0
    if fact.seq >= since:
        cell.add_recovery(fact.strategy, fact.success, fact.duration_ns)
    if fact.verdict in VERDICTS and fact.verdict_seq is not None and fact.verdict_seq >= since:
        cell.add_verdict(fact.strategy, VERDICTS.index(fact.verdict))


def merge(cells: Iterable[Cell]) -> Cell:
    """All of some cells in a new one."""
    total = Cell()
    for cell in cells:
        total.add(cell)
    return total


class Outcome(NamedTuple):
    """How a number of executions or steps came out. Rates are percent, None where nothing counts."""

    counts: dict[str, int]
    """By status word, as they are now."""
    n: int
    """Those that count: success + failed + timeout + crashed. Cancelled, skipped and running do not."""
    succeeded: int
    first_pass: int
    """Of the succeeded, those that needed no recovery."""

    @property
    def failed(self) -> int:
        return self.n - self.succeeded

    @property
    def success_rate(self) -> float | None:
        return 100.0 * self.succeeded / self.n if self.n else None

    @property
    def first_pass_rate(self) -> float | None:
        return 100.0 * self.first_pass / self.n if self.n else None


def outcome_of(cell: Cell) -> Outcome:
    """How what a cell counted came out; a recovered one is a success."""
    counts = counted(cell)
    succeeded = counts["success"] + counts["recovered"]
    return Outcome(
        counts, succeeded + counts["failed"] + counts["timeout"] + counts["crashed"], succeeded, cell.first_pass
    )


def wilson_interval(succeeded: int, n: int, z: float = _Z95) -> tuple[float, float] | None:
    """The confidence interval of a success rate, in percent, of 95 % by default; None without observations.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927): honest for few observations and near 0 and 100.
    """
    if not n:
        return None
    rate = succeeded / n
    spread = z * sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    middle = rate + z**2 / (2 * n)
    scale = 100.0 / (1 + z**2 / n)
    low = 0.0 if succeeded == 0 else max(0.0, (middle - spread) * scale)
    high = 100.0 if succeeded == n else min(100.0, (middle + spread) * scale)
    return low, high


def newcombe_interval(before: tuple[int, int], after: tuple[int, int], z: float = _Z95) -> tuple[float, float] | None:
    """The confidence interval of the change from one rate to another, each given as (succeeded, n), in points; None
    where one has no observations.

    The hybrid score interval, method 10 of R. G. Newcombe, "Interval estimation for the difference between
    independent proportions: comparison of eleven methods", Statistics in Medicine 17 (1998).
    """
    first, second = wilson_interval(*before, z), wilson_interval(*after, z)
    if first is None or second is None:
        return None
    rate, then = 100.0 * before[0] / before[1], 100.0 * after[0] / after[1]
    low = then - rate - sqrt((then - second[0]) ** 2 + (first[1] - rate) ** 2)
    high = then - rate + sqrt((second[1] - then) ** 2 + (rate - first[0]) ** 2)
    return low, high


class Durations(NamedTuple):
    """Durations of those endings that ran their course (`rollup.TIMED`), in nanoseconds; None where there are none."""

    n: int
    avg_ns: float | None
    min_ns: int | None
    max_ns: int | None
    p50_ns: int | None
    p95_ns: int | None
    p99_ns: int | None


def durations_of(cell: Cell) -> Durations:
    """The durations that a cell counted; percentiles are within `histogram.RELATIVE_ERROR`."""
    n = sum(cell.buckets.values())
    if not n or cell.min_ns is None or cell.max_ns is None:
        return Durations(0, None, None, None, None, None, None)
    p50, p95, p99 = (percentile_ns(cell.buckets, q, cell.min_ns, cell.max_ns) for q in (0.5, 0.95, 0.99))
    return Durations(n, cell.sum_ns / n, cell.min_ns, cell.max_ns, p50, p95, p99)


def errors_of(nodes: Iterable[tuple[str, Cell]]) -> dict[str, ErrorCount]:
    """Errors by fingerprint, of steps and of whole executions, given as (node_id or WHOLE, cell).

    Most executions fail because of a step that already counted the same error, so an execution's error counts only
    where no step of the same window has its fingerprint: one that the loop itself raised.
    """
    of_steps: dict[str, ErrorCount] = {}
    of_wholes: dict[str, ErrorCount] = {}
    for node_id, cell in nodes:
        errors = of_wholes if node_id == WHOLE else of_steps
        for key, error in cell.errors.items():
            if key in errors:
                errors[key].add(error)
            else:
                errors[key] = replace(error)
    return of_wholes | of_steps


def strategies_of(cells: Iterable[Cell]) -> dict[str, StrategyCount]:
    """Recovery attempts by strategy."""
    return merge(Cell(strategies=cell.strategies) for cell in cells).strategies
