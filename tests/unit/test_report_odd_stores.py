"""Reports of what nobody thinks of first: hostile names, odd periods, one status alone, a hundred workflows."""

import io
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pypdf import PdfReader
from report_samples import NOW_NS, FixedClock, make_data, make_store, with_healing

from analytics_sdk.query import Query
from analytics_sdk.reporting.html import render_html
from analytics_sdk.reporting.page import words_of, write_page
from analytics_sdk.reporting.picture import render_pdf, render_report_png
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.reporting.tabular import render_json
from analytics_sdk.sinks.base import EXECUTION_COLUMNS, Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink

S = 10**9
DAY = 86_400 * S
HOSTILE = {
    "long": "x" * 5000,
    "right-to-left": "\u05d0\u05d1\u05d2 \u202e gnp.exe",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 30,
    "control": "a\x00b\x07c\x1b[31mred\x1b[0m\r\nd\x85e",
    "script": "</script><script>alert(1)</script><!--",
    "formula": "=cmd|'/C calc'!A0",
    "quotes": "\"'`\u201d&lt;${7*7}{{7*7}}",
    "zero-width": "pay\u200b\u2060\ufeffment",
    "mathtext": r"$\frac{1}{0}$ _^{",
    "css": "*/ } body { display: none } /*",
}


def fill(rows: Iterable[dict[str, object]]) -> MemorySink:
    """A store of executions given by column; the rest is as plain as can be."""
    journal = JournalIdentity("0123456789abcdef" * 2, "robot-1", 1, NOW_NS - DAY)
    batch = Batch(journal, 0, 10**9)
    for i, row in enumerate(rows, 1):
        started = int(str(row.get("started_at_ns", NOW_NS - DAY + i * S)))
        took = row.get("duration_ns", S)
        plain = {
            "seq": 10 * i,
            "end_seq": 10 * i + 1,
            "execution_id": f"run-{i}",
            "workflow_id": "w",
            "status": "success",
            "started_at_ns": started,
            "duration_ns": took,
            "ended_at_ns": None if took is None else started + int(str(took)),
            "steps_completed": 0,
            "steps_failed": 0,
            "steps_recovered": 0,
        }
        batch.new_executions.append(tuple({**plain, **row}.get(column) for column in EXECUTION_COLUMNS))
    sink = MemorySink()
    sink.write(batch)
    return sink


def report_of(sink: MemorySink, now_ns: int = NOW_NS, **config: object) -> ReportData:
    settings = {"title": "Odd", "tz": "Europe/Paris"} | config
    clock = FixedClock(now_ns)
    return ReportGenerator(lambda: Query(sink), Path(), clock=clock).generate_report(ReportConfig(**settings))


def said_on(page: str) -> str:
    """The text of a page, without tags, styles and scripts."""
    return re.sub(r"<[^>]*>", " ", page.split("<body>")[1].split("<script>")[0])


def read_page(data: ReportData) -> str:
    """The text of its page. Nothing on it is nan, None or inf; nothing in its JSON is either."""
    page = render_html(data)
    assert len(page.encode()) < 500_000
    json.loads(render_json(data), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    text = said_on(page)
    assert not {"nan", "None", "inf", "NaN"} & set(text.split())
    return text.replace("\u00a0", " ").replace("\u2011", "-").replace("&#39;", "'")


def read_paper(data: ReportData) -> str:
    """The text of its PDF, after it was drawn as a picture too."""
    assert render_report_png(data).startswith(b"\x89PNG")
    return " ".join(sheet.extract_text() for sheet in PdfReader(io.BytesIO(render_pdf(data)), strict=True).pages)


HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@pytest.mark.parametrize("name", ["long", "control", "script", "quotes", "css"])
def test_hostile_names_are_inert_on_a_page(name: str) -> None:
    """As title, workflow, step, error and strategy: no tag, no style, no character that hides another."""
    hostile = HOSTILE[name]
    data = with_healing(make_data(0, store=make_store(6, hostile=hostile), title=hostile))
    page = render_html(data)
    assert page.count("<script") == 1
    assert page.count("<style") == 1
    assert "<!--" not in page
    assert not HIDDEN.search(page)
    assert "display: none } /*" not in page.split("<style>")[1].split("</style>")[0]
    page.encode("utf-8")


def test_hostile_names_are_inert_on_paper() -> None:
    """All at once, and a title that is no valid text: nothing is lost of what can be shown."""
    rows = [{"workflow_id": name, "execution_id": name, "error_message": name} for name in HOSTILE.values()]
    text = read_paper(report_of(fill(rows), title="half \ud83d a title " + "".join(HOSTILE.values())))
    assert not HIDDEN.search(text.replace("\n", ""))
    assert "alert(1)" in "".join(text.split())


STATUSES: dict[str, Callable[[], MemorySink]] = {
    "running": lambda: fill({"status": "running", "duration_ns": None, "end_seq": None} for _ in range(3)),
    "crashed": lambda: fill({"status": "crashed", "duration_ns": None} for _ in range(30)),
    "cancelled": lambda: fill({"status": "cancelled"} for _ in range(3)),
    "recovered": lambda: fill({"steps_recovered": 1} for _ in range(30)),
    "no steps": lambda: fill({} for _ in range(30)),
    "one": lambda: fill([{}]),
    "nothing": MemorySink,
}


@pytest.mark.parametrize("name", STATUSES)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_store_of_one_kind_alone_reads_well(name: str, language: str) -> None:
    """Only running, only crashed, only recovered, no steps at all."""
    data = report_of(STATUSES[name](), language=language)
    text = read_page(data)
    said = {
        "running": ("Nothing has ended yet; 3 still running.", "Rien ne s'est encore terminé ; 3 en cours."),
        "crashed": ("0.0 % of 30 executions succeeded.", "0,0 % des 30 exécutions ont réussi."),
        "cancelled": ("all was cancelled or skipped", "tout a été annulé ou sauté"),
        "recovered": ("30 of them thanks to a recovery", "dont 30 grâce à une reprise"),
        "no steps": ("All 30 executions succeeded.", "Les 30 exécutions ont toutes réussi."),
        "one": ("The one execution succeeded.", "La seule exécution a réussi."),
        "nothing": ("Nothing was recorded in this period.", "Rien n'a été enregistré pendant cette période."),
    }[name][language == "fr"]
    assert said in text
    if language == "en":
        assert render_pdf(data).startswith(b"%PDF")


def test_durations_from_nanoseconds_to_days_stand_on_one_axis() -> None:
    """Fifteen powers of ten."""
    store = fill({"duration_ns": 3 * 10**power, "started_at_ns": NOW_NS - DAY} for power in range(15) for _ in range(3))
    text = read_page(report_of(store))
    assert "3 d 11 h" in text


@pytest.mark.parametrize("days", [1 / 1440, 1, 31, 365, 4000])
def test_windows_of_a_minute_and_of_years_have_points_that_can_be_seen(days: float) -> None:
    """From a dozen to about sixty, whatever the period."""
    span = int(days * DAY)
    store = fill({"started_at_ns": NOW_NS - span + i * span // 3000} for i in range(3000))
    start = datetime.fromtimestamp((NOW_NS - span) / S, UTC)
    data = report_of(store, start_time=start, end_time=datetime.fromtimestamp(NOW_NS / S, UTC))
    assert 12 <= len(data.points) <= 70
    assert sum(point.n for point in data.points) == 3000
    read_page(data)


@pytest.mark.parametrize("moment", [datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)])
def test_a_day_that_is_an_hour_shorter_or_longer_loses_nothing(moment: datetime) -> None:
    """Clocks change within the period; every execution stands in one stretch, and midnight is midnight."""
    now_ns = int(moment.timestamp()) * S
    store = fill({"started_at_ns": now_ns - 3 * DAY + i * 600 * S} for i in range(432))
    data = report_of(store, now_ns, start_time=moment - timedelta(days=3))
    assert sum(point.n for point in data.points) == 432
    words = words_of(data)
    rows = [section.table for section in write_page(data, words).sections if section.key == "latest"]
    assert rows
    assert rows[0] is not None
    read_page(data)


def test_a_hundred_workflows_are_listed_and_the_headline_stays_short() -> None:
    """Each has its row; no sentence grows with them."""
    store = fill({"workflow_id": f"workflow_{i % 100:03d}", "started_at_ns": NOW_NS - DAY + i * S} for i in range(400))
    data = report_of(store, workflow_ids=[f"workflow_{i:03d}" for i in range(100)])
    text = read_page(data)
    assert all(f"workflow_{i:03d}" in text for i in range(100))
    assert "workflow_059" in read_paper(data)
    assert max(len(sentence) for sentence in write_page(data, words_of(data)).sentences) < 160


def test_five_thousand_executions_fit_a_mail() -> None:
    """The page stays under 500 kB, and says its n."""
    data = make_data(5000)
    page = render_html(data)
    assert len(page.encode()) < 500_000
    assert "5,000" in said_on(page)
