"""The journal of a dead owner, to its end: delivered, judged, removed."""

from collections.abc import Callable

from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.shipper.fleet import Fleet

_TRIES_TO_SETTLE = 3
"""Another shipper that takes the owner for alive may deliver the same journal meanwhile, and be faster."""


def ship_journal(fleet: Fleet, reader: JournalReader, is_short: Callable[[], bool] | None = None) -> bool:
    """Deliver, judge and remove the journal of a dead owner, whose lock the caller holds; whether it is gone.

    `is_short`: whether there is too little room for what comes, so that what a sink that is away lacks is given up.
    """
    try:
        for _ in range(_TRIES_TO_SETTLE):
            whole = _deliver_whole(fleet, reader)
            if fleet.settle(reader):  # also where one sink lacks something: the others have all of it
                reader.remove()
                return True
            if not whole:
                break
        if is_short is not None:
            fleet.make_room(reader, is_short)
        return False
    finally:
        reader.close()
        fleet.forget(reader.journal_id)


def _deliver_whole(fleet: Fleet, reader: JournalReader) -> bool:
    """Deliver until nothing is left, or nothing moves any more; whether every sink has all of it."""
    while True:
        before = fleet.rows_to(reader.journal_id)
        if fleet.deliver(reader, final=True):
            return True
        if fleet.rows_to(reader.journal_id) == before:
            return False
