"""What a process and its descendants use, though they come and go: real processes, which wait for our word."""

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from analytics_sdk.capture.process_tree import ProcessTree, Seen

WORKER = """
import os, subprocess, sys, time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
def write(size):
    with open(sys.argv[1], "wb") as file:
        file.write(bytes(size))
        os.fsync(file.fileno())
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
MEGABYTE = 1 << 20


class Worker:
    """A child that runs a line whenever it is told to."""

    def __init__(self, place: str, *inherited: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=inherited,
        )
        self.pid = self._process.pid

    def do(self, line: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def children(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.pid).children()]

    def end(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture
def place(tmp_path: Any) -> str:
    return str(tmp_path / "written")


@pytest.fixture
def worker(place: str) -> Iterator[Worker]:
    made = Worker(place)
    made.do("pass")
    yield made
    made.end()


def cpu_of(seen: Seen) -> float:
    assert seen.cpu_seconds is not None
    return seen.cpu_seconds


def written_by(seen: Seen) -> int:
    if seen.written_bytes is None:
        pytest.skip("this system does not tell what a process writes")
    return seen.written_bytes


def seconds_used() -> float:
    """CPU time of this process and of the children that it has collected, as the kernel counts it."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def test_a_child_counts_while_it_lives(worker: Worker) -> None:
    """Its memory, its CPU and what it writes."""
    tree = ProcessTree(os.getpid())
    before = tree.look()
    worker.do("held = bytes(50_000_000); held = held[:-1] + b'1'; burn(0.3)")
    worker.do(f"write({8 * MEGABYTE})")
    after = tree.look()
    assert worker.pid in after.pids
    assert cpu_of(after) - cpu_of(before) >= 0.28
    assert (after.rss_bytes or 0) - (before.rss_bytes or 0) > 40_000_000
    assert written_by(after) - written_by(before) >= 8 * MEGABYTE


def test_what_a_child_used_stays_counted_once_when_it_has_ended(place: str) -> None:
    """The kernel gives it to the parent that collects it, on top of what was seen while it lived."""
    tree, began = ProcessTree(os.getpid()), seconds_used()
    start = tree.look()
    worker = Worker(place)
    worker.do(f"burn(0.4); write({8 * MEGABYTE})")
    alive = tree.look()
    worker.do("burn(0.2)")
    worker.end()
    ended = tree.look()
    used = seconds_used() - began
    assert worker.pid not in ended.pids
    assert used - 0.05 <= cpu_of(ended) - cpu_of(start) <= used + 0.25
    assert cpu_of(alive) <= cpu_of(ended)
    assert 8 * MEGABYTE <= written_by(ended) - written_by(start) < 12 * MEGABYTE


def test_a_child_that_no_look_met_counts_too(place: str) -> None:
    tree = ProcessTree(os.getpid())
    start = tree.look()
    worker = Worker(place)
    worker.do(f"burn(0.3); write({8 * MEGABYTE})")
    worker.end()
    end = tree.look()
    assert cpu_of(end) - cpu_of(start) >= 0.28
    assert written_by(end) - written_by(start) >= 8 * MEGABYTE


def test_what_a_grandchild_used_stays_counted_when_it_ends_with_its_parent(place: str) -> None:
    """Through an ancestor that nobody can ask any more."""
    tree, began = ProcessTree(os.getpid()), seconds_used()
    start = tree.look()
    worker = Worker(place)
    nested = f"child = subprocess.Popen([sys.executable, '-c', {WORKER!r}, {place!r}], stdin=-1, stdout=-1, text=True)"
    worker.do(nested)
    worker.do("child.stdin.write('burn(0.4)\\n'); child.stdin.flush(); child.stdout.readline()")
    alive = tree.look()
    family = {worker.pid, *worker.children()}
    assert len(family) == 2 and family <= set(alive.pids)
    worker.do("child.communicate()")
    worker.end()
    ended = tree.look()
    used = seconds_used() - began
    assert used - 0.05 <= cpu_of(ended) - cpu_of(start) <= used + 0.25


def test_a_child_that_leaves_the_tree_alive_takes_nothing_away(place: str) -> None:
    """It is handed to another parent when its own ends; what that one had used counts in full."""
    tree = ProcessTree(os.getpid())
    reading, writing = os.pipe()
    worker = Worker(place, reading)
    os.close(reading)
    worker.do(f"program = [sys.executable, '-c', {WORKER!r}, '']")
    worker.do(f"child = subprocess.Popen(program, stdin={reading}, stdout=-1, text=True)")
    os.write(writing, b"burn(0.4)\n")
    worker.do("child.stdout.readline()")
    family = {worker.pid, *worker.children()}
    before = tree.look()
    worker.do("burn(0.4)")
    worker.end()
    after = tree.look()
    os.close(writing)
    assert len(family) == 2 and family <= set(before.pids) and not family & set(after.pids)
    assert cpu_of(after) - cpu_of(before) >= 0.35
