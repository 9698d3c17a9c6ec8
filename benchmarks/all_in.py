"""The processor time that a step costs in all, from the call until its row and its share of the rollups are in.

    python benchmarks/all_in.py [--json FILE] [--quick]

Ours: capture, journal, delivery to SQLite and rollups, until everything is stored, in one process. The peer does the
same work, executions of twenty steps of which one in fifty fails, with OpenTelemetry spans of the same four attributes,
a BatchSpanProcessor and the OTLP/HTTP exporter, to a receiver in a process of its own that only counts; it stores
nothing. What counts is the processor time of the instrumented process,
all of its threads, from the first step until everything is out. The peer drops what does not fit into its queue, so it
runs twice: at full speed, and with a flush after every 1,000 spans, so that it exports all of them as ours stores all.

Then ours at full speed for 10 million steps: what it loses, and how its memory grows. And the
rate for ever: the host records only while less than 32 MiB wait, so it goes as fast as delivery in its process does.
"""

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from _figures import Figures
from _journals import FAILS_EVERY, NODES, STEPS_AN_EXECUTION, Declined, ask, backlog, given_to, host, record, rows_of

FIRST_STEPS = 10_000
WARM_STEPS = 200_000
"""From then on batches and segments are as large as they get."""
FLUSH_EVERY = 1_000
MIB = 1 << 20
BACKLOG_BYTES = 32 * MIB


def memory() -> dict[str, int]:
    """What this process holds, in bytes; `file` is mapped files, the journal's segments among them."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {
        name: int(lines[key].split()[0]) << 10
        for name, key in (("rss", "VmRSS"), ("own", "RssAnon"), ("file", "RssFile"))
    }
    return {**sizes, "peak": int(lines["VmHWM"].split()[0]) << 10}


# ---------------------------------------------------------------- ours


def ours(order: dict[str, Any]) -> None:
    """Record at full speed until all is stored."""
    folder = Path(order["folder"])
    system = host(folder)
    record(FIRST_STEPS)
    system.flush(60)
    system.shipper.fleet.fold()
    before = memory()
    cpu, began = time.process_time(), time.perf_counter()
    warm = min(WARM_STEPS, order["steps"] // 2)
    record(warm)
    middle = memory()
    record(order["steps"] - warm)
    recorded = time.perf_counter() - began
    most = backlog(system)
    done = system.flush(600)
    system.shipper.fleet.fold()
    answer = {
        "cpu_us": (time.process_time() - cpu) / order["steps"] * 1e6,
        "seconds": time.perf_counter() - began,
        "recorded": recorded,
        "backlog": most,
        "before": before,
        "middle": middle,
        "after": memory(),
        "lost": sum(loss.n for loss in system.writer.losses()),
        "done": done and system.close(60),
    }
    answer["rows"] = rows_stored(folder)
    print(json.dumps(answer))


def rows_stored(folder: Path) -> int:
    """How many rows the database holds."""
    import sqlite3

    db = sqlite3.connect(folder / "analytics.db")
    try:
        return sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("executions", "steps"))
    finally:
        db.close()


def for_ever(order: dict[str, Any]) -> None:
    """Steps a second that a host records while its backlog stays as it is."""
    system = host(Path(order["folder"]))
    warm = order["seconds"] / 3
    began = time.perf_counter()
    done, since, at, position = 0, began, 0, 0
    while (now := time.perf_counter()) - began < order["seconds"]:
        if now - began < warm:
            done, since, at, position = 0, now, backlog(system), system.writer.position
        if backlog(system) > BACKLOG_BYTES:
            time.sleep(0.001)
            continue
        record(STEPS_AN_EXECUTION * 10)
        done += STEPS_AN_EXECUTION * 10
    seconds, grown = time.perf_counter() - since, backlog(system) - at
    bytes_a_step = (system.writer.position - position) / done
    rate = (done - grown / bytes_a_step) / seconds  # what was delivered, not what was recorded
    print(json.dumps({"rate": rate}), flush=True)
    os._exit(0)  # because what is left is of no interest


# ---------------------------------------------------------------- the peer


class Receiver(BaseHTTPRequestHandler):
    """Takes spans and counts them."""

    protocol_version = "HTTP/1.1"
    counted = 0

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        Receiver.counted += sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(str(Receiver.counted).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def receive(order: dict[str, Any]) -> None:
    """Receive until told to stop; says its port first."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def theirs(order: dict[str, Any]) -> None:
    """The same steps as spans."""
    import logging
    from urllib.request import urlopen

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logging.disable(logging.CRITICAL)
    url = f"http://127.0.0.1:{order['port']}"
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    tracer = provider.get_tracer("benchmark")

    def step(node: str, i: int) -> None:
        with tracer.start_as_current_span("step") as span:
            span.set_attribute("workflow.id", "checkout")
            span.set_attribute("step.no", i)
            span.set_attribute("node.id", node)
            span.set_attribute("action.type", "click")
            if i % FAILS_EVERY == 0:
                raise Declined(f"card {i} was declined")

    def spans(steps: int, flush_every: int) -> None:
        for first in range(0, steps, STEPS_AN_EXECUTION):
            with tracer.start_as_current_span("checkout"):
                for i, node in enumerate(NODES, first + 1):
                    with suppress(Declined):
                        step(node, i)
            if flush_every and (first + STEPS_AN_EXECUTION) % flush_every == 0:
                provider.force_flush()

    spans(FLUSH_EVERY, 0)
    provider.force_flush()
    before = int(urlopen(url).read())
    cpu = time.process_time()
    spans(order["steps"], order["flush_every"])
    provider.force_flush()
    provider.shutdown()
    cpu_us = (time.process_time() - cpu) / order["steps"] * 1e6
    dropped = rows_of(order["steps"]) - (int(urlopen(url).read()) - before)
    print(json.dumps({"cpu_us": cpu_us, "dropped": dropped}))


# ---------------------------------------------------------------- figures


def tell_cpu(figures: Figures, folder: Path, steps: int, spans: int, rounds: int) -> None:
    """Ours and the peer's, in turns."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "at full speed": [], "flushed": []}
    command = [sys.executable, __file__, "--child", json.dumps({"what": "receive"})]
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout is not None
        port = int(receiver.stdout.readline())
        for _ in range(rounds):
            found["ours"].append(ask(__file__, "ours", folder=empty(folder), steps=steps))
            for name, every in (("at full speed", 0), ("flushed", FLUSH_EVERY)):
                found[name].append(ask(__file__, "theirs", port=port, steps=spans, flush_every=every))
    finally:
        receiver.kill()
        receiver.wait()
    cpu = {name: statistics.median(one["cpu_us"] for one in each) for name, each in found.items()}
    for name in ("at full speed", "flushed"):
        dropped = sum(one["dropped"] for one in found[name]) / (rows_of(spans) * rounds)
        figures.add(f"a step as OpenTelemetry span to OTLP, {name}", cpu[name], "us of CPU")
        figures.add(f"OpenTelemetry span to OTLP, {name}: dropped", 100 * dropped, "% of spans")
    ratio = cpu["ours"] / cpu["flushed"]
    figures.add(
        "a step, all-in",
        cpu["ours"],
        "us of CPU",
        beside="a span that is exported",
        ratio=ratio,
        target="at most 1/8",
        met=ratio <= 1 / 8,
    )
    figures.add(
        "a step, all-in, beside spans of which most are dropped",
        cpu["ours"],
        "us of CPU",
        beside="a span at full speed",
        ratio=cpu["ours"] / cpu["at full speed"],
    )


def tell_endurance(figures: Figures, folder: Path, steps: int, seconds: float) -> None:
    """A long run at full speed, and the rate for ever."""
    found = ask(__file__, "ours", folder=empty(folder), steps=steps)
    missing = rows_of(FIRST_STEPS) + rows_of(steps) - found["rows"]
    figures.add(
        f"{steps:,} steps at full speed: lost or missing",
        found["lost"] + missing,
        "rows",
        target="nothing, and all delivered",
        met=found["lost"] + missing == 0 and found["done"],
    )
    figures.add("recorded at", steps / found["recorded"], "steps/s")
    figures.add("stored at", steps / found["seconds"], "steps/s")
    figures.add("waiting in the journal when the last was recorded", found["backlog"] / MIB, "MiB")
    grown = (found["after"]["rss"] - found["before"]["rss"]) / MIB
    figures.add("memory afterwards, more than after 10,000 steps", grown, "MiB", target="under 10 MB", met=grown < 9.54)
    warm = min(WARM_STEPS, steps // 2)
    grown = (found["after"]["rss"] - found["middle"]["rss"]) / MIB
    figures.add(f"memory afterwards, more than after {warm:,} steps", grown, "MiB")
    for name, what in (("own", "its own"), ("file", "mapped files, the journal's segments")):
        figures.add(
            f"more than after 10,000 steps, {what}", (found["after"][name] - found["before"][name]) / MIB, "MiB"
        )
    figures.add("the most at any time, more than then", (found["after"]["peak"] - found["before"]["rss"]) / MIB, "MiB")
    rate = ask(__file__, "for_ever", folder=empty(folder), seconds=seconds)["rate"]
    figures.add("the rate for ever, at which the backlog stays as it is", rate, "steps/s")


def empty(folder: Path) -> str:
    """The folder for a run, with nothing in it."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "run").mkdir()
    return str(folder / "run")


CHILDREN = {"ours": ours, "for_ever": for_ever, "theirs": theirs, "receive": receive}


def main() -> None:
    given = given_to(CHILDREN, __doc__ or "")
    if given is None:
        return
    steps, spans, rounds = (50_000, 8_000, 1) if given.quick else (200_000, 40_000, 3)
    long_run, seconds = (300_000, 4.0) if given.quick else (10_000_000, 15.0)
    figures = Figures("a step, all-in")
    with tempfile.TemporaryDirectory() as name:
        tell_cpu(figures, Path(name), steps, spans, rounds)
        tell_endurance(figures, Path(name), long_run, seconds)
    figures.close(given.json)


if __name__ == "__main__":
    main()
