"""The pages of faults name a test for each promise: every one of those tests exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "faults").glob("*.md"))
_NAMED = re.compile(r"`((?:tests/)?[\w/]+\.py)::(\w+)(?:\[[^\]`]*\])?`")


def names_of_tests(path: Path) -> set[str]:
    """The names of the test functions of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """A promise whose test was renamed or removed is no promise."""
    named = _NAMED.findall(page.read_text("utf-8"))
    assert named, f"{page.name} names no test"
    for path, name in named:
        file = ROOT / ("" if path.startswith("tests/") else "tests") / path
        assert file.is_file(), f"{page.name} names {path}, which is not there"
        assert name in names_of_tests(file), f"{page.name} names {path}::{name}, which is not there"
