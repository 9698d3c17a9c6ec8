"""The plan of the house: who may import whom, what importing costs, how long files and functions are."""

import ast
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "analytics_sdk"
FILES = sorted(SOURCE.rglob("*.py"))

FLOORS = (
    {"errors", "clock", "vocabulary", "events", "histogram", "rollup", "redaction"},
    {"config", "guard", "pace"},
    {"journal"},
    {"capture", "sinks"},
    {"shipper", "query"},
    {"reporting", "copying", "archive"},
    {"checking"},
    {"system"},
    {"analytics_system"},
    {"integration"},
    {"cli", "testing"},
    {"__main__", "__init__"},
)
"""From the ground up. Imports go down only, or stay inside their own package; neighbours do not see each other."""
SIDEWAYS = {
    ("events", "vocabulary"): "a record says of which kind it is",
    ("rollup", "vocabulary"): "a rollup cell counts the statuses by their words",
    ("rollup", "histogram"): "a rollup cell holds a histogram",
}
"""(who, whom) that may see each other on one floor, and why."""
FORBIDDEN = {("sinks", "journal"): "a sink is given batches, and must not know where they were kept before"}
HEAVY = (
    "sqlalchemy",
    "matplotlib",
    "numpy",
    "pynvml",
    "psutil",
    "starlette",
    "typer",
    "rich",
    "jinja2",
    "clickhouse_connect",
    "pyarrow",
    "duckdb",
)
PUBLIC = (
    "analytics_sdk",
    "analytics_sdk.integration",
    "analytics_sdk.analytics_system",
    "analytics_sdk.reporting.report_generator",
)
IMPORT_LIMIT_MS = 60
BARE = "import wrapt, asyncio"
"""What we are compared with. Newer versions of wrapt bring asyncio, older ones would let it look like our own cost."""
BARE_MS = 45
"""What that takes on a quiet machine; where it takes longer, we are allowed as much longer."""
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
WRITTEN_BY_HAND = {
    *(f"sinks/{name}.py" for name in ("schema", "clickhouse_schema", "migrations", "sqlite", "postgres")),
    "query/archived.py",
}
"""Where SQL is put together as text."""
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "capture/usual_step.py:wrap_usual_step": "holds the wrapper",
    "capture/usual_step.py:wrapper": "one frame on purpose: each call between would cost more than what it does",
}
"""What may be longer, each with its reason."""


def part_of(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def floor_of(part: str) -> int:
    for floor, parts in enumerate(FLOORS):
        if part in parts:
            return floor
    raise AssertionError(f"{part} stands on no floor: add it to FLOORS")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of ours, wherever it stands in the file. A relative import is made absolute."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "analytics_sdk"
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            if module == "analytics_sdk":
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            elif module.startswith("analytics_sdk."):
                yield node.lineno, module


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    part = part_of(path)
    for line, module in imports_of(path):
        other = module.split(".")[1] if "." in module else "__init__"
        place = f"{name_of(path)}:{line} imports {module}"
        assert (part, other) not in FORBIDDEN, f"{place}: {FORBIDDEN[part, other]}"
        if other != part and (part, other) not in SIDEWAYS:
            assert floor_of(other) < floor_of(part), f"{place}, which does not stand below it"


@pytest.mark.parametrize("path", [path for path in FILES if path != SOURCE / "__init__.py"], ids=name_of)
def test_nothing_inside_imports_the_package_root(path: Path) -> None:
    """A name that comes from the root would load everything, and could go round in a circle."""
    parts = {child.name.removesuffix(".py") for child in SOURCE.iterdir()}
    for line, module in imports_of(path):
        assert module.count(".") and module.split(".")[1] in parts, f"{name_of(path)}:{line} imports the package root"


def test_every_part_stands_on_exactly_one_floor() -> None:
    placed = [part for parts in FLOORS for part in parts]
    assert len(placed) == len(set(placed))
    assert {part_of(path) for path in FILES} <= set(placed)


def run_fresh(code: str) -> tuple[str, float]:
    """Run code in a fresh interpreter: what it printed, and the CPU milliseconds of the whole process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANALYTICS_SDK_", "COV"))}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return printed, 1000 * (usage.ru_utime + usage.ru_stime)


@pytest.mark.parametrize("module", [*PUBLIC, "analytics_sdk.testing"])
def test_importing_a_public_module_loads_nothing_heavy(module: str) -> None:
    printed, _ = run_fresh(f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert printed.strip() == "[]"


def test_importing_the_public_modules_is_cheap() -> None:
    """All four together, in CPU time beyond bare Python and wrapt; taken in turns, because the machine may be busy."""
    pairs = [(run_fresh(BARE)[1], run_fresh(f"{BARE}, {', '.join(PUBLIC)}")[1]) for _ in range(7)]
    bare_ms = statistics.median(bare_ms for bare_ms, _ in pairs)
    ours_ms = statistics.median(all_ms - bare_ms for bare_ms, all_ms in pairs)
    assert ours_ms < IMPORT_LIMIT_MS * max(1, bare_ms / BARE_MS)


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        if part_of(path) not in ("cli", "__main__"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                assert not (isinstance(called, ast.Name) and called.id == "print"), (
                    f"{name_of(path)}:{node.lineno} prints"
                )


def test_nothing_reads_pickles_or_runs_text_from_outside() -> None:
    """What stands in a journal or a database is untrusted."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                runs_text = node.func.id in ("eval", "exec") and not isinstance(node.args[0], ast.Constant)
                assert not runs_text, f"{name_of(path)}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                modules = {name.split(".")[0] for name in names}
                unsafe = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}
                assert not unsafe & modules, f"{name_of(path)}:{node.lineno}"


def test_nothing_opens_a_connection_but_the_database_driver() -> None:
    """No phone-home, no update check: the demo's own little server on loopback is all that knows the network."""
    allowed = {"cli/demo_material.py", "cli/demo_loop.py", "journal/home.py"}  # the last for the name of the machine
    network = {"socket", "urllib.request", "http.client", "http.server", "requests", "httpx", "aiohttp", "smtplib"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not names & network or name_of(path) in allowed, f"{name_of(path)}:{node.lineno}"


def test_sql_is_written_by_hand_in_few_places_and_its_names_come_from_the_code() -> None:
    """Everywhere else SQLAlchemy binds each value. What these places put into a text are names of our own tables and
    columns, checked settings, and numbers; no id, tag or message."""
    by_hand = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and part_of(path) != "reporting":  # which writes text on paper
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                made_up = name in ("exec_driver_sql", "text") and not isinstance(node.args[0], ast.Constant)
                if made_up or (name in ("execute", "copy") and isinstance(node.args[0], ast.JoinedStr)):
                    by_hand.add(name_of(path))
    assert by_hand == WRITTEN_BY_HAND


def test_files_stay_short() -> None:
    long = {
        name_of(path): lines for path in FILES if (lines := len(path.read_text("utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "no longer long: take it off the list"


def test_functions_stay_short() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{name_of(path)}:{node.name}"] = lines
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "no longer long: take it off the list"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
