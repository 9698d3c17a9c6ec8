"""Files and folders: rights, room, and whether what is looked for stands in another folder."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from analytics_sdk.cli.doctor.finding import Finding
from analytics_sdk.config import MIN_FREE_BYTES
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.reporting.words import Words

FOLDERS_UP = 3
MOST_FOLDERS = 1_000
RECORD_ADVICE = (
    "record a program with `analytics-sdk run --loop pkg.mod:Class -- python app.py`, or put @track_workflow on a "
    "function; `analytics-sdk demo` shows what comes out"
)


def look_at_missing(file: Path) -> Iterator[Finding]:
    """A database that is not there: nothing was recorded yet, or it was recorded in another folder."""
    others = find_elsewhere(file)
    if not others:
        yield Finding("sink", True, f"nothing is recorded here yet: {file} is not there", RECORD_ADVICE)
        return
    shown = ", ".join(str(other) for other in others)
    yield Finding(
        "sink",
        False,
        f"{file} is not there, but {shown} is: a relative sink belongs to the folder that a program was started in",
        f"look at it with --db sqlite:///{others[0]}, and set sink to an absolute path",
    )


def find_elsewhere(file: Path) -> list[Path]:
    """Databases of ours, or journals for one, of the same name in folders above and below; the nearest first."""
    above = [folder / file.name for folder in list(file.parent.parents)[:FOLDERS_UP]]
    below = []
    for seen, (where, folders, names) in enumerate(os.walk(file.parent)):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if seen >= MOST_FOLDERS:
            break
        if Path(where) != file.parent and (file.name in names or f"{file.name}.journals" in folders):
            below.append(Path(where, file.name))
    return [place for place in [*below, *above] if _is_ours(place)][:3]


def _is_ours(file: Path) -> bool:
    if not file.is_file():
        return bool(find_journals(file.with_name(f"{file.name}.journals")))
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0.5)) as connection:
            asked = "SELECT count(*) FROM sqlite_master WHERE name LIKE '%analytics_sdk_schema'"
            return bool(connection.execute(asked).fetchone()[0])
    except sqlite3.Error:
        return False


def look_at_file(file: Path) -> Finding | None:
    """What keeps a SQLite file from being written, and what to do; None where nothing does."""
    if not file.parent.is_dir():
        return Finding("sink", False, f"the folder {file.parent} does not exist", "make it, or set sink elsewhere")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return Finding(
            "sink", False, f"the folder {file.parent} cannot be written", "allow it, or set sink to another place"
        )
    for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return Finding("sink", False, f"{path} cannot be written", f"allow it with chmod u+rw, chown: ls -l {path}")
    return None


def look_at_room(folder: Path, free_bytes: int | None = None) -> Iterator[Finding]:
    """Whether the disk is nearly full: journals stop there before the disk does. Nothing where there is room."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    words = Words()
    if free < MIN_FREE_BYTES:
        yield Finding(
            "disk",
            False,
            f"{words.size(free)} are free under {folder}; nothing is recorded below {words.size(MIN_FREE_BYTES)}",
            "make room, or set sink or journal_dir to another disk",
        )
    elif free < 2 * MIN_FREE_BYTES:
        yield Finding(
            "disk",
            True,
            f"{words.size(free)} are free under {folder}",
            f"make room soon: nothing is recorded below {words.size(MIN_FREE_BYTES)}",
        )
