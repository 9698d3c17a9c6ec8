"""What `stats` says of healing and of resources, over a store that a program wrote in two days of its life."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from terminal import CLI, environment_of, show

from analytics_sdk.cli import usage
from analytics_sdk.query.results import SampleRow
from analytics_sdk.query.usage import describe_resources
from analytics_sdk.reporting.words import Words

PROGRAM = """
import os, time
from contextlib import suppress
from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
from analytics_sdk.clock import SystemClock

class Earlier(SystemClock):
    def time_ns(self):
        return time.time_ns() - int(os.environ["HOURS_AGO"]) * 3600 * 10**9

configure(clock=Earlier())
EARLY = os.environ["HOURS_AGO"] != "0"
for number in range(60):
    with track_workflow(workflow_id="checkout", total_steps=2):
        with track_step(node_id="pay"):
            if not EARLY and number % 2:
                with recovery_attempt("wait_longer"):
                    time.sleep(0.001)
        with track_step(node_id="receipt"):
            pass
for number in range(12):
    with suppress(ValueError), track_workflow(workflow_id="import", total_steps=2):
        with track_step(node_id="read"):
            with recovery_attempt("guess"):
                pass
        with track_step(node_id="sum"):
            raise ValueError("this is no number")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healing")
    (folder / "pyproject.toml").touch()
    for hours in ("6", "0"):
        environment = environment_of(HOURS_AGO=hours)
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, check=True, timeout=60)
    return folder


def read(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*CLI, "stats", *arguments], cwd=folder, env=environment_of(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_success_stands_beside_what_succeeded_without_healing(store: Path) -> None:
    lines = read(store, "checkout").splitlines()
    assert "Success       100.0 %" in lines
    assert "First try     75.0 % (90 of 120) succeeded without healing" in lines
    (healing,) = [line for line in lines if line.startswith("Healing  ")]
    assert healing.endswith(
        "saved 30 of 30 executions that needed it; 30 of 30 attempts worked: 30 verified, 0 refuted, 0 unknown"
    )
    (cost,) = [line for line in lines if line.startswith("Healing cost")]
    assert re.search(r"^Healing cost  \d\S* ms, \d\S* % of all time$", cost)


def test_where_healing_hides_failure_is_said_before_the_tables(store: Path) -> None:
    out = read(store)
    masks = out.index("Warning  healing hides failure in checkout: since ")
    refuted = out.index("Warning  what guess calls healed often is not: of 24 that could be judged, 24 were refuted")
    assert masks < refuted < out.index("\nWorkflows\n")
    assert "only 50.0 % succeed at the first try, 100.0 % did before; the success rate of 100.0 % does not" in out


def test_each_strategy_has_its_interval_its_cost_and_whether_it_held(store: Path) -> None:
    out = read(store)
    header, guess = re.search(r"^Healing by strategy\n(.*)\n.*\n(.*)$", out, re.MULTILINE).groups()  # type: ignore[union-attr]  # because without it the test fails too
    assert header.split("  ")[0] == "strategy"
    assert re.fullmatch(r"guess +24 +100\.0 % +86 - 100 % +\S+ \S+ +\S+ \S+ +0 +24 +0", guess)


def test_what_is_healed_again_and_again_is_listed(store: Path) -> None:
    out = read(store)
    table = out[out.index("Healed again and again") :]
    assert re.search(r"^checkout +pay +30 +0 +0 +\S+ \S+ +wait_longer$", table, re.MULTILINE)


def test_narrow_terminals_keep_what_matters_most(store: Path) -> None:
    lines = show(store, ["stats"], 44, NO_COLOR="1").lines
    header = lines[lines.index("Healing by strategy") + 1]
    assert header.split() == ["strategy", "attempts", "worked", "refuted"]


def test_as_json_all_of_it_is_there(store: Path) -> None:
    answer: dict[str, Any] = json.loads(read(store, "--json"))
    assert {warning["code"] for warning in answer["warnings"]} == {"healing_masks_failure", "refuted_heals"}
    assert {"verified", "refuted", "unknown", "ci_low", "ci_high", "total_duration"} <= set(
        answer["recovery"]["strategies"][0]
    )


def test_gpus_and_the_steps_that_use_most_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """From samples as a machine with two GPUs writes them."""
    gpus = [
        {
            "index": i,
            "uuid": f"GPU-{i}",
            "name": "Tester",
            "utilization_percent": 40 + i,
            "memory_used_bytes": 2 << 30,
            "memory_total_bytes": 80 << 30,
        }
        for i in range(2)
    ]
    sample = SampleRow("host", 1, 10**9, 50.0, 1 << 30, None, None, 10.0, 1 << 30, 64 << 30, 10**9, 1, gpus)
    resources = describe_resources([sample])
    lines = dict(usage.headlines(resources, Words()))
    assert lines["Resources"] == "CPU 50.0 % of a core, 50.0 % at most; memory 1.00 GiB at most"
    assert lines["GPU 1"] == "Tester: 41.0 % on average; memory 2.00 GiB of 80.0 GiB at most"
    row = {
        "workflow_id": "w",
        "node_id": "train",
        "samples": 3,
        "shared": 0,
        "cpu_percent_avg": 90.0,
        "rss_bytes_max": 1 << 30,
        "gpu_utilization_percent_avg": 80.0,
    }
    usage.print_steps([row, {**row, "node_id": "idle", "cpu_percent_avg": float("nan")}], Words(), with_workflow=True)
    out = capsys.readouterr().out
    assert "train        3       0  90.0 %  1.00 GiB  80.0 %" in out
    assert "idle" not in out
