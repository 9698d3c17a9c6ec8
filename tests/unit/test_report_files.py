"""Reports as files: whatever is in the store, whatever the format, inert, whole, and the same each time."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_samples import NOW_NS, FixedClock, make_store

from analytics_sdk.errors import ReportError
from analytics_sdk.query import Query
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.reporting.words import Words
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink

HOSTILE = "\"><script>alert(1)</script>{{7*7}}' onload=\x1b[31m\u202e=cmd|'/C calc'!A0"


def hostile_store() -> MemorySink:
    """One execution that failed, with an id, a node, an error and a strategy out of a security list."""
    sink = MemorySink()
    sink.open()
    journal = JournalIdentity("0" * 32, HOSTILE, 1, NOW_NS)
    sink.position(journal)
    at = NOW_NS - 3_600_000_000_000
    execution = (
        1,
        HOSTILE,
        HOSTILE,
        "failed",
        at,
        at + 10**9,
        10**9,
        1,
        0,
        1,
        0,
        HOSTILE,
        HOSTILE,
        None,
        None,
        None,
        9,
    )
    step = (
        2,
        HOSTILE,
        HOSTILE,
        1,
        None,
        HOSTILE,
        HOSTILE,
        "failed",
        at,
        at + 10**8,
        10**8,
        HOSTILE,
        HOSTILE,
        None,
        8,
        None,
        None,
    )
    recovery = (3, HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE, False, at + 10**8, 10**8, HOSTILE, None)
    sink.write(Batch(journal, 0, 10, new_executions=[execution], new_steps=[step], recoveries=[recovery]))
    return sink


def generator(sink: MemorySink, folder: Path) -> ReportGenerator:
    return ReportGenerator(lambda: Query(sink), folder, clock=FixedClock(NOW_NS))


class Page(HTMLParser):
    """What a browser would see of a page: its tags with attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def stores() -> dict[int, MemorySink]:
    return {n: make_store(n) for n in (0, 1, 20)}


@pytest.mark.parametrize("n", [0, 1, 20])
@pytest.mark.parametrize("format", ["html", "png", "pdf", "json", "csv"])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_format_is_made_of_any_store_and_is_the_same_twice(
    stores: dict[int, MemorySink], tmp_path: Path, n: int, format: str, language: str
) -> None:
    """Nothing, one or many; the same input gives the same bytes."""
    config = ReportConfig("Weekly", format=format, language=language, tz="Europe/Paris")
    made = []
    for folder in ("a", "b"):
        reports = generator(stores[n], tmp_path / folder)
        path = reports.export(reports.generate_report(config))
        assert path.is_file()
        assert path.suffix == f".{format}"
        assert path.is_relative_to(tmp_path)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    magic = {"html": b"<!doctype html>", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{", "csv": b""}[format]
    assert made[0].startswith(magic)


def test_the_page_opens_without_a_network(stores: dict[int, MemorySink], tmp_path: Path) -> None:
    """A strict policy, nothing from elsewhere, a language, a name and a table for each chart."""
    reports = generator(stores[20], tmp_path)
    text = reports.export_html(reports.generate_report(ReportConfig("Weekly", language="fr"))).read_text("utf-8")
    page = Page(text)
    assert page.of("html")[0]["lang"] == "fr"
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    outside = [a[k] for _, a in page.tags for k in ("src", "href", "xlink:href") if a.get(k)]
    assert all(str(where).startswith(("#", "data:")) for where in outside)
    assert not re.search(r"@import|url\((?!['\"]?(#|data:))", text)
    figures = page.of("figure")
    assert len(figures) >= 5
    assert len(page.of("details")) >= len(figures) - 1
    assert all(svg.get("aria-label") or svg.get("aria-labelledby") or svg.get("aria-hidden") for svg in page.of("svg"))


def test_hostile_ids_are_inert_in_every_format(tmp_path: Path) -> None:
    """No script, no event handler, no template, no formula, no control character, no path."""
    reports = generator(hostile_store(), tmp_path)
    data = reports.generate_report(ReportConfig(f"../../etc/{HOSTILE}", workflow_ids=[HOSTILE]))
    paths = [reports.export_html(data), reports.export_json(data), reports.export_csv(data), reports.export_png(data)]
    assert {path.parent for path in paths} == {tmp_path}
    assert all(re.fullmatch(r"[a-z0-9._-]+", path.name) for path in paths)
    page = Page(paths[0].read_text("utf-8"))
    assert "alert(1)" in page.text
    assert not any("alert(1)" in (script.get("src") or "") for script in page.of("script"))
    assert len(page.of("script")) <= 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", page.text)
    assert "\x1b" not in page.text
    assert json.loads(paths[1].read_text("utf-8"))
    for row in csv.reader(io.StringIO(paths[2].read_text("utf-8-sig"))):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number(cell) for cell in row)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_charts_are_one_picture_each(stores: dict[int, MemorySink], tmp_path: Path) -> None:
    """Named for what they show, also where there is nothing to show."""
    reports = generator(stores[20], tmp_path)
    paths = reports.export_charts(reports.generate_report(ReportConfig("Weekly")), tmp_path / "charts")
    assert {"success.png", "duration.png", "gantt.png", "errors.png"} <= {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    nothing = generator(stores[0], tmp_path)
    assert all(p.is_file() for p in nothing.export_charts(nothing.generate_report(ReportConfig()), tmp_path / "none"))


def test_json_has_no_nan_and_csv_a_row_for_each_execution(stores: dict[int, MemorySink], tmp_path: Path) -> None:
    """For machines."""
    for n, store in stores.items():
        reports = generator(store, tmp_path / str(n))
        data = reports.generate_report(ReportConfig("Weekly", format="csv"))
        text = reports.export_json(data).read_text("utf-8")
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        rows = list(csv.DictReader(io.StringIO(reports.export_csv(data).read_text("utf-8-sig"))))
        assert len(rows) == n
        assert all(float(row["duration_seconds"]) >= 0 for row in rows if row.get("duration_seconds"))


def test_only_the_metric_types_that_were_asked_for_are_in_it(stores: dict[int, MemorySink], tmp_path: Path) -> None:
    """Steps alone: no executions over time, no recoveries."""
    reports = generator(stores[20], tmp_path)
    page = Page(
        reports.export_html(reports.generate_report(ReportConfig("S", metric_types=["step"]))).read_text("utf-8")
    )
    everything = Page(reports.export_html(reports.generate_report(ReportConfig("S"))).read_text("utf-8"))
    assert 0 < len(page.of("figure")) < len(everything.of("figure"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"format": "docx"}, "there is no format 'docx': choose from html"),
        ({"language": "de"}, "there is no language"),
        ({"metric_types": ["steps"]}, "there is no metric type"),
        ({"metric_types": []}, "metric_types must be a list"),
        ({"tz": "Mars/Olympus"}, "there is no time zone"),
        ({"start_time": datetime(2026, 2, 1), "end_time": datetime(2026, 1, 1)}, "swap start_time and end_time"),
        ({"start_time": "yesterday"}, "must be a datetime"),
    ],
)
def test_a_report_that_cannot_be_is_an_error_that_says_what_can(options: dict[str, Any], complaint: str) -> None:
    """At once, and not when the file is written."""
    with pytest.raises(ReportError, match=re.escape(complaint)):
        ReportConfig("R", **options)


def test_a_place_that_cannot_be_written_is_an_error_that_says_what_to_do(
    stores: dict[int, MemorySink], tmp_path: Path
) -> None:
    """A file stands where the folder should be; no draft is left behind."""
    (tmp_path / "taken").write_text("a file")
    reports = generator(stores[1], tmp_path / "taken")
    with pytest.raises(ReportError, match="set reports_dir"):
        reports.export_json(reports.generate_report(ReportConfig()))
    with pytest.raises(ReportError, match="lies in the future"):
        reports.generate_report(ReportConfig(start_time=datetime.fromtimestamp(NOW_NS / 1e9) + timedelta(days=1)))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0.0000000451, "45 ns", "45 ns"),
        (0.0000451, "45.1 µs", "45,1 µs"),
        (0.34, "340 ms", "340 ms"),
        (1.2549, "1.25 s", "1,25 s"),
        (185.2, "3 min 05 s", "3 min 05 s"),
        (7800, "2 h 10 min", "2 h 10 min"),
        (None, "-", "-"),
        (float("nan"), "-", "-"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds: float | None, english: str, french: str) -> None:
    """The unit that keeps them between 1 and 999; a dash where there is none."""
    plain = [re.sub(r"\s", " ", Words(language).seconds(seconds)) for language in ("en", "fr")]
    assert plain == [english, french]
