"""What turns recording off, and settings that somebody wrote and that mean nothing."""

import ast
import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from analytics_sdk.cli.doctor.finding import Finding
from analytics_sdk.cli.faults import DEBUG_VARIABLE
from analytics_sdk.cli.run import VARIABLE
from analytics_sdk.config import ALIASES, ENVIRONMENT_PREFIX, SETTINGS, find_pyproject

DISABLED = f"{ENVIRONMENT_PREFIX}DISABLED"
MOST_FILES = 2_000
MOST_BYTES = 1_000_000
_SKIPPED = {"node_modules", "site-packages", "__pycache__", "build", "dist", "venv", "env"}
_SWITCHES = {"configure", "get_analytics_integration"}


def look_at_switch() -> Iterator[Finding]:
    """Whether something turns us off, and what was meant to."""
    word = os.environ.get(DISABLED, "")
    if word.strip().lower() == "true":
        advice = f"nothing is recorded by programs started from here; unset {DISABLED} to record"
        yield Finding("switch", False, f"off: the environment says {DISABLED}=true", advice)
    elif word.strip():
        yield Finding("switch", True, f"on: {DISABLED}={word} turns nothing off, only `true` does")
    else:
        yield Finding("switch", True, "on")
    yield from _look_at_pyproject()
    yield from _look_at_variables()
    for place in find_switches(Path.cwd()):
        yield Finding(
            "switch",
            True,
            f"{place} turns recording off for the program that runs it: enabled=False",
            "take it out, or pass True, if that program is to be recorded",
        )


def _look_at_pyproject() -> Iterator[Finding]:
    file, section = find_pyproject()
    for key in sorted(set(section) - set(SETTINGS) - set(ALIASES) - {"instrument"}):
        if key in ("enabled", "disabled"):
            advice = f"take it out; what turns recording off is {DISABLED}=true in the environment"
        else:
            near = get_close_matches(key, [*SETTINGS, *ALIASES, "instrument"], n=1)
            advice = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(SETTINGS)}"
        yield Finding("settings", False, f"{key} in [tool.analytics_sdk] of {file} means nothing", advice)


def _look_at_variables() -> Iterator[Finding]:
    """Variables with our prefix that nobody reads. Their values are not shown, because one may be a password."""
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in SETTINGS if name != "clock"}
    known |= {DISABLED, DEBUG_VARIABLE, VARIABLE}
    for name in sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known):
        near = get_close_matches(name, sorted(known - {VARIABLE}), n=1)
        advice = f"did you mean {near[0]}?" if near else "unset it"
        yield Finding("settings", False, f"the variable {name} means nothing", advice)


def find_switches(folder: Path) -> list[str]:
    """`FILE:LINE` of each call below a folder that turns recording off in code. Files are read, never run."""
    found = []
    for path in _python_files(folder):
        try:
            text = path.read_text("utf-8") if path.stat().st_size <= MOST_BYTES else ""
            if "analytics_sdk" not in text or "enabled" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and _turns_off(node):
                    found.append(f"{path.relative_to(folder)}:{node.lineno}")
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue  # because it is somebody's file, and need not be one that can be read
    return found


def _turns_off(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    value = values.get("enabled", call.args[0] if call.args else None)
    return name in _SWITCHES and isinstance(value, ast.Constant) and value.value is False


def _python_files(folder: Path) -> Iterator[Path]:
    """The first so many Python files of a project, without what was installed into it, and without its tests."""
    left = MOST_FILES
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            one
            for one in folders
            if one not in _SKIPPED and not one.startswith((".", "test")) and not _is_venv(where, one)
        )
        for name in sorted(names):
            left -= 1
            if left < 0:
                return
            if name.endswith(".py"):
                yield Path(where, name)


def _is_venv(where: str, name: str) -> bool:
    return os.path.exists(os.path.join(where, name, "pyvenv.cfg"))
