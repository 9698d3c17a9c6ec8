"""asyncio: steps of one execution that run at once, in tasks of `gather` and of a TaskGroup.

    python examples/async_tasks.py
    analytics-sdk stats

Nothing has to be passed on: each task knows the execution that it was started in.
"""

import asyncio

from analytics_sdk import configure, track_step, track_workflow


@track_step(node_id="{page}", action_type="http")
async def fetch(page: str, seconds: float, patience: float = 0.2) -> str:
    """A page after some time; one that is too slow runs into its timeout, and its step says so."""
    async with asyncio.timeout(patience):
        await asyncio.sleep(seconds)
    return f"<h1>{page}</h1>"


@track_workflow(workflow_id="gather", total_steps=3)
async def fetch_all() -> list[str | BaseException]:
    """All at once; what fails does not stop the others."""
    return await asyncio.gather(fetch("home", 0.01), fetch("news", 0.02), fetch("archive", 5.0), return_exceptions=True)


@track_workflow(workflow_id="task-group", total_steps=3)
async def fetch_together() -> None:
    """All or nothing: when one fails, the group cancels the others, and so say their steps."""
    async with asyncio.TaskGroup() as group:
        group.create_task(fetch("cart", 0.01))
        group.create_task(fetch("search", 5.0))
        group.create_task(fetch("help", 30.0, patience=60.0))


async def main() -> None:
    """Both ways, several times at once."""
    system = configure(sink="sqlite:///analytics.db")
    pages = await fetch_all()
    print([page if isinstance(page, str) else type(page).__name__ for page in pages])
    ended = await asyncio.gather(fetch_together(), fetch_together(), return_exceptions=True)
    print([type(problem).__name__ for problem in ended])

    for workflow_id in ("gather", "task-group"):
        stats = await asyncio.to_thread(system.stats, workflow_id)  # because asking waits for the database
        rate = stats["success_rate"]
        print(f"{workflow_id}: {rate['succeeded']} of {rate['n']} executions succeeded")
        for step in stats["steps"]:  # what was cancelled counts in no rate
            rate_text = f"success rate {step['success_rate']:.0f} %" if step["n"] else "cancelled"
            print(f"  {step['node_id']}: {step['n']} counted, {rate_text}")


if __name__ == "__main__":
    asyncio.run(main())
