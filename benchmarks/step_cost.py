"""What one tracked step costs the host, beside its peers, in one run.

    python benchmarks/step_cost.py [--json]

Every contender does the same work in the same process, in rounds that take turns, so that a noisy machine hurts all
of them alike; what counts are the ratios of the medians. Ours records start and end into a real journal with delivery
to SQLite running in its thread. Peers: a plain call, a wrapt pass-through, and an OpenTelemetry span with the same four
attributes and a batch processor whose exporter drops everything.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import wrapt

from analytics_sdk import auto_instrument, configure, track_step, track_workflow

CALLS = 2_000
ROUNDS = 40


class Loop:
    """The host's."""

    def _execute_node(self, node: Any) -> int:
        return 1


class Decorated:
    @track_step(node_id="{node.node_id}", action_type="{node.action_type}")
    def _execute_node(self, node: Any) -> int:
        return 1


class Wrapped:
    @wrapt.decorator
    def _pass_through(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:  # because wrapt calls it
        return wrapped(*args, **kwargs)

    @_pass_through
    def _execute_node(self, node: Any) -> int:
        return 1


def opentelemetry_loop() -> Any | None:
    """A loop whose step is a span, or None where OpenTelemetry is not installed."""
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

    class Traced:
        def _execute_node(self, node: Any) -> int:
            with tracer.start_as_current_span("step") as span:
                span.set_attribute("workflow.id", "checkout")
                span.set_attribute("step.no", 1)
                span.set_attribute("node.id", node.node_id)
                span.set_attribute("action.type", node.action_type)
                return 1

    return Traced()


def measure(contenders: dict[str, Callable[[Any], int]]) -> dict[str, list[float]]:
    """Nanoseconds a call, one figure a round, for each contender."""
    node = SimpleNamespace(node_id="click_submit", action_type="click")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            with track_workflow(workflow_id="checkout"):
                begun = time.perf_counter_ns()
                for _ in range(CALLS):
                    call(node)
                times[name].append((time.perf_counter_ns() - begun) / CALLS)
            time.sleep(0.005)  # so that background threads work between rounds, and not all in one contender's
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as folder:
        system = configure(sink=f"sqlite:///{Path(folder) / 'benchmark.db'}")
        contenders = {"plain call": Loop()._execute_node, "wrapt pass-through": Wrapped()._execute_node}
        contenders["ours, decorated"] = Decorated()._execute_node

        class Instrumented(Loop):
            pass

        auto_instrument(Instrumented)
        contenders["ours, auto_instrument"] = Instrumented()._execute_node
        traced = opentelemetry_loop()
        if traced is not None:
            contenders["OpenTelemetry span"] = traced._execute_node
        times = measure(contenders)
        delivered = system.close(60)
        lost = sum(loss.n for loss in system.writer.losses())
    medians = {name: statistics.median(figures) for name, figures in times.items()}
    span = medians.get("OpenTelemetry span")
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "ns_per_step": {name: round(figure) for name, figure in medians.items()},
        "p10_p90_ns": {n: [round(statistics.quantiles(f, n=10)[i]) for i in (0, 8)] for n, f in times.items()},
        "of_a_span": {n: round(f / span, 4) for n, f in medians.items()} if span else {},
        "delivered": delivered,
        "lost": lost,
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}; {ROUNDS} rounds of {CALLS} calls; delivered: {delivered}, lost: {lost}")
    for name, figure in medians.items():
        low, high = result["p10_p90_ns"][name]  # type: ignore[index]  # because it is the dict made above
        beside = f"1/{span / figure:5.1f} of the span" if span else ""
        print(f"{name:24s} {figure:8.0f} ns   ({low:.0f} - {high:.0f})   {beside}")


if __name__ == "__main__":
    main()
