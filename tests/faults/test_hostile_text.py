"""Whatever text a host, a database or a machine gives: where it is shown, it is text, and does nothing."""

import csv
import io
import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
from analytics_sdk.cli import main
from analytics_sdk.integration import get_analytics_integration
from analytics_sdk.reporting.html import render_html
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator, name_file
from analytics_sdk.reporting.tabular import neutralise, render_csv, render_json
from analytics_sdk.testing import isolate

PIECES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></svg><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "--></script><!--",
    "\x1b[31m\x1b]8;;http://evil\x07\x1b]52;c;aGk=\x07",
    "\x9b31m\x85\x90",
    "\u202eevil\u2066\u200b\ufeff\u2028",
    "=cmd|'/C calc'!A0",
    "+1-1",
    "@SUM(A1)",
    "\t=1",
    "\uff1d1+1",
    "../../etc/passwd",
    "\x00\r\n",
    "\ud800",
    "[red]not rich[/red]",
    "%s%n{0}",
    "; DROP TABLE executions; --",
    "' OR 1=1 --",
]
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=8), min_size=1, max_size=4).map("".join)


class Page(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@contextmanager
def recorded(folder: Path, text: str) -> Iterator[Any]:
    """A system with the text in every field that a host can fill, and in the name of the machine."""
    with isolate(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(socket, "gethostname", lambda: text.encode("utf-8", "replace").decode()[:200])
        (folder / "analytics.db").unlink(missing_ok=True)
        system = configure(sink="sqlite:///analytics.db", flush_interval_seconds=3600)
        error = type("".join(c for c in text if c.isprintable())[:50] or "E", (Exception,), {"__module__": text})
        for ends in (None, error(text)):
            try:
                with (
                    track_workflow(workflow_id=text, tags={text: text}),
                    track_step(node_id=text, action_type=text, tags={text: text}),
                ):
                    with recovery_attempt(text) as attempt:
                        attempt.fail(text)
                    if ends is not None:
                        raise ends
            except Exception as problem:
                assert problem is ends
        hooks = get_analytics_integration()
        execution_id = hooks.on_execution_start(text)
        hooks.on_step_complete(execution_id, text, text, text, None, None, 1.0, False, text)
        hooks.on_recovery_attempt(execution_id, text, text, text, True, 1.0)
        hooks.on_execution_complete(execution_id, text, None, None, 1.0, text, 0, 1, error_message=text)
        assert system.flush()
        yield system
        system.close()


def check_csv(text: str) -> None:
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert not cell.lstrip(" \u00a0").startswith(tuple("=+@\t\r\uff1d\uff0b\uff0d\uff20")), cell
            assert not cell.startswith("-") or re.fullmatch(r"-[\d.e+-]+", cell), cell


def check_json(text: str) -> Any:
    assert not HIDDEN.search(text)
    return json.loads(text, parse_constant=pytest.fail)


def run_cli(*arguments: str) -> str:
    """What a command printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["analytics-sdk", *arguments])
        with pytest.raises(SystemExit):
            main()
            raise SystemExit
    assert "bug in analytics-sdk" not in err.getvalue()
    return out.getvalue() + err.getvalue()


@given(HOSTILE)
@example("".join(PIECES))
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_stored_text_steers_no_terminal_no_spreadsheet_and_no_reader_of_json(tmp_path: Path, text: str) -> None:
    """In every field at once: the commands, with and without --json, CSV and JSON; and the numbers are right."""
    with recorded(tmp_path, text) as system:
        answer = system.stats()
        assert answer["success_rate"]["n"] == 3
        data = system.report_generator.generate_report(ReportConfig(title=text, format="csv"))
        check_csv(render_csv(data))
        check_json(render_json(data))
        name = name_file(data)
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,80}", name)
    workflow = text.replace("\0", "\u2400")  # because an argument cannot hold it
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for command in (["stats"], ["stats", "--", workflow], ["doctor"]):
            assert not HIDDEN.search(run_cli(*command))
        for command in (["stats", "--json"], ["doctor", "--json"]):
            check_json(run_cli(*command))


@pytest.mark.parametrize("text", ["".join(PIECES[:7]), "".join(PIECES[7:])], ids=["markup", "others"])
def test_stored_text_is_text_on_a_page(tmp_path: Path, text: str) -> None:
    """No tag, no attribute, no handler and no style comes of it, and the policy allows one script and one style."""
    with recorded(tmp_path, text) as system:
        now = datetime.now()
        config = ReportConfig(title=text, start_time=now - timedelta(hours=1), end_time=now + timedelta(hours=1))
        text = render_html(system.report_generator.generate_report(config))
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert (names.count("script"), names.count("style"), names.count("img")) == (1, 1, 0)
    assert not {name for _, attributes in page.tags for name in attributes if name.startswith("on")}
    links = [str(a.get(key)) for _, a in page.tags for key in ("href", "src", "xlink:href", "action") if a.get(key)]
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not HIDDEN.search(text)
    assert "<!--" not in text
    (policy,) = [str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@given(st.text())
@example("\uff1d1")
@example(" =1")
def test_no_cell_begins_a_formula(text: str) -> None:
    cell = neutralise(text)
    assert not cell.lstrip(" \u00a0\u3000\ufeff\u200b").startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
    assert cell in (text, f"'{text}")


def test_a_report_that_is_named_after_a_hostile_id_stays_in_its_folder(tmp_path: Path) -> None:
    """Paths, devices of other systems, 300 letters, nothing at all: one file each, none like another."""
    titles = [
        "../../etc/x",
        "CON",
        "a/b",
        "a\\b",
        "x" * 300,
        "\0",
        "",
        ".",
        "..",
        "~root",
        "%2e%2e%2f",
        "a\nb",
        "\ud800",
    ]
    with recorded(tmp_path, "w") as system:
        out = tmp_path / "out"
        generator = ReportGenerator(system.query, out)
        paths = [generator.export(generator.generate_report(ReportConfig(title, format="json"))) for title in titles]
    assert len(set(paths)) == len(titles)
    assert {path.parent for path in paths} == {out}
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,80}", path.name) for path in paths)
    assert sorted(tmp_path.rglob("*.json")) == sorted(paths)


@pytest.mark.parametrize("workflow_id", ["a\0b", "\ud800", "x" * 300, "postgresql://me:pw@db/x", "' OR 1=1 --", "%_"])
def test_what_was_recorded_under_an_odd_id_is_found_by_that_id(tmp_path: Path, workflow_id: str) -> None:
    """Though it is kept as text that can be kept; and it finds nothing else."""
    with recorded(tmp_path, "other") as system:
        with track_workflow(workflow_id=workflow_id):
            pass
        assert system.flush()
        assert system.stats(workflow_id)["success_rate"]["n"] == 1
        data = system.report_generator.generate_report(ReportConfig(workflow_ids=[workflow_id], format="csv"))
        assert len(data.executions) == 1
