"""Stores to make reports of: a week of a small shop's automations, from a fixed seed, through the in-memory sink."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from math import nan

from analytics_sdk.query import Query
from analytics_sdk.query.aggregates import wilson_interval
from analytics_sdk.reporting.report_data import HotspotLine, ReportData, WarningLine
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FakeClock as FixedClock

NOW_NS = int(datetime(2026, 3, 9, 17, 30, tzinfo=UTC).timestamp()) * 10**9
WEEK_NS = 7 * 86_400 * 10**9
SECOND_NS = 10**9

WORKFLOWS = {
    "invoice_import": [
        ("fetch_mail", "http", 0.4),
        ("read_pdf", "file", 1.6),
        ("match_order", "sql", 0.2),
        ("post", "http", 0.6),
    ],
    "checkout_test": [("open_page", "browser", 0.9), ("fill_form", "browser", 0.7), ("pay", "http", 1.4)],
    "nightly_sync": [("list_files", "file", 0.1), ("copy", "file", 14.0), ("verify", "file", 5.0)],
}
FAULTS = {
    "read_pdf": ("UnicodeDecodeError", "'utf-8' codec can't decode byte 0xe9 in position 112", 0.07, "try_encodings"),
    "fill_form": ("ElementNotFound", "no element matches '#email' after 5 s", 0.10, "semantic_variant"),
    "pay": ("TimeoutError", "gateway did not answer within 10 s", 0.03, "retry_longer"),
    "copy": ("OSError", "[Errno 28] No space left on device", 0.02, "clean_and_retry"),
}


def make_store(n: int, *, seed: int = 7, samples: bool = True, losses: bool = False, hostile: str = "") -> MemorySink:
    """A store with `n` executions spread over the week before NOW_NS; the last days are slower and break more."""
    random_ = random.Random(seed)
    journal = JournalIdentity("0123456789abcdef" * 2, "robot-1", 4242, NOW_NS - WEEK_NS)
    batch = Batch(journal, 0, 1_000_000_000)
    seq = iter(range(1, 1_000_000_000))
    for i in range(n):
        spread = (i + random_.random()) / n if n > 1 else 0.6
        started_ns = NOW_NS - WEEK_NS + int(WEEK_NS * spread * 0.998)
        workflow_id = hostile or random_.choices(list(WORKFLOWS), [6, 5, 1])[0]
        nodes = WORKFLOWS.get(workflow_id, WORKFLOWS["invoice_import"])
        _add_execution(batch, seq, random_, f"x{i:06d}{hostile}", workflow_id, nodes, started_ns, spread > 0.62)
    if samples and n:
        _add_samples(batch, seq, random_)
    if losses:
        batch.losses.append(("sample", "quota", 118, NOW_NS - 10**12, NOW_NS - 10**11))
        batch.losses.append(("step_end", "disk", 3, NOW_NS - 10**12, NOW_NS - 10**11))
    sink = MemorySink()
    sink.write(batch)
    return sink


def _add_execution(batch, seq, random_, execution_id, workflow_id, nodes, started_ns, is_late) -> None:
    at_ns, healed, failure, place = started_ns, 0, None, next(seq)
    rows = []
    for step_no, (node_id, action_type, typical_s) in enumerate(nodes, 1):
        duration_ns = int(typical_s * random_.lognormvariate(0, 0.45) * (1.35 if is_late else 1.0) * SECOND_NS)
        status, error, first = "success", (None, None), None
        fault = FAULTS.get(node_id)
        step_seq = next(seq)
        step_start = at_ns
        if fault and random_.random() < fault[2] * (1.8 if is_late else 1.0):
            error, first = fault[:2], "failed"
            for strategy in ("wait_and_retry", fault[3])[random_.random() < 0.6 :]:
                took_ns = int(random_.uniform(0.2, 1.2) * SECOND_NS)
                works = random_.random() < (0.25 if strategy == "wait_and_retry" else 0.85)
                batch.recoveries.append(
                    (
                        next(seq),
                        execution_id,
                        workflow_id,
                        step_no,
                        node_id,
                        strategy,
                        works,
                        at_ns + duration_ns,
                        took_ns,
                        None,
                        None,
                        None,
                        None,
                    )
                )
                duration_ns += took_ns
                if works:
                    break
            status = "recovered" if works else "failed"
            healed += works
        at_ns += duration_ns
        rows.append(
            (
                step_seq,
                execution_id,
                workflow_id,
                step_no,
                None,
                node_id,
                action_type,
                status,
                step_start,
                at_ns,
                duration_ns,
                *error,
                None,
                next(seq),
                first if status == "recovered" else None,
                next(seq) if status == "recovered" else None,
            )
        )
        if status == "failed":
            failure = error
            break
    batch.new_steps.extend(rows)
    status = "failed" if failure else random_.choices(["success", "cancelled"], [60, 1])[0]
    batch.new_executions.append(
        (
            place,
            execution_id,
            workflow_id,
            status,
            started_ns,
            at_ns,
            at_ns - started_ns,
            len(nodes),
            len(rows),
            int(bool(failure)),
            healed,
            *(failure or (None, None)),
            None,
            None,
            json.dumps({"shop": "north"}),
            next(seq),
        )
    )


def _add_samples(batch, seq, random_) -> None:
    for i in range(7 * 24 * 12):
        if 600 < i < 760:
            continue  # the machine was off
        gpu = {"index": 0, "name": "H200", "utilization_percent": random_.uniform(0, 30 if i % 288 > 90 else 95)}
        batch.samples.append(
            (
                next(seq),
                NOW_NS - WEEK_NS + i * 300 * SECOND_NS,
                random_.uniform(5, 60 + 40 * (i % 288 > 200)),
                int(180e6 + 2e5 * i + random_.uniform(0, 3e7)),
                None,
                None,
                20.0,
                4 * 10**9,
                16 * 10**9,
                300 * SECOND_NS,
                1,
                json.dumps([gpu]),
                None,
            )
        )


def make_data(n: int, *, now_ns: int = NOW_NS, store: MemorySink | None = None, **config: object) -> ReportData:
    """The numbers of a report of such a store."""
    from pathlib import Path

    sink = make_store(n) if store is None else store
    settings = {"title": "A week of the shop", "tz": "Europe/Paris"} | config
    return ReportGenerator(lambda: Query(sink), Path("."), clock=FixedClock(now_ns)).generate_report(
        ReportConfig(**settings)
    )


def with_healing(data: ReportData) -> ReportData:
    """The same, with what is known of healing beyond counts: intervals, checks, hotspots, warnings."""
    recovery = data.numbers.recovery
    strategies = []
    for line in recovery.strategies:
        low, high = wilson_interval(line.succeeded, line.attempts) or (nan, nan)
        verified, refuted = line.succeeded // 2, line.succeeded // 9
        checks = {"verified": verified, "refuted": refuted, "unknown": line.succeeded - verified - refuted}
        total = line.avg_duration * line.attempts
        strategies.append(replace(line, ci_low=low, ci_high=high, total_duration=total, **checks))
    hotspots = [
        HotspotLine("checkout_test", "fill_form", 44, 33, 11, 31.0, 20, 0, 13, "semantic_variant"),
        HotspotLine("invoice_import", "read_pdf", 38, 34, 4, 27.5, 20, 0, 14, "try_encodings"),
        HotspotLine("checkout_test", "pay", 12, 8, 4, 9.0, 3, 2, 3, "retry_longer"),
        HotspotLine("nightly_sync", "copy", 9, 2, 7, 6.0, 0, 0, 2, "clean_and_retry"),
    ]
    low, high = wilson_interval(recovery.succeeded, recovery.attempts) or (nan, nan)
    healing = replace(
        recovery,
        ci_low=low,
        ci_high=high,
        time_share=2.1,
        verified=31,
        refuted=7,
        unknown=recovery.succeeded - 38,
        strategies=strategies,
        hotspots=hotspots,
    )
    middle = datetime.fromtimestamp(NOW_NS / 1e9 - 3 * 86_400, UTC)
    warnings = [
        WarningLine("refuted_heals", strategy="retry_longer", verified=3, refuted=5),
        WarningLine("healing_masks_failure", "checkout_test", middle, 120, 132, 97.5, 97.7, 90.8, 78.0, -21.0, -4.0),
    ]
    return replace(data, numbers=replace(data.numbers, recovery=healing, warnings=warnings))
