"""What somebody meets who reads the page with a screen reader, or in poor light: axe's rules, names, contrast."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from browser.conftest import open_tables
from browser.contrast import list_texts

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
KINDS = (0, 1, 20, 5_000, "hostile")

Open = Callable[..., Page]


def list_defects(page: Page, rules: Sequence[str] = RULES) -> list[tuple[str, str]]:
    """What axe has against a page: (rule, HTML of the place)."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules}).response
    return [(rule["id"], node["html"][:200]) for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize(("kind", "language"), [*((kind, "en") for kind in KINDS), (20, "fr"), ("hostile", "fr")])
def test_axe_finds_nothing_by_day_or_by_night(open_report: Open, kind: int | str, language: str) -> None:
    """Every rule and best practice, tables open; by night those about colour, because the rest is the same."""
    page = open_report(kind, language, color_scheme="light")
    open_tables(page)
    assert list_defects(page) == []
    page.emulate_media(color_scheme="dark")
    assert list_defects(page, COLOUR_RULES) == []


@pytest.mark.parametrize("kind", [20, "hostile"])
def test_axe_finds_nothing_on_a_telephone(open_report: Open, kind: int | str) -> None:
    page = open_report(kind, width=390)
    open_tables(page)
    assert list_defects(page) == []


def test_axe_finds_what_is_wrong(open_report: Open) -> None:
    """So that finding nothing means something."""
    page = open_report(1)
    defects = "<img src=data:,><h6>Deep</h6><p>Faint</p>"
    page.evaluate("defects => document.querySelector('main').insertAdjacentHTML('beforeend', defects)", defects)
    page.evaluate("document.querySelector('main p:last-child').style.cssText = 'color: #bbb; background: #fff'")
    assert {"image-alt", "heading-order"} <= {rule for rule, _ in list_defects(page)}
    assert {"color-contrast"} == {rule for rule, _ in list_defects(page, COLOUR_RULES)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [20, 5_000])
def test_every_text_stands_out_from_what_it_lies_on(open_report: Open, kind: int, scheme: str) -> None:
    """4.5 : 1, text within charts too, against the colour that is really behind it."""
    page = open_report(kind, color_scheme=scheme)
    open_tables(page)
    texts = list_texts(page)
    assert len([text for text in texts if text.is_drawn]) > 50
    assert [text for text in texts if text.contrast < 4.5] == []


def test_a_text_that_does_not_stand_out_is_found(open_report: Open) -> None:
    """In the page, over a bar of a chart, and where only its opacity makes it weak."""
    page = open_report(20)
    page.evaluate("""() => {
      document.querySelector("h1").style.color = "#999";
      document.querySelector("footer p").style.opacity = ".3";
      const chart = [...document.querySelectorAll("svg")].find((svg) => svg.checkVisibility());
      const [, , wide] = chart.getAttribute("viewBox").split(" ");
      chart.insertAdjacentHTML("beforeend", `<rect width="${wide}" height="40" fill="#333"/><text y="25">lost</text>`);
    }""")
    weak = [text.text for text in list_texts(page) if text.contrast < 4.5]
    assert weak[0] == "A week of the shop"
    assert "lost" in weak
    assert "Analytics SDK" in weak[-1]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_says_its_language_and_its_title(open_report: Open, language: str) -> None:
    page = open_report(20, language)
    assert page.locator("html").get_attribute("lang") == language
    assert page.title() == page.get_by_role("heading", level=1).inner_text() == "A week of the shop"


@pytest.mark.parametrize("kind", [1, 20, 5_000, "hostile", "mixed"])
def test_every_chart_has_a_name_and_its_table(open_report: Open, kind: int | str) -> None:
    """By the roles that the browser tells a screen reader: no chart without a name, none without its numbers."""
    page = open_report(kind)
    open_tables(page)
    charts: list[Any] = [chart for chart in page.get_by_role("figure").all() if chart.is_visible()]
    assert len(charts) == page.locator("figure").count() >= 5
    names = [chart.get_by_role("heading").first.inner_text() for chart in charts]
    assert all(names)
    for chart, name in zip(charts, names, strict=True):
        assert chart.get_by_role("table").get_by_role("row").count() >= 2, name
        assert page.get_by_role("figure", name=name, exact=True).count() == names.count(name)
