"""Segments that were given up: removed, for lack of room, before every sink had them.

What was in them is counted in the owner file, in room that was reserved with it, before they are removed: a full disk
does not keep that from being noted. A row is a stretch of segments without one that is left:

    first u32, behind u32     the number of the first segment, and of the one behind the last
    n u32 for each kind       in the order of the loss counters
    first_at_ns, last_at_ns   u64 each: when what was in them began
"""

import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from analytics_sdk.journal.owner import COUNTED_KINDS, SIZE, Loss, counted_row
from analytics_sdk.journal.private import open_private
from analytics_sdk.vocabulary import OUTAGE

_AT, _END = 1088, 2048
_ROW = struct.Struct(f"<II{len(COUNTED_KINDS)}IQQ")
_PLACES = range(_AT, _END - _ROW.size + 1, _ROW.size)


class Gap(msgspec.Struct, frozen=True):
    """A stretch of segments that are not there any more, and what a sink has lost that had none of them."""

    first: int
    behind: int
    counts: tuple[int, ...]
    first_at_ns: int
    last_at_ns: int

    def __contains__(self, n: int) -> bool:
        """Whether segment n was given up."""
        return self.first <= n < self.behind


def gaps_in(page: bytes) -> list[Gap]:
    """The gaps that an owner file's content tells of, in their order."""
    found = []
    for at in _PLACES:
        if at + _ROW.size <= len(page):
            first, behind, *counts, first_at_ns, last_at_ns = _ROW.unpack_from(page, at)
            if behind > first:
                found.append(Gap(first, behind, tuple(counts), first_at_ns, last_at_ns))
    return sorted(found, key=lambda gap: gap.first)


def page_with_gap(page: bytes, n: int, counts: Mapping[int, int], first_at_ns: int, last_at_ns: int) -> bytes | None:
    """An owner file's content that tells of segment n too; None where it has no room for that."""
    numbers = [0] * len(COUNTED_KINDS)
    for kind, count in counts.items():
        numbers[counted_row(kind)] += count
    gaps = gaps_in(page)
    before = next((gap for gap in gaps if gap.behind == n), None)
    if before is not None:
        numbers = [ours + theirs for ours, theirs in zip(numbers, before.counts, strict=True)]
        first_at_ns, last_at_ns = min(first_at_ns, before.first_at_ns), max(last_at_ns, before.last_at_ns)
        gaps.remove(before)
    gaps.append(Gap(n if before is None else before.first, n + 1, tuple(numbers), first_at_ns, last_at_ns))
    if len(gaps) > len(_PLACES):
        return None
    after = bytearray(page.ljust(SIZE, b"\0"))
    after[_AT:_END] = bytes(_END - _AT)
    for at, gap in zip(_PLACES, gaps, strict=False):
        _ROW.pack_into(after, at, gap.first, gap.behind, *gap.counts, gap.first_at_ns, gap.last_at_ns)
    return bytes(after)


def store_gaps(path: Path, page: bytes) -> bool:
    """Keep what a page tells of gaps in the owner file, and nothing else of it; whether it is kept."""
    try:
        fd = open_private(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.pwrite(fd, page[_AT:_END], _AT) == _END - _AT
    except OSError:
        return False
    finally:
        os.close(fd)


def losses_of(gaps: Iterable[Gap]) -> list[Loss]:
    """What a sink has lost that comes to these gaps, one for each kind."""
    found = list(gaps)
    lost = []
    for row, kind in enumerate(COUNTED_KINDS):
        n = sum(gap.counts[row] for gap in found)
        if n:
            touched = [gap for gap in found if gap.counts[row]]
            since, until = min(gap.first_at_ns for gap in touched), max(gap.last_at_ns for gap in touched)
            lost.append(Loss(kind, OUTAGE, n, since, until))
    return lost
