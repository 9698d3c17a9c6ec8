"""A sink that fails on command, to see how a program and its delivery get over it."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from analytics_sdk.errors import RejectedRecord, SinkError, SinkMisconfigured, SinkUnavailable
from analytics_sdk.rollup import Cells
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions, RollupSink, Sink
from analytics_sdk.sinks.memory import MemorySink

Fault: TypeAlias = Literal["transient", "permanent", "misconfigured"]
Call: TypeAlias = Literal["open", "position", "write", "fold"]

_ERRORS: dict[str, type[SinkError]] = {
    "transient": SinkUnavailable,
    "permanent": RejectedRecord,
    "misconfigured": SinkMisconfigured,
}
_Plan: TypeAlias = Callable[[Batch | None], None]


class FailingSink:
    """Stands before any sink and passes everything on, until it is told to fail. Thread-safe.

    `inner` is the sink behind it, a `MemorySink` where none is given; statistics and reports read through to it.
    """

    def __init__(self, inner: Sink | None = None) -> None:
        self.inner: Sink = MemorySink() if inner is None else inner
        self.batches: list[Batch] = []
        """The batches that `inner` has kept whole, in their order, those too whose writer was told that it failed."""
        self.attempts = 0
        """How often `write` was called."""
        self.failures = 0
        """How often any call failed by command."""
        self._lock = threading.Lock()
        self._plans: dict[str, deque[_Plan]] = {}
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._hangs = threading.Event()
        if isinstance(self.inner, RollupSink):
            self.fold = self._fold  # here, because a sink that keeps rollups is known by having this method

    def __repr__(self) -> str:
        return f"FailingSink({self.inner!r}, {self.attempts} attempts, {self.failures} failures)"

    # ---------------------------------------------------------------- commands

    def fail(self, n: int = 1, error: Fault | Exception = "transient", *, at: Call = "write") -> None:
        """Fail the next `n` calls before anything is kept.

        Args:
            error: "transient" is tried again soon, "permanent" is a refused record (delivery narrows it down and sets
                it aside), "misconfigured" waits until somebody acts; or any exception.
            at: which call fails.
        """
        told = None if isinstance(error, Exception) else _ERRORS[error]

        def plan(batch: Batch | None) -> None:
            # Because an exception that is raised again and again gathers the frames, and so the batches, of all times.
            if isinstance(error, Exception):
                raise error.with_traceback(None)
            assert told is not None
            raise told(f"the sink was told to fail ({error})")

        self._plan(at, n, plan)

    def fail_after_keeping(self, n: int = 1) -> None:
        """Keep the next `n` batches, and then say that it failed: a connection lost during COMMIT."""

        def plan(batch: Batch | None) -> None:
            assert batch is not None
            self._keep(batch)
            raise SinkUnavailable("the sink was told to lose the answer after it had kept the batch")

        self._plan("write", n, plan)

    def fail_partway(self, n: int = 1) -> None:
        """Keep half of the rows of the next `n` batches without moving the position, and fail: what only a sink
        without transactions does. A sink whose rows have keys must bear the same rows again."""

        def plan(batch: Batch | None) -> None:
            assert batch is not None
            self.inner.write(
                Batch(
                    batch.journal,
                    batch.old_position,
                    batch.old_position,
                    new_executions=_first_half(batch.new_executions),
                    new_steps=_first_half(batch.new_steps),
                    recoveries=_first_half(batch.recoveries),
                    samples=_first_half(batch.samples),
                )
            )
            raise SinkUnavailable("the sink was told to fail in the middle of a batch")

        self._plan("write", n, plan)

    def hang(self) -> None:
        """Have every write hang, from now on until `release`."""
        self._hangs.clear()
        self._may_go_on.clear()

    def release(self) -> None:
        """Let what hangs go on."""
        self._may_go_on.set()

    def wait_until_hanging(self, timeout: float = 5.0) -> bool:
        """Wait until a write hangs, `timeout` seconds at most; whether one does."""
        return self._hangs.wait(timeout)

    def mend(self) -> None:
        """Forget all commands that are left, and release what hangs."""
        with self._lock:
            self._plans.clear()
        self.release()

    # ---------------------------------------------------------------- the sink

    def open(self) -> None:
        """See `Sink.open`."""
        self._act("open")
        self.inner.open()

    def position(self, journal: JournalIdentity) -> Positions:
        """See `Sink.position`."""
        self._act("position")
        return self.inner.position(journal)

    def write(self, batch: Batch) -> None:
        """See `Sink.write`."""
        with self._lock:
            self.attempts += 1
        if not self._may_go_on.is_set():
            self._hangs.set()
            self._may_go_on.wait()
        self._act("write", batch)
        self._keep(batch)

    def _fold(self, journal: JournalIdentity, cells: Cells, old_position: int, new_position: int) -> None:
        assert isinstance(self.inner, RollupSink)
        self._act("fold")
        self.inner.fold(journal, cells, old_position, new_position)

    def close(self) -> None:
        """See `Sink.close`. Never fails."""
        self.inner.close()

    # ---------------------------------------------------------------- how

    def _plan(self, at: Call, n: int, plan: _Plan) -> None:
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n!r}")
        with self._lock:
            self._plans.setdefault(at, deque()).extend([plan] * n)

    def _act(self, call: Call, batch: Batch | None = None) -> None:
        """Do what was planned for this call."""
        with self._lock:
            plans = self._plans.get(call)
            plan = plans.popleft() if plans else None
            self.failures += plan is not None
        if plan is not None:
            plan(batch)

    def _keep(self, batch: Batch) -> None:
        self.inner.write(batch)
        with self._lock:
            self.batches.append(batch)


def _first_half(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return rows[: (len(rows) + 1) // 2]
