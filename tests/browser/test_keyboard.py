"""The page without a mouse: everything can be reached, seen to be reached, and used."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

FOCUSABLE = "summary, button, a[href], input, select, [tabindex='0']"
NUMBER_THEM = f"""() => [...document.querySelectorAll("{FOCUSABLE}")].filter((node) => node.checkVisibility())
  .map((node, number) => {{ node.dataset.stop = number; return number; }})"""
DESCRIBE_FOCUS = """() => {
  const node = document.activeElement, style = getComputedStyle(node), box = node.getBoundingClientRect();
  const isInside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
  return [Number(node.dataset.stop ?? -1), width, isInside && box.width > 0];
}"""
"""(number of the place that has the focus, width of its outline in CSS pixels, whether it lies in the window)."""

WAIT_FOR_SCROLL = """(node) => new Promise((done) => {
  node.addEventListener("scroll", () => done(node.scrollLeft), { once: true });
  if (node.scrollLeft > 0) done(node.scrollLeft);
  setTimeout(() => done(node.scrollLeft), 5000);
})"""
"""How far it has scrolled to the right; at most five seconds, because a promise knows no other end."""

Open = Callable[..., Page]


@pytest.mark.parametrize(("kind", "width"), [(20, 1440), (20, 390), ("hostile", 768)])
def test_tab_reaches_everything_in_order_and_the_focus_is_seen(open_report: Open, kind: int | str, width: int) -> None:
    """Every control and every table that can scroll, from the top down, each with an outline of two pixels."""
    page = open_report(kind, width=width)
    stops = page.evaluate(NUMBER_THEM)
    assert len(stops) > 15
    reached = []
    for _ in stops:
        page.keyboard.press("Tab")
        reached.append(tuple(page.evaluate(DESCRIBE_FOCUS)))
    assert [stop for stop, _, _ in reached] == stops
    assert [one for one in reached if one[1] < 2 or not one[2]] == []


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_key_opens_and_shuts_the_table_of_every_chart(open_report: Open, key: str) -> None:
    page = open_report(20)
    charts = page.locator("figure").all()
    assert len(charts) >= 5
    for chart in charts:
        table, summary = chart.get_by_role("table"), chart.locator("summary")
        assert table.count() == 0
        summary.press(key)
        assert table.is_visible()
        summary.press(key)
        assert table.count() == 0


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_key_sorts_a_table_and_the_header_says_so(open_report: Open, key: str) -> None:
    """Pressed twice it goes the other way; the focus stays where it was."""
    page = open_report(20)
    table = page.get_by_role("table").last
    rows = table.locator("tbody tr")
    before = rows.all_inner_texts()
    head = table.get_by_role("columnheader").nth(3)
    assert head.get_attribute("aria-sort") in (None, "none")
    seen = {}
    for _ in range(2):
        head.get_by_role("button").press(key)
        seen[head.get_attribute("aria-sort")] = rows.all_inner_texts()
        assert head.get_by_role("button").evaluate("button => button === document.activeElement")
    assert set(seen) == {"ascending", "descending"}
    assert seen["ascending"] != seen["descending"]
    assert sorted(seen["ascending"]) == sorted(seen["descending"]) == sorted(before)
    assert table.locator("[aria-sort$='cending']").count() == 1


def test_arrows_scroll_a_table_that_is_too_wide(open_report: Open) -> None:
    """On a telephone with a keyboard, or with the page much enlarged."""
    page = open_report("mixed", width=320)
    wide = page.evaluate_handle("""[...document.querySelectorAll("[tabindex='0']")]
      .find((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 40)""").as_element()
    assert wide is not None
    wide.focus()
    page.keyboard.press("ArrowRight")
    assert wide.evaluate(WAIT_FOR_SCROLL) > 0


@pytest.mark.parametrize("kind", [0, 20, "hostile"])
def test_every_link_leads_somewhere_on_the_page(open_report: Open, kind: int | str) -> None:
    """Ids are there once, what is referred to by them is there, and no link leaves the page."""
    page = open_report(kind)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.getAttribute('href'))")
    assert [link for link in links if not link.startswith("#") or link[1:] not in ids] == []
    names = ["aria-labelledby", "aria-describedby", "aria-controls", "for"]
    referred = page.evaluate(
        "names => names.flatMap((name) => [...document.querySelectorAll(`[${name}]`)]"
        ".flatMap((node) => node.getAttribute(name).split(/\\s+/)))",
        names,
    )
    assert set(referred) <= set(ids)
    assert bool(referred) == (kind != 0)
