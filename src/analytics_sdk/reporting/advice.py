"""What a reader should know before trusting the headline, and what to do about steps that are healed again and again.

Pure, and only what the numbers carry: who finds the warnings is the query; here they become plain sentences.
"""

from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.report_data import HotspotLine, ReportData, StrategyLine, WarningLine
from analytics_sdk.reporting.words import Words, is_known, shorten

ENOUGH_ATTEMPTS = 5
"""Fewer say too little about whether recovering from something works."""
_NEARLY_ALWAYS, _SELDOM = 80.0, 50.0
MOST_WARNINGS = 5


def write_warnings(data: ReportData, words: Words) -> list[str]:
    """A sentence for each warning, those about what healing hides first; at most MOST_WARNINGS."""
    said = {"healing_masks_failure": _say_masked, "refuted_heals": _say_refuted}
    return [
        say(warning, words) for code, say in said.items() for warning in data.numbers.warnings if warning.code == code
    ][:MOST_WARNINGS]


def _say_masked(warning: WarningLine, words: Words) -> str:
    return words(
        "warning.masks",
        workflow=shorten(warning.workflow_id, 60) if warning.workflow_id else words("all_workflows").capitalize(),
        moment=words.moment(to_ns(warning.split_at)) if warning.split_at else words("none.moment"),
        before=words.percent(warning.first_pass_rate_before),
        after=words.percent(warning.first_pass_rate_after),
        success=words.percent(warning.success_rate_after),
    )


def _say_refuted(warning: WarningLine, words: Words) -> str:
    share = words.share(warning.refuted, warning.verified + warning.refuted)
    return words("warning.refuted", strategy=shorten(warning.strategy or "-", 60), share=share)


def write_healing_notes(data: ReportData, words: Words) -> list[str]:
    """What recovery cost, and how much of what it called a success was confirmed later."""
    recovery = data.numbers.recovery
    notes = []
    if recovery.attempts and is_known(recovery.time_share):
        share = words.percent(recovery.time_share)
        notes.append(words("healing.cost", time=words.seconds(recovery.total_duration), share=share))
    if recovery.verified or recovery.refuted:
        counts = {name: words.count(getattr(recovery, name)) for name in ("verified", "refuted", "unknown")}
        notes.append(words("healing.checked", **counts))
    return notes


def find_best(strategies: list[StrategyLine]) -> StrategyLine | None:
    """The strategy whose interval lies above the rate of every other one; None where none stands out."""
    known = [line for line in strategies if is_known(line.ci_low) and line.attempts >= ENOUGH_ATTEMPTS]
    if len(known) < 2:
        return None
    best = max(known, key=lambda line: (line.success_rate, line.attempts, line.strategy))
    return best if all(best.ci_low > line.success_rate for line in known if line is not best) else None


def advise(line: HotspotLine, words: Words) -> str:
    """What to do about a step that is healed again and again."""
    strategy = shorten(line.top_strategy or "", 40)
    if strategy and line.refuted:
        return words("advice.refuted", strategy=strategy)
    if line.attempts < ENOUGH_ATTEMPTS:
        return words("advice.watch")
    rate = 100.0 * line.succeeded / line.attempts
    if strategy and rate >= _NEARLY_ALWAYS:
        return words("advice.build_in", strategy=strategy)
    return words("advice.mend" if rate < _SELDOM else "advice.look")
