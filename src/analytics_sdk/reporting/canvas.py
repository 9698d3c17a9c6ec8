"""Ink on paper: matplotlib figures made and saved so that the same input gives the same bytes.

Loads matplotlib; import it only where something is drawn. pyplot is never used, because it keeps figures alive and
picks a window system. matplotlib's settings are global to the process: `neutral_settings` puts known ones in force
for as long as something is drawn, behind a lock, and then gives the host's own back. A thread of the host that draws
with matplotlib at that very moment may see ours.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from analytics_sdk.reporting.theme import LIGHT, Theme, colour_names, colour_of

TEXT_PT = 8.6
"""12 CSS pixels, where 100 of them make an inch of a figure."""
SMALL_PT = 7.9
TITLE_PT = 11.5
PNG_DPI = 160

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_SETTINGS: Any = {
    "svg.hashsalt": "analytics-sdk",
    "svg.fonttype": "none",  # because text that stays text is smaller, can be searched, and follows the page's font
    "pdf.fonttype": 42,
    "text.hinting": "none",  # because hinted letters are wider on a coarse picture than they were measured
    "text.parse_math": False,  # because a "$" in somebody's id is not a formula
    "font.family": ["DejaVu Sans"],  # because matplotlib brings it along: the same everywhere
    "font.size": TEXT_PT,
    "axes.unicode_minus": False,
    "path.simplify": True,
}
_drawing = threading.RLock()


@contextmanager
def neutral_settings() -> Iterator[None]:
    """matplotlib's own defaults and ours, in force in this process until the block is left. One thread at a time."""
    with _drawing, matplotlib.rc_context(), warnings.catch_warnings():
        # Because an id in a script that the bundled font lacks is shown as boxes, and is no reason to warn the host.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


@dataclass(frozen=True, slots=True)
class Paper:
    """A figure, or a rectangle of one, measured in inches from the figure's lower left corner."""

    figure: Figure
    left_in: float
    bottom_in: float
    width_in: float
    height_in: float

    def cut(self, left_in: float, bottom_in: float, width_in: float, height_in: float) -> "Paper":
        """A rectangle of this one."""
        return Paper(self.figure, self.left_in + left_in, self.bottom_in + bottom_in, width_in, height_in)

    def fraction(self, left_in: float, bottom_in: float, width_in: float, height_in: float) -> tuple[float, ...]:
        """A rectangle of this one as fractions of the whole figure, which is how matplotlib wants it."""
        whole_w, whole_h = self.figure.get_size_inches()
        return (
            (self.left_in + left_in) / whole_w,
            (self.bottom_in + bottom_in) / whole_h,
            width_in / whole_w,
            height_in / whole_h,
        )

    def cover(self) -> Axes:
        """Axes without any ink over all of it, whose units are inches."""
        left, bottom, width, height = self.fraction(0, 0, self.width_in, self.height_in)
        axes = self.figure.add_axes((left, bottom, width, height))
        axes.set_axis_off()
        axes.set_xlim(0, self.width_in)
        axes.set_ylim(0, self.height_in)
        return axes


def make_paper(width_in: float, height_in: float, theme: Theme) -> Paper:
    """An empty figure."""
    figure = Figure(figsize=(width_in, height_in), dpi=100, facecolor=theme.paper, edgecolor="none")
    return Paper(figure, 0.0, 0.0, width_in, height_in)


def size_of(axes: Axes) -> tuple[float, float]:
    """Width and height of axes, in inches."""
    return float(axes.bbox.width) / axes.figure.dpi, float(axes.bbox.height) / axes.figure.dpi


def add_axes(paper: Paper, theme: Theme, left: float, bottom: float, right: float, top: float) -> Axes:
    """Quiet axes on a paper, with margins given in inches from its edges."""
    width_in, height_in = max(0.2, paper.width_in - left - right), max(0.1, paper.height_in - bottom - top)
    x, y, width, height = paper.fraction(left, bottom, width_in, height_in)
    axes = paper.figure.add_axes((x, y, width, height))
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.neutral)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.tick_params(length=0, labelsize=SMALL_PT, labelcolor=theme.muted, pad=4)
    axes.tick_params(axis="x", which="major", length=3, width=0.8, color=theme.neutral)
    axes.tick_params(which="minor", length=0)
    return axes


def ink_boxes(
    axes: Axes,
    boxes: Sequence[tuple[float, float, float, float]],
    colour: str,
    *,
    alpha: float = 1.0,
    edge: str = "none",
    edge_pt: float = 0.0,
    zorder: float = 2.0,
) -> None:
    """Rectangles (left, foot, width, height) of one colour, in the units of the axes.

    One collection for all, because `bar` makes an artist of each: a report would take twice as long.
    """
    corners = [((x, y), (x, y + height), (x + width, y + height), (x + width, y)) for x, y, width, height in boxes]
    ink = PolyCollection(corners, facecolor=colour, edgecolor=edge, linewidth=edge_pt, alpha=alpha, zorder=zorder)
    axes.add_collection(ink, autolim=False)


def write_text(
    paper: Paper,
    x_in: float,
    y_in: float,
    text: str,
    colour: str,
    *,
    size: float = TEXT_PT,
    bold: bool = False,
    align: str = "left",
    valign: str = "baseline",
) -> None:
    """Text on a paper, its place in inches from the lower left corner."""
    x, y, _, _ = paper.fraction(x_in, y_in, 0, 0)
    paper.figure.text(
        x,
        y,
        text,
        color=colour,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        ha=align,
        va=valign,
    )


def render_png(figure: Figure, dpi: int = PNG_DPI) -> bytes:
    """A figure as PNG. Call within `neutral_settings`."""
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return out.getvalue()


def render_svg(figure: Figure, name: str) -> str:
    """A figure drawn in `LIGHT` as an SVG element to stand in a page; `name` makes its ids unlike all others there.

    It has no style attributes (the page's security policy would refuse them), no size of its own but the view box,
    and every colour of the theme is the CSS variable of its name. Call within `neutral_settings`.
    """
    out = io.StringIO()
    FigureCanvasSVG(figure)
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", facecolor="none", metadata=metadata)
    root = ElementTree.fromstring(out.getvalue())
    variables = {colour_of(LIGHT, colour): f"var(--{colour})" for colour in colour_names()}
    _simplify(root, name, variables)
    width, height = root.attrib.pop("width").removesuffix("pt"), root.attrib.pop("height").removesuffix("pt")
    root.set("viewBox", f"0 0 {float(width):g} {float(height):g}")
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    root.attrib.pop("version", None)
    return ElementTree.tostring(root, encoding="unicode")


_KEPT_STYLES = frozenset(
    {
        "clip-path",
        "fill",
        "fill-opacity",
        "font-size",
        "font-weight",
        "opacity",
        "stroke",
        "stroke-dasharray",
        "stroke-dashoffset",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-opacity",
        "stroke-width",
        "text-anchor",
    }
)


def _simplify(element: ElementTree.Element, name: str, variables: dict[str, str]) -> None:
    """Take what a page does not need or would refuse out of an element and all in it, in place."""
    element.tag = element.tag.removeprefix(_SVG)
    for child in list(element):
        if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
            element.remove(child)
        else:
            _simplify(child, name, variables)
    attributes = dict(element.attrib)
    element.attrib.clear()
    for declaration in attributes.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            attributes |= _read_font(value)
        elif key in _KEPT_STYLES:
            attributes[key] = value
    is_referred_to = element.tag in ("clipPath", "path", "pattern") and "id" in attributes
    for key, value in attributes.items():
        if key == "id":
            if is_referred_to:
                element.set("id", f"{name}-{value}")
        elif key == f"{_XLINK}href":
            element.set("href", f"#{name}-{value[1:]}")
        elif value.startswith("url(#"):
            element.set(key, f"url(#{name}-{value[5:]}")
        else:
            element.set(key, variables.get(value, value))
    if element.text is not None and not element.text.strip():
        element.text = None
    if element.tail is not None and not element.tail.strip():
        element.tail = None


def _read_font(shorthand: str) -> dict[str, str]:
    """The size and weight in a CSS `font` shorthand; the family is the page's."""
    found = {}
    for word in shorthand.split():
        if word.endswith("px") and word[:1].isdigit():
            found["font-size"] = word.removesuffix("px")
            break
        if word.isdigit() or word == "bold":
            found["font-weight"] = word
    return found
