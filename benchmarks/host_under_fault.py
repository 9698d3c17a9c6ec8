"""What one tracked step costs the host while something is wrong, beside the same loop when nothing is.

    python benchmarks/host_under_fault.py [--json FILE] [--quick]

Each scenario is a process of its own that runs the same loop and times every call: a plain function beside, so that
what the machine itself does shows; delivery as usual; the database locked by another process; a server that nobody
answers for; a journal on a disk that is full; a journal at its quota; and a host that forks while it records.
Scenarios take turns, the rounds are pooled. `lost` is what the journal counted; nothing else may be missing.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _figures import Figures, options

FORK_EVERY = 5_000
MIB = 1 << 20
SCENARIOS = {
    "plain function, no SDK": {},
    "normal": {},
    "database locked": {"locks": True},
    "database down": {"sink": "postgresql://nobody@127.0.0.1:1/none"},
    "disk full": {"disk_bytes": 2 * MIB},
    "quota reached": {"journal_max_bytes": 2 * MIB},
    "forks while recording": {"forks": True},
}


def run_host(order: dict[str, Any]) -> None:
    """The host: one line of JSON with the nanoseconds of its calls at some ranks, and what was lost."""
    if order["name"].startswith("plain"):

        def step() -> None:
            return

        print(json.dumps(summary(time_calls(step, order), 0)))
        return
    import analytics_sdk

    system = analytics_sdk.configure(
        sink=order["sink"],
        journal_dir=order["journal_dir"],
        journal_max_bytes=order.get("journal_max_bytes", 2 << 30),
        flush_interval_seconds=0.1,
        exit_timeout_seconds=0.2,
    )
    if "disk_bytes" in order:
        system.writer.quota = system.writer.quota._replace(min_free_bytes=0)

    @analytics_sdk.track_step(node_id="pay", action_type="click")
    def step() -> None:
        return

    with analytics_sdk.track_workflow(workflow_id="checkout"):
        taken = time_calls(step, order)
    system.writer.maintain()
    print(json.dumps(summary(taken, sum(loss.n for loss in system.writer.losses()))), flush=True)
    os._exit(0)  # because the end of a process is another question


def time_calls(step: Any, order: dict[str, Any]) -> list[int]:
    clock, taken = time.perf_counter_ns, []
    forks = order.get("forks", False)
    for i in range(order["steps"]):
        if forks and i % FORK_EVERY == 0:
            pid = os.fork()
            if pid == 0:
                for _ in range(100):
                    step()
                os._exit(0)
            os.waitpid(pid, 0)
        began = clock()
        step()
        taken.append(clock() - began)
    return taken


def summary(taken: list[int], lost: int) -> dict[str, Any]:
    return {"taken": [*sorted(taken)[:: max(1, len(taken) // 20_000)], max(taken)], "lost": lost}


def run_scenario(name: str, steps: int) -> dict[str, Any]:
    """One round of one scenario."""
    what = dict(SCENARIOS[name])
    with tempfile.TemporaryDirectory() as folder:
        order = {"name": name, "steps": steps, "sink": f"sqlite:///{folder}/analytics.db", "journal_dir": f"{folder}/j"}
        order |= what
        locked = None
        if what.get("locks"):
            locked = sqlite3.connect(f"{folder}/analytics.db", isolation_level=None)
            locked.execute("BEGIN EXCLUSIVE")
        disk = None
        if "disk_bytes" in what:
            disk = Path(folder, "disk")
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={what['disk_bytes']}", "none", str(disk)], check=True)
            order["journal_dir"] = f"{disk}/j"
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--host", json.dumps(order)], capture_output=True, text=True
            )
        finally:
            if locked is not None:
                locked.close()
            if disk is not None:
                subprocess.run(["umount", str(disk)], check=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--host", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.host:
        run_host(json.loads(given.host))
        return
    rounds, steps = (1, 50_000) if given.quick else (3, 200_000)
    figures = Figures("a step while something is wrong")
    found: dict[str, dict[str, Any]] = {name: {"taken": [], "lost": 0} for name in SCENARIOS}
    for _ in range(rounds):
        for name in SCENARIOS:
            if "disk_bytes" in SCENARIOS[name] and os.geteuid() != 0:
                continue  # because only root may mount a small disk
            answer = run_scenario(name, steps)
            found[name]["taken"] += answer["taken"]
            found[name]["lost"] += answer["lost"]
    usual_ns = at_rank(found["normal"]["taken"], 99)
    for name, seen in found.items():
        if not seen["taken"]:
            continue
        p99_ns = at_rank(seen["taken"], 99)
        beside = None if name in ("normal", "plain function, no SDK") else "normal"
        figures.add(f"{name}: p50", at_rank(seen["taken"], 50) / 1e3, "us")
        figures.add(
            f"{name}: p99", p99_ns / 1e3, "us", beside=beside, ratio=p99_ns / usual_ns if beside is not None else None
        )
        figures.add(f"{name}: slowest", max(seen["taken"]) / 1e6, "ms")
        figures.add(f"{name}: lost, and counted", seen["lost"], "records")
    figures.close(given.json)


def at_rank(taken: list[int], percent: int) -> int:
    """The value below which so many percent lie."""
    return sorted(taken)[int(len(taken) * percent / 100)]


if __name__ == "__main__":
    main()
