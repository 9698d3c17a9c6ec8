"""What keeps a journal from being delivered, in a small file beside it, so that another process can tell.

Whoever delivers writes it when the problem changes and removes it when delivery works. Nothing depends on it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from analytics_sdk.journal.owner import try_unlink
from analytics_sdk.journal.private import open_private

SUFFIX = ".problem"
_LIMIT_BYTES = 64 << 10


class Problem(msgspec.Struct, frozen=True):
    """What a shipper was told by its sinks, and when."""

    at_ns: int
    pid: int
    problems: list[str]


def note_problem(folder: Path, name: str, problems: Sequence[str], at_ns: int) -> None:
    """Keep what keeps `name` from being delivered; no problems remove the note. Never raises."""
    path = folder / f"{name}{SUFFIX}"
    if not problems:
        try_unlink(path)
        return
    draft = folder / f"{name}{SUFFIX}.tmp"
    try:
        fd = open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(fd, msgspec.json.encode(Problem(at_ns, os.getpid(), list(problems))))
        finally:
            os.close(fd)
        os.replace(draft, path)
    except OSError:
        try_unlink(draft)  # because it is for people who look, and delivery is told of in the log as well


def read_problems(folder: Path) -> list[Problem]:
    """What keeps the journals of a folder from being delivered, the newest first."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
                found.append(msgspec.json.decode(file.read(_LIMIT_BYTES), type=Problem))
        except (OSError, msgspec.MsgspecError, RecursionError):
            continue  # because it was removed meanwhile, or is none of ours
    return sorted(found, key=lambda problem: -problem.at_ns)
