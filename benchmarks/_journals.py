"""Journals to deliver, and hosts that make them: what the benchmarks of delivery share."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from _figures import options

from analytics_sdk import AnalyticsSystem, configure, track_step, track_workflow

STEPS_AN_EXECUTION = 20
FAILS_EVERY = 50
"""One step of so many fails, and its execution goes on."""


class Declined(Exception):
    """What a step fails with."""


@track_step(node_id="{node}", action_type="click")
def step(node: str, i: int) -> None:
    """A step of the host's."""
    if i % FAILS_EVERY == 0:
        raise Declined(f"card {i} was declined")


NODES = [f"node_{n}" for n in range(STEPS_AN_EXECUTION)]


def record(steps: int) -> None:
    """Record so many steps, in executions of twenty, at full speed."""
    for first in range(0, steps, STEPS_AN_EXECUTION):
        with track_workflow(workflow_id="checkout", total_steps=STEPS_AN_EXECUTION):
            for i, node in enumerate(NODES, first + 1):
                with suppress(Declined):
                    step(node, i)


def rows_of(steps: int) -> int:
    """How many rows that makes."""
    return steps + -(-steps // STEPS_AN_EXECUTION)


def host(folder: Path, **settings: Any) -> AnalyticsSystem:
    """A system whose database and journals are in a folder."""
    return configure(
        sink=f"sqlite:///{folder / 'analytics.db'}",
        journal_dir=folder / "journals",
        flush_interval_seconds=0.1,
        exit_timeout_seconds=300,
        **settings,
    )


def backlog(system: AnalyticsSystem) -> int:
    """How many bytes of this process's journal are not in the sink yet."""
    identity = system.writer.identity
    return 0 if identity is None else system.writer.position - system.shipper.fleet.rows_to(identity.journal_id)


def record_backlog(system: AnalyticsSystem, steps: int) -> None:
    """Record while nothing is delivered, then let delivery begin."""
    with system.shipper.fleet.gate:
        record(steps)
    system.shipper.wake()


def burn_for(seconds: float, until: Callable[[], bool]) -> tuple[int, float]:
    """Burn the processor in this thread until something is true; how many rounds, and in how many seconds."""
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds and not until():
        sum(i * i for i in range(2_000))
        rounds += 1
    return rounds, time.perf_counter() - began


def ask(program: str, what: str, **order: Any) -> dict[str, Any]:
    """What `program`, run as a process of its own, answers to an order.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-W", "ignore", program, "--child", json.dumps({"what": what, **order})]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def given_to(children: Mapping[str, Callable[[dict[str, Any]], None]], doc: str) -> argparse.Namespace | None:
    """The options of a benchmark; None where this process is one that `ask` started, and has done what it was told."""
    parser = options(doc)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.child:
        return given
    order = json.loads(given.child)
    children[order["what"]](order)
    return None
