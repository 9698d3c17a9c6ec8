"""What recoveries did: how many worked, what became of what they healed, what they cost, and where they hide failure.

Keys are those of the dict of statistics: rates in percent, durations in seconds, nan where nothing is known. Of the
recoveries that succeeded, `verified` are those behind which the next steps passed, `refuted` those behind which the
next step did not; of the `unknown` nobody can tell.
"""

from collections.abc import Iterable, Mapping
from math import nan
from typing import NamedTuple

from analytics_sdk.query.aggregates import Tally, newcombe_interval, strategies_of, wilson_interval
from analytics_sdk.query.window import to_datetime
from analytics_sdk.rollup import WHOLE, Cell, StrategyCount

_NS = 1_000_000_000

LEAST_HEALS = 3
"""So many heals of one node in the window make it a hotspot."""
MOST_HOTSPOTS = 20
LEAST_COUNTED = 20
"""So many executions that count are needed on either side of a cut."""
LEAST_DROP = 5.0
"""In points."""
CUTS = 8
Z_MASKED = 3.1888152584
"""99 % for all cuts together: the quantile for a chance of 1 % over the CUTS - 1 that are tried (Bonferroni)."""
LEAST_JUDGED = 8
REFUTED_ABOVE = 25.0
"""In percent of those that could be judged."""

WorkflowCells = Mapping[str, Mapping[str, Cell]]
Counts = Mapping[str, StrategyCount]


def _sum(counts: Iterable[StrategyCount]) -> StrategyCount:
    total = StrategyCount()
    for count in counts:
        total.add(count)
    return total


def _verdicts(count: StrategyCount) -> dict[str, object]:
    return {
        "verified": count.verified,
        "refuted": count.refuted,
        "unknown": max(0, count.succeeded - count.verified - count.refuted),
    }


def _rate(count: StrategyCount) -> dict[str, object]:
    interval = wilson_interval(count.succeeded, count.attempts) or (nan, nan)
    return {
        "attempts": count.attempts,
        "succeeded": count.succeeded,
        "success_rate": 100.0 * count.succeeded / count.attempts if count.attempts else nan,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "total_duration": count.total_duration_ns / _NS,
        **_verdicts(count),
    }


def describe_recovery(cells: WorkflowCells) -> dict[str, object]:
    """`recovery`: all attempts, by strategy (most attempts first), and the hotspots.

    `ci_low` and `ci_high` are Wilson's interval of the success rate. `time_share`: the percentage of the executions'
    own total time that went into recovery attempts.
    """
    strategies = _strategies(cells)
    return {
        **_rate(_sum(strategies.values())),
        "time_share": _time_share(cells),
        "strategies": [
            {
                "strategy": strategy,
                **_rate(count),
                "avg_duration": count.total_duration_ns / count.attempts / _NS,
            }
            for strategy, count in sorted(strategies.items(), key=lambda item: (-item[1].attempts, item[0]))
        ],
        "hotspots": _hotspots(cells),
    }


def _strategies(cells: WorkflowCells) -> Counts:
    """By strategy; without those of which only verdicts are left, because a recovery was lost."""
    found = strategies_of(cell for nodes in cells.values() for cell in nodes.values())
    return {strategy: count for strategy, count in found.items() if count.attempts}


def _time_share(cells: WorkflowCells) -> float:
    """nan where it is unknown: without executions that ended, or where recoveries took longer than these, because then
    they are also of executions whose time nobody knows."""
    inside = {workflow_id: nodes for workflow_id, nodes in cells.items() if workflow_id}
    healing_ns = _sum(_strategies(inside).values()).total_duration_ns
    total_ns = sum(nodes[WHOLE].sum_ns for nodes in inside.values() if WHOLE in nodes)
    return 100.0 * healing_ns / total_ns if total_ns >= healing_ns and total_ns > 0 else nan


def _hotspots(cells: WorkflowCells) -> list[dict[str, object]]:
    """Nodes that were healed again and again, most time lost first."""
    found = []
    for workflow_id, nodes in cells.items():
        for node_id, cell in nodes.items():
            total = _sum(cell.strategies.values()) if node_id != WHOLE else StrategyCount()
            if total.succeeded >= LEAST_HEALS:
                found.append((total, workflow_id, node_id, cell.strategies))
    found.sort(key=lambda one: (-one[0].total_duration_ns, one[1], one[2]))
    return [
        {
            "workflow_id": workflow_id,
            "node_id": node_id,
            "attempts": total.attempts,
            "succeeded": total.succeeded,
            "failed": total.attempts - total.succeeded,
            "total_duration": total.total_duration_ns / _NS,
            **_verdicts(total),
            "top_strategy": min(strategies, key=lambda name: (-strategies[name].succeeded, name)),
        }
        for total, workflow_id, node_id, strategies in found[:MOST_HOTSPOTS]
    ]


def describe_effort(cell: Cell) -> dict[str, object]:
    """What recoveries of one node cost."""
    total = _sum(cell.strategies.values())
    return {"recovery_attempts": total.attempts, "recovery_duration": total.total_duration_ns / _NS}


class _Cut(NamedTuple):
    """The executions of one workflow before and behind a whole hour."""

    at_ns: int
    before: Tally
    after: Tally
    change: tuple[float, float]
    """Where the change of the first-pass rate lies, in points."""


def describe_warnings(cells: WorkflowCells, trend: Mapping[str, Mapping[int, Tally]]) -> list[dict[str, object]]:
    """`warnings`, each with a `code`:

    healing_masks_failure: in one workflow fewer executions pass at first try than before `split_at`, and the success
    rate does not show it. `change_ci_low` and `change_ci_high` say where the change of the first-pass rate lies, in
    points, at 99 %.
    refuted_heals: of a strategy's successes that could be judged, credibly more than a quarter were refuted.
    """
    cuts = {workflow_id: _masked_at(hours) for workflow_id, hours in trend.items()}
    masked = [(workflow_id, cut) for workflow_id, cut in cuts.items() if cut is not None]
    masked.sort(key=lambda item: (item[1].change[1], item[0]))
    strategies = sorted(_strategies(cells).items(), key=lambda item: (-item[1].refuted, item[0]))
    return [_masking(*one) for one in masked] + [_refuted(*one) for one in strategies if _is_refuted(one[1])]


def _masking(workflow_id: str, cut: _Cut) -> dict[str, object]:
    return {
        "code": "healing_masks_failure",
        "workflow_id": workflow_id,
        "split_at": to_datetime(cut.at_ns),
        "n_before": cut.before.n,
        "n_after": cut.after.n,
        "success_rate_before": 100.0 * cut.before.succeeded / cut.before.n,
        "success_rate_after": 100.0 * cut.after.succeeded / cut.after.n,
        "first_pass_rate_before": 100.0 * cut.before.first_pass / cut.before.n,
        "first_pass_rate_after": 100.0 * cut.after.first_pass / cut.after.n,
        "change_ci_low": cut.change[0],
        "change_ci_high": cut.change[1],
    }


def _masked_at(hours: Mapping[int, Tally]) -> _Cut | None:
    """The cut that shows it most clearly, of those nearest to each eighth of the executions.

    Few cuts and not every hour, because the more are tried the more often chance alone shows something.
    """
    total = _tally(hours.values())
    if total.n < 2 * LEAST_COUNTED:
        return None
    edges = []  # (how many before, the hour)
    passed = 0
    for hour in sorted(hours):
        edges.append((passed, hour))
        passed += hours[hour].n
    wanted = [total.n * eighth / CUTS for eighth in range(1, CUTS)]
    nearest = {min(edges, key=lambda edge: (abs(edge[0] - n), edge[1]))[1] for n in wanted}
    cuts = [_cut(hours, at_ns) for at_ns in sorted(nearest)]
    return min((cut for cut in cuts if cut is not None), key=lambda cut: cut.change[1], default=None)


def _cut(hours: Mapping[int, Tally], at_ns: int) -> _Cut | None:
    """The cut at an hour, where healing masks failure behind it."""
    before = _tally(tally for hour, tally in hours.items() if hour < at_ns)
    after = _tally(tally for hour, tally in hours.items() if hour >= at_ns)
    if min(before.n, after.n) < LEAST_COUNTED:
        return None
    fell = newcombe_interval((before.first_pass, before.n), (after.first_pass, after.n), Z_MASKED)
    success = newcombe_interval((before.succeeded, before.n), (after.succeeded, after.n))
    if fell is None or success is None:
        return None
    drop = 100.0 * before.first_pass / before.n - 100.0 * after.first_pass / after.n
    is_masked = fell[1] < 0 and drop >= LEAST_DROP and success[1] >= 0
    return _Cut(at_ns, before, after, fell) if is_masked else None


def _tally(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally.n, tally.succeeded, tally.first_pass)
    return total


def _is_refuted(count: StrategyCount) -> bool:
    judged = count.verified + count.refuted
    interval = wilson_interval(count.refuted, judged)
    return judged >= LEAST_JUDGED and interval is not None and interval[0] > REFUTED_ABOVE


def _refuted(strategy: str, count: StrategyCount) -> dict[str, object]:
    judged = count.verified + count.refuted
    interval = wilson_interval(count.refuted, judged) or (nan, nan)
    return {
        "code": "refuted_heals",
        "strategy": strategy,
        "succeeded": count.succeeded,
        **_verdicts(count),
        "refuted_rate": 100.0 * count.refuted / judged,
        "ci_low": interval[0],
        "ci_high": interval[1],
    }
