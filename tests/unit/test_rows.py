"""Rows of a batch become columns, and what no column can hold is refused before anything is written."""

import pytest

from analytics_sdk.errors import RejectedRecord
from analytics_sdk.pace import ITEMS_WITHOUT_LOOK
from analytics_sdk.sinks.rows import columns_of, without_empty

NAMES = ("seq", "node_id", "tags")


def test_each_column_holds_its_value_of_every_row_and_same_ones_are_repeated():
    """However many rows there are."""
    rows = [(n, f"node {n}", None) for n in range(ITEMS_WITHOUT_LOOK + 5)]
    columns = columns_of(NAMES, rows, source=7)
    assert list(columns) == [*NAMES, "source"]
    assert list(zip(*columns.values(), strict=True)) == [(*row, 7) for row in rows]


@pytest.mark.parametrize("row", [(1, "pay"), (1, "pay", None, 2), (1, 5, None), (1, b"pay", None)])
def test_a_row_that_is_not_as_its_columns_are_is_refused(row):
    """Too short, too long, or what should be text is none."""
    with pytest.raises(RejectedRecord, match="a row is not as its columns are"):
        columns_of(NAMES, [(0, "pay", None), row])


def test_no_text_holds_a_nul():
    """PostgreSQL stores none; its picture stands for it everywhere."""
    assert columns_of(NAMES, [(1, "a\0b", None), (2, None, "c")])["node_id"] == ["a\u2400b", None]


def test_columns_that_hold_nothing_are_left_out():
    """One value is enough to keep one, wherever it stands."""
    rows = [(1, None, None), (2, None, None), (3, "pay", None)]
    assert list(without_empty(columns_of(NAMES, rows))) == ["seq", "node_id"]
    assert without_empty(columns_of(NAMES, [])) == {}
