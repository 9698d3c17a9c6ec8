"""Sinks: where batches are kept. A sink is made from a URL, an SQLAlchemy Engine, or is an object already.

    base        what a sink must do, and what a batch is
    rows        a batch's rows as columns
    memory      in memory, for users' tests
    schema      the tables
    migrations  how they came to be, one step after the other
    faults      what drivers raise, in our words
    sqlite      engines and bulk inserts for SQLite
    postgres    the same for PostgreSQL, with COPY
    keeping     losses, rollups and the last judgement
    sql         the sink over these
    clickhouse, clickhouse_schema, clickhouse_sink
                the same on ClickHouse, without transactions

Third parties register a URL scheme by an entry point of the group `analytics_sdk.sinks`: its name is the scheme, its
value is called with `(url, schema=..., table_prefix=...)` and gives a `Sink`.
"""

import os
import re
from typing import Any

from analytics_sdk.config import USER_PASSWORD
from analytics_sdk.errors import SettingError
from analytics_sdk.sinks.base import Sink

ENTRY_POINT_GROUP = "analytics_sdk.sinks"
SQL_SCHEMES = ("sqlite", "postgresql", "clickhousedb", "postgres")
_PASSWORD = re.compile(r"(?<=://)([^:@\s]*):\S*@")
_PASSWORD_OPTION = re.compile(r"([?&]\w*(?:password|secret|token)\w*=)[^&\s]*", re.IGNORECASE)


def make_sink(target: Any, *, schema: str | None = None, table_prefix: str | None = None) -> Sink:
    """The sink for a URL, an Engine or a Sink. Does not connect.

    Raises:
        SettingError: it is none of these, its scheme is not known, or its driver is not installed.
    """
    if not isinstance(target, str | os.PathLike):
        if isinstance(target, Sink):
            return target
        if hasattr(target, "dialect") and hasattr(target, "connect"):
            return _sql_sink(target, schema, table_prefix)
        raise SettingError(f"a sink is a database URL, an SQLAlchemy Engine or a Sink, not {type(target).__name__}")
    url = target if isinstance(target, str) else f"sqlite:///{os.fspath(target)}"
    match = re.match(r"([a-zA-Z][a-zA-Z0-9._-]*)(?:\+[a-zA-Z0-9._-]+)?://", url)
    if not match:
        raise SettingError(
            f"{describe(url)!r} is no database URL; write it as sqlite:///analytics.db or postgresql://user@host/db"
        )
    scheme = match[1].lower()
    if scheme == "memory":
        from analytics_sdk.sinks.memory import MemorySink  # here, because it is for tests

        return MemorySink()
    if scheme in SQL_SCHEMES:
        return _sql_sink(url, schema, table_prefix)
    made: Sink | None = _third_party_sink(scheme, url, schema, table_prefix)
    if made is None:
        raise SettingError(
            f"no sink is known for {scheme}://; use one of {', '.join(SQL_SCHEMES[:3])}, or install a package that "
            f"registers {scheme!r} in the entry point group {ENTRY_POINT_GROUP}"
        )
    return made


def _sql_sink(target: Any, schema: str | None, table_prefix: str | None) -> Sink:
    from analytics_sdk.sinks.sql import SqlSink  # here, because it loads the database library

    return SqlSink(target, schema=schema, table_prefix=table_prefix)


def _third_party_sink(scheme: str, url: str, schema: str | None, table_prefix: str | None) -> Sink | None:
    from importlib.metadata import entry_points  # here, because reading metadata is slow

    for point in entry_points(group=ENTRY_POINT_GROUP, name=scheme):
        try:
            made: Sink = point.load()(url, schema=schema, table_prefix=table_prefix)
        except Exception as problem:  # because a third party's code may raise anything, and its words may hold the URL
            raise SettingError(
                f"the sink for {scheme}:// ({point.value}) cannot be made: {type(problem).__name__}: "
                f"{hide_password(str(problem))}"
            ) from None
        return made
    return None


def hide_password(text: str) -> str:
    """A text with the passwords of the URLs in it replaced."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def describe(target: Any) -> str:
    """What people are shown of a sink: a URL without its password, or the type of an object."""
    if isinstance(target, str):
        return hide_password(USER_PASSWORD.sub(r"\1:***@", target))
    url = getattr(target, "url", None)
    if url is not None:
        return hide_password(url.render_as_string(hide_password=True) if hasattr(url, "render_as_string") else str(url))
    return type(target).__name__
