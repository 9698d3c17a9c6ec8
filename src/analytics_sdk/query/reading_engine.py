"""The engine that a SQL store is read with. SQLAlchemy is imported with this module."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from analytics_sdk.sinks.sqlite import file_of


def reading_engine(engine: Engine) -> Engine:
    """The engine to read with: for a SQLite file one of our own, else the sink's.

    Because the sink's SQLite connections begin as writers, and a reader must not wait for the write lock nor hold it.
    """
    path = file_of(engine.url) if engine.dialect.name == "sqlite" and engine.driver == "pysqlite" else None
    if path is None:
        return engine
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"  # because mode=rw makes no file where there is none

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        return connection

    own = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(own, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return own
