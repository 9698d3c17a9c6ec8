"""How far a command is, on stderr, once it takes a second: drawn on a terminal, else a line now and then."""

import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from analytics_sdk.cli.terminal import may_move
from analytics_sdk.reporting.words import Words

PATIENCE_SECONDS = 1.0
PLAIN_PATIENCE_SECONDS = 3.0
"""Where lines cannot be drawn over, because they stay."""
DRAW_EVERY_SECONDS = 0.1
TELL_EVERY_SECONDS = 10.0


class Progress:
    """A `with` block around the work. `move` may be called from any thread; without a `total` only time is shown."""

    def __init__(self, doing: str, total: float | None = None) -> None:
        self.doing = doing
        self.done = 0.0
        self.total = total
        self.note = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analytics-sdk-progress", daemon=True)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def move(self, done: float, note: str = "") -> None:
        """So much of the total is done; `note` says it in words."""
        self.done, self.note = done, note

    def line(self) -> str:
        """All of it in one line."""
        words = Words()
        elapsed = time.monotonic() - self._began
        said = [f"{self.doing}: {self.note}" if self.note else self.doing]
        if self.total and self.done:
            said.append(f"{min(99.0, 100 * self.done / self.total):.0f} %")
            left = elapsed * max(0.0, self.total - self.done) / self.done
            said.append(f"about {words.duration(max(1, round(left)) * 10**9, terse=True)} left")
        else:
            said.append(words.duration(round(elapsed) * 10**9, terse=True))
        return ", ".join(said)

    def _run(self) -> None:
        draws = may_move(sys.stderr)
        if self._ended.wait(PATIENCE_SECONDS if draws else PLAIN_PATIENCE_SECONDS):
            return
        with suppress(Exception):  # because a terminal that cannot be written must not end the work
            if draws:
                self._draw()
            else:
                self._tell()

    def _draw(self) -> None:
        from rich.console import Console  # here, because what is quick needs none of it
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        with Bar(BarColumn(20), TextColumn("{task.description}"), console=console, transient=True) as bar:
            task = bar.add_task(self.line(), total=self.total)
            while not self._ended.wait(DRAW_EVERY_SECONDS):
                bar.update(task, completed=self.done, description=self.line().replace("[", r"\["))

    def _tell(self) -> None:
        while True:
            print(self.line(), file=sys.stderr, flush=True)
            if self._ended.wait(TELL_EVERY_SECONDS):
                return


def rate_of(n: float, seconds: float) -> str:
    """`4,100 a second`."""
    return f"{Words().number(n / seconds) if seconds > 0 else '-'} a second"
