"""What the commands print: tables that fit the terminal, plain lines in a pipe, stored text made inert."""

import codecs
import json
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from analytics_sdk.reporting.words import Words, escape_hidden, keep_units, make_inert

MIN_COLUMN = 8
MIN_WIDTH, MAX_WIDTH = 40, 300
_GAP = "  "
_PLAIN = {"…": "~", "µ": "u", "·": "?", "\u00a0": " ", "\u202f": " "}
_STYLED = re.compile("\x1b\\[[0-9;]*m")
_STYLES = {"bold": "1", "good": "32", "bad": "1;31", "note": "33"}


@dataclass(frozen=True)
class Column:
    """A column of a table. `flexible` may be shortened in the middle to fit, as ids and messages can; where that is
    not enough, columns go by `rank`, the highest first, and rank 0 never."""

    title: str
    right: bool = False
    flexible: bool = False
    rank: int = 0


def prepare_streams() -> None:
    """Have stdout and stderr replace what their encoding does not know, cell for cell, instead of raising."""
    codecs.register_error("analytics_sdk.plain", _replace)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="analytics_sdk.plain")


def _replace(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return "".join(_PLAIN.get(char, "?") for char in problem.object[problem.start : problem.end]), problem.end


def counted(n: int, noun: str) -> str:
    """`1 record`, `1,204 records`."""
    return f"{Words().count(n)} {noun}" + ("" if n == 1 else "s")


def width_of(text: str) -> int:
    """How many cells a text takes in a terminal; styles take none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in _STYLED.sub("", text)
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
    cells = [[column.title for column in columns], *([make_inert(str(cell)) for cell in row] for row in rows)]
    widths = [max(width_of(row[at]) for row in cells) for at in range(len(columns))]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _fit(widths, columns, width)
    return [
        _GAP.join(_pad(shorten(row[at], widths[at]), widths[at], columns[at].right) for at in kept).rstrip()
        for row in cells
    ]


def _fit(widths: list[int], columns: Sequence[Column], room: int) -> list[int]:
    """Which columns stay. Cells are taken from the widest flexible column, then whole columns by their rank."""
    kept = list(range(len(columns)))
    while True:
        over = sum(widths[at] for at in kept) + len(_GAP) * (len(kept) - 1) - room
        can_give = sum(max(0, widths[at] - MIN_COLUMN) for at in kept if columns[at].flexible)
        ranked = [at for at in kept if columns[at].rank]
        if over <= can_give or not ranked:
            break
        kept.remove(max(ranked, key=lambda at: columns[at].rank))
    for _ in range(max(0, min(over, can_give))):
        widest = max((at for at in kept if columns[at].flexible), key=lambda at: widths[at])
        widths[widest] -= 1
    return kept


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def terminal_width() -> int | None:
    """How wide to print on stdout, or None where it is no terminal."""
    if not is_terminal(sys.stdout):
        return None
    return max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))


def is_terminal(stream: Any) -> bool:
    """Whether somebody looks at a stream. Python has None for one that was closed before it started."""
    return stream is not None and stream.isatty()


def may_move(stream: Any) -> bool:
    """Whether a stream is a terminal on which lines can be drawn over."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def style(text: str, name: str) -> str:
    """The text in a style, where stdout is a terminal that may have it, or FORCE_COLOR asks for it."""
    if os.environ.get("NO_COLOR") or not (os.environ.get("FORCE_COLOR") or may_move(sys.stdout)):
        return text
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def emphasise(text: str) -> str:
    """Bold, where stdout may have it."""
    return style(text, "bold")


def print_wrapped(text: str, indent: int = 0, first: str = "", look: str | None = None) -> None:
    """Print a text that hangs under its first word, in as many lines as the terminal needs; one line in a pipe.

    `first` stands before it in the room of `indent`, `look` is the style of the text. What has no spaces, as paths and
    URLs, stays whole.
    """
    width = terminal_width()
    lines = [text]
    if width is not None and indent + width_of(text) > width:
        room = max(20, width - indent)
        wrapped = textwrap.wrap(keep_units(text), room, break_long_words=False, break_on_hyphens=False)
        lines = [line.replace("\u00a0", " ") for line in wrapped]
    first += " " * (indent - width_of(first))
    for line in lines:
        print(first + (style(line, look) if look else line))
        first = " " * indent
    sys.stdout.flush()


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
    knows_all = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    print(escape_hidden(json.dumps(to_json(value), indent=2, ensure_ascii=not knows_all, allow_nan=False)))


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
