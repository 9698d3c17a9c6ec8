"""The program itself: its version, others of it, the Python that the shell would run, and the GPUs."""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, version

from analytics_sdk.cli.doctor.finding import Finding

DISTRIBUTION = "analytics-sdk"
ANSWER_LIMIT_SECONDS = 10.0
_ASK = f"import importlib.metadata as m; print(m.version({DISTRIBUTION!r}))"


def look_at_program() -> Iterator[Finding]:
    """The versions that matter, whether there is more than one of ours, and the GPUs, or why there are none."""
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield Finding("program", True, f"{DISTRIBUTION} {version(DISTRIBUTION)}, {python}")
    yield from _look_at_installs()
    yield from _look_at_other_python()
    from analytics_sdk.capture.gpus import describe_gpus

    names, reason = describe_gpus()
    yield Finding("GPU", True, ", ".join(names) if names else f"none ({reason})")


def _look_at_installs() -> Iterator[Finding]:
    """Several of us on one `sys.path`: the first is imported, which need not be the one that was upgraded."""
    found = {str(one.locate_file("")): one.version for one in distributions(name=DISTRIBUTION)}
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{number} in {place}" for place, number in found.items())
        yield Finding(
            "program",
            False,
            f"this Python finds {len(found)} of us, and runs the first: {shown}",
            f"uninstall all with `{sys.executable} -m pip uninstall {DISTRIBUTION}`, then install one",
        )


def _look_at_other_python() -> Iterator[Finding]:
    """Whether `python`, as the shell finds it, is another one than ours, and has another version of us, or none."""
    other = shutil.which("python") or shutil.which("python3")
    if other is None or os.path.dirname(os.path.abspath(other)) == os.path.dirname(os.path.abspath(sys.executable)):
        return
    try:
        done = subprocess.run(
            [other, "-c", _ASK], capture_output=True, text=True, timeout=ANSWER_LIMIT_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # because what cannot be run records nothing either
    theirs = done.stdout.strip() if done.returncode == 0 else None
    if theirs is None:
        advice = f"install it there, or run programs with {sys.executable}"
        yield Finding("python", True, f"the `python` of this shell, {other}, has no {DISTRIBUTION}", advice)
    elif theirs != version(DISTRIBUTION):
        yield Finding(
            "python",
            False,
            f"the `python` of this shell, {other}, has {DISTRIBUTION} {theirs}, and this is {version(DISTRIBUTION)}",
            f"run `{other} -m pip install {DISTRIBUTION}=={version(DISTRIBUTION)}`, or programs with {sys.executable}",
        )
