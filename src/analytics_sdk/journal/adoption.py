"""The right to a journal whose owner is dead."""

import os


class Adoption:
    """The right to deliver and remove a dead owner's journal: its lock, held until `close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """Give the lock up."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
