"""The page on every width, with large letters, and on paper."""

import io
from collections.abc import Callable
from unicodedata import normalize

import pytest
from playwright.sync_api import Page
from pypdf import PdfReader

from browser.conftest import open_tables

SPILLS = """(margin = 1) => {
  const inside = (node) => {
    for (let up = node.parentElement; up; up = up.parentElement)
      if (up.scrollWidth > up.clientWidth && ["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const spilling = [...document.body.querySelectorAll("*")].filter((node) => {
    const box = node.getBoundingClientRect();
    const isCut = box.right > innerWidth + margin || (box.left < -margin && box.right > 0);
    return node.checkVisibility() && box.width > 1 && isCut && !inside(node);
  });
  const page = document.documentElement;
  const inner = spilling.filter((node) => !spilling.some((other) => other !== node && node.contains(other)));
  return [page.scrollWidth - page.clientWidth, inner.slice(0, 3).map((node) => node.outerHTML.slice(0, 120))];
}"""
"""By how much the page is wider than its window, and what sticks out of the window without a scroll bar of its own by
more than a margin in CSS pixels."""
OVERLAPS = """() => [...document.querySelectorAll("svg")].flatMap((svg) => {
  const texts = [...svg.querySelectorAll("text")].filter((text) => text.checkVisibility() && text.textContent.trim());
  const boxes = texts.map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
  const isOver = (a, b) => {
    const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    return width > 2 && height > 0.35 * Math.min(a.height, b.height);
  };
  return boxes.flatMap(([one, box], i) =>
    boxes.slice(i + 1).filter(([, other]) => isOver(box, other)).map(([two]) => `${one} / ${two}`));
})"""
"""Pairs of texts of one chart that cover each other by more than what the space around letters allows."""
MOTIONS = """() => [...document.querySelectorAll("*")].filter((node) => {
  const style = getComputedStyle(node);
  const times = `${style.transitionDuration}, ${style.animationDuration}`.split(",").map(parseFloat);
  return Math.max(...times) > 0.01 || style.scrollBehavior === "smooth";
}).map((node) => node.outerHTML.slice(0, 120))"""
"""What would move on the page, if something changed."""
PAPER_MARGIN_PX = 14 / 25.4 * 96
PRINTED_PX = round(210 / 25.4 * 96 - 2 * PAPER_MARGIN_PX)
DOUBLE_LETTERS = """() => {
  const nodes = [...document.body.querySelectorAll(":not(svg, svg *, script)")];
  const sizes = nodes.map((node) => [node, parseFloat(getComputedStyle(node).fontSize)]);
  for (const [node, size] of sizes) node.style.fontSize = `${2 * size}px`;
}"""
MARK_FIGURES = """() => [...document.querySelectorAll("figure")].map((figure, number) => {
  figure.style.position = "relative";
  for (const edge of ["top", "bottom"]) {
    const mark = document.createElement("b");
    mark.textContent = `[${edge}${number}]`;
    mark.style.cssText = `position: absolute; ${edge}: 0; left: 0; font: 6px monospace`;
    figure.append(mark);
  }
}).length"""
"""A word at the upper and at the lower edge of each figure, to be found again on paper."""

Open = Callable[..., Page]


@pytest.mark.parametrize("kind", [0, 1, 20, 5_000, "hostile", "mixed"])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_width_makes_the_page_scroll_sideways(open_report: Open, kind: int | str, language: str) -> None:
    """Wide tables scroll by themselves; nothing else is wider than the window."""
    page = open_report(kind, language)
    open_tables(page)
    for width in (1440, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert (width, *page.evaluate(SPILLS)) == (width, 0, [])


@pytest.mark.parametrize("kind", [20, "hostile"])
@pytest.mark.parametrize("width", [1280, 390])
def test_letters_twice_as_large_fit(open_report: Open, kind: int | str, width: int) -> None:
    """Where only the text is enlarged, as some readers do, the page still does not scroll sideways."""
    page = open_report(kind, width=width)
    open_tables(page)
    before = page.locator("h1").evaluate("node => getComputedStyle(node).fontSize")
    page.evaluate(DOUBLE_LETTERS)
    after = page.locator("h1").evaluate("node => getComputedStyle(node).fontSize")
    assert float(after.removesuffix("px")) == 2 * float(before.removesuffix("px"))
    assert page.evaluate(SPILLS) == [0, []]


def test_a_page_that_is_too_wide_is_found(open_report: Open) -> None:
    """So that finding nothing means something."""
    page = open_report(1, width=390)
    page.locator("h1").evaluate("node => { node.style.width = '600px' }")
    wider, spilling = page.evaluate(SPILLS)
    assert wider > 200
    assert any(html.startswith("<h1") for html in spilling)


@pytest.mark.parametrize("width", [1440, 390])
def test_texts_of_a_chart_do_not_lie_over_each_other(open_report: Open, width: int) -> None:
    """Each label can be read by itself."""
    assert open_report(5_000, width=width).evaluate(OVERLAPS) == []


def test_who_wants_no_motion_sees_none(open_report: Open) -> None:
    page = open_report(20, reduced_motion="reduce")
    assert page.evaluate("matchMedia('(prefers-reduced-motion: reduce)').matches")
    page.locator("summary").first.click()
    assert page.evaluate(MOTIONS) == []


def list_marked_pages(page: Page) -> list[tuple[int, int]]:
    """Print on A4: the numbers of the pages on which each figure begins and ends."""
    figures = page.evaluate(MARK_FIGURES)
    printed = [sheet.extract_text() for sheet in PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages]

    def place(mark: str) -> int:
        (found,) = [number for number, text in enumerate(printed) if mark in text]
        return found

    return [(place(f"[top{number}]"), place(f"[bottom{number}]")) for number in range(figures)]


@pytest.mark.parametrize("kind", [1, 20, 5_000, "hostile"])
def test_paper_cuts_no_chart(open_report: Open, kind: int | str) -> None:
    """Each begins and ends on the same sheet."""
    places = list_marked_pages(open_report(kind))
    assert len(places) >= 5
    assert [place for place in places if place[0] != place[1]] == []


def test_a_chart_that_is_cut_is_found(open_report: Open) -> None:
    """One that is higher than a sheet must be."""
    page = open_report(20)
    page.locator("figure").first.evaluate("node => { node.style.height = '1500px' }")
    (begins, ends), *_ = list_marked_pages(page)
    assert begins < ends


@pytest.mark.parametrize("kind", [20, "hostile"])
def test_paper_is_a4_and_bright_and_shows_no_controls(open_report: Open, kind: int | str) -> None:
    """Also for those who read by night; what cannot be pressed on paper is not printed."""
    page = open_report(kind, color_scheme="dark", width=PRINTED_PX)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 26, 26)"
    assert [one.inner_text() for one in page.locator("summary, a[href^='#']").all() if one.is_visible()] == []
    arrows = "[...document.querySelectorAll('th button')].map((one) => getComputedStyle(one, '::after').display)"
    assert set(page.evaluate(arrows)) == {"none"}
    assert page.evaluate(SPILLS, 0.8 * PAPER_MARGIN_PX) == [0, []]
    for sheet in PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages:
        assert [round(float(side) / 72 * 25.4) for side in sheet.mediabox[2:]] == [210, 297]


def test_the_printed_page_has_what_the_screen_has(open_report: Open) -> None:
    """Title, sentences, sections and the last table are all on paper."""
    page = open_report(20)
    headings = [" ".join(one.inner_text().split()) for one in page.get_by_role("heading").all()]
    reader = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    plain = normalize("NFKC", " ".join(sheet.extract_text() for sheet in reader.pages))  # because fonts join f and l
    printed = " ".join(plain.split())
    assert [heading for heading in headings if heading not in printed] == []
