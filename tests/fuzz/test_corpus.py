"""What fuzzing the journal's reader for long found worth keeping goes through it at every test run."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from fuzz_reader import Journal


def test_everything_that_fuzzing_kept_is_read_to_its_end_and_nothing_is_invented(tmp_path: Path) -> None:
    """`fuzz_reader.Journal.read` asserts it."""
    journal = Journal(tmp_path / "journals")
    corpus = sorted((HERE / "corpus").iterdir())
    assert len(corpus) > 20
    for file in corpus:
        journal.read(file.read_bytes())


def test_an_edit_in_a_payload_costs_its_own_record_only(tmp_path: Path) -> None:
    """So that the fuzzing is known to reach what it shall reach."""
    journal = Journal(tmp_path / "journals")
    journal.read(b"")
    journal.read(bytes((0, 80, 0, 1, 255)))
    assert journal.segment.read_bytes()[80] == 255
    journal.read(bytes((3, 100, 0, 0)))
    assert len(journal.segment.read_bytes()) == 100
