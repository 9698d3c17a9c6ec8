"""One thing that the doctor looked at."""

from dataclasses import dataclass

from analytics_sdk.errors import SinkUnavailable
from analytics_sdk.sinks import hide_password

_WORDS = (
    ("password", "correct user and password in the sink's URL"),
    ("authentication", "correct user and password in the sink's URL"),
    ("does not exist", "correct the name in the sink's URL, or make it on the server"),
    ("refused", "start the server, or correct host and port in the sink's URL"),
    ("could not translate", "correct the host in the sink's URL"),
    ("failed to resolve", "correct the host in the sink's URL"),
    ("timeout", "see that the server can be reached from here"),
    ("locked", "see `analytics-sdk doctor` on who holds it; it is tried again meanwhile"),
    ("no room", "make room on that disk"),
    ("full", "make room on that disk"),
)
"""What a database says -> what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` where something is wrong, or could be better."""

    subject: str
    ok: bool
    text: str
    advice: str = ""


def found_wrong(subject: str, problem: object) -> Finding:
    """What a sink said, with what to do about it."""
    what, _, advice = hide_password(str(problem)).rpartition("; ")
    if not what:
        what, advice = advice, ""
    meant = next((todo for word, todo in _WORDS if word in what.lower()), None)
    if "db upgrade" in what or "db upgrade" in advice:
        meant = None  # because the message says it
    if meant is None and isinstance(problem, SinkUnavailable):
        meant = "see that it can be reached from here"
    return Finding(subject, False, what, meant or advice or "see the message of the database")
