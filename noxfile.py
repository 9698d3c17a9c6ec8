"""What is checked, and how: `nox -l` lists it. Interpreters come from PATH; with pyenv:

PYENV_VERSION=3.11.7:3.12.1:3.13.0 nox -s tests
"""

import re
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types"]
PYTHONS = ["3.11", "3.12", "3.13"]
OF_ITS_TIME = ["pyparsing<3.2"]
"""What others require without an upper bound: an old matplotlib warns of a newer pyparsing, and a warning fails."""


def lowest_versions() -> list[str]:
    """`name==floor` for each requirement that pyproject.toml gives a floor, those of extras too."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(one for name in ("postgres", "clickhouse", "docs", "test") for one in extras[name]),
    ]
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)", one) for one in requirements)
    return [f"{match[1]}=={match[2]}" for match in found if match]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite with the newest versions."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The whole suite with the lowest versions that pyproject.toml allows."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join([*lowest_versions(), *OF_ITS_TIME]) + "\n", "utf-8")
    session.install("-e", ".[test]", "-c", str(constraints))
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python="3.11")
def types(session: nox.Session) -> None:
    """The types of the package, and what its public types promise to users."""
    session.install("-e", ".[dev]")
    session.run("mypy", "--strict", "src", "tests/typing")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Every block of README.md and docs/ runs, and the site is built into site/."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "tests/test_docs.py", *session.posargs)
    session.run("zensical", "build", "--strict", "--clean")


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """The benchmarks, one after the other, beside their peers."""
    session.install("-e", ".[bench]")
    session.run("python", "benchmarks", *session.posargs)


@nox.session(python="3.11")
def torture(session: nox.Session) -> None:
    """A thousand kills and a million acknowledged events, in SQLite and in PostgreSQL: minutes, and not for CI."""
    session.install("-e", ".[test]")
    for extra in ([], ["--postgres"]):
        session.run("python", "tests/torture/torture.py", *extra, *session.posargs)
