"""A disk of a few bytes for one program: a real tmpfs in a mount namespace of its own, gone when the program ends."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

MOUNT = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'


def run_on_small_disk(code: str, disk: Path, size: str) -> Any:
    """Run a program whose folder `disk` is a disk of that size; the JSON that it printed last.

    The disk's folder is the program's first argument, the folder around it, which has room, the second.
    """
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode:
        pytest.skip("no user namespaces here (unshare -rm)")
    disk.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(disk), str(disk.parent)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, "sh", size, str(disk), *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=disk.parent,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])
