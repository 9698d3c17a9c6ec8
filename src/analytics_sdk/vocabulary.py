"""The words of what is recorded: kinds of records, statuses, reasons of losses. Nothing else is loaded by it."""

from enum import IntEnum

STATUSES = ("success", "recovered", "failed", "timeout", "skipped", "cancelled", "crashed", "running")
"""The words of an ending; a record holds the index. `crashed` and `running` are never recorded: they are judged."""

SUCCESS, RECOVERED, FAILED, TIMEOUT, SKIPPED, CANCELLED, CRASHED, RUNNING = range(len(STATUSES))

VERDICTS = ("verified", "refuted")
"""What became of a recovery that succeeded; a record holds the index. That nobody can tell is never recorded."""

VERIFIED, REFUTED = range(len(VERDICTS))

NO_START = -1
"""`start` of an ending whose start record is not in this journal: it was shed, or refused."""


class Kind(IntEnum):
    """What a record is. Stands in the frame's header, under its checksum."""

    EXECUTION_START = 1
    EXECUTION_END = 2
    STEP_START = 3
    STEP_END = 4
    RECOVERY = 5
    SAMPLE = 6
    VERDICT = 7


LOSS_REASONS = ("quota", "disk", "error", "damaged", "rejected")
"""Why something is missing: quota; no disk, memory or handle; our own error; a damaged frame; a refused value."""

OUTAGE = "outage"
"""One more: a sink was away for so long that the journals were full. Only that sink has lost it."""
