"""The reader: what was written is read, what is damaged costs itself only, and it is counted."""

import os
import shutil
import struct
from pathlib import Path

import pytest

from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.owner import owner_path
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import FIRST_FRAME, Record, base_of_segment, bytes_of_segment, segment_name
from analytics_sdk.journal.stretch import Stretch
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.vocabulary import Kind

END = (
    0,
    "0199c0de-1234-7abc-8def-0123456789ab",
    "checkout",
    1,
    "pay",
    "click",
    1_700_000_000_000_000_000,
    0,
    1_234_567,
)


@pytest.fixture
def journal(tmp_path):
    """A small journal whose owner is dead: its folder, its id, and what was appended."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    records = []
    for i in range(12):
        fields = (*END[:3], i, *END[4:])
        position = writer.append(Kind.STEP_END, fields)
        records.append(Record(position, int(Kind.STEP_END), writer.encode(fields)))
    writer.release()
    return writer.folder, writer.identity.journal_id, records


def read_all(folder: Path, journal_id: str, *, final: bool = True, at: int = 0) -> Stretch:
    reader = JournalReader(folder, journal_id)
    whole = Stretch(at, at)
    while (stretch := reader.read(whole.new, final=final)).new != whole.new:
        whole.records += stretch.records
        whole.damages += stretch.damages
        whole.new = stretch.new
    reader.close()
    return whole


@pytest.mark.parametrize("size", [0, 1, FIRST_FRAME - 1, FIRST_FRAME, FIRST_FRAME + 1])
def test_a_segment_that_a_killed_process_had_not_finished_making_is_empty(journal, size):
    """To whoever asks how much is unread, and to whoever reads."""
    folder, journal_id, records = journal
    unfinished = folder / segment_name(journal_id, 1)
    unfinished.write_bytes(bytes(size))
    reader = JournalReader(folder, journal_id)
    assert reader.unread_bytes(0) == sum(8 + len(record.payload) for record in records)
    assert reader.unread_bytes(base_of_segment(1) + FIRST_FRAME) == 0
    reader.close()
    assert len(read_all(folder, journal_id).records) == len(records)


def test_every_truncation_gives_exactly_the_records_before_it(journal):
    """A segment that was cut anywhere gives the records that are whole, and never raises."""
    folder, journal_id, records = journal
    path = folder / segment_name(journal_id, 0)
    data = path.read_bytes()
    end = records[-1].position + 8 + len(records[-1].payload)
    for length in range(end + 1):
        path.write_bytes(data[:length])
        whole = [record for record in records if record.position + 8 + len(record.payload) <= length]
        assert read_all(folder, journal_id).records == whole, length


def test_every_flipped_byte_costs_its_own_record_only_and_is_counted(journal):
    """A flip in a frame loses that record; a flip in the file's header loses nothing."""
    folder, journal_id, records = journal
    path = folder / segment_name(journal_id, 0)
    data = bytearray(path.read_bytes())
    end = records[-1].position + 8 + len(records[-1].payload)
    for at in range(end):
        data[at] ^= 0xFF
        path.write_bytes(data)
        data[at] ^= 0xFF
        got = read_all(folder, journal_id)
        hit = [record for record in records if record.position <= at < record.position + 8 + len(record.payload)]
        assert got.records == [record for record in records if record not in hit], at
        if hit == records[-1:] and at - hit[0].position in (2, 3):
            continue  # the length of the last record: this is what an append looks like that a kill interrupted
        assert len(got.damages) == len(hit), at


def test_an_append_that_a_kill_interrupted_is_not_a_loss_but_after_a_power_cut_it_is(journal, monkeypatch):
    """Of the last frame only a part is written: nobody was told that it is kept. A power cut takes what was told of."""
    folder, journal_id, records = journal
    path = folder / segment_name(journal_id, 0)
    data = bytearray(path.read_bytes())
    last = records[-1].position
    end = last + 8 + len(records[-1].payload)
    for unwritten in (slice(last + 1, end), slice(last + 30, end), slice(last, last + 8), slice(last + 20, last + 60)):
        torn = bytearray(data)
        torn[unwritten] = bytes(unwritten.stop - unwritten.start)
        path.write_bytes(torn)
        got = read_all(folder, journal_id)
        assert got.records == records[:-1]
        assert got.damages == []
        with monkeypatch.context() as patch:
            patch.setattr("analytics_sdk.journal.reader.boot_id", lambda: "another")
            assert read_all(folder, journal_id).damages == [last]


def test_a_page_of_zeros_among_records_is_counted_as_damage(journal):
    """What a power cut leaves: the records before and after it are kept, and the gap is not passed over in silence."""
    folder, journal_id, records = journal
    path = folder / segment_name(journal_id, 0)
    data = bytearray(path.read_bytes())
    data[records[4].position : records[7].position] = bytes(records[7].position - records[4].position)
    path.write_bytes(data)
    got = read_all(folder, journal_id)
    assert got.records == records[:4] + records[7:]
    assert got.damages == [records[4].position]


def test_a_frame_inside_a_payload_and_a_frame_of_another_segment_never_count(journal):
    """The checksum is salted: bytes that look like a frame are one only where they were written as one."""
    folder, journal_id, records = journal
    path = folder / segment_name(journal_id, 0)
    frame = path.read_bytes()[records[0].position : records[1].position]
    writer = JournalWriter(folder, min_free_bytes=0)
    position = writer.append(Kind.RECOVERY, (None, None, None, None, frame.decode("latin-1"), True, 1, 2))
    other = folder / segment_name(writer.identity.journal_id, 0)
    writer.release()
    data = bytearray(other.read_bytes())
    data[position + 4] ^= 0xFF  # the frame around it is damaged, so that the reader looks into the payload
    data[5000 : 5000 + len(frame)] = frame
    other.write_bytes(data)
    got = read_all(folder, writer.identity.journal_id)
    assert got.records == []
    assert got.damages == [position]


def test_while_the_owner_lives_reading_stops_at_the_first_gap_of_the_newest_segment(tmp_path):
    """There a record may be about to be written; the reader comes back later, and nothing is skipped or counted."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    first, second, third = (writer.append(Kind.STEP_END, END) for _ in range(3))
    segment = writer._segment
    frame = segment.map[second:third]
    segment.map[second:third] = bytes(third - second)
    got = read_all(writer.folder, writer.identity.journal_id, final=False)
    assert [record.position for record in got.records] == [first]
    assert (got.new, got.damages) == (second, [])
    segment.map[second:third] = frame
    later = read_all(writer.folder, writer.identity.journal_id, final=False, at=second)
    assert [record.position for record in later.records] == [second, third]
    writer.release()


def test_a_living_owners_journal_is_read_over_rotations_and_an_unused_spare_changes_nothing(tmp_path):
    """A spare stands behind the newest segment without a record: the newest is still being written."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    positions = []
    seen: list[int] = []
    at = 0
    for i in range(11_000):
        positions.append(writer.append(Kind.STEP_END, END))
        if i % 1_000 == 0:
            writer.maintain()
            got = read_all(writer.folder, writer.identity.journal_id, final=False, at=at)
            at = got.new
            seen += [record.position for record in got.records]
            assert seen == positions
            assert got.damages == []
    assert positions[-1] > base_of_segment(2)
    writer.release()


def test_the_number_of_a_segment_tells_where_it_begins():
    """Segments lie end to end."""
    for n in range(40):
        assert base_of_segment(n + 1) == base_of_segment(n) + bytes_of_segment(n)
    assert base_of_segment(0) == 0
    assert bytes_of_segment(10**8) == 8 << 20


def test_segments_before_a_position_are_released_and_reading_goes_on_behind(tmp_path):
    """Only segments that lie wholly before it go."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    positions = [writer.append(Kind.STEP_END, END) for _ in range(6_000)]
    reader = JournalReader(writer.folder, writer.identity.journal_id)
    cut = next(position for position in positions if position > base_of_segment(1))
    reader.release_before(cut - 1)
    assert not (writer.folder / segment_name(reader.journal_id, 0)).exists()
    got = read_all(writer.folder, reader.journal_id, at=cut)
    assert [record.position for record in got.records] == [position for position in positions if position >= cut]
    reader.close()
    writer.release()


def test_a_segment_that_is_missing_in_the_middle_counts_as_damage(tmp_path):
    """Somebody removed it: what stands behind is delivered, and the hole is counted."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    positions = [writer.append(Kind.STEP_END, END) for _ in range(11_000)]
    writer.release()
    (writer.folder / segment_name(writer.identity.journal_id, 1)).unlink()
    got = read_all(writer.folder, writer.identity.journal_id)
    assert [record.position for record in got.records] == [
        position for position in positions if not base_of_segment(1) <= position < base_of_segment(2)
    ]
    assert len(got.damages) == 1


@pytest.mark.parametrize("suffix", [".owner", "-00000000.seg"])
def test_a_journal_of_a_later_version_is_left_alone(journal, suffix):
    """It is neither adopted nor touched."""
    folder, journal_id, _ = journal
    path = folder / f"{journal_id}{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[:7] + b"2" + data[8:])
    assert JournalReader(folder, journal_id).adopt(new_identity()) is None
    assert path.exists()


def test_links_pipes_and_strangers_in_the_folder_are_not_read(journal, tmp_path):
    """The content of a folder is untrusted: only plain files of ours count, and nothing blocks or raises."""
    folder, journal_id, records = journal
    fake = "f" * 32
    shutil.copy(folder / segment_name(journal_id, 0), tmp_path / "elsewhere")
    (folder / segment_name(fake, 0)).symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / segment_name(fake, 1))
    os.mkfifo(folder / f"{fake}.owner")
    (folder / segment_name(fake, 2)).mkdir()
    (folder / "README.seg").write_text("not ours")
    (folder / ("e" * 32 + ".owner")).write_bytes(b"")
    assert find_journals(folder) == sorted([journal_id, fake, "e" * 32])
    assert read_all(folder, fake).records == []
    assert read_all(folder, journal_id).records == records
    JournalReader(folder, fake).adopt(new_identity())
    JournalReader(folder, "e" * 32).adopt(new_identity())


def test_a_damaged_owner_file_costs_no_record(journal):
    """Whose it was is unknown then; the records are read all the same."""
    folder, journal_id, records = journal
    (folder / f"{journal_id}.owner").write_bytes(os.urandom(4096))
    assert read_all(folder, journal_id).records == records
    assert JournalReader(folder, journal_id).identity.journal_id == journal_id


def test_what_was_found_damaged_is_counted_once_however_often_it_is_read(journal):
    """The journal itself remembers up to where damage has been counted."""
    folder, journal_id, records = journal
    reader = JournalReader(folder, journal_id)
    found = [
        (records[1].position, 4, "damaged"),
        (records[3].position, 4, "damaged"),
        (records[3].position, 0, "damaged"),
    ]
    for _ in range(3):
        assert {(one.kind, one.n) for one in reader.losses(found, 5)} == {("step_end", 2), ("unknown", 1)}
        reader.keep_found(found, 5)
    assert {(one.kind, one.reason, one.n, one.first_at_ns) for one in reader.losses()} == {
        ("step_end", "damaged", 2, 5),
        ("unknown", "damaged", 1, 5),
    }
    assert reader.losses([(records[5].position, 4, "rejected")], 9)[-1].reason == "damaged"
    assert ("step_end", "rejected", 1) in {
        (one.kind, one.reason, one.n) for one in reader.losses([(records[5].position, 4, "rejected")], 9)
    }


def test_only_one_can_adopt_and_a_living_owner_is_never_adopted(tmp_path):
    """The lock of the owner's file decides, and nothing else."""
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    writer.append(Kind.STEP_END, END)
    reader = JournalReader(writer.folder, writer.identity.journal_id)
    assert reader.adopt(new_identity()) is None
    assert not reader.is_dead(new_identity())
    writer.release()
    assert reader.is_dead(new_identity())
    first = reader.adopt(new_identity())
    assert first is not None
    assert JournalReader(writer.folder, reader.journal_id).adopt(new_identity()) is None
    first.close()
    reader.close()


def test_a_position_in_the_middle_of_nowhere_is_survived(journal):
    """Positions come from a database, where anything may stand."""
    folder, journal_id, records = journal
    for position in (0, 1, FIRST_FRAME - 1, records[3].position + 1, bytes_of_segment(0) - 1, 1 << 62):
        got = read_all(folder, journal_id, at=position)
        assert all(record in records for record in got.records)


def test_the_counters_of_an_older_version_are_read_as_what_they_were(journal):
    """What has a place in the owner file keeps it; the kind that came later has the place behind all of them."""
    folder, journal_id, _ = journal
    path = owner_path(folder, journal_id)
    page = bytearray(path.read_bytes())
    rows = ("execution_start", "execution_end", "step_start", "step_end", "recovery", "sample", "unknown", "verdict")
    for row in range(len(rows)):
        struct.pack_into("<QQQ", page, 2048 + row * 5 * 24, row + 1, 10, 20)
    path.write_bytes(page)
    losses = JournalReader(folder, journal_id).losses()
    assert [(one.kind, one.n) for one in losses] == [(kind, row + 1) for row, kind in enumerate(rows)]
    found = [(1, int(Kind.VERDICT), "damaged"), (2, 9, "damaged")]
    again = {(one.kind, one.reason): one.n for one in JournalReader(folder, journal_id).losses(found, 5)}
    assert (again["verdict", "damaged"], again["unknown", "damaged"]) == (1, 1)
