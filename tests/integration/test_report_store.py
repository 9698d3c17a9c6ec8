"""Reports over the stores that people have: the numbers come from the database, and agree with memory."""

from pathlib import Path

from analytics_sdk.query import Query
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.reporting.tabular import render_json
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import EXECUTION_COLUMNS, RECOVERY_COLUMNS, STEP_COLUMNS, Batch, JournalIdentity
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import FakeClock

T0_NS = 1_767_225_600_000_000_000
NOW_NS = T0_NS + 2 * 86_400 * 10**9
JOURNAL = JournalIdentity("ab" * 16, "host-1", 77, T0_NS)


def row(columns: tuple[str, ...], **values: object) -> tuple[object, ...]:
    return tuple(values.get(column) for column in columns)


def two_days() -> Batch:
    """Three hundred executions of two workflows over two days; every ninth is healed, every thirteenth fails."""
    batch = Batch(JOURNAL, 0, 10**6)
    for i in range(300):
        started = T0_NS + i * 575 * 10**9
        took = (1 + i % 17) * 10**8
        fails, heals = i % 13 == 0, i % 9 == 4
        common = {"execution_id": f"run-{i}", "workflow_id": ("orders", "stock")[i % 2], "started_at_ns": started}
        ending = {"ended_at_ns": started + took, "duration_ns": took}
        error = {"error_type": "OSError", "error_message": f"disk {i} is full"} if fails else {}
        batch.new_executions.append(
            row(
                EXECUTION_COLUMNS,
                seq=10 * i + 1,
                end_seq=10 * i + 5,
                status="failed" if fails else "success",
                total_steps=1,
                steps_completed=1,
                steps_failed=int(fails),
                steps_recovered=int(heals and not fails),
                **common,
                **ending,
                **error,
            )
        )
        healing = {"first_status": "failed", "heal_seq": 10 * i + 4} if heals and not fails else {}
        status = "failed" if fails else "recovered" if heals else "success"
        batch.new_steps.append(
            row(
                STEP_COLUMNS,
                seq=10 * i + 2,
                end_seq=10 * i + 3,
                step_no=1,
                node_id="write",
                action_type="file",
                status=status,
                **common,
                **ending,
                **error,
                **healing,
            )
        )
        if heals:
            recovery = {"node_id": "write", "step_no": 1, "strategy": "make_room", "success": not fails}
            batch.recoveries.append(row(RECOVERY_COLUMNS, seq=10 * i + 6, duration_ns=10**7, **common, **recovery))
    return batch


def test_a_report_over_sqlite_says_what_a_report_over_memory_says(tmp_path: Path) -> None:
    """The same rows: the same JSON, for all workflows and for one."""
    memory, sqlite = MemorySink(), make_sink(f"sqlite:///{tmp_path / 'analytics.db'}")
    try:
        for sink in (memory, sqlite):
            sink.open()
            sink.position(JOURNAL)
            sink.write(two_days())
        for ids in (None, ["orders"], ["orders", "stock"]):
            config = ReportConfig("Two days", workflow_ids=ids, tz="UTC")
            said = []
            for sink in (memory, sqlite):
                reports = ReportGenerator(lambda sink=sink: Query(sink), tmp_path, clock=FakeClock(NOW_NS))
                data = reports.generate_report(config)
                said.append(render_json(data))
            assert said[0] == said[1]
            counted = data.numbers.success_rate
            assert counted.n == (150 if ids == ["orders"] else 300)
            assert counted.healed == sum(point.succeeded - point.first_pass for point in data.points)
            assert sum(point.n for point in data.points) == counted.n
            assert data.timeline is not None
        assert reports.export_html(data).read_text("utf-8").startswith("<!doctype html>")
    finally:
        sqlite.close()
