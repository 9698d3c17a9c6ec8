"""The pytest plugin, as its users have it: in a pytest of their own, in a folder of their own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    import asyncio
    import os

    from analytics_sdk import configure, get_analytics_system, track_step, track_workflow

    @track_workflow(workflow_id="shop")
    def run():
        with track_step(node_id="pay"):
            pass

    def test_what_is_recorded_is_seen(capture_analytics):
        configure(sink="sqlite:///production.db")
        run()
        assert capture_analytics.execution("shop").status == "success"
        assert "ANALYTICS_SDK_SINK" not in os.environ

    def test_each_test_begins_with_nothing(capture_analytics):
        assert capture_analytics.executions == []

    def test_an_event_loop_of_the_tests_own(capture_analytics):
        async def work():
            async with track_step(node_id="fetch"):
                await asyncio.sleep(0)
        with asyncio.Runner() as runner:
            runner.run(work())
        assert capture_analytics.step("fetch").status == "success"

    def test_reports_go_to_the_tests_folder(capture_analytics, tmp_path):
        run()
        settings = get_analytics_system().settings
        assert settings.reports_dir.is_relative_to(tmp_path)

    def test_without_the_fixture_nothing_of_ours_is_there(tmp_path):
        assert os.environ["ANALYTICS_SDK_SINK"] == "sqlite:///from-the-environment.db"
        assert list(tmp_path.iterdir()) == []
"""


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is registered by the installation, and the environment says where records go."""
    if not entry_points(group="pytest11", name="analytics_sdk"):
        message = "the installation is older than pyproject.toml: run `pip install -e .` again"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    monkeypatch.setenv("ANALYTICS_SDK_SINK", "sqlite:///from-the-environment.db")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_the_fixture_isolates_each_test(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """Warnings are errors, so that nothing is left open; and no file is left where the tests ran."""
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *options).assert_outcomes(passed=5)
    assert not list(pytester.path.glob("*.db*"))


@pytest.mark.usefixtures("plugin")
def test_a_failed_assertion_says_what_was_recorded(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from analytics_sdk import track_step

        def test_wrong(capture_analytics):
            with track_step(node_id="fetch") as step:
                step.fail("no route")
            capture_analytics.step("fecth")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *AssertionError: no step 'fecth' was recorded; recorded were 'fetch' failed"])


@pytest.mark.usefixtures("plugin")
def test_the_plugin_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(capture_analytics): ...")
    result = pytester.runpytest_subprocess("-p", "no:analytics_sdk", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *fixture 'capture_analytics' not found"])


def test_pytest_loads_the_plugin_and_nothing_else_of_ours(tmp_path: Path) -> None:
    """Whoever has the package installed pays for one small module, and has no fixture in effect that they did not
    ask for."""
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing(request):\n"
        "    assert 'pytest_analytics_sdk' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.split('.')[0] == 'analytics_sdk']\n"
        "    assert request.fixturenames == ['request']\n"
    )
    registered = [] if entry_points(group="pytest11", name="analytics_sdk") else ["-p", "pytest_analytics_sdk"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *registered, "-p", "no:cacheprovider", "-q", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
