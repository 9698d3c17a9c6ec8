"""What `stats` says of healing: what it saved and cost, how sure that is, and where it hides failure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analytics_sdk.cli.terminal import Column, print_table, print_wrapped, style
from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.words import Words, is_known, make_inert

MOST_HOTSPOTS = 5
Row = Mapping[str, Any]


def headlines(answer: Row, words: Words) -> Iterator[tuple[str, str]]:
    """The lines about healing that stand among the first numbers, each with its name; none where nothing was tried."""
    rate, healing = answer["success_rate"], answer["recovery"]
    if not healing["attempts"]:
        return
    first_pass = rate["succeeded"] - rate["recovered"]
    share = f"{words.percent(rate['first_pass_rate'])} ({words.share(first_pass, rate['n'])})" if rate["n"] else "-"
    yield "First try", f"{share} succeeded without healing"
    saved = words.share(rate["recovered"], rate["n"] - first_pass)
    worked = words.share(healing["succeeded"], healing["attempts"])
    yield "Healing", f"saved {saved} executions that needed it; {worked} attempts worked{_judged(healing, words)}"
    spent = words.seconds(healing["total_duration"])
    part = f", {words.percent(healing['time_share'])} of all time" if is_known(healing["time_share"]) else ""
    yield "Healing cost", f"{spent}{part}"


def _judged(healing: Row, words: Words) -> str:
    """Whether what was healed held: the steps behind it passed, or did not."""
    if not healing["verified"] + healing["refuted"]:
        return ""
    counts = (f"{words.count(healing[word])} {word}" for word in ("verified", "refuted", "unknown"))
    return f": {', '.join(counts)}"


def print_warnings(warnings: Sequence[Row], words: Words) -> None:
    """What to know before trusting the first numbers."""
    for warning in warnings:
        print()
        print_wrapped(_say(warning, words), 9, style("Warning", "bad"))


def _say(warning: Row, words: Words) -> str:
    if warning["code"] == "healing_masks_failure":
        since = words.moment(to_ns(warning["split_at"]))
        return (
            f"healing hides failure in {make_inert(warning['workflow_id'])}: since {since} "
            f"only {words.percent(warning['first_pass_rate_after'])} succeed at the first try, "
            f"{words.percent(warning['first_pass_rate_before'])} did before; "
            f"the success rate of {words.percent(warning['success_rate_after'])} does not show it."
        )
    if warning["code"] == "refuted_heals":
        judged = warning["verified"] + warning["refuted"]
        return (
            f"what {make_inert(warning['strategy'])} calls healed often is not: of {words.count(judged)} that could be "
            f"judged, {words.count(warning['refuted'])} were refuted by the step behind them."
        )
    return make_inert(str(warning["code"]))


def print_strategies(strategies: Sequence[Row], words: Words) -> None:
    """A line a strategy: how often it works, how sure that is, what it costs, and whether it held."""
    print_table(
        "Healing by strategy",
        [
            Column("strategy", flexible=True),
            Column("attempts", right=True),
            Column("worked", right=True),
            Column("95 % interval", right=True, rank=2),
            Column("average", right=True, rank=3),
            Column("total", right=True, rank=5),
            Column("verified", right=True, rank=4),
            Column("refuted", right=True, rank=1),
            Column("unknown", right=True, rank=6),
        ],
        [
            (
                row["strategy"],
                words.count(row["attempts"]),
                words.percent(row["success_rate"]),
                f"{row['ci_low']:.0f} - {row['ci_high']:.0f} %" if is_known(row["ci_low"]) else "-",
                words.seconds(row["avg_duration"]),
                words.seconds(row["total_duration"]),
                words.count(row["verified"]),
                words.count(row["refuted"]),
                words.count(row["unknown"]),
            )
            for row in strategies
        ],
    )


def print_hotspots(hotspots: Sequence[Row], words: Words, with_workflow: bool) -> None:
    """The steps that are healed again and again: what to mend first."""
    several = with_workflow and len({row["workflow_id"] for row in hotspots}) > 1
    print_table(
        "Healed again and again"
        if len(hotspots) <= MOST_HOTSPOTS
        else f"Healed most, {MOST_HOTSPOTS} of {len(hotspots)}",
        [
            *([Column("workflow", flexible=True, rank=4)] if several else []),
            Column("step", flexible=True),
            Column("healed", right=True),
            Column("failed", right=True, rank=2),
            Column("refuted", right=True, rank=3),
            Column("time", right=True),
            Column("mostly by", flexible=True, rank=1),
        ],
        [
            (
                *([row["workflow_id"]] if several else []),
                row["node_id"],
                words.count(row["succeeded"]),
                words.count(row["failed"]),
                words.count(row["refuted"]),
                words.seconds(row["total_duration"]),
                row["top_strategy"],
            )
            for row in hotspots[:MOST_HOTSPOTS]
        ],
    )
