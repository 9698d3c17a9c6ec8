"""What was used by whom: samples joined to executions, steps, recoveries, workflows and nodes, alike in every store."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from sink_stores import RUNNING_EXECUTION, T0_NS, Store, execution, recovery, step

from analytics_sdk.events import GpuSample, Running, Sample
from analytics_sdk.query import Query
from analytics_sdk.query.results import Usage
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.vocabulary import Kind

MINE = JournalIdentity("a1" * 16, "buero-7", 4711, T0_NS)
THEIRS = JournalIdentity("b2" * 16, "buero-7", 4712, T0_NS)
SECOND = 10**9


def at(seconds: float) -> int:
    return T0_NS + int(seconds * SECOND)


def lasting(start: float, end: float) -> dict[str, int]:
    """The columns of something that ran from one second to another."""
    return {"started_at_ns": at(start), "ended_at_ns": at(end), "duration_ns": int((end - start) * SECOND)}


def keep(store: Store, journal: JournalIdentity, samples: list[Sample], **rows: Any) -> Any:
    """Rows and samples of one process in a store, in one batch."""
    sink = store.open()
    old = sink.position(journal).rows
    decoded = [(old + 500 + place, Kind.SAMPLE, sample) for place, sample in enumerate(samples)]
    sink.write(Batch(journal, old, old + 1000, samples=merge(journal, decoded, old, old + 1000).samples, **rows))
    return sink


@pytest.fixture
def query(store: Store) -> Iterator[Query]:
    """One execution of ten seconds with two steps, a step nobody met and a recovery; a sample every two seconds."""
    gpus = lambda busy, held: [GpuSample(0, "H", busy, process_memory_bytes=held, uuid="GPU-1")]  # noqa: E731  # a test's shorthand
    runs = lambda *nodes: [Running("w", None, 1.0), *(Running("w", *node) for node in nodes)]  # noqa: E731  # a test's shorthand
    samples = [
        Sample(at(-1), 900.0, 900, 0, 0, gpus=gpus(100.0, 900), elapsed_ns=2 * SECOND, executions=0, running=[]),
        Sample(at(1), 10.0, 100, 1000, 0, gpus=gpus(10.0, 5), elapsed_ns=2 * SECOND, executions=1,
               running=[Running("w", None, 0.5), Running("w", "load", 0.4)]),
        Sample(at(3), 50.0, 300, 1500, 7, gpus=gpus(30.0, 9), elapsed_ns=2 * SECOND, executions=1,
               running=runs(("load", 1.0))),
        Sample(at(5), 90.0, 200, 1500, 9, gpus=gpus(None, None), elapsed_ns=2 * SECOND, executions=2,
               running=runs(("heal", 0.5))),
        Sample(at(7), 70.0, 200, 1800, 9, elapsed_ns=2 * SECOND, executions=1, running=runs(("heal", 1.0))),
    ]  # fmt: skip
    sink = keep(
        store,
        MINE,
        samples,
        new_executions=[execution(0, execution_id="e", workflow_id="w", end_seq=9, **lasting(0, 10))],
        new_steps=[
            step(1, execution_id="e", workflow_id="w", node_id="load", **lasting(0.2, 4)),
            step(2, execution_id="e", workflow_id="w", node_id="heal", **lasting(4, 8)),
            step(3, execution_id="e", workflow_id="w", node_id="short", **lasting(8, 8.5)),
        ],
        recoveries=[recovery(4, execution_id="e", workflow_id="w", started_at_ns=at(4.5), duration_ns=SECOND)],
    )
    keep(store, THEIRS, [Sample(at(3), 4000.0, 40_000, 0, 0, executions=1, running=[Running("other", None, 1.0)])])
    return Query(sink)


def test_an_execution_its_steps_and_recoveries_have_what_was_sampled_meanwhile(query: Query) -> None:
    """By process and time; CPU only of stretches that it ran through at least half of; bytes between its samples."""
    found = query.usage("e")
    assert found is not None
    assert found.execution == Usage(4, 1, 55.0, 90.0, 300, 800, 9, 20.0, 30.0, 9)
    load, heal, short = (usage for _, usage in found.steps)
    assert load == Usage(2, 0, 50.0, 50.0, 300, 500, 7, 20.0, 30.0, 9)
    assert heal == Usage(2, 1, 80.0, 90.0, 200, 300, 0, None, None, None)
    assert short == Usage()
    assert [(row.strategy, usage) for row, usage in found.recoveries] == [
        ("semantic_variant", Usage(1, 1, None, None, 200, None, None, None, None, None))
    ]


def test_an_execution_that_is_not_stored_has_no_usage(query: Query) -> None:
    assert query.usage("nobody") is None


def test_what_still_runs_has_what_was_sampled_until_now(store: Store) -> None:
    """Its end is not known, so every later sample of its process counts."""
    row = execution(0, execution_id="e", started_at_ns=at(0), **RUNNING_EXECUTION)
    sink = keep(store, MINE, [Sample(at(-1), 1.0), Sample(at(1), 2.0), Sample(at(99), 4.0)], new_executions=[row])
    found = Query(sink).usage("e")
    assert found is not None
    assert (found.execution.samples, found.execution.cpu_percent_avg) == (2, 3.0)


def test_workflows_and_nodes_have_the_samples_that_met_them(query: Query) -> None:
    """Only those that a sample met; each says how many samples several executions shared."""
    stats: Any = query.stats("w", start_ns=at(-10), end_ns=at(60), now_ns=at(60))
    resources = stats["resources"]
    (whole,) = resources["workflows"]
    assert (whole["workflow_id"], whole["samples"], whole["shared"]) == ("w", 4, 1)
    assert (whole["cpu_percent_avg"], whole["cpu_percent_max"], whole["rss_bytes_max"]) == (55.0, 90.0, 300)
    heal, load = resources["steps"]
    assert (load["node_id"], load["samples"], load["shared"]) == ("load", 2, 0)
    assert (load["cpu_percent_avg"], load["cpu_percent_max"]) == (50.0, 50.0)
    assert (load["read_bytes"], load["written_bytes"]) == (500, 7)
    assert (load["gpu_utilization_percent_avg"], load["gpu_utilization_percent_max"]) == (20.0, 30.0)
    assert load["gpu_memory_bytes_max"] == 9
    assert (heal["node_id"], heal["samples"], heal["shared"], heal["cpu_percent_avg"]) == ("heal", 2, 1, 80.0)
    assert (heal["read_bytes"], heal["written_bytes"]) == (300, 0)
    assert math.isnan(heal["gpu_utilization_percent_avg"]) and math.isnan(heal["gpu_memory_bytes_max"])
    of_all: Any = query.stats(start_ns=at(-10), end_ns=at(60), now_ns=at(60))
    assert [one["workflow_id"] for one in of_all["resources"]["workflows"]] == ["other", "w"]
    assert of_all["resources"]["samples"] == 6


def test_bytes_of_a_process_are_what_its_counters_moved_by(query: Query) -> None:
    """Over the whole window, each process against itself; a counter that went back says nothing."""
    stats: Any = query.stats(start_ns=at(-10), end_ns=at(60), now_ns=at(60))
    assert (stats["resources"]["read_bytes"], stats["resources"]["written_bytes"]) == (1800, 9)
