"""Settings: argument > environment `ANALYTICS_SDK_<NAME>` > `[tool.analytics_sdk]` in pyproject.toml > default.

`SETTINGS` is the one table; the documentation and the command line are made from it. Nothing is read at import.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import SettingError
from analytics_sdk.redaction import redact

ENVIRONMENT_PREFIX = "ANALYTICS_SDK_"
DEFAULT_SINK = "sqlite:///analytics.db"
MIN_FREE_BYTES = 512 * 1024 * 1024
KEEP: Any = None
"""An argument that was left out: what is in effect stays."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `parse` turns text or a value into the setting, or raises ValueError with the reason."""

    name: str
    default: Any
    parse: Callable[[Any], Any]
    meaning: str


def _number(low: float, high: float = float("inf")) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError(f"must be a number from {low:g}" + ("" if high == float("inf") else f" to {high:g}"))
        return number

    return parse


def parse_bytes(value: Any) -> int:
    """A size: a whole number of bytes, or text such as "512 MiB"."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(?:([KMGT])(?:i?B)?|B)?\s*", value, re.IGNORECASE)
        if not match:
            raise ValueError('must be a number of bytes, or text such as "512 MiB"')
        value = int(match[1]) << (10 * " KMGT".index(match[2].upper()) if match[2] else 0)
    if isinstance(value, bool) or int(value) != value or value < 1024 * 1024:
        raise ValueError("must be at least 1 MiB")
    return int(value)


def parse_bool(value: Any) -> bool:
    """True or false, or one of the usual words for them."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", ""):
        return False
    raise ValueError("must be true or false")


def _choice(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return parse


def _folder(value: Any) -> Path:
    return Path(os.path.abspath(os.path.expanduser(os.fspath(value))))


def _name(value: Any) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,30}", str(value)):
        raise ValueError("must be 1 - 31 of a-z, 0-9 and _, not beginning with a digit")
    return str(value)


def _optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None or value == "" else parse(value)


def _sink(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("must name at least one sink")
        return tuple(_sink(one) for one in value)
    if isinstance(value, os.PathLike):
        value = f"sqlite:///{os.fspath(value)}"
    if not isinstance(value, str):
        return value
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+._-]*://", value):
        raise ValueError("must be a database URL such as sqlite:///analytics.db or postgresql://user@host/db")
    match = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^/?:][^?]*)(\?.*)?", value)
    if match:
        value = f"{match[1]}:///{os.path.abspath(match[2])}{match[3] or ''}"
    return value


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("sink", DEFAULT_SINK, _sink, "database URL, SQLAlchemy Engine, Sink, or a list of them"),
        Setting("journal_dir", None, _optional(_folder), "where journals stand until they are delivered"),
        Setting(
            "journal_max_bytes", 2 << 30, parse_bytes, "quota of the journals; 512 MiB of disk are always left free"
        ),
        Setting("on_full", "drop", _choice("drop", "block"), "at the quota: drop and count, or block the host"),
        Setting("flush_interval_seconds", 1.0, _number(0.05, 3600), "how often what was recorded is delivered"),
        Setting("exit_timeout_seconds", 1.0, _number(0, 3600), "how long the end of the process may wait for delivery"),
        Setting("realtime", True, parse_bool, "keep live state in memory; off saves its cost"),
        Setting("resource_interval_seconds", 60.0, _number(0.1, 86400), "how often CPU, memory and GPUs are looked at"),
        Setting("retention_days", None, _optional(_number(0.01)), "raw rows older than this go to archive_dir"),
        Setting("archive_dir", None, _optional(_folder), "where archived rows go; default beside the sink's file"),
        Setting("reports_dir", None, _optional(_folder), "where reports go; default beside the sink's file"),
        Setting("schema", None, _optional(_name), "database schema; default analytics_sdk on a server, none on SQLite"),
        Setting("table_prefix", None, _optional(_name), "put before each table name"),
        Setting("clock", SYSTEM_CLOCK, lambda value: value, "what tells the time; for tests"),
    )
}

ALIASES = {"buffer_size": "journal_max_bytes"}


@dataclass(frozen=True)
class Settings:
    """The settings in effect, each with where it came from."""

    sink: Any
    journal_dir: Path | None
    journal_max_bytes: int
    on_full: Literal["drop", "block"]
    flush_interval_seconds: float
    exit_timeout_seconds: float
    realtime: bool
    resource_interval_seconds: float
    retention_days: float | None
    archive_dir: Path
    reports_dir: Path
    schema: str | None
    table_prefix: str | None
    clock: Clock
    sources: Mapping[str, str] = field(compare=False, default_factory=dict)
    """Setting name -> "argument", "environment", "pyproject" or "default"."""

    def __repr__(self) -> str:
        """Without passwords, because settings are printed and logged."""
        shown = {name: getattr(self, name) for name in SETTINGS}
        shown["sink"] = ", ".join(
            without_password(sink) if isinstance(sink, str) else redact(repr(sink)) for sink in self.sinks
        )
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def sinks(self) -> tuple[Any, ...]:
        """The sinks as a tuple, also where there is one."""
        return self.sink if isinstance(self.sink, tuple) else (self.sink,)


def resolve(given: Mapping[str, Any], keep: Settings | None = None) -> Settings:
    """The settings in effect. What is not given, or None, is kept from `keep`, else looked up.

    Raises:
        SettingError: an unknown name, or a value that cannot work; the message says what would.
    """
    given = {ALIASES.get(name, name): value for name, value in given.items() if value is not None}
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise SettingError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(SETTINGS)}")
    from_file = read_pyproject()
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        value, source = _look_up(setting, given, keep, from_file)
        values[name] = value if source == "kept" else _parsed(setting, value, source)
        sources[name] = keep.sources[name] if source == "kept" and keep is not None else source
    sink_changed = keep is not None and values["sink"] != keep.sink
    for name in ("journal_dir", "archive_dir", "reports_dir"):
        if values[name] is None or (sink_changed and sources[name] == "default"):
            values[name] = _default_folder(name, values["sink"])
    return Settings(**values, sources=sources)


def _look_up(
    setting: Setting, given: Mapping[str, Any], keep: Settings | None, file: Mapping[str, Any]
) -> tuple[Any, str]:
    if setting.name in given:
        return given[setting.name], "argument"
    if keep is not None:
        return getattr(keep, setting.name), "kept"
    variable = os.environ.get(ENVIRONMENT_PREFIX + setting.name.upper())
    if variable is not None and setting.name != "clock":
        return variable, "environment"
    if setting.name in file:
        return file[setting.name], "pyproject"
    return setting.default, "default"


def _parsed(setting: Setting, value: Any, source: str) -> Any:
    try:
        return setting.parse(value)
    except (ValueError, TypeError, OverflowError) as problem:
        shown = "its value" if setting.name == "sink" else redact(repr(value))
        said = problem if setting.name == "sink" else redact(str(problem))  # because the sink's shows an example
        raise SettingError(f"setting {setting.name} ({source}): {shown} cannot be used; it {said}") from None


def read_pyproject(start: Path | None = None) -> dict[str, Any]:
    """The settings of `[tool.analytics_sdk]` in pyproject.toml; empty where there are none.

    Raises:
        SettingError: as `find_pyproject`.
    """
    section = find_pyproject(start)[1]
    return {ALIASES.get(name, name): value for name, value in section.items() if name != "instrument"}


def find_pyproject(start: Path | None = None) -> tuple[Path | None, dict[str, Any]]:
    """The nearest pyproject.toml at or above the working folder, and its whole `[tool.analytics_sdk]`.

    Raises:
        SettingError: the file is there and is no TOML.
    """
    import tomllib  # here, because it is slow to load, and only the start of a system needs it

    try:
        here = (start or Path.cwd()).resolve()
    except OSError:  # because the working folder may be gone
        return None, {}
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            return file, tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("analytics_sdk", {})
        except (OSError, ValueError) as problem:
            raise SettingError(f"{file} cannot be read: {problem}; mend it, or run elsewhere") from None
    return None, {}


def sqlite_file(sink: Any) -> Path | None:
    """The file of a SQLite URL or engine; None for anything else, and for a database in memory."""
    if isinstance(sink, tuple):
        sink = sink[0]
    url = str(sink) if isinstance(sink, str) else str(getattr(sink, "url", ""))
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", url)
    if not match or match[1] == ":memory:" or "mode=memory" in url:
        return None
    return Path(os.path.abspath(match[1]))


USER_PASSWORD = re.compile(r"(?<=://)([^/@:]*):(?!\d{1,5}/)(?:[^?]*|[^@]*)@", re.DOTALL)
"""Up to the last @ before the options, else up to the first: a password may hold what ought to be escaped in it."""
_SECRET_OPTION = re.compile(r"([?&]\w*(?:password|secret|token)\w*=)[^&]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """A database URL as it may be shown and as it names a folder."""
    return _SECRET_OPTION.sub(r"\1", USER_PASSWORD.sub(r"\1@", url))


def state_folder() -> Path:
    """The user's folder for state (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")) / "analytics-sdk"


def _default_folder(name: str, sink: Any) -> Path | None:
    file = sqlite_file(sink)
    first = sink[0] if isinstance(sink, tuple) else sink
    url = first if isinstance(first, str) else str(getattr(first, "url", ""))
    if name == "journal_dir":
        if file is not None:
            return file.with_name(file.name + ".journals")
        if not url or url.startswith(("sqlite", "memory:")):
            return None  # because what lives in this process's memory needs a folder of its own, made when it starts
        import hashlib  # here, because most systems keep their journals beside a file

        shown = without_password(url)
        slug = re.sub(r"[^a-z0-9]+", "-", shown.lower()).strip("-")[:40]
        return state_folder() / f"{slug}-{hashlib.sha256(shown.encode()).hexdigest()[:12]}.journals"
    return _beside(sink, {"archive_dir": "archive", "reports_dir": "reports"}[name])


def default_archive_dir(sink: Any) -> Path:
    """Where the archive of a sink, given as URL or engine, stands if nobody says so: beside its file."""
    return _beside(sink, "archive")


def _beside(sink: Any, name: str) -> Path:
    file = sqlite_file(sink)
    return (file.parent if file is not None else Path.cwd()) / name


def with_folder(settings: Settings, journal_dir: Path) -> Settings:
    """The same settings with the journals elsewhere."""
    return replace(settings, journal_dir=journal_dir)
