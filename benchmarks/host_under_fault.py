"""What one tracked step costs the host while something is wrong, beside the same loop when nothing is.

    python benchmarks/host_under_fault.py [--steps 200000] [--json]

Each scenario is a process of its own that runs the same loop and times every call: a plain function beside, so that
what the machine itself does shows; delivery as usual; the database locked by another process; a server that nobody
answers for; a journal on a disk that is full; a journal at its quota; and a host that forks while it records.
Scenarios take turns, the rounds are pooled. `lost` is what the journal counted; nothing else may be missing.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 3
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--host", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.host:
        run_host(json.loads(chosen.host))
        return
    found: dict[str, dict[str, Any]] = {name: {"taken": [], "lost": 0} for name in SCENARIOS}
    for _ in range(ROUNDS):
        for name in SCENARIOS:
            if "disk_bytes" in SCENARIOS[name] and os.geteuid() != 0:
                continue  # because only root may mount a small disk
            answer = run_scenario(name, chosen.steps)
            found[name]["taken"] += answer["taken"]
            found[name]["lost"] += answer["lost"]
    lines = []
    for name, seen in found.items():
        taken = sorted(seen["taken"])
        if taken:
            ranks = {f"p{rank}_ns": taken[int(len(taken) * rank / 100)] for rank in (50, 99)}
            lines.append({"scenario": name, **ranks, "max_ns": taken[-1], "lost": seen["lost"]})
    if chosen.json:
        print(json.dumps({"machine": platform.platform(), "steps": chosen.steps * ROUNDS, "scenarios": lines}))
        return
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs"
    print(f"{machine}, {chosen.steps * ROUNDS:,} steps each")
    print(f"{'':24}{'p50 us':>10}{'p99 us':>10}{'max ms':>10}{'lost':>10}")
    for line in lines:
        p50, p99, most = line["p50_ns"] / 1e3, line["p99_ns"] / 1e3, line["max_ns"] / 1e6
        print(f"{line['scenario']:24}{p50:10.2f}{p99:10.2f}{most:10.2f}{line['lost']:10,}")


if __name__ == "__main__":
    main()
