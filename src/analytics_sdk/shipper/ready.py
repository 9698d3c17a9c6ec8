"""A stretch made ready: what a sink is to write of it, what rollups are to count, and what is lost in it. Pure."""

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from analytics_sdk.journal.record import Record
from analytics_sdk.journal.stretch import Stretch
from analytics_sdk.pace import breathe
from analytics_sdk.rollup import Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import Decoded, lost_healings, merge
from analytics_sdk.shipper.plain import PlainSteps, fold_plain, rows_of, sort_out
from analytics_sdk.sinks.base import Batch, JournalIdentity
from analytics_sdk.vocabulary import Kind

UNKNOWN_KIND = 0


class Ready(NamedTuple):
    """What comes of a stretch."""

    batch: Batch
    plain: PlainSteps
    others: Decoded
    found: list[tuple[int, int, str]]
    """(position, kind, reason) of what is lost in the stretch."""
    origin: int

    def fold(self, cells: Cells) -> None:
        """Add the facts to cells, in place."""
        fold_plain(cells, self.plain)
        fold(cells, self.others, origin=self.origin)


def make_ready(journal: JournalIdentity, stretch: Stretch, origin: int) -> Ready:
    """What comes of a stretch. `origin`: the journal's first position."""
    plain, others, broken = sort_out(stretch.records, origin)
    batch = merge(journal, others, stretch.old, stretch.new, origin=origin)
    batch.new_steps += rows_of(plain)
    breathe()
    batch.new_steps.sort(key=itemgetter(0))
    breathe()
    found = [(position, kind, "damaged") for position, kind in broken]
    found += [(position, UNKNOWN_KIND, "damaged") for position in stretch.damages]
    found += [(position, int(Kind.STEP_END), "damaged") for position in lost_healings(others, origin)]
    return Ready(batch, plain, others, found, origin)


def fold_records(cells: Cells, records: Sequence[Record], origin: int) -> None:
    """Add the facts of records to cells, in place."""
    plain, others, _ = sort_out(records, origin)
    fold_plain(cells, plain)
    fold(cells, others, origin=origin)
