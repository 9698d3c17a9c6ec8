"""Records decoded into the classes of `events`, a kind at a time, because one big decode beats many small ones."""

import struct
from collections.abc import Iterable
from itertools import repeat
from operator import itemgetter
from typing import Any

import msgspec

from analytics_sdk.events import RECORD_TYPES
from analytics_sdk.journal.record import Record
from analytics_sdk.pace import slices_of

_DECODE_ONE = {int(kind): msgspec.msgpack.Decoder(kinds).decode for kind, kinds in RECORD_TYPES.items()}
_DECODE_ALL = {
    int(kind): msgspec.msgpack.Decoder(list[kinds]).decode  # type: ignore[valid-type]  # because the type is a value here
    for kind, kinds in RECORD_TYPES.items()
}

_BROKEN = (msgspec.DecodeError, ValueError, RecursionError)
"""The last for what is nested so deeply that nobody could have meant it."""


def decode(records: Iterable[Record]) -> tuple[list[tuple[int, int, Any]], list[tuple[int, int]]]:
    """(position, kind, event) of the records in their order, and (position, kind) of those that cannot be decoded.

    Kinds as plain numbers, because the garbage collector then soon leaves the tuples alone, and the host's objects too.
    """
    decoded: list[tuple[int, int, Any]] = []
    broken: list[tuple[int, int]] = []
    for some in slices_of(records):
        _decode_some(some, decoded, broken)
    return decoded, broken


def _decode_some(records: Iterable[Record], into: list[tuple[int, int, Any]], broken: list[tuple[int, int]]) -> None:
    by_kind: dict[int, list[Record]] = {}
    for record in records:
        by_kind.setdefault(record.kind, []).append(record)
    decoded: list[tuple[int, int, Any]] = []
    for kind, group in by_kind.items():
        positions, events, bad = decode_kind(kind, group)
        decoded += zip(positions, repeat(kind), events, strict=False)
        broken += zip(bad, repeat(kind), strict=False)
    decoded.sort(key=itemgetter(0))
    into += decoded


def decode_kind(kind: int, records: Iterable[Record]) -> tuple[list[int], list[Any], list[int]]:
    """Of records of one kind: their positions, their events in the same order, and where those stand that cannot be
    decoded."""
    positions: list[int] = []
    events: list[Any] = []
    broken: list[int] = []
    for some in slices_of(records):
        try:
            decoder = _DECODE_ALL[kind]
            events += decoder(b"\xdd" + struct.pack(">I", len(some)) + b"".join([one.payload for one in some]))
            positions += [record.position for record in some]
        except KeyError:
            broken += [record.position for record in some]
        except _BROKEN:  # because one bad record must cost one record
            for record in some:
                try:
                    events.append(_DECODE_ONE[kind](record.payload))
                    positions.append(record.position)
                except _BROKEN:
                    broken.append(record.position)
    return positions, events, broken
