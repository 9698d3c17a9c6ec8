"""The pages that are made from the code: settings, command line, tables. `python docs/pages.py` writes them anew.

`PAGES` gives each page's text by its name under docs/; the tests compare it with the file.
"""

import enum
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from analytics_sdk.cli.app import app
from analytics_sdk.clock import SystemClock
from analytics_sdk.config import ALIASES, SETTINGS
from analytics_sdk.sinks.schema import DEFAULT_SCHEMA, SCHEMA_VERSION, tables

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/pages.py from the code: change it there. -->"
NOT_RUN = "<!-- not run: what it works on is yours -->"

# ---------------------------------------------------------------- settings

SETTINGS_HEAD = f"""\
{MADE}

# Settings

An argument of `configure` or `get_analytics_system` wins over the environment (`ANALYTICS_SDK_` and the name in
capitals), that over `[tool.analytics_sdk]` in the nearest pyproject.toml, that over the default. Nothing is read at
import. What is left out of a later call keeps its value.

```python
from analytics_sdk import configure

configure(sink="sqlite:///analytics.db", flush_interval_seconds=0.5)
```

The same in the environment and in pyproject.toml:

```sh
export ANALYTICS_SDK_SINK="sqlite:///analytics.db"
export ANALYTICS_SDK_JOURNAL_MAX_BYTES="512 MiB"
analytics-sdk doctor
```

```toml
[tool.analytics_sdk]
sink = "sqlite:///analytics.db"
journal_max_bytes = "512 MiB"
```

| name | default | |
|---|---|---|"""
SETTINGS_FOOT = """
Where the default is empty, it follows from the sink: see [where things lie](operating.md#where-things-lie).

The environment has one more: `ANALYTICS_SDK_DISABLED=true` turns everything off and beats every argument.

A setting that you gave and that cannot work is an error when you configure. A default that cannot work is one warning
in the log of `analytics_sdk`, and your program goes on.

`analytics-sdk doctor` shows what is in effect, and where each value comes from.
"""


def settings_page() -> str:
    """The one table of settings."""
    rows = []
    for setting in SETTINGS.values():
        names = [setting.name, *(alias for alias, name in ALIASES.items() if name == setting.name)]
        shown = " or ".join(f"`{name}`" for name in names)
        rows.append(f"| {shown} | {_shown_default(setting.default)} | {setting.meaning} |")
    return "\n".join([SETTINGS_HEAD, *rows, SETTINGS_FOOT])


def _shown_default(default: object) -> str:
    """A default as a table cell."""
    if default is None:
        return ""
    if isinstance(default, SystemClock):
        return "the machine's"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int) and default >= 1 << 30:
        return f"{default >> 30} GiB"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


# ---------------------------------------------------------------- command line

CLI_HEAD = f"""\
{MADE}

# Command line

What reads never makes anything, not even a missing database, and says what has not been delivered yet. `--db URL` names
the database; without it `ANALYTICS_SDK_SINK`, then pyproject.toml, then `sqlite:///analytics.db`. Stretches of time are
written `30m`, `24h`, `7d`, `2w`. Output is plain in a pipe, and never coloured with `NO_COLOR`.

| exit code | means |
|---|---|
| 0 | fine |
| 1 | the answer is no: nothing recorded, something wrong, something not delivered |
| 2 | the command was used wrongly |
| 3 | something around it is missing or broken |

An error is two lines on stderr: what happened, and what to do. With `--json` the answer is one JSON object on stdout;
what is not known is `null`. The keys of `stats --json` are those of [the statistics](reference/statistics.md), and
`undelivered` beside them."""


def cli_page() -> str:
    """Every command with its help, arguments and options, in the order of `analytics-sdk --help`."""
    parts = [CLI_HEAD]
    for name, info in _commands(app, "analytics-sdk"):
        parts += [f"## {name}", *_command_parts(name, info)]
    return "\n\n".join(parts) + "\n"


def _commands(group: typer.Typer, path: str) -> Iterator[tuple[str, Any]]:
    for info in group.registered_commands:
        if not info.hidden:
            yield f"{path} {info.name or info.callback.__name__}", info
    for below in group.registered_groups:
        yield from _commands(below.typer_instance, f"{path} {below.name}")


def _command_parts(name: str, info: Any) -> Iterator[str]:
    """The help as it stands, then a table of what may be typed."""
    for text in (info.help or inspect.getdoc(info.callback), info.epilog):
        yield from _paragraphs(text or "")
    parameters = list(_parameters(info.callback))
    arguments = [shown for shown, _, is_argument in parameters if is_argument]
    yield f"Usage: `{' '.join([name, '[OPTIONS]', *arguments])}`"
    rows = [f"| `{_in_cell(shown)}` | {_in_cell(said)} |" for shown, said, _ in parameters]
    yield "\n".join(["| argument or option | |", "|---|---|", *rows])


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text. What stands indented is a list: commands become a block, the rest a list of codes."""
    for paragraph in inspect.cleandoc(text).replace("\b\n", "").split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        plain = [line for line in lines if not line.startswith("  ")]
        listed = [line.strip() for line in lines if line.startswith("  ")]
        if plain:
            yield "\n".join(plain)
        if listed and listed[0].startswith("analytics-sdk"):
            yield "\n".join([NOT_RUN, "```sh", *listed, "```"])
        elif listed:
            yield "\n".join("- `{}` {}".format(*re.split(r"\s+", line, maxsplit=1)) for line in listed)


def _parameters(callback: Callable[..., Any]) -> Iterator[tuple[str, str, bool]]:
    """(how it is typed, what it means, whether it is an argument) of each parameter, from the function's signature."""
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = get_args(hints[name])[:2]
        if getattr(info, "hidden", False):
            continue
        is_argument = isinstance(info, typer.models.ArgumentInfo)
        names = info.param_decls or ((name,) if is_argument else (f"--{name.replace('_', '-')}",))
        value = info.metavar or (_optional(name, parameter) if is_argument else _value_of(kind, name.upper()))
        shown = value if is_argument else ", ".join(names) + ("" if bool in (kind, *get_args(kind)) else f" {value}")
        default = parameter.default
        told = "[default:" in info.help or default in (parameter.empty, None, False)
        yield shown, info.help + ("" if told else f" [default: {getattr(default, 'value', default)}]"), is_argument


def _optional(name: str, parameter: inspect.Parameter) -> str:
    return name.upper() if parameter.default is parameter.empty else f"[{name.upper()}]"


def _value_of(kind: Any, otherwise: str) -> str:
    """What stands for a value in a usage line."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, enum.Enum):
            return "|".join(str(choice.value) for choice in one)
        if one in (int, float):
            return "N"
    return "TEXT" if str in (kind, *get_args(kind)) else otherwise


def _in_cell(text: str) -> str:
    """Without bars, because GitHub and the site disagree on how to write one in a table."""
    return text.replace("|", ", ")


# ---------------------------------------------------------------- tables

TABLES_HEAD = f"""\
{MADE}

# Tables

The database is yours: read it with any SQL. The first delivery makes the tables in a SQLite file; a command makes them
anywhere:

```sh
analytics-sdk db upgrade
```

These are the tables of schema version {SCHEMA_VERSION}. On SQLite they have
the bare names below; on a server they stand in the schema `{DEFAULT_SCHEMA}`. The settings `schema` and `table_prefix`
change that.

```sql
SELECT workflow_id, status, count(*) FROM executions GROUP BY workflow_id, status;
SELECT node_id, avg(duration_ns) / 1e6 AS average_ms FROM steps WHERE status = 'success' GROUP BY node_id;
```

- Times are whole nanoseconds since 1970 in UTC; durations are whole nanoseconds, from a clock that never jumps.
- Statuses are the words of [how an ending becomes a status](../how-it-works.md#how-an-ending-becomes-a-status).
- `tags` and `gpus` are JSON text. Unknown is NULL.
- `source` and `seq` are the key: which journal a row came from (the row of `journal_positions`), and where in it.
- `rollups.cells` is compressed and belongs to the program: ask [`stats`](statistics.md) instead of reading it.
- Read as much as you like. Write nothing: the program trusts what stands there."""

TABLE_MEANINGS = {
    "executions": "One run of a workflow.",
    "steps": "One step of a run.",
    "recoveries": "One attempt to heal.",
    "resource_samples": "One look at CPU, memory and GPUs.",
    "losses": "What is known to be missing, counted by kind and reason.",
    "journal_positions": "How far each journal has been delivered.",
    "rollups": "Counts and histograms by workflow, hour and journal, for fast answers.",
    "archive_files": "The files of the archive that hold rows which stood here.",
    "analytics_sdk_schema": "The version of these tables.",
}

COLUMN_MEANINGS = {
    "source": "key: which journal",
    "seq": "key: where in the journal",
    "execution_id": "a time-ordered UUID, or the id that the hooks were given; on a step or recovery NULL outside any",
    "workflow_id": "what was run",
    "status": "how it ended",
    "started_at_ns": "when it began",
    "ended_at_ns": "when it ended; NULL while it runs or where nobody can know",
    "duration_ns": "how long it took",
    "total_steps": "how many steps were announced",
    "steps_completed": "top-level steps that ended well, recovered ones too",
    "steps_failed": "top-level steps that failed or timed out and were not recovered",
    "steps_recovered": "recoveries that worked",
    "error_type": "the exception's class",
    "error_message": "its message, cut at 8,192 characters",
    "parent_execution_id": "the execution that this one ran inside of",
    "parent_step_no": "the step that this one ran inside of",
    "tags": "JSON text: what the `tags` selector gave",
    "end_seq": "where in the journal its end stands",
    "host": "the machine's name",
    "pid": "the process",
    "late": "1 where its end was delivered later than its beginning",
    "last_seq": "where in the journal the last word about it stands",
    "step_no": "counts from 1 within its execution, in order of beginning",
    "node_id": "which step of the workflow",
    "action_type": "what kind of step",
    "first_status": "how it had ended before it was recovered",
    "heal_seq": "where in the journal the recovery stands that healed it",
    "strategy": "what was tried",
    "success": "whether it worked",
    "verdict": "whether the steps after it passed: `verified`, `refuted`, NULL where that cannot be known",
    "verdict_seq": "where in the journal the verdict stands",
    "at_ns": "when it was looked at, or applied",
    "cpu_percent": "CPU of this process and its children, percent of one core",
    "rss_bytes": "memory of this process and its children",
    "read_bytes": "read from disks since the process began",
    "written_bytes": "written to disks since the process began",
    "host_cpu_percent": "CPU of the machine, percent of all cores",
    "host_memory_used_bytes": "memory of the machine in use",
    "host_memory_total_bytes": "memory of the machine",
    "elapsed_ns": "since the sample before; NULL for the first of a process",
    "executions": "how many executions ran in the process",
    "running": "JSON text: which workflows and steps ran, each with its share of the time since the sample before",
    "gpus": "JSON text: a list, one entry a GPU",
    "kind": "what was lost",
    "reason": "why",
    "n": "how many",
    "first_at_ns": "when the first was lost",
    "last_at_ns": "when the last was lost",
    "journal_id": "the journal's name, 32 hex digits",
    "position": "so many bytes of the journal have been delivered",
    "rollup_position": "so many bytes of it have been counted in rollups",
    "settled": "1 when its program has ended and all of it has been delivered",
    "machine_id": "which machine",
    "boot_id": "which start of the machine",
    "level": "the length of the bucket: `hour`; `day` and `week` are sums of hours, kept besides",
    "bucket_start_ns": "when the bucket begins",
    "cells": "compressed counts and histograms",
    "path": "where the file stands in the archive's folder",
    "table_name": "whose rows it holds",
    "day": "the UTC day on which they began",
    "rows": "how many",
    "first_started_at_ns": "when the first of them began",
    "last_started_at_ns": "when the last of them began",
    "sha256": "the checksum of the file",
    "bytes": "its size",
    "written_at_ns": "when its rows were deleted here; NULL while it is being written",
    "version": "the version of the tables",
    "applied_at_ns": "when they were brought to it",
}


def tables_page() -> str:
    """Every table with its columns."""
    parts = [TABLES_HEAD]
    for table in tables(None, None).metadata.tables.values():
        rows = [
            f"| `{column.name}` | {str(column.type).lower()} | {_column_remark(column)} |" for column in table.columns
        ]
        heading = [f"## {table.name}", TABLE_MEANINGS[table.name]]
        parts += [*heading, "\n".join(["| column | type | |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _column_remark(column: Any) -> str:
    said = COLUMN_MEANINGS.get(column.name, "")
    return f"{said}; never NULL" if said and not column.nullable and not column.primary_key else said


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "reference/tables.md": tables_page,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).parent.mkdir(exist_ok=True)
        (HERE / page).write_text(make(), "utf-8")
