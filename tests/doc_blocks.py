"""The code blocks of the documentation: found, run in order in one folder a page, their output compared.

What a fence's language says:

    python            runs, in a process of its own
    python title="x"  is written to the file x, for a later block to run
    text              after a python block: what that block prints
    sh                runs, line after line, and stops at the first failure
    console           `$ command` runs, what follows is what it prints
    sql               runs in analytics.db of the page's folder
    toml              is read, and its settings must be settings of ours

`<!-- not run: reason -->` before a block keeps it from running; `shape` says what of an output may differ.
"""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from analytics_sdk.config import ALIASES, SETTINGS

LANGUAGES = {"python", "text", "sh", "console", "sql", "toml"}
POSTGRES = "postgresql://app@db.example/analytics"
"""Stands in the pages for a server; a real one takes its place."""

SHELL_WORDS = ("|", "||", "&&", "&", ">", "2>&1")
"""Behind these a line is no longer ours."""

_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?"
    r'^```(?P<language>[\w-]*)(?: +title="(?P<title>[^"]+)")?[^\n]*\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_DIFFERS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{1,2} \w+\.? \d{4}(, \d\d:\d\d(:\d\d)?)?( - (\d{1,2} \w+\.? \d{4}, )?\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\d[\d., ]* (ns|µs|ms|s|min|h)\b"), "DURATION"),
    (re.compile(r"\d[\d., ]* (bytes|[kKMGT]i?B)\b"), "SIZE"),
    (re.compile(r"(?<![\w.])/[\w./-]+/"), "FOLDER/"),
    (re.compile(r"\d+\.\d{3,}"), "FLOAT"),
    (re.compile(r"(< )?[\d.]+ %(?= of all time)"), "SHARE"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `reason` is why it does not run, or None."""

    language: str
    code: str
    title: str | None
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [Block(match["language"], match["code"], match["title"], match["reason"]) for match in _FENCE.finditer(text)]


def shape(text: str) -> list[str]:
    """The lines of an output without what differs from run to run: times, durations, shares of time, sizes, folders,
    widths."""
    for pattern, word in _DIFFERS:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def environment_of(folder: Path) -> dict[str, str]:
    """A stranger's environment: nothing of ours is set, and a fresh home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANALYTICS_SDK_", "PYTEST", "COV"))}
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {
        **kept,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": path,
        "LC_ALL": "C.UTF-8",
        "ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS": "60",  # because on a busy machine delivery may take longer than a second
    }


def run_page(page: Path, folder: Path, replaced: Mapping[str, str]) -> None:
    """Run the blocks of a page, top to bottom, as somebody would type them."""
    environment = environment_of(folder)
    shown = ""
    for shown_block in blocks_of(page):
        block = replace(shown_block, code=_replaced(shown_block.code, replaced))
        if block.reason is not None:
            continue
        if block.language == "text":
            assert shape(shown) == shape(block.code), f"{page.name} shows another output"
        elif block.title is not None:
            (folder / block.title).write_text(block.code, "utf-8")
        elif block.language == "console":
            for command, expected in _typed(block.code):
                assert shape(_run(["bash", "-c", command], folder, environment)) == shape(expected), command
        elif block.language == "sql":
            with closing(sqlite3.connect(f"file:{folder}/analytics.db?mode=ro", uri=True)) as database:
                for statement in block.code.split(";\n"):
                    database.execute(statement).fetchall()
        elif block.language == "toml":
            _check_settings(tomllib.loads(block.code))
        else:
            command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-W", "error"]
            code = [block.code] if block.language == "sh" else ["-c", block.code]
            shown = _run([*command, *code], folder, environment)


def _replaced(code: str, replaced: Mapping[str, str]) -> str:
    for name, value in replaced.items():
        code = code.replace(name, value)
    return code


def _typed(code: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block."""
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    if command[0] == sys.executable:
        assert done.stderr == "", f"{command[-1]}\n{done.stderr}"
    return done.stdout


def _check_settings(table: Mapping[str, object]) -> None:
    """Settings of ours that a TOML block shows exist, and their values can be used."""
    section = table.get("tool", {}).get("analytics_sdk", {})  # type: ignore[attr-defined]  # because TOML has any shape
    for name, value in section.items():
        if name != "instrument":
            SETTINGS[ALIASES.get(name, name)].parse(value)


def commands_of(page: Path) -> Iterator[list[str]]:
    """Every `analytics-sdk ...` that a page shows, as words, run or not; what a shell would do with the rest is cut."""
    for block in blocks_of(page):
        if block.language in ("sh", "console"):
            for line in block.code.splitlines():
                words = _words(line.removeprefix("$ ") if block.language == "console" else line)
                at = next((i for i, word in enumerate(words) if Path(word).name == "analytics-sdk"), None)
                if at is not None and (block.language == "sh" or line.startswith("$ ")):
                    yield list(takewhile(lambda word: word not in SHELL_WORDS, words[at + 1 :]))


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # because output in a console block is no shell
        return []
