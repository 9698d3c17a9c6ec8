"""How wide text is in the font that matplotlib brings along, and how it is cut to fit. Loads matplotlib.

Widths are sums of the letters' own widths; kerning would change them by less than can be seen.
"""

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font

from analytics_sdk.reporting.words import make_inert, shorten

_EM = 100
_MISSING_EM = 1.4
"""What stands for a letter that the font lacks is a box; those of matplotlib are no wider than this."""


@cache
def _font(*, bold: bool) -> FT2Font:
    # A font of our own, because the one that matplotlib draws with has a size that it counts on.
    return FT2Font(get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))).fname)


@cache
def _advance_em(letter: str, *, bold: bool) -> float:
    font = _font(bold=bold)
    if not font.get_char_index(ord(letter)):
        return _MISSING_EM
    font.set_size(_EM, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536 / _EM


def measure_in(text: str, size: float, *, bold: bool = False) -> float:
    """The width of one line of text, in inches; `size` is in points."""
    return sum(_advance_em(letter, bold=bold) for letter in text) * size / 72


def fit_text(text: str, width_in: float, size: float, *, bold: bool = False) -> str:
    """Stored text made inert, on one line, cut in the middle so that it fits a width."""
    low, high = 1, 2 * len(text) + 2
    whole = make_inert(text)
    if measure_in(whole, size, bold=bold) <= width_in:
        return whole
    while high - low > 1:
        middle = (low + high) // 2
        if measure_in(shorten(text, middle), size, bold=bold) <= width_in:
            low = middle
        else:
            high = middle
    return shorten(text, low)


def wrap_text(text: str, width_in: float, size: float, *, bold: bool = False, most: int | None = None) -> list[str]:
    """Text in lines that fit a width, at most `most` of them; a word that is wider than a line is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if measure_in(longer, size, bold=bold) <= width_in:
            line = longer
            continue
        if line:
            lines.append(line)
        *full, line = _break_word(word, width_in, size, bold=bold)
        lines += full
    lines.append(line)
    if most is not None and len(lines) > most:
        rest = " ".join(lines[most - 1 :])
        lines = [*lines[: most - 1], fit_text(rest, width_in, size, bold=bold)]
    return lines


def _break_word(word: str, width_in: float, size: float, *, bold: bool) -> list[str]:
    parts = [""]
    used_in = 0.0
    for letter in word:
        letter_in = measure_in(letter, size, bold=bold)
        if parts[-1] and used_in + letter_in > width_in:
            parts.append("")
            used_in = 0.0
        parts[-1] += letter
        used_in += letter_in
    return parts
