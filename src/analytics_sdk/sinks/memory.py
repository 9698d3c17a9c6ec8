"""The sink in memory: for tests of programs that are instrumented, and for looking at what was recorded.

It keeps the same promises as the SQL sinks. It keeps no rollups: everything is a row.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from analytics_sdk.errors import Fenced, RejectedRecord
from analytics_sdk.sinks.base import (
    ADDED_REASONS,
    EXECUTION_COLUMNS,
    LOSS_COLUMNS,
    RECOVERY_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    VERDICT_COLUMNS,
    Batch,
    JournalIdentity,
    Positions,
    Row,
)
from analytics_sdk.sinks.rows import as_dicts, columns_of

Kept = dict[str, Any]
Key = tuple[int, int]
_INT64 = range(-(1 << 63), 1 << 63)


class MemorySink:
    """Keeps batches as dicts. Thread-safe. Each list is a copy, in the order in which things started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._journals: dict[str, tuple[int, Positions]] = {}
        self._executions: dict[Key, Kept] = {}
        self._steps: dict[Key, Kept] = {}
        self._recoveries: dict[Key, Kept] = {}
        self._samples: dict[Key, Kept] = {}
        self._losses: dict[tuple[int, str, str], Kept] = {}

    def __repr__(self) -> str:
        return f"MemorySink({len(self._executions)} executions, {len(self._steps)} steps)"

    @property
    def executions(self) -> list[Kept]:
        """Executions: the columns of the table `executions`."""
        return self._sorted(self._executions, "started_at_ns")

    @property
    def steps(self) -> list[Kept]:
        """Steps: the columns of the table `steps`."""
        return self._sorted(self._steps, "started_at_ns")

    @property
    def recoveries(self) -> list[Kept]:
        """Recovery attempts: the columns of the table `recoveries`."""
        return self._sorted(self._recoveries, "started_at_ns")

    @property
    def samples(self) -> list[Kept]:
        """Resource samples: the columns of the table `resource_samples`."""
        return self._sorted(self._samples, "at_ns")

    @property
    def losses(self) -> list[Kept]:
        """What is known to be missing: the columns of the table `losses`."""
        with self._lock:
            return [dict(loss) for loss in self._losses.values()]

    @property
    def positions(self) -> dict[str, int]:
        """How far the rows of each journal have come, by its id."""
        with self._lock:
            return {journal_id: positions.rows for journal_id, (_, positions) in self._journals.items()}

    def clear(self) -> None:
        """Forget all rows. How far journals have been delivered stays known."""
        with self._lock:
            for kept in (self._executions, self._steps, self._recoveries, self._samples, self._losses):
                kept.clear()

    def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """What was recorded stays."""

    def position(self, journal: JournalIdentity) -> Positions:
        """See `Sink.position`."""
        with self._lock:
            return self._registered(journal)[1]

    def write(self, batch: Batch) -> None:
        """See `Sink.write`."""
        with self._lock:
            source, positions = self._registered(batch.journal)
            if positions.settled or positions.rows != batch.old_position:
                raise Fenced(f"journal {batch.journal.journal_id}: the sink is not at {batch.old_position}")
            self._keep(source, batch)
            if batch.settle_as is not None:
                self._judge(source, batch.settle_as)
            there = Positions(batch.new_position, batch.new_position, settled=batch.settle_as is not None)
            self._journals[batch.journal.journal_id] = source, there

    def _registered(self, journal: JournalIdentity) -> tuple[int, Positions]:
        return self._journals.setdefault(journal.journal_id, (len(self._journals) + 1, Positions()))

    def _keep(self, source: int, batch: Batch) -> None:
        """All rows are made before any is kept, because a batch is kept whole or not at all."""
        placed = {"source": source, "host": batch.journal.host, "pid": batch.journal.pid}
        executions = _rows(EXECUTION_COLUMNS, batch.new_executions, **placed)
        late_executions = _rows(EXECUTION_COLUMNS, batch.late_executions, **placed)
        steps = _rows(STEP_COLUMNS, batch.new_steps, source=source)
        late_steps = _rows(STEP_COLUMNS, batch.late_steps, source=source)
        recoveries = _rows(RECOVERY_COLUMNS, batch.recoveries, source=source)
        verdicts = _rows(VERDICT_COLUMNS, batch.late_verdicts)
        samples = _rows(SAMPLE_COLUMNS, batch.samples, **placed)
        losses = _rows(LOSS_COLUMNS, batch.losses, source=source)
        for kept, new in (
            (self._executions, executions),
            (self._steps, steps),
            (self._recoveries, recoveries),
            (self._samples, samples),
        ):
            kept.update({(source, row["seq"]): row for row in new})
        _replace(self._executions, late_executions)
        _replace(self._steps, late_steps)
        for verdict in verdicts:
            known = self._recoveries.get((source, verdict["seq"]))
            if known is not None:
                known.update(verdict)
        for loss in losses:
            key = (source, loss["kind"], loss["reason"])
            self._losses[key] = _added(self._losses[key], loss) if key in self._losses else loss

    def _judge(self, source: int, word: str) -> None:
        for kept in (self._steps, self._executions):
            for key, row in kept.items():
                if key[0] == source and row["status"] == "running":
                    counts = self._counts(source, row["execution_id"]) if kept is self._executions else {}
                    kept[key] = {**row, **counts, "status": word}

    def _counts(self, source: int, execution_id: str) -> dict[str, int]:
        steps = [row for row in self._steps.values() if row["source"] == source and row["execution_id"] == execution_id]
        words = [row["status"] for row in steps if row["parent_step_no"] is None]
        healed = [
            row["step_no"]
            for row in self._recoveries.values()
            if row["source"] == source and row["execution_id"] == execution_id and row["success"]
        ]
        return {
            "steps_completed": words.count("success") + words.count("recovered"),
            "steps_failed": words.count("failed") + words.count("timeout"),
            "steps_recovered": len({step_no for step_no in healed if step_no is not None}) + healed.count(None),
        }

    def _sorted(self, kept: dict[Key, Kept], at: str) -> list[Kept]:
        with self._lock:
            rows = sorted(kept.items(), key=lambda one: (one[1][at], one[0]))
            return [dict(row) for _, row in rows]


def _rows(names: Sequence[str], rows: Sequence[Row], **same: object) -> list[Kept]:
    """Rows as dicts.

    Raises:
        RejectedRecord: a value that a SQL sink would not keep either.
    """
    if not rows:
        return []
    made = as_dicts(columns_of(names, rows, **same))
    for row in made:
        for name, value in row.items():
            if type(value) is int and value not in _INT64:
                raise RejectedRecord(f"{name} is beyond 64 bits")
            if type(value) is str and not _can_be_encoded(value):
                raise RejectedRecord(f"{name} is not valid Unicode")
    return made


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _replace(kept: dict[Key, Kept], late: Iterable[Kept]) -> None:
    """Put late rows in the place of stored ones; an unknown `end_seq` keeps the stored one."""
    for row in late:
        key = (row["source"], row["seq"])
        if row["end_seq"] is None and key in kept:
            row["end_seq"] = kept[key]["end_seq"]
        kept[key] = row


def _added(stored: Kept, new: Kept) -> Kept:
    if new["reason"] not in ADDED_REASONS:
        return new
    return {
        **new,
        "n": stored["n"] + new["n"],
        "first_at_ns": min(stored["first_at_ns"], new["first_at_ns"]),
        "last_at_ns": max(stored["last_at_ns"], new["last_at_ns"]),
    }
