"""What the documentation shows works: every block runs, every command exists, every name, key and setting is there.

`python docs/pages.py` writes the pages anew that are made from the code.
"""

import importlib
import os
import pydoc
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import typer.main

from analytics_sdk.capture.patching import Instrumentation
from analytics_sdk.cli.app import app
from analytics_sdk.cli.run import KEYS
from analytics_sdk.query import Query, empty_stats
from doc_blocks import LANGUAGES, POSTGRES, Block, blocks_of, commands_of, run_page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MADE: dict[str, Any] = runpy.run_path(str(DOCS / "pages.py"))["PAGES"]
PUBLIC = (
    "analytics_sdk",
    "analytics_sdk.integration",
    "analytics_sdk.analytics_system",
    "analytics_sdk.reporting.report_generator",
    "analytics_sdk.query",
    "analytics_sdk.testing",
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced(page: Path, language: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == language]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """From top to bottom, in an empty folder, and what is shown as output is printed."""
    replaced = {}
    if any(POSTGRES in block.code and block.reason is None for block in blocks_of(page)):
        replaced[POSTGRES] = request.getfixturevalue("postgres_url")
    if any("interface=chdb" in block.code and block.reason is None for block in blocks_of(page)):
        request.getfixturevalue("clickhouse_package")
    run_page(page, tmp_path, replaced)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A fence without a known language would not run, and nobody would see it."""
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    fences = re.findall(r"^```", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))
    written = {block.title for block in blocks_of(page) if block.title}
    run = "".join(block.code for block in blocks_of(page) if block.title is None)
    assert all(title in run or Path(title).stem in run for title in written), "a file is shown that nothing runs"


def shown_commands() -> Iterator[Any]:
    for page in PAGES:
        for words in commands_of(page):
            yield pytest.param(words, id=f"{page.name}: {' '.join(words)}")


def below(group: Any) -> dict[str, Any]:
    """The commands of a group by name; none where it is a command itself."""
    return getattr(group, "commands", {})


@pytest.mark.parametrize("words", list(shown_commands()))
def test_every_command_shown_can_be_typed(words: list[str]) -> None:
    """Also those that do not run here: a command, option or value that does not exist raises."""
    command: Any = typer.main.get_command(app)
    while (commands := below(command)) and words and not words[0].startswith("-"):
        command, words = commands[words[0]], words[1:]
    if not below(command):
        command.make_context(command.name, list(words))


def test_the_keys_of_the_instrument_table_are_all_shown() -> None:
    (block,) = fenced(DOCS / "auto-instrument.md", "toml")
    assert set(tomllib.loads(block.code)["tool"]["analytics_sdk"]["instrument"]) == set(KEYS)
    assert {"pending", "failed"} <= set(vars(Instrumentation()))


def anchors_of(page: Path) -> set[str]:
    """What a link may point at within a page: its headings as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_documentation_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors_of(there), f"{page.name} links to {target}"
        if page.is_relative_to(DOCS):
            assert Path(os.path.normpath(there)).is_relative_to(DOCS), f"{target} is not on the site"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages == set(re.findall(r"[\w./-]+\.md", navigation))


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """And asks nobody else for anything when it is read."""
    if not os.environ.get("CI"):
        pytest.importorskip("zensical", reason="zensical is not installed")
        pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    for part in ("docs", "src", "CHANGELOG.md", "mkdocs.yml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "No issues found\n"), done.stdout
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(MADE)
    for page in pages:
        assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', page.read_text("utf-8"))


def test_the_readme_begins_with_the_problem_and_names_both_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    first = fenced(ROOT / "README.md", "python")[0].code
    assert len([line for line in first.splitlines() if line.strip()]) <= 12
    assert text.index("Somebody has a program") < text.index("```python")
    assert '.venv/bin/pip install -q -e ".[test]" && .venv/bin/python -m pytest -n auto' in text


@pytest.mark.parametrize("page", MADE)
def test_a_page_made_from_the_code_says_what_the_code_says(page: str) -> None:
    written = (DOCS / page).read_text("utf-8")
    assert written == MADE[page](), f"run `python docs/pages.py` to write docs/{page} anew"


def public_names(module: str) -> Iterator[str]:
    """What a module says is public; without a word from it, what it defines and does not hide."""
    names = vars(importlib.import_module(module))
    own = [
        name
        for name, value in names.items()
        if isinstance(value, type | FunctionType) and value.__module__ == module and not name.startswith("_")
    ]
    yield from (f"{module}.{name}" for name in names.get("__all__", own))


def test_every_public_name_is_in_the_reference() -> None:
    """By that name, or by the same object under another one."""
    page = (DOCS / "reference" / "api.md").read_text("utf-8")
    told = {id(pydoc.locate(name)) for name in re.findall(r"^(?:::: |`)([\w.]+)", page, re.MULTILINE)}
    missing = [name for module in PUBLIC for name in public_names(module) if id(pydoc.locate(name)) not in told]
    assert not missing, f"add them to docs/reference/api.md: {missing}"


def keys_of(value: object, path: str = "") -> Iterator[str]:
    """Each leaf of the statistics as the page writes it: `steps[].node_id`. Status words are told once."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "status_counts":
                yield f"{path}{key}.success"
            else:
                yield from keys_of(item, f"{path}{key}.")
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item, f"{path.removesuffix('.')}[].")
    else:
        yield path.removesuffix(".")


def test_every_key_of_the_statistics_is_in_the_reference() -> None:
    """Of an answer with everything in it: errors, recoveries, GPUs, losses, what still runs."""
    make_store = runpy.run_path(str(ROOT / "tests" / "unit" / "report_samples.py"))["make_store"]
    stats = Query(make_store(400, losses=True)).stats(now_ns=2**62)
    told = set(re.findall(r"^\| `([^`]+)`", (DOCS / "reference" / "statistics.md").read_text("utf-8"), re.MULTILINE))
    given = {*keys_of(stats), *keys_of(empty_stats("one")), *keys_of(empty_stats())}
    assert given <= told, f"say in docs/reference/statistics.md what these mean, and their unit: {sorted(given - told)}"
    listed = {key.partition("[]")[0] for key in given if "[]" in key}
    gone = sorted(key for key in told - given if "[]" not in key or key.partition("[]")[0] in listed)
    assert not gone, f"docs/reference/statistics.md tells of keys that no answer has: {gone}"
