"""What a report says: only what the numbers carry, in plain words, in both languages."""

import re
import string
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from report_samples import NOW_NS, make_data, make_store, with_healing

from analytics_sdk.query.results import Distribution, StepRow
from analytics_sdk.reporting.advice import advise, find_best
from analytics_sdk.reporting.critical_path import find_critical, order_steps
from analytics_sdk.reporting.findings import (
    find_duration_change,
    find_leader,
    find_success_change,
    rank_score,
    write_sentences,
)
from analytics_sdk.reporting.page import words_of, write_page
from analytics_sdk.reporting.phrases import PHRASES
from analytics_sdk.reporting.report_data import (
    Halves,
    HotspotLine,
    Recovery,
    ReportData,
    StrategyLine,
    Success,
    WarningLine,
    find_cut_ns,
)
from analytics_sdk.reporting.scales import (
    merge_buckets,
    place_count_ticks,
    place_linear_ticks,
    place_log_ticks,
    place_number_ticks,
    place_time_ticks,
    spread_labels,
)
from analytics_sdk.reporting.theme import DARK, LIGHT, Theme, colour_names, colour_of, contrast
from analytics_sdk.reporting.words import Words, keep_units, make_inert, shorten
from analytics_sdk.vocabulary import LOSS_REASONS, STATUSES, Kind

EN, FR = Words("en", ZoneInfo("Europe/Paris")), Words("fr", ZoneInfo("Europe/Paris"))
S = 10**9


def spread_over(*durations_s: float) -> Distribution:
    """Durations as a histogram, in whole-millisecond buckets."""
    buckets = sorted((round(d * 1e9), round(d * 1e9) + 10**6, durations_s.count(d)) for d in set(durations_s))
    ordered = sorted(durations_s)
    return Distribution(buckets, len(ordered), round(ordered[len(ordered) // 2] * 1e9), round(ordered[-1] * 1e9))


@pytest.fixture(scope="module")
def week() -> ReportData:
    return make_data(0, store=make_store(600))


def test_each_phrase_has_the_same_places_in_both_languages() -> None:
    """A translation cannot lose a number."""
    for key, phrases in PHRASES.items():
        english, french = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in phrases)
        assert english == french, key
        assert all(phrases), key


def test_every_word_that_is_stored_can_be_said() -> None:
    """Statuses, kinds of records and reasons of losses, in both languages."""
    keys = [f"status.{status}" for status in STATUSES] + [f"reason.{reason}" for reason in LOSS_REASONS]
    keys += [f"loss.{kind.name.lower()}" for kind in Kind]
    assert not [key for key in keys if key not in PHRASES]


def test_each_phrase_is_used() -> None:
    """What is not said any more is not kept."""
    folder = Path(make_data.__code__.co_filename).parents[2] / "src/analytics_sdk/reporting"
    sources = [path for path in folder.rglob("*") if path.suffix in (".py", ".html") and path.name != "phrases.py"]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    built = {*re.findall(r"""f["']([a-z_.]+)\{""", text), "loss.", "reason."}
    tables = {
        f"column.{word}" for words in re.findall(r'"([a-z0-9_ -]+)"', text) for word in re.split(r"-? |-$", words)
    }
    for key in PHRASES:
        family = any(key.startswith(prefix) for prefix in built)
        assert family or key in tables or f'"{key}"' in text or f"'{key}'" in text, key


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_seen_and_told_apart(theme: Theme) -> None:
    """4.5:1 for text, 3:1 for marks; no colour twice, because a page replaces each by its variable."""
    assert contrast(theme.ink, theme.paper) >= 7
    assert contrast(theme.muted, theme.paper) >= 4.5
    assert contrast(theme.accent, theme.paper) >= 4.5
    marks = [name for name in colour_names() if name not in ("paper", "rule")]
    assert min(contrast(colour_of(theme, name), theme.paper) for name in marks) >= 3
    assert len({colour_of(theme, name) for name in colour_names()}) == len(colour_names())


def test_a_change_of_success_is_said_only_where_chance_is_excluded() -> None:
    """Twenty on each side at least, and an interval of the difference without zero."""
    flat = (spread_over(1.0), spread_over(1.0))
    assert find_success_change(None) is None
    assert find_success_change(Halves(0, (19, 400), (19, 200), flat)) is None
    assert find_success_change(Halves(0, (100, 100), (97, 93), flat)) is None
    assert find_success_change(Halves(0, (50_000, 50_000), (49_000, 48_800), flat)) is None
    fall = find_success_change(Halves(0, (400, 400), (390, 340), flat))
    assert fall is not None
    assert (fall.name, fall.before, fall.after) == ("success_down", 97.5, 85.0)


def test_a_change_of_duration_is_said_only_where_chance_is_excluded() -> None:
    """A rank test over the histograms: shifted ones are told, overlapping ones are not."""
    quick, slow = spread_over(*(1 + i / 100 for i in range(40))), spread_over(*(1.3 + i / 100 for i in range(40)))
    counts = ((40, 40), (40, 40))
    assert find_duration_change(Halves(0, *counts, (quick, quick))) is None
    change = find_duration_change(Halves(0, *counts, (quick, slow)))
    assert change is not None
    assert change.name == "slower"
    back = find_duration_change(Halves(0, *counts, (slow, quick)))
    assert back is not None
    assert back.name == "faster"
    few = spread_over(1.0, 1.1)
    assert find_duration_change(Halves(0, (2, 40), (2, 40), (few, slow))) is None
    assert rank_score(quick, quick) == pytest.approx(0)
    assert rank_score(spread_over(1.0), spread_over(1.0)) == 0


def test_a_leader_is_named_only_when_it_is_ahead() -> None:
    """Seven against six is a draw; so is one alone of four."""
    assert find_leader([], 0) is None
    assert find_leader([("a", 4)], 4) is None
    assert find_leader([("a", 7), ("b", 6)], 13) is None
    leader = find_leader([("a", 70), ("b", 6)], 76)
    assert leader is not None
    assert (leader.name, leader.n, leader.total) == ("a", 70, 76)


def test_the_sentences_answer_whether_it_works_gets_worse_and_what_breaks(week: ReportData) -> None:
    """Three of them, with numbers that are in the data."""
    works, trend, breaks = write_sentences(week, EN)
    success = week.numbers.success_rate
    assert works == f"{EN.percent(success.success_rate)} of {success.n} executions succeeded, " + (
        f"{success.healed} of them thanks to a recovery."
    )
    assert trend.startswith("Executions became slower: the median went from ")
    assert re.fullmatch(r"The step \w+ breaks most: it failed (once|\d+ times) in \d+\.", breaks)
    assert len(write_sentences(week, FR)) == 3


@pytest.mark.parametrize(
    ("success", "counts", "said"),
    [
        (Success(100.0, 100.0, 1, 1, 0, 20.7, 100.0), {"success": 1}, "The one execution succeeded."),
        (Success(0.0, 0.0, 1, 0, 1, 0.0, 79.3), {"failed": 1}, "The one execution failed."),
        (Success(100.0, 100.0, 40, 40, 0, 91.2, 100.0), {"success": 40}, "All 40 executions succeeded."),
        (Success(), {"running": 2}, "Nothing has ended yet; 2 still running."),
        (Success(), {"cancelled": 2}, "Nothing ended with a success or a failure: all was cancelled or skipped."),
        (
            Success(75.0, 75.0, 4, 3, 1, 30.1, 95.4),
            {"success": 3, "failed": 1},
            "3 of 4 executions succeeded: too few to say more than 30 - 95 %.",
        ),
        (Success(99.9999, 99.9999, 10**6, 999_999, 1, 99.9, 100.0), {}, "> 99.9 % of 1,000,000 executions succeeded."),
    ],
)
def test_few_executions_are_said_to_be_few(
    week: ReportData, success: Success, counts: dict[str, int], said: str
) -> None:
    """And what is not quite all is never said to be all."""
    numbers = replace(week.numbers, success_rate=success, status_counts=counts, recovery=Recovery())
    assert write_sentences(replace(week, numbers=numbers), EN)[0] == said


def test_losses_mark_the_numbers_that_they_touch() -> None:
    """The mark stands at the number and is explained on the same page."""
    data = make_data(0, store=make_store(30, losses=True))
    page = write_page(data, words_of(data))
    assert "Resource samples: 118 (the journal was full), step ends: 3 (no disk or memory). " in page.lossy
    assert all(card.value.endswith("†") for card in page.cards if card.value != "-")
    whole = make_data(30)
    clean = write_page(whole, words_of(whole))
    assert clean.lossy == ""
    assert not any("†" in card.value for card in clean.cards)


def test_numbers_have_three_digits_and_a_unit() -> None:
    """The carry to the next unit happens after rounding."""
    assert [EN.duration(ns) for ns in (0, 999, 999_600, 59_960_000_000, 3_599_900_000_000, 86_399_000_000_000)] == [
        "0 s",
        "999 ns",
        "1.00 ms",
        "1 min 00 s",
        "1 h 00 min",
        "1 d 00 h",
    ]
    assert [EN.size(n) for n in (0, 512, 1000, 1_300_000, 1_342_177_280)] == [
        "0 B",
        "512 B",
        "0.977 KiB",
        "1.24 MiB",
        "1.25 GiB",
    ]
    assert EN.percent(0.01) == "< 0.1 %"
    assert EN.percent(float("nan")) == EN.percent(None) == EN.count(float("nan")) == EN.size(None) == "-"
    assert EN.rate(93.75, 16, 15, (71.7, 98.9)) == "93.8 % (15 of 16, 72 - 99 %)"
    assert EN.rate(93.75, 1600, 1500, (92.4, 94.9)) == "93.8 %"
    assert FR.rate(93.75, 16, 15, (71.7, 98.9)) == "93,8 % (15 sur 16, 72 - 99 %)"
    assert keep_units("3 min 05 s ; 97.5 % of 4") == "3\u00a0min 05\u00a0s\u00a0; 97.5\u00a0% of 4"


def test_stored_text_is_shown_for_what_it_is() -> None:
    """Control and direction characters become a mark; long ids are cut in the middle."""
    assert make_inert("a\x1b[31mb\u202ec\nd") == "a·[31mb·c·d"
    assert shorten("abcdefghijklmnopqrstuvwxyz", 10) == "abcdef…xyz"
    assert shorten("short", 10) == "short"


def test_ticks_are_round_and_few() -> None:
    """On every axis, for spans from nanoseconds to months."""
    for high_ns in (3, 950, 10**6, 7 * S, 90 * S, 3 * 3600 * S, 40 * 86_400 * S):
        ticks = place_linear_ticks(high_ns, 5, EN)
        assert 2 <= len(ticks) <= 7
        assert ticks[0].at == 0
        assert ticks[-1].at >= high_ns
        assert len({tick.label for tick in ticks}) == len(ticks)
    assert [tick.label for tick in place_log_ticks(5e5, 2e11, 6, EN)] == [
        "1 ms",
        "10 ms",
        "100 ms",
        "1 s",
        "10 s",
        "1 min",
    ]
    assert [tick.label for tick in place_count_ticks(1, 3, EN)] == ["0", "1"]
    assert [tick.label for tick in place_count_ticks(1234, 3, EN)] == ["0", "500", "1,000", "1,500"]
    assert [tick.label for tick in place_number_ticks(92.0, 3, EN)] == ["0", "50", "100"]
    assert place_number_ticks(600 * 2**20, 3, EN, binary=True)[1].label == "256 MiB"


def test_days_begin_at_midnight_even_where_the_clock_is_put_forward() -> None:
    """29 March 2026 has 23 hours in Paris."""
    start, end = (int(datetime(2026, 3, d, 8, tzinfo=ZoneInfo("Europe/Paris")).timestamp()) * S for d in (27, 31))
    ticks = place_time_ticks(start, end, 6, EN)
    assert [tick.label for tick in ticks] == ["28 Mar", "29 Mar", "30 Mar", "31 Mar"]
    assert [(later.at - tick.at) / (3600 * S) for tick, later in pairwise(ticks)] == [24, 23, 24]


def test_labels_at_line_ends_do_not_cover_each_other() -> None:
    """As near as can be to where they belong, inside the axes; of two alike the first is higher."""
    places = spread_labels([0.5, 0.5, 0.51], 0.1, 0.05, 0.95)
    assert places[0] > places[1]
    ordered = sorted(places)
    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(ordered))
    assert max(spread_labels([0.99, 0.98, 0.97], 0.2, 0, 0.95)) <= 0.95
    assert spread_labels([], 0.1, 0, 1) == []


def test_bins_lose_nothing() -> None:
    """Every execution is in one bin, however they are spread."""
    for distribution in (
        spread_over(1.0),
        spread_over(0.001, 1.0, 3600.0),
        spread_over(*(1 + i / 7 for i in range(90))),
    ):
        bins = merge_buckets(distribution.buckets, 20)
        assert sum(count for _, _, count in bins) == distribution.n
        assert len(bins) <= 22
    assert merge_buckets([], 20) == []


def test_the_critical_path_goes_from_the_end_back() -> None:
    """Of what ran side by side, what ended last decided; within it the same."""

    def step(step_no: int, start_s: float, end_s: float | None, parent: int | None = None) -> StepRow:
        end_ns = None if end_s is None else int(end_s * S)
        start_ns = int(start_s * S)
        length = None if end_ns is None else end_ns - start_ns
        return StepRow("x", "w", step_no, parent, "n", None, "success", start_ns, end_ns, length, None, None)

    steps = [step(1, 0, 1), step(2, 1, 4), step(3, 1, 7), step(4, 1.5, 3, 2), step(5, 2, 6, 3), step(6, 7, 9)]
    assert find_critical(steps) == {1, 3, 5, 6}
    assert find_critical([step(1, 0, None)]) == set()
    assert find_critical([]) == set()


def test_the_period_is_cut_where_half_of_it_has_started(week: ReportData) -> None:
    """So that both sides have enough; one point cannot be cut."""
    cut_ns = find_cut_ns(week.points)
    assert cut_ns is not None
    before = sum(point.n for point in week.points if point.start_ns < cut_ns)
    assert abs(before - week.numbers.success_rate.n / 2) <= max(point.n for point in week.points)
    assert find_cut_ns(week.points[:1]) is None
    assert find_cut_ns([]) is None


def test_a_week_and_an_hour_are_said_briefly() -> None:
    """The day once where it is the same day."""
    assert EN.period(NOW_NS - 7200 * S, NOW_NS) == "9 Mar 2026, 16:30 - 18:30"
    assert EN.period(NOW_NS - 60 * S, NOW_NS) == "9 Mar 2026, 18:29:00 - 18:30:00"
    assert FR.period(NOW_NS - 86_400 * S, NOW_NS) == "du 8 mars 2026, 18:30 au 9 mars 2026, 18:30"


def test_steps_stand_beneath_what_they_ran_inside() -> None:
    """By their beginning, but never between another step and its parts; whoever is its own parent stands alone."""

    def step(step_no: int, start_s: int, parent: int | None = None) -> StepRow:
        return StepRow("x", "w", step_no, parent, "n", None, "success", start_s * S, start_s * S + S, S, None, None)

    steps = [step(1, 0), step(2, 1), step(3, 2, 1), step(4, 3, 3), step(5, 0, 99), step(6, 9, 6)]
    assert [one.step_no for one in order_steps(steps)] == [1, 3, 4, 5, 2, 6]
    assert order_steps([]) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HotspotLine("w", "n", 3, 3, top_strategy="wait"), "too few attempts"),
        (HotspotLine("w", "n", 20, 18, refuted=1, top_strategy="wait"), "Check what wait does"),
        (HotspotLine("w", "n", 20, 18, top_strategy="wait"), "Make wait the normal way"),
        (HotspotLine("w", "n", 20, 3, top_strategy="wait"), "Mend the cause"),
        (HotspotLine("w", "n", 20, 13, top_strategy="wait"), "Find out why it fails"),
        (HotspotLine(None, None), "too few attempts"),
    ],
)
def test_advice_follows_what_recovery_did(line: HotspotLine, said: str) -> None:
    """Refuted first, then enough, then how often it worked."""
    assert said in advise(line, EN)
    assert advise(line, FR) != advise(line, EN)


def test_warnings_stand_beside_the_sentences(week: ReportData) -> None:
    """What healing hides first; a code that nobody knows is not shown as a code; only where it was asked for."""
    data = with_healing(week)
    unknown = replace(data.numbers, warnings=[*data.numbers.warnings, WarningLine("brand_new")])
    page = write_page(replace(data, numbers=unknown), EN)
    assert [warning.split()[0] for warning in page.warnings] == ["checkout_test", "Check"]
    assert "since 6 Mar 2026, 18:30, runs that needed none went from 90.8 % to 78.0 %" in page.warnings[0]
    assert page.warnings[1] == "Check retry_longer: of its successes that could be checked, 5 of 8 turned out wrong."
    assert write_page(replace(data, metric_types=("step",)), EN).warnings == []
    assert write_page(replace(data, numbers=replace(data.numbers, warnings=[])), EN).warnings == []


def test_the_best_strategy_is_named_only_when_its_interval_is_above_the_others() -> None:
    """Nine of ten is not better than eight of ten."""

    def line(strategy: str, succeeded: int, attempts: int, low: float, high: float) -> StrategyLine:
        return StrategyLine(strategy, attempts, succeeded, 100 * succeeded / attempts, low, high)

    often, seldom = line("a", 90, 100, 82.6, 94.5), line("b", 40, 100, 30.9, 49.8)
    assert find_best([]) is None
    assert find_best([often]) is None
    assert find_best([line("a", 9, 10, 59.6, 98.2), line("b", 8, 10, 49.0, 94.3)]) is None
    best = find_best([seldom, often, line("rare", 1, 1, 20.7, 100.0)])
    assert best is not None
    assert best.strategy == "a"
