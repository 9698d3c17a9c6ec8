"""Secrets get through by no door: ids, messages, notes, groups, our own log, reprs, folder names, the command line."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from analytics_sdk import configure, guard, recovery_attempt, track_step, track_workflow
from analytics_sdk.config import resolve, without_password
from analytics_sdk.errors import AnalyticsError, SettingError
from analytics_sdk.guard import ID_LIMIT, MESSAGE_LIMIT, message_of, text_of, trouble
from analytics_sdk.integration import get_analytics_integration
from analytics_sdk.sinks import describe, make_sink
from analytics_sdk.testing import capture_events, isolate

SECRET = "hunter2secret"
URL = f"postgresql://me:{SECRET}@db.example.com:5432/x"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with isolate():
        yield tmp_path


def places_with(folder: Path, told: str) -> list[str]:
    """The files of a folder that hold a text, in their content or in their path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(file) for file in files if told in str(file) or told.encode() in file.read_bytes()]


@recovery_attempt("{strategy}")
def recover_by(strategy: str) -> None:
    """What a healer does."""


def test_a_url_that_is_an_id_keeps_its_password_out_of_the_journal(folder: Path) -> None:
    """As workflow, node, action, strategy and tag, by decorators and by hooks; the rest of the id stays."""
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)
    with track_workflow(workflow_id=URL, tags={"from": URL}), track_step(node_id=URL, action_type=URL) as step:
        recover_by(URL)
        step.fail(URL)
    hooks = get_analytics_integration()
    execution_id = hooks.on_execution_start(URL)
    hooks.on_step_start(execution_id, URL, 1)
    hooks.on_step_complete(execution_id, URL, URL, URL, None, None, 1.0, False, URL)
    hooks.on_recovery_attempt(execution_id, URL, URL, URL, True, 1.0)
    hooks.on_execution_complete(execution_id, URL, None, None, 1.0, "failed", 0, 1, error_message=URL)
    assert places_with(folder, "db.example.com"), "what is no secret is there"
    assert places_with(folder, SECRET) == []
    assert system.flush()
    assert places_with(folder, SECRET) == []
    assert [row["workflow_id"] for row in system.stats()["workflows"]] == [URL.replace(f"me:{SECRET}", "[redacted]")]


def test_nothing_of_a_call_is_kept_but_ids_times_outcomes_and_the_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No argument, no result, no local variable, no attribute, no environment, no source text, no traceback."""
    system = configure(sink="sqlite:///a.db", flush_interval_seconds=3600)
    monkeypatch.setenv("TEST_SECRET", "in-the-environment")

    class Node:
        node_id, action_type, comment = "the-node", "the-action", "in-an-attribute"

    @track_step
    def step(node: Node, plain: str, *, keyword: str = "in-a-default") -> str:
        local = "in-a-local"
        if plain == "fail":
            raise KeyError("the-message") from RuntimeError("in-a-cause")
        return local.replace("local", "result")

    @track_workflow
    def flow(argument: str) -> list[str]:
        step(Node(), "in-an-argument")
        return [step(Node(), "fail", keyword="in-a-keyword")]

    with pytest.raises(KeyError):
        flow("in-an-argument")
    assert system.flush()
    for told in ("the-node", "the-action", "KeyError", "the-message"):
        assert places_with(folder, told), told
    for untold in ("argument", "default", "local", "result", "keyword", "attribute", "environment", "cause"):
        assert places_with(folder, f"in-an-{untold}") + places_with(folder, f"in-a-{untold}") == []
    assert places_with(folder, "in-the-environment") + places_with(folder, Path(__file__).name) == []


def raise_chained() -> None:
    try:
        raise RuntimeError(f"cause {URL}")
    except RuntimeError as cause:
        problem = ValueError("what is told")
        problem.add_note(f"note {URL}")
        problem.__context__ = problem
        raise problem from cause


def raise_group() -> None:
    raise ExceptionGroup("two failed", [ValueError(f"inner {URL}"), ExceptionGroup("deeper", [KeyError(URL)])])


def raise_of_database() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("select * from nowhere where a = :a or b = :b"), {"a": SECRET, "b": "x" * 200})


def raise_long_of_database() -> None:
    parameters = ", ".join(f"'{SECRET}{i}'" for i in range(2000))
    raise RuntimeError(
        f"(OperationalError) no\n[SQL: INSERT]\n[parameters: ({parameters})]\n(Background on this error)"
    )


def raise_of_client() -> None:
    raise RuntimeError(
        f"HTTPConnectionPool(host='h'): Max retries exceeded with url: /x?api_key={SECRET} (Caused by ProxyError("
        f"'http://u:{SECRET}@proxy:3128')); request headers: {{'Authorization': 'Bearer {SECRET}1234', 'Cookie': "
        f"'sid={SECRET}'}}"
    )


def raise_of_connection() -> None:
    raise RuntimeError(f"connection is bad: missing in connection string: user=me password={SECRET} host=db")


@pytest.mark.parametrize(
    "fail",
    [raise_chained, raise_group, raise_of_database, raise_long_of_database, raise_of_client, raise_of_connection],
)
def test_what_an_exception_quotes_or_carries_is_not_recorded(folder: Path, fail: Any) -> None:
    """Type and message are, once secrets are out; notes, causes, members of a group and tracebacks never are."""
    with capture_events() as events:
        try:
            with track_workflow(workflow_id="w"), track_step(node_id="n"):
                fail()
        except Exception as problem:
            assert problem.__traceback__, "the host still gets its own exception"
    (step,) = events.steps
    assert step.error_type and step.error_message
    assert SECRET not in repr(events.steps) + repr(events.executions)
    assert "note" not in step.error_message and "inner" not in step.error_message


@pytest.mark.parametrize("before", range(ID_LIMIT - 60, ID_LIMIT + 5, 5))
def test_a_secret_that_would_be_cut_in_half_is_taken_out_whole(before: int) -> None:
    """Its shape is known before the text is cut to what is kept."""
    assert "hunter" not in text_of("x" * before + URL)
    assert "hunter" not in message_of("x" * (MESSAGE_LIMIT - ID_LIMIT + before) + URL)
    assert "hunter" not in message_of("x" * (MESSAGE_LIMIT - ID_LIMIT + before) + URL + "y" * 100_000)


def test_our_own_log_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what it quotes, nor a traceback at DEBUG."""
    guard.forget_logged()
    try:
        raise_chained()
    except ValueError as problem:
        with caplog.at_level(logging.DEBUG, logger="analytics_sdk"):
            trouble("test-secret", "this failed: %s", RuntimeError(URL), exc=problem)
    assert "db.example.com" in caplog.text
    assert "raise_chained" in caplog.text, "the traceback is there"
    assert SECRET not in caplog.text


URLS = [
    URL,
    f"postgresql://me:{SECRET}/with/slashes@db/x",
    f"postgresql://me:{SECRET}@more@db/x",
    f"postgresql://me:{SECRET}?mark@db/x",
    f"postgresql://me:a {SECRET}@db/x",
    f"postgresql://me@db/x?password={SECRET}&sslmode=require",
    f"postgresql+psycopg://me:{SECRET}{'x' * 2000}@db/x",
]


@pytest.mark.parametrize("url", URLS)
def test_a_database_password_is_in_no_repr_name_or_message(folder: Path, url: str) -> None:
    """Of settings, system, sink, engine, folder of journals; and the log at DEBUG tells the sink without it."""
    settings = resolve({"sink": url})
    assert SECRET not in repr(settings) + str(settings) + str(settings.journal_dir) + describe(url)
    assert without_password(url).startswith("postgresql")
    try:
        sink: Any = make_sink(url)
        assert SECRET not in repr(sink) + describe(sink)
    except AnalyticsError as problem:
        assert SECRET not in str(problem) + repr(problem)


@pytest.mark.parametrize("name", ["sink", "journal_max_bytes", "on_full", "schema", "realtime"])
def test_a_url_in_the_wrong_setting_is_told_without_its_password(name: str) -> None:
    wrong = URL.replace("://", ":/ /") if name == "sink" else URL
    with pytest.raises(SettingError) as told:
        resolve({name: wrong})
    assert SECRET not in str(told.value)


def test_a_system_that_cannot_reach_its_database_tells_no_password(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In its log at DEBUG, its repr, its status, and in no file of the folder of journals."""
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/x?connect_timeout=1"
    with caplog.at_level(logging.DEBUG):
        system = configure(sink=url, flush_interval_seconds=3600, exit_timeout_seconds=0)
        with track_workflow(workflow_id="w"):
            pass
        assert not system.flush(0.2)
    assert "127.0.0.1" in caplog.text
    assert SECRET not in caplog.text + repr(system) + repr(vars(system)) + repr(system.shipper.status())
    system.close(0)
    assert places_with(folder, "127.0.0.1")
    assert places_with(folder, SECRET) == []


@pytest.mark.parametrize("command", [["doctor", "--json"], ["doctor"], ["stats"], ["ship", "--once"]])
def test_the_command_line_tells_no_password_even_when_debugging(folder: Path, command: list[str]) -> None:
    """With ANALYTICS_SDK_DEBUG it shows tracebacks too."""
    done = subprocess.run(
        [sys.executable, "-m", "analytics_sdk", *command],
        cwd=folder,
        env={
            "PATH": "",
            "HOME": str(folder),
            "ANALYTICS_SDK_DEBUG": "1",
            "ANALYTICS_SDK_SINK": f"postgresql://me:{SECRET}/x y@127.0.0.1:1/x?password={SECRET}",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout or done.stderr
    assert SECRET not in done.stdout + done.stderr
    if "--json" in command:
        json.loads(done.stdout)
