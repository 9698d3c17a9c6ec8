"""When the journals are full because one of several sinks is away: what it lacks is given up for it, and counted.

Without that the segments that it has not taken would stay until there is no room at all, and then every sink would lose
what is recorded from then on.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from analytics_sdk.errors import JournalError
from analytics_sdk.guard import trouble
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import base_of_segment
from analytics_sdk.shipper.decoding import decode
from analytics_sdk.sinks.base import Positions

_UNKNOWN_KIND = 0


class Claim(NamedTuple):
    """Where a sink stands in a journal: what lies between needs to be read again, because its rollups lag behind."""

    rollups: int
    rows: int
    settled: bool = False

    def holds(self, n: int) -> bool:
        """Whether the sink stands in segment n."""
        return base_of_segment(n) <= self.rows and self.rollups < base_of_segment(n + 1)

    def has(self, n: int) -> bool:
        """Whether the sink has everything of segment n."""
        return self.settled or min(self.rollups, self.rows) >= base_of_segment(n + 1)


def claim_of(positions: Positions) -> Claim:
    """The claim of a sink whose positions are known."""
    return Claim(positions.rollups, positions.rows, positions.settled)


def make_room(reader: JournalReader, claims: list[Claim | None], is_short: Callable[[], bool]) -> None:
    """While there is too little room, remove the oldest segments that one sink has and another lacks.

    `claims`: of every sink, None where nobody knows where it stands. What is removed is counted before.
    """
    known = [claim for claim in claims if claim is not None]
    for n in reader.segments():
        if not is_short():
            return
        if not any(claim.has(n) for claim in known):
            return  # because what nobody has is worth more than what comes next
        if any(claim.holds(n) for claim in known if not claim.settled):
            continue  # because rows of it have been delivered, and their rollups are made from it
        try:
            if not _give_up(reader, n):
                return
        except JournalError:
            continue  # because what cannot be read now cannot be counted


def _give_up(reader: JournalReader, n: int) -> bool:
    counts: Counter[int] = Counter()
    times: list[int] = []
    at, end = base_of_segment(n), base_of_segment(n + 1)
    while at < end:
        stretch = reader.read(at, final=True)
        if stretch.new == at:
            break
        records = [record for record in stretch.records if record.position < end]
        counts.update(record.kind for record in records)
        counts[_UNKNOWN_KIND] += sum(damage < end for damage in stretch.damages)
        for _, _, event in decode(records)[0]:
            began = getattr(event, "started_at_ns", None) or getattr(event, "at_ns", None)
            if began:
                times.append(began)
        at = stretch.new
    given_up = reader.give_up(n, counts, min(times, default=0), max(times, default=0))
    if given_up:
        trouble(
            "outage",
            "the journals in %s are full and a sink is away: what it lacks is given up for it, and counted",
            reader.folder,
        )
    return given_up
