"""What a sink must do: keep batches, and move the journal's position in the same step.

Exactly once rests on one rule. `write` compares the journal's stored position with `batch.old_position`; when they
differ it writes nothing and raises `Fenced`; otherwise rows and the new position become visible together. A sink with
transactions makes the comparison its first statement.
"""

from typing import Protocol, runtime_checkable

import msgspec

from analytics_sdk.rollup import Cells
from analytics_sdk.vocabulary import OUTAGE


class JournalIdentity(msgspec.Struct, frozen=True):
    """Whose journal it is. `journal_id` is 32 hex digits, random; the rest tells people where rows come from."""

    journal_id: str
    host: str
    pid: int
    started_at_ns: int
    machine_id: str = ""
    boot_id: str = ""


class Positions(msgspec.Struct, frozen=True):
    """How far a sink has come with one journal, in journal bytes."""

    rows: int = 0
    rollups: int = 0
    """Never beyond `rows`. A sink that keeps no rollups reports the same as `rows`."""
    settled: bool = False
    """The owner is gone and everything of it has been delivered and judged: nothing more will ever be written."""


EXECUTION_COLUMNS = (
    "seq",
    "execution_id",
    "workflow_id",
    "status",
    "started_at_ns",
    "ended_at_ns",
    "duration_ns",
    "total_steps",
    "steps_completed",
    "steps_failed",
    "steps_recovered",
    "error_type",
    "error_message",
    "parent_execution_id",
    "parent_step_no",
    "tags",
    "end_seq",
)
STEP_COLUMNS = (
    "seq",
    "execution_id",
    "workflow_id",
    "step_no",
    "parent_step_no",
    "node_id",
    "action_type",
    "status",
    "started_at_ns",
    "ended_at_ns",
    "duration_ns",
    "error_type",
    "error_message",
    "tags",
    "end_seq",
    "first_status",
    "heal_seq",
)
RECOVERY_COLUMNS = (
    "seq",
    "execution_id",
    "workflow_id",
    "step_no",
    "node_id",
    "strategy",
    "success",
    "started_at_ns",
    "duration_ns",
    "error_message",
    "tags",
    "verdict",
    "verdict_seq",
)
VERDICT_COLUMNS = ("seq", "verdict", "verdict_seq")
SAMPLE_COLUMNS = (
    "seq",
    "at_ns",
    "cpu_percent",
    "rss_bytes",
    "read_bytes",
    "written_bytes",
    "host_cpu_percent",
    "host_memory_used_bytes",
    "host_memory_total_bytes",
    "elapsed_ns",
    "executions",
    "gpus",
    "running",
)
LOSS_COLUMNS = ("kind", "reason", "n", "first_at_ns", "last_at_ns")
"""`n` is the journal's running total for (kind, reason), and replaces what is stored; but what delivery itself finds
out, the reasons in ADDED_REASONS, is what this batch adds."""

ADDED_REASONS = frozenset({"damaged", "rejected", OUTAGE})

Row = tuple[object, ...]


class Batch(msgspec.Struct):
    """A stretch of one journal, turned into rows (tuples in the order of the *_COLUMNS above).

    `seq` is the journal position of the record that opened the row and, with the journal, its key. New rows are known
    not to be stored yet. Late rows began in an earlier batch: they replace the stored row of the same key, or are
    added where there is none; a None `end_seq` keeps the stored one (a healing that came later). Statuses are words,
    `tags`, `gpus` and `running` JSON text or None, `success` a bool, times integer nanoseconds. `end_seq`, `heal_seq`:
    positions of the records that ended and that healed it; `first_status`: the word before the healing, else None.
    `verdict`: a word of VERDICTS, or None where nobody can tell; `verdict_seq`: the position of the record that told
    it. A late verdict is about a recovery of an earlier batch, and says nothing where that is not stored.
    """

    journal: JournalIdentity
    old_position: int
    new_position: int
    new_executions: list[Row] = msgspec.field(default_factory=list)
    late_executions: list[Row] = msgspec.field(default_factory=list)
    new_steps: list[Row] = msgspec.field(default_factory=list)
    late_steps: list[Row] = msgspec.field(default_factory=list)
    recoveries: list[Row] = msgspec.field(default_factory=list)
    late_verdicts: list[Row] = msgspec.field(default_factory=list)
    samples: list[Row] = msgspec.field(default_factory=list)
    losses: list[Row] = msgspec.field(default_factory=list)
    found: list[tuple[int, Row]] = msgspec.field(default_factory=list)
    """Of `losses`, the rows of ADDED_REASONS once more, one by one, each with the position in the journal that it is
    about. For sinks without transactions, which must know what they have counted already."""
    settle_as: str | None = None
    """"crashed" or "cancelled": the owner is gone and this is the last of it. What still runs gets this status."""


@runtime_checkable
class Sink(Protocol):
    """A place that keeps what was recorded. Called from one thread at a time, never from the host's."""

    def open(self) -> None:
        """Connect, and check or make the tables.

        Raises:
            SinkUnavailable: try again later.
            SinkMisconfigured: somebody must act; the message says how.
        """
        ...

    def position(self, journal: JournalIdentity) -> Positions:
        """How far this journal has been kept; registers a journal that is not known yet."""
        ...

    def write(self, batch: Batch) -> None:
        """Keep a batch and move the position from `old_position` to `new_position`, both or neither.

        Raises:
            Fenced: the stored position is not `old_position`, or the journal is settled. Nothing was written.
            RejectedRecord: a value cannot be kept. Nothing was written.
            SinkUnavailable, SinkMisconfigured: nothing was written, or the outcome is unknown.
        """
        ...

    def close(self) -> None:
        """Give back connections. May be called twice; `open` may follow."""
        ...


@runtime_checkable
class RollupSink(Sink, Protocol):
    """A sink that also keeps rollups, behind a position of their own."""

    def fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        """Add cells to the stored rollups and move the rollup position, both or neither.

        Raises:
            Fenced: the stored rollup position is not `old_position`. Nothing was written.
        """
        ...
