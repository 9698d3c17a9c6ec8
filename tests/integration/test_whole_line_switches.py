"""Off and on, broken and mended, replaced while open: what a process records when its settings change under way."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any


def run_python(code: str, folder: Path, **environment: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_SDK_")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, cwd=folder, env={**inherited, **environment}, check=True, timeout=60)


def executions(database: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT workflow_id, status FROM executions ORDER BY started_at_ns").fetchall()
    finally:
        connection.close()


def test_a_bad_start_can_be_mended_by_configuring(tmp_path: Path) -> None:
    """Where the first tracked call cannot start with the defaults, a later `configure` records all the same."""
    run_python(
        """
        from analytics_sdk import configure, track_workflow
        with track_workflow(workflow_id="lost"): pass
        configure(sink="sqlite:///a.db", flush_interval_seconds=1)
        with track_workflow(workflow_id="kept"): pass
        """,
        tmp_path,
        ANALYTICS_SDK_FLUSH_INTERVAL_SECONDS="bogus",
    )
    assert executions(tmp_path / "a.db") == [("kept", "success")]


def test_switched_off_by_the_environment_nothing_is_made_checked_or_sampled(tmp_path: Path) -> None:
    """ANALYTICS_SDK_DISABLED also helps where the sink's folder is what is wrong, and leaves the folder empty."""
    (tmp_path / "file").write_text("no folder")
    run_python(
        """
        from analytics_sdk import configure, track_workflow
        configure(sink="sqlite:///file/a.db")
        system = configure(sink="sqlite:///a.db")
        system.start_resource_monitoring(0.1)
        assert system._monitor is None
        with track_workflow(workflow_id="w"): pass
        """,
        tmp_path,
        ANALYTICS_SDK_DISABLED="true",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_open_in_a_replaced_system_is_cancelled_there_at_a_clean_end(tmp_path: Path) -> None:
    """A process that ends in good order after changing its sink leaves no execution behind as crashed."""
    run_python(
        """
        from analytics_sdk import configure, get_analytics_integration
        configure(sink="sqlite:///a.db")
        get_analytics_integration().on_execution_start("open")
        configure(sink="sqlite:///b.db")
        """,
        tmp_path,
    )
    ship = [sys.executable, "-m", "analytics_sdk", "ship", "--once", "--db", "sqlite:///a.db"]
    subprocess.run(ship, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert executions(tmp_path / "a.db") == [("open", "cancelled")]


def test_the_hooks_end_an_execution_in_the_system_where_it_began(tmp_path: Path) -> None:
    """Another thread may complete, after the sink was changed, what began before."""
    run_python(
        """
        import threading
        from analytics_sdk import configure, get_analytics_integration, get_analytics_system
        configure(sink="sqlite:///a.db")
        hooks = get_analytics_integration()
        begun = hooks.on_execution_start("w")
        configure(sink="sqlite:///b.db")
        thread = threading.Thread(target=hooks.on_execution_complete, args=(begun, "w"))
        thread.start()
        thread.join()
        """,
        tmp_path,
    )
    ship = [sys.executable, "-m", "analytics_sdk", "ship", "--once", "--db", "sqlite:///a.db"]
    subprocess.run(ship, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert executions(tmp_path / "a.db") == [("w", "success")]
