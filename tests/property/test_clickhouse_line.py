"""ClickHouse has no transactions: shippers that die anywhere, run at once and cut as they like, and readers meanwhile.

A fault strikes between any two inserts, another shipper works in between, and writers work between the statements of a
reader. What is counted is, at any moment, what a prefix of each journal says; and in the end what all of it says.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from query_history import BASE_NS, HOURS, History, Journal, deliver, make_history
from test_query_agreement import NOW_NS, assert_agree, plain

from analytics_sdk.errors import Fenced, SinkError, SinkUnavailable
from analytics_sdk.query import Query
from analytics_sdk.query.clickhouse_reader import ClickHouseSnapshot
from analytics_sdk.rollup import HOUR_NS, Cells
from analytics_sdk.shipper.fold import fold
from analytics_sdk.shipper.merge import merge
from analytics_sdk.sinks import clickhouse
from analytics_sdk.sinks.base import Batch
from analytics_sdk.sinks.memory import MemorySink
from analytics_sdk.sinks.sql import SqlSink

pytestmark = pytest.mark.xdist_group("clickhouse")
LISTED = ("running", "resources", "losses", "data_complete")
"""Parts of an answer that list rows as they stand."""


class Shipper:
    """One of several that deliver the same journals, each in pieces of its own choice."""

    def __init__(self, chance: random.Random, sink: SqlSink, history: History) -> None:
        self.chance, self.sink, self.history = chance, sink, history

    def step(self) -> bool:
        """Write a piece, fold, or judge; whether there was anything to do. May be struck, and forgets all then."""
        try:
            unfinished = [journal for journal in self.history.journals if not self._is_done(journal)]
            if not unfinished:
                return False
            self._advance(self.chance.choice(unfinished))
        except (Fenced, SinkUnavailable):
            self.sink.close()
        return True

    def _is_done(self, journal: Journal) -> bool:
        at = self.sink.position(journal.identity)
        return at.settled or (journal.settle_as is None and at.rows == at.rollups == journal.end)

    def _advance(self, journal: Journal) -> None:
        at = self.sink.position(journal.identity)
        if at.rows > at.rollups and self.chance.random() < 0.4:
            to = self.chance.choice([at.rows, at.rollups + self.chance.randrange(at.rows - at.rollups) + 1])
            cells: Cells = {}
            fold(cells, _between(journal, at.rollups, to))
            self.sink.fold(journal.identity, cells, at.rollups, to)
        elif at.rows < journal.end:
            to = min(journal.end, at.rows + self.chance.randrange(1, 1 + journal.end // 2))
            self.sink.write(merge(journal.identity, _between(journal, at.rows, to), at.rows, to))
        elif at.rows == at.rollups and journal.settle_as is not None:
            self.sink.write(Batch(journal.identity, at.rows, at.rows, settle_as=journal.settle_as))


def _between(journal: Journal, old: int, new: int) -> list[Any]:
    return [record for record in journal.decoded if old <= record[0] < new]


class Trouble:
    """Stands before every insert: passes it on, lets somebody else work first, or strikes before or after it."""

    def __init__(self, chance: random.Random, insert: Callable[..., None]) -> None:
        self.chance, self.insert = chance, insert
        self.others: list[Shipper] = []
        self.struck = self.between = 0
        self.busy = False

    def __call__(self, *arguments: Any) -> None:
        if not self.busy and self.others and self.chance.random() < 0.3:
            self.busy = True
            self.between += 1
            self.chance.choice(self.others).step()
            self.busy = False
        luck = self.chance.random()
        if luck < 0.1:
            self.struck += 1
            raise SinkUnavailable("the machine went away")
        self.insert(*arguments)
        if luck > 0.9:
            self.struck += 1
            raise SinkUnavailable("the answer was lost")


@pytest.fixture
def make_sink(clickhouse_server: str, clickhouse_schema: str) -> Iterator[Callable[[], SqlSink]]:
    """Sinks over one store."""
    made: list[SqlSink] = []

    def make() -> SqlSink:
        sink = SqlSink(clickhouse_server, schema=clickhouse_schema)
        made.append(sink)
        return sink

    make().upgrade()
    yield make
    for sink in made:
        sink.close()


def answer_of(query: Query, window: tuple[int, int], exact: bool) -> Any:
    """What is counted of a window."""
    stats = query.stats(None, start_ns=window[0], end_ns=window[1], exact=exact, now_ns=NOW_NS)
    return plain({key: value for key, value in stats.items() if key not in LISTED})


def answer_to(history: History, positions: dict[str, int], settled: set[str], window: tuple[int, int]) -> Any:
    """What the journals say up to these positions, counted row by row."""
    sink = MemorySink()
    for journal in history.journals:
        at = positions.get(journal.identity.journal_id, 0)
        sink.write(merge(journal.identity, _between(journal, 0, at), 0, at))
        if journal.identity.journal_id in settled:
            sink.write(Batch(journal.identity, at, at, settle_as=journal.settle_as))
    return answer_of(Query(sink), window, exact=False)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_strikes_everything_is_counted_once(
    seed: int, make_sink: Callable[[], SqlSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shippers at once, struck again and again; what is left in the end is what one alone would have left."""
    chance = random.Random(seed)
    history = make_history(seed, executions=10)
    trouble = Trouble(chance, clickhouse.insert)
    monkeypatch.setattr(clickhouse, "insert", trouble)
    shippers = [Shipper(chance, make_sink(), history) for _ in range(3)]
    trouble.others = shippers[1:]
    while shippers[0].step():
        pass
    assert trouble.struck
    assert trouble.between
    memory = MemorySink()
    deliver(history, memory)
    window = [BASE_NS + HOUR_NS // 3, BASE_NS + HOURS * HOUR_NS]
    without_losses = _without_losses(memory)
    for workflow_id in (None, "export"):
        assert_agree(Query(make_sink()), Query(without_losses), history, window, workflow_id)


def _without_losses(sink: MemorySink) -> MemorySink:
    sink._losses.clear()
    return sink


@contextmanager
def interrupted(snapshots: list[ClickHouseSnapshot], between: Callable[[], object]) -> Iterator[None]:
    """Let something happen before each statement of a reader."""
    with pytest.MonkeyPatch.context() as patch:
        rows, stream = ClickHouseSnapshot._rows, ClickHouseSnapshot._stream

        def slow_rows(self: ClickHouseSnapshot, statement: Any) -> Any:
            snapshots.append(self)
            between()
            return rows(self, statement)

        def slow_stream(self: ClickHouseSnapshot, statement: Any) -> Any:
            between()
            return stream(self, statement)

        patch.setattr(ClickHouseSnapshot, "_rows", slow_rows)
        patch.setattr(ClickHouseSnapshot, "_stream", slow_stream)
        yield


@pytest.mark.parametrize("seed", range(5))
def test_an_answer_is_of_one_moment_though_its_statements_are_not(
    seed: int, make_sink: Callable[[], SqlSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While shippers work and are struck between the statements of the reader: a prefix of each journal, each fact
    once, wherever rollups, tail and edges meet."""
    chance = random.Random(seed)
    history = make_history(seed, executions=10)
    trouble = Trouble(chance, clickhouse.insert)
    monkeypatch.setattr(clickhouse, "insert", trouble)
    shippers = [Shipper(chance, make_sink(), history) for _ in range(2)]
    trouble.others = shippers[1:]
    query = Query(make_sink())
    window = (BASE_NS + HOUR_NS // 3, BASE_NS + (HOURS - 1) * HOUR_NS + HOUR_NS // 2)
    ids = {shippers[0].sink.source_of(journal.identity): journal.identity.journal_id for journal in history.journals}
    looked = 0
    while shippers[0].step():
        snapshots: list[ClickHouseSnapshot] = []
        with interrupted(snapshots, lambda: chance.random() < 0.3 and shippers[0].step()):
            answer = answer_of(query, window, exact=False)
        known = snapshots[-1].sources()
        positions = {ids[key]: source.position for key, source in known.items()}
        settled = {ids[key] for key, source in known.items() if source.settled}
        assert answer == answer_to(history, positions, settled, window)
        looked += 1
    assert looked


def test_a_fold_that_was_cut_off_is_found_and_not_repeated(
    make_sink: Callable[[], SqlSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells are there whole, only the position is not: the next one finds out, and goes on behind it."""
    history = make_history(3, journals=1, executions=10)
    (journal,) = history.journals
    sink = make_sink()
    sink.write(merge(journal.identity, journal.decoded, 0, journal.end))
    cells: Cells = {}
    fold(cells, journal.decoded)
    reach = type(sink)._reach  # type: ignore[attr-defined]  # because it is a sink of this kind
    monkeypatch.setattr(type(sink), "_reach", _strike)
    with pytest.raises(SinkError):
        sink.fold(journal.identity, cells, 0, journal.end)
    monkeypatch.setattr(type(sink), "_reach", reach)
    window = (BASE_NS, BASE_NS + HOURS * HOUR_NS)
    whole = answer_to(history, {journal.identity.journal_id: journal.end}, set(), window)
    assert answer_of(Query(make_sink()), window, exact=False) == whole
    again = make_sink()
    assert again.position(journal.identity).rollups == 0
    with pytest.raises(Fenced):
        again.fold(journal.identity, cells, 0, journal.end)
    assert again.position(journal.identity).rollups == journal.end
    assert answer_of(Query(make_sink()), window, exact=False) == whole


def _strike(*_: Any) -> None:
    raise SinkUnavailable("the machine went away")
