"""A report as one picture, as pages for printing, and as one picture a chart. Loads matplotlib."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from analytics_sdk.reporting.canvas import (
    SMALL_PT,
    TEXT_PT,
    TITLE_PT,
    Paper,
    make_paper,
    neutral_settings,
    render_png,
    write_text,
)
from analytics_sdk.reporting.captions import caption_of
from analytics_sdk.reporting.charts import (
    CHARTS,
    HALF_IN,
    WHOLE_IN,
    Chart,
    asked_charts,
    choose_charts,
    draw_titled,
    titled_height_in,
)
from analytics_sdk.reporting.lettering import fit_text, measure_in, wrap_text
from analytics_sdk.reporting.page import Card, Page, Section, words_of, write_page
from analytics_sdk.reporting.pdf_catalog import describe_pdf
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.strips import (
    Strip,
    height_of,
    ink_rule,
    ink_strips,
    set_heading,
    set_pages,
    set_table,
    set_text,
)
from analytics_sdk.reporting.tables import make_table
from analytics_sdk.reporting.theme import LIGHT, Theme
from analytics_sdk.reporting.words import Words, keep_units

_MARGIN_IN = 0.4
_GAP_IN = 0.34
_SECTION_GAP_IN = 0.44
_A4_IN = (8.27, 11.69)
_SIDE_IN, _TOP_IN, _BOTTOM_IN = 0.6, 0.75, 0.65
"""The margins of an A4 page."""
_TITLE_PT, _SECTION_PT, _SENTENCE_PT, _VALUE_PT = 17.0, 13.0, 10.5, 17.0
_FLAT_IN = {"success": 2.35, "duration": 2.05}
"""The heights of charts over the whole width of a narrow page."""
_MOST_ROWS = 60
"""So many rows of a table go on paper; a page on a screen has more."""


def _set_head(page: Page, width_in: float, theme: Theme, words: Words) -> Iterator[Strip]:
    """Title, period, sentences, warnings and cards."""
    title = wrap_text(page.title, width_in, _TITLE_PT, bold=True, most=3)
    yield set_text(" ".join(title), width_in, theme.ink, size=_TITLE_PT, bold=True)
    yield set_text(" · ".join(page.about), width_in, theme.muted, size=SMALL_PT)
    for i, sentence in enumerate(page.sentences):
        yield set_text(sentence, width_in, theme.ink, size=_SENTENCE_PT, gap_in=0.02 if i else 0.14)
    notes = [f"{words('beware')} {warning}" for warning in page.warnings] + [page.lossy] * bool(page.lossy)
    for note in notes:
        yield _set_note(note, width_in, theme)
    if page.cards:
        yield _set_cards(page.cards, width_in, theme)


def _set_note(note: str, width_in: float, theme: Theme) -> Strip:
    """A note with a bar at its left."""
    text = set_text(note, width_in - 0.16, theme.ink, size=9.5)

    def ink(paper: Paper) -> None:
        axes = paper.cover()
        axes.plot([0.02, 0.02], [0, paper.height_in], color=theme.recovered, linewidth=2.4, solid_capstyle="butt")
        text.ink(paper.cut(0.16, 0.01, paper.width_in - 0.16, text.height_in))

    return Strip(text.height_in + 0.02, ink, gap_in=0.12)


def _set_cards(cards: Sequence[Card], width_in: float, theme: Theme) -> Strip:
    step_in = width_in / len(cards)
    lines = [
        [part for line in card.lines for part in wrap_text(keep_units(line), step_in - 0.16, SMALL_PT)]
        for card in cards
    ]

    def ink(paper: Paper) -> None:
        for i, card in enumerate(cards):
            x_in, y_in = i * step_in, paper.height_in
            write_text(paper, x_in, y_in - 0.12, card.name, theme.muted, size=TEXT_PT)
            write_text(paper, x_in, y_in - 0.42, keep_units(card.value), theme.ink, size=_VALUE_PT, bold=True)
            for j, line in enumerate(lines[i]):
                write_text(paper, x_in, y_in - 0.6 - 0.15 * j, line, theme.muted, size=SMALL_PT)

    return Strip(0.66 + 0.15 * (max(len(line) for line in lines) - 1), ink, gap_in=0.24)


@dataclass(frozen=True, slots=True)
class _Place:
    """A chart with the size that it gets on a paper, its title included."""

    chart: Chart
    width_in: float
    height_in: float


def _arrange(keys: Sequence[str], width_in: float, data: ReportData, words: Words) -> list[list[_Place]]:
    """Rows of charts: two halves side by side, wide ones alone."""
    charts = {chart.key: chart for chart in CHARTS}
    half_in = (width_in - _GAP_IN) / 2
    rows: list[list[_Place]] = []
    for key in keys:
        chart = charts[key]
        # On a narrow page what has a time axis takes the whole width, because half of it would be too coarse.
        flat_in = _FLAT_IN.get(key) if width_in < 2 * HALF_IN else None
        is_whole = chart.is_wide or flat_in is not None
        chart_in = width_in if is_whole else half_in
        height_in = titled_height_in(chart, data, words, chart_in) - (chart.height_in(data) - flat_in if flat_in else 0)
        place = _Place(chart, chart_in, height_in)
        if not is_whole and rows and len(rows[-1]) == 1 and rows[-1][0].width_in == half_in:
            rows[-1].append(place)
        else:
            rows.append([place])
    return rows


def _set_charts(row: Sequence[_Place], data: ReportData, words: Words, theme: Theme) -> Strip:
    def ink(paper: Paper) -> None:
        left_in = 0.0
        for place in row:
            top_in = paper.height_in - place.height_in
            draw_titled(paper.cut(left_in, top_in, place.width_in, place.height_in), place.chart, data, words, theme)
            left_in += place.width_in + _GAP_IN

    return Strip(max(place.height_in for place in row), ink, gap_in=_GAP_IN * 0.7)


def _set_section(section: Section, width_in: float, data: ReportData, words: Words, theme: Theme) -> Iterator[Strip]:
    yield set_heading(section.name, width_in, theme, size=_SECTION_PT, gap_in=_SECTION_GAP_IN, rule=theme.rule)
    for line in section.notes:
        yield replace(set_text(line, width_in, theme.ink, size=9.5, gap_in=0.03), is_heading=True)
    for row in _arrange(section.charts, width_in, data, words):
        yield _set_charts(row, data, words, theme)
    for line in section.nothing:
        yield set_text(line, width_in, theme.muted, size=9.5, gap_in=0.08)
    if section.table:
        yield from set_table(section.table, _MOST_ROWS, width_in, words, theme)


def _set_report(page: Page, width_in: float, data: ReportData, words: Words, theme: Theme) -> list[Strip]:
    """The whole of a report but for the tables of its charts."""
    strips = list(_set_head(page, width_in, theme, words))
    for section in page.sections:
        strips += _set_section(section, width_in, data, words, theme)
    return strips


def _set_numbers(page: Page, width_in: float, data: ReportData, words: Words, theme: Theme) -> list[Strip]:
    """The tables of the charts, for a paper on which nothing can be opened."""
    strips: list[Strip] = []
    for key in (key for section in page.sections for key in section.charts):
        table = make_table(key, data, words)
        if table.rows:
            name = caption_of(key, data, words).title
            strips.append(set_heading(name, width_in, theme, size=TITLE_PT - 1, gap_in=_GAP_IN))
            strips += set_table(table, _MOST_ROWS, width_in, words, theme)
    if strips:
        heading = words("section.numbers")
        rule = theme.rule
        strips.insert(0, set_heading(heading, width_in, theme, size=_SECTION_PT, gap_in=_SECTION_GAP_IN, rule=rule))
    return strips


def render_report_png(data: ReportData, theme: Theme = LIGHT) -> bytes:
    """The whole report as one picture."""
    words = words_of(data)
    page = write_page(data, words)
    with neutral_settings():
        strips = _set_report(page, WHOLE_IN, data, words, theme)
        strips.append(set_text(page.made, WHOLE_IN, theme.muted, size=SMALL_PT, gap_in=_GAP_IN))
        height_in = height_of(strips)
        paper = make_paper(WHOLE_IN + 2 * _MARGIN_IN, height_in + 2 * _MARGIN_IN, theme)
        ink_strips(paper.cut(_MARGIN_IN, _MARGIN_IN, WHOLE_IN, height_in), strips)
        return render_png(paper.figure)


def render_pdf(data: ReportData) -> bytes:
    """The report as A4 pages: headlines, charts, then every table, none cut. The same data gives the same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    words = words_of(data)
    page = write_page(data, words)
    width_in, height_in = _A4_IN[0] - 2 * _SIDE_IN, _A4_IN[1] - _TOP_IN - _BOTTOM_IN
    out = io.BytesIO()
    metadata = {"Title": page.title, "Subject": " ".join(page.sentences), "Creator": "Analytics SDK"}
    unset = dict.fromkeys(("Producer", "CreationDate"))
    with neutral_settings(), PdfPages(out, metadata=metadata | unset) as pdf:
        strips = _set_report(page, width_in, data, words, LIGHT) + _set_numbers(page, width_in, data, words, LIGHT)
        pages = set_pages(strips, height_in)
        for i, on_page in enumerate(pages):
            paper = make_paper(*_A4_IN, LIGHT)
            _ink_margins(paper, page, i + 1, len(pages), words)
            ink_strips(paper.cut(_SIDE_IN, _BOTTOM_IN, width_in, height_in), on_page)
            pdf.savefig(paper.figure, facecolor=LIGHT.paper)
    return describe_pdf(out.getvalue(), data.language)


def _ink_margins(paper: Paper, page: Page, number: int, total: int, words: Words) -> None:
    """The number of a page at its foot; from the second on, title and period at its head."""
    inner = paper.cut(_SIDE_IN, 0, paper.width_in - 2 * _SIDE_IN, paper.height_in)
    said = words("page", n=words.count(number), total=words.count(total))
    write_text(inner, 0, 0.36, page.made, LIGHT.muted, size=SMALL_PT)
    write_text(inner, inner.width_in, 0.36, said, LIGHT.muted, size=SMALL_PT, align="right")
    if number > 1:
        y_in = inner.height_in - 0.42
        period_in = measure_in(page.about[0], SMALL_PT)
        title = fit_text(page.title, inner.width_in - period_in - 0.3, SMALL_PT)
        write_text(inner, 0, y_in, title, LIGHT.muted, size=SMALL_PT)
        write_text(inner, inner.width_in, y_in, page.about[0], LIGHT.muted, size=SMALL_PT, align="right")
        ink_rule(inner, y_in - 0.08, LIGHT.rule)


def render_charts(data: ReportData, theme: Theme = LIGHT) -> Iterator[tuple[str, bytes]]:
    """(key, PNG) of each chart that has something to show; of an empty report, the first one, which says so."""
    words = words_of(data)
    for chart in choose_charts(data) or asked_charts(data)[:1]:
        with neutral_settings():
            width_in = chart.width_in if chart.is_wide else 7.2
            height_in = titled_height_in(chart, data, words, width_in)
            paper = make_paper(width_in + 2 * _MARGIN_IN, height_in + 2 * _MARGIN_IN, theme)
            draw_titled(paper.cut(_MARGIN_IN, _MARGIN_IN, width_in, height_in), chart, data, words, theme)
            picture = render_png(paper.figure)
        yield chart.key, picture
