"""Reports on paper: every number of the page stands in the PDF as text, in order, on pages that are never cut."""

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from report_samples import make_data, make_store, with_healing

from analytics_sdk.reporting.canvas import make_paper, neutral_settings, render_png
from analytics_sdk.reporting.lettering import fit_text, measure_in, wrap_text
from analytics_sdk.reporting.page import words_of, write_page
from analytics_sdk.reporting.pdf_catalog import describe_pdf
from analytics_sdk.reporting.picture import render_pdf, render_report_png
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.strips import Strip, height_of, ink_strips, set_pages, set_table
from analytics_sdk.reporting.tables import Cell, Column, Table, make_table
from analytics_sdk.reporting.theme import LIGHT
from analytics_sdk.reporting.words import Words


@pytest.fixture(scope="module")
def week() -> ReportData:
    return with_healing(make_data(0, store=make_store(200), language="fr", title="Bilan d'été 1 < 2 № 7"))


def read_pdf(pdf: bytes, path: Path) -> PdfReader:
    path.write_bytes(pdf)
    return PdfReader(path, strict=True)


def squeeze(text: str) -> str:
    """Text without its white space, because a line may end anywhere."""
    return "".join(text.split())


def test_the_pdf_holds_every_table_as_text(week: ReportData, tmp_path: Path) -> None:
    """Sentences, warnings, headings, and the cells of each table; so it can be searched, copied and read aloud."""
    words = words_of(week)
    page = write_page(week, words)
    text = squeeze(" ".join(sheet.extract_text() for sheet in read_pdf(render_pdf(week), tmp_path / "r.pdf").pages))
    text = text.replace("\u2011", "-")
    told = [page.title, *page.sentences, *page.warnings, *(section.name for section in page.sections)]
    assert [line for line in told if squeeze(line) not in text] == []
    tables = [section.table for section in page.sections if section.table]
    tables += [make_table(key, week, words) for section in page.sections for key in section.charts]
    assert len(tables) >= 12
    cells = {squeeze(cell.text) for table in tables for row in table.rows[:60] for cell in row if len(cell.text) < 12}
    assert [cell for cell in sorted(cells) if cell not in text] == []


def test_the_pdf_says_what_it_is(week: ReportData, tmp_path: Path) -> None:
    """A4 upright, its title, its language, numbered pages with a running title."""
    pdf = read_pdf(render_pdf(week), tmp_path / "r.pdf")
    assert pdf.metadata is not None
    assert pdf.metadata.title == week.title
    assert pdf.root_object["/Lang"] == "fr"
    assert pdf.root_object["/ViewerPreferences"]["/DisplayDocTitle"]
    assert len(pdf.pages) > 3
    for number, sheet in enumerate(pdf.pages, 1):
        assert (round(sheet.mediabox.width / 72 * 25.4), round(sheet.mediabox.height / 72 * 25.4)) == (210, 297)
        text = sheet.extract_text()
        assert squeeze(f"Page {number} sur {len(pdf.pages)}") in squeeze(text)
        assert squeeze(week.title) in squeeze(text)


def test_a_pdf_of_another_form_stays_as_it_is() -> None:
    """A report without a language is better than none."""
    for odd in (b"", b"%PDF-1.4 nothing", b"trailer << /Root 1 0 R >> startxref 3 %%EOF"):
        assert describe_pdf(odd, "en") == odd


def test_the_picture_holds_the_tables_too(week: ReportData) -> None:
    """A hundred workflows more make it taller."""

    def height(picture: bytes) -> int:
        assert picture.startswith(b"\x89PNG")
        return int.from_bytes(picture[20:24], "big")

    assert height(render_report_png(week)) > height(render_report_png(make_data(0, store=make_store(200)))) > 4000


def strip(height_in: float, **options: object) -> Strip:
    return Strip(height_in, lambda paper: None, **options)


def test_strips_are_set_on_pages_without_loss() -> None:
    """In their order, each once; no page too full, no heading at its end, a table's head again where it goes on."""
    random_ = random.Random(3)
    head = strip(0.3, is_heading=True)
    for _ in range(200):
        strips = [
            strip(random_.uniform(0.1, 0.5), gap_in=random_.choice([0, 0.4]), is_heading=True)
            if random_.random() < 0.3
            else strip(random_.uniform(0.1, 3), gap_in=random_.choice([0, 0.4]))
            for _ in range(random_.randrange(1, 30))
        ]
        strips += [head, *(strip(0.2, again=head) for _ in range(random_.randrange(1, 80))), strip(1)]
        pages = set_pages(strips, 10.0)
        flat = [one for on_page in pages for one in on_page]
        while flat.count(head) > 1:
            flat.reverse()
            flat.remove(head)
            flat.reverse()
        assert [id(one) for one in flat] == [id(one) for one in strips]
        assert all(height_of(on_page) <= 10.0 + 1e-9 for on_page in pages)
        assert not any(on_page[-1].is_heading for on_page in pages)
        assert not any(on_page[0].again for on_page in pages)


def test_what_is_higher_than_a_page_stands_alone() -> None:
    """And is not put off forever."""
    pages = set_pages([strip(1), strip(12), strip(1)], 10.0)
    assert [[one.height_in for one in on_page] for on_page in pages] == [[1], [12], [1]]


@pytest.mark.parametrize(
    "text", ["a few plain words that go on", "W" * 300, "", "x", "mmm iiii " * 40, "\u4e2d\U0001f600" * 90]
)
def test_text_is_cut_to_fit(text: str) -> None:
    """Lines are as wide as there is room and lose no letter; one line that is too long is cut in its middle."""
    with neutral_settings():
        for width_in in (0.5, 1.7, 7.0):
            lines = wrap_text(text, width_in, 9.0)
            assert squeeze("".join(lines)) == squeeze(text)
            assert all(measure_in(line, 9.0) <= width_in for line in lines)
            assert measure_in(fit_text(text, width_in, 9.0), 9.0) <= width_in
            assert len(wrap_text(text, width_in, 9.0, most=2)) <= 2


def test_text_that_fits_is_not_cut() -> None:
    """However wide its letters are."""
    with neutral_settings():
        for text in ("wait_and_retry_mmmm", "iiii", "W"):
            width_in = measure_in(text, 9.0)
            assert fit_text(text, width_in, 9.0) == text
            assert fit_text(text * 2, width_in, 9.0) != text * 2


def test_widths_are_those_of_the_ink() -> None:
    """Measured against the renderer of matplotlib, within the kerning."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with neutral_settings():
        figure = Figure(dpi=720)
        canvas = FigureCanvasAgg(figure)
        for text in ("Reprises par stratégie : 12,5 %", "WWWiii 123", "x" * 90):
            drawn = figure.text(0, 0, text, fontsize=10).get_window_extent(canvas.get_renderer()).width / 720
            assert measure_in(text, 10) == pytest.approx(drawn, rel=0.04)
        for letter in "\u4e2d\u05d0\U0001f600\U000e0001\ud7b0":
            drawn = figure.text(0, 0, letter * 9, fontsize=10).get_window_extent(canvas.get_renderer()).width / 720
            assert drawn <= measure_in(letter * 9, 10) * 1.05


@pytest.mark.parametrize(("n_text", "n_number"), [(1, 0), (5, 0), (1, 9), (3, 8)])
def test_no_table_is_wider_than_its_paper(n_text: int, n_number: int) -> None:
    """Whatever stands in it: long ids are cut into lines, many numbers make the letters smaller."""
    columns = [Column("column.node", False)] * n_text + [Column("column.worked")] * n_number
    row = [Cell("id_" + "x" * 500, "id")] * n_text + [Cell("1,234,567,890", 1.0)] * n_number
    table = Table(columns, [row] * 3)
    with neutral_settings():
        figure = make_paper(9.0, 9.0, LIGHT)
        strips = list(set_table(table, 2, 7.0, Words(), LIGHT))
        ink_strips(figure.cut(1.0, 0, 7.0, 9.0), strips)
        picture = np.asarray(Image.open(io.BytesIO(render_png(figure.figure, 100))).convert("L"))
    assert len(strips) == 4
    inked = np.flatnonzero((picture < 250).any(axis=0))
    assert inked.min() >= 98
    assert inked.max() <= 802


def test_the_same_input_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """Whatever the seed of its hashes, the zone of its machine and its locale; the zone of the report is given."""
    program = """
import hashlib, json, sys
from pathlib import Path
from report_samples import *
reports = ReportGenerator(lambda: None, Path(sys.argv[1]))
data = with_healing(make_data(0, store=make_store(24, losses=True)))
paths = [getattr(reports, f"export_{name}")(data) for name in ("html", "png", "pdf", "json", "csv")]
print(json.dumps([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]))
"""
    said = []
    for seed, zone in (("1", "Asia/Tokyo"), ("2", "America/New_York")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
        command = [sys.executable, "-c", program, str(tmp_path / seed)]
        said.append(subprocess.check_output(command, env=environment, cwd=Path(__file__).parent, text=True))
    assert len(set(json.loads(said[0]))) == 5
    assert said[0] == said[1]
