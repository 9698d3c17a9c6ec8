"""The parts, put together: settings, journal, shipper, recorder, queries, reports.

Everything heavy is imported where it is first needed: importing this module loads no database and no drawing library.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics_sdk.archive.keeper import Keeper
from analytics_sdk.capture.active import active, disown_by_first_record
from analytics_sdk.capture.live import live_metrics
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.capture.tracking import disabled_by_environment
from analytics_sdk.checking import check_settings
from analytics_sdk.config import Settings, with_folder
from analytics_sdk.errors import SettingError
from analytics_sdk.guard import trouble
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.sinks import describe, make_sink
from analytics_sdk.sinks.base import Sink
from analytics_sdk.vocabulary import NO_START

if TYPE_CHECKING:
    from analytics_sdk.archive.archiver import Archived
    from analytics_sdk.capture.resources import ResourceMonitor
    from analytics_sdk.query import Query
    from analytics_sdk.reporting.report_generator import ReportGenerator
    from analytics_sdk.shipper.shipper import Shipper


class MetricsCollector:
    """The guide's name for what brings records to the sink."""

    def __init__(self, shipper: "Shipper") -> None:
        self._shipper = shipper

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver now. True when all that this process had recorded is in the sink; False after `timeout` seconds
        without progress."""
        return self._shipper.flush(timeout)


class AnalyticsSystem:
    """The parts of one process, working together. Made by `get_analytics_system` or `configure`."""

    def __init__(self, settings: Settings, *, check: bool = True) -> None:
        """Put the parts together. Opens no database: that is the shipper's, when there is something to deliver.

        `check` finds out now what is wrong with the sinks and the journal's folder. It loads the database library,
        and is left out inside the host's first tracked call.

        Raises:
            SettingError: a setting cannot work.
        """
        from analytics_sdk.shipper.shipper import Shipper  # here, because importing us must cost little

        self._is_temporary = settings.journal_dir is None
        if settings.journal_dir is None:
            from tempfile import gettempdir  # here, because it is for sinks in memory alone

            settings = with_folder(settings, Path(gettempdir()) / f"analytics-sdk-{os.urandom(16).hex()}")
        self.settings = settings
        assert settings.journal_dir is not None
        self._made: dict[int, Sink] = {}
        self.closed = False
        self._closing = threading.RLock()
        self._folder_made_by = self._ends_with = os.getpid()
        _end_with_worker(self.end_process)
        makers = [lambda i=i: self._sink(i) for i in range(len(settings.sinks))]
        if check:
            check_settings(settings)
        self.writer = JournalWriter(
            settings.journal_dir,
            clock=settings.clock,
            max_bytes=settings.journal_max_bytes,
            on_full=settings.on_full,
        )
        self.shipper = Shipper(
            settings.journal_dir,
            makers,
            self.writer,
            interval_seconds=settings.flush_interval_seconds,
            clock=settings.clock,
        )
        self.keeper = Keeper(settings, self.shipper.fleet.gate)
        self.shipper.after_turn = self.keeper.look
        self.writer.on_rotate = self._on_rotate
        self.recorder = Recorder(self.writer, clock=settings.clock, realtime=settings.realtime)
        self.writer.on_fork = partial(disown_by_first_record, self.recorder)
        self.recorder.on_end = self._on_end
        self.metrics_collector = MetricsCollector(self.shipper)
        self._monitor: ResourceMonitor | None = None
        self._reports: ReportGenerator | None = None

    def _on_rotate(self) -> None:
        """In the host's thread, at the first record and at each new segment: somebody must make the next one."""
        if self._ends_with != os.getpid():
            self._ends_with = os.getpid()
            _end_with_worker(self.end_process)
        self.shipper.ensure_started()
        self.shipper.wake()

    def _sink(self, i: int = 0) -> Sink:
        """A sink of this system's. A `Sink` that the user gave is shared; a URL or engine gets one for the shipper."""
        target = self.settings.sinks[i]
        return target if isinstance(target, Sink) else make_sink(target, **_naming(self.settings))

    # ---------------------------------------------------------------- what users ask

    def flush(self, timeout: float = 5.0) -> bool:
        """As `metrics_collector.flush`."""
        return self.shipper.flush(timeout)

    def query(self) -> "Query":
        """Queries over the first sink that can be read.

        Raises:
            AnalyticsError: no sink of this system's can be read.
        """
        from analytics_sdk.query import Query  # here, because it loads the database library

        target = self.settings.sinks[0]
        return Query(target if isinstance(target, Sink) else self._reading_sink(), self.settings.archive_dir)

    def _reading_sink(self) -> Sink:
        sink = self._made.get(os.getpid())
        if sink is None:
            self._made = {os.getpid(): (sink := self._sink(0))}
            sink.open()
        return sink

    def stats(
        self,
        workflow_id: str | None = None,
        hours: float = 24,
        start: datetime | None = None,
        end: datetime | None = None,
        exact: bool = False,
    ) -> dict[str, Any]:
        """Statistics of one workflow, or of all, over what started in a window. What was recorded is delivered first.

        Args:
            hours: how far the window reaches back from now, where `start` is not given.
            start: the window begins here; naive datetimes are local time.
            end: it ends just before here; without it, now.
            exact: percentiles exactly as numpy's `inverted_cdf`, instead of within 1 %.

        Returns:
            A dict whose every key is always there; durations in seconds, rates in percent, nan where unknown.

        Raises:
            AnalyticsError: the database cannot be read.
        """
        self.flush()
        from analytics_sdk.query.window import resolve_window  # here, because it loads the database library

        now_ns = self.settings.clock.time_ns()
        window = resolve_window(hours, start, end, now_ns)
        return self.query().stats(workflow_id, window=window, exact=exact, now_ns=now_ns)

    def live(self) -> list[dict[str, Any]]:
        """The live metrics of every execution that this process runs now."""
        return [self.live_metrics(execution.execution_id) for execution in self.recorder.live()]

    def live_metrics(self, execution_id: str) -> dict[str, Any]:
        """Progress and estimated end of one execution of this process; an unknown id has every key too."""
        return live_metrics(execution_id, self.recorder.find(execution_id), self.recorder)

    @property
    def report_generator(self) -> "ReportGenerator":
        """Makes reports from what this system's sink holds."""
        if self._reports is None:
            from analytics_sdk.reporting.report_generator import ReportGenerator  # here, because few programs report

            self._reports = ReportGenerator(self._flushed_query, self.settings.reports_dir, clock=self.settings.clock)
        return self._reports

    def _flushed_query(self) -> "Query":
        self.flush()
        return self.query()

    def start_resource_monitoring(self, interval_seconds: float | None = None) -> None:
        """Look at CPU, memory and GPUs now, every so many seconds and when it is stopped, from a thread of its own. A
        second call only changes the interval. It goes on in a system that replaces this one, not in a forked child."""
        from analytics_sdk.capture.resources import ResourceMonitor  # here, because it loads psutil

        self.stop_resource_monitoring()
        interval = self.settings.resource_interval_seconds if interval_seconds is None else float(interval_seconds)
        if not interval > 0:
            raise SettingError(f"interval_seconds must be above 0, not {interval_seconds!r}")
        if disabled_by_environment():
            return
        self._monitor = ResourceMonitor(
            self._append_sample, interval, recorder=self.recorder, clock=self.settings.clock
        )
        self._monitor.start()

    def _append_sample(self, kind: int, fields: tuple[Any, ...]) -> int:
        return self.writer.append(kind, fields) if active.enabled else NO_START

    @property
    def monitoring_interval_seconds(self) -> float | None:
        """How often resources are looked at; None where they are not."""
        monitor = self._monitor
        return None if monitor is None else monitor.interval_seconds

    def stop_resource_monitoring(self) -> None:
        """Stop looking. Nothing happens where it was not started."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.stop()

    def archive(self, before: datetime | None = None) -> "Archived":
        """Move raw rows that began before an instant, else more than `retention_days` ago, to Parquet files in
        `archive_dir`. Statistics stay the same, and queries read both; what still runs stays.

        Raises:
            SettingError: there is no `before` and no `retention_days`.
            AnalyticsError: what the archive needs is not installed, or the database or the folder cannot be used.
        """
        self.flush()
        from analytics_sdk.archive.retention import archive_sinks  # here, because it loads the database library

        return archive_sinks(self.settings, before)

    def status(self) -> dict[str, Any]:
        """What `doctor` tells about this process."""
        return {
            "enabled": active.enabled and not disabled_by_environment(),
            "sinks": [describe(sink) for sink in self.settings.sinks],
            "journal_dir": str(self.settings.journal_dir),
            "open_executions": len(self.recorder.open_executions),
            "losses": [{"kind": loss.kind, "reason": loss.reason, "n": loss.n} for loss in self.writer.losses()],
            **self.shipper.status(),
        }

    # ---------------------------------------------------------------- the end

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what there is and stop; True when everything was delivered. Executions that are still open end
        here all the same: their journal stays until they have."""
        with self._closing:
            if self.closed:
                return True
            self.closed = True
        if active.recorder is self.recorder:
            active.recorder = None
        self.stop_resource_monitoring()
        self.keeper.stop()
        if self.recorder.open_executions:
            return self.flush(self.settings.exit_timeout_seconds if timeout is None else timeout)
        return self._close_parts(self.settings.exit_timeout_seconds if timeout is None else timeout)

    def end(self, timeout: float = 5.0) -> bool:
        """As `close`, but what is still open ends now, cancelled, and what is recorded here afterwards goes nowhere."""
        self.recorder.close_open("it was left open")
        self.recorder.on_end = None
        done = self.close(timeout)
        self.recorder.append = _nowhere
        return done

    def _on_end(self) -> None:
        """In the host's thread, when an execution has ended: go on delivering after a rest, or close at last."""
        if not self.closed:
            self.shipper.ensure_started()
        elif not self.recorder.open_executions:
            self.recorder.on_end = None
            self._close_parts_later()

    def _close_parts_later(self) -> None:
        threading.Thread(target=self._close_parts, args=(5.0,), name="analytics-sdk-close", daemon=True).start()

    def _close_parts(self, timeout: float) -> bool:
        self.writer.say_clean()
        deadline = time.monotonic() + timeout
        done = self.shipper.flush(timeout, deadline)
        identity = self.writer.identity
        self.writer.release()
        if done and identity is not None and not any(isinstance(sink, Sink) for sink in self.settings.sinks):
            self.shipper.remove_own_journal()
        self.shipper.close(max(0.0, deadline - time.monotonic()))
        self._close_readers()
        self._remove_temporary_folder()
        return done

    def _remove_temporary_folder(self) -> None:
        """Where all sinks live in this process's memory, nobody can deliver its journals later."""
        if self._is_temporary and self.settings.journal_dir is not None and self._folder_made_by == os.getpid():
            shutil.rmtree(self.settings.journal_dir, ignore_errors=True)

    def _close_readers(self) -> None:
        made, self._made = self._made, {}
        sink = made.get(os.getpid())
        if sink is not None:
            sink.close()

    def forget_threads(self) -> None:
        """In a forked child: the threads of the parent do not run here. Delivery starts again with the first record."""
        self._monitor = None
        self._closing = threading.RLock()

    def end_process(self) -> None:
        """At the end of the process: end what is open, say so in the journal, deliver within the time allowed. The
        journal stays usable, because other exit handlers, daemon threads and finalizers may still record."""
        try:
            self.stop_resource_monitoring()
            self.keeper.stop()
            delivered = self.closed and not self.recorder.open_executions
            self.recorder.on_end = None
            self.recorder.close_open("the process ended while it was open")
            self.writer.say_clean()
            if not delivered:
                self.shipper.close(self.settings.exit_timeout_seconds)
                self._close_readers()
                self._remove_temporary_folder()
        except Exception as problem:  # because the end of the host's process must not be ours to spoil
            trouble("exit", "the end of the process was not clean: %s", problem, exc=problem)


def _nowhere(kind: int, fields: tuple[object, ...]) -> int:
    return NO_START


def _end_with_worker(end: Callable[[], None]) -> None:
    """Where this process is a worker of multiprocessing: have `end` run when its work is done, because a forked worker
    leaves by `os._exit`, which runs no exit handlers."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # here, because most processes are no workers

        Finalize(None, end, exitpriority=-1000)  # after the finalizers of the host, which may record something


def _naming(settings: Settings) -> dict[str, Any]:
    return {"schema": settings.schema, "table_prefix": settings.table_prefix}
