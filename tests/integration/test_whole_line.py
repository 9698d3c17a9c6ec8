"""From a decorated function to a row, a number and a report: real files, real processes, a real database."""

import json
import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_sdk import (
    auto_instrument,
    configure,
    get_analytics_integration,
    get_analytics_system,
    recovery_attempt,
    track_step,
    track_workflow,
)
from analytics_sdk.errors import SettingError
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.testing import isolate

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import integration_guide


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder and a process without a system; afterwards the system is closed."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ANALYTICS_SDK_"):
            monkeypatch.delenv(name)
    with isolate():
        yield tmp_path


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def run_python(code: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def ship(folder: Path, database: str = "analytics.db") -> Any:
    from analytics_sdk.shipper.once import ship_once
    from analytics_sdk.sinks import make_sink

    return ship_once(folder / f"{database}.journals", [lambda: make_sink(f"sqlite:///{folder / database}")])


def test_the_first_tracked_call_needs_no_configuration(folder: Path) -> None:
    """Everything lands in ./analytics.db, files private, and the numbers come out."""

    @track_step(node_id="{name}")
    def step(name: str) -> None:
        if name == "bad":
            raise ValueError("no such page 17")

    @track_workflow(workflow_id="nightly")
    def run() -> None:
        step("good")
        with pytest.raises(ValueError):
            step("bad")
        with recovery_attempt("reload"):
            pass

    for _ in range(4):
        run()
    system = get_analytics_system()
    assert system.flush()
    database = folder / "analytics.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "analytics.db.journals").stat().st_mode) == 0o700
    assert (
        rows(database, "select workflow_id, status, steps_completed, steps_recovered from executions")
        == [("nightly", "success", 2, 1)] * 4
    )
    assert rows(database, "select node_id, status, count(*) from steps group by 1, 2 order by 1") == [
        ("bad", "recovered", 4),
        ("good", "success", 4),
    ]
    stats = system.stats("nightly")
    assert stats["success_rate"]["success_rate"] == 100.0
    assert stats["success_rate"]["first_pass_rate"] == 0.0
    assert stats["recovery"]["strategies"][0]["strategy"] == "reload"
    assert stats["recovery"]["attempts"] == stats["recovery"]["succeeded"] == 4
    assert {step["node_id"]: (step["n"], step["recovered"]) for step in stats["steps"]} == {
        "good": (4, 0),
        "bad": (4, 4),
    }
    assert (stats["errors"][0]["error_type"], stats["errors"][0]["n"]) == ("ValueError", 4)
    assert stats["data_complete"] is True
    assert [one["workflow_id"] for one in system.stats()["workflows"]] == ["nightly"]


def test_the_guide_runs_from_its_first_line_to_its_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every printed line, every key, and a report where it says."""
    integration_guide.main("custom")
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["Enabled"] == "True"
    assert lines["Progress"] == "100.0%"
    assert lines["ETA"] == "None"
    assert lines["Success Rate"] == "100.0%"
    assert lines["Avg Duration"].endswith("s")
    assert lines["P95 Duration"].endswith("s")
    assert Path(lines["Report generated"]).is_file()
    assert Path(lines["Report generated"]).parent == folder / "custom" / "reports"
    assert "<html" in Path(lines["Report generated"]).read_text("utf-8")
    stats = get_analytics_integration().get_workflow_stats("my_workflow")
    assert {step["node_id"]: step["recovered"] for step in stats["steps"]}["pay"] == 1
    assert {error["message"] for error in stats["errors"]} == {"element not found", "the window is gone"}


def test_the_guide_as_a_program_ends_by_itself_with_everything_delivered(folder: Path) -> None:
    """As its reader runs it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "integration_guide.py")], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert rows(folder / "custom/path/metrics.db", "select status, steps_completed, steps_failed from executions") == [
        ("success", 2, 3)
    ]


def test_troubleshooting_of_the_guide_works(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """enabled, DEBUG logging, forced flush."""
    analytics = get_analytics_integration(enabled=True)
    assert analytics.enabled is True
    analytics.analytics.metrics_collector.flush()
    with caplog.at_level("DEBUG", logger="analytics_sdk"):
        configure(flush_interval_seconds=0.5)
    assert "flush_interval_seconds=0.5 (argument)" in caplog.text


def test_an_unedited_loop_in_a_database_and_out_of_it(folder: Path) -> None:
    """auto_instrument, delivery, and statistics with every key, where nothing at all has happened too."""
    system = configure(sink=f"sqlite:///{folder / 'x.db'}")
    empty = system.stats("nobody")
    with auto_instrument(UnhookedLoop, recovery="integration_guide:Healing.handle_execution_failure"):
        UnhookedLoop().execute_workflow(integration_guide.example_workflow())
    stats = system.stats("my_workflow")
    assert stats.keys() == empty.keys()
    assert (stats["success_rate"]["n"], empty["success_rate"]["n"]) == (1, 0)
    assert math.isnan(empty["success_rate"]["success_rate"])
    assert {s["strategy"]: s["attempts"] for s in stats["recovery"]["strategies"]} == {"semantic_variant": 2, "none": 1}


class UnhookedLoop:
    """Somebody's loop with healing, without a word of ours."""

    healing = integration_guide.Healing()

    def execute_workflow(self, workflow: Any) -> bool:
        for node in workflow.nodes:
            try:
                result = self._execute_node(node)
            except RuntimeError:
                continue
            if not result.success:
                self.healing.handle_execution_failure(
                    node.action_info, result, workflow.workflow_id, node_id=node.node_id
                )
        return True

    _execute_node = integration_guide.EnhancedExecutionLoop._execute_node


# ------------------------------------------------------------------ ends of processes

WORKING = """
    import os, sys, time
    from analytics_sdk import track_step, track_workflow
    with track_workflow(workflow_id="w", total_steps=3):
        with track_step(node_id="first"):
            pass
        with track_step(node_id="second"):
            {end}
"""


@pytest.mark.parametrize(
    ("end", "code", "execution", "second"),
    [
        ("pass", 0, "success", "success"),
        ("sys.exit(3)", 3, "failed", "failed"),
        ("sys.exit(0)", 0, "success", "success"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "cancelled", "cancelled"),
        ("os.kill(os.getpid(), 9)", -9, "crashed", "crashed"),
        ("os._exit(0)", 0, "crashed", "crashed"),
        ("os.abort()", -signal.SIGABRT, "crashed", "crashed"),
    ],
)
def test_however_a_process_ends_its_execution_is_known(
    folder: Path, end: str, code: int, execution: str, second: str
) -> None:
    """Also where it was killed: with the step that it died in."""
    done = run_python(WORKING.format(end=end), folder)
    assert done.returncode == code, done.stderr
    ship(folder)
    database = folder / "analytics.db"
    assert rows(database, "select workflow_id, status, steps_completed from executions") == [
        ("w", execution, 2 if second == "success" else 1)
    ]
    assert rows(database, "select node_id, status from steps order by step_no") == [
        ("first", "success"),
        ("second", second),
    ]
    assert not list((folder / "analytics.db.journals").glob("*.seg"))


def test_what_is_open_at_a_clean_end_is_cancelled(folder: Path) -> None:
    """In a daemon thread, say."""
    done = run_python(
        """
        import threading
        from analytics_sdk import track_step, track_workflow
        entered = threading.Event()
        def work():
            with track_workflow(workflow_id="w"), track_step(node_id="s"):
                entered.set()
                threading.Event().wait()
        threading.Thread(target=work, daemon=True).start()
        entered.wait()
        """,
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ship(folder)
    assert rows(folder / "analytics.db", "select status from executions union all select status from steps") == [
        ("cancelled",),
        ("cancelled",),
    ]


def test_killed_at_any_moment_every_acknowledged_step_is_there_once(folder: Path) -> None:
    """Truth comes from the host's own counter on a pipe."""
    acknowledged = 0
    for _ in range(3):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(
                    """
                    import os
                    from analytics_sdk import track_step, track_workflow
                    @track_step(node_id="s")
                    def step(): pass
                    with track_workflow(workflow_id="w"):
                        while True:
                            step()
                            os.write(1, b".")
                    """
                ),
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        seen = len(os.read(process.stdout.fileno(), 1))
        while seen < 2000:
            seen += len(os.read(process.stdout.fileno(), 65536))
        process.kill()
        seen += len(process.stdout.read())
        process.stdout.close()
        process.wait()
        acknowledged += seen
    ship(folder)
    ship(folder)
    database = folder / "analytics.db"
    (((recorded,)),) = rows(database, "select count(*) from steps where status = 'success'")
    assert acknowledged <= recorded <= acknowledged + 3
    assert rows(
        database, "select count(*) from (select distinct source, step_no from steps where status = 'success')"
    ) == [(recorded,)]
    assert rows(database, "select status, count(*) from executions group by 1") == [("crashed", 3)]


def test_forked_children_record_for_themselves(folder: Path) -> None:
    """Exact counts, also of children that leave by os._exit."""
    done = run_python(
        """
        import os
        from analytics_sdk import get_analytics_system, track_step, track_workflow
        @track_step(node_id="s")
        def step(): pass
        with track_workflow(workflow_id="w"):
            step()
            get_analytics_system().flush(30)
            for _ in range(3):
                if os.fork() == 0:
                    step(); step()
                    os._exit(0)
                os.wait()
            step()
        """,
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ship(folder)
    database = folder / "analytics.db"
    assert rows(database, "select status, steps_completed from executions") == [("success", 2)]
    assert rows(database, "select status, count(*), count(distinct execution_id) from steps group by 1") == [
        ("success", 8, 1)
    ]


def test_the_end_is_bounded_when_the_database_is_locked(folder: Path) -> None:
    """One second by default; what was recorded comes later, once."""
    database = folder / "analytics.db"
    run_python("from analytics_sdk import track_step\nwith track_step(node_id='first'): pass", folder)
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("begin immediate")
    done = run_python(
        """
        import atexit, time
        from analytics_sdk import track_step
        with track_step(node_id="second"): pass
        begun = time.monotonic()
        atexit.register(lambda: None)
        import analytics_sdk.analytics_system as s
        s.get_analytics_system().recorder
        import sys
        atexit.unregister(s._at_exit)
        s._at_exit()
        print(time.monotonic() - begun)
        """,
        folder,
    )
    lock.execute("rollback")
    lock.close()
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.5
    ship(folder)
    assert rows(database, "select node_id from steps order by started_at_ns") == [("first",), ("second",)]


# ------------------------------------------------------------------ settings, and switching between systems


def test_the_same_settings_give_the_same_system_and_others_a_new_one(folder: Path) -> None:
    """An omitted argument means keep; the old one is flushed and closed, and what is open ends where it began."""
    first = configure(sink=f"sqlite:///{folder / 'first.db'}", flush_interval_seconds=0.2)
    assert configure() is get_analytics_system() is get_analytics_system(flush_interval_seconds=0.2) is first
    with track_workflow(workflow_id="over"):
        second = get_analytics_system(db_path=folder / "second.db")
        assert second is not first
        assert second.settings.flush_interval_seconds == 0.2
        with track_step(node_id="inside"):
            pass
    with track_step(node_id="after"):
        pass
    assert second.flush()
    ended = threading.Event()
    for thread in threading.enumerate():
        if thread.name == "analytics-sdk-close":
            thread.join(10)
    ended.set()
    ship(folder, "first.db")
    assert rows(folder / "first.db", "select workflow_id, status from executions") == [("over", "success")]
    assert rows(folder / "first.db", "select node_id from steps") == [("inside",)]
    assert rows(folder / "second.db", "select node_id from steps") == [("after",)]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sink": "nonsense"}, "database URL"),
        ({"sink": "mysql://u:geheim@h/d"}, "no sink is known for mysql"),
        ({"sink": "mongodb+srv://u:geheim@h/d"}, "no sink is known"),
        ({"sink": 3}, "int"),
        ({"sink": []}, "at least one"),
        ({"flush_interval_seconds": -1}, "must be a number from"),
        ({"flush_interval_seconds": math.nan}, "must be a number from"),
        ({"journal_max_bytes": "many"}, "number of bytes"),
        ({"on_full": "explode"}, "must be one of"),
        ({"table_prefix": "a b; drop"}, "must be 1 - 31"),
        ({"colour": "red"}, "unknown setting colour"),
    ],
)
def test_a_setting_that_cannot_work_is_an_error_at_once(folder: Path, settings: dict[str, Any], complaint: str) -> None:
    """That says what would, and shows no password."""
    with pytest.raises(SettingError, match=complaint) as raised:
        configure(**settings)
    assert "geheim" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_an_error_when_given_and_a_warning_when_not(folder: Path) -> None:
    """A file stands where the folder should be: also root cannot write into that."""
    (folder / "taken").write_text("a file")
    with pytest.raises(SettingError, match="set journal_dir"):
        configure(sink="sqlite:///taken/x.db")
    (folder / "analytics.db.journals").write_text("a file")

    @track_step
    def step() -> str:
        return "ran"

    assert step() == "ran"
    assert get_analytics_system().writer.losses()


def test_settings_come_from_arguments_environment_file_and_defaults(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order."""
    (folder / "pyproject.toml").write_text(
        "[tool.analytics_sdk]\nflush_interval_seconds = 7\nexit_timeout_seconds = 8\nbuffer_size = '64 MiB'\n"
    )
    monkeypatch.setenv("ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS", "9")
    monkeypatch.setenv("ANALYTICS_SDK_REALTIME", "no")
    settings = configure(flush_interval_seconds=2).settings
    assert (settings.flush_interval_seconds, settings.exit_timeout_seconds) == (2, 9)
    assert (settings.realtime, settings.journal_max_bytes) == (False, 64 << 20)
    assert {settings.sources[n] for n in ("flush_interval_seconds", "realtime", "journal_max_bytes", "sink")} == {
        "argument",
        "environment",
        "pyproject",
        "default",
    }


def test_a_memory_sink_serves_users_tests(folder: Path) -> None:
    """The same object that was given; statistics and reports read it."""
    sink = MemorySink()
    system = configure(sink=sink)
    with track_workflow(workflow_id="w"), track_step(node_id="s", action_type="a"):
        pass
    assert system.flush()
    assert [(e["workflow_id"], e["status"]) for e in sink.executions] == [("w", "success")]
    assert system.stats("w")["success_rate"]["n"] == 1
    assert not (folder / "analytics.db").exists()


def test_two_sinks_both_get_everything(folder: Path) -> None:
    """Each has a position of its own."""
    sink = MemorySink()
    system = configure(sink=[f"sqlite:///{folder / 'x.db'}", sink])
    with track_step(node_id="s"):
        pass
    assert system.flush()
    assert [s["node_id"] for s in sink.steps] == ["s"]
    assert rows(folder / "x.db", "select node_id from steps") == [("s",)]


def test_resources_are_sampled_while_monitoring_runs(folder: Path) -> None:
    """CPU and memory of this process tree and this host; no GPU is no trouble."""
    sink = MemorySink()
    system = configure(sink=sink)
    system.start_resource_monitoring(interval_seconds=0.1)
    sampled = threading.Event()
    for _ in range(100):
        if system.flush() and len(sink.samples) >= 2:
            sampled.set()
            break
        sampled.wait(0.05)
    system.stop_resource_monitoring()
    assert sampled.is_set()
    sample = sink.samples[-1]
    assert sample["rss_bytes"] > 1_000_000
    assert sample["cpu_percent"] >= 0
    assert sample["host_memory_total_bytes"] > sample["host_memory_used_bytes"] > 0
    resources = system.stats(start=datetime.now() - timedelta(hours=1))["resources"]
    assert resources["samples"] >= 2


def test_monitoring_goes_on_in_the_system_that_replaces_the_first(folder: Path) -> None:
    """With its interval, into the new sink, and from one thread."""
    first, second = MemorySink(), MemorySink()
    configure(sink=first).start_resource_monitoring(interval_seconds=3600)
    system = configure(sink=second)
    assert system.monitoring_interval_seconds == 3600
    assert [thread.name for thread in threading.enumerate()].count("analytics-sdk-resources") == 1
    assert len(first.samples) == 2
    system.stop_resource_monitoring()
    assert system.monitoring_interval_seconds is None
    assert system.flush() and len(second.samples) == 2


def test_hostile_text_arrives_in_the_database(folder: Path) -> None:
    """Newlines, emoji, lone surrogates, NUL, HTML, and a message of 10 MB that was cut."""
    texts = ["a\nb", "\U0001f680", "\ud800", "a\0b", "<script>alert(1)</script>", "x" * 10_000_000]
    system = configure(sink=f"sqlite:///{folder / 'x.db'}")
    for text in texts:
        with pytest.raises(ValueError), track_workflow(workflow_id=text), track_step(node_id=text):
            raise ValueError(text)
    assert system.flush()
    found = rows(folder / "x.db", "select node_id, length(error_message) from steps order by seq")
    assert [node_id for node_id, _ in found][:5] == ["a\nb", "\U0001f680", "?", "a\u2400b", "<script>alert(1)</script>"]
    assert found[5][0].endswith("[cut 9999759]")
    assert found[5][1] < 9000
    assert json.dumps(system.stats(), default=str)


def test_a_forked_child_that_ends_in_good_order_delivers_and_cancels_what_it_left_open(folder: Path) -> None:
    """As its parent does, each for what began in it."""
    done = run_python(
        """
        import os, sys
        from analytics_sdk import get_analytics_system, track_step, track_workflow
        with track_step(node_id="parent's"): pass
        get_analytics_system().flush(30)
        child = os.fork()
        if child == 0:
            track_workflow(workflow_id="child's").__enter__()
            sys.exit(4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        folder,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
    assert rows(folder / "analytics.db", "select workflow_id, status from executions") == [("child's", "cancelled")]
    assert rows(folder / "analytics.db", "select node_id from steps") == [("parent's",)]


def _click(name: str, *, heals: bool = False, fails: bool = False) -> None:
    with track_step(node_id=name) as step:
        if heals:
            with recovery_attempt("variant"):
                pass
        if fails:
            step.fail("no such button")


def test_what_became_of_a_heal_arrives_with_it_or_after_it(folder: Path) -> None:
    """In the row and in the numbers, also where the recovery had been delivered and counted long before."""
    system = configure(sink=f"sqlite:///{folder / 'analytics.db'}")
    system.shipper.rest(5.0)  # so that deliveries are made here, when they are asked for
    with track_workflow(workflow_id="early"):
        _click("a", heals=True)
        _click("b")
    with track_workflow(workflow_id="late"):
        _click("a", heals=True)
        assert system.flush()
        system.shipper.fleet.fold()
        _click("b", fails=True)
    with track_workflow(workflow_id="last"):
        _click("a", heals=True)
    assert system.flush()
    read = "select workflow_id, verdict, verdict_seq > seq from recoveries order by seq"
    assert rows(folder / "analytics.db", read) == [
        ("early", "verified", 1),
        ("late", "refuted", 1),
        ("last", None, None),
    ]
    hour = datetime.now().astimezone().replace(minute=0, second=0, microsecond=0)
    whole_hours = {"start": hour - timedelta(hours=1), "end": hour + timedelta(hours=1)}
    for _ in range(2):  # first from the rows behind the rollups, then from the rollups
        recovery = system.stats(**whole_hours)["recovery"]
        assert (recovery["verified"], recovery["refuted"], recovery["unknown"]) == (1, 1, 1)
        assert system.stats("late", **whole_hours)["recovery"]["strategies"][0]["refuted"] == 1
        system.shipper.fleet.fold()


def test_a_process_that_is_killed_tells_nothing_of_its_last_heals(folder: Path) -> None:
    """What it had told before stays told."""
    done = run_python(
        """
        import os, signal
        from analytics_sdk import configure, recovery_attempt, track_step, track_workflow

        configure(sink="sqlite:///analytics.db", flush_interval_seconds=60)
        for workflow_id in ("whole", "killed"):
            with track_workflow(workflow_id=workflow_id):
                with track_step(node_id="a"), recovery_attempt("variant"):
                    pass
                with track_step(node_id="b"):
                    pass
                if workflow_id == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
        """,
        folder,
    )
    assert done.returncode == -signal.SIGKILL
    ship(folder)
    read = "select workflow_id, verdict from recoveries order by seq"
    assert rows(folder / "analytics.db", read) == [("whole", "verified"), ("killed", None)]
