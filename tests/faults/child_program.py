"""Programs of their own, for what cannot be done to the tests' process, and what they have left to deliver."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

from analytics_sdk.shipper.once import ship_once
from analytics_sdk.sinks import make_sink


def run_program(
    code: str, folder: Path, *arguments: str, flags: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a text in a Python of its own, in that folder."""
    program = folder / "program.py"
    program.write_text(textwrap.dedent(code), "utf-8")
    return subprocess.run(
        [sys.executable, *flags, str(program), *arguments],
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


STEPS = "select node_id, status, count(*) from steps group by 1, 2 order by 1, 2"
LOSSES = "select kind, reason, sum(n) from losses group by 1, 2 order by 1, 2"
