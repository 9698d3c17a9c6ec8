"""The questions: one object over a sink, each question answered from one moment of its store."""

from collections.abc import Sequence
from pathlib import Path

from analytics_sdk.config import default_archive_dir
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.guard import text_of
from analytics_sdk.query.aggregates import gather
from analytics_sdk.query.reader import Loss, Reader, Snapshot, Workflows
from analytics_sdk.query.results import Distribution, ExecutionRow, ExecutionUsage, Point, SampleRow, Stats, Timeline
from analytics_sdk.query.series import Course, distribution_of, read_course
from analytics_sdk.query.stats import (
    describe,
    describe_losses,
    describe_running,
    describe_workflows,
)
from analytics_sdk.query.usage import describe_resources, usage_of
from analytics_sdk.query.window import Span, Window, ceil_hour, plan_reading, to_datetime
from analytics_sdk.rollup import HOUR_NS, WHOLE, hour_of
from analytics_sdk.sinks.rows import without_nul

CHEAP_ROWS = 20_000
"""So many rows of one part hour are read one by one rather than widening a relative window over it."""
MOST_RUNNING = 1_000
"""So many running executions are listed, newest first; `status_counts` counts all."""


def make_reader(sink: object, archive_dir: Path | None = None) -> Reader:
    """The reader for a sink, or for the `inner` one of a sink that stands before another. Imports SQLAlchemy only for
    a `SqlSink`. `archive_dir`: where its archived rows stand; without it, where they go by default.

    Raises:
        AnalyticsError: it is a sink that cannot be read.
    """
    from analytics_sdk.sinks.memory import MemorySink

    sink = getattr(sink, "inner", sink)
    if isinstance(sink, MemorySink):
        from analytics_sdk.query.memory_reader import MemoryReader

        return MemoryReader(sink)
    if hasattr(sink, "engine"):
        from analytics_sdk.query.archive_reader import ArchiveReader
        from analytics_sdk.sinks.sql import SqlSink

        if isinstance(sink, SqlSink):
            if sink.engine.dialect.name == "clickhousedb":
                from analytics_sdk.query.clickhouse_reader import ClickHouseReader

                return ClickHouseReader(sink.engine, sink.tables)
            return ArchiveReader(sink.engine, sink.tables, archive_dir or default_archive_dir(sink.engine))
    raise AnalyticsError(
        f"a {type(sink).__name__} cannot be read: statistics and reports need a SqlSink or a MemorySink"
    )


class Query:
    """Asks a store. May be used by several threads over a `SqlSink`.

    Workflow ids: one, several, or None for all. Windows are half-open, [start_ns, end_ns), and count what started in
    them; nanoseconds since 1970 in UTC.

    Raises:
        AnalyticsError: the sink cannot be read. Every question may raise `SinkUnavailable` or `SinkMisconfigured`.
    """

    def __init__(self, sink: object, archive_dir: Path | None = None) -> None:
        """`archive_dir`: where archived rows of a `SqlSink` stand; without it, beside its file."""
        self._reader = make_reader(sink, archive_dir)

    def stats(
        self,
        workflow_id: str | Sequence[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        exact: bool = False,
        relative: bool = False,
        window: Window | None = None,
        resources: bool = True,
        now_ns: int,
    ) -> Stats:
        """The dict of statistics, with every key; see `query.stats`.

        No start means the hour of the first thing stored, no end means now; `relative` as in `query.window.Window`. A
        `window`, which `resolve_window` made, stands for all three. `exact` reads percentiles from the rows, and
        `performance["relative_error"]` says whether it could. Without
        `resources` no sample is read, and their keys say nothing.
        """
        workflows = _listed(workflow_id)
        if window is None:
            window = Window(start_ns, now_ns + 1 if end_ns is None else end_ns, relative)
        with self._reader.snapshot() as snapshot:
            asked, span = self._span(snapshot, workflows, window, now_ns)
            gathered = gather(snapshot, plan_reading(span), workflows)
            cells = {workflow: nodes for (workflow, _), nodes in gathered.cells.items()}
            stats = describe(span, cells, gathered.trend, snapshot if exact else None)
            of_workflows = None if workflows is None else sorted(gathered.sources)
            samples = snapshot.samples(span, of_workflows) if resources else ()
            stats["resources"] = describe_resources(samples, workflows)
            losses = snapshot.losses(span)
            running = snapshot.execution_rows(workflows, span, running_only=True, limit=MOST_RUNNING)
        stats["running"] = describe_running(running, now_ns)
        stats["data_complete"] = not losses
        stats["losses"] = describe_losses(losses)
        stats["window"] = {
            "start": to_datetime(span.start_ns),
            "end": to_datetime(span.end_ns),
            "start_ns": span.start_ns,
            "end_ns": span.end_ns,
            "widened": span != asked,
        }
        if not isinstance(workflow_id, str):
            stats["workflows"] = describe_workflows(cells)
        return stats

    @staticmethod
    def _span(snapshot: Snapshot, workflows: Workflows, window: Window, now_ns: int) -> tuple[Span, Span]:
        """The window asked for, and the one to answer about."""
        start_ns, end_ns, relative = window
        if start_ns is None:
            first_ns = snapshot.first_started_at_ns(workflows)
            start_ns = hour_of(end_ns - 1 if first_ns is None else min(first_ns, end_ns - 1))
        if start_ns >= end_ns:
            raise AnalyticsError("the window ends before it starts: swap start and end")
        low_ns, high_ns = start_ns, end_ns
        if relative and _is_busy(snapshot, workflows, low_ns):
            low_ns = hour_of(low_ns)
        # Because nothing has started after now, an end of now may always move on to the end of the hour.
        if (relative or end_ns > now_ns) and _is_busy(snapshot, workflows, high_ns):
            high_ns = ceil_hour(high_ns)
        return Span(start_ns, end_ns), Span(low_ns, high_ns)

    def series(
        self,
        workflow_ids: str | Sequence[str] | None,
        start_ns: int,
        end_ns: int,
        bucket_ns: int,
        *,
        origin_ns: int = 0,
    ) -> list[Point]:
        """One point a bucket. Buckets begin at whole multiples of their length from `origin_ns`: local midnight gives
        local days. Percentiles are within `histogram.RELATIVE_ERROR`."""
        return self.course(workflow_ids, start_ns, end_ns, bucket_ns, origin_ns=origin_ns).points

    def course(
        self,
        workflow_ids: str | Sequence[str] | None,
        start_ns: int,
        end_ns: int,
        bucket_ns: int,
        *,
        origin_ns: int = 0,
    ) -> Course:
        """As `series`, with the durations of each point, so that these need not be asked for again."""
        with self._reader.snapshot() as snapshot:
            return read_course(snapshot, _listed(workflow_ids), Span(start_ns, end_ns), bucket_ns, origin_ns)

    def distribution(self, workflow_ids: str | Sequence[str] | None, start_ns: int, end_ns: int) -> Distribution:
        """The durations of the executions of a window, in log buckets."""
        with self._reader.snapshot() as snapshot:
            plan = plan_reading(Span(start_ns, end_ns))
            gathered = gather(snapshot, plan, _listed(workflow_ids), whole_only=True)
        return distribution_of(nodes[WHOLE] for nodes in gathered.cells.values())

    def executions(
        self, workflow_ids: str | Sequence[str] | None, start_ns: int, end_ns: int, limit: int | None = None
    ) -> list[ExecutionRow]:
        """The stored executions of a window, newest first."""
        with self._reader.snapshot() as snapshot:
            return snapshot.execution_rows(_listed(workflow_ids), Span(start_ns, end_ns), limit=limit)

    def slowest(self, workflow_ids: str | Sequence[str] | None, start_ns: int, end_ns: int) -> ExecutionRow | None:
        """The execution of a window that took longest, of those that ran their course."""
        with self._reader.snapshot() as snapshot:
            return snapshot.slowest(_listed(workflow_ids), Span(start_ns, end_ns))

    def timeline(self, execution_id: str) -> Timeline | None:
        """One execution with its steps and recoveries; None if it is not stored."""
        with self._reader.snapshot() as snapshot:
            return snapshot.timeline(execution_id)

    def samples(self, start_ns: int, end_ns: int) -> list[SampleRow]:
        """The resource samples of a window, oldest first."""
        with self._reader.snapshot() as snapshot:
            return list(snapshot.samples(Span(start_ns, end_ns)))

    def usage(self, execution_id: str) -> ExecutionUsage | None:
        """What an execution, its steps and its recoveries used, by the samples that its process took meanwhile; None
        if it is not stored."""
        with self._reader.snapshot() as snapshot:
            timeline = snapshot.timeline(execution_id)
            return None if timeline is None else usage_of(timeline, list(snapshot.samples_during(execution_id)))

    def first_started_at_ns(self, workflow_ids: str | Sequence[str] | None) -> int | None:
        """When the first stored execution started; its hour, where only rollups are left of it."""
        with self._reader.snapshot() as snapshot:
            return snapshot.first_started_at_ns(_listed(workflow_ids))

    def check(self) -> None:
        """Nothing, where the tables are ours and of today's version.

        Raises:
            SinkMisconfigured: they aren't; the message says what to do.
        """
        with self._reader.snapshot() as snapshot:
            snapshot.check()

    def positions(self) -> dict[str, int]:
        """How far each journal has been delivered, by its id."""
        with self._reader.snapshot() as snapshot:
            return snapshot.positions()

    def workflow_ids(self, limit: int = 1_000) -> list[str]:
        """The ids of stored executions, ascending: the first so many of them."""
        with self._reader.snapshot() as snapshot:
            return snapshot.workflow_ids(limit)

    def losses(self, start_ns: int, end_ns: int) -> list[Loss]:
        """What is known to be missing from a stretch of time, ascending by kind and reason."""
        with self._reader.snapshot() as snapshot:
            return snapshot.losses(Span(start_ns, end_ns))


def _listed(workflow_ids: str | Sequence[str] | None) -> Workflows:
    if workflow_ids is None:
        return None
    return [kept_id(one) for one in ([workflow_ids] if isinstance(workflow_ids, str) else workflow_ids)]


def kept_id(workflow_id: str) -> str:
    """An id of the host's as it is kept: cut, valid, without a password. So what was recorded under it is found."""
    return without_nul(text_of(workflow_id))


def _is_busy(snapshot: Snapshot, workflows: Workflows, edge_ns: int) -> bool:
    """Whether so much began in the hour that an edge of a window cuts that its rows are not cheap to read."""
    hour_ns = hour_of(edge_ns)
    if hour_ns == edge_ns:
        return False
    rows = snapshot.cells(workflows, plan_reading(Span(hour_ns, hour_ns + HOUR_NS)))
    return sum(cell.started for row in rows for cell in row.nodes.values()) > CHEAP_ROWS
