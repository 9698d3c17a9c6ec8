"""The report that a newcomer sees first: `analytics-sdk demo`, typed in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from browser.conftest import open_tables
from browser.test_accessibility import list_defects


def test_the_report_of_the_demo_is_sound(open_text: Callable[..., Page], tmp_path: Path) -> None:
    """Axe finds nothing, the console is silent, it does not scroll sideways on a telephone, and it has its charts."""
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_")}
    command = [sys.executable, "-m", "analytics_sdk", "demo", "--executions", "12"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    page = open_text((folder / "analytics-demo" / "report.html").read_text("utf-8"))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.reload()
    assert page.locator("figure").count() >= 5
    open_tables(page)
    assert list_defects(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert said == []
