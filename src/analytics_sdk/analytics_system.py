"""The system of this process: made once, by whoever comes first, and followed by everything that records.

Everything heavy is imported where it is first needed: importing this module loads no database and no drawing library.
"""

import atexit
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from analytics_sdk.capture.active import active
from analytics_sdk.capture.context import current, latest_failed
from analytics_sdk.capture.recorder import Recorder
from analytics_sdk.capture.tracking import disabled_by_environment
from analytics_sdk.config import Settings, resolve
from analytics_sdk.errors import SettingError
from analytics_sdk.guard import forget_logged, logger, trouble

if TYPE_CHECKING:
    from analytics_sdk.system import AnalyticsSystem, MetricsCollector

__all__ = ["AnalyticsSystem", "MetricsCollector", "configure", "get_analytics_system", "set_enabled"]

REST_SECONDS = 0.2
"""So long a fork waits at most for the shipper to finish what it is at."""

_system: "AnalyticsSystem | None" = None
_earlier: "list[AnalyticsSystem]" = []
"""Closed ones in which executions are still open: they end there, at the end of the process at the latest."""
_pinned: Mapping[str, Any] = {}
"""Settings that beat what is given, while something stands in for this process's own system."""
_rests = False
_lock = threading.RLock()


def get_analytics_system(
    db_path: str | os.PathLike[str] | None = None,
    archive_dir: str | os.PathLike[str] | None = None,
    reports_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> "AnalyticsSystem":
    """The process's system. An argument that is left out means "keep": the same effective settings give the same
    object; with others, the old system is flushed (bounded) and closed, and everything follows the new one.

    Args:
        db_path: a SQLite file; the same as `sink="sqlite:///..."`.
        archive_dir: a folder, for rows that are archived.
        reports_dir: a folder, for reports that are given no path.
        settings: any of the settings.

    Raises:
        SettingError: a setting that was given cannot work.
    """
    given = {**settings, "archive_dir": archive_dir, "reports_dir": reports_dir}
    if db_path is not None:
        if settings.get("sink") is not None:
            raise SettingError("db_path and sink say the same thing twice; give one of them")
        path = os.fspath(db_path)
        given["sink"] = path if "://" in path else f"sqlite:///{path}"
    return _settled(given)


def configure(enabled: bool | None = None, **settings: Any) -> "AnalyticsSystem":
    """Set up the process's system; optional, because the first tracked call does it with the defaults.

    Args:
        enabled: False turns capture off for this process, True on again; ids stay real.
        settings: any of the settings; what is left out is kept.

    Raises:
        SettingError: a setting that was given cannot work.
    """
    system = _settled(settings)
    if enabled is not None:
        set_enabled(enabled)
    return system


def set_enabled(enabled: bool) -> None:
    """Turn capture on or off for this process. ANALYTICS_SDK_DISABLED beats it."""
    with _lock:
        active.enabled = bool(enabled) and not disabled_by_environment()
        if not active.enabled:
            active.recorder = None
        elif _system is not None and not _system.closed:
            active.recorder = _system.recorder


def _settled(given: dict[str, Any], *, check: bool = True) -> "AnalyticsSystem":
    global _system, _earlier
    with _lock:
        before = _system
        old = before if before is not None and not before.closed else None
        if old is not None and not any(value is not None for value in given.values()):
            return old
        given = {**_pinned, **{name: value for name, value in given.items() if value is not None}}
        settings = replace(resolve(given, keep=None if before is None else before.settings), **_pinned)
        if old is not None and settings == old.settings:
            return old
        from analytics_sdk.system import AnalyticsSystem  # here, because importing us must cost little

        new = AnalyticsSystem(settings, check=check and not disabled_by_environment())
        earlier = [one for one in (*_earlier, before) if one is not None and one.recorder.open_executions]
        if _system is not before:  # because a signal handler that recorded something has made one meanwhile
            return _settled(given, check=check)
        _system, _earlier = new, earlier
        active.bootstrap = _bootstrap
        _rest_at_forks()
        active.enabled = active.enabled and not disabled_by_environment()
        active.recorder = new.recorder if active.enabled else None
        _log_settings(settings)
    if old is not None:
        interval_seconds = old.monitoring_interval_seconds
        old.close(timeout=settings.exit_timeout_seconds)
        if interval_seconds is not None:
            new.start_resource_monitoring(interval_seconds)
    return new


@dataclass(slots=True)
class _Place:
    """What this process has, or had before something stood in for it."""

    pinned: Mapping[str, Any]
    system: "AnalyticsSystem | None" = None
    earlier: "list[AnalyticsSystem]" = field(default_factory=list)
    recorder: Recorder | None = None
    enabled: bool = True


_covered: dict[object, _Place] = {}
"""What each `stand_in` that is open now has covered, in the order of their beginnings."""


def _put(place: _Place) -> _Place:
    """Have what a place holds; what was there before."""
    global _system, _earlier, _pinned
    was = _Place(_pinned, _system, _earlier, active.recorder, active.enabled)
    _pinned, _system, _earlier = place.pinned, place.system, place.earlier
    active.recorder, active.enabled, active.bootstrap = place.recorder, place.enabled, _bootstrap
    return was


@contextlib.contextmanager
def stand_in(pinned: Mapping[str, Any]) -> Iterator[None]:
    """Within the block this process is as if nobody had set it up; afterwards it is as before, and what was set up
    inside is ended and closed. For tests. It is the whole process, all threads; blocks may be nested, and end in any
    order.

    `pinned`: settings that nobody changes inside, as they stand in `Settings`.
    """
    me = object()
    with _lock:
        _covered[me] = _put(_Place(pinned, enabled=not disabled_by_environment()))
    forget_logged()
    around = current.get(), latest_failed.get()
    current.set(None)
    latest_failed.set(None)
    try:
        yield
    finally:
        current.set(around[0])
        latest_failed.set(around[1])
        with _lock:
            later = list(_covered)[list(_covered).index(me) + 1 :]
            if later:  # because blocks of two threads may overlap: what that one covered is ours, which is over
                made, _covered[later[0]] = _covered[later[0]], _covered.pop(me)
            else:
                made = _put(_covered.pop(me))
        for system in (*made.earlier, made.system):
            if system is not None:
                system.end()


def _log_settings(settings: Settings) -> None:
    from analytics_sdk.sinks import describe  # here, because importing us must cost little

    if disabled_by_environment():
        logger.debug("off: ANALYTICS_SDK_DISABLED is true")
    shown = {name: getattr(settings, name) for name in settings.sources if name not in ("sink", "clock")}
    logger.debug(
        "settings: sink=%s, %s",
        ", ".join(describe(sink) for sink in settings.sinks),
        ", ".join(f"{name}={value} ({settings.sources[name]})" for name, value in shown.items()),
    )


def _bootstrap() -> Recorder | None:
    """Make the default system, inside the host's first tracked call: what is wrong is logged, never raised."""
    try:
        with _lock:
            if active.recorder is None and active.enabled:
                if disabled_by_environment():
                    active.enabled = False
                    return None
                system = _settled({}, check=False)
                if not system.writer.is_empty():
                    system.shipper.ensure_started()
                active.recorder = system.recorder
            return active.recorder
    except Exception as problem:  # because we are inside the host's loop
        active.bootstrap = None  # so that it is tried once, and the user may still configure what can work
        trouble("start", "nothing is recorded: %s", problem, exc=problem)
        return None


def _at_exit() -> None:
    for system in (*_earlier, _system):
        if system is not None:
            system.end_process()
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        _interrupt_again()


def _interrupt_again() -> None:
    """Have the interpreter end as it would have ended without us: by SIGINT, after an interrupt that nobody caught.

    It remembers that in a flag which the next compiled text that is run takes back, and libraries that are imported
    at exit run some.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # because only running a text sets the flag again


def _before_fork() -> None:
    """Have no thread of ours while a host without threads forks, because Python warns of threads then from 3.12 on.

    It starts again with the next tracked call, and not in the parent's hook, because Python counts after that. A host
    with threads of its own is warned in any case, and shall not wait for ours.
    """
    global _rests
    if _system is not None and threading.active_count() <= 3:  # as below, and a run of the archive
        _system.keeper.stop(REST_SECONDS, for_good=False)
    alone = threading.active_count() <= 2  # the host's thread and the shipper's
    _rests = _system is not None and alone and _system.shipper.rest(REST_SECONDS)


@functools.cache
def _rest_at_forks() -> None:
    """From now on. Not at import, because what runs before a fork runs in reverse order, and the shipper's thread must
    be gone before its sinks are held."""
    if sys.version_info >= (3, 12) and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)


def _after_fork_in_parent() -> None:
    if _rests and _system is not None and active.recorder is _system.recorder:
        active.recorder = None  # so that the next tracked call comes by _bootstrap


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # because another thread of the parent may have held it at that moment
    if _system is not None:
        _system.forget_threads()


active.bootstrap = _bootstrap
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def __getattr__(name: str) -> Any:
    if name in ("AnalyticsSystem", "MetricsCollector"):
        import analytics_sdk.system as parts  # here, because it loads the journal

        return getattr(parts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
