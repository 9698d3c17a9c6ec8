"""The format of a journal.

A journal is what one process recorded. It is a set of files in one private folder (0700; files 0600):

    <journal_id>.owner            4096 bytes, see `owner`
    <journal_id>-<n:08d>.seg      segments
    <journal_id>.rejected         what a sink refused, a line of JSON each; kept for people

`journal_id` is 32 hex digits, random. All integers are little-endian. The number n of a segment tells its size and
where it begins in the journal: sizes double from 256 KiB up to 8 MiB, and segment n + 1 begins where n ends. So a
damaged header costs nothing: names and numbers say it all again. A segment:

    0     magic       8 bytes  b"ANLYSEG1"
    8     journal_id  16 bytes
    24    n           u32      number of the segment
    28    size        u32      bytes of the file
    32    base        u64      position of the file's first byte in the journal
    40    crc         u32      crc32 of the 40 bytes before
    64    frames, one after the other, up to the end of the file; zeros are free space

A frame:

    0     sync        u8       0xA5
    1     kind        u8       events.Kind
    2     length      u16      bytes of the payload
    4     crc         u32      crc32 of the payload, seeded with salt(journal_id, n, kind)
    8     payload     msgpack array, fields in the order of the class in `events`

The checksum is the commit: a frame that is half written does not verify. The salt makes sure that bytes of another
segment, or a frame inside a payload, never verify here. The *position* of a record is `base` + its offset in the file:
it grows through the whole journal, and is the record's sequence number everywhere else. A journal that follows on
another one of the same process, or of the parent that it was forked from, goes on with their numbers: its `origin` lies
behind all of their positions, so that an ending whose beginning stands in the other journal can be told.
"""

import struct
import zlib
from typing import NamedTuple

import msgspec

MAGIC = b"ANLYSEG1"
HEADER = struct.Struct("<8s16sIIQI")
FIRST_FRAME = 64
SYNC = 0xA5
FRAME = struct.Struct("<BBHI")
FRAME_BYTES = FRAME.size
MAX_PAYLOAD = 0xFFFF
KINDS = range(1, 16)
FIRST_SEGMENT_BYTES = 256 * 1024
LARGEST_SEGMENT_BYTES = 8 * 1024 * 1024
_DOUBLINGS = 5


class SegmentHeader(NamedTuple):
    """The header of a segment file."""

    journal_id: str
    n: int
    size: int
    base: int

    def pack(self) -> bytes:
        body = HEADER.pack(MAGIC, bytes.fromhex(self.journal_id), self.n, self.size, self.base, 0)[:40]
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> "SegmentHeader | None":
        """The header at the beginning of `data`, or None where it is none of ours or damaged."""
        if len(data) < HEADER.size:
            return None
        magic, journal_id, n, size, base, crc = HEADER.unpack_from(data)
        if magic != MAGIC or crc != zlib.crc32(data[:40]):
            return None
        return cls(journal_id.hex(), n, size, base)


def salts(journal_id: str, n: int) -> tuple[int, ...]:
    """The seed of the checksum, for each kind, in segment n of a journal."""
    seed = zlib.crc32(struct.pack("<I", n), zlib.crc32(bytes.fromhex(journal_id)))
    return tuple(zlib.crc32(bytes((kind,)), seed) for kind in range(KINDS.stop))


def segment_name(journal_id: str, n: int) -> str:
    """The file name of segment n."""
    return f"{journal_id}-{n:08d}.seg"


def bytes_of_segment(n: int) -> int:
    """The size of segment n."""
    return FIRST_SEGMENT_BYTES << n if n < _DOUBLINGS else LARGEST_SEGMENT_BYTES


def base_of_segment(n: int) -> int:
    """The journal position of segment n's first byte."""
    doubled = min(n, _DOUBLINGS)
    return FIRST_SEGMENT_BYTES * ((1 << doubled) - 1) + (n - doubled) * LARGEST_SEGMENT_BYTES


def is_of_later_version(data: bytes, magic: bytes) -> bool:
    """Whether a file that should begin with `magic` was written by a later version: the last byte is its digit."""
    return data[:7] == magic[:7] and data[7:8].isdigit() and data[7:8] > magic[7:8]


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it stands in a journal. `position` is its sequence number. Of no interest to the garbage collector,
    because tens of thousands at a time would have it look through all that the host has."""

    position: int
    kind: int
    payload: bytes


def verifies(data: bytes, offset: int, seeds: tuple[int, ...]) -> bool:
    """Whether a frame begins at `offset`."""
    return walk(data, offset, seeds, 0, [], 1) > offset


def walk(data: bytes, offset: int, seeds: tuple[int, ...], base: int, into: list[Record], limit: int) -> int:
    """Collect records from `offset` on, until `limit` are collected or up to the first place where no frame verifies.

    `base` is the journal position of the data's first byte. The offset where it stopped.
    """
    unpack, crc32, keep, kinds = FRAME.unpack_from, zlib.crc32, into.append, len(seeds)
    last = len(data) - FRAME_BYTES
    for _ in range(limit - len(into)):
        if offset > last:
            break
        sync, kind, length, crc = unpack(data, offset)
        start = offset + FRAME_BYTES
        end = start + length
        payload = data[start:end]  # shorter than `length` where the data ends in it
        if sync != SYNC or not 0 < kind < kinds or crc32(payload, seeds[kind]) != crc or len(payload) != length:
            break
        keep(Record(base + offset, kind, payload))
        offset = end
    return offset


def is_torn(data: bytes) -> bool:
    """Whether `data`, behind which no frame verifies, holds the beginning of an append that a kill interrupted.

    Such a record was never told of as kept. It is one frame with a part that was not written, and nothing behind it.
    """
    written = data.rstrip(b"\0")
    if len(written) > FRAME_BYTES + MAX_PAYLOAD:
        return False
    sync, _, length, _ = FRAME.unpack(data[:FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
    frame = data[: FRAME_BYTES + length] if sync == SYNC else written
    return len(written) <= len(frame) and (frame.startswith(bytes(4)) or frame.endswith(bytes(4)) or bytes(16) in frame)


def resync(data: bytes, offset: int, seeds: tuple[int, ...]) -> int:
    """The offset of the next frame that verifies, from `offset` on; the length of the data where there is none."""
    sync = bytes((SYNC,))
    while (offset := data.find(sync, offset)) >= 0:
        if verifies(data, offset, seeds):
            return offset
        offset += 1
    return len(data)
