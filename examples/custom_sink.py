"""A sink of your own: records as lines of JSON, beside the database or in its place.

    python examples/custom_sink.py
    head -n 3 events.jsonl

A sink keeps batches, and with each batch the position that its journal has come to: both or neither. Here a batch is
one line: a line that is whole has both, and one that a crash has cut off has neither.

To reach it by URL, register it in the pyproject.toml of your package; then `configure(sink="jsonl:///events.jsonl")`
and `ANALYTICS_SDK_SINK=jsonl:///events.jsonl` find it:

    [project.entry-points."analytics_sdk.sinks"]
    jsonl = "your_package:from_url"
"""

import json
import os
from pathlib import Path
from typing import IO

from analytics_sdk import configure, track_step, track_workflow
from analytics_sdk.errors import Fenced, SinkUnavailable
from analytics_sdk.sinks import base
from analytics_sdk.sinks.base import Batch, JournalIdentity, Positions


class JsonLinesSink:
    """Keeps everything but resource samples. One process writes the file at a time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None
        self._positions: dict[str, Positions] = {}

    def open(self) -> None:
        """Open the file, cut off what a crash left of a last line, and learn how far each journal has come."""
        try:
            self.path.touch(mode=0o600)
            text = self.path.read_text("utf-8")
            os.truncate(self.path, len(text[: text.rfind("\n") + 1].encode()))
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as problem:
            raise SinkUnavailable(f"{self.path} cannot be written: {problem.strerror}; it is tried again") from None
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                said = json.loads(line)
                self._positions[said["journal"]] = Positions(said["position"], said["position"], said["settled"])

    def position(self, journal: JournalIdentity) -> Positions:
        """How far this journal has come; a new one begins at 0."""
        return self._positions.get(journal.journal_id, Positions())

    def write(self, batch: Batch) -> None:
        """One line for the whole batch. For its readers, a later row of the same journal and `seq` replaces the earlier
        one, and what still runs when the journal is settled has ended as `settle_as` says."""
        known = self.position(batch.journal)
        if known.settled or known.rows != batch.old_position:
            raise Fenced(f"{self.path} is at {known.rows}")
        line = {
            "journal": batch.journal.journal_id,
            "position": batch.new_position,
            "settled": batch.settle_as is not None,
            "settle_as": batch.settle_as,
            "executions": _dicts(base.EXECUTION_COLUMNS, batch.new_executions + batch.late_executions),
            "steps": _dicts(base.STEP_COLUMNS, batch.new_steps + batch.late_steps),
            "recoveries": _dicts(base.RECOVERY_COLUMNS, batch.recoveries),
            "losses": _dicts(base.LOSS_COLUMNS, batch.losses),
        }
        assert self._file is not None
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._positions[batch.journal.journal_id] = Positions(batch.new_position, batch.new_position, line["settled"])

    def close(self) -> None:
        """Close the file; it may be opened again."""
        if self._file is not None:
            self._file.close()
        self._file = None


def from_url(url: str, *, schema: str | None = None, table_prefix: str | None = None) -> JsonLinesSink:
    """What the entry point names: the sink for `jsonl:///path`."""
    return JsonLinesSink(url.removeprefix("jsonl:///"))


def _dicts(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def main() -> None:
    """The same records in a database, which can be asked, and in a file of lines."""
    system = configure(sink=["sqlite:///analytics.db", JsonLinesSink("events.jsonl")])
    for number in range(3):
        with track_workflow(workflow_id="export", total_steps=1), track_step(node_id="write") as step:
            if number == 1:
                step.fail("disk full")
    system.flush()
    lines = [json.loads(line) for line in Path("events.jsonl").read_text("utf-8").splitlines()]
    print([step["status"] for line in lines for step in line["steps"]])
    print(f"the database says {system.stats('export')['steps'][0]['success_rate']:.1f} %")


if __name__ == "__main__":
    main()
