"""What one tracked step costs the host, beside its peers, in one run.

    python benchmarks/step_cost.py [--json FILE] [--quick]

Every contender does the same work in the same process, in rounds that take turns, so that a noisy machine hurts all of
them alike; what counts are the ratios of the medians. Ours records start and end into a real journal with delivery to
SQLite running in its thread. Peers: a plain call, a wrapt pass-through, and an OpenTelemetry span with the same four
attributes and a batch processor whose exporter drops everything. Then the same with `async def`, and then the slowest
calls beside four threads that burn the processor.
"""

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import wrapt
from _figures import Figures, options, spread

from analytics_sdk import auto_instrument, configure, track_step, track_workflow

CALLS = 2_000
BUSY_THREADS = 4
NODE = SimpleNamespace(node_id="click_submit", action_type="click")
IDS = {"node_id": "{node.node_id}", "action_type": "{node.action_type}"}
SPAN = "an OpenTelemetry span"


class Loop:
    """The host's."""

    def _execute_node(self, node: Any) -> int:
        return 1

    async def fetch(self, node: Any) -> int:
        return 1


class Decorated:
    @track_step(**IDS)
    def _execute_node(self, node: Any) -> int:
        return 1

    @track_step(**IDS)
    async def fetch(self, node: Any) -> int:
        return 1


class Wrapped:
    @wrapt.decorator
    def _pass_through(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:  # because wrapt calls it
        return wrapped(*args, **kwargs)

    @_pass_through
    def _execute_node(self, node: Any) -> int:
        return 1


def traced_loop() -> Any | None:
    """A loop whose steps are spans, or None where OpenTelemetry is not installed."""
    try:
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    except ImportError:
        return None

    class Drop(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop()))
    tracer = provider.get_tracer("benchmark")

    def describe(span: Any, node: Any) -> None:
        span.set_attribute("workflow.id", "checkout")
        span.set_attribute("step.no", 1)
        span.set_attribute("node.id", node.node_id)
        span.set_attribute("action.type", node.action_type)

    class Traced:
        def _execute_node(self, node: Any) -> int:
            with tracer.start_as_current_span("step") as span:
                describe(span, node)
                return 1

        async def fetch(self, node: Any) -> int:
            with tracer.start_as_current_span("step") as span:
                describe(span, node)
                return 1

    return Traced()


def measure(contenders: dict[str, Callable[[Any], Any]], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds a call, one figure a round, for each contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            with track_workflow(workflow_id="checkout"):
                begun = time.perf_counter_ns()
                for _ in range(CALLS):
                    call(NODE)
                times[name].append((time.perf_counter_ns() - begun) / CALLS)
            time.sleep(0.005)  # so that background threads work between rounds, and not all in one contender's
    return times


async def measure_async(contenders: dict[str, Callable[[Any], Any]], rounds: int) -> dict[str, list[float]]:
    """The same for coroutine functions."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            with track_workflow(workflow_id="checkout"):
                begun = time.perf_counter_ns()
                for _ in range(CALLS):
                    await call(NODE)
                times[name].append((time.perf_counter_ns() - begun) / CALLS)
            await asyncio.sleep(0.005)
    return times


def burn_as_long(duration_ns: float) -> Callable[[Any], int]:
    """A Python function that does nothing of use for as long as a step of ours takes."""
    turns = range(100_000)
    begun = time.perf_counter_ns()
    for _ in turns:
        pass
    needed = range(int(duration_ns / ((time.perf_counter_ns() - begun) / len(turns))))

    def burn(node: Any) -> int:
        for _ in needed:
            pass
        return 1

    return burn


def measure_tails(contenders: dict[str, Callable[[Any], Any]], calls: int) -> dict[str, list[int]]:
    """The time of each single call, in nanoseconds, ascending, while other threads want the processor all the time."""
    over = threading.Event()

    def burn() -> None:
        while not over.is_set():
            sum(i * i for i in range(200))

    threads = [threading.Thread(target=burn) for _ in range(BUSY_THREADS)]
    for thread in threads:
        thread.start()
    times: dict[str, list[int]] = {name: [] for name in contenders}
    clock = time.perf_counter_ns
    try:
        for _ in range(calls // 100):
            for name, call in contenders.items():
                taken = times[name]
                with track_workflow(workflow_id="checkout"):
                    for _ in range(100):
                        begun = clock()
                        call(NODE)
                        taken.append(clock() - begun)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return {name: sorted(taken) for name, taken in times.items()}


def tell(figures: Figures, times: dict[str, list[float]], span: str, tenth: float, targets: Sequence[str]) -> None:
    """Add the medians, with their ratio to the span."""
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        ratio = median / medians[span] if span in medians and name != span else None
        wanted = name in targets and ratio is not None
        figures.add(
            name,
            median,
            "ns",
            beside=span if ratio is not None else None,
            ratio=ratio,
            target=f"at most 1/{1 / tenth:.0f}" if wanted else None,
            met=None if not wanted or ratio is None else ratio <= tenth,
        )
        print(f"    {spread(times[name])} ns")


def main() -> None:
    given = options(__doc__ or "").parse_args()
    rounds, calls = (10, 20_000) if given.quick else (40, 200_000)
    figures = Figures("the cost of a step")
    with tempfile.TemporaryDirectory() as folder:
        system = configure(sink=f"sqlite:///{Path(folder) / 'benchmark.db'}")
        traced = traced_loop()

        class Instrumented(Loop):
            pass

        auto_instrument(Instrumented, step=["_execute_node", "fetch"])
        sync = {
            "plain call": Loop()._execute_node,
            "wrapt pass-through": Wrapped()._execute_node,
            "step, decorated": Decorated()._execute_node,
            "step, auto_instrument": Instrumented()._execute_node,
        }
        later = {
            "plain await": Loop().fetch,
            "async step, decorated": Decorated().fetch,
            "async step, auto_instrument": Instrumented().fetch,
        }
        if traced is not None:
            sync[SPAN], later[SPAN] = traced._execute_node, traced.fetch
        steps = [name for name in (*sync, *later) if "step, " in name]
        times = measure(sync, rounds)
        tell(figures, times, SPAN, 1 / 10, steps)
        tell(figures, asyncio.run(measure_async(later, rounds)), SPAN, 1 / 6, steps)
        step_ns = statistics.median(times["step, decorated"])
        tails = measure_tails(
            {
                "an empty function": sync["plain call"],
                "a function that burns as long": burn_as_long(step_ns),
                "step": sync["step, decorated"],
            },
            calls,
        )
        tell_tails(figures, tails)
        delivered = system.close(120)
        lost = sum(loss.n for loss in system.writer.losses())
    figures.add("lost", lost, "records", target="nothing, and all delivered", met=lost == 0 and delivered)
    figures.close(given.json)


def tell_tails(figures: Figures, tails: dict[str, list[int]]) -> None:
    """Add p99 and p99.9 of single calls beside busy threads.

    The longer a call, the more often a switch of threads falls into it: hence the function that burns as long.
    """
    for quantile, word in ((0.99, "p99"), (0.999, "p99.9")):
        at = {name: taken[int(quantile * len(taken))] / 1000 for name, taken in tails.items()}
        shown = f"{word} beside {BUSY_THREADS} busy threads"
        for name in ("an empty function", "a function that burns as long"):
            figures.add(f"{shown}, {name}", at[name], "us")
        step = at["step"]
        if quantile == 0.99:
            figures.add(f"{shown}, step", step, "us", target="under 100 us", met=step < 100)
            continue
        for peer, target in (("an empty function", "at most 1.5"), ("a function that burns as long", None)):
            ratio = step / at[peer]
            met = None if target is None else ratio <= 1.5
            figures.add(f"{shown}, step", step, "us", beside=peer, ratio=ratio, target=target, met=met)


if __name__ == "__main__":
    main()
