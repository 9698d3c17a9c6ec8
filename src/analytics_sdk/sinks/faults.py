"""What a database or its driver raised, told in our words: try again, somebody must act, or leave this record out.

Messages carry the first line of what the database said, and never parameters, detail lines or passwords.
"""

import sqlite3

from sqlalchemy.exc import DBAPIError, StatementError

from analytics_sdk.errors import AnalyticsError, RejectedRecord, SinkError, SinkMisconfigured, SinkUnavailable

_SQLITE_MISCONFIGURED = frozenset({1, 3, 8, 11, 14, 23, 26})
"""Primary result codes: ERROR (no such table), PERM, READONLY, CORRUPT, CANTOPEN, AUTH, NOTADB."""
_SQLITE_REJECTED = frozenset({18, 19, 20, 25})
"""TOOBIG, CONSTRAINT, MISMATCH, RANGE."""

_STATE_MISCONFIGURED = ("28", "3D", "3F", "42", "0A", "0L", "0P", "25006", "F0")
"""SQLSTATE beginnings: credentials, database, schema, names and rights, features, read-only."""
_STATE_REJECTED = ("22", "23", "54", "21", "08P01")
"""Values, integrity, limits of a row; and a COPY whose binary values the server cannot read."""

_CLICKHOUSE_MISCONFIGURED = frozenset({16, 36, 47, 57, 60, 62, 81, 115, 164, 192, 193, 194, 195, 446, 452, 497, 516})
"""No such column or name, bad argument, table that is there, no such table, syntax, no such database or setting,
read-only, no such user, wrong or missing password, no right."""
_CLICKHOUSE_REJECTED = frozenset({6, 33, 53, 69, 70, 117, 321, 349})
"""Text or data that cannot be parsed, types that do not fit, out of bounds, NULL where there may be none."""
_CLICKHOUSE_NO_TABLE, _CLICKHOUSE_NO_COLUMN = {60, 81}, {16, 47}

_REFUSALS = (
    "password",
    "authentication",
    "pg_hba.conf",
    "no encryption",
    "certificate",
    "permission denied",
    "does not exist",
    "invalid connection option",
    "invalid dsn",
    "role ",
)
"""Words of a refused connection, because libpq reports no SQLSTATE before there is a connection."""

_NO_TABLE, _NO_COLUMN = "42P01", "42703"
_OF_VALUES = (OverflowError, UnicodeError, TypeError, ValueError)


def sink_error(problem: Exception, shown: str, password: str | None = None) -> SinkError:
    """The error of ours that stands for one of a driver's. `shown` is the sink without its password."""
    if isinstance(problem, SinkError):
        return problem
    if isinstance(problem, AnalyticsError):
        return SinkMisconfigured(str(problem))
    cause: BaseException = problem
    if isinstance(problem, StatementError) and problem.orig is not None:
        cause = problem.orig
    gone = isinstance(problem, DBAPIError) and problem.connection_invalidated
    kind: type[SinkError] = SinkUnavailable if gone else _kind_of(cause)
    said = _first_line(cause)
    if password:
        said = said.replace(password, "***")
    advice = {
        SinkUnavailable: "it is tried again",
        SinkMisconfigured: "somebody must put this right",
        RejectedRecord: "this value cannot be kept",
    }[kind]
    code = getattr(cause, "code", None)
    if getattr(cause, "sqlstate", None) == _NO_TABLE or "no such table" in said or code in _CLICKHOUSE_NO_TABLE:
        advice = "its tables are not there, or are of an older version: run `analytics-sdk db upgrade --db URL`"
    if getattr(cause, "sqlstate", None) == _NO_COLUMN or "no such column" in said or code in _CLICKHOUSE_NO_COLUMN:
        advice = "its tables are of an older version: run `analytics-sdk db upgrade --db URL`"
    return kind(f"{shown}: {said} ({type(cause).__name__}); {advice}")


def _kind_of(cause: BaseException) -> type[SinkError]:
    if isinstance(cause, sqlite3.Error):
        return _sqlite_kind(cause)
    if isinstance(cause, ImportError):
        return SinkMisconfigured
    code = getattr(cause, "code", None)
    if isinstance(code, int) and type(cause).__module__.startswith("clickhouse_connect"):
        return _clickhouse_kind(code)
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return _state_kind(str(state))
    names = {parent.__name__ for parent in type(cause).__mro__}
    if isinstance(cause, _OF_VALUES) or "DataError" in names or "IntegrityError" in names:
        return RejectedRecord
    said = str(cause).lower()
    if "client has been closed" in said:  # because ClickHouse in process closes its clients when the process ends
        return SinkUnavailable
    if "OperationalError" in names:
        return SinkMisconfigured if any(word in said for word in _REFUSALS) else SinkUnavailable
    if "ProgrammingError" in names:
        return RejectedRecord if "cannot adapt" in said else SinkMisconfigured
    return SinkUnavailable


def _sqlite_kind(cause: sqlite3.Error) -> type[SinkError]:
    code = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        # Because the module's own complaints have no code: a value that it cannot bind, or a connection closed.
        bound = isinstance(cause, sqlite3.DataError) or "binding" in str(cause) or "not supported" in str(cause)
        return RejectedRecord if bound else SinkUnavailable
    if code & 0xFF in _SQLITE_REJECTED:
        return RejectedRecord
    return SinkMisconfigured if code & 0xFF in _SQLITE_MISCONFIGURED else SinkUnavailable


def _clickhouse_kind(code: int) -> type[SinkError]:
    if code in _CLICKHOUSE_REJECTED:
        return RejectedRecord
    return SinkMisconfigured if code in _CLICKHOUSE_MISCONFIGURED else SinkUnavailable


def _state_kind(state: str) -> type[SinkError]:
    if state.startswith(_STATE_REJECTED):
        return RejectedRecord
    return SinkMisconfigured if state.startswith(_STATE_MISCONFIGURED) else SinkUnavailable


def _first_line(cause: BaseException) -> str:
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    said = str(primary or cause).strip()
    return said.partition("\n")[0][:300] or "no reason given"
