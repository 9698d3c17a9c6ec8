"""The pages of faults name a test for each promise, and every one of those tests exists; no fault is left out."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OVERVIEW = ROOT / "docs" / "faults" / "every-fault.md"
PAGES = sorted({*OVERVIEW.parent.glob("*.md")} - {OVERVIEW})
FAULTS, RULES = 62, 20
RESULTS = {"held", "held with a limit", "not held", "does not apply"}
_LINE = re.compile(r"^\| (\d+) \| .+ \| ([a-z ]+)(: .+)? \| \[.+\]\((.+\.md)\) \|$", re.MULTILINE)
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


def lines_of(heading: str) -> list[tuple[int, str, str, str]]:
    """The lines below a heading of the overview: number, result, why, page."""
    part = OVERVIEW.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    found = [(int(number), result, why, page) for number, result, why, page in _LINE.findall(part)]
    assert len(found) == part.count("\n| ") - 1, "a line of the table is not read"  # the titles are a line too
    return found


def told_on(page: str, heading: str) -> set[int]:
    """The numbers that a page tells of: in the first column of its tables, or as "Rule 4:" among what is not held."""
    text = (OVERVIEW.parent / page).read_text("utf-8")
    rules = text[text.index("\n## Rules") :] if "\n## Rules" in text else ""
    part = rules if heading == "Rules of security" else text.removesuffix(rules)
    told = {int(n) for cell in re.findall(r"^\| ([\d, ]+) \|", part, re.MULTILINE) for n in cell.split(",")}
    return told | {int(n) for n in re.findall(r"^- Rule (\d+):", part, re.MULTILINE)}


@pytest.mark.parametrize(("heading", "n"), [("Faults", FAULTS), ("Rules of security", RULES)])
def test_every_number_has_one_line_a_result_and_a_page_that_tells_of_it(heading: str, n: int) -> None:
    """What is held in part, or not, says why."""
    lines = lines_of(heading)
    assert [number for number, *_ in lines] == list(range(1, n + 1))
    for number, result, why, page in lines:
        assert result in RESULTS, f"{number}: {result}"
        assert bool(why) is (result != "held"), f"{number} says {why!r}"
        assert number in told_on(page, heading), f"{page} does not tell of {number}"
