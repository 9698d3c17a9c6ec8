"""Where each 100 ns of a tracked step goes.

    python benchmarks/hot_path.py [--json FILE] [--quick]

Each part of a usual step is timed alone, as often as the step needs it, with the values that it has there; what is left
of the whole step is the work of the interpreter between the parts, and memory that the processor has not at hand.
"""

import tempfile
import time
import timeit
import zlib
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from _figures import Figures, options

from analytics_sdk import track_step, track_workflow
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import Execution, Step, current
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.journal.record import FRAME, SYNC
from analytics_sdk.journal.writer import JournalWriter

CALLS = 1_000


class NoJournal:
    """Keeps nothing."""

    def append(self, kind: int, fields: tuple[object, ...]) -> int:
        return 0


def best_ns(statement: str, repeats: int, **names: Any) -> float:
    """The least time of a statement, in nanoseconds, without that of the empty loop."""
    empty, full = (
        min(timeit.repeat(code, globals=names, number=CALLS, repeat=repeats)) for code in ("pass", statement)
    )
    return (full - empty) / CALLS * 1e9


def whole_ns(journal: Any, repeats: int) -> float:
    """The least time of a whole step."""
    kept, active.recorder = active.recorder, Recorder(journal)

    @track_step(node_id="{node.node_id}", action_type="{node.action_type}")
    def step(loop: object, node: Any) -> int:
        return 1

    node = SimpleNamespace(node_id="click_submit", action_type="click")
    with track_workflow(workflow_id="checkout"):
        taken = best_ns("step(None, node)", repeats, step=step, node=node)
    active.recorder = kept
    return taken


def _parts(segment: Any) -> list[tuple[str, int, str, dict[str, Any]]]:
    """(what, how often a step needs it, statement, names)."""
    execution = Execution("0192f7e2-3f70-7abc-8def-0123456789ab", "checkout")
    start = (execution.execution_id, "checkout", 17, "click_submit", "click", time.time_ns())
    end = (123_456, *start, 0, 12_345)
    encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
    payload = encode(end)
    frame = FRAME.pack(SYNC, 4, len(payload), 77) + payload
    node = SimpleNamespace(node_id="click_submit", action_type="click")
    step = (17, "click_submit", "click", execution, None, execution, None, None, 1)

    def through(*args: Any, **kwargs: Any) -> Any:
        return inner(*args)

    def inner(loop: object, node: object) -> int:
        return 1

    return [
        ("the function itself", 1, "inner(None, node)", {"inner": inner, "node": node}),
        ("a wrapper around it, with *args and **kwargs", 1, "through(None, node)", {"through": through, "node": node}),
        ("picking an id of the node", 2, "of(args[1])", {"of": attrgetter("node_id"), "args": (None, node)}),
        ("reading the current frame", 1, "get()", {"get": current.get}),
        ("setting the current frame", 2, "put(frame)", {"put": current.set, "frame": None}),
        ("the time of day", 1, "clock()", {"clock": time.time_ns}),
        ("the monotonic clock", 2, "clock()", {"clock": time.perf_counter_ns}),
        ("the object of the step", 1, "Step(*step)", {"Step": Step, "step": step}),
        ("listing it as open, and not", 1, "d[17] = 1; d.pop(17, None)", {"d": {}}),
        ("the next number", 1, "following()", {"following": execution.next_step_no}),
        ("encoding the start", 1, "encode(start)", {"encode": encode, "start": start}),
        ("encoding the end", 1, "encode(end)", {"encode": encode, "end": end}),
        ("the checksum", 2, "crc(payload, 77)", {"crc": zlib.crc32, "payload": payload}),
        ("the header, and joining", 2, "pack(165, 4, 86, 77) + p", {"pack": FRAME.pack, "p": payload}),
        ("the store into the map", 2, "m[64:end] = f", {"m": segment.map, "f": frame, "end": 64 + len(frame)}),
        ("looking whether this is a forked child", 2, "here[0]", {"here": segment.map}),
        ("calling append", 2, "append(4, fields)", {"append": NoJournal().append, "fields": end}),
    ]


def main() -> None:
    given = options(__doc__ or "").parse_args()
    repeats = 50 if given.quick else 500
    figures = Figures("where each 100 ns of a step goes")
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalWriter(Path(folder), min_free_bytes=0, max_bytes=8 << 30)
        whole, without = whole_ns(journal, repeats), whole_ns(NoJournal(), repeats)
        known = 0.0
        for what, times, statement, names in _parts(journal._segment):
            taken = times * best_ns(statement, repeats, **names)
            if what.startswith("a wrapper"):
                taken -= known  # because the function is in it
            known += taken
            told = what if times == 1 else f"{what} ({times} times)"
            figures.add(told, taken, "ns", beside="the whole step", ratio=taken / whole)
        journal.release()
    rest = whole - known
    told = "the interpreter between these, and memory not at hand"
    figures.add(told, rest, "ns", beside="the whole step", ratio=rest / whole)
    figures.add("a step whose journal keeps nothing", without, "ns", beside="the whole step", ratio=without / whole)
    figures.add("the whole step", whole, "ns")
    figures.close(given.json)


if __name__ == "__main__":
    main()
