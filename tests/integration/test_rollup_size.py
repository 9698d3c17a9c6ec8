"""What rollups take beside the rows that they count, in bytes of the file, levels and indexes included."""

import uuid
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from analytics_sdk.archive.compacting import Compactor
from analytics_sdk.events import ExecutionEnd, ExecutionStart, StepEnd, StepStart
from analytics_sdk.rollup import HOUR_NS, Cells, week_of
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import FakeClock
from analytics_sdk.vocabulary import FAILED, SUCCESS, Kind

T0_NS = week_of(490_000 * HOUR_NS)


def records(hour: int, runs: int, steps: int, position: int) -> list[tuple[int, Kind, object]]:
    """Executions in one hour, of which some have a step that fails."""
    found: list[tuple[int, Kind, object]] = []

    def add(kind: Kind, event: object) -> int:
        found.append((position + 100 * len(found), kind, event))
        return found[-1][0]

    for n in range(runs):
        at_ns, run = T0_NS + hour * HOUR_NS + n * 10**9, str(uuid.UUID(int=(hour << 64) + n))
        began = add(Kind.EXECUTION_START, ExecutionStart(run, "nightly-import", at_ns, steps))
        for no in range(1, steps + 1):
            node, took = f"node_{no:03}", (hour * 7919 + n * 104_729 + no * 15_485_863) % 90_000_000 + 10_000_000
            step = add(Kind.STEP_START, StepStart(run, "nightly-import", no, node, "http_request", at_ns + no))
            failed = (hour + n * 3 + no) % 29 == 0
            end = (FAILED, took, None, None, "TimeoutError", f"no answer from host {n}") if failed else (SUCCESS, took)
            add(
                Kind.STEP_END,
                StepEnd(step, run, "nightly-import", no, node, "http_request", at_ns + no, end[0], took,
                        error_type=end[4] if failed else None, error_message=end[5] if failed else None),
            )  # fmt: skip
        add(
            Kind.EXECUTION_END,
            ExecutionEnd(began, run, "nightly-import", at_ns, SUCCESS, 10**8 + n, steps, 0, 0, steps),
        )
    return found


def sizes(path: Path, hours: int, runs: int, steps: int, new_process_each_hour: bool) -> tuple[int, int]:
    """(bytes of rollups, bytes of executions and steps) of a store that is compacted."""
    sink = SqlSink(f"sqlite:///{path}")
    sink.open()
    identity, position = JournalIdentity(f"{0:032x}", "host", 1, T0_NS), 64
    for hour in range(hours):
        if new_process_each_hour:
            identity, position = JournalIdentity(f"{hour:032x}", "host", hour, T0_NS), 64
        some = records(hour, runs, steps, position)
        start, position = sink.position(identity).rows, some[-1][0] + 100
        sink.write(merge(identity, some, start, position))
        cells: Cells = {}
        fold(cells, some)
        sink.fold(identity, cells, start, position)
        if new_process_each_hour:
            sink.write(Batch(identity, position, position, settle_as="crashed"))
    assert Compactor(sink, clock=FakeClock(T0_NS + (hours + 1000) * HOUR_NS)).run().days >= hours // 24
    with sink.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(sink.tables.steps)).scalar() == hours * runs * steps
        pages = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name IN ({}))"
        try:
            rollups = connection.execute(text(pages.format("'rollups'"))).scalar_one()
        except OperationalError:
            pytest.skip("this SQLite has no dbstat")
        rows = connection.execute(text(pages.format("'executions', 'steps'"))).scalar_one()
    sink.close()
    return rollups, rows


def test_dense_rollups_take_less_than_a_tenth_of_the_rows(tmp_path: Path) -> None:
    """A hundred executions an hour of ten steps, which is one step each four seconds."""
    rollups, rows = sizes(tmp_path / "a.db", hours=7 * 24, runs=100, steps=10, new_process_each_hour=False)
    assert rollups < rows / 10, rollups / rows


@pytest.mark.parametrize(("steps", "new_process_each_hour"), [(3, True), (12, False)])
def test_sparse_rollups_take_less_than_a_third_of_the_rows(
    tmp_path: Path, steps: int, new_process_each_hour: bool
) -> None:
    """One execution an hour, by one program that lives long or by a new process each time."""
    rollups, rows = sizes(tmp_path / "a.db", 28 * 24, 1, steps, new_process_each_hour)
    assert rollups <= rows / 3, rollups / rows
