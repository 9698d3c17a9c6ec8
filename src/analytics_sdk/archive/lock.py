"""The lock of an archive's folder: for the sake of order, one archiver at a time works there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analytics_sdk.journal.private import open_private

LOCK_NAME = ".archive.lock"


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder that is there; False where another process does.

    Raises:
        OSError: the folder cannot be used.
    """
    descriptor = open_private(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
