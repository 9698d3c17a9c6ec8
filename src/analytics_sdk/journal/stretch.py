"""A stretch of a journal: what a reader found there, and what it found missing."""

from dataclasses import dataclass, field

from analytics_sdk.journal.gaps import Gap
from analytics_sdk.journal.record import Record


@dataclass(slots=True)
class Stretch:
    """The records of a journal from position `old` up to `new`, in order."""

    old: int
    new: int
    records: list[Record] = field(default_factory=list)
    damages: list[int] = field(default_factory=list)
    """Where regions begin that hold something which does not verify: each is at least one record lost."""
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    """Where segments are missing that were given up."""

    def split(self, middle: int) -> "tuple[Stretch, Stretch]":
        """The same in two, cut before a record."""
        cut = self.records[middle].position
        return (
            Stretch(self.old, cut, self.records[:middle], *self._lacks(range(self.old, cut))),
            Stretch(cut, self.new, self.records[middle:], *self._lacks(range(cut, self.new))),
        )

    def _lacks(self, within: range) -> tuple[list[int], list[tuple[int, Gap]]]:
        return [at for at in self.damages if at in within], [(at, gap) for at, gap in self.gaps if at in within]
