"""Time as people type it: stretches such as `30m`, `24h`, `7d`, and days or instants such as `2026-11-24`."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.query.window import Window, to_ns

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
LONGEST_SECONDS = 100 * 365 * 86_400.0


def parse_period(text: str) -> float:
    """Seconds in `90s`, `30m`, `24h`, `7d` or `2w`.

    Raises:
        ValueError: it is none of these, nothing at all, or more than a hundred years.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if not match or match[2] not in UNITS or not 0 < float(match[1]) * UNITS[match[2]] <= LONGEST_SECONDS:
        raise ValueError(f"{text!r} is no stretch of time; write it as 30m, 24h or 7d")
    return float(match[1]) * UNITS[match[2]]


def parse_moment(text: str) -> datetime:
    """An instant from ISO 8601: `2026-11-24`, `2026-11-24T14:05`. Without a zone it is local time.

    Raises:
        ValueError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date; write it as 2026-11-24 or 2026-11-24T14:05") from None


Last = Annotated[
    str | None, typer.Option(metavar="24h|7d|30m", help="How far back from now, or from --to.", show_default=False)
]
From = Annotated[str | None, typer.Option("--from", metavar="DATE", help="Only what started at or after this.")]
To = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Only what started before this.")]

Parsed = TypeVar("Parsed")


def choose_window(last: str | None, start: str | None, end: str | None) -> Window:
    """The window that was typed; without a beginning where none was.

    Raises:
        typer.BadParameter: it is none: no time at all, empty, the wrong way round, or its beginning named twice.
    """
    if last is not None and start is not None:
        raise typer.BadParameter("--last and --from both say where the window begins; say one of them")
    back_s = typed(parse_period, last, "--last")
    from_moment, to_moment = typed(parse_moment, start, "--from"), typed(parse_moment, end, "--to")
    end_ns = SYSTEM_CLOCK.time_ns() + 1 if to_moment is None else to_ns(to_moment)
    start_ns = None if from_moment is None else to_ns(from_moment)
    if back_s is not None:
        start_ns = end_ns - round(back_s * 1e9)
    if start_ns is not None and start_ns >= end_ns:
        raise typer.BadParameter("the window ends before it starts; name a --from that lies before --to or now")
    return Window(None if start_ns is None else max(0, start_ns), end_ns, relative=start is None and end is None)


def typed(parse: Callable[[str], Parsed], text: str | None, option: str) -> Parsed | None:
    """What was typed for an option. Not typer's own parsing, because its versions tell of a ValueError differently."""
    try:
        return None if text is None else parse(text)
    except ValueError as problem:
        raise typer.BadParameter(str(problem), param_hint=option) from None
