"""Tables sort by what their cells say: numbers by size, dates by time, words by letter, and what is unknown last.

What the cells say is read back from their text alone, as a person would read it.
"""

import re
from collections.abc import Callable
from datetime import datetime

import pytest
from playwright.sync_api import Page

from browser.conftest import open_tables

SORT_EVERYTHING = """() => [...document.querySelectorAll("table")].flatMap((table) => {
  const name = table.closest("section").querySelector("h2").textContent;
  return [...table.tHead.rows[0].cells].flatMap((head, column) => [1, 2].map(() => {
    head.querySelector("button").click();
    const sorted = [...table.querySelectorAll("[aria-sort$='cending']")].map((one) => one.cellIndex);
    const texts = [...table.tBodies[0].rows].map((row) => row.cells[column].innerText);
    return [`${name} / ${head.innerText}`, head.getAttribute("aria-sort"), sorted.join() === `${column}`, texts];
  }));
})"""
"""(place, direction, whether this column alone is said to be sorted, texts), twice for each column of each table."""

SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86_400, "j": 86_400}
BYTES = {f"{prefix}{unit}": 1024**power for power, prefix in enumerate(("", "Ki", "Mi", "Gi")) for unit in "Bo"}
MONTHS = {"jan": 1, "fév": 2, "feb": 2, "mar": 3, "avr": 4, "apr": 4, "mai": 5, "may": 5, "juin": 6, "jun": 6}
MONTHS |= {"juil": 7, "jul": 7, "aoû": 8, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "déc": 12, "dec": 12}
NUMBER = r"\d+(?:[,.\s]\d{3})*(?:[.,]\d+)?"

Open = Callable[..., Page]


def read_number(text: str, language: str) -> float:
    """A number as it is written in a language: `1,204.5` or `1 204,5`."""
    text = re.sub(r"\s", "", text)
    return float(text.replace(",", ".") if language == "fr" else text.replace(",", ""))


def read_moment(text: str) -> float | None:
    """`17 Nov 2026, 14:05` as seconds of the epoch, or None."""
    found = re.fullmatch(r"(\d+) ([^\W\d]{3,4})\w*\.? (\d{4}), (\d+):(\d+)(?::(\d+))?", text)
    if found is None:
        return None
    month = next(number for name, number in MONTHS.items() if found[2].lower().startswith(name))
    return datetime(int(found[3]), month, int(found[1]), *(int(part or 0) for part in found.groups()[3:])).timestamp()


def read_value(text: str, language: str) -> float | None:
    """What a cell says, if it says a quantity: a moment, percent, duration, size or count."""
    plain = re.sub(r"\s", " ", text).strip()
    if (moment := read_moment(plain)) is not None:
        return moment
    plain = re.sub(r" \(.*\)$", "", plain)  # because a percent may have what it rests on beside it
    if bound := re.fullmatch(rf"([<>]) ({NUMBER}) %", plain):
        return read_number(bound[2], language) + (0.01 if bound[1] == ">" else -0.01)
    units = SECONDS | BYTES | {"%": 1, "": 1}
    parts = re.findall(rf"({NUMBER}) ?({'|'.join(sorted(units, key=len, reverse=True))})(?: |$)", plain)
    if not parts or " ".join(f"{n} {unit}".strip() for n, unit in parts) != plain:
        return None
    return sum(read_number(n, language) * units[unit] for n, unit in parts)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("kind", [20, "mixed", "hostile"])
def test_every_column_sorts_by_what_it_says(open_report: Open, kind: int | str, language: str) -> None:
    """Upwards and downwards; the header says which, and no other header says that it is sorted."""
    page = open_report(kind, language)
    open_tables(page)
    quantities = 0
    for place, direction, is_only, texts in page.evaluate(SORT_EVERYTHING):
        assert (direction in ("ascending", "descending"), is_only) == (True, True), place
        known = [text for text in texts if text.strip() != "-"]
        assert texts == known + [text for text in texts if text.strip() == "-"], f"{place}: unknown is not last"
        values = [read_value(text, language) for text in known]
        keys = [text.casefold() for text in known] if None in values else values
        if kind != "hostile" or None not in values:  # because what is drawn of those names is not all of them
            assert keys == sorted(keys, reverse=direction == "descending"), f"{place} {direction}"
        quantities += bool(values) and None not in values
    assert quantities > 60 or kind == "hostile"


@pytest.mark.parametrize("language", ["en", "fr"])
def test_it_sorts_durations_of_every_size_percents_and_dates(open_report: Open, language: str) -> None:
    """The samples hold what a sort by letters would get wrong."""
    page = open_report("mixed", language)
    open_tables(page)
    columns = page.evaluate(SORT_EVERYTHING)
    misled = set()
    for place, _, _, texts in columns:
        by_letter = sorted(texts)
        if texts not in (by_letter, by_letter[::-1]):
            misled.add(place)
    assert len(misled) >= 6
    assert any("-" in texts for *_, texts in columns)


def test_the_first_press_shows_the_largest_numbers_and_the_first_letters(open_report: Open) -> None:
    page = open_report(20)
    workflows = page.get_by_role("table").first
    for head, direction in (("Workflow", "ascending"), ("Executions", "descending")):
        workflows.get_by_role("button", name=head).click()
        assert workflows.get_by_role("columnheader", name=head).get_attribute("aria-sort") == direction


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("1,204", "en", 1204),
        ("1\u202f204", "fr", 1204),
        ("93.8 % (15 of 16, 72 - 99 %)", "en", 93.8),
        ("93,8\u00a0%", "fr", 93.8),
        ("> 99.9 %", "en", 99.91),
        ("3 min 05 s", "fr", 185),
        ("1,25 s", "fr", 1.25),
        ("2 j 03 h", "fr", 183_600),
        ("1.50 GiB", "en", 1.5 * 2**30),
        ("17 Nov 2026, 14:05", "en", datetime(2026, 11, 17, 14, 5).timestamp()),
        ("1 févr. 2026, 14:05:09", "fr", datetime(2026, 2, 1, 14, 5, 9).timestamp()),
        ("robot-1", "en", None),
        ("-", "en", None),
    ],
)
def test_cells_are_read_as_a_person_reads_them(text: str, language: str, value: float | None) -> None:
    """What the other tests rest on."""
    assert read_value(text, language) == (value if value is None else pytest.approx(value))
