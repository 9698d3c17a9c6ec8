"""Which journals stand in a folder, by the names of its files."""

import os
import re
from pathlib import Path

FILE_NAME = re.compile(r"([0-9a-f]{32})(?:\.owner|-(\d{8})\.seg)")
"""An owner file or a segment: the journal's id, and the segment's number."""


def list_journals(folder: Path) -> dict[str, set[int]]:
    """The journals in a folder by their ids, each with the numbers of its segments; empty where there is none."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found: dict[str, set[int]] = {}
    for name in names:
        if match := FILE_NAME.fullmatch(name):
            segments = found.setdefault(match[1], set())
            if match[2]:
                segments.add(int(match[2]))
    return found


def find_journals(folder: Path) -> list[str]:
    """The ids of the journals in a folder, in no meaningful order; empty where there is no such folder."""
    return sorted(list_journals(folder))
