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
from analytics_sdk.vocabulary import Kind

_DECODE_ONE = {kind: msgspec.msgpack.Decoder(kinds).decode for kind, kinds in RECORD_TYPES.items()}
_DECODE_ALL = {
    kind: msgspec.msgpack.Decoder(list[kinds]).decode  # type: ignore[valid-type]  # because the type is a value here
    for kind, kinds in RECORD_TYPES.items()
}

BROKEN = (msgspec.DecodeError, ValueError, RecursionError)
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
    for number, group in by_kind.items():
        try:
            kind = Kind(number)
        except ValueError:
            broken += [(record.position, number) for record in group]
            continue
        try:
            events = _DECODE_ALL[kind](
                b"\xdd" + struct.pack(">I", len(group)) + b"".join([record.payload for record in group])
            )
            decoded += zip([record.position for record in group], repeat(number), events, strict=False)
        except BROKEN:  # because one bad record must cost one record
            for record in group:
                try:
                    decoded.append((record.position, number, _DECODE_ONE[kind](record.payload)))
                except BROKEN:
                    broken.append((record.position, number))
    decoded.sort(key=itemgetter(0))
    into += decoded
