"""Stores filled with a made-up history: batches as the shipper hands them to a sink, with their rollups.

A history is one journal of four workflows. An execution has ten steps, one of each node; durations are lognormal, with
a scale for each node. Of the steps one in fifty was healed and one in a hundred failed, and the execution with it. The
history grows by sweeps, each of which goes through the whole span of time, so that a store can be asked at several
sizes while nothing else about it changes.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from analytics_sdk.archive.compacting import Compactor
from analytics_sdk.archive.retention import ARCHIVED_DIALECTS
from analytics_sdk.rollup import HOUR_NS, WHOLE, Cells, cell_of
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.testing import FakeClock
from analytics_sdk.vocabulary import FAILED, RECOVERED, STATUSES, SUCCESS, VERDICTS, VERIFIED

T0_NS = 1_767_225_600_000_000_000
"""2026-01-01 in UTC."""
DAY_NS = 24 * HOUR_NS
WORKFLOWS = ("checkout", "invoices", "onboarding", "reporting")
ASKED = WORKFLOWS[0]
NODES = tuple(f"{verb}_{thing}" for verb in ("open", "fill", "click", "read", "save") for thing in ("form", "list"))
STEPS = len(NODES)
_RECORD_BYTES = 110
_EXECUTION_BYTES = (2 * STEPS + 3) * _RECORD_BYTES
_SCALES_NS = np.array([3e6 * 2.2**i for i in range(STEPS)])
_FEW = 60
"""Of so few a column is not faster than one after the other."""
_MESSAGES = {FAILED: "no element matches 'button-17' after 5 s"}


class History:
    """A journal that grows, and what was recorded in it of the workflow that is asked about."""

    def __init__(self, span_ns: int, executions_a_batch: int = 2_000, seed: int = 7) -> None:
        self.journal = JournalIdentity(f"{seed:032x}", "host-1", 4711, T0_NS, "machine", "boot")
        self.span_ns, self.executions_a_batch = span_ns, executions_a_batch
        self.steps, self.position = 0, 0
        self.asked_executions_ns: list[Any] = []
        self.asked_steps_ns: list[Any] = []
        """Arrays of durations, a column a node."""
        self.failed = 0
        self._chance = np.random.default_rng(seed)

    @property
    def end_ns(self) -> int:
        """What began did so before."""
        return T0_NS + self.span_ns

    def grow(self, steps: int) -> Iterator[tuple[Batch, Cells, "Made"]]:
        """A sweep, up to so many steps in all: batch after batch."""
        missing = (steps - self.steps) // STEPS
        for first in range(0, missing, self.executions_a_batch):
            n = min(self.executions_a_batch, missing - first)
            made = Made(self._chance, self.position, n, T0_NS, (first / missing, (first + n) / missing), self.span_ns)
            batch = made.batch(self.journal, self.position)
            asked = made.workflows == 0
            self.asked_executions_ns.append(made.totals_ns[asked])
            self.asked_steps_ns.append(made.durations_ns[asked])
            self.steps += n * STEPS
            self.position = batch.new_position
            yield batch, made.cells(), made


class Made:
    """Some executions, as arrays with a row an execution and, of steps, a column a node."""

    def __init__(
        self, chance: Any, position: int, n: int, t0_ns: int, share: tuple[float, float], span_ns: int
    ) -> None:
        low, high = (int(edge * span_ns) for edge in share)
        self.n, self.position = n, position
        self.started_ns = t0_ns + low + np.sort(chance.integers(0, max(1, high - low), n))
        self.workflows = chance.integers(0, len(WORKFLOWS), n)
        self.durations_ns = (chance.lognormal(0, 0.8, (n, STEPS)) * _SCALES_NS).astype(np.int64)
        drawn = chance.random((n, STEPS))
        self.statuses = np.where(drawn < 0.01, FAILED, np.where(drawn < 0.03, RECOVERED, SUCCESS))
        self.totals_ns = self.durations_ns.sum(axis=1) + 50_000
        before = self.durations_ns.cumsum(axis=1) - self.durations_ns
        # Because the last of them would begin behind the end of the span.
        self.step_starts_ns = np.minimum(self.started_ns[:, None] + before, t0_ns + span_ns - 1)
        self.failed = (self.statuses == FAILED).any(axis=1)
        self.seqs = position + _EXECUTION_BYTES * np.arange(n)
        self.step_seqs = self.seqs[:, None] + _RECORD_BYTES * (1 + 2 * np.arange(STEPS))

    def batch(self, journal: JournalIdentity, old: int) -> Batch:
        """The rows, as `shipper.merge` makes them of records whose beginning and ending are in one stretch."""
        batch = Batch(journal, old, old + _EXECUTION_BYTES * self.n)
        ids = [f"{seq:016x}-{journal.pid}" for seq in self.seqs.tolist()]
        names = [WORKFLOWS[i] for i in self.workflows.tolist()]
        words = ["failed" if failed else "success" for failed in self.failed.tolist()]
        types = ["TimeoutError" if failed else None for failed in self.failed.tolist()]
        messages = [_MESSAGES[FAILED] if failed else None for failed in self.failed.tolist()]
        lost = (self.statuses == FAILED).sum(axis=1).tolist()
        healed = (self.statuses == RECOVERED).sum(axis=1).tolist()
        starts, totals, seqs = self.started_ns.tolist(), self.totals_ns.tolist(), self.seqs.tolist()
        ends = (self.started_ns + self.totals_ns).tolist()
        end_seqs = (self.seqs + _EXECUTION_BYTES - 2 * _RECORD_BYTES).tolist()
        none = repeat(None)
        batch.new_executions = list(
            zip(seqs, ids, names, words, starts, ends, totals, repeat(STEPS), [STEPS - n for n in lost], lost, healed,
                types, messages, none, none, none, end_seqs)
        )  # fmt: skip
        batch.new_steps = [row for i in range(STEPS) for row in self._steps(i, ids, names)]
        batch.new_steps.sort(key=lambda row: row[0])  # type: ignore[arg-type, return-value]  # because they are numbers
        batch.recoveries = [
            (row[0] + 1, row[1], row[2], row[3], row[5], "semantic_variant", True, row[8], row[10] // 2, None, None,
             VERDICTS[VERIFIED], row[0] + 2)
            for row in batch.new_steps
            if row[7] == "recovered"
        ]  # fmt: skip
        return batch

    def _steps(self, i: int, ids: Sequence[str], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        statuses = self.statuses[:, i].tolist()
        seqs = self.step_seqs[:, i].tolist()
        none = repeat(None)
        return zip(
            seqs, ids, names, repeat(i + 1), none, repeat(NODES[i]), repeat(NODES[i].partition("_")[0]),
            [STATUSES[status] for status in statuses], self.step_starts_ns[:, i].tolist(),
            (self.step_starts_ns[:, i] + self.durations_ns[:, i]).tolist(), self.durations_ns[:, i].tolist(),
            ["TimeoutError" if status == FAILED else None for status in statuses],
            [_MESSAGES.get(status) for status in statuses], none, [seq + _RECORD_BYTES for seq in seqs], none, none,
        )  # fmt: skip

    def cells(self) -> Cells:
        """What `shipper.fold` counts of them, counted a column at a time."""
        cells: Cells = {}
        ends = np.where(self.failed, FAILED, SUCCESS)
        first_pass = (self.statuses != RECOVERED).all(axis=1)
        self._count(cells, WHOLE, self.started_ns, self.totals_ns, ends, first_pass)
        for i, node_id in enumerate(NODES):
            starts, durations, statuses = self.step_starts_ns[:, i], self.durations_ns[:, i], self.statuses[:, i]
            self._count(cells, node_id, starts, durations, statuses, statuses == SUCCESS)
            for at in np.flatnonzero(statuses == RECOVERED).tolist():
                cell = cell_of(cells, WORKFLOWS[self.workflows[at]], node_id, int(starts[at]))
                cell.add_recovery("semantic_variant", True, int(durations[at]) // 2)
                cell.add_verdict("semantic_variant", VERIFIED)
        return cells

    def _count(self, cells: Cells, node_id: str, starts: Any, durations: Any, statuses: Any, first_pass: Any) -> None:
        """Count endings of one node, or of whole executions, with their beginnings."""
        places = (starts - starts % HOUR_NS) // HOUR_NS * len(WORKFLOWS) + self.workflows
        order = np.lexsort((durations, places))
        edges = np.flatnonzero(np.diff(places[order])) + 1
        for some in np.split(order, edges):
            cell = cell_of(cells, WORKFLOWS[self.workflows[some[0]]], node_id, int(starts[some[0]]))
            cell.action_type = node_id.partition("_")[0] or None
            cell.started += len(some)
            for at in some[statuses[some] == FAILED].tolist():
                cell.add_error("TimeoutError", _MESSAGES[FAILED], int(starts[at]))
            if len(some) < _FEW:
                columns = (column[some].tolist() for column in (statuses, durations, first_pass))
                for status, duration_ns, passed in zip(*columns, strict=True):
                    cell.add_end(status, duration_ns, passed)
                continue
            for status, n in zip(*np.unique(statuses[some], return_counts=True), strict=True):
                cell.ended[status] += int(n)
            cell.first_pass += int((first_pass[some] & (statuses[some] == SUCCESS)).sum())
            sorted_ns = durations[some]
            cell.sum_ns += int(sorted_ns.sum())
            lowest, highest = int(sorted_ns[0]), int(sorted_ns[-1])
            cell.min_ns = lowest if cell.min_ns is None else min(cell.min_ns, lowest)
            cell.max_ns = highest if cell.max_ns is None else max(cell.max_ns, highest)
            for bucket, n in zip(*np.unique(buckets_of(sorted_ns), return_counts=True), strict=True):
                cell.buckets[int(bucket)] = cell.buckets.get(int(bucket), 0) + int(n)


def buckets_of(durations_ns: Any) -> Any:
    """`histogram.bucket_of` of durations from 128 ns to 104 days."""
    shifts = np.frexp(durations_ns.astype(np.float64))[1] - 7
    return (shifts << 6) + (durations_ns >> shifts)


def deliver(history: History, sinks: Sequence[Any], steps: int) -> Iterator["Made"]:
    """Have the history grow to so many steps in all sinks; what was made, batch by batch. At the end rollups are summed
    up to days and weeks, as the background does within the hour."""
    for batch, cells, made in history.grow(steps):
        for sink in sinks:
            sink.write(batch)
            sink.fold(history.journal, cells, batch.old_position, batch.new_position)
        yield made
    for sink in sinks:
        if sink.engine.dialect.name in ARCHIVED_DIALECTS:
            Compactor(sink, clock=FakeClock(history.end_ns + HOUR_NS)).run()
