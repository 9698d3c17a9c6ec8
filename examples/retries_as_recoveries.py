"""A retry library as the self-healing: every attempt after the first is a recovery of the step that it saves.

    pip install tenacity
    python examples/retries_as_recoveries.py
    analytics-sdk stats

`record_retries` uses the two places where tenacity lets others in: what it calls before each attempt, and what it asks
whether to go on. The decorated functions stay as they are; they may be somebody else's.
"""

from collections.abc import Iterator

from tenacity import BaseRetrying, RetryCallState, RetryError, retry, retry_if_result, stop_after_attempt, wait_none

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow


def record_retries(retrying: BaseRetrying, strategy: str = "retry") -> None:
    """Have every attempt after the first recorded as a recovery attempt; it failed where tenacity wants another one."""
    begins, decides = retrying.before, retrying.retry

    def begin(state: RetryCallState) -> None:
        begins(state)
        if state.attempt_number > 1:
            state.recovery = recovery_attempt(strategy)
            state.attempt = state.recovery.__enter__()

    def decide(state: RetryCallState) -> bool:
        again = decides(state)
        if state.attempt_number > 1:
            error = state.outcome.exception()
            if again and error is None:
                state.attempt.fail(f"the result was {state.outcome.result()!r}")
            state.recovery.__exit__(None if error is None else type(error), error, None)
        return again

    retrying.before, retrying.retry = begin, decide


@retry(stop=stop_after_attempt(4), wait=wait_none(), reraise=True)
def download(answers: Iterator[str]) -> str:
    """Raises until the server answers."""
    answer = next(answers)
    if answer == "busy":
        raise ConnectionError("the server is busy")
    return answer


@retry(stop=stop_after_attempt(3), wait=wait_none(), retry=retry_if_result(lambda rows: rows == 0))
def count_rows(answers: Iterator[int]) -> int:
    """Nothing is raised here: a result of 0 is what is not good enough."""
    return next(answers)


@track_workflow(workflow_id="{name}", total_steps=2)
def import_file(name: str, pages: list[str], rows: list[int]) -> None:
    """Two steps, each with its own retries."""
    with track_step(node_id="download", action_type="http"):
        download(iter(pages))
    with track_step(node_id="count", action_type="sql"):
        count_rows(iter(rows))


def main() -> None:
    """One import without trouble, one that retries save, one that they do not."""
    system = configure(sink="sqlite:///analytics.db")
    record_retries(download.retry, "retry-download")
    record_retries(count_rows.retry, "retry-count")
    import_file("calm", ["page"], [7])
    import_file("saved", ["busy", "busy", "page"], [0, 7])
    try:
        import_file("lost", ["page"], [0, 0, 0])
    except RetryError as problem:
        print(f"lost: {type(problem).__name__}")

    stats = system.stats()
    print(f"{stats['success_rate']['succeeded']} of {stats['success_rate']['n']} imports worked")
    for strategy in stats["recovery"]["strategies"]:
        print(f"  {strategy['strategy']}: {strategy['succeeded']} of {strategy['attempts']} attempts worked")
    for step in stats["steps"]:
        print(f"  {step['workflow_id']}, {step['node_id']}: {step['n']} times, {step['recovered']} healed")


if __name__ == "__main__":
    main()
