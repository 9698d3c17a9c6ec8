"""A report as one page that stands alone: no network, no outside file, a strict policy against anything injected.

The policy names the style and the script of the page by their hashes, so that not even an inline style that slipped
in would be used. Loads jinja2 and matplotlib.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined

from analytics_sdk.reporting.canvas import neutral_settings, render_svg
from analytics_sdk.reporting.captions import Caption, caption_of
from analytics_sdk.reporting.charts import CHARTS, MIDDLE_IN, NARROW_IN, draw_chart
from analytics_sdk.reporting.page import Section, words_of, write_page
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.tables import Table, make_table
from analytics_sdk.reporting.theme import DARK, LIGHT, Theme, colour_names, colour_of
from analytics_sdk.reporting.words import Words, keep_units, shorten
from analytics_sdk.vocabulary import STATUSES


class _Figure(NamedTuple):
    key: str
    caption: Caption
    is_wide: bool
    wide: str
    middle: str | None
    narrow: str
    table: Table


class _Drawn(NamedTuple):
    key: str
    name: str
    figures: list[_Figure]
    nothing: list[str]
    notes: list[str]
    table: Table | None


def _sortable(value: float | str) -> str:
    """A cell's value as the script of the page reads it; empty sorts before every number."""
    if isinstance(value, str):
        return value
    return f"{value!r}" if isfinite(value) else ""


def _status_class(status: str) -> str:
    return status if status in STATUSES else "other"


@cache
def _environment() -> Environment:
    folder = files("analytics_sdk.reporting") / "templates"
    sources = {name: (folder / name).read_text("utf-8") for name in ("report.html", "report.css", "report.js")}
    environment = Environment(loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(keep_units=keep_units, sortable=_sortable, status_class=_status_class)
    return environment


def _variables(theme: Theme) -> str:
    return " ".join(f"--{name}: {colour_of(theme, name)};" for name in colour_names())


def _css_string(text: str) -> str:
    """Text as a string of CSS, everything but plain letters escaped, so that it can be nothing else."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):x} " for c in text) + '"'


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _draw(section: Section, data: ReportData, words: Words) -> _Drawn:
    charts = {chart.key: chart for chart in CHARTS}
    figures = []
    for key in section.charts:
        chart = charts[key]
        widths = {"wide": chart.width_in, "narrow": NARROW_IN} | ({"middle": MIDDLE_IN} if chart.is_wide else {})
        drawn = {
            name: render_svg(draw_chart(chart, data, words, LIGHT, width_in=width_in).figure, f"{key}-{name[0]}")
            for name, width_in in widths.items()
        }
        caption, table = caption_of(key, data, words), make_table(key, data, words)
        pictures = (drawn["wide"], drawn.get("middle"), drawn["narrow"])
        figures.append(_Figure(key, caption, chart.is_wide, *pictures, table))
    return _Drawn(section.key, section.name, figures, section.nothing, section.notes, section.table)


def render_html(data: ReportData) -> str:
    """A whole report as one HTML page. The same data gives the same text."""
    words = words_of(data)
    page = write_page(data, words)
    with neutral_settings():
        sections = [_draw(section, data, words) for section in page.sections]
    environment = _environment()
    style = environment.get_template("report.css").render(
        light=_variables(LIGHT),
        dark=_variables(DARK),
        title=_css_string(shorten(page.title, 80)),
    )
    script = environment.get_template("report.js").render()
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("report.html").render(
        page=page,
        sections=sections,
        words=words,
        policy=policy,
        style=style,
        script=script,
    )
