"""What the documentation shows works: every Python block runs, every command exists, the settings are all there.

`python tests/test_docs.py` writes docs/settings.md anew.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from analytics_sdk.capture.patching import Instrumentation
from analytics_sdk.cli.app import app
from analytics_sdk.cli.run import KEYS
from analytics_sdk.clock import SystemClock
from analytics_sdk.config import ALIASES, SETTINGS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS_PAGE = ROOT / "docs" / "settings.md"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are written in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_every_python_block_runs(page: Path, tmp_path: Path) -> None:
    """In a process and a folder of its own for each page, one block after the other, warnings being errors."""
    code = "\n".join(
        f"exec(compile({block!r}, {page.name!r}, 'exec'), {{'__name__': 'example'}})"
        for block in blocks(page, "python")
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def shown_commands() -> Iterator[Any]:
    """Every `analytics-sdk ...` in a shell block, without what is not ours."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                at = next((i for i, word in enumerate(words) if Path(word).name == "analytics-sdk"), None)
                if at is not None:
                    yield pytest.param(words[at + 1 :], id=f"{page.name}: {' '.join(words[at:])}")


def commands_of(group: Any) -> dict[str, Any]:
    """The commands of a group by name; none where it is a command itself."""
    return getattr(group, "commands", {})


@pytest.mark.parametrize("words", list(shown_commands()))
def test_every_command_shown_can_be_typed(words: list[str]) -> None:
    """It is parsed, not run: a command, option or value that does not exist raises."""
    command: Any = typer.main.get_command(app)
    while commands := commands_of(command):
        command, words = commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


def test_the_command_page_names_every_command_and_only_those() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    told = {cell.split()[0] for cell in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)}
    assert told == set(commands_of(typer.main.get_command(app)))


def test_the_keys_of_the_instrument_table_are_all_shown() -> None:
    (block,) = blocks(ROOT / "docs" / "auto-instrument.md", "toml")
    assert set(tomllib.loads(block)["tool"]["analytics_sdk"]["instrument"]) == set(KEYS)
    assert {"pending", "failed"} <= set(vars(Instrumentation()))


def test_links_inside_the_documentation_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_begins_with_the_problem_and_names_both_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    first = blocks(ROOT / "README.md", "python")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 12
    assert text.index("Somebody has a program") < text.index("```python")
    assert '.venv/bin/pip install -q -e ".[test]" && .venv/bin/python -m pytest -n auto' in text


def settings_page() -> str:
    """docs/settings.md, made from the one table of settings."""
    rows = []
    for setting in SETTINGS.values():
        names = [setting.name, *(alias for alias, name in ALIASES.items() if name == setting.name)]
        rows.append(
            f"| {' or '.join(f'`{name}`' for name in names)} | {shown_default(setting.default)} | {setting.meaning} |"
        )
    return "\n".join([SETTINGS_HEAD, *rows, SETTINGS_FOOT])


def shown_default(default: object) -> str:
    """A default as a table cell."""
    if default is None:
        return ""
    if isinstance(default, SystemClock):
        return "the machine's"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int) and default >= 1 << 30:
        return f"{default >> 30} GiB"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


SETTINGS_HEAD = """\
# Settings

An argument of `configure` or `get_analytics_system` wins over the environment (`ANALYTICS_SDK_` and the name in
capitals), that over `[tool.analytics_sdk]` in the nearest pyproject.toml, that over the default. Nothing is read at
import. What is left out of a later call keeps its value.

```python
from analytics_sdk import configure

configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.5)
```

| name | default | |
|---|---|---|"""
SETTINGS_FOOT = """
The environment has one more: `ANALYTICS_SDK_DISABLED=true` turns everything off and beats every argument.

`analytics-sdk doctor` shows what is in effect, and where each value comes from.
"""


def test_the_settings_page_is_the_table_of_settings() -> None:
    written = SETTINGS_PAGE.read_text("utf-8")
    assert written == settings_page(), "run `python tests/test_docs.py` to write docs/settings.md anew"


if __name__ == "__main__":
    SETTINGS_PAGE.write_text(settings_page(), "utf-8")
