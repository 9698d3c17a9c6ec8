"""Programs of their own, for what cannot be done to the tests' process, and what they have left to deliver."""

import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks import make_sink


def write_program(code: str, folder: Path, name: str = "program.py") -> Path:
    """The file of a program, in that folder."""
    file = folder / name
    file.write_text(textwrap.dedent(code), "utf-8")
    return file


def run_program(
    code: str, folder: Path, *arguments: str, flags: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a text in a Python of its own, in that folder."""
    return subprocess.run(
        [sys.executable, *flags, str(write_program(code, folder)), *arguments],
        cwd=folder,
        env={**os.environ, "ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS": "20", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def ask_delivered(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Deliver what is left of the folder's default sink, and ask it something."""
    ship_once(folder / "analytics.db.journals", [lambda: make_sink(f"sqlite:///{folder / 'analytics.db'}")])
    with closing(sqlite3.connect(folder / "analytics.db")) as connection:
        return connection.execute(sql).fetchall()


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `run_program`, with all of Python's warnings."""
    return run_program(code, folder, flags=("-W", "default"), **environment)


def noise_of(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed besides Python's own warning that the *program's* threads and forks do not go together."""
    return re.sub(r".*DeprecationWarning: This process .* is multi-threaded.*\n(?:  .*\n)?", "", done.stderr)


def delivered(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """As `ask_delivered`, of a database that is whole."""
    found = ask_delivered(folder, sql)
    assert ask_delivered(folder, "pragma integrity_check") == [("ok",)]
    return found


STEPS = "select node_id, status, count(*) from steps group by 1, 2 order by 1, 2"
LOSSES = "select kind, reason, sum(n) from losses group by 1, 2 order by 1, 2"
STEPS_BY_SOURCE = "select node_id, status, count(*), count(distinct source) from steps group by 1, 2 order by 1"
EXECUTIONS = "select workflow_id, status, count(*) from executions group by 1, 2 order by 1"
