"""How the command line feels: help, JSON, errors, width, colour, pipes and completion; typed as a person would."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from terminal import CLI, environment_of, show

from analytics_sdk.cli.app import app
from analytics_sdk.cli.faults import explain, wants_json
from analytics_sdk.cli.terminal import width_of

PROGRAM = """
from analytics_sdk import configure, recovery_attempt, track_step, track_workflow
configure(sink="sqlite:///analytics.db")
LONG = "nightly-import-of-everything-that-the-partners-have-sent-since-yesterday"
for workflow_id in ("checkout", LONG, "check/out$(touch pwned)", "café"):
    for number in range(3):
        try:
            with track_workflow(workflow_id=workflow_id, total_steps=1):
                with track_step(node_id="read-" + LONG, action_type="file"):
                    with recovery_attempt("look_next_door_and_then_in_the_cellar"):
                        pass
                    if number == 2:
                        raise ValueError("there is no file 17 in " + LONG)
        except ValueError:
            pass
"""


def type_(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a pipe."""
    return subprocess.run(
        [*CLI, *arguments], cwd=folder, env=environment_of(**environment), capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which there is something of everything."""
    folder = tmp_path_factory.mktemp("feel")
    (folder / "pyproject.toml").touch()
    run_to_its_end(PROGRAM, folder)
    return folder


def run_to_its_end(program: str, folder: Path) -> None:
    """Run a program that delivers all it has recorded, however slow the machine is."""
    environment = environment_of(ANALYTICS_SDK_EXIT_TIMEOUT_SECONDS="60")
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True)


BARE_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
COMMANDS = [["demo"], ["run"], ["ship"], ["stats"], ["report"], ["doctor"], ["db"], ["db", "upgrade"]]

# ---------------------------------------------------------------- help


def test_alone_it_shows_every_command_with_an_example_in_the_order_of_the_data(tmp_path: Path) -> None:
    done = type_(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == type_(tmp_path, "--help").stdout
    examples = re.findall(r"^ +analytics-sdk (\S+)", done.stdout, re.MULTILINE)
    assert examples == ["demo", "run", "ship", "stats", "report", "archive", "doctor", "db"]


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != ["db"]], ids=" ".join)
def test_the_help_of_a_command_has_examples_and_exit_codes(tmp_path: Path, command: list[str]) -> None:
    done = type_(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert f"  analytics-sdk {' '.join(command)}" in done.stdout
    assert re.search(r"^    0  \w", done.stdout, re.MULTILINE)
    assert "--json" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(width_of, done.stdout.splitlines())) <= 80


def shown_examples() -> list[str]:
    """Every example of every help text."""
    texts = [app.info.epilog or "", *(one.epilog or "" for one in app.registered_commands)]
    found = [line for text in texts for line in re.findall(r"^ *analytics-sdk ([a-z].*)$", text, re.MULTILINE)]
    assert len(found) > 15
    return found


@pytest.mark.parametrize("example", shown_examples())
def test_the_examples_can_be_typed(example: str) -> None:
    command: Any = typer.main.get_command(app)
    name, *words = example.split()
    if name == "db":
        command, (name, *words) = command.commands["db"], words
    command.commands[name].make_context(name, words)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("help", "analytics-sdk --help"), ("statz", "analytics-sdk stats"), ("upgrade", "analytics-sdk db upgrade")],
)
def test_a_misspelt_command_is_told_what_was_meant(tmp_path: Path, typed: str, meant: str) -> None:
    done = type_(tmp_path, typed)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: there is no command '{typed}'", f"  did you mean `{meant}`?"]


def test_a_command_like_none_of_ours_is_told_where_they_stand(tmp_path: Path) -> None:
    done = type_(tmp_path, "xyzzy")
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "  `analytics-sdk --help` lists the commands")


def test_a_misspelt_option_is_told_what_was_meant(tmp_path: Path) -> None:
    done = type_(tmp_path, "stats", "--exat")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: no such option: --exat", "  did you mean --exact?"]


def test_a_misspelt_workflow_is_told_what_was_meant(store: Path) -> None:
    done = type_(store, "stats", "chekout")
    assert done.returncode == 1
    assert done.stderr.endswith("No workflow chekout was ever recorded here; did you mean checkout?\n")


def test_a_report_on_a_misspelt_workflow_says_what_was_meant(store: Path, tmp_path: Path) -> None:
    done = type_(store, "report", "chekout", "--format", "json", "--out", str(tmp_path / "r.json"))
    assert (done.returncode, (tmp_path / "r.json").is_file()) == (1, True)
    assert done.stderr.endswith("did you mean checkout?\n")


def test_the_version_is_said(tmp_path: Path) -> None:
    assert re.fullmatch(r"analytics-sdk \d+\.\d+\.\d+\n", type_(tmp_path, "--version").stdout)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "code", "what", "advice"),
    [
        (["stats", "--last", "soon"], 2, "--last: 'soon' is no stretch of time", "write it as 30m, 24h or 7d"),
        (
            ["stats", "--from", "Tuesday"],
            2,
            "--from: 'Tuesday' is no date",
            "write it as 2026-11-24 or 2026-11-24T14:05",
        ),
        (
            ["stats", "--from", "2026-01-02", "--to", "2026-01-01"],
            2,
            "the window ends before it starts",
            "name a --from that lies before --to or now",
        ),
        (
            ["stats", "--db", "analytics.db"],
            2,
            "--db: this is no database URL",
            "write it as a database URL such as sqlite:///analytics.db or postgresql://user@host/db",
        ),
        (["report", "--format", "docx"], 2, None, "see `analytics-sdk report --help`"),
        (["demo", "--out", "/proc/nowhere"], 3, "/proc/nowhere: No such file or directory", "check the path"),
        (["ship", "--db", "redis://x"], 3, None, None),
        (
            ["stats", "--db", "postgresql://me:hunter2@127.0.0.1:1/db"],
            3,
            None,
            "start the server, or correct host and port in the sink's URL",
        ),
        (["run", "--", "true"], 2, "nothing to track was named", None),
        (
            ["run", "--loop", "a:B", "--", "no-such-program"],
            2,
            "no-such-program cannot be run: No such file or directory",
            None,
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_two_lines_and_the_same_as_json(
    tmp_path: Path, arguments: list[str], code: int, what: str | None, advice: str | None
) -> None:
    done = type_(tmp_path, *arguments)
    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (code, "")
    assert first.startswith("error: ")
    assert second.startswith("  ")
    assert what is None or first == f"error: {what}"
    assert advice is None or second == f"  {advice}"
    as_json = type_(tmp_path, arguments[0], "--json", *arguments[1:])
    assert as_json.returncode == code
    assert json.loads(as_json.stdout) == {"error": {"message": first[len("error: ") :], "advice": second[2:]}}


def test_a_bug_is_one_line_and_says_how_to_see_where(tmp_path: Path) -> None:
    try:
        {}["gone"]  # because it is what raises
    except KeyError as problem:
        fault = explain(problem)
    assert re.fullmatch(r"this is a bug in analytics-sdk: KeyError: 'gone', at test_cli_feel.py:\d+", fault.message)
    assert fault.advice == "set ANALYTICS_SDK_DEBUG=1 to see the traceback, and report it"
    assert fault.code == 3
    done = type_(tmp_path, "stats", ANALYTICS_SDK_DEBUG="1")
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-2].startswith("error: there is no database")


def test_a_password_in_an_unexpected_error_is_not_shown() -> None:
    assert "hunter2" not in str(explain(RuntimeError("cannot reach postgresql://me:hunter2@host/db")))


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("stats --json", True),
        ("stats checkout", False),
        ("run --json --loop a:B python app.py", True),
        ("run --loop a:B -- python app.py --json", False),
        ("run --loop a:B python app.py --json", False),
        ("run --loop=a:B --threads --json -- x", True),
    ],
)
def test_json_that_the_program_is_asked_for_is_not_ours(typed: str, ours: bool) -> None:
    assert wants_json(typed.split()) is ours


# ---------------------------------------------------------------- terminals and pipes


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", ["stats", "doctor"])
def test_nothing_is_wider_than_the_terminal(store: Path, command: str, columns: int) -> None:
    """Paths are whole all the same, because they are there to be copied."""
    shown = show(store, [command], columns)
    for line in shown.lines:
        bare = re.sub("\x1b\\[[?0-9;]*[a-zA-Z]", "", re.sub("^.*\x1b\\[2K", "", line))
        assert width_of(bare) <= columns or " " not in bare[17:].strip(), bare


def test_wide_ids_are_shortened_in_their_middle_in_a_terminal_and_whole_in_a_pipe(store: Path) -> None:
    text = show(store, ["stats"], 80).text
    assert "yesterday" in text
    assert "…" in text
    piped = type_(store, "stats").stdout
    assert "nightly-import-of-everything-that-the-partners-have-sent-since-yesterday" in piped
    assert "…" not in piped


TIMED = """
import time
from analytics_sdk import configure
from analytics_sdk.integration import get_analytics_integration
configure(sink="sqlite:///analytics.db")
hooks = get_analytics_integration()
for workflow_id in ("nightly-import-of-everything", "weekly-import-of-everything"):
    for status in ("success", "success", "failed"):
        run, now = hooks.on_execution_start(workflow_id), time.time()
        hooks.on_execution_complete(run, workflow_id, now - SECONDS, now, SECONDS, status, 0, 0)
"""


@pytest.mark.parametrize(
    ("seconds", "kept", "row"),
    [
        (0.00123, "n success first pass", r" 3 +66\.7 % +66\.7 %$"),
        (0.123, "n success first pass p95", r" 3 +66\.7 % +66\.7 % +123 ms$"),
    ],
    ids=["seven-letters", "six-letters"],
)
def test_a_narrow_terminal_drops_columns_before_numbers_are_cut(
    tmp_path: Path, seconds: float, kept: str, row: str
) -> None:
    """How many columns there is room for depends on how long the durations are when they are written out."""
    (tmp_path / "pyproject.toml").touch()
    run_to_its_end(TIMED.replace("SECONDS", str(seconds)), tmp_path)
    lines = show(tmp_path, ["stats"], 40, NO_COLOR="1").lines
    at = lines.index("Workflows")
    assert lines[at + 1].split() == ["workflow", *kept.split()]
    assert re.search(row, lines[at + 2])


def test_colour_is_for_terminals_that_want_it(store: Path) -> None:
    assert "\x1b[1m" in show(store, ["stats"]).text
    assert "\x1b" not in show(store, ["stats"], NO_COLOR="1").text
    assert "\x1b" not in show(store, ["stats"], TERM="dumb").text
    assert "\x1b" not in type_(store, "stats").stdout
    assert "\x1b[1m" in type_(store, "stats", FORCE_COLOR="1").stdout


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, BARE_C])
def test_a_terminal_without_unicode_gets_plain_letters(store: Path, environment: dict[str, str]) -> None:
    shown = show(store, ["stats"], 60, **environment)
    assert shown.code == 0
    assert shown.text.isascii()
    assert " us" in shown.text
    answer = subprocess.run(
        [*CLI, "stats", "café", "--json"], cwd=store, env=environment_of(**environment), capture_output=True
    )
    assert "café" in json.dumps(json.loads(answer.stdout.decode("ascii")), ensure_ascii=False)


def test_a_reader_that_has_had_enough_is_no_error(store: Path) -> None:
    line = f"set -o pipefail; {' '.join(CLI)} stats --json | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=store, env=environment_of(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_a_full_disk_behind_stdout_is_two_lines(store: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CLI, "stats"], cwd=store, env=environment_of(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "error: there is no room left where the output goes",
        "  make room on that disk, or choose another place",
    ]


def test_ctrl_c_ends_quietly_with_130(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*CLI, "demo", "--executions", "5000"],
        cwd=tmp_path,
        env=environment_of(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Running 5,000 workflows")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_progress_is_drawn_in_a_terminal_for_what_takes_long(tmp_path: Path) -> None:
    text = show(tmp_path, ["demo", "--executions", "40"], 100).text
    assert re.search(r"Running workflows: \d+ of 40, \d+ %, about \d+ s left", text)
    assert "Next: analytics-sdk stats partner-sync" in text


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["stats"], {"success_rate", "performance", "steps", "errors", "recovery", "undelivered", "window"}),
        (["report", "--format", "json", "--out", "r.json"], {"path", "format", "undelivered"}),
        (["ship", "--once"], {"records", "bytes", "finished", "living", "unfinished", "foreign", "problems"}),
        (["doctor"], {"ok", "findings", "settings"}),
        (["db", "upgrade"], {"databases"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_is_one_object_on_stdout_and_nothing_else(store: Path, arguments: list[str], keys: set[str]) -> None:
    done = type_(store, *arguments, "--json")
    assert keys <= set(json.loads(done.stdout, parse_constant=pytest.fail))
    assert "error" not in done.stderr  # a slow machine may say how far it is


def test_the_json_of_run_comes_at_the_end_and_the_programs_own_output_goes_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "class Loop:\n    def execute_workflow(self): print('hello')\nLoop().execute_workflow()"
    )
    done = type_(
        tmp_path, "run", "--json", "--loop", "app:Loop", "--recovery", "gone:heal", "--", sys.executable, "app.py"
    )
    assert (done.returncode, done.stderr) == (0, "hello\n")
    assert json.loads(done.stdout) == {"tracked": ["app:Loop"], "never_appeared": ["gone:heal"], "problems": []}


# ---------------------------------------------------------------- completion


@pytest.fixture(scope="module")
def path_with_the_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `analytics-sdk` is found."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "analytics-sdk"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m analytics_sdk "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def complete_in_bash(folder: Path, path: str, line: str) -> list[str]:
    """What a real bash offers at the end of a line, with the completion that we print loaded."""
    script = """
eval "$(_ANALYTICS_SDK_COMPLETE=source_bash analytics-sdk)"
COMP_LINE="$1"; read -ra COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_POINT=${#COMP_LINE}
function=$(complete -p analytics-sdk | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function analytics-sdk
printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line],
        cwd=folder,
        env=environment_of(PATH=path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("analytics-sdk s", ["ship", "stats"]),
        ("analytics-sdk report --for", ["--format"]),
        ("analytics-sdk report --format p", ["png", "pdf"]),
        ("analytics-sdk stats chec", ["checkout"]),
        ("analytics-sdk report checkout caf", ["café"]),
        ("analytics-sdk db ", ["upgrade", "copy"]),
    ],
)
def test_bash_completes(store: Path, path_with_the_program: str, line: str, offered: list[str]) -> None:
    """Ids that a shell would run are not offered."""
    assert complete_in_bash(store, path_with_the_program, line) == offered


def test_completion_of_workflows_asks_the_database_that_was_typed(
    store: Path, path_with_the_program: str, tmp_path: Path
) -> None:
    line = f"analytics-sdk stats --db sqlite:///{store}/analytics.db chec"
    assert complete_in_bash(tmp_path, path_with_the_program, line) == ["checkout"]


@pytest.mark.parametrize("db", ["", "--db nonsense", "--db postgresql://u:p@127.0.0.1:1/x", "--db sqlite:////dev/null"])
def test_completion_is_silent_and_quick_on_any_trouble(path_with_the_program: str, tmp_path: Path, db: str) -> None:
    assert complete_in_bash(tmp_path, path_with_the_program, f"analytics-sdk stats {db} chec") == []
    assert list(tmp_path.iterdir()) == []


def need(shell: str) -> None:
    """Skip where a shell is missing; where CI runs, that is an error."""
    if shutil.which(shell) is None:
        assert "CI" not in os.environ, f"{shell} is not installed"
        pytest.skip(f"{shell} is not installed")


def test_zsh_completes(store: Path, path_with_the_program: str) -> None:
    need("zsh")
    script = """
autoload -Uz compinit; compinit -u -D
eval "$(_ANALYTICS_SDK_COMPLETE=source_zsh analytics-sdk)"
_arguments() { print -r -- "$@" }
words=(analytics-sdk stats chec); CURRENT=3
_analytics_sdk_completion
words=(analytics-sdk report --format p); CURRENT=4
_analytics_sdk_completion
"""
    done = subprocess.run(
        ["zsh", "-f", "-c", script],
        cwd=store,
        env=environment_of(PATH=path_with_the_program),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ['*: :(("checkout"))', '*: :(("png" "pdf"))'], done
    assert not (store / "pwned").exists()


def test_fish_completes(store: Path, path_with_the_program: str, tmp_path: Path) -> None:
    need("fish")
    script = """
_ANALYTICS_SDK_COMPLETE=source_fish analytics-sdk | source
complete --do-complete 'analytics-sdk stats chec'
complete --do-complete 'analytics-sdk report --format p'
"""
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=store,
        env=environment_of(PATH=path_with_the_program, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["checkout", "pdf", "png"], done


def test_completion_is_installed_where_the_shell_looks(path_with_the_program: str, tmp_path: Path) -> None:
    """From inside a bash, whose own kind is found out."""
    done = subprocess.run(
        ["bash", "--norc", "-c", "analytics-sdk --install-completion; echo $?"],
        cwd=tmp_path,
        env=environment_of(PATH=path_with_the_program, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.endswith("0\n"), done
    assert "complete_bash" in (tmp_path / ".bash_completions" / "analytics-sdk.sh").read_text()
