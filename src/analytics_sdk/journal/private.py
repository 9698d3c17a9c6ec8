"""Opens a file of a private folder: a plain file of this user's own, never a link, a pipe or a device."""

import os
import stat
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """A descriptor of the file, which is nobody else's to read where this makes it. Never waits for anybody.

    Raises:
        OSError: as `os.open`; and where it is no regular file, or belongs to another user.
    """
    # O_NONBLOCK, because opening a pipe would wait for somebody at its other end
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file")
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if flags & os.O_CREAT and stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(fd, 0o600)  # because the umask may have taken more than it should
    except BaseException:
        os.close(fd)
        raise
    return fd
