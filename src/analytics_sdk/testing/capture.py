"""What a program records, seen by its own tests: the whole line runs, into memory, and nothing is left behind."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from analytics_sdk.analytics_system import configure, get_analytics_system, stand_in
from analytics_sdk.capture.tracking import disabled_by_environment
from analytics_sdk.errors import AnalyticsError, SettingError
from analytics_sdk.sinks.base import Sink
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing.rows import (
    CapturedExecution,
    CapturedLoss,
    CapturedRecovery,
    CapturedSample,
    CapturedStep,
    typed,
)

if TYPE_CHECKING:
    from analytics_sdk.system import AnalyticsSystem

PATIENCE_SECONDS = 5.0
"""So long reading waits for a sink that makes no progress."""
MOST_NAMED = 20
"""So many of what was recorded are named in an error."""

One = TypeVar("One", CapturedExecution, CapturedStep, CapturedRecovery)


class System(Protocol):
    """What can be drained."""

    def flush(self, timeout: float = 5.0) -> bool: ...

    def status(self) -> dict[str, Any]: ...


class CapturedEvents:
    """What was recorded inside a `capture_events` block. Reading it delivers first, so it is always up to date; it can
    still be read when the block has ended. Each list is a copy, in the order in which things began. Thread-safe.
    """

    def __init__(self, sink: Sink, kept: MemorySink, system: "AnalyticsSystem") -> None:
        self.sink = sink
        """What delivery writes to."""
        self._kept = kept
        self._system = system
        self._has_ended = False
        self._fetching = threading.Lock()

    def __repr__(self) -> str:
        return f"CapturedEvents({self._kept!r})"

    @property
    def system(self) -> "AnalyticsSystem":
        """The system that records, while the block lasts: the same that `get_analytics_system()` gives inside."""
        if not self._has_ended:
            current = get_analytics_system()
            if current.settings.sink is self.sink:  # else another block covers ours just now
                self._system = current
        return self._system

    # ---------------------------------------------------------------- all of it

    @property
    def executions(self) -> list[CapturedExecution]:
        """All executions."""
        return typed(CapturedExecution, self._delivered().executions)

    @property
    def steps(self) -> list[CapturedStep]:
        """All steps."""
        return typed(CapturedStep, self._delivered().steps)

    @property
    def recoveries(self) -> list[CapturedRecovery]:
        """All recovery attempts."""
        return typed(CapturedRecovery, self._delivered().recoveries)

    @property
    def samples(self) -> list[CapturedSample]:
        """All resource samples."""
        return typed(CapturedSample, self._delivered().samples)

    @property
    def losses(self) -> list[CapturedLoss]:
        """What could not be kept; empty unless a test made it so."""
        return typed(CapturedLoss, self._delivered().losses)

    # ---------------------------------------------------------------- one of it

    def execution(self, workflow_id: str | None = None) -> CapturedExecution:
        """The only execution, of this workflow or at all.

        Raises:
            AssertionError: there is none, or more than one; the message names what was recorded.
        """
        rows = self.executions
        return _only(rows, [row for row in rows if workflow_id in (None, row.workflow_id)], "execution", workflow_id)

    def step(self, node_id: str | None = None) -> CapturedStep:
        """The only step, of this node or at all.

        Raises:
            AssertionError: there is none, or more than one; the message names what was recorded.
        """
        rows = self.steps
        return _only(rows, [row for row in rows if node_id in (None, row.node_id)], "step", node_id)

    def recovery(self, strategy: str | None = None) -> CapturedRecovery:
        """The only recovery attempt, with this strategy or at all.

        Raises:
            AssertionError: there is none, or more than one; the message names what was recorded.
        """
        rows = self.recoveries
        return _only(rows, [row for row in rows if strategy in (None, row.strategy)], "recovery", strategy)

    # ---------------------------------------------------------------- beside

    def stats(
        self,
        workflow_id: str | None = None,
        hours: float = 24,
        start: datetime | None = None,
        end: datetime | None = None,
        exact: bool = False,
    ) -> dict[str, Any]:
        """Statistics of what was recorded, as `AnalyticsSystem.stats` gives them."""
        from analytics_sdk.query import Query  # here, because it loads the database library
        from analytics_sdk.query.window import resolve_window  # here, for the same reason

        kept = self._delivered()
        now_ns = self._system.settings.clock.time_ns()
        window = resolve_window(hours, start, end, now_ns)
        return Query(kept).stats(workflow_id, window=window, exact=exact, now_ns=now_ns)

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver now, also what forked children recorded; whether all of it arrived. Reading does this by itself."""
        if self._has_ended:
            return True
        done = self.system.flush(timeout)
        self._fetch_from_children()
        return done

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._delivered().clear()

    def _delivered(self) -> MemorySink:
        if not self.flush(PATIENCE_SECONDS):
            problems = "; ".join(self._system.status()["problems"]) or "the sink does not answer"
            raise AnalyticsError(f"what was recorded cannot be read, because it was not delivered: {problems}")
        return self._kept

    def _fetch_from_children(self) -> None:
        """Deliver the journals that forked children of this process left, or write right now."""
        from analytics_sdk.journal.listing import find_journals  # here, because importing the kit must cost little
        from analytics_sdk.shipper.once import ship_once  # here, for the same reason

        system = self._system
        folder = system.settings.journal_dir
        assert folder is not None
        own = None if system.writer.identity is None else system.writer.identity.journal_id
        if any(journal_id != own for journal_id in find_journals(folder)):
            with self._fetching:
                ship_once(folder, [lambda: self.sink], clock=system.settings.clock)


@contextmanager
def capture_events(
    *, sink: Sink | None = None, folder: str | Path | None = None, **settings: Any
) -> Iterator[CapturedEvents]:
    """Keep everything that this process records inside the block in memory, where a test can look at it.

    Decorators, hooks and `auto_instrument`, from any thread, task or forked child. The process is as if nobody had set
    it up: executions that are open around the block, and its own system, have no part in it and go on afterwards.
    `configure` inside cannot change where things go, all its other settings work. Executions that are still open at
    the end of the block become cancelled. Blocks may be nested; each sees what is recorded while it is the innermost.

    Args:
        sink: a `MemorySink`, or a `FailingSink` around one.
        folder: where journals, reports and archives go; a temporary folder that is gone afterwards, if not given.
        settings: as for `configure`, such as `clock`.

    Raises:
        SettingError: a setting cannot work, or nothing can be read from the sink.
    """
    sink = MemorySink() if sink is None else sink
    kept = getattr(sink, "inner", sink)
    if not isinstance(kept, MemorySink):
        raise SettingError("capture_events reads what is in memory: give it a MemorySink, or a FailingSink around one")
    with (
        TemporaryDirectory(prefix="analytics-sdk-", ignore_cleanup_errors=True)
        if folder is None
        else _given(folder) as place
    ):
        root = Path(place)
        pinned = {
            "sink": sink,
            "journal_dir": root / "journals",
            "archive_dir": root / "archive",
            "reports_dir": root / "reports",
        }
        with stand_in(pinned):
            captured = CapturedEvents(sink, kept, configure(**settings))
            try:
                yield captured
            finally:
                mend = getattr(sink, "mend", None)
                if mend is not None:
                    mend()
                captured.flush()
                captured._has_ended = True


@contextmanager
def _given(folder: str | Path) -> Iterator[str | Path]:
    yield folder


@contextmanager
def isolate() -> Iterator[None]:
    """Within the block the process is as if nobody had set it up; afterwards everything is as before, and what was set
    up inside is closed. For tests that want the real thing, such as `configure(sink=f"sqlite:///{tmp_path}/a.db")`."""
    with stand_in({}):
        yield


def drain(system: System | None = None, timeout: float = 5.0) -> None:
    """Wait until everything that was recorded is in the sink. No sleeping, no polling.

    Args:
        system: the process's system, where none is given.
        timeout: seconds without progress after which it gives up.

    Raises:
        AssertionError: it did not arrive; the message says what kept it.
    """
    system = get_analytics_system() if system is None else system
    if not system.flush(timeout):
        status = system.status()
        problems = "; ".join(status["problems"]) or "the sink does not answer"
        raise AssertionError(f"{status['undelivered_bytes']} bytes were not delivered: {problems}")


def _only(rows: Sequence[One], found: Sequence[One], what: str, name: str | None) -> One:
    """The one that was found, or an error that helps."""
    if len(found) == 1:
        return found[0]
    wanted = what if name is None else f"{what} {name!r}"
    plural = {"execution": "executions", "step": "steps", "recovery": "recoveries"}[what]
    if len(found) > 1:
        raise AssertionError(
            f"{len(found)} {plural}{'' if name is None else f' {name!r}'} were recorded, not 1: {_listed(found)}; "
            f"look at .{plural}"
        )
    if not rows:
        hint = "; ANALYTICS_SDK_DISABLED is true" if disabled_by_environment() else ""
        raise AssertionError(f"no {wanted} was recorded, and no other {what} either{hint}")
    raise AssertionError(f"no {wanted} was recorded; recorded were {_listed(rows)}")


def _listed(rows: Sequence[One]) -> str:
    shown = ", ".join(str(row) for row in rows[:MOST_NAMED])
    return shown if len(rows) <= MOST_NAMED else f"{shown} and {len(rows) - MOST_NAMED} more"
