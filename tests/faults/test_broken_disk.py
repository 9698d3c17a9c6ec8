"""A disk that refuses: to be read, to be written at all, to keep the folder where it was."""

import shutil
from pathlib import Path

from small_disk import run_on_small_disk

from analytics_sdk.journal.listing import find_journals
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.shipper.shipper import Shipper
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.vocabulary import Kind

UNREADABLE = """
    import json, logging, os, subprocess, sys
    from pathlib import Path
    from analytics_sdk.journal.listing import find_journals
    from analytics_sdk.journal.record import segment_name
    from analytics_sdk.journal.writer import JournalWriter
    from analytics_sdk.shipper.once import ship_once
    from analytics_sdk.shipper.shipper import Shipper
    from analytics_sdk.sinks.memory import MemorySink
    logged = []
    class Keep(logging.Handler):
        def emit(self, record): logged.append(record.getMessage())
    logging.getLogger("analytics_sdk").addHandler(Keep())
    folder = Path(sys.argv[1]) / "journals"
    END = (-1, "e", "w", 1, "pay", "click", 1, 0, 5)
    dead = []
    for _ in range(3):
        writer = JournalWriter(folder, min_free_bytes=0)
        for _ in range(10): writer.append(4, END)
        dead.append(writer.identity.journal_id)
        writer.release()
    # reading this file at the place of its records is an input/output error, as on a disk that fails
    broken = folder / segment_name(dead[1], 0)
    subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", str(broken)], check=True)
    error = None
    try:
        fd = os.open(broken, os.O_RDONLY); os.pread(fd, 100, 64)
    except OSError as problem:
        error = problem.errno
    os.close(fd)
    sink = MemorySink()
    writer = JournalWriter(folder, min_free_bytes=0)
    shipper = Shipper(folder, [lambda: sink], writer)
    writer.append(4, END)
    for _ in range(5):
        shipper._orphans_due = 0.0
        shipper._turn()
    around = len(sink.steps)
    again = ship_once(folder, [lambda: sink])
    kept = dead[1] in find_journals(folder)
    problems = shipper.status()["problems"]
    subprocess.run(["umount", str(broken)], check=True)
    mended = ship_once(folder, [lambda: sink])
    print(json.dumps([error, around, len(logged), problems, again.unfinished, kept, mended.finished, len(sink.steps),
                      len(sink.losses)]))
"""


def test_a_journal_that_the_disk_refuses_to_read_is_kept_and_holds_up_no_other(tmp_path: Path) -> None:
    """A real input/output error: one warning, all other journals are delivered, and this one when it can be read."""
    said = run_on_small_disk(UNREADABLE, tmp_path / "disk", "2m")
    assert said == [5, 21, 1, [], 1, True, 1, 31, 0]


READ_ONLY = """
    import json, logging, os, subprocess, sys, warnings
    os.chdir(sys.argv[1])
    subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
    import analytics_sdk
    from analytics_sdk import configure, track_step, track_workflow
    from analytics_sdk.errors import SettingError
    logged = []
    class Keep(logging.Handler):
        def emit(self, record): logged.append(record.getMessage())
    logging.getLogger("analytics_sdk").addHandler(Keep())
    try:
        configure(journal_dir=sys.argv[1] + "/journals")
        error = None
    except SettingError as problem:
        error = "read-only" in str(problem).lower()
    @track_workflow
    def work(n):
        with track_step(node_id="s"):
            return n + 1
    results = [work(n) for n in range(50)]
    system = analytics_sdk.get_analytics_system()
    lost = sum(loss["n"] for loss in system.status()["losses"])
    problems = len(system.status()["problems"])
    subprocess.run(["mount", "-o", "remount,rw", sys.argv[1]], check=True)
    system.writer.maintain()
    later = work(1)
    delivered = system.flush(20)
    stats = system.stats()
    print(json.dumps([error, results == list(range(1, 51)), lost, problems > 0, len(logged) > 0, later, delivered,
                      stats["success_rate"]["n"], stats["data_complete"], sum(loss["n"] for loss in stats["losses"])]))
"""


def test_on_a_read_only_disk_the_program_goes_on_and_recording_begins_when_it_can_be_written(tmp_path: Path) -> None:
    """A folder that was given is an error at `configure`; a default costs records, which are counted and told of."""
    said = run_on_small_disk(READ_ONLY, tmp_path / "disk", "600m")
    error, same, lost, has_problem, warned, later, delivered, n, complete, told = said
    assert (error, same, has_problem, warned, later, delivered) == (True, True, True, True, 2, True)
    assert (lost, n, complete, told) == (200, 1, False, 200)


def test_a_folder_that_is_deleted_while_the_program_records_costs_what_was_in_it_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Records go on into the file without a name, until upkeep finds out; then a new journal is delivered as usual."""
    sink = MemorySink()
    writer = JournalWriter(tmp_path / "journals", min_free_bytes=0)
    shipper = Shipper(tmp_path / "journals", [lambda: sink], writer)
    end = (-1, "e", "w", 1, "pay", "click", 1, 0, 5)
    writer.append(Kind.STEP_END, end)
    assert shipper.flush(5)
    shutil.rmtree(tmp_path / "journals")
    assert all(writer.append(Kind.STEP_END, end) >= 0 for _ in range(2_000))
    shipper._turn()
    for _ in range(10):
        assert writer.append(Kind.STEP_END, end) >= 0
    assert shipper.flush(5)
    assert len(sink.steps) == 11
    assert len(find_journals(tmp_path / "journals")) == 1
    shipper.close(1)
    writer.release()
