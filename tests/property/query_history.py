"""Random histories of journals, delivered into sinks as the shipper does it, and what they mean, counted naively."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from analytics_sdk.events import (
    ExecutionEnd,
    ExecutionStart,
    GpuSample,
    Recovery,
    Running,
    Sample,
    StepEnd,
    StepStart,
    Verdict,
)
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity, RollupSink, Sink
from analytics_sdk.vocabulary import (
    CANCELLED,
    FAILED,
    NO_START,
    RECOVERED,
    SKIPPED,
    STATUSES,
    SUCCESS,
    TIMEOUT,
    VERDICTS,
    Kind,
)

BASE_NS = 500_000 * HOUR_NS
HOURS = 4
"""Executions start in [BASE_NS, BASE_NS + HOURS hours)."""

_ENDINGS = (SUCCESS, SUCCESS, SUCCESS, RECOVERED, FAILED, FAILED, TIMEOUT, SKIPPED, CANCELLED)
_MESSAGES = ("no element 17", "no element 4", "refused by 'a'", "boom", None)


@dataclass
class Lived:
    """What became of one execution (node_id "") or step, as the naive count sees it."""

    workflow_id: str
    node_id: str
    started_at_ns: int
    status: str = "running"
    duration_ns: int | None = None
    first_pass: bool = False


@dataclass
class Judged:
    """What became of one recovery that succeeded, where it was told."""

    workflow_id: str
    strategy: str
    started_at_ns: int
    verdict: str


@dataclass
class Journal:
    """One journal: its records in order, and where it is cut into batches."""

    identity: JournalIdentity
    decoded: list[tuple[int, Kind, Any]] = field(default_factory=list)
    end: int = 0
    cuts: list[int] = field(default_factory=list)
    fold_at: set[int] = field(default_factory=set)
    settle_as: str | None = None


@dataclass
class History:
    """Several journals, and what they mean."""

    journals: list[Journal]
    lived: list[Lived]
    judged: list[Judged] = field(default_factory=list)


def make_history(seed: int, *, journals: int = 3, executions: int = 6, hours: int = HOURS) -> History:
    """A history with late ends, healings, lost starts, crashes, recoveries, and steps outside executions."""
    chance = random.Random(seed)
    history = History([], [])
    for number in range(chance.randint(1, journals)):
        identity = JournalIdentity(f"{number:032x}", f"host{number % 2}", 100 + number, BASE_NS)
        history.journals.append(_make_journal(chance, identity, history, chance.randint(0, executions), hours))
    return history


Make = Callable[[int], Any]


class _Script:
    """Records by the time of recording, before they have positions."""

    def __init__(self, chance: random.Random, hours: int) -> None:
        self.chance, self.hours = chance, hours
        self.records: list[tuple[int, Kind, Make, int | None, list[int]]] = []
        self.judged: list[Judged] = []

    def start(self, at_ns: int, kind: Kind, event: Any) -> list[int]:
        """Record a beginning, or lose it; the cell that will hold its position."""
        place = [NO_START]
        if self.chance.random() > 0.05:
            self.records.append((at_ns, kind, lambda _: event, None, place))
        return place

    def end(self, at_ns: int, kind: Kind, place: list[int], make: Make) -> None:
        """Record something that refers to a beginning."""
        self.records.append((at_ns, kind, make, 1, place))


def _make_journal(
    chance: random.Random, identity: JournalIdentity, history: History, executions: int, hours: int
) -> Journal:
    script = _Script(chance, hours)
    ended: list[Lived] = []
    for number in range(executions):
        workflow_id = chance.choice(["login", "export"])
        _script_execution(script, f"{identity.pid}-{number}", workflow_id, ended)
    for _ in range(chance.randint(0, 3)):
        _script_step(script, None, None, 1, BASE_NS + chance.randrange(script.hours * HOUR_NS), ended)
    for _ in range(chance.randint(0, 6)):
        at_ns = BASE_NS + chance.randrange(script.hours * HOUR_NS)
        sample = _make_sample(chance, at_ns)
        script.records.append((at_ns, Kind.SAMPLE, lambda _, event=sample: event, None, [0]))
    journal = Journal(identity)
    position = 64
    for _, kind, make, refers, place in sorted(script.records, key=lambda record: record[0]):
        journal.decoded.append((position, kind, make(place[0])))
        if refers is None:
            place[0] = position
        position += chance.randrange(40, 200)
    journal.end = position
    inner = [record[0] for record in journal.decoded]
    cuts = sorted(chance.sample(inner, min(len(inner), chance.randint(0, 8))))
    journal.cuts = [*cuts, journal.end]
    # Because the tail behind the last folding is what readers get wrong, most journals that live have one.
    journal.fold_at = {cut for cut in cuts if chance.random() < 0.5}
    journal.settle_as = chance.choice([None, None, None, "crashed", "cancelled"])
    for one in ended:
        if one.status == "running" and journal.settle_as:
            one.status = journal.settle_as
    history.lived += ended
    history.judged += script.judged
    return journal


def _make_sample(chance: random.Random, at_ns: int) -> Sample:
    names = [(workflow_id, node_id) for workflow_id in ("login", "export") for node_id in (None, "open", "click")]
    shares = [0.25, 0.5, 1.0]
    running = [Running(*name, share=chance.choice(shares)) for name in chance.sample(names, chance.randrange(4))]
    gpus = [GpuSample(0, "H", chance.uniform(0, 100), process_memory_bytes=chance.choice([None, 7]), uuid="GPU-1")]
    return Sample(
        at_ns,
        cpu_percent=chance.uniform(0, 200),
        rss_bytes=chance.randrange(10**9),
        read_bytes=chance.randrange(10**9),
        gpus=chance.choice([None, gpus]),
        elapsed_ns=chance.choice([None, HOUR_NS]),
        executions=chance.choice([None, 1, 2]),
        running=chance.choice([None, running]),
    )


def _script_execution(script: _Script, execution_id: str, workflow_id: str, lived: list[Lived]) -> None:
    chance = script.chance
    started_at_ns = BASE_NS + chance.randrange(script.hours * HOUR_NS)
    at_ns = started_at_ns
    whole = Lived(workflow_id, "", started_at_ns)
    place = script.start(at_ns, Kind.EXECUTION_START, ExecutionStart(execution_id, workflow_id, started_at_ns, 3))
    recovered = 0
    for step_no in range(1, chance.randint(1, 5)):
        at_ns, healed = _script_step(script, execution_id, workflow_id, step_no, at_ns, lived)
        recovered += healed
    if chance.random() < 0.2:
        if place != [NO_START] or any(record[4] is place for record in script.records):
            lived.append(whole)
        return
    status = chance.choice(_ENDINGS[:3] + _ENDINGS[4:])
    whole.status, whole.duration_ns = STATUSES[status], at_ns + chance.randrange(10**9) - started_at_ns
    whole.first_pass = status == SUCCESS and not recovered
    message = chance.choice(_MESSAGES) if status in (FAILED, TIMEOUT) else None
    script.end(
        at_ns + 1,
        Kind.EXECUTION_END,
        place,
        lambda start: ExecutionEnd(
            start, execution_id, workflow_id, started_at_ns, status, whole.duration_ns or 0, 1, 0, recovered, 3,
            error_type=message and "ValueError", error_message=message,
        ),
    )  # fmt: skip
    lived.append(whole)


def _script_step(
    script: _Script, execution_id: str | None, workflow_id: str | None, step_no: int, at_ns: int, lived: list[Lived]
) -> tuple[int, int]:
    """One step; when the next may begin, and whether a healing in time saved it."""
    chance = script.chance
    node_id = chance.choice(["open", "click", "save", ""])
    started_at_ns = at_ns + chance.randrange(10**6, HOUR_NS // 2)
    step = Lived(workflow_id or "", node_id or "-", started_at_ns)
    start = StepStart(execution_id, workflow_id, step_no, node_id, f"do-{node_id}", started_at_ns)
    place = script.start(started_at_ns, Kind.STEP_START, start)
    if chance.random() < 0.15:
        if any(record[4] is place for record in script.records):
            lived.append(step)
        return started_at_ns, 0
    status = chance.choice(_ENDINGS)
    duration_ns = int(chance.lognormvariate(19, 2))
    message = chance.choice(_MESSAGES) if status in (FAILED, TIMEOUT) else None

    def make_end(start: int, status: int = status, revises: int | None = None) -> StepEnd:
        return StepEnd(
            start, execution_id, workflow_id, step_no, node_id, f"do-{node_id}", started_at_ns, status, duration_ns,
            error_type=message and "KeyError", error_message=message, revises=revises,
        )  # fmt: skip

    ended_at_ns = started_at_ns + duration_ns
    script.end(ended_at_ns, Kind.STEP_END, place, make_end)
    step.status, step.duration_ns, step.first_pass = STATUSES[status], duration_ns, status == SUCCESS
    lived.append(step)
    healed = 0
    if status in (FAILED, TIMEOUT, RECOVERED):
        healed = int(status == RECOVERED or chance.random() < 0.5)
        recovery = Recovery(
            execution_id, workflow_id, step_no, chance.choice([node_id, None]), chance.choice(["retry", "variant"]),
            bool(healed), ended_at_ns, chance.randrange(10**9),
        )  # fmt: skip
        told_of = [NO_START]
        script.records.append((ended_at_ns + 1, Kind.RECOVERY, lambda _: recovery, None, told_of))
        if recovery.success and chance.random() < 0.7:
            verdict = chance.randrange(2)
            repeated = (workflow_id, recovery.node_id, recovery.strategy, ended_at_ns)
            told_at_ns = ended_at_ns + chance.choice([2, 10**9, HOUR_NS])
            script.end(told_at_ns, Kind.VERDICT, told_of, lambda at: Verdict(at, *repeated, verdict))
            script.judged.append(Judged(workflow_id or "", recovery.strategy, ended_at_ns, VERDICTS[verdict]))
        if healed and status != RECOVERED:
            if any(record[4] is place and record[3] is None for record in script.records):
                step.status = "recovered"  # else nobody can tell any more what was healed
            later_ns = ended_at_ns + chance.choice([2, HOUR_NS, HOUR_NS])
            script.end(later_ns, Kind.STEP_END, place, lambda start: make_end(start, RECOVERED, status))
    return ended_at_ns, healed


def deliver(history: History, sink: Sink, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Write all journals into a sink, batch by batch, and its rollups wherever the history says. `meanwhile` is called
    behind each of these writes."""
    for journal in history.journals:
        position = sink.position(journal.identity).rows
        folded, cells = position, Cells()
        for cut in journal.cuts:
            stretch = [record for record in journal.decoded if position <= record[0] < cut]
            batch = merge(journal.identity, stretch, position, cut)
            if journal.identity.pid == 101 and cut == journal.end:
                batch.losses = [("step_start", "quota", 3, BASE_NS + HOUR_NS, BASE_NS + 2 * HOUR_NS)]
            sink.write(batch)
            meanwhile()
            fold(cells, stretch)
            position = cut
            last = journal.settle_as is not None and cut == journal.end
            if isinstance(sink, RollupSink) and (cut in journal.fold_at or last):
                sink.fold(journal.identity, cells, folded, position)
                folded, cells = position, Cells()
                meanwhile()
        if journal.settle_as is not None:
            sink.write(Batch(journal.identity, position, position, settle_as=journal.settle_as))
            meanwhile()


def count_naively(history: History, node_id: str, start_ns: int, end_ns: int, workflow_id: str) -> Counter[str]:
    """Endings by status word of one node (or "" for executions) of a workflow, straight from what happened."""
    return Counter(
        one.status
        for one in history.lived
        if one.workflow_id == workflow_id and one.node_id == node_id and start_ns <= one.started_at_ns < end_ns
    )


def judge_naively(history: History, start_ns: int, end_ns: int, workflow_id: str) -> Counter[tuple[str, str]]:
    """(strategy, verdict) of the recoveries of a workflow, straight from what happened."""
    return Counter(
        (one.strategy, one.verdict)
        for one in history.judged
        if one.workflow_id == workflow_id and start_ns <= one.started_at_ns < end_ns
    )
