"""A report on paper as strips: pieces of known height that are never cut, one below the other, on one page or many.

Loads matplotlib.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.lines import Line2D

from analytics_sdk.reporting.canvas import SMALL_PT, TEXT_PT, Paper, write_text
from analytics_sdk.reporting.lettering import measure_in, wrap_text
from analytics_sdk.reporting.tables import Cell, Table
from analytics_sdk.reporting.theme import Theme, status_colour
from analytics_sdk.reporting.words import Words, keep_units

_GAP_IN = 0.24
"""Between two columns."""
_PAD_IN = 0.055
_LEAST_TEXT_IN = 0.8
_MOST_LINES = 4
_FEW_COLUMNS = 7
_FOLDED_ROWS = 12
_FOLD_IN = 0.5
"""Between a table's folds."""
_SMALLEST_PT = 5.5
MARKS = {"success": "●", "recovered": "◆", "failed": "▲", "timeout": "▲", "crashed": "✖", "running": "▶"}
"""What stands before a status, so that it is never told by colour alone."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A piece of a page: its height, and what inks a paper of that height."""

    height_in: float
    ink: Callable[[Paper], None]
    gap_in: float = 0.0
    """Room above it, which is left out at the top of a page."""
    is_heading: bool = False
    """A heading stays on the page of what follows it."""
    rule: str = ""
    """The colour of a line in the gap above it; none at the top of a page."""
    again: "Strip | None" = None
    """What is set again above it where it begins a page: the columns' names of its table."""


def set_pages(strips: Sequence[Strip], height_in: float) -> list[list[Strip]]:
    """Strips by page. What is higher than a page stands alone on one."""
    pages: list[list[Strip]] = [[]]
    left_in = height_in
    for i, strip in enumerate(strips):
        if pages[-1] and strip.gap_in + _needed_in(strips, i) > left_in:
            pages.append([])
            left_in = height_in
            if strip.again is not None:
                pages[-1].append(strip.again)
                left_in -= strip.again.height_in
        left_in -= strip.height_in + (strip.gap_in if pages[-1] else 0.0)
        pages[-1].append(strip)
    return pages


def _needed_in(strips: Sequence[Strip], i: int) -> float:
    """The height of a strip, and of all that has to stay with it."""
    needed_in = strips[i].height_in
    while strips[i].is_heading and i + 1 < len(strips):
        i += 1
        needed_in += strips[i].gap_in + strips[i].height_in
    return needed_in


def height_of(strips: Sequence[Strip]) -> float:
    """The height of strips on one page, in inches."""
    return sum(strip.height_in + (strip.gap_in if i else 0.0) for i, strip in enumerate(strips))


def ink_strips(paper: Paper, strips: Sequence[Strip]) -> None:
    """Strips from the top of a paper down."""
    top_in = paper.height_in
    for i, strip in enumerate(strips):
        top_in -= strip.height_in + (strip.gap_in if i else 0.0)
        if i and strip.rule:
            ink_rule(paper, top_in + strip.height_in + 0.14, strip.rule)
        strip.ink(paper.cut(0, top_in, paper.width_in, strip.height_in))


def ink_rule(paper: Paper, y_in: float, colour: str, *, width_in: float | None = None) -> None:
    """A thin line across a paper."""
    left, y, width, _ = paper.fraction(0, y_in, paper.width_in if width_in is None else width_in, 0)
    paper.figure.add_artist(
        Line2D([left, left + width], [y, y], color=colour, linewidth=0.7, transform=paper.figure.transFigure)
    )


def set_text(
    text: str, width_in: float, colour: str, *, size: float = TEXT_PT, bold: bool = False, gap_in: float = 0.0
) -> Strip:
    """A paragraph."""
    lines = wrap_text(keep_units(text), width_in, size, bold=bold)
    step_in = size * 1.4 / 72

    def ink(paper: Paper) -> None:
        for i, line in enumerate(lines):
            y_in = paper.height_in - (i + 1) * step_in + 0.3 * size / 72
            write_text(paper, 0, y_in, line, colour, size=size, bold=bold)

    return Strip(len(lines) * step_in, ink, gap_in)


def set_heading(text: str, width_in: float, theme: Theme, *, size: float, gap_in: float, rule: str = "") -> Strip:
    """A heading, with a line above it where a section begins."""
    words = set_text(text, width_in, theme.ink, size=size, bold=True)

    def ink(paper: Paper) -> None:
        words.ink(paper.cut(0, 0.06, paper.width_in, words.height_in))

    return Strip(words.height_in + 0.06, ink, gap_in, is_heading=True, rule=rule)


def set_table(table: Table, most: int, width_in: float, words: Words, theme: Theme) -> Iterator[Strip]:
    """The columns' names, then a strip a row, at most `most` of them; then how many more there are.

    A long and narrow table is folded: set in columns side by side, and then kept on one page.
    """
    rows = table.rows[:most]
    form = _fit_columns(table, words, rows, width_in)
    folds = 1 if len(rows) < _FOLDED_ROWS else max(1, int((width_in + _FOLD_IN) / (form.whole_in + _FOLD_IN)))
    deep = -(-len(rows) // folds)
    names = [Cell(words(column.key), "") for column in table.columns]
    head = _fold([_set_row(names, form, theme, is_head=True)] * folds, form)
    yield head
    for i in range(deep):
        line = _fold([_set_row(row, form, theme) for row in rows[i::deep]], form)
        yield replace(line, again=head, is_heading=folds > 1 and i + 1 < deep)
    if left_out := table.left_out + len(table.rows) - len(rows):
        more = words("and_left_out", n=words.count(left_out))
        yield set_text(more, width_in, theme.muted, size=SMALL_PT, gap_in=0.06)


def _fold(parts: Sequence[Strip], form: "_Form") -> Strip:
    """Rows of one table side by side."""
    if len(parts) == 1:
        return parts[0]
    height_in = max(part.height_in for part in parts)

    def ink(paper: Paper) -> None:
        for i, part in enumerate(parts):
            left_in = i * (form.whole_in + _FOLD_IN)
            part.ink(paper.cut(left_in, height_in - part.height_in, form.whole_in, part.height_in))

    return Strip(height_in, ink, is_heading=parts[0].is_heading)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a table is set: the size of its letters, and the widths of its columns with the gap between them."""

    size: float
    widths: list[float]
    rights: list[bool]
    gap_in: float

    @property
    def whole_in(self) -> float:
        return sum(self.widths) + self.gap_in * (len(self.widths) - 1)


def _fit_columns(table: Table, words: Words, rows: Sequence[Sequence[Cell]], width_in: float) -> _Form:
    """Numbers stay whole; text has what is left, and the widest of it is cut into lines."""
    names = [words(column.key) for column in table.columns]
    size = SMALL_PT
    gap_in = _GAP_IN if len(table.columns) <= _FEW_COLUMNS else 0.6 * _GAP_IN
    texts = [i for i, column in enumerate(table.columns) if not column.is_number]
    while True:
        widths = [_natural_in(name, [row[i] for row in rows], size) for i, name in enumerate(names)]
        room_in = width_in - gap_in * (len(widths) - 1)
        room_in -= sum(width for i, width in enumerate(widths) if i not in texts)
        if size <= _SMALLEST_PT or room_in >= sum(min(widths[i], _LEAST_TEXT_IN) for i in texts):
            break
        size -= 0.4
    for rank, i in enumerate(sorted(texts, key=lambda i: widths[i])):
        widths[i] = min(widths[i], max(0.3, room_in / (len(texts) - rank)))
        room_in -= widths[i]
    return _Form(size, widths, [column.is_number for column in table.columns], gap_in)


def _natural_in(name: str, cells: Sequence[Cell], size: float) -> float:
    """The width that a column would like: its widest cell, and no word of its name cut."""
    words_in = [measure_in(word, size, bold=True) for word in keep_units(name).split(" ")]
    return max([*words_in, *(measure_in(_said(cell), size) for cell in cells)]) + 0.02


def _said(cell: Cell) -> str:
    return f"{MARKS.get(cell.status, '●')} {cell.text}" if cell.status else cell.text


def _set_row(cells: Sequence[Cell], form: _Form, theme: Theme, *, is_head: bool = False) -> Strip:
    most = None if is_head else _MOST_LINES
    lines = [
        wrap_text(keep_units(_said(cell)), width, form.size, bold=is_head, most=most)
        for cell, width in zip(cells, form.widths, strict=True)
    ]
    step_in = form.size * 1.3 / 72
    deepest = max(len(said) for said in lines)
    height_in = deepest * step_in + 2 * _PAD_IN

    def ink(paper: Paper) -> None:
        ink_rule(paper, 0, theme.neutral if is_head else theme.rule, width_in=form.whole_in)
        x_in = 0.0
        for cell, said, width, right in zip(cells, lines, form.widths, form.rights, strict=True):
            # Because names of columns stand on their line, and what is beneath hangs from its own.
            y_in = height_in - _PAD_IN - (deepest - len(said) if is_head else 0) * step_in + 0.3 * form.size / 72
            for i, line in enumerate(said):
                y_in -= step_in
                at_in, shown = x_in + width if right else x_in, line
                if cell.status and i == 0:
                    write_text(paper, x_in, y_in, line[0], status_colour(theme, cell.status), size=form.size)
                    at_in, shown = x_in + measure_in(line[:2], form.size), line[2:]
                colour = theme.muted if is_head else theme.ink
                align = "right" if right else "left"
                write_text(paper, at_in, y_in, shown, colour, size=form.size, bold=is_head, align=align)
            x_in += width + form.gap_in

    return Strip(height_in, ink, is_heading=is_head)
