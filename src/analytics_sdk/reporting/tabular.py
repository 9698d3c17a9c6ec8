"""A report for programs: JSON with all of its numbers, CSV with its executions. Standard library only."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from math import isfinite
from typing import Any

from analytics_sdk.query.results import ExecutionRow
from analytics_sdk.reporting.findings import write_sentences
from analytics_sdk.reporting.page import words_of
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.words import escape_hidden

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a spreadsheet read a cell as a formula, full-width forms too, because some fold them first."""


def _plain(value: object, zone: tzinfo | None) -> Any:
    """A value as JSON can say it: nan and infinities become null, instants are said in the report's zone."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), zone) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, zone) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, zone) for item in value]
    return value


def render_json(data: ReportData) -> str:
    """All numbers of a report, its keys always in the same order, unknown ones null.

    `numbers` is what `stats` answers, in seconds and percents; `*_ns` are integer nanoseconds since 1970 in UTC.
    """
    words = words_of(data)
    plain = _plain(data, words.zone)
    plain["start"], plain["end"] = (words.local(at).isoformat() for at in (data.start_ns, data.end_ns))
    plain["sentences"] = write_sentences(data, words)
    return escape_hidden(json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1)) + "\n"


def neutralise(text: str) -> str:
    """Text that no spreadsheet takes for a formula: a leading apostrophe where it could be one."""
    return f"'{text}" if text.lstrip(" \u00a0\u3000\ufeff\u200b").startswith(_FORMULA) else text


def render_csv(data: ReportData) -> str:
    """The executions of a report, newest first: one row each, a column for each tag. Numbers stay numbers.

    Beside the stored columns: the start as ISO 8601, the duration in seconds.
    """
    words = words_of(data)
    tags = sorted({tag for row in data.executions for tag in row.tags})
    names = [field.name for field in dataclasses.fields(ExecutionRow) if field.name != "tags"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = [*names, "started_at", "duration_seconds", *(f"tag.{tag}" for tag in tags)]
    writer.writerow([neutralise(column) for column in columns])
    for row in data.executions:
        seconds = None if row.duration_ns is None else row.duration_ns / 1e9
        values = [getattr(row, name) for name in names]
        values += [words.local(row.started_at_ns).isoformat(), seconds, *(row.tags.get(tag) for tag in tags)]
        writer.writerow([neutralise(value) if isinstance(value, str) else value for value in values])
    return out.getvalue()
