"""What the shell may complete: workflow ids out of the store. Reads only, is quick, and never says a word."""

import re
import signal
from types import FrameType

import typer

LIMIT_SECONDS = 2.0
"""So long a store may take to answer, our own start not counted."""
MOST_IDS = 500
_PLAIN = re.compile(r"[\w./:@%+=,-]+")
"""Ids that a shell takes as they are. Others are not offered, because they come from outside and a shell would run
what stands in them."""


def complete_workflow(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of stored workflows that begin with what was typed; none on any trouble, or where it takes long."""
    try:
        import analytics_sdk.sinks.sql  # noqa: F401  # here, because what it loads is not the store's time
        from analytics_sdk.cli.store import open_query

        before = signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
        try:
            with open_query(context.params.get("db")) as (_, _, query):
                found = query.workflow_ids(MOST_IDS)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    except Exception:  # because somebody is typing, and an error would stand in the middle of it
        return []
    return [one for one in found if one.startswith(incomplete) and _PLAIN.fullmatch(one)]


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError
