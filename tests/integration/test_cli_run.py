"""`analytics-sdk run`: an untouchable program is watched, and is otherwise the same program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_sdk.cli.run import main_name, make_order, prepare_environment, read_instrument_table, spell_out
from analytics_sdk.errors import SettingError, TargetError

LOOP = """
class Node:
    def __init__(self, node_id):
        self.node_id = node_id

class Job:
    workflow_id = "job"
    nodes = [Node("a"), Node("b")]

class Loop:
    def execute_workflow(self, workflow):
        return [self._execute_node(node) for node in workflow.nodes]
    def _execute_node(self, node):
        return node.node_id
"""
SAY_TRACKED = (
    'print("tracked:", hasattr(Loop.execute_workflow, "__wrapped__"), hasattr(Loop._execute_node, "__wrapped__"))\n'
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "analytics_sdk", "run", *arguments]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `analytics-sdk run` in a folder, with the folder's modules importable."""
    env = {**os.environ, "PYTHONPATH": str(folder), **environment}
    return subprocess.run(
        command(*arguments), cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A program with its loop in a package, which nobody edits."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "loop.py").write_text(LOOP)
    (tmp_path / "app.py").write_text("import sys\nfrom pkg.loop import Loop\n" + SAY_TRACKED)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_a_class_that_the_program_imports_is_tracked(app: Path) -> None:
    done = run(app, "--loop", "pkg.loop:Loop", "--", sys.executable, "app.py")
    assert (done.stdout, done.stderr, done.returncode) == ("tracked: True True\n", "", 0)


def test_a_class_of_the_script_itself_is_tracked(app: Path) -> None:
    (app / "app.py").write_text(LOOP + SAY_TRACKED)
    for loop in ("app:Loop", "__main__:Loop"):
        done = run(app, "--loop", loop, "app.py")
        assert (done.stdout, done.stderr) == ("tracked: True True\n", "")


def test_a_module_run_by_name_is_tracked(app: Path) -> None:
    (app / "pkg" / "main.py").write_text(LOOP + SAY_TRACKED)
    done = run(app, "--loop", "pkg.main:Loop", "--", "-m", "pkg.main")
    assert (done.stdout, done.stderr) == ("tracked: True True\n", "")


def test_the_programs_arguments_streams_and_exit_code_are_its_own(app: Path) -> None:
    (app / "app.py").write_text(
        "import sys, pkg.loop\nprint(sys.argv[1:])\nprint(sys.stdin.read(), file=sys.stderr, end='')\nsys.exit(7)"
    )
    done = subprocess.run(
        command("--loop", "pkg.loop:Loop", "--", sys.executable, "app.py", "--db", "-x", "a b", "*"),
        cwd=app,
        env={**os.environ, "PYTHONPATH": str(app)},
        input="from stdin\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("['--db', '-x', 'a b', '*']\n", "from stdin\n", 7)


def test_a_signal_reaches_the_program_itself(app: Path) -> None:
    """The process that was started is the program: a signal to it ends it as it would without us."""
    (app / "app.py").write_text("import signal, pkg.loop\nprint('ready', flush=True)\nsignal.pause()\n")
    with subprocess.Popen(
        command("--loop", "pkg.loop:Loop", sys.executable, "app.py"),
        cwd=app,
        env={**os.environ, "PYTHONPATH": str(app)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_a_python_that_the_program_starts_is_watched_too(app: Path) -> None:
    (app / "app.py").write_text(
        "import subprocess, sys, pkg\n"
        "subprocess.run([sys.executable, '-c', 'from pkg.loop import Loop; ' + "
        "'print(hasattr(Loop.execute_workflow, chr(95)*2 + \"wrapped\" + chr(95)*2))'])\n"
        "import pkg.loop\n"
    )
    done = run(app, "--loop", "pkg.loop:Loop", sys.executable, "app.py")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_the_hosts_own_sitecustomize_still_runs_and_ours_is_out_of_sight(app: Path) -> None:
    (app / "sitecustomize.py").write_text("import sys\nsys.hosts_own = True\n")
    (app / "app.py").write_text(
        "import sys, sitecustomize, pkg.loop\n"
        "print(sys.hosts_own, sitecustomize.__file__)\n"
        "print([entry for entry in sys.path if 'startup' in entry])\n"
    )
    done = run(app, "--loop", "pkg.loop:Loop", sys.executable, "app.py")
    assert (done.stdout, done.stderr) == (f"True {app / 'sitecustomize.py'}\n[]\n", "")


def test_a_program_without_sitecustomize_starts_without_a_word(app: Path) -> None:
    (app / "app.py").write_text("import pkg.loop\n")
    assert run(app, "--loop", "pkg.loop:Loop", sys.executable, "app.py").stderr == ""


def test_nothing_of_ours_is_imported_before_the_target_is(app: Path) -> None:
    (app / "app.py").write_text(
        "import sys\n"
        "print([name for name in sys.modules if name.startswith(('analytics_sdk', 'wrapt'))])\n"
        "import pkg.loop\n"
        "print('analytics_sdk.capture.patching' in sys.modules)\n"
    )
    assert run(app, "--loop", "pkg.loop:Loop", sys.executable, "app.py").stdout == "[]\nTrue\n"


def test_what_never_appeared_is_named_in_one_line_at_exit(app: Path) -> None:
    (app / "app.py").write_text("print('work')\n")
    done = run(app, "--loop", "pkg.loop:Loop", "--recovery", "pkg.healing:Healer.heal", "--", sys.executable, "app.py")
    assert (done.stdout, done.returncode) == ("work\n", 0)
    assert done.stderr == (
        "analytics-sdk: never appeared: pkg.loop:Loop, pkg.healing:Healer.heal; nothing of it was recorded\n"
    )


def test_a_method_that_does_not_exist_is_named_at_exit_and_breaks_nothing(app: Path) -> None:
    done = run(app, "--loop", "pkg.loop:Loop", "--step", "execute_nod", "--", sys.executable, "app.py")
    assert (done.stdout, done.returncode) == ("tracked: True False\n", 0)
    assert len(done.stderr.splitlines()) == 1
    assert "Loop.execute_nod does not exist; did you mean" in done.stderr


def test_a_python_that_lacks_the_package_says_so_and_runs_the_program(app: Path) -> None:
    (app / "analytics_sdk.py").write_text("raise ImportError('not here')\n")
    order = prepare_environment({"PYTHONPATH": str(app)}, make_order({"loop": "pkg.loop:Loop"}, None), None)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=app, env=order, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("tracked: False False\n", 0)


def test_switched_off_the_program_is_left_alone(app: Path) -> None:
    done = run(app, "--loop", "pkg.loop:Loop", sys.executable, "app.py", ANALYTICS_SDK_DISABLED="true")
    assert (done.stdout, done.stderr) == ("tracked: False False\n", "")


def test_the_keys_may_stand_in_pyproject(app: Path) -> None:
    (app / "pyproject.toml").write_text(
        '[tool.analytics_sdk.instrument]\nloop = "pkg.loop:Loop"\nstep = ["_execute_node"]\nthreads = false\n'
    )
    assert run(app, sys.executable, "app.py").stdout == "tracked: True True\n"


def test_a_key_in_pyproject_that_is_not_known_is_refused(app: Path) -> None:
    (app / "pyproject.toml").write_text('[tool.analytics_sdk.instrument]\nlop = "pkg.loop:Loop"\n')
    with pytest.raises(SettingError, match="unknown keys lop"):
        read_instrument_table(app)


def test_without_a_target_nothing_starts(app: Path) -> None:
    done = run(app, sys.executable, "app.py")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "error: nothing to track was named"


def test_a_command_that_is_not_there_is_an_error_of_two_lines(app: Path) -> None:
    done = run(app, "--loop", "pkg.loop:Loop", "no-such-program")
    assert done.returncode == 2
    assert (
        done.stderr == "error: no-such-program cannot be run: No such file or directory\n  check the command after --\n"
    )


def test_the_sink_travels_as_an_absolute_url(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because the program may change its working folder before its first execution."""
    monkeypatch.chdir(app)
    order = make_order({"loop": "pkg.loop:Loop"}, None)
    assert prepare_environment({}, order, "sqlite:///mine.db")["ANALYTICS_SDK_SINK"] == f"sqlite:///{app}/mine.db"


@pytest.mark.parametrize(
    ("typed", "module"),
    [
        (["python", "app.py"], "app"),
        (["/usr/bin/python3.11", "-X", "dev", "-u", "src/app.py", "--loop"], "app"),
        (["python", "-m", "pkg.main", "x"], "pkg.main"),
        (["python", "-c", "pass"], "__main__"),
        (["gunicorn", "app:app"], None),
        (["python"], None),
    ],
)
def test_the_name_of_the_programs_own_script_is_read_off_the_command(typed: list[str], module: str | None) -> None:
    assert main_name(typed) == module


def test_a_script_and_a_module_get_this_python_in_front() -> None:
    assert spell_out(["app.py", "x"]) == [sys.executable, "app.py", "x"]
    assert spell_out(["-m", "pkg"]) == [sys.executable, "-m", "pkg"]
    assert spell_out(["make", "all"]) == ["make", "all"]


def test_what_is_no_place_is_refused() -> None:
    for wanted in (
        {"loop": "pkg/loop.py:Loop"},
        {"step": "go"},
        {"loop": "a:B", "step": 3},
        {"loop": "app:L", "step": "app:go"},
    ):
        with pytest.raises(TargetError):
            make_order(wanted, "app")
