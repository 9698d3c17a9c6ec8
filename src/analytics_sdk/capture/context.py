"""What is open now: frames (executions and steps), and the one that this task or thread is inside.

The current frame lives in a context variable, so it follows asyncio tasks by itself. Generators put back what was
there before each `yield`, by value and not by token, because they may be closed from another context.
"""

from contextvars import ContextVar, copy_context
from itertools import count
from typing import TYPE_CHECKING, ClassVar

import msgspec

from analytics_sdk.guard import message_of
from analytics_sdk.vocabulary import CANCELLED, FAILED, NO_START, RUNNING, SKIPPED

if TYPE_CHECKING:
    from analytics_sdk.capture.recorder import Recorder
    from analytics_sdk.capture.verdicts import Healing

__all__ = [
    "Execution",
    "Frame",
    "Step",
    "copy_context",
    "current",
    "current_execution",
    "forget_ended",
    "latest_failed",
    "step_out",
]


class Frame:
    """Something that began and has not ended yet. Rare state stands in class attributes until it is needed."""

    if not TYPE_CHECKING:
        __slots__ = ()  # because steps have slots of their own for all of this; those who check types take it for none
    is_step: ClassVar[bool]
    recorder: "Recorder | None" = None
    parent: "Frame | None" = None
    start: int = NO_START
    started_at_ns: int = 0
    started_tick_ns: int = 0
    tags: dict[str, str] | None = None
    ended = False
    inherited = False
    """Began in the parent process of this fork: it ends there, and not here."""
    opener: object = None
    """What opened it: a wrapper, an inline tracker, the hooks."""
    subject: object = None
    """The first argument of the call, `self` of a method, while it runs."""
    joined = 0
    """Beginnings of the same call that were seen another way, and wait for their ending."""
    said_status: int | None = None
    """The user's or the host's word on how this ended; it beats what we would infer, but not an exception."""
    said_message: str | None = None
    said_duration_ns: int | None = None
    said_started_at_ns: int | None = None

    def fail(self, message: object = None) -> None:
        """Say that this failed, and why. Whatever is returned afterwards, it is recorded as failed."""
        self.said_status = FAILED
        self.said_message = None if message is None else message_of(message)

    def skip(self, message: object = None) -> None:
        """Say that there was nothing to do: recorded as skipped, and counted in no rate."""
        self.said_status = SKIPPED
        self.said_message = None if message is None else message_of(message)

    def cancel(self, message: object = None) -> None:
        """Say that this was called off: recorded as cancelled, and counted in no rate."""
        self.said_status = CANCELLED
        self.said_message = None if message is None else message_of(message)


class Execution(Frame):
    """One run of a workflow. `execution_id` is a time-ordered UUID (version 7)."""

    is_step = False
    status = RUNNING
    ended_tick_ns = 0
    total_steps: int | None = None
    parent_execution_id: str | None = None
    parent_step_no: int | None = None
    current_step: str | None = None
    steps_completed = 0
    steps_failed = 0
    steps_ended = 0
    """Top-level steps that ended, whichever way."""
    recoveries = 0
    """Recoveries that succeeded, of its steps at any depth and of itself."""
    said_counts: tuple[int, int] | None = None
    """The host's own (completed, failed)."""

    def __init__(self, execution_id: str, workflow_id: str) -> None:
        self.execution_id = execution_id
        self.workflow_id = workflow_id
        self.ended = False  # here too, because each step asks, and what stands in the class is slower to find
        self.next_step_no = count(1).__next__
        self.healing: Healing | None = None
        """What was healed, until the end tells what became of it."""
        self.open_steps: dict[int, Step] = {}
        self.failed_steps: dict[str, Step] = {}
        """The latest failed step of each node: a recovery that comes later belongs to it."""

    def __repr__(self) -> str:
        return f"<Execution {self.execution_id} of {self.workflow_id!r}>"

    @property
    def execution(self) -> "Execution":
        return self


class Step(Frame, msgspec.Struct, eq=False):
    """One step; `step_no` counts from 1 within its execution, in order of beginning.

    A struct, because one is made for each step: filling slots in one call costs half of what a dict does.
    """

    is_step: ClassVar[bool] = True
    step_no: int
    node_id: str
    action_type: str | None = None
    execution: Execution | None = None
    recorder: "Recorder | None" = None
    parent: Frame | None = None
    opener: object = None
    subject: object = None
    started_at_ns: int = 0
    start: int = NO_START
    started_tick_ns: int = 0
    parent_step_no: int | None = None
    tags: dict[str, str] | None = None
    ended: bool = False
    inherited: bool = False
    joined: int = 0
    said_status: int | None = None
    said_message: str | None = None
    said_duration_ns: int | None = None
    said_started_at_ns: int | None = None
    healed: bool = False
    """A recovery of it succeeded."""
    status: int | None = None
    duration_ns: int = 0
    error_type: str | None = None
    error_message: str | None = None

    def __repr__(self) -> str:
        return f"<Step {self.step_no} {self.node_id!r}>"


current: ContextVar[Frame | None] = ContextVar("analytics_sdk_current", default=None)
latest_failed: ContextVar[Step | None] = ContextVar("analytics_sdk_latest_failed", default=None)


def current_execution() -> Execution | None:
    """The execution that this task or thread is inside, or None."""
    frame = current.get()
    if frame is None:
        return None
    if isinstance(frame, Step):
        return frame.execution
    return frame if isinstance(frame, Execution) else None


def step_out(frame: Frame, outside: Frame | None) -> None:
    """Make `outside` current, where this task is inside the frame: a coroutine may be closed from any other context."""
    inner = current.get()
    while inner is not None and inner is not frame:
        inner = inner.parent
    if inner is frame:
        current.set(outside)


def forget_ended(frame: Frame | None) -> None:
    """Let go of what an ended frame was inside of, as far as that has ended too: a program that starts each execution
    from the one before would keep all of them."""
    while frame is not None:
        if frame.ended:
            while frame.parent is not None and frame.parent.ended:
                frame.parent = frame.parent.parent
        frame = frame.parent
