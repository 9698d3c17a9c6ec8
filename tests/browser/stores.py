"""Stores whose reports are read in a browser: ordinary weeks, and one full of what nobody names a thing."""

import itertools
from collections.abc import Iterator
from functools import cache

from report_samples import NOW_NS, SECOND_NS, make_data, make_store

from analytics_sdk.reporting.html import render_html
from analytics_sdk.sinks.base import (
    EXECUTION_COLUMNS,
    RECOVERY_COLUMNS,
    STEP_COLUMNS,
    Batch,
    JournalIdentity,
    Row,
)
from analytics_sdk.sinks.memory import MemorySink

HOUR_NS = 3600 * SECOND_NS

HOSTILE_IDS = (
    "<script>window.hurt = 1</script>",
    "\"'><img src=x onerror='window.hurt = 1'>",
    "</style></title></table><svg onload='window.hurt = 1'>",
    "{{7*7}}${7*7}<!-- ]]>",
    "=cmd|'/C calc'!A0",
    "\x1b[31mred\x1b[0m\x00\x07\r\n\ttabs",
    "\u202egnorw eht morf\u202c \u200b\u200d\ufeffnothing\u2066",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \U0001f9ea\U0001f469\u200d\U0001f680 Z\u0351\u0343\u036co",
    "W" * 3_000,
    "a-very-long-name-with-hyphens-" * 60,
    " ",
)


def row_of(columns: tuple[str, ...], **values: object) -> Row:
    """A row by the names of its columns; what is not named is None."""
    unknown = set(values) - set(columns)
    assert not unknown, unknown
    return tuple(values.get(column) for column in columns)


def make_hostile_store() -> MemorySink:
    """Every hostile id as workflow, execution, node, action, error, strategy and host; the odd ones fail."""
    batch = Batch(JournalIdentity("f" * 32, HOSTILE_IDS[0], 1, NOW_NS - 3 * HOUR_NS), 0, 10**6)
    seq = itertools.count(1)
    for i, name in enumerate(HOSTILE_IDS):
        _add_hostile(batch, seq, name, NOW_NS - HOUR_NS - i * 60 * SECOND_NS, fails=bool(i % 2))
    sink = MemorySink()
    sink.write(batch)
    return sink


def _add_hostile(batch: Batch, seq: Iterator[int], name: str, at_ns: int, *, fails: bool) -> None:
    error = {"error_type": name, "error_message": name} if fails else {}
    ran = {
        "execution_id": name,
        "workflow_id": name,
        "started_at_ns": at_ns,
        "status": "failed" if fails else "success",
        "ended_at_ns": at_ns + SECOND_NS,
        "duration_ns": SECOND_NS,
    }
    counts = {"total_steps": 1, "steps_completed": 1, "steps_failed": int(fails), "steps_recovered": 0}
    batch.new_executions.append(row_of(EXECUTION_COLUMNS, seq=next(seq), end_seq=next(seq), **ran, **counts, **error))
    step = {"step_no": 1, "node_id": name, "action_type": name}
    batch.new_steps.append(row_of(STEP_COLUMNS, seq=next(seq), end_seq=next(seq), **ran, **step, **error))
    tried = {key: ran[key] for key in ("execution_id", "workflow_id", "started_at_ns")}
    tried |= {"step_no": 1, "node_id": name, "strategy": name, "success": not fails, "duration_ns": SECOND_NS // 2}
    batch.recoveries.append(row_of(RECOVERY_COLUMNS, seq=next(seq), error_message=name, **tried))


def make_mixed_store() -> MemorySink:
    """Three hundred executions, losses, and two that still run and have neither end nor duration."""
    sink = make_store(300, losses=True)
    batch = Batch(JournalIdentity("e" * 32, "robot-2", 7, NOW_NS - HOUR_NS), 0, 10**6)
    for i in (1, 2):
        began = {"execution_id": f"running-{i}", "workflow_id": "nightly_sync", "status": "running"}
        batch.new_executions.append(
            row_of(EXECUTION_COLUMNS, seq=i, started_at_ns=NOW_NS - i * 60 * SECOND_NS, total_steps=3, **began)
        )
    sink.write(batch)
    return sink


@cache
def make_page(kind: int | str, language: str = "en") -> str:
    """The HTML of a report over so many executions, over the "hostile" store, or over the "mixed" one."""
    makers = {"hostile": make_hostile_store, "mixed": make_mixed_store}
    store = makers[kind]() if isinstance(kind, str) else make_store(kind)
    title = HOSTILE_IDS[0] if kind == "hostile" else "A week of the shop"
    return render_html(make_data(0, store=store, title=title, language=language))
