"""What stands in a journal is untrusted: whatever a record that verifies says, it costs itself and nothing else."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_sdk.events import RECORD_TYPES
from analytics_sdk.journal.owner import Identity, identity_in, owner_path
from analytics_sdk.journal.writer import JournalWriter
from analytics_sdk.query import Query
from analytics_sdk.reporting.html import render_html
from analytics_sdk.reporting.report_generator import ReportConfig, ReportGenerator
from analytics_sdk.reporting.tabular import render_csv, render_json
from analytics_sdk.shipper.once import Shipment, ship_once
from analytics_sdk.sinks import make_sink
from analytics_sdk.vocabulary import NO_START, Kind

AT = 1_790_000_000_000_000_000
GOOD = (Kind.STEP_END, (NO_START, "e", "w", 1, "good", None, AT, 0, 1_000_000))
HUGE = [-(1 << 63), -1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def deliver(folder: Path, payloads: list[tuple[int, bytes]]) -> tuple[Shipment, dict[str, int], Any]:
    """Write a good record, the payloads as they are, and another good one, each with a checksum that is right; deliver
    all of it. What the pass did, the losses by reason, and the sink."""
    writer = JournalWriter(folder / "j", min_free_bytes=0)
    assert writer.append(*GOOD) >= 0
    with pytest.MonkeyPatch.context() as patch:
        # Because what is to be written stands encoded already, and cleaning would take it for a text.
        patch.setattr("analytics_sdk.journal.writer.encode_cleaned", lambda encode, kind, raw, usual: encode(raw))
        for kind, payload in payloads:
            assert writer.append(kind, msgspec.Raw(payload)) >= 0  # type: ignore[arg-type]  # as above
    assert writer.append(*GOOD) >= 0
    writer.release()
    sink: Any = make_sink(f"sqlite:///{folder}/a.db")
    shipment = ship_once(folder / "j", [lambda: sink])
    sink.open()
    with sink.transaction() as connection:
        losses = connection.exec_driver_sql("select reason, sum(n) from losses group by reason").all()
    return shipment, dict(losses), sink


def count_good(sink: Any) -> int:
    with sink.transaction() as connection:
        return int(connection.exec_driver_sql("select count(*) from steps where node_id = 'good'").scalar())


NESTED = b"\x91" * 60_000 + b"\xc0"
DEEP = bytes([0xDC, 0, 15]) + msgspec.msgpack.encode((*GOOD[1], *[None] * 5))[1:] + NESTED
PAYLOADS = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "nested": NESTED,
    "nested behind what is known": DEEP,
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a text of 4 GB": b"\x98\x00\xdb\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "no utf-8": b"\x99\x00\xa1\xff\xa1w\x01\xa1n\xc0\x00\x00\x00",
    "a surrogate": b"\x99\x00\xa3\xed\xa0\x80\xa1w\x01\xa1n\xc0\x00\x00\x00",
    "other types": msgspec.msgpack.encode(["x"] * 9),
    "an object": msgspec.msgpack.encode({"__reduce__": ["os.system", "true"], "class": "subprocess.Popen"}),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_record_that_is_none_costs_itself(tmp_path: Path, name: str) -> None:
    """Of every kind, also kinds that nobody knows: counted as damaged, what stands before and behind it is kept."""
    kinds = [*Kind, 15]
    shipment, losses, sink = deliver(tmp_path, [(kind, PAYLOADS[name]) for kind in kinds])
    assert (shipment.finished, shipment.unfinished, shipment.problems) == (1, 0, [])
    assert losses == {"damaged": len(kinds)}
    assert count_good(sink) == 2
    assert not list((tmp_path / "j").glob("*.seg"))
    sink.close()


def hostile_values(kind: Kind) -> list[tuple[Any, ...]]:
    """Records of a kind that decode, each with one number such as no writer of ours writes."""
    fields: dict[Kind, tuple[Any, ...]] = {
        Kind.EXECUTION_START: ("e", "w", AT, 3, "p", 1, {"a": "b"}),
        Kind.EXECUTION_END: (0, "e", "w", AT, 0, 10**6, 1, 0, 0, 3, "p", 1, None, None, {"a": "b"}),
        Kind.STEP_START: ("e", "w", 1, "n", "a", AT, 2, None),
        Kind.STEP_END: (0, "e", "w", 1, "n", "a", AT, 0, 10**6, 2, "T", "m", None, 2),
        Kind.RECOVERY: ("e", "w", 1, "n", "s", True, AT, 10**6, "m", None),
        Kind.VERDICT: (0, "w", "n", "s", AT, 1),
        Kind.SAMPLE: (AT, 1.0, 1, 1, 1, 1.0, 1, 1, [(0, "g", 1.0, 1)], 10**9, 1, [("w", "n", 1.0)]),
    }
    usual = fields[kind]
    numbers = [i for i, value in enumerate(usual) if type(value) in (int, float)]
    return [(*usual[:i], odd, *usual[i + 1 :]) for i in numbers for odd in HUGE]


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name.lower())
def test_numbers_that_nobody_writes_stop_neither_delivery_nor_answers(tmp_path: Path, kind: Kind) -> None:
    """Beyond 63 bits, negative, statuses that there are not: kept or counted as lost, and then every way of looking at
    it answers."""
    hostile = hostile_values(kind)
    shipment, losses, sink = deliver(tmp_path, [(kind, msgspec.msgpack.encode(fields)) for fields in hostile])
    assert (shipment.finished, shipment.unfinished, shipment.problems) == (1, 0, [])
    assert set(losses) <= {"damaged", "rejected"}
    assert sum(losses.values()) < len(hostile), "some of them can be kept"
    assert count_good(sink) == 2
    query = Query(sink)
    for exact in (False, True):
        answer = query.stats(now_ns=AT + 10**9, exact=exact)
        assert answer["performance"]["min_duration"] is not None
    reports = ReportGenerator(lambda: query, tmp_path)
    for format in ("html", "csv"):
        data = reports.generate_report(ReportConfig(format=format))
        json.loads(render_json(data), parse_constant=pytest.fail)
        assert render_html(data) and render_csv(data)
    sink.close()


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(JSONS | st.fixed_dictionaries({"journal_id": JSONS, "host": JSONS, "pid": JSONS, "started_at_ns": JSONS}))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_an_owner_file_with_any_content_is_one_or_none(content: Any) -> None:
    """With a checksum that is right: an identity with values of the right kinds, or None."""
    body = json.dumps(content).encode()[:1000]
    page = b"ANLYOWN1" + struct.pack("<II", len(body), zlib.crc32(body)) + body
    found = identity_in(page.ljust(4096, b"\0"))
    assert found is None or (isinstance(found, Identity) and isinstance(found.pid, int))


def test_an_owner_file_with_numbers_beyond_all_measure_stops_nothing(tmp_path: Path) -> None:
    """Its journal is delivered, or stays; and others beside it are delivered."""
    writer = JournalWriter(tmp_path / "j", min_free_bytes=0)
    assert writer.append(*GOOD) >= 0
    writer.release()
    assert writer.identity is not None
    bad = JournalWriter(tmp_path / "j", min_free_bytes=0)
    assert bad.append(*GOOD) >= 0
    bad.release()
    assert bad.identity is not None
    spoiled = msgspec.structs.replace(bad.identity, pid=1 << 62, started_at_ns=(1 << 63) - 1, host="\u202e" * 300)
    body = msgspec.json.encode(spoiled)[:1008]
    with owner_path(tmp_path / "j", bad.identity.journal_id).open("r+b") as file:
        file.write(b"ANLYOWN1" + struct.pack("<II", len(body), zlib.crc32(body)) + body)
    sink: Any = make_sink(f"sqlite:///{tmp_path}/a.db")
    shipment = ship_once(tmp_path / "j", [lambda: sink])
    assert shipment.finished >= 1
    sink.open()
    assert count_good(sink) >= 1
    sink.close()


def test_every_kind_of_record_is_tried_here() -> None:
    assert set(RECORD_TYPES) == set(Kind)
    assert all(hostile_values(kind) for kind in Kind)
