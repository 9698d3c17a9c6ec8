"""A real browser for those who ask for it, and the reports that it opens."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser.stores import make_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """The machine's chromium, started once for each test process.

    It is closed before tests of other folders run, because its event loop occupies the thread.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not os.environ.get("CI"):
        pytest.importorskip("playwright", reason="playwright is not installed", exc_type=ImportError)
        if program is None:
            pytest.skip("chromium is not installed")
    assert program, "chromium is not installed: apt-get install --no-install-recommends chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def open_text(browser: "Browser", tmp_path: Path) -> Iterator[Callable[..., "Page"]]:
    """Write text as an HTML file and open it as somebody would who was sent it.

    Each call is a reader of its own: `width` and `height` in CSS pixels, `color_scheme`, `java_script_enabled` and
    whatever else a playwright context takes.
    """
    contexts = []

    def open_(text: str, *, width: int = 1440, height: int = 900, **options: Any) -> "Page":
        file = tmp_path / f"report-{len(contexts)}.html"
        file.write_text(text, "utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def open_report(open_text: Callable[..., "Page"]) -> Callable[..., "Page"]:
    """Open a report by its kind, see `make_page`, and its language; the rest as in `open_text`."""

    def open_(kind: int | str, language: str = "en", **options: Any) -> "Page":
        return open_text(make_page(kind, language), **options)

    return open_


def open_tables(page: "Page") -> None:
    """Open the table under each chart."""
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
