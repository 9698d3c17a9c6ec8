"""The demo's material: real files, some of them with a real fault, and a service on loopback that is often slow.

The seed decides which run meets which fault, so two demos do the same work.
"""

import csv
import gzip
import io
import json
import random
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from analytics_sdk.cli.demo_loop import Node, Workflow

CUSTOMERS = ("Åkesson & Söner", "Bäckerei Müller", "Café Zoë", "Dupont Frères", "Żabka Łódź", "Iñigo S.A.")
SLOW_SECONDS = 0.3
"""More than the loop waits at first, less than it waits when healing."""
INVOICE_FAULTS = {"": 55, "moved": 14, "cp1252": 12, "utf-16": 7, "gone": 5, "unreadable": 4, "no number": 3}
ARCHIVE_FAULTS = {"": 62, "damaged": 20, "cut, no backup": 10, "damaged, no backup": 8}
SERVICE_MOODS = {"prompt": 76, "slow": 19, "silent": 5}


def make_workflow(folder: Path, number: int, chance: random.Random, ports: dict[str, int]) -> Workflow:
    """The workflow of one execution, with the files that it needs; three kinds take turns."""
    place = folder / f"{number:05d}"
    (place / "incoming").mkdir(parents=True)
    make = (_make_invoices, _make_archive, _make_sync)[number % 3]
    return make(place, chance, ports)


def _pick(faults: dict[str, int], chance: random.Random) -> str:
    return chance.choices(list(faults), weights=list(faults.values()))[0]


def _make_rows(chance: random.Random) -> str:
    """A CSV of invoices; most are short, a few are long."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("customer", "number", "amount"))
    for number in range(min(20_000, int(chance.lognormvariate(7.2, 0.9)))):
        writer.writerow((chance.choice(CUSTOMERS[:4]), f"2024-{number:06d}", f"{chance.lognormvariate(5, 1):.2f}"))
    return text.getvalue()


def _make_invoices(place: Path, chance: random.Random, _: dict[str, int]) -> Workflow:
    fault = _pick(INVOICE_FAULTS, chance)
    text = _make_rows(chance)
    if fault == "no number":
        text += "Café Zoë,2024-999999,n/a\n"
    data = text.encode(fault if fault in ("cp1252", "utf-16") else "utf-8")
    if fault == "unreadable":
        data = b"\x81\x8d\xff" + data[1::2]
    path = place / "incoming" / "invoices.csv"
    written = place / "late" / path.name if fault == "moved" else path
    if fault != "gone":
        written.parent.mkdir(exist_ok=True)
        written.write_bytes(data)
    report = place / "totals.json"
    return Workflow(
        "invoices-import",
        [
            Node("read_invoices", "read_text", path),
            Node("parse_invoices", "parse_csv"),
            Node("sum_by_customer", "sum_amounts"),
            Node("write_totals", "write_json", report),
            Node("fingerprint_totals", "hash_file", report),
        ],
    )


def _make_archive(place: Path, chance: random.Random, _: dict[str, int]) -> Workflow:
    fault = _pick(ARCHIVE_FAULTS, chance)
    source = place / "incoming" / "ledger.csv"
    source.write_text(_make_rows(chance) * 3, "utf-8")
    packed = gzip.compress(source.read_bytes(), mtime=0)
    path = place / "ledger.csv.gz"
    if "no backup" not in fault:
        path.with_name(path.name + ".bak").write_bytes(packed)
    if fault.startswith("damaged"):
        packed = b"\x00\x00" + packed[2:]
    elif fault.startswith("cut"):
        packed = packed[: int(len(packed) * chance.choice((0.05, 0.9)))]
    path.write_bytes(packed)
    return Workflow(
        "nightly-archive",
        [
            Node("fingerprint_ledger", "hash_file", source),
            Node("compress_ledger", "compress", source),
            Node("unpack_last_night", "decompress", path),
            Node("count_entries", "count_lines"),
        ],
    )


def _make_sync(place: Path, chance: random.Random, ports: dict[str, int]) -> Workflow:
    orders, stock = place / "orders.json", place / "stock.json"
    return Workflow(
        "partner-sync",
        [
            Node("ask_orders", "ask", port=ports[_pick(SERVICE_MOODS, chance)]),
            Node("parse_orders", "parse_json"),
            Node("store_orders", "write_json", orders),
            Node("ask_stock", "ask", port=ports[_pick(SERVICE_MOODS, chance)]),
            Node("parse_stock", "parse_json"),
            Node("store_stock", "write_json", stock),
            Node("pack_stock", "compress", stock),
            Node("fingerprint_stock", "hash_file", stock),
        ],
    )


@contextmanager
def serve_partner() -> Iterator[dict[str, int]]:
    """A service for each mood, on loopback ports of its own: mood -> port. Gone on leaving."""
    closing = threading.Event()
    servers = {mood: _make_server(mood, closing) for mood in SERVICE_MOODS}
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers.values()]
    for thread in threads:
        thread.start()
    try:
        yield {mood: int(server.server_address[1]) for mood, server in servers.items()}
    finally:
        closing.set()
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def _make_server(mood: str, closing: threading.Event) -> socketserver.ThreadingTCPServer:
    orders = json.dumps([{"order": n, "lines": n % 7 + 1} for n in range(200)]).encode() + b"\n"

    class Partner(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            if mood == "prompt" or (mood == "slow" and not closing.wait(SLOW_SECONDS)):
                self._answer()
            elif mood == "silent":
                closing.wait(1.0)

        def _answer(self) -> None:
            with suppress(OSError):  # because who asked has lost patience and hung up
                self.wfile.write(orders)

    return socketserver.ThreadingTCPServer(("127.0.0.1", 0), Partner)
