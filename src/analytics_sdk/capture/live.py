"""Live metrics of an execution: read from this process's memory, while it runs."""

from datetime import datetime, timedelta
from typing import Any

from analytics_sdk.capture.context import Execution
from analytics_sdk.capture.recorder import Recorder, status_word

NAN = float("nan")


def live_metrics(execution_id: str, execution: Execution | None, recorder: Recorder) -> dict[str, Any]:
    """Every key, for an unknown id too. Seconds and percent; `estimated_completion` is naive local time."""
    if execution is None or not recorder.realtime:
        reason = "live state is off (realtime=False)" if execution is not None else "no such execution runs here"
        return {
            "execution_id": execution_id,
            "workflow_id": None if execution is None else execution.workflow_id,
            "status": "unknown" if execution is None else status_word(execution),
            "total_steps": None,
            "steps_completed": 0,
            "steps_failed": 0,
            "current_step": None,
            "elapsed_seconds": NAN,
            "progress_percent": NAN,
            "estimated_completion": None,
            "estimate_reason": reason,
        }
    elapsed_ns = (execution.ended_tick_ns if execution.ended else recorder.tick_ns()) - execution.started_tick_ns
    completed, failed = execution.said_counts or (execution.steps_completed, execution.steps_failed)
    estimate, reason_or_none = _estimate(execution, elapsed_ns, recorder)
    return {
        "execution_id": execution_id,
        "workflow_id": execution.workflow_id,
        "status": status_word(execution),
        "total_steps": execution.total_steps,
        "steps_completed": completed,
        "steps_failed": failed,
        "current_step": None if execution.ended else execution.current_step,
        "elapsed_seconds": elapsed_ns / 1e9,
        "progress_percent": _progress(execution),
        "estimated_completion": estimate,
        "estimate_reason": reason_or_none,
    }


def _progress(execution: Execution) -> float:
    if not execution.total_steps:
        return 100.0 if execution.ended and execution.total_steps == 0 else NAN
    return min(100.0, 100.0 * execution.steps_ended / execution.total_steps)


def _estimate(execution: Execution, elapsed_ns: int, recorder: Recorder) -> tuple[datetime | None, str | None]:
    """The end if the remaining top-level steps take as long as those that ended did on average."""
    if execution.ended:
        return None, "it has ended"
    if execution.total_steps is None:
        return None, "the number of steps is unknown"
    if execution.steps_ended == 0:
        return None, "no step has ended yet"
    left = max(0, execution.total_steps - execution.steps_ended)
    if left == 0 and execution.open_steps:
        return None, "more steps than announced"
    remaining_ns = elapsed_ns / execution.steps_ended * left
    now = datetime.fromtimestamp(recorder.time_ns() / 1e9)
    try:
        return now + timedelta(microseconds=remaining_ns / 1000), None
    except OverflowError:
        return None, "it is too far away"
