"""Feeds the journal's reader with what a journal should never hold. Needs atheris.

    python tests/fuzz/fuzz_reader.py [-max_total_time=600] [corpus folder]

An input is a list of edits to a small journal of one process that died: bytes are overwritten, cut off, or put into the
owner file. Whatever it is, reading ends, raises nothing, and yields no record that was not written.
"""

import os
import struct
import sys
import tempfile
from pathlib import Path

from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.owner import owner_path
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import Record, segment_name
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.ready import make_ready
from analytics_sdk.sinks.base import JournalIdentity
from analytics_sdk.vocabulary import Kind

EDIT = struct.Struct("<BH")
"""What is done, and where; then one byte of how many bytes follow, and these."""


class Journal:
    """A small journal that is put back after each input."""

    def __init__(self, folder: Path) -> None:
        writer = JournalWriter(folder, min_free_bytes=0)
        self.written: set[Record] = set()
        for i in range(8):
            run = (f"run-{i}", "checkout", 1_700_000_000_000_000_000 + i)
            began = self._append(writer, Kind.EXECUTION_START, (*run, 3, None, None, {"a": "b"}))
            step = (run[0], "checkout", 1, "pay", "click", run[2])
            at = self._append(writer, Kind.STEP_START, step)
            self._append(writer, Kind.STEP_END, (at, *step, 3, 5, None, "KeyError", "x", None))
            self._append(writer, Kind.RECOVERY, (*run[:2], 1, "pay", "retry", True, run[2], 7, None, None))
            self._append(writer, Kind.EXECUTION_END, (began, *run, 0, 9, 1, 0, 1, 3))
        assert writer.identity is not None
        self.journal_id = writer.identity.journal_id
        writer.release()
        self.folder = folder
        self.segment, self.owner = folder / segment_name(self.journal_id, 0), owner_path(folder, self.journal_id)
        self.whole = self.segment.read_bytes()[:8192]
        self.owned = self.owner.read_bytes()

    def _append(self, writer: JournalWriter, kind: Kind, fields: tuple[object, ...]) -> int:
        position = writer.append(kind, fields)
        self.written.add(Record(position, int(kind), writer.encode(fields)))
        return position

    def read(self, data: bytes) -> None:
        """Put the edits in, and read all of it as delivery does."""
        whole, owned = bytearray(self.whole), bytearray(self.owned)
        at = 0
        while at + EDIT.size < len(data):
            what, where = EDIT.unpack_from(data, at)
            length = data[at + EDIT.size]
            piece = data[at + EDIT.size + 1 : at + EDIT.size + 1 + length]
            at += EDIT.size + 1 + length
            if what % 4 == 3:
                del whole[where % (len(whole) + 1) :]
            else:
                into = owned if what % 4 == 2 else whole
                where %= len(into) + 1
                into[where : where + len(piece)] = piece
        self.segment.write_bytes(whole)
        self.owner.write_bytes(owned)
        assert find_journals(self.folder) == [self.journal_id]
        reader = JournalReader(self.folder, self.journal_id)
        position, turns, identity = 0, 0, JournalIdentity("0" * 32, "h", 1, 1)
        while (stretch := reader.read(position, final=True, max_records=7)).new != position:
            assert set(stretch.records) <= self.written, "a record was invented"
            make_ready(identity, stretch, 0).fold({})
            position, turns = stretch.new, turns + 1
            assert turns < 200, "reading does not come to an end"
        reader.losses()
        reader.unread_bytes(0)
        reader.ended_cleanly()
        reader.close()


def main() -> None:
    import atheris

    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        journal = Journal(Path(folder) / "journals")
        atheris.instrument_all()
        atheris.Setup(sys.argv, journal.read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
