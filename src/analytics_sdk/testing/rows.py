"""What was recorded, as a test wants to look at it: the columns of the tables, typed. Times are integer nanoseconds."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedExecution:
    """One execution. `status` is "running" until it has ended."""

    execution_id: str
    workflow_id: str
    status: str
    started_at_ns: int
    ended_at_ns: int | None
    duration_ns: int | None
    total_steps: int | None
    steps_completed: int
    steps_failed: int
    steps_recovered: int
    error_type: str | None
    error_message: str | None
    parent_execution_id: str | None
    parent_step_no: int | None
    tags: dict[str, str]
    host: str
    pid: int

    def __str__(self) -> str:
        return f"{self.workflow_id!r} {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedStep:
    """One step. `status` is "running" until it has ended; `execution_id` is None outside any execution."""

    execution_id: str | None
    workflow_id: str | None
    step_no: int
    parent_step_no: int | None
    node_id: str
    action_type: str | None
    status: str
    started_at_ns: int
    ended_at_ns: int | None
    duration_ns: int | None
    error_type: str | None
    error_message: str | None
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"{self.node_id!r} {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedRecovery:
    """One recovery attempt; `step_no` is the step that it belongs to, None where it belongs to the execution."""

    execution_id: str | None
    workflow_id: str | None
    step_no: int | None
    node_id: str | None
    strategy: str
    success: bool
    started_at_ns: int
    duration_ns: int
    error_message: str | None
    tags: dict[str, str]

    def __str__(self) -> str:
        of = "" if self.node_id is None else f" of {self.node_id!r}"
        return f"{self.strategy!r}{of} {'succeeded' if self.success else 'failed'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedSample:
    """One look at the resources of the process, its host and its GPUs; unknown is None."""

    host: str
    pid: int
    at_ns: int
    cpu_percent: float | None
    rss_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None
    host_cpu_percent: float | None
    host_memory_used_bytes: int | None
    host_memory_total_bytes: int | None
    gpus: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedLoss:
    """What is missing: `n` records of a kind, for a reason."""

    kind: str
    reason: str
    n: int
    first_at_ns: int
    last_at_ns: int


Made = TypeVar("Made", CapturedExecution, CapturedStep, CapturedRecovery, CapturedSample, CapturedLoss)
_EMPTY: dict[str, Any] = {"tags": {}, "gpus": []}


def typed(kind: type[Made], rows: Iterable[Mapping[str, Any]]) -> list[Made]:
    """Rows of a `MemorySink` as objects of a kind."""
    names = [one.name for one in fields(kind)]
    return [kind(**{name: _value(name, row[name]) for name in names}) for row in rows]


def _value(name: str, value: Any) -> Any:
    """What is JSON text in a table is a dict or list here."""
    if name in _EMPTY:
        return type(_EMPTY[name])() if value is None else json.loads(value)
    return value
