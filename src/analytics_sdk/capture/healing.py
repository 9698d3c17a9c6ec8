"""What a recovery heals: the step that it belongs to, also one that has ended as failed since."""

from analytics_sdk.capture.context import Execution, Step, current, latest_failed
from analytics_sdk.capture.recorder import Recorder, Tags
from analytics_sdk.capture.verdicts import note_heal
from analytics_sdk.vocabulary import FAILED, RECOVERED, TIMEOUT, Kind

_RECOVERY = int(Kind.RECOVERY)


def healed_step_of(execution: Execution | None, node_id: str | None) -> Step | None:
    """The step that a recovery made here and now belongs to; None when it belongs to the execution itself."""
    frame = current.get()
    if isinstance(frame, Step) and not frame.ended and (execution is None or frame.execution is execution):
        return frame
    if execution is not None and node_id is not None:
        failed = execution.failed_steps.get(node_id)
        if failed is not None:
            return failed
    failed = latest_failed.get()
    if failed is not None and failed.execution is execution and node_id in (None, failed.node_id):
        return failed
    return None


def record_recovery(
    recorder: Recorder,
    execution: Execution | None,
    step: Step | None,
    *,
    strategy: str,
    success: bool,
    started_at_ns: int,
    duration_ns: int,
    node_id: str | None = None,
    error_message: str | None = None,
    tags: Tags = None,
) -> None:
    """Record one recovery attempt; where it succeeded, its step is healed, also one that had ended."""
    if execution is None and step is not None:
        execution = step.execution
    if step is not None and node_id is None:
        node_id = step.node_id
    position = recorder.append(
        _RECOVERY,
        (
            None if execution is None else execution.execution_id,
            None if execution is None else execution.workflow_id,
            None if step is None else step.step_no,
            node_id,
            strategy,
            success,
            started_at_ns,
            duration_ns if duration_ns > 0 else 0,
            error_message,
            tags,
        ),
    )
    if success:
        _heal(recorder, execution, step)
        if execution is not None:
            repeated = (execution.workflow_id, node_id, strategy, started_at_ns)
            note_heal(execution, step, position, repeated, recorder.tick_ns())


def _heal(recorder: Recorder, execution: Execution | None, step: Step | None) -> None:
    if step is not None and not step.ended and step.said_status in (FAILED, TIMEOUT):
        step.said_status = None  # because what was said of it before has been mended since
    if step is not None and step.healed:
        return
    if execution is not None and not execution.ended:
        execution.recoveries += 1
    if step is None:
        return
    step.healed = True
    if not step.ended or step.status not in (FAILED, TIMEOUT):
        return
    revised, step.status = step.status, RECOVERED
    recorder.append_step_end(step, revises=revised)
    if execution is not None:
        execution.failed_steps.pop(step.node_id, None)
        if step.parent_step_no is None:
            execution.steps_failed -= 1
            execution.steps_completed += 1
