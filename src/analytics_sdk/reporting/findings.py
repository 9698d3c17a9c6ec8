"""What the numbers say in plain sentences, and only what they carry: enough of them, and an interval free of chance.

Pure: each function gives a `Finding`, a key of `phrases` and the values for its places; `words` turns it into text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from analytics_sdk.query.aggregates import wilson_interval
from analytics_sdk.query.results import Distribution
from analytics_sdk.reporting.report_data import ErrorLine, Halves, HotspotLine, ReportData, StepLine, bucket_counts
from analytics_sdk.reporting.words import NOTHING, Words, make_inert, shorten

ENOUGH = 20
"""Executions needed on each side of a comparison."""
_Z95, _Z99 = 1.959963984540054, 2.5758293035489004
_NOTEWORTHY_POINTS = 1.0
_NOTEWORTHY_RATIO = 1.05


class Change(NamedTuple):
    """A number before and after the cut of the period."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Leader:
    """The first of a ranking that is clearly ahead of the second."""

    name: str
    n: int
    total: int


def find_success_change(halves: Halves | None) -> Change | None:
    """A change of the success rate whose 95 % interval excludes chance (R. G. Newcombe's hybrid score, 1998)."""
    if halves is None or min(halves.n) < ENOUGH:
        return None
    rates = [100 * part / n for part, n in zip(halves.succeeded, halves.n, strict=True)]
    intervals = [wilson_interval(part, n) or (0.0, 100.0) for part, n in zip(halves.succeeded, halves.n, strict=True)]
    difference = rates[1] - rates[0]
    low = difference - sqrt((rates[1] - intervals[1][0]) ** 2 + (intervals[0][1] - rates[0]) ** 2)
    high = difference + sqrt((intervals[1][1] - rates[1]) ** 2 + (rates[0] - intervals[0][0]) ** 2)
    if low <= 0 <= high or abs(difference) < _NOTEWORTHY_POINTS:
        return None
    return Change("success_up" if difference > 0 else "success_down", rates[0], rates[1])


def find_duration_change(halves: Halves | None) -> Change | None:
    """A change of the median duration, in nanoseconds, that a rank test (Mann-Whitney, 1 %) does not call chance."""
    if halves is None:
        return None
    before, after = halves.durations
    if min(before.n, after.n) < ENOUGH or not before.p50_ns or not after.p50_ns:
        return None
    ratio = after.p50_ns / before.p50_ns
    score = rank_score(before, after)
    if abs(score) < _Z99 or max(ratio, 1 / ratio) < _NOTEWORTHY_RATIO or (score > 0) != (ratio > 1):
        return None
    return Change("slower" if ratio > 1 else "faster", before.p50_ns, after.p50_ns)


def rank_score(before: Distribution, after: Distribution) -> float:
    """Mann and Whitney's z of two histograms, ties corrected; above 0 when `after` is longer."""
    first, second = bucket_counts(before), bucket_counts(after)
    n1, n2 = sum(first.values()), sum(second.values())
    n = n1 + n2
    below, larger, ties = 0, 0.0, 0
    for value in sorted({*first, *second}):
        a, b = first.get(value, 0), second.get(value, 0)
        larger += b * (below + a / 2)
        below += a
        ties += (a + b) ** 3 - (a + b)
    variance = n1 * n2 / 12 * ((n + 1) - ties / (n * (n - 1))) if n > 1 else 0.0
    return (larger - n1 * n2 / 2) / sqrt(variance) if variance > 0 else 0.0


def find_leader(ranked: Sequence[tuple[str, int]], total: int) -> Leader | None:
    """The first of (name, count), if what parts it from the second is more than chance would."""
    if not ranked or ranked[0][1] < 5:
        return None
    first, second = ranked[0][1], ranked[1][1] if len(ranked) > 1 else 0
    return Leader(ranked[0][0], first, total) if first - second > _Z95 * sqrt(first + second) else None


def rank_failing(steps: Sequence[StepLine]) -> list[StepLine]:
    """Steps that failed or were saved, the worst first."""
    touched = [step for step in steps if step.failed or step.recovered]
    return sorted(touched, key=lambda step: (-step.failed, -step.recovered, step.workflow_id, step.node_id))


def name_steps(steps: Sequence[StepLine]) -> Callable[[StepLine], str]:
    """How to call each step: by its node, and by its workflow too where two workflows have a node of that name."""
    homes: dict[str, set[str]] = {}
    for step in steps:
        homes.setdefault(step.node_id, set()).add(step.workflow_id)
    return lambda step: f"{step.workflow_id} / {step.node_id}" if len(homes.get(step.node_id, ())) > 1 else step.node_id


def name_node(workflow_id: str | None, node_id: str | None, among: Sequence[HotspotLine]) -> str:
    """How to call a step that was healed: by its node, and by its workflow too where two have a node of that name."""
    several = sum(other.node_id == node_id for other in among) > 1
    return f"{workflow_id} / {node_id}" if several and workflow_id else node_id or workflow_id or NOTHING


def name_error(error: ErrorLine, words: Words) -> str:
    """`TypeName: message`, or a word for those that have neither."""
    if error.fingerprint == "__other__":
        return words("error.other")
    return make_inert(": ".join(part for part in (error.error_type, error.message) if part)) or words("error.unnamed")


def write_sentences(data: ReportData, words: Words) -> list[str]:
    """Does it work and what did healing save; is it getting worse; what breaks. Fewer where there is nothing to say."""
    if data.is_empty:
        return [words("works.none"), words("works.none.hint")]
    sentences = [_say_works(data, words)]
    if data.numbers.success_rate.n:
        sentences += [_say_trend(data, words), _say_breaks(data, words)]
    return sentences


def _say_works(data: ReportData, words: Words) -> str:
    success = data.numbers.success_rate
    n, healed = words.count(success.n), words.count(success.healed)
    if not success.n:
        running = data.numbers.status_counts.get("running", 0)
        return words("works.pending", running=words.count(running)) if running else words("works.uncounted")
    if success.n == 1:
        return words("works.only" if success.succeeded else "works.only_failed")
    if success.succeeded == success.n:
        return words("works.healed_all", n=n, healed=healed) if success.healed else words("works.all", n=n)
    if success.n < ENOUGH:
        low, high = f"{success.ci_low:.0f}", f"{success.ci_high:.0f}"
        return words("works.few", succeeded=words.count(success.succeeded), n=n, low=low, high=high)
    rate = words.percent(success.success_rate)
    return (
        words("works.healed", rate=rate, n=n, healed=healed) if success.healed else words("works.rate", rate=rate, n=n)
    )


def _say_trend(data: ReportData, words: Words) -> str:
    halves = data.halves
    if halves is None or min(halves.n) < ENOUGH:
        return words("trend.few")
    moment = words.moment(halves.cut_ns)
    said = []
    if success := find_success_change(halves):
        before, after = words.percent(success.before), words.percent(success.after)
        said.append(words(f"trend.{success.name}", before=before, after=after, moment=moment))
    if duration := find_duration_change(halves):
        before, after = words.duration(duration.before), words.duration(duration.after)
        said.append(words(f"trend.{duration.name}", before=before, after=after, moment=moment))
    return " ".join(said) or words("trend.none")


def _say_breaks(data: ReportData, words: Words) -> str:
    numbers = data.numbers
    ranked = rank_failing(numbers.steps)
    name = name_steps(numbers.steps)
    if ranked and ranked[0].failed:
        worst = ranked[0]
        return words(
            "breaks.step",
            node=shorten(name(worst), 60),
            failed=words.times(worst.failed),
            n=words.count(worst.n),
        )
    if not numbers.success_rate.failed and ranked:
        most = max(ranked, key=lambda step: (step.recovered, step.node_id))
        return words("breaks.healed", step=shorten(name(most), 60), recovered=words.times(most.recovered))
    if not numbers.success_rate.failed:
        return words("breaks.none")
    if numbers.errors:
        error = numbers.errors[0]
        return words("breaks.error", error=shorten(name_error(error, words), 90), n=words.times(error.n))
    return words("breaks.some", failed=words.count(numbers.success_rate.failed))
