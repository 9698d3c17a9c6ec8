"""The writer: what it took is there, what it could not take is counted, and nothing of it reaches the host."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from analytics_sdk.events import StepEnd
from analytics_sdk.journal import quota
from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.record import FIRST_FRAME, Record, base_of_segment, bytes_of_segment
from analytics_sdk.journal.segment import _AHEAD_BYTES, _SLICE_BYTES
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
def writer(tmp_path):
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    yield writer
    writer.release()


def everything(folder: Path, journal_id: str) -> list[Record]:
    reader = JournalReader(folder, journal_id)
    records: list[Record] = []
    position = 0
    while (stretch := reader.read(position, final=True)).new != position:
        assert stretch.damages == []
        records += stretch.records
        position = stretch.new
    reader.close()
    return records


def lost(writer: JournalWriter) -> dict[tuple[str, str], int]:
    return {(one.kind, one.reason): one.n for one in writer.losses()}


def run_in_child_process(code: str, *arguments: str) -> str:
    """What a fresh Python prints; in a process of its own, because a fork of the test runner would not be clean."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_made_before_the_first_record(writer):
    """A process that records nothing leaves nothing."""
    writer.maintain()
    assert not writer.folder.exists()
    assert writer.is_empty()
    assert writer.position == 0


def test_records_come_back_in_order_under_the_positions_that_append_returned(writer):
    """What append returned is the position under which a reader finds the record."""
    positions = [writer.append(Kind.STEP_END, (*END[:3], i, *END[4:])) for i in range(100)]
    records = everything(writer.folder, writer.identity.journal_id)
    assert [record.position for record in records] == positions
    assert [msgspec.msgpack.decode(record.payload, type=StepEnd).step_no for record in records] == list(range(100))
    assert not writer.is_empty()


def test_files_are_private_whatever_the_umask(tmp_path):
    """The folder is 0700 and every file 0600, also under a umask that forbids everything or nothing."""
    before = os.umask(0o000)
    try:
        for umask in (0o000, 0o777):
            os.umask(umask)
            writer = JournalWriter(tmp_path / str(umask), min_free_bytes=0)
            assert writer.append(Kind.STEP_END, END) >= 0
            assert stat.S_IMODE(writer.folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(path.stat().st_mode) for path in writer.folder.iterdir()} == {0o600}
            writer.release()
    finally:
        os.umask(before)


def test_four_threads_and_upkeep_at_once_lose_nothing_over_many_rotations(writer):
    """Every position that a thread got back is read back, while a fifth thread makes the spare segments."""
    stop = threading.Event()
    rotated = threading.Event()
    writer.on_rotate = rotated.set

    def keep_up() -> None:
        while not stop.is_set():
            rotated.wait(0.05)
            rotated.clear()
            writer.maintain()

    acknowledged: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int]) -> None:
        for _ in range(12_000):
            mine.append(writer.append(Kind.STEP_END, END))

    upkeep = threading.Thread(target=keep_up)
    workers = [threading.Thread(target=work, args=(mine,)) for mine in acknowledged]
    for thread in (upkeep, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    upkeep.join()
    positions = sorted(position for mine in acknowledged for position in mine)
    assert [record.position for record in everything(writer.folder, writer.identity.journal_id)] == positions
    assert writer.position > base_of_segment(3), "the test must rotate several times"
    assert lost(writer) == {}


@pytest.mark.parametrize(
    "odd",
    [
        "\ud800lone",
        "nul\0",
        "x" * 10_000_000,
        2**80,
        -(2**80),
        float("nan"),
        object(),
        b"bytes",
        {"a": {"b": object()}},
    ],
    ids=["surrogate", "nul", "huge text", "huge int", "huge negative", "nan", "object", "bytes", "nested"],
)
@pytest.mark.parametrize("at", range(len(StepEnd.__struct_fields__)))
def test_whatever_a_field_holds_append_raises_nothing_and_later_records_are_whole(writer, odd, at):
    """A hostile value in any field costs at most its own record."""
    fields = [*END, None, None, None, None, None]
    fields[at] = odd
    writer.append(Kind.STEP_END, tuple(fields))
    after = writer.append(Kind.STEP_END, END)
    assert everything(writer.folder, writer.identity.journal_id)[-1] == Record(after, Kind.STEP_END, writer.encode(END))


def test_text_that_is_too_long_or_not_valid_is_kept_cut_and_says_so(writer):
    """Ids keep to 256 characters, messages to 8192, and what is no text is replaced."""
    assert writer.append(Kind.STEP_END, (*END[:4], "n" * 5000, *END[5:9], None, "E\ud800", "m" * 20_000)) >= 0
    (record,) = everything(writer.folder, writer.identity.journal_id)
    event = msgspec.msgpack.decode(record.payload, type=StepEnd)
    assert event.node_id == "n" * 245 + "…[cut 4755]"
    assert event.error_message == "m" * 8180 + "…[cut 11820]"
    assert event.error_type == "E?"
    assert lost(writer) == {}


def test_an_unknown_kind_is_counted_and_raises_nothing(writer):
    """A kind that no reader knows is refused."""
    assert writer.append(99, END) == -1
    assert lost(writer) == {("unknown", "error"): 1}


def test_a_folder_that_cannot_be_used_costs_records_and_they_are_counted_then_it_recovers(tmp_path):
    """A file in the folder's place: appends return -1; once it is gone they work, and the count is kept."""
    (tmp_path / "journals").write_text("in the way")
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    assert [writer.append(Kind.STEP_START, END[1:7]) for _ in range(3)] == [-1, -1, -1]
    assert "not a folder" in writer.problem
    (tmp_path / "journals").unlink()
    writer.maintain()
    assert writer.append(Kind.STEP_END, END) >= 0
    assert writer.problem is None
    assert lost(writer) == {("step_start", "disk"): 3}
    reader = JournalReader(writer.folder, writer.identity.journal_id)
    assert [(one.kind, one.reason, one.n) for one in reader.losses()] == [("step_start", "disk", 3)]
    writer.release()


@pytest.mark.parametrize("looks_apart", [0, 10**9], ids=["looks-often", "looks-once"])
def test_at_the_quota_samples_go_first_then_starts_and_every_loss_is_counted(tmp_path, monkeypatch, looks_apart):
    """Of each kind, kept and counted as lost make what was appended; endings are kept for longest. So it is too where
    the machine is so busy that the folder is looked at once."""
    monkeypatch.setattr(quota, "CHEAP_SECONDS", 0.0)
    monkeypatch.setattr(quota, "LOOKS_APART", looks_apart)
    writer = JournalWriter(tmp_path / "journals", max_bytes=4 << 20, min_free_bytes=0)
    asked = dict.fromkeys(("sample", "step_start", "step_end"), 0)
    kept = dict(asked)
    first_lost: list[str] = []
    for turn in range(60_000):
        for name, kind, fields in (
            ("sample", Kind.SAMPLE, (1, 2.0)),
            ("step_start", Kind.STEP_START, END[1:7]),
            ("step_end", Kind.STEP_END, END),
        ):
            asked[name] += 1
            if writer.append(kind, fields) >= 0:
                kept[name] += 1
            elif name not in first_lost:
                first_lost.append(name)
        if turn % 50 == 0:
            writer.maintain()
        if len(first_lost) == 3:
            break
    assert first_lost == ["sample", "step_start", "step_end"]
    counts = lost(writer)
    assert {name: kept[name] + counts[name, "quota"] for name in asked} == asked
    assert sum(path.stat().st_size for path in writer.folder.iterdir()) <= 4 << 20
    assert len(everything(writer.folder, writer.identity.journal_id)) == sum(kept.values())
    writer.release()


def test_losses_counted_by_many_threads_at_once_add_up(tmp_path):
    """No count is lost when all threads lose at the same time."""
    writer = JournalWriter(tmp_path / "journals", max_bytes=0, min_free_bytes=0)
    threads = [
        threading.Thread(target=lambda: [writer.append(Kind.STEP_END, END) for _ in range(3_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost(writer) == {("step_end", "quota"): 12_000}


def test_with_on_full_block_append_waits_for_room_and_loses_nothing(tmp_path):
    """The host stands still at the quota until the shipper has made room."""
    writer = JournalWriter(tmp_path / "journals", max_bytes=600_000, min_free_bytes=0, on_full="block")
    stuck = threading.Event()
    writer.on_rotate = lambda: stuck.set() if writer.problem else None
    n = 8_000
    positions: list[int] = []
    thread = threading.Thread(target=lambda: positions.extend(writer.append(Kind.STEP_END, END) for _ in range(n)))
    thread.start()
    delivered: list[Record] = []
    while thread.is_alive():
        assert stuck.wait(10) or not thread.is_alive()
        stuck.clear()
        reader = JournalReader(writer.folder, writer.identity.journal_id)
        before = delivered[-1].position + 1 if delivered else 0
        stretch = reader.read(before, final=False)
        delivered += [record for record in stretch.records if record.position >= before]
        writer.quota = writer.quota._replace(max_bytes=writer.quota.max_bytes + (1 << 20))  # somebody made room
        reader.close()
        thread.join(0.05)
    assert len(positions) == n
    assert min(positions) >= 0
    assert lost(writer) == {}
    writer.release()


def test_a_folder_that_is_removed_while_we_write_costs_no_exception_and_a_new_journal_follows(writer):
    """The next journal begins behind the old one's positions, so that no ending is taken for one of its own."""
    writer.append(Kind.STEP_END, END)
    old = writer.identity
    shutil.rmtree(writer.folder)
    assert writer.append(Kind.STEP_END, END) >= 0
    end = writer.position
    writer.maintain()
    position = writer.append(Kind.STEP_END, END)
    assert writer.identity.journal_id != old.journal_id
    assert writer.identity.origin >= end
    assert [record.position for record in everything(writer.folder, writer.identity.journal_id)] == [position]


def test_a_lock_that_was_closed_by_the_host_is_taken_again_and_the_journal_goes_on(writer):
    """Programs that turn into daemons close every descriptor; as long as nobody noticed, nothing has happened."""
    writer.append(Kind.STEP_END, END)
    before = writer.identity
    os.close(writer._owner.lock_fd)
    writer.maintain()
    assert writer.identity == before
    assert JournalReader(writer.folder, before.journal_id).adopt(new_identity()) is None


def test_a_journal_that_was_adopted_while_its_lock_was_lost_is_written_no_more(writer):
    """Somebody may have judged us dead: what comes now goes into a new journal."""
    writer.append(Kind.STEP_END, END)
    before = writer.identity
    os.close(writer._owner.lock_fd)
    adoption = JournalReader(writer.folder, before.journal_id).adopt(new_identity())
    assert adoption is not None
    adoption.close()
    writer.maintain()
    assert writer.append(Kind.STEP_END, END) >= 0
    assert writer.identity.journal_id != before.journal_id


def test_after_release_an_append_opens_a_new_journal_and_the_old_one_can_be_adopted(writer):
    """Nothing that comes late is lost, and nothing comes into a journal that others may judge."""
    writer.append(Kind.STEP_END, END)
    old = writer.identity
    end = writer.position
    writer.say_clean()
    writer.release()
    adoption = JournalReader(writer.folder, old.journal_id).adopt(new_identity())
    assert adoption is not None
    adoption.close()
    assert JournalReader(writer.folder, old.journal_id).ended_cleanly()
    assert writer.append(Kind.STEP_END, END) >= end
    assert len(find_journals(writer.folder)) == 2
    assert JournalReader(writer.folder, writer.identity.journal_id).ended_cleanly()


def test_the_spare_is_made_by_upkeep_and_a_rotation_then_makes_no_file(writer):
    """In the host's thread a rotation only swaps."""
    while writer.position < bytes_of_segment(0) - 1000:
        writer.append(Kind.STEP_END, END)
    writer.maintain()
    files = {path.name: path.stat().st_ino for path in writer.folder.iterdir()}
    while writer.position < base_of_segment(1) + FIRST_FRAME + 1000:
        writer.append(Kind.STEP_END, END)
    assert {path.name: path.stat().st_ino for path in writer.folder.iterdir()} == files


def mapped_bytes(folder: Path) -> int:
    """What this process has in memory of the files in a folder."""
    sizes, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            sizes += int(line.split()[1]) << 10
    return sizes


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is in memory")
def test_upkeep_lets_go_of_the_pages_that_are_written_and_every_record_stays(writer):
    """So that the journal of a host that records for days takes no more memory than what comes next."""
    positions = []
    while writer.position < base_of_segment(5) + (6 << 20):
        positions.append(writer.append(Kind.STEP_END, END))
        if len(positions) % 20_000 == 0:
            writer.maintain()
    assert mapped_bytes(writer.folder) > 0
    writer.maintain()
    assert mapped_bytes(writer.folder) <= 2 * (_AHEAD_BYTES + 2 * _SLICE_BYTES), (
        "what comes next, here and in the spare"
    )
    positions.append(writer.append(Kind.STEP_END, END))
    assert [record.position for record in everything(writer.folder, writer.identity.journal_id)] == positions


FORK = """
import os, signal, sys, threading, time
from pathlib import Path
from analytics_sdk.journal.home import new_identity
from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.reader import JournalReader
from analytics_sdk.journal.writer import JournalWriter
writer = JournalWriter(Path(sys.argv[1]), min_free_bytes=0)
END = (0, "e", "w", 1, "pay", "click", 1, 0, 2)
first = writer.append(4, END)
"""


def test_a_forked_child_opens_a_journal_of_its_own_and_the_parents_stays_whole(tmp_path):
    """Parent and eight children write at once: each journal holds exactly what its process appended."""
    code = (
        FORK
        + """
children = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        for _ in range(500):
            assert writer.append(4, END) > first
        os.write(1, b"%s 500\\n" % writer.identity.journal_id.encode())
        os._exit(0)
    children.append(pid)
    for _ in range(100): writer.append(4, END)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
print(writer.identity.journal_id, 801)
"""
    )
    printed = run_in_child_process(code, str(tmp_path / "journals")).split()
    expected = dict(zip(printed[::2], map(int, printed[1::2]), strict=True))
    assert len(expected) == 9
    assert {one: len(everything(tmp_path / "journals", one)) for one in expected} == expected


def test_a_child_forked_while_another_thread_is_in_upkeep_does_not_hang(tmp_path):
    """The parent's lock is held for ever in the child, so the child has its own."""
    code = (
        FORK
        + """
held, go = threading.Event(), threading.Event()
def hold():
    with writer._lock():
        held.set()
        go.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    os._exit(0 if writer.append(4, END) > first else 1)
print(os.waitpid(pid, 0)[1])
go.set()
thread.join()
"""
    )
    assert run_in_child_process(code, str(tmp_path / "journals")).strip() == "0"


def test_a_child_that_lives_on_does_not_hide_its_parents_death(tmp_path):
    """Once it has written, a child holds no lock of its parent."""
    code = (
        FORK
        + """
ready, tell = os.pipe()
gone, end = os.pipe()
parent = os.fork()
if parent == 0:
    writer.append(4, END)
    mine = writer.identity.journal_id
    if os.fork() == 0:
        writer.append(4, END)
        os.close(end)
        os.write(tell, mine.encode())
        os.read(gone, 1)
        os._exit(0)
    time.sleep(60)
journal_id = os.read(ready, 32).decode()
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
print(JournalReader(Path(sys.argv[1]), journal_id).adopt(new_identity()) is not None)
"""
    )
    assert run_in_child_process(code, str(tmp_path / "journals")).strip() == "True"
