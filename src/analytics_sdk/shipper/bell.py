"""A bell that may be rung from anywhere: a signal handler or a finalizer may interrupt a ring in the same thread."""

from queue import Empty, SimpleQueue


class Bell:
    """Rung by many, heard by one. Not an Event, whose lock a nested `set` in the same thread waits for for ever."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake who waits, or who will wait next. Never blocks."""
        if self._rings.empty():
            self._rings.put(None)

    def is_rung(self) -> bool:
        """Whether somebody rang since the last wait."""
        return not self._rings.empty()

    def wait(self, seconds: float) -> None:
        """Wait for a ring, for `seconds` at most, and take it."""
        try:
            self._rings.get(timeout=seconds)
            while True:
                self._rings.get_nowait()
        except Empty:
            pass  # because nobody rang, or all rings have been taken
