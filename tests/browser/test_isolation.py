"""What the page may not do, and what nobody may do through it: ask the network, complain, run what was recorded."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request

from browser.conftest import open_tables
from browser.stores import HOSTILE_IDS, make_page

INJECTED = """
<button id="trap" onclick="window.hurt = 'handler'">Press</button>
<img src="data:image/png;base64,AAAA" onerror="window.hurt = 'onerror'" alt="">
<script>window.hurt = "script"</script>
<style>#trap { letter-spacing: 9px }</style>
<a id="lure" href="javascript:void(window.hurt = 'link')">Press</a>
<iframe srcdoc="<script>parent.hurt = 'frame'</script>" title="frame"></iframe>
<img src="http://127.0.0.1:9/leak.png" alt="">
<link rel="stylesheet" href="http://127.0.0.1:9/leak.css">
</main>"""

Open = Callable[..., Page]


def press_everything(page: Page) -> None:
    """Press what was injected, and wait until the page has done what it does about that."""
    page.locator("#trap").click()
    page.locator("#lure").click()
    page.evaluate("() => new Promise((done) => setTimeout(done))")


@pytest.mark.parametrize("kind", [0, 20, 5_000, "hostile", "mixed"])
def test_the_page_asks_nobody_and_complains_of_nothing(open_report: Open, kind: int | str) -> None:
    """No request but the file itself, no line on the console, no error, no dialog: opened, sorted and printed."""
    page = open_report(kind)
    asked: list[Request] = []
    said: list[object] = []
    page.on("request", lambda request: asked.append(request))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(error))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.reload()
    open_tables(page)
    page.evaluate("for (const button of document.querySelectorAll('th button')) button.click()")
    page.pdf()
    assert [request.url for request in asked] == [page.url]
    assert said == []


def test_what_is_injected_neither_runs_nor_shows_nor_calls(open_text: Open) -> None:
    """As if escaping had failed: the page's own policy stops handlers, scripts, styles, frames and requests."""
    text = make_page(1)
    page = open_text(text.replace("</main>", INJECTED))
    asked: list[Request] = []
    page.on("requestfinished", lambda request: asked.append(request))
    press_everything(page)
    assert page.evaluate("window.hurt") is None
    assert page.locator("#trap").evaluate("button => getComputedStyle(button).letterSpacing") == "normal"
    assert page.evaluate("fetch('data:,leak').then(() => 'sent', () => 'refused')") == "refused"
    assert asked == []


def test_without_its_policy_it_would_have_run(open_text: Open) -> None:
    """So that the policy is seen to be what stops it."""
    bare = make_page(1).replace('http-equiv="Content-Security-Policy"', 'name="no-policy"')
    page = open_text(bare.replace("</main>", INJECTED))
    press_everything(page)
    assert page.evaluate("window.hurt") == "link"
    assert page.locator("#trap").evaluate("button => getComputedStyle(button).letterSpacing") == "9px"
    assert page.evaluate("fetch('data:,leak').then(() => 'sent', () => 'refused')") == "sent"


@pytest.mark.parametrize("language", ["en", "fr"])
def test_hostile_ids_run_nothing_and_show_as_text(open_report: Open, language: str) -> None:
    """They stand on the page letter by letter, and have made no element."""
    page = open_report("hostile", language)
    open_tables(page)
    assert page.evaluate("window.hurt") is None
    shown = page.locator("main").inner_text()
    for name in HOSTILE_IDS[:5]:
        assert name in shown
    assert page.get_by_role("heading", level=1).inner_text() == page.title() == HOSTILE_IDS[0]
    made = "[onload], [onerror], [onclick], img, iframe, object, embed, base, form, main script, main style"
    assert page.locator(made).count() == 0
    assert page.locator("h1").count() == 1
    for hidden in "\x1b\x00\x07\u202e\u2066\u200b\ufeff":
        assert hidden not in shown


def test_without_java_script_it_is_still_read(open_report: Open) -> None:
    """The numbers stand there, tables open by the browser alone, and nothing offers what would not work."""
    page = open_report(20, java_script_enabled=False)
    assert page.get_by_role("heading", level=1).is_visible()
    assert page.get_by_role("table").first.is_visible()
    shut = page.get_by_role("table").count()
    page.locator("summary").first.press("Enter")
    assert page.get_by_role("table").count() == shut + 1
    assert page.locator("details table").first.get_by_role("row").last.is_visible()
    assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_same_page_looks_the_same_twice(open_report: Open, scheme: str) -> None:
    """Dot for dot, in two browsers that know nothing of each other."""
    first, second = (open_report(20, color_scheme=scheme).screenshot(full_page=True) for _ in range(2))
    assert first == second


def test_night_is_dark_and_day_is_bright(open_report: Open) -> None:
    """The page follows what its reader has set."""
    page = open_report(1)
    paper = "getComputedStyle(document.body).backgroundColor"
    brightness = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        brightness[scheme] = sum(map(int, page.evaluate(paper).removeprefix("rgb(").removesuffix(")").split(",")))
    assert brightness["light"] > 700
    assert brightness["dark"] < 120
