"""A report as one picture, as pages for printing, and as one picture a chart. Loads matplotlib."""

import io
from collections.abc import Iterator, Sequence

from analytics_sdk.reporting.canvas import (
    SMALL_PT,
    TEXT_PT,
    Paper,
    make_paper,
    neutral_settings,
    render_png,
    wrap_text,
    write_text,
)
from analytics_sdk.reporting.charts import (
    HALF_IN,
    WHOLE_IN,
    Chart,
    asked_charts,
    choose_charts,
    draw_titled,
    titled_height_in,
)
from analytics_sdk.reporting.page import Page, words_of, write_page
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.theme import LIGHT, Theme
from analytics_sdk.reporting.words import Words, shorten

_MARGIN_IN = 0.4
_GAP_IN = 0.32
_A4_IN = (8.27, 11.69)
_CARD_IN = 1.0

Row = list[tuple[Chart, float]]
"""Charts side by side, each with its width in inches."""


def _arrange(charts: Sequence[Chart], width_in: float) -> list[Row]:
    """Rows of charts: two halves side by side where both fit, whole ones alone."""
    rows: list[Row] = []
    for chart in charts:
        if not chart.is_wide and width_in >= 2 * HALF_IN:
            half_in = (width_in - _GAP_IN) / 2
            if rows and len(rows[-1]) == 1 and rows[-1][0][1] == half_in:
                rows[-1].append((chart, half_in))
            else:
                rows.append([(chart, half_in)])
        else:
            rows.append([(chart, width_in)])
    return rows


def _row_height_in(row: Row, data: ReportData, words: Words) -> float:
    return max(titled_height_in(chart, data, words, width_in) for chart, width_in in row) + _GAP_IN


def _draw_rows(paper: Paper, rows: Sequence[Row], top_in: float, data: ReportData, words: Words, theme: Theme) -> None:
    for row in rows:
        left_in = _MARGIN_IN
        for chart, width_in in row:
            height_in = titled_height_in(chart, data, words, width_in)
            draw_titled(paper.cut(left_in, top_in - height_in, width_in, height_in), chart, data, words, theme)
            left_in += width_in + _GAP_IN
        top_in -= _row_height_in(row, data, words)


def _head_lines(page: Page, width_in: float) -> list[tuple[str, float, bool, str]]:
    """(text, size, bold, colour name) of each line above the cards."""
    lines = [(line, 17.0, True, "ink") for line in wrap_text(shorten(page.title, 160), width_in, 17, bold=True)]
    lines += [(line, SMALL_PT, False, "muted") for line in wrap_text(" · ".join(page.about), width_in, SMALL_PT)]
    lines.append(("", 4.0, False, "ink"))
    for sentence in page.sentences:
        lines += [(line, 10.5, False, "ink") for line in wrap_text(sentence, width_in, 10.5)]
    for note in [page.lossy] if page.lossy else []:
        lines.append(("", 4.0, False, "ink"))
        lines += [(line, TEXT_PT, False, "ink") for line in wrap_text(note, width_in)]
    return lines


def _line_in(size: float) -> float:
    return size * 1.4 / 72


def _head_height_in(page: Page, width_in: float) -> float:
    cards = _CARD_IN + _GAP_IN if page.cards else 0.0
    return sum(_line_in(size) for _, size, _, _ in _head_lines(page, width_in)) + 0.2 + cards


def _draw_head(paper: Paper, page: Page, top_in: float, width_in: float, theme: Theme) -> None:
    """Title, sentences and cards."""
    y = top_in
    for text, size, bold, colour in _head_lines(page, width_in):
        y -= _line_in(size)
        if text:
            ink = theme.muted if colour == "muted" else theme.ink
            write_text(paper, _MARGIN_IN, y + _line_in(size) * 0.25, text, ink, size=size, bold=bold)
    y -= 0.2
    step = width_in / max(1, len(page.cards))
    for i, card in enumerate(page.cards):
        x = _MARGIN_IN + i * step
        write_text(paper, x, y - 0.12, card.name, theme.muted, size=TEXT_PT)
        write_text(paper, x, y - 0.42, card.value, theme.ink, size=18, bold=True)
        at = y - 0.6
        for line in card.lines:
            for part in wrap_text(line, step - 0.1, SMALL_PT):
                write_text(paper, x, at, part, theme.muted, size=SMALL_PT)
                at -= 0.15


def render_report_png(data: ReportData, theme: Theme = LIGHT) -> bytes:
    """The whole report as one picture."""
    words = words_of(data)
    page = write_page(data, words)
    with neutral_settings():
        width_in = WHOLE_IN
        rows = _arrange(choose_charts(data), width_in)
        head_in = _head_height_in(page, width_in)
        height_in = 2 * _MARGIN_IN + head_in + sum(_row_height_in(row, data, words) for row in rows) + 0.2
        paper = make_paper(width_in + 2 * _MARGIN_IN, height_in, theme)
        _draw_head(paper, page, height_in - _MARGIN_IN, width_in, theme)
        _draw_rows(paper, rows, height_in - _MARGIN_IN - head_in, data, words, theme)
        write_text(paper, _MARGIN_IN, 0.22, page.made, theme.muted, size=SMALL_PT)
        return render_png(paper.figure)


def _paginate(rows: Sequence[Row], first_in: float, page_in: float, data: ReportData, words: Words) -> list[list[Row]]:
    """Rows by page; the first page has less room. What is higher than a page stands alone on one."""
    pages: list[list[Row]] = [[]]
    left_in = first_in
    for row in rows:
        height_in = _row_height_in(row, data, words)
        if height_in > left_in and (pages[-1] or len(pages) == 1):
            pages.append([])
            left_in = page_in
        pages[-1].append(row)
        left_in -= height_in
    return pages


def render_pdf(data: ReportData) -> bytes:
    """The report as A4 pages: headlines first, then charts, none cut. The same data gives the same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    words = words_of(data)
    page = write_page(data, words)
    width_in, height_in = _A4_IN[0] - 2 * _MARGIN_IN, _A4_IN[1] - 2 * _MARGIN_IN - 0.2
    out = io.BytesIO()
    metadata = {"Title": page.title, "Creator": None, "Producer": None, "CreationDate": None}
    with neutral_settings(), PdfPages(out, metadata=metadata) as pdf:
        head_in = _head_height_in(page, width_in)
        rows = [[(chart, width_in)] for chart in choose_charts(data)]
        pages = _paginate(rows, height_in - head_in, height_in, data, words)
        for i, on_page in enumerate(pages):
            paper = make_paper(*_A4_IN, LIGHT)
            top_in = _A4_IN[1] - _MARGIN_IN
            if i == 0:
                _draw_head(paper, page, top_in, width_in, LIGHT)
                top_in -= head_in
            _draw_rows(paper, on_page, top_in, data, words, LIGHT)
            write_text(paper, _MARGIN_IN, 0.25, page.made, LIGHT.muted, size=SMALL_PT)
            said = f"{i + 1} / {len(pages)}"
            write_text(paper, _A4_IN[0] - _MARGIN_IN, 0.25, said, LIGHT.muted, size=SMALL_PT, align="right")
            pdf.savefig(paper.figure, facecolor=LIGHT.paper)
    return out.getvalue()


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
