"""What every sink promises, held against each: in memory, a SQLite file, a PostgreSQL server, ClickHouse."""

import threading
from typing import Any

import pytest
from sink_stores import (
    JOURNAL,
    RUNNING,
    RUNNING_EXECUTION,
    T0_NS,
    Store,
    execution,
    recovery,
    sample,
    step,
)

from analytics_sdk.errors import Fenced, RejectedRecord
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions, RollupSink, Sink
from analytics_sdk.testing import check_sink

OTHER = JournalIdentity("aa" * 16, "buero-8", 17, T0_NS)


def write(store: Store, old: int, new: int, **rows: Any) -> Any:
    """Write one batch of JOURNAL with a sink of its own; the sink."""
    sink = store.open()
    sink.write(Batch(JOURNAL, old, new, **rows))
    return sink


def settle(store: Store, at: int, word: str) -> None:
    """Judge JOURNAL, as the shipper does when its owner is dead."""
    sink = store.open()
    if isinstance(sink, RollupSink):
        sink.fold(JOURNAL, {}, sink.position(JOURNAL).rollups, at)
    sink.write(Batch(JOURNAL, at, at, settle_as=word))


def test_a_sink_is_a_sink(store: Store) -> None:
    """Each has the methods of the protocol, and the one in memory does not claim to keep rollups."""
    sink = store.open()
    assert isinstance(sink, Sink)
    assert isinstance(sink, RollupSink) is (store.kind != "memory")


def test_the_check_that_authors_of_sinks_run_is_passed(store: Store) -> None:
    check_sink(store.open)


def test_a_journal_that_is_not_known_begins_at_zero(store: Store) -> None:
    sink = store.open()
    assert sink.position(JOURNAL) == Positions(0, 0, False)
    assert sink.position(JOURNAL) == Positions(0, 0, False)


def test_a_batch_may_be_the_first_word_about_a_journal(store: Store) -> None:
    """`write` registers the journal where nobody asked for its position before."""
    sink = write(store, 0, 500, new_steps=[step(1)])
    assert sink.position(JOURNAL).rows == 500


def test_every_column_comes_back_as_it_was_written(store: Store) -> None:
    written = Batch(
        JOURNAL,
        0,
        900,
        new_executions=[
            execution(
                0,
                status="failed",
                error_type="TimeoutError",
                error_message="Button « Envoyer » introuvable",
                parent_execution_id="run-parent",
                parent_step_no=3,
                tags='{"customer":"ACME"}',
                total_steps=None,
            )
        ],
        new_steps=[
            step(1, parent_step_no=7, tags="{}", first_status="failed", heal_seq=99, status="recovered"),
            step(2, execution_id=None, workflow_id=None, action_type=None),
        ],
        recoveries=[recovery(3, success=False, error_message="no match", tags="{}"), recovery(4, step_no=None)],
        samples=[
            sample(5, gpus='[{"index":0}]', host_memory_total_bytes=1 << 62, host_cpu_percent=0.1),
            sample(6, elapsed_ns=60 * 10**9, executions=2, running='[{"workflow_id":"w","node_id":null,"share":1.0}]'),
        ],
        losses=[("sample", "quota", 12, T0_NS, T0_NS + 1)],
    )
    store.open().write(written)
    place = {"source": 1, "host": "buero-7", "pid": 4711}
    named = lambda names, rows, **more: [dict(zip(names, row, strict=True)) | more for row in rows]  # noqa: E731  # a test's shorthand
    from analytics_sdk.sinks import base

    assert store.rows("executions") == named(base.EXECUTION_COLUMNS, written.new_executions, **place)
    assert store.rows("steps") == named(base.STEP_COLUMNS, written.new_steps, source=1)
    assert store.rows("recoveries") == named(base.RECOVERY_COLUMNS, written.recoveries, source=1)
    assert store.rows("resource_samples") == named(base.SAMPLE_COLUMNS, written.samples, **place)
    assert store.rows("losses") == named(base.LOSS_COLUMNS, written.losses, source=1)


def test_a_batch_is_kept_once_however_often_it_is_written(store: Store) -> None:
    """A shipper that never heard of its commit writes the batch again, and is fenced."""
    batch = Batch(JOURNAL, 0, 100, new_steps=[step(1), step(2)], losses=[("step_end", "damaged", 1, T0_NS, T0_NS)])
    sink = store.open()
    sink.write(batch)
    for _ in range(3):
        with pytest.raises(Fenced):
            store.open().write(batch)
    assert len(store.rows("steps")) == 2
    assert store.rows("losses")[0]["n"] == 1
    assert sink.position(JOURNAL).rows == 100


def test_a_batch_from_the_future_is_fenced(store: Store) -> None:
    write(store, 0, 100, new_steps=[step(1)])
    with pytest.raises(Fenced):
        write(store, 200, 300, new_steps=[step(201)])
    assert [row["seq"] for row in store.rows("steps")] == [1]


def test_of_two_shippers_at_once_one_writes(store: Store) -> None:
    """Eight rounds: both have the same batch, both begin together, one is fenced, and the rows are there once.

    Without transactions both may write: then both have written the same, and that is there once too.
    """
    sinks = [store.open(), store.open()]
    together = threading.Barrier(2)
    fenced: list[int] = []

    def ship(i: int) -> None:
        for turn in range(8):
            rows = [step(turn * 1_000 + n) for n in range(200)]
            batch = Batch(JOURNAL, turn * 1_000, turn * 1_000 + 1_000, new_steps=rows)
            together.wait()
            try:
                sinks[i].write(batch)
            except Fenced:
                fenced.append(turn)

    threads = [threading.Thread(target=ship, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fenced) == (sorted(set(fenced)) if store.kind == "clickhouse" else list(range(8)))
    assert len(store.rows("steps")) == 1_600
    assert sinks[0].position(JOURNAL).rows == 8_000


def test_journals_do_not_see_each_other(store: Store) -> None:
    """The same positions in two journals are two rows."""
    sink = store.open()
    for journal in (JOURNAL, OTHER):
        sink.write(Batch(journal, 0, 50, new_executions=[execution(7)]))
    rows = store.rows("executions")
    assert [(row["source"], row["seq"], row["host"]) for row in rows] == [(1, 7, "buero-7"), (2, 7, "buero-8")]
    sink.write(Batch(OTHER, 50, 60))
    assert (sink.position(JOURNAL).rows, sink.position(OTHER).rows) == (50, 60)


def test_an_ending_that_comes_later_replaces_the_running_row(store: Store) -> None:
    write(store, 0, 100, new_executions=[execution(0, **RUNNING_EXECUTION)], new_steps=[step(1, **RUNNING), step(2)])
    ended = step(1, status="timeout", error_type="TimeoutError", end_seq=150)
    write(store, 100, 200, late_executions=[execution(0, status="failed", end_seq=180)], late_steps=[ended])
    assert [(row["status"], row["end_seq"]) for row in store.rows("steps")] == [("timeout", 150), ("success", 3)]
    assert [(row["status"], row["end_seq"]) for row in store.rows("executions")] == [("failed", 180)]


def test_a_late_ending_whose_start_was_never_stored_is_a_row(store: Store) -> None:
    write(store, 0, 100)
    write(store, 100, 200, late_steps=[step(40, end_seq=150)], late_executions=[execution(41, end_seq=160)])
    assert [row["seq"] for row in store.rows("steps")] == [40]
    assert [row["host"] for row in store.rows("executions")] == ["buero-7"]


def test_a_healing_keeps_where_the_step_had_ended(store: Store) -> None:
    """The healing's row has no `end_seq`: the stored one stays; all else is as the healing says."""
    write(store, 0, 100, new_steps=[step(1, status="failed", error_type="KeyError", end_seq=9)])
    healed = step(1, status="recovered", error_type="KeyError", first_status="failed", heal_seq=120, end_seq=None)
    write(store, 100, 200, late_steps=[healed])
    (row,) = store.rows("steps")
    assert (row["status"], row["first_status"], row["end_seq"], row["heal_seq"]) == ("recovered", "failed", 9, 120)


def test_what_still_runs_when_the_owner_died_is_judged(store: Store) -> None:
    """Only what runs; and the counts of a judged execution come from its top-level steps and their recoveries."""
    write(
        store,
        0,
        100,
        new_executions=[execution(0, **RUNNING_EXECUTION), execution(50)],
        new_steps=[
            step(1),
            step(2, status="recovered"),
            step(3, status="failed"),
            step(4, status="timeout"),
            step(5, status="skipped"),
            step(6, parent_step_no=5),
            step(7, **RUNNING),
            step(8, execution_id="run-50"),
        ],
        recoveries=[
            recovery(9, step_no=2),
            recovery(10, step_no=2),
            recovery(11, step_no=3, success=False),
            recovery(12, step_no=None),
        ],
    )
    settle(store, 100, "crashed")
    judged, ended = store.rows("executions")
    assert (judged["status"], judged["steps_completed"], judged["steps_failed"]) == ("crashed", 2, 2)
    assert judged["steps_recovered"] == 2
    assert (judged["ended_at_ns"], judged["end_seq"]) == (None, None)
    assert (ended["status"], ended["steps_completed"]) == ("success", 20)
    words = ["success", "recovered", "failed", "timeout", "skipped", "success", "crashed", "success"]
    assert [row["status"] for row in store.rows("steps")] == words


def test_after_the_last_judgement_nothing_is_written(store: Store) -> None:
    write(store, 0, 100, new_executions=[execution(0, **RUNNING_EXECUTION)])
    settle(store, 100, "cancelled")
    sink = store.open()
    assert sink.position(JOURNAL) == Positions(100, 100, True)
    with pytest.raises(Fenced):
        sink.write(Batch(JOURNAL, 100, 200, late_executions=[execution(0, end_seq=150)]))
    with pytest.raises(Fenced):
        sink.write(Batch(JOURNAL, 100, 100, settle_as="crashed"))
    assert [row["status"] for row in store.rows("executions")] == ["cancelled"]


def test_only_the_journal_that_is_judged_is_judged(store: Store) -> None:
    sink = store.open()
    for journal in (JOURNAL, OTHER):
        sink.write(Batch(journal, 0, 100, new_executions=[execution(0, **RUNNING_EXECUTION)]))
    settle(store, 100, "crashed")
    assert [row["status"] for row in store.rows("executions")] == ["crashed", "running"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("vor\0nach", "vor\u2400nach"),
        ("Zwölf Boxkämpfer 🥊 jagen Viktor", "Zwölf Boxkämpfer 🥊 jagen Viktor"),
        ("\u200f\u202e اختبار \ufeff", "\u200f\u202e اختبار \ufeff"),
        ("a\tb\nc\\d\\N\"e'f%s?:x", "a\tb\nc\\d\\N\"e'f%s?:x"),
        ("", ""),
    ],
)
def test_any_text_is_kept(store: Store, text: str, kept: str) -> None:
    """A NUL becomes its picture, in new rows and late ones, and nothing else changes."""
    place = JournalIdentity("bb" * 16, "h\0st", 1, T0_NS)
    sink = store.open()
    sink.write(Batch(place, 0, 10, new_steps=[step(1, error_message=text), step(2, node_id=text, **RUNNING)]))
    sink.write(Batch(place, 10, 20, late_steps=[step(2, node_id=text, end_seq=15)], new_executions=[execution(11)]))
    first, second = store.rows("steps")
    assert (first["error_message"], second["node_id"]) == (kept, kept)
    assert store.rows("executions")[0]["host"] == "h\u2400st"


@pytest.mark.parametrize(
    "bad",
    [step(2, duration_ns=1 << 63), step(2, started_at_ns=-(1 << 63) - 1), step(2, node_id="\ud800"), step(2)[:-1]],
    ids=["too-long", "too-early", "half-a-character", "too-short"],
)
def test_a_row_that_cannot_be_kept_keeps_its_whole_batch_out(store: Store, bad: Any) -> None:
    """And the position stays, so that the shipper can narrow it down."""
    sink = write(store, 0, 10, new_steps=[step(1)])
    with pytest.raises(RejectedRecord):
        sink.write(Batch(JOURNAL, 10, 20, new_steps=[step(11), bad, step(12)], recoveries=[recovery(13)]))
    assert sink.position(JOURNAL).rows == 10
    sink.write(Batch(JOURNAL, 10, 20, new_steps=[step(11)]))
    assert [row["seq"] for row in store.rows("steps")] == [1, 11]
    assert store.rows("recoveries") == []


def test_the_largest_numbers_are_kept(store: Store) -> None:
    largest = (1 << 63) - 1
    write(store, 0, largest, new_steps=[step(1, duration_ns=largest, started_at_ns=-largest - 1)])
    (row,) = store.rows("steps")
    assert (row["duration_ns"], row["started_at_ns"]) == (largest, -largest - 1)


def test_twenty_thousand_rows_in_one_batch(store: Store) -> None:
    """With columns that few rows fill, and a number of rows that no chunk divides."""
    n = 20_011
    rows = [step(i, error_type="ValueError" if i == 17_001 else None) for i in range(n)]
    write(store, 0, n, new_steps=rows)
    late = [step(i, status="recovered", first_status="failed", heal_seq=n + i, end_seq=None) for i in range(3_001)]
    write(store, n, 2 * n, late_steps=late)
    kept = store.rows("steps")
    assert [row["seq"] for row in kept] == list(range(n))
    assert [row["seq"] for row in kept if row["error_type"]] == [17_001]
    assert sum(row["status"] == "recovered" for row in kept) == 3_001
    assert all(row["end_seq"] == row["seq"] + 1 for row in kept)


def test_totals_of_losses_replace_and_findings_of_delivery_add(store: Store) -> None:
    write(store, 0, 10, losses=[("sample", "quota", 5, 100, 200), ("step_end", "damaged", 1, 100, 200)])
    write(store, 10, 20, losses=[("sample", "quota", 8, 100, 300), ("step_end", "damaged", 2, 50, 150)])
    write(store, 20, 20, losses=[("recovery", "rejected", 1, 400, 400)])
    found = {
        (row["kind"], row["reason"]): (row["n"], row["first_at_ns"], row["last_at_ns"]) for row in store.rows("losses")
    }
    assert found == {
        ("sample", "quota"): (8, 100, 300),
        ("step_end", "damaged"): (3, 50, 200),
        ("recovery", "rejected"): (1, 400, 400),
    }


def test_what_was_written_is_there_after_the_sink_was_opened_again(store: Store) -> None:
    sink = write(store, 0, 100, new_steps=[step(1)])
    sink.close()
    sink.close()
    sink.open()
    assert sink.position(JOURNAL).rows == 100
    sink.write(Batch(JOURNAL, 100, 200, new_steps=[step(101)]))
    assert [row["seq"] for row in store.rows("steps")] == [1, 101]


def test_an_empty_batch_moves_the_position(store: Store) -> None:
    """A stretch may hold nothing but what was damaged."""
    assert write(store, 0, 4_096).position(JOURNAL).rows == 4_096
