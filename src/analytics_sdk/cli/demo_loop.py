"""The demo's program: a small loop that runs workflows of real work on real files, and heals what it can.

It stands for the program that nobody may edit, so it knows nothing of analytics: the demo watches it from outside.
"""

import csv
import gzip
import hashlib
import io
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ANSWER_LIMIT_SECONDS = 0.2
PATIENT_LIMIT_SECONDS = 0.6
OTHER_ENCODINGS = ("utf-16", "cp1252")


@dataclass(frozen=True)
class Node:
    """One step of a workflow: what to do, and on which file or port."""

    node_id: str
    action_type: str
    path: Path | None = None
    port: int = 0


@dataclass(frozen=True)
class Workflow:
    workflow_id: str
    nodes: list[Node]


@dataclass(frozen=True)
class Recovery:
    """What a strategy came to; `value` takes the place of what the step should have yielded."""

    strategy_used: str
    success: bool
    value: object = None
    error: str | None = None


class ExecutionLoop:
    """Runs the nodes of a workflow in order. Where one raises, it asks the healer before it gives up."""

    def __init__(self, healer: "SelfHealing") -> None:
        self.healer = healer
        self.value: object = None

    def execute_workflow(self, workflow: Workflow) -> object:
        """Run every node; what the last one yielded.

        Raises:
            Exception: what a node raised and no strategy could heal.
        """
        self.value = None
        for node in workflow.nodes:
            try:
                self.value = self._execute_node(node)
            except Exception as error:
                recovery = self.healer.handle_execution_failure(node, error)
                if recovery is None or not recovery.success:
                    raise
                self.value = recovery.value
        return self.value

    def _execute_node(self, node: Node) -> object:
        return ACTIONS[node.action_type](node, self.value)


class SelfHealing:
    """Knows, for each kind of error, what is worth a try."""

    def handle_execution_failure(self, node: Node, error: Exception) -> Recovery | None:
        """Try the strategies for an error in turn; the first that worked, else the last, None where there is none."""
        recovery = None
        for strategy in STRATEGIES.get(type(error), ()):
            recovery = self.try_strategy(strategy, node)
            if recovery.success:
                break
        return recovery

    def try_strategy(self, strategy: Callable[[Node], object], node: Node) -> Recovery:
        """One attempt."""
        try:
            return Recovery(strategy.__name__, True, strategy(node))
        except Exception as error:
            return Recovery(strategy.__name__, False, error=f"{type(error).__name__}: {error}")


# ---------------------------------------------------------------- what nodes do


def file_of(node: Node) -> Path:
    """The file that a node works on."""
    if node.path is None:
        raise ValueError(f"{node.node_id} names no file")
    return node.path


def read_text(node: Node, _: object) -> str:
    return file_of(node).read_bytes().decode("utf-8")


def parse_csv(_: Node, text: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(str(text))))


def sum_amounts(_: Node, rows: object) -> dict[str, float]:
    """Totals by customer. A cell that is no number is an error, because a wrong total is worse than none."""
    totals: dict[str, float] = {}
    for row in rows if isinstance(rows, list) else []:
        totals[row["customer"]] = totals.get(row["customer"], 0.0) + float(row["amount"])
    return totals


def write_json(node: Node, value: object) -> Path:
    path = file_of(node)
    path.write_text(json.dumps(value, indent=1, sort_keys=True), "utf-8")
    return path


def hash_file(node: Node, _: object) -> str:
    return hashlib.sha256(file_of(node).read_bytes()).hexdigest()


def compress(node: Node, _: object) -> Path:
    path = file_of(node)
    packed = path.with_name(path.name + ".new.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), compresslevel=9, mtime=0))
    return packed


def decompress(node: Node, _: object) -> bytes:
    return gzip.decompress(file_of(node).read_bytes())


def count_lines(_: Node, data: object) -> int:
    return data.count(b"\n") if isinstance(data, bytes) else 0


def ask(node: Node, _: object) -> bytes:
    return _ask(node.port, ANSWER_LIMIT_SECONDS)


def _ask(port: int, limit_seconds: float) -> bytes:
    """Ask the service on a loopback port; its answer.

    Raises:
        TimeoutError: it did not answer within the limit.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=limit_seconds) as connection:
        connection.sendall(b"orders\n")
        with connection.makefile("rb") as answer:
            return answer.readline()


def parse_json(_: Node, data: object) -> object:
    return json.loads(data if isinstance(data, bytes | str) else "")


ACTIONS: dict[str, Callable[[Node, object], object]] = {
    action.__name__: action
    for action in (
        read_text,
        parse_csv,
        sum_amounts,
        write_json,
        hash_file,
        compress,
        decompress,
        count_lines,
        ask,
        parse_json,
    )
}


# ---------------------------------------------------------------- what healing tries


def look_next_door(node: Node) -> str:
    """The file was put into a neighbouring folder."""
    path = file_of(node)
    for found in sorted(path.parent.parent.glob(f"*/{path.name}")):
        return found.read_bytes().decode("utf-8")
    raise FileNotFoundError(f"no {path.name} in the folders next to {path.parent.name}")


def try_other_encodings(node: Node) -> str:
    """Somebody exported with another encoding: the first that reads the header."""
    data = file_of(node).read_bytes()
    for encoding in OTHER_ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeError:
            continue
        if text.startswith("customer,"):
            return text
    raise ValueError(f"{file_of(node).name} is in none of {', '.join(OTHER_ENCODINGS)}")


def restore_from_backup(node: Node) -> bytes:
    """Put the backup in the place of the damaged archive, and read that."""
    path = file_of(node)
    shutil.copyfile(path.with_name(path.name + ".bak"), path)
    return gzip.decompress(path.read_bytes())


def salvage_beginning(node: Node) -> bytes:
    """Keep what can be read before the damage, if that is at least half of the archive."""
    damaged = file_of(node).read_bytes()
    kept = bytearray()
    with gzip.open(io.BytesIO(damaged)) as archive:
        try:
            while block := archive.read1(1024):
                kept += block
        except (EOFError, OSError, ValueError, ArithmeticError):
            pass
    if len(kept) < len(damaged) * 4:
        raise ValueError(f"only {len(kept)} bytes of {file_of(node).name} can be read")
    return bytes(kept)


def wait_longer(node: Node) -> bytes:
    """Ask once more, with three times the patience."""
    return _ask(node.port, PATIENT_LIMIT_SECONDS)


STRATEGIES: dict[type[Exception], tuple[Callable[[Node], object], ...]] = {
    FileNotFoundError: (look_next_door,),
    UnicodeDecodeError: (try_other_encodings,),
    gzip.BadGzipFile: (restore_from_backup, salvage_beginning),
    EOFError: (restore_from_backup, salvage_beginning),
    TimeoutError: (wait_longer,),
}
