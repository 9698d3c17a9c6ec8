"""A rollup cell: recorded facts about one node (or whole executions) of one workflow that started in one hour.

Facts are only ever added, never taken back, so cells merge in any order: a step that failed and was healed later
counts once in `failed` and once in `healed_failed`, and the reader does the arithmetic.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Mapping

import msgspec

from analytics_sdk.histogram import add_counts, bucket_of
from analytics_sdk.vocabulary import CRASHED, FAILED, RECOVERED, STATUSES, SUCCESS, TIMEOUT, VERIFIED

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEK_NS = 7 * DAY_NS
_FIRST_MONDAY_NS = 4 * DAY_NS
MAX_FINGERPRINTS = 100
"""Distinct errors kept a cell; what comes beyond counts under OTHER."""
OTHER = "__other__"
MAX_NODES = 10_000
"""Nodes with cells of their own in one workflow, hour and journal; what comes beyond counts under OTHER. Because all of
them are read, added to and written together, in the memory of the host."""
MAX_SUM_NS = (1 << 63) - 1
"""Durations of 292 years together: what is added beyond could not be stored."""
TIMED = frozenset({SUCCESS, RECOVERED, FAILED, TIMEOUT})
"""Endings whose duration enters averages and percentiles: the work ran its course."""
COUNTED = frozenset({SUCCESS, RECOVERED, FAILED, TIMEOUT, CRASHED})
"""Endings that count in rates."""

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+|'[^']*'|\"[^\"]*\"|[0-9a-fA-F]{8,}")


def hour_of(started_at_ns: int) -> int:
    """The start of the hour (UTC, in nanoseconds) in which an instant lies."""
    return started_at_ns - started_at_ns % HOUR_NS


def day_of(at_ns: int) -> int:
    """The start of the UTC day in which an instant lies."""
    return at_ns - at_ns % DAY_NS


def week_of(at_ns: int) -> int:
    """The start of the ISO week (from Monday, in UTC) in which an instant lies."""
    return at_ns - (at_ns - _FIRST_MONDAY_NS) % WEEK_NS


def fingerprint(error_type: str | None, message: str | None) -> str:
    """12 hex digits that are the same for the same error with other numbers, addresses or quoted values in it."""
    normal = _VARYING.sub("#", (message or "")[:500])
    return hashlib.sha1(f"{error_type}:{normal}".encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:12]


class ErrorCount(msgspec.Struct, array_like=True):
    """How often one fingerprint was seen, with its first message; times in nanoseconds."""

    error_type: str | None
    message: str | None
    n: int
    first_seen_ns: int
    last_seen_ns: int

    def add(self, other: "ErrorCount") -> None:
        if other.first_seen_ns < self.first_seen_ns:
            self.error_type, self.message = other.error_type, other.message
        self.n += other.n
        self.first_seen_ns = min(self.first_seen_ns, other.first_seen_ns)
        self.last_seen_ns = max(self.last_seen_ns, other.last_seen_ns)


class StrategyCount(msgspec.Struct, array_like=True):
    """Attempts of one recovery strategy, those that succeeded, and the time that all of them took.

    Of the succeeded, those after which the next steps passed, or did not; of the others nobody can tell.
    """

    attempts: int = 0
    succeeded: int = 0
    total_duration_ns: int = 0
    verified: int = 0
    refuted: int = 0

    def add(self, other: "StrategyCount") -> None:
        self.attempts += other.attempts
        self.succeeded += other.succeeded
        self.total_duration_ns = min(self.total_duration_ns + other.total_duration_ns, MAX_SUM_NS)
        self.verified += other.verified
        self.refuted += other.refuted


class Cell(msgspec.Struct, array_like=True):
    """Counts and durations of what started in one hour. `ended[i]` counts endings with `STATUSES[i]`."""

    action_type: str | None = None
    started: int = 0
    ended: list[int] = msgspec.field(default_factory=lambda: [0] * len(STATUSES))
    healed_failed: int = 0
    """Of `ended[FAILED]`, those that a later recovery healed."""
    healed_timeout: int = 0
    first_pass: int = 0
    """Successes that needed no recovery."""
    sum_ns: int = 0
    min_ns: int | None = None
    max_ns: int | None = None
    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    errors: dict[str, ErrorCount] = msgspec.field(default_factory=dict)
    strategies: dict[str, StrategyCount] = msgspec.field(default_factory=dict)

    def add_end(self, status: int, duration_ns: int | None, first_pass: bool) -> None:
        """Count one ending. `first_pass` matters for a success only."""
        self.ended[status] += 1
        if first_pass and status == SUCCESS:
            self.first_pass += 1
        if duration_ns is None or status not in TIMED:
            return
        self.sum_ns = min(self.sum_ns + duration_ns, MAX_SUM_NS)
        self.min_ns = duration_ns if self.min_ns is None else min(self.min_ns, duration_ns)
        self.max_ns = duration_ns if self.max_ns is None else max(self.max_ns, duration_ns)
        bucket = bucket_of(duration_ns)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def add_heal(self, first_status: int) -> None:
        """Count that something which had ended as FAILED or TIMEOUT was healed afterwards."""
        if first_status == TIMEOUT:
            self.healed_timeout += 1
        else:
            self.healed_failed += 1

    def add_error(self, error_type: str | None, message: str | None, at_ns: int) -> None:
        """Count one error under its fingerprint. An ending that says nothing about its error is not counted here."""
        if error_type is None and not message:
            return
        self._count_error(
            fingerprint(error_type, message), ErrorCount(error_type, message and message[:500], 1, at_ns, at_ns)
        )

    def add_recovery(self, strategy: str, success: bool, duration_ns: int) -> None:
        """Count one recovery attempt."""
        self.strategies.setdefault(strategy, StrategyCount()).add(StrategyCount(1, int(success), duration_ns))

    def add_verdict(self, strategy: str, verdict: int) -> None:
        """Count what became of a recovery that succeeded, counted before or after."""
        count = self.strategies.setdefault(strategy, StrategyCount())
        if verdict == VERIFIED:
            count.verified += 1
        else:
            count.refuted += 1

    def add(self, other: "Cell", most_errors: float = MAX_FINGERPRINTS) -> None:
        """Add all of another cell's facts to this one. The other stays as it is."""
        self.action_type = other.action_type or self.action_type
        self.started += other.started
        for status, n in enumerate(other.ended):
            self.ended[status] += n
        self.healed_failed += other.healed_failed
        self.healed_timeout += other.healed_timeout
        self.first_pass += other.first_pass
        self.sum_ns = min(self.sum_ns + other.sum_ns, MAX_SUM_NS)
        if other.min_ns is not None:
            self.min_ns = other.min_ns if self.min_ns is None else min(self.min_ns, other.min_ns)
        if other.max_ns is not None:
            self.max_ns = other.max_ns if self.max_ns is None else max(self.max_ns, other.max_ns)
        add_counts(self.buckets, other.buckets)
        for key, error in other.errors.items():
            self._count_error(key, error, most_errors)
        for strategy, count in other.strategies.items():
            known = self.strategies.get(strategy)
            if known is None:
                known = self.strategies[strategy] = StrategyCount()
            known.add(count)

    def _count_error(self, key: str, error: ErrorCount, most: float = MAX_FINGERPRINTS) -> None:
        if key not in self.errors and len(self.errors) >= most:
            key, error = OTHER, ErrorCount(None, None, error.n, error.first_seen_ns, error.last_seen_ns)
        known = self.errors.get(key)
        if known is None:
            self.errors[key] = msgspec.structs.replace(error)
        else:
            known.add(error)


WHOLE = ""
"""The key of the cell of whole executions among the nodes of a workflow. A node with an empty id is stored as "-"."""

Cells = dict[tuple[str, int], dict[str, Cell]]
"""(workflow_id, hour_ns) -> node_id or WHOLE -> cell."""


def cell_of(cells: Cells, workflow_id: str | None, node_id: str, started_at_ns: int) -> Cell:
    """The cell to count something in, made when missing. Steps outside any execution stand under workflow ""."""
    nodes = cells.setdefault((workflow_id or "", hour_of(started_at_ns)), {})
    cell = nodes.get(node_id)
    if cell is None:
        cell = nodes[node_id] = Cell()
    return cell


def add_nodes(kept: dict[str, Cell], new: Mapping[str, Cell]) -> None:
    """Add cells of one workflow and hour to the stored ones, of which there are never many more than MAX_NODES.

    A node that has a cell keeps it and one that has none will get none, so all facts of a node stay together.
    """
    for node_id, cell in new.items():
        has_room = node_id in kept or node_id == WHOLE or len(kept) < MAX_NODES
        kept.setdefault(node_id if has_room else OTHER, Cell()).add(cell)


class Total(msgspec.Struct, array_like=True):
    """The cells of many hours and journals in one, for readers who ask about all of them.

    Nothing in it was cut: where a reader has room for so many errors only, it keeps the same ones as out of the hours.
    """

    nodes: dict[str, Cell] = msgspec.field(default_factory=dict)
    sources: list[int] = msgspec.field(default_factory=list)
    """The journals that it holds facts of, ascending; each number but the first is the distance from the one before."""
    trend: list[tuple[int, int, int, int]] = msgspec.field(default_factory=list)
    """Hours behind the first of the stretch, and what `tally` says of that hour."""

    def add(self, nodes: Mapping[str, Cell]) -> None:
        """Add cells. Those stay as they are."""
        for node_id, cell in nodes.items():
            self.nodes.setdefault(node_id, Cell()).add(cell, math.inf)


def tally(whole: Cell) -> tuple[int, int, int]:
    """Of whole executions: those that count, those of them that succeeded, and those that needed no recovery."""
    return sum(map(whole.ended.__getitem__, COUNTED)), whole.ended[SUCCESS] + whole.ended[RECOVERED], whole.first_pass


def encode_total(total: Total) -> bytes:
    """One stored row of a day or a week, compressed."""
    return zlib.compress(msgspec.msgpack.encode(total), 6)


def decode_total(blob: bytes) -> Total:
    """What `encode_total` made."""
    return msgspec.msgpack.decode(zlib.decompress(blob), type=Total)


def encode_nodes(nodes: dict[str, Cell]) -> bytes:
    """One stored row of cells, compressed."""
    return zlib.compress(msgspec.msgpack.encode(nodes), 1)


def decode_nodes(blob: bytes) -> dict[str, Cell]:
    """What `encode_nodes` made."""
    nodes: dict[str, Cell] = msgspec.msgpack.decode(zlib.decompress(blob), type=dict[str, Cell])
    return nodes


def counted(cell: Cell) -> dict[str, int]:
    """The statuses of a cell as they are now: what was healed since counts as recovered, not as failed."""
    n = dict(zip(STATUSES, cell.ended, strict=True))
    n["failed"] -= cell.healed_failed
    n["timeout"] -= cell.healed_timeout
    n["recovered"] += cell.healed_failed + cell.healed_timeout
    n["running"] = max(0, cell.started - sum(cell.ended))
    return n
