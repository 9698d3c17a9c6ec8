"""A recorder over a journal that is a list: capture alone, without files."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from analytics_sdk import guard
from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import current, latest_failed
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.events import RECORD_TYPES
from analytics_sdk.vocabulary import STATUSES, Kind


class ListJournal:
    """Keeps what is appended, decoded as a reader would decode it."""

    def __init__(self) -> None:
        self.events: list[tuple[Kind, Any]] = []

    def append(self, kind: int, fields: tuple[Any, ...]) -> int:
        payload = msgspec.msgpack.encode(fields)
        self.events.append((Kind(kind), msgspec.msgpack.decode(payload, type=RECORD_TYPES[Kind(kind)])))
        return len(self.events) - 1

    def of(self, kind: Kind) -> list[Any]:
        return [event for found, event in self.events if found is kind]

    @property
    def executions(self) -> list[Any]:
        """Execution endings, in their order."""
        return self.of(Kind.EXECUTION_END)

    @property
    def steps(self) -> list[Any]:
        """Step endings, in their order; a healing is one more."""
        return self.of(Kind.STEP_END)

    @property
    def recoveries(self) -> list[Any]:
        return self.of(Kind.RECOVERY)

    def statuses(self, kind: Kind) -> list[str]:
        return [STATUSES[event.status] for event in self.of(kind)]


@pytest.fixture
def journal() -> Iterator[ListJournal]:
    """Capture goes into a list for the time of the test."""
    kept = active.recorder, active.enabled
    made = ListJournal()
    active.recorder, active.enabled = Recorder(made), True
    current_token, failed_token = current.set(None), latest_failed.set(None)
    guard.counters.clear()
    guard.forget_logged()
    yield made
    current.reset(current_token)
    latest_failed.reset(failed_token)
    active.recorder, active.enabled = kept
