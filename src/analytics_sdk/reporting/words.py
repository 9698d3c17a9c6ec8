"""How a report says things: numbers, durations, rates and dates in the reader's language and zone.

Three significant digits in the unit that keeps them between 1 and 999; a dash where there is nothing to say, never 0,
nan or None. Immutable, so one may be used by many threads.
"""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo

from analytics_sdk.reporting.config import LANGUAGES
from analytics_sdk.reporting.phrases import PHRASES

NOTHING = "-"
FEW = 100
"""Below this n a rate is said together with its n and its interval."""

_MONTHS = {
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "fr": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
}
_DAY = {"en": "d", "fr": "j"}
_BYTE = {"en": "B", "fr": "o"}
# C0 and C1 controls, zero-width and bidirectional controls, lone surrogates: because an id could use them to hide.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]+"
)


_RANGE = re.compile(r"(?<=\d) - (?=\d)")
"""Its hyphen too, because a line may end after one even before a space that does not break."""
_BREAKABLE = re.compile(
    r"(?<=\d) (?=(?:%|[KMGTP]?i?[Bo]|[nµm]?s|min|h|d|j)(?!\w))|(?<=[<>]) (?=\d)| (?=[;:!?])"
    r"|(?<=\d) (?=[^\W\d]+\.? \d{4}\b)|(?<=[^\W\d]) (?=\d{4}\b)|(?<=[^\W\d]\.) (?=\d{4}\b)"  # dates
)


def make_inert(text: str) -> str:
    """Stored text as one line that shows what it is: control and direction characters become a visible mark."""
    return _HIDDEN.sub("\u00b7", text)


def escape_hidden(text: str) -> str:
    """JSON in which characters that steer a terminal or turn the direction of writing stand as escapes, same values.

    Line ends stay, because in JSON they stand between values only.
    """
    return _HIDDEN.sub(lambda found: "".join(c if c == "\n" else f"\\u{ord(c):04x}" for c in found[0]), text)


def shorten(text: str, limit: int) -> str:
    """Stored text made inert and at most `limit` characters long, cut in the middle."""
    text = make_inert(text)
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def keep_units(text: str) -> str:
    """Text in which a number and its unit stay on one line."""
    return _RANGE.sub("\u00a0\u2011\u00a0", _BREAKABLE.sub("\u00a0", text))


def is_known(value: float | None) -> bool:
    """Whether there is a number at all."""
    return value is not None and math.isfinite(value)


class Words:
    """The words of one language, with times in one zone (None: the machine's own)."""

    def __init__(self, language: str = "en", zone: tzinfo | None = None) -> None:
        self.language = language
        self.zone = zone
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        """The phrase of a key, with its places filled."""
        phrase = PHRASES[key][self._column]
        return phrase.format_map(values) if values else phrase

    def _localise(self, text: str) -> str:
        return text.replace(".", ",") if self.language == "fr" else text

    def count(self, n: float) -> str:
        """A whole number, its thousands set apart."""
        if not is_known(n):
            return NOTHING
        return f"{int(n):,}".replace(",", "\u202f" if self.language == "fr" else ",")

    def number(self, value: float | None, *, terse: bool = False) -> str:
        """Three significant digits; `terse` drops the zeros at their end, as on an axis."""
        if value is None or not is_known(value):
            return NOTHING
        if value == 0:
            return "0"
        decimals = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
        if decimals == 0:
            return self.count(float(f"{value:.2e}") if abs(value) < 1000 else round(value))
        text = f"{value:.{decimals}f}"
        return self._localise(text.rstrip("0").rstrip(".") if terse else text)

    def percent(self, value: float | None) -> str:
        """One decimal; what is not quite 0 or 100 never looks as if it were."""
        if value is None or not is_known(value):
            return NOTHING
        if 99.95 <= value < 100:
            return self._localise("> 99.9 %")
        if 0 < value < 0.05:
            return self._localise("< 0.1 %")
        return self._localise(f"{value:.1f} %")

    def percent_mark(self, value: float) -> str:
        """A whole percent, as on an axis."""
        return f"{value:.0f} %"

    def rate(self, value: float, n: int, part: int, interval: tuple[float, float]) -> str:
        """A percent; with its n and its interval when n is below FEW."""
        detail = self.evidence(n, part, interval)
        return f"{self.percent(value)} ({detail})" if detail and is_known(value) else self.percent(value)

    def interval(self, low: float, high: float) -> str:
        """`72 - 99 %`."""
        if not (is_known(low) and is_known(high)):
            return NOTHING
        return self("interval", low=f"{low:.0f}", high=f"{high:.0f}")

    def evidence(self, n: int, part: int, interval: tuple[float, float]) -> str:
        """What a percent of few rests on: `15 of 16, 72 - 99 %`. Empty when n is 0 or not small."""
        if not 0 < n < FEW:
            return ""
        return f"{self.share(part, n)}, {self.interval(*interval)}"

    def share(self, part: int, whole: int) -> str:
        """`15 of 16`."""
        return self("of", part=self.count(part), whole=self.count(whole))

    def times(self, n: int) -> str:
        """`once`, `12 times`."""
        return self("once") if n == 1 else self("times", n=self.count(n))

    def executions(self, n: int) -> str:
        """`1,204 executions`."""
        return self("n_execution") if n == 1 else self("n_executions", n=self.count(n))

    def seconds(self, seconds: float | None, *, terse: bool = False) -> str:
        """A duration given in seconds: `340 ms`, `1.25 s`, `3 min 05 s`, `2 h 10 min`."""
        if seconds is None or not is_known(seconds):
            return NOTHING
        return self.duration(round(seconds * 1e9), terse=terse)

    def duration(self, duration_ns: float | None, *, terse: bool = False) -> str:
        """A duration given in nanoseconds; `terse` drops what is zero at its end, as on an axis."""
        if duration_ns is None or not is_known(duration_ns):
            return NOTHING
        if duration_ns <= 0:
            return "0 s"
        for unit, unit_ns, limit in (("ns", 1, 1000), ("µs", 1e3, 1000), ("ms", 1e6, 1000), ("s", 1e9, 60)):
            value = float(f"{duration_ns / unit_ns:.2e}")
            if value < limit:
                return f"{self.count(value) if unit == 'ns' else self.number(value, terse=terse)} {unit}"
        seconds = round(duration_ns / 1e9)
        if seconds < 3600:
            return self._pair(seconds, 60, "min", "s", 1, terse)
        minutes = round(seconds / 60)
        if minutes < 24 * 60:
            return self._pair(minutes * 60, 3600, "h", "min", 60, terse)
        return self._pair(round(seconds / 3600) * 3600, 86_400, _DAY[self.language], "h", 3600, terse)

    def _pair(self, seconds: int, big_s: int, big: str, small: str, small_s: int, terse: bool) -> str:
        rest = seconds % big_s // small_s
        return f"{self.count(seconds // big_s)} {big}" + ("" if terse and not rest else f" {rest:02d} {small}")

    def size(self, n_bytes: float | None, *, terse: bool = False) -> str:
        """Bytes in the binary unit that keeps them between 1 and 999: `1.25 GiB`."""
        if n_bytes is None or not is_known(n_bytes):
            return NOTHING
        value = float(n_bytes)
        prefixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi"]
        while float(f"{value:.2e}") >= 1000 and len(prefixes) > 1:
            value /= 1024
            del prefixes[0]
        prefix = prefixes[0]
        text = self.count(value) if not prefix else self.number(value, terse=terse)
        return f"{text} {prefix}{_BYTE[self.language]}"

    def local(self, at_ns: int) -> datetime:
        """An instant as an aware datetime of the reader's zone."""
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)
        return moment.astimezone(self.zone)

    def day(self, at_ns: int, *, year: bool = True) -> str:
        """`17 Nov 2026`."""
        moment = self.local(at_ns)
        day = "1er" if self.language == "fr" and moment.day == 1 else str(moment.day)
        return f"{day} {_MONTHS[self.language][moment.month - 1]}" + (f" {moment.year}" if year else "")

    def clock(self, at_ns: int, *, seconds: bool = False) -> str:
        """`14:05`."""
        return self.local(at_ns).strftime("%H:%M:%S" if seconds else "%H:%M")

    def moment(self, at_ns: int, *, seconds: bool = False) -> str:
        """`17 Nov 2026, 14:05`."""
        return f"{self.day(at_ns)}, {self.clock(at_ns, seconds=seconds)}"

    def period(self, start_ns: int, end_ns: int) -> str:
        """From when to when, as short as it can be said."""
        brief = end_ns - start_ns < 600_000_000_000
        if self.local(start_ns).date() == self.local(end_ns).date():
            return f"{self.day(start_ns)}, {self.clock(start_ns, seconds=brief)} - {self.clock(end_ns, seconds=brief)}"
        return self("period", start=self.moment(start_ns), end=self.moment(end_ns))

    def zone_name(self, at_ns: int) -> str:
        """The name of the zone that times are said in."""
        return str(self.zone) if self.zone is not None and str(self.zone) else self.local(at_ns).tzname() or "UTC"

    def status(self, status: str) -> str:
        """A status in the reader's language; a word that is not ours stays as it is."""
        return self(f"status.{status}") if f"status.{status}" in PHRASES else make_inert(status)
