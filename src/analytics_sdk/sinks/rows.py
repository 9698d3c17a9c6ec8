"""Rows of a batch as columns: what is the same for all rows is said once, and what must be looked at is looked at once.

A column at a time is 20 times as fast as a value at a time, and nearly all columns need no change at all.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter

from analytics_sdk.errors import RejectedRecord
from analytics_sdk.pace import breathe, slices_of

Columns = dict[str, Sequence[object]]
"""Column name -> its values, one for each row."""

TEXT_COLUMNS = frozenset(
    {
        "execution_id",
        "workflow_id",
        "status",
        "first_status",
        "node_id",
        "action_type",
        "error_type",
        "error_message",
        "parent_execution_id",
        "tags",
        "gpus",
        "running",
        "strategy",
        "verdict",
        "kind",
        "reason",
        "host",
    }
)

NUL, SHOWN_NUL = "\0", "\u2400"
"""PostgreSQL stores no NUL in text; its picture says what was there, the same in every sink."""


def columns_of(names: Sequence[str], rows: Sequence[Sequence[object]], **same: object) -> Columns:
    """Rows as columns, without NUL characters; `same` are columns that have one value in all rows.

    Raises:
        RejectedRecord: rows of the wrong length, or text that isn't.
    """
    gathered: list[list[object]] = [[] for _ in names]
    try:
        for some in slices_of(rows):
            if set(map(len, some)) != {len(names)}:
                raise ValueError(f"it has not {len(names)} values")
            # an item at a time, because zip would make an iterator for each row, which the garbage collector visits
            for i, (name, known) in enumerate(zip(names, gathered, strict=True)):
                column = list(map(itemgetter(i), some))
                known.extend(_without_nul(column) if name in TEXT_COLUMNS else column)
    except (TypeError, ValueError) as problem:
        raise RejectedRecord(f"a row is not as its columns are: {problem}") from None
    columns: Columns = dict(zip(names, gathered, strict=True))
    for name, value in same.items():
        columns[name] = [without_nul(value) if isinstance(value, str) else value] * len(rows)
    return columns


def without_nul(text: str) -> str:
    """Text as it is kept."""
    return text.replace(NUL, SHOWN_NUL)


def _without_nul(column: Sequence[object]) -> Sequence[object]:
    texts: Iterable[str] = filter(None, column)  # type: ignore[arg-type]  # because join tells what is no text
    if NUL not in "".join(texts):
        return column
    return [without_nul(value) if isinstance(value, str) else value for value in column]


def without_empty(columns: Columns) -> Columns:
    """The columns that hold anything but None: binding what is nowhere known costs as much as binding a value."""
    return {name: column for name, column in columns.items() if _is_known(column)}


def _is_known(column: Sequence[object]) -> bool:
    breathe()
    return len(column) > 0 and (column[0] is not None or column.count(None) < len(column))


def add_last_seq(columns: Columns) -> None:
    """Mark rows as late: `last_seq` is the later of what ended and what healed them."""
    ends = columns["end_seq"]
    heals = columns.get("heal_seq") or [None] * len(ends)
    columns["late"] = [1] * len(ends)
    columns["last_seq"] = [
        max((seq for seq in pair if isinstance(seq, int)), default=None) for pair in zip(ends, heals, strict=True)
    ]


def as_dicts(columns: Columns) -> list[dict[str, object]]:
    """The columns as one mapping for each row."""
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
