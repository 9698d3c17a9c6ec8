"""One thing that the doctor looked at."""

from dataclasses import dataclass

from analytics_sdk.cli.faults import explain_sink
from analytics_sdk.errors import SinkUnavailable


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` where something is wrong, or could be better."""

    subject: str
    ok: bool
    text: str
    advice: str = ""


def found_wrong(subject: str, problem: object) -> Finding:
    """What a sink said, with what to do about it."""
    what, advice = explain_sink(str(problem), is_away=isinstance(problem, SinkUnavailable))
    return Finding(subject, False, what, advice)
