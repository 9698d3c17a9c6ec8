"""What the commands print: tables that fit the terminal, plain lines in a pipe, stored text made inert."""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from analytics_sdk.reporting.words import Words, make_inert

MIN_COLUMN = 8
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column of a table. `flexible` may be shortened in the middle to fit, as ids and messages can."""

    title: str
    right: bool = False
    flexible: bool = False


def counted(n: int, noun: str) -> str:
    """`1 record`, `1,204 records`."""
    return f"{Words().count(n)} {noun}" + ("" if n == 1 else "s")


def width_of(text: str) -> int:
    """How many cells a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shorten(text: str, width: int) -> str:
    """The text in at most `width` cells, cut in the middle, because ids differ at their ends."""
    if width_of(text) <= width:
        return text
    tail_width = (width - 1) // 2
    head, tail = "", ""
    for char in text:
        if width_of(head + char) > width - 1 - tail_width:
            break
        head += char
    for char in reversed(text):
        if width_of(char + tail) > tail_width:
            break
        tail = char + tail
    return f"{head}…{tail}"


def table_lines(columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int | None) -> list[str]:
    """A table as lines, titles first. `width` is the terminal's, or None where nothing needs to fit."""
    cells = [[make_inert(str(cell)) for cell in row] for row in rows]
    widths = [max([width_of(column.title), *(width_of(row[at]) for row in cells)]) for at, column in enumerate(columns)]
    if width is not None:
        _narrow(widths, columns, width - len(_GAP) * (len(columns) - 1))
    return [
        _GAP.join(
            _pad(shorten(cell, size), size, column.right)
            for cell, size, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in [[column.title for column in columns], *cells]
    ]


def _narrow(widths: list[int], columns: Sequence[Column], room: int) -> None:
    """Take from the widest flexible column until all fit, or until none can give more."""
    while sum(widths) > room:
        giving = [at for at, column in enumerate(columns) if column.flexible and widths[at] > MIN_COLUMN]
        if not giving:
            return
        widths[max(giving, key=lambda at: widths[at])] -= 1


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def terminal_width() -> int | None:
    """How wide stdout is, or None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def emphasise(text: str) -> str:
    """Bold, where stdout is a terminal that may have it."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def print_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print a table under its title; nothing where there are no rows."""
    if not rows:
        return
    print()
    print(emphasise(title))
    for line in table_lines(columns, rows, terminal_width()):
        print(line)


def print_json(value: Any) -> None:
    """Print a value as JSON: unknown numbers as null, instants in ISO 8601."""
    print(json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False))


def to_json(value: Any) -> Any:
    """The value with only what JSON knows in it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | bool) else str(value)
