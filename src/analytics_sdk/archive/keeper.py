"""The thread that compacts rollups about once an hour, and archives where `retention_days` is set.

It lives as long as a run, works for a moment and rests for longer, and is told to stop when the process forks or ends.
It has no lower priority than other threads, because one that holds the lock of the interpreter or of the database must
not be kept from going on by whatever else the machine does. This module is light; a run loads what it needs.
"""

import os
import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from analytics_sdk.archive.lock import LOCK_NAME
from analytics_sdk.config import Settings
from analytics_sdk.guard import logger, start_thread, trouble

EVERY_SECONDS = 3_600.0
FIRST_AFTER_SECONDS = 60.0
"""So long a process must have lived before it does so, because one that is soon over has no time for it."""
STOPPED_AFTER_SECONDS = 0.5
"""So long the end of the process waits at most for a run to stop. What it leaves unfinished is cleared by the next."""
REST_SECONDS = 0.003
"""In the background, after each thousand rows."""


class Keeper:
    """Compacts and archives in the background, about once an hour among all processes that share the archive's folder;
    where nothing is archived, each of them compacts."""

    def __init__(self, settings: Settings, gate: AbstractContextManager[object]) -> None:
        self._settings, self._gate = settings, gate
        self.thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._over = False
        self._pid = os.getpid()
        self.due = time.monotonic() + FIRST_AFTER_SECONDS

    def look(self) -> None:
        """Begin a run where one is due. Cheap, and raises nothing."""
        if self._over or time.monotonic() < self.due:
            return
        if self._pid != os.getpid():
            self._pid, self.thread = os.getpid(), None  # because the parent's threads do not run here
        self.due = time.monotonic() + EVERY_SECONDS
        # Where no database was used so far there is none to be kept, and a library would be loaded for nothing.
        if self.thread is None and "sqlalchemy" in sys.modules and not self._ran_lately():
            self._stop = threading.Event()
            self.thread = threading.Thread(target=self._run, name="analytics-sdk-archive", daemon=True)
            with suppress(RuntimeError):  # because the interpreter may be ending, or there is no room for a thread
                start_thread(self.thread)

    def stop(self, longest_seconds: float = STOPPED_AFTER_SECONDS, *, for_good: bool = True) -> None:
        """Have a run end now, and wait for it a while, because libraries that are in the middle of something do not
        like the end of the interpreter. The next comes in an hour, or never."""
        self._over = self._over or for_good
        thread = self.thread
        if thread is not None and self._pid == os.getpid() and thread.is_alive():
            self._stop.set()
            thread.join(longest_seconds)

    def _ran_lately(self) -> bool:
        """Whether a process that archives into our folder ran; those that do not archive know nothing of each other."""
        if self._settings.retention_days is None:
            return False
        try:
            age_seconds = time.time() - os.stat(self._settings.archive_dir / LOCK_NAME).st_mtime
        except OSError:
            return False
        return 0 <= age_seconds < EVERY_SECONDS - 60

    def _run(self) -> None:
        how: dict[str, Any] = {"rest_seconds": REST_SECONDS, "gate": self._gate, "should_stop": self._stop.is_set}
        try:
            self._compact(how)
            if self._settings.retention_days is not None and not self._stop.is_set():
                self._archive(how)
        finally:
            self.thread = None

    def _compact(self, how: dict[str, Any]) -> None:
        try:
            from analytics_sdk.archive.retention import compact_sinks  # here, because it loads what reads a database

            done = compact_sinks(self._settings, **how)
            logger.debug("rollups: %d days and %d weeks summed, %d left", done.days, done.weeks, done.left)
        except Exception as problem:  # because this is a thread of the host's process
            trouble("compact", "summing rollups failed: %s; answers come from the hours", problem, exc=problem)

    def _archive(self, how: dict[str, Any]) -> None:
        try:
            from analytics_sdk.archive.retention import archive_sinks  # here, because few programs archive

            done = archive_sinks(self._settings, **how)
            logger.debug("archive: %d files, %s rows in %.1f s", done.files, done.rows, done.seconds)
            _note_run(self._settings.archive_dir)
        except Exception as problem:  # because this is a thread of the host's process
            trouble("archive", "archiving failed: %s; the rows stay where they are", problem, exc=problem)


def _note_run(folder: Path) -> None:
    """Tell the other processes that they need not look for an hour."""
    with suppress(OSError):  # because a folder that is gone tells nobody anything
        os.utime(folder / LOCK_NAME)
