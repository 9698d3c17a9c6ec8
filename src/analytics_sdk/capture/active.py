"""The process's recorder: decorators read it at each call, systems put themselves here."""

import os
from collections.abc import Callable

from analytics_sdk.capture.context import Execution, current
from analytics_sdk.capture.recorder import Recorder, recorders
from analytics_sdk.vocabulary import Kind


class Active:
    """What is active in this process."""

    recorder: Recorder | None = None
    enabled = True
    """False: capture is off for this process, by the user's word."""
    bootstrap: Callable[[], Recorder | None] | None = None
    """Makes the default system on the first tracked call; set by `analytics_system`. Never raises."""

    def start(self) -> Recorder | None:
        """The recorder, made now where there is none yet; None where capture is off."""
        if self.recorder is None and self.enabled and self.bootstrap is not None:
            return self.bootstrap()
        return self.recorder


active = Active()


def open_execution(execution_id: object) -> Execution | None:
    """The open execution of that id: of any system of this process, or around this task since before the fork. Also
    while capture is off, because what began ends."""
    if not isinstance(execution_id, str):
        return None
    known = active.recorder
    for recorder in [known] if known is not None and execution_id in known.open_executions else list(recorders):
        execution = recorder.open_executions.get(execution_id)
        if execution is not None:
            return execution
    frame = current.get()
    while frame is not None:
        if isinstance(frame, Execution) and frame.execution_id == execution_id and not frame.ended:
            return frame if frame.recorder is not None else None
        frame = frame.parent
    return None


def disown_by_first_record(recorder: Recorder, kind: int) -> bool:
    """In a forked child, before its first record: what is open is its parent's, also where no hook of Python's ran at
    the fork. Whether that record is the child's own: an ending is not, because nothing began here."""
    recorder.disown_open()
    return kind not in (Kind.EXECUTION_END, Kind.STEP_END)


def _after_fork_in_child() -> None:
    for recorder in list(recorders):  # because capture may be off just now, and what a replaced one holds is open too
        recorder.disown_open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
