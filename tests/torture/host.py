"""The host that is killed: several threads that record, and count for themselves what had returned.

Run as a program it is a mother: for each line of JSON on its input it forks one host, so that a kill costs
milliseconds. The counts stand in a mapped file of the host's own, which outlives it; nothing in it comes from the SDK.
"""

import json
import mmap
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

COUNTS = ("ok", "failed", "inside", "healed", "late", "later", "executions")
"""Returned calls: steps that succeeded, that failed, recoveries inside a step, steps that one of those healed, steps
that failed and were healed after, the recoveries that did, and executions."""
EVENTS = {"ok": 2, "failed": 2, "inside": 1, "healed": 2, "late": 2, "later": 1, "executions": 2}
"""What is written to the journal for each, at least."""
SLOT = struct.Struct(f"<{len(COUNTS)}Q")
THREADS = 2


class Ledger:
    """What had returned, for each thread of one host."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        if make:
            path.write_bytes(bytes(SLOT.size * THREADS))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), SLOT.size * THREADS)

    def add(self, thread: int, count: str) -> None:
        at = thread * SLOT.size + 8 * COUNTS.index(count)
        counted = int.from_bytes(self.map[at : at + 8], "little") + 1
        # in one store: struct.pack_into writes zeros first, which is what a kill in between would leave
        self.map[at : at + 8] = counted.to_bytes(8, "little")

    def read(self, thread: int) -> dict[str, int]:
        return dict(zip(COUNTS, SLOT.unpack_from(self.map, thread * SLOT.size), strict=True))

    def events(self) -> int:
        """The events that were acknowledged, of all threads."""
        return sum(EVENTS[count] * n for thread in range(THREADS) for count, n in self.read(thread).items())


def work(name: str, thread: int, ledger: Ledger, pause_seconds: float) -> None:
    """Run executions until killed."""
    from analytics_sdk import recovery_attempt, track_step, track_workflow

    @track_step(node_id="ok", action_type="click")
    def succeed() -> None:
        return

    while True:
        with track_workflow(workflow_id=f"{name}.{thread}"):
            for _ in range(20):
                succeed()
                ledger.add(thread, "ok")
            with track_step(node_id="failed") as step:
                step.fail("no such element")
            ledger.add(thread, "failed")
            with track_step(node_id="healed"):
                with recovery_attempt("inside"):
                    pass
                ledger.add(thread, "inside")
            ledger.add(thread, "healed")
            with track_step(node_id="late") as step:
                step.fail("gone")
            ledger.add(thread, "late")
            with recovery_attempt("later", node_id="late"):
                pass
            ledger.add(thread, "later")
        ledger.add(thread, "executions")
        if pause_seconds:
            time.sleep(pause_seconds)


def run(order: dict[str, Any]) -> None:
    """Be one host, until killed."""
    import analytics_sdk

    if order["failpoint"]:
        from failpoints import FAILPOINTS

        arm, usual = FAILPOINTS[order["failpoint"]]
        arm(order["failpoint_n"] or usual)
    sys.setswitchinterval(order["switch"])
    analytics_sdk.configure(
        sink=order["sink"], journal_dir=order["journal_dir"], flush_interval_seconds=order["interval"]
    )
    ledger = Ledger(Path(order["ledger"]))
    for thread in range(THREADS):
        threading.Thread(target=work, args=(order["name"], thread, ledger, order["pause"]), daemon=True).start()
    signal.pause()


def ship(order: dict[str, Any]) -> None:
    """Be a shipping process, until killed."""
    from analytics_sdk.shipper.once import ship_once
    from analytics_sdk.sinks import make_sink

    while True:
        ship_once(Path(order["journal_dir"]), [lambda: make_sink(order["sink"])])


def mother() -> None:
    """Fork one host for each order on the input, and say its process id."""
    import warnings

    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parent))
    import failpoints  # noqa: F401  # because its children shall not each load the database library

    import analytics_sdk.capture.resources
    import analytics_sdk.shipper.once
    import analytics_sdk.sinks.postgres
    import analytics_sdk.sinks.sqlite  # noqa: F401  # as above

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                ship(order) if order["ships"] else run(order)
            except BaseException as problem:
                print(f"host {order['name']}: {problem!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    mother()
