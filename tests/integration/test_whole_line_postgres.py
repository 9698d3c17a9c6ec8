"""The whole line into a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
from analytics_sdk.config import state_folder
from analytics_sdk.sinks.sql import SqlSink
from analytics_sdk.testing import isolate


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> Iterator[Any]:
    """A system over an empty database, whose tables nobody has made yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with isolate():
        yield configure(sink=postgres_url)


def test_what_is_recorded_waits_for_db_upgrade_and_then_arrives(
    system: Any, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On a server nobody but `db upgrade` makes tables; until then the journal keeps everything, and says so."""
    for i in range(20):
        with track_workflow(workflow_id="w"), track_step(node_id="n", action_type="sql") as step:
            if i % 4 == 0:
                step.fail("no such row")
        if i % 8 == 0:
            with track_workflow(workflow_id="healed"), track_step(node_id="m"), recovery_attempt("retry"):
                pass
    assert not system.flush(0.5)
    assert "db upgrade" in caplog.text
    assert system.settings.journal_dir.is_relative_to(state_folder())
    sink = SqlSink(postgres_url)
    sink.upgrade()
    sink.close()
    assert system.flush(10)
    stats = system.stats("w")
    assert (stats["success_rate"]["n"], stats["success_rate"]["success_rate"]) == (20, 100.0)
    assert stats["steps"][0]["success_rate"] == 75.0
    assert stats["errors"][0]["message"] == "no such row"
    assert system.stats("healed")["success_rate"]["first_pass_rate"] == 0.0
    assert system.close(10)
    assert not list(system.settings.journal_dir.glob("*.seg"))
