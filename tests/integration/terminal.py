"""A terminal of a given width, in which a command is run as a person would."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CLI = (sys.executable, "-m", "analytics_sdk")


class Shown(NamedTuple):
    """What a terminal has seen, both streams together, and how the command ended."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.replace("\r\n", "\n").split("\n")


def environment_of(**changes: str) -> dict[str, str]:
    """The environment without our own variables and without what says how wide or colourful a terminal is."""
    known = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM"}
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_SDK_") and key not in known
    }
    return {**kept, "TERM": "xterm-256color", **changes}


def show(folder: Path, arguments: Sequence[str], columns: int = 80, **environment: str) -> Shown:
    """Run the command line in a terminal so many columns wide."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [*CLI, *arguments],
        cwd=folder,
        env=environment_of(**environment),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # because that is how Linux says that the other end is closed
                break
            if not block:
                break
            seen += block
        os.close(master)
        code = process.wait(timeout=60)
    return Shown(code, seen.decode())
