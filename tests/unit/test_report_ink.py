"""Charts as they are drawn: whatever there is to draw, without a trace in the host's matplotlib."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from report_samples import make_data, make_store

from analytics_sdk.errors import ReportError
from analytics_sdk.query.results import Timeline
from analytics_sdk.reporting.canvas import neutral_settings, render_png, render_svg
from analytics_sdk.reporting.charts import CHARTS, NARROW_IN, draw_chart
from analytics_sdk.reporting.html import render_html
from analytics_sdk.reporting.page import words_of
from analytics_sdk.reporting.picture import render_pdf
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.report_generator import ReportGenerator
from analytics_sdk.reporting.theme import DARK, LIGHT, colour_names, colour_of


@pytest.fixture(scope="module")
def few() -> ReportData:
    return make_data(0, store=make_store(24))


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.key)
def test_a_chart_in_a_page_takes_its_colours_from_the_page(few: ReportData, chart) -> None:
    """No style attribute, which the page's policy would refuse; no colour of its own; ids of its own."""
    words = words_of(few)
    with neutral_settings():
        wide = render_svg(draw_chart(chart, few, words).figure, "one")
        narrow = render_svg(draw_chart(chart, few, words, width_in=NARROW_IN).figure, "two")
    assert "style=" not in wide
    assert "<style" not in wide
    assert not re.findall(r"<image|<script|xlink", wide)
    assert not [name for name in colour_names() if colour_of(LIGHT, name) in wide]
    ids = re.findall(r' id="([^"]+)"', wide + narrow)
    assert len(ids) == len(set(ids))
    assert {name.removeprefix("#") for name in re.findall(r'(?:href="|url\()(#[^")]+)', wide + narrow)} <= set(ids)


@pytest.mark.parametrize("status", ["running", "cancelled", "crashed", "timeout"])
def test_a_store_of_one_status_alone_can_be_drawn(status: str) -> None:
    """Nothing that counts, nothing with a duration: no chart stumbles over it."""
    store = make_store(5, samples=False)
    unended = {"ended_at_ns": None, "duration_ns": None, "end_seq": None} if status in ("running", "crashed") else {}
    for execution in store._executions.values():
        execution.update({"status": status} | unended)
    data = make_data(0, store=store)
    assert data.numbers.status_counts[status] == 5
    page = render_html(data)
    assert "nan" not in re.sub(r"<[^>]*>", " ", page.split("<body>")[1].split("<script>")[0]).split()
    assert render_pdf(data).startswith(b"%PDF")


def test_every_chart_can_be_drawn_of_nothing() -> None:
    """In both themes; the empty ones are left out of a page, but nobody has to ask first."""
    data = make_data(0)
    for chart in CHARTS:
        for theme in (LIGHT, DARK):
            with neutral_settings():
                assert render_png(draw_chart(chart, data, words_of(data), theme).figure, 40).startswith(b"\x89PNG")


def test_a_hundred_steps_are_cut_to_the_longest_and_said_to_be(few: ReportData) -> None:
    """The Gantt chart stays readable; its table has them all."""
    timeline = few.timeline
    assert timeline is not None
    first = timeline.steps[0]
    steps = [
        replace(
            first, step_no=i, started_at_ns=first.started_at_ns + i * 10**6, duration_ns=i * 10**6, node_id=f"node_{i}"
        )
        for i in range(100)
    ]
    page = render_html(replace(few, timeline=Timeline(timeline.execution, steps, [])))
    assert "the 32 longest of 100 steps" in page
    assert page.count('data-value="node_') == 100


def test_drawing_leaves_no_trace_in_the_hosts_matplotlib(few: ReportData) -> None:
    """Its settings come back, even odd ones, and do not change what is drawn."""
    before = render_html(few)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 40, "svg.fonttype": "path", "axes.grid": True}):
        settings = dict(matplotlib.rcParams)
        assert render_html(few) == before
        assert dict(matplotlib.rcParams) == settings


def test_pyplot_is_never_loaded() -> None:
    """It would choose a window system, and keep figures alive. Asked of a process of its own."""
    program = "import sys, analytics_sdk.reporting.html, analytics_sdk.reporting.picture as picture; "
    program += "from report_samples import make_data; picture.render_pdf(make_data(3)); "
    program += "sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=False).returncode == 0


def test_csv_of_the_newest_alone_is_refused(few: ReportData, tmp_path) -> None:
    """A file cannot say that it is not whole, so it is not written."""
    reports = ReportGenerator(lambda: pytest.fail("the store is not asked again"), tmp_path)
    with pytest.raises(ReportError, match='generate it with format="csv"'):
        reports.export_csv(replace(few, executions_complete=False))
    assert not list(tmp_path.iterdir())
