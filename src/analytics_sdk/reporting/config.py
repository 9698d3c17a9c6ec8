"""What a report is asked for. Light: neither what reads the store nor what draws is loaded by it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from analytics_sdk.errors import ReportError

FORMATS = ("html", "png", "pdf", "json", "csv")
METRIC_TYPES = ("execution", "step", "recovery", "resource")
LANGUAGES = ("en", "fr")


@dataclass(frozen=True)
class ReportConfig:
    """What a report is about and how it is to look. Naive datetimes are local time.

    Without `start_time` it covers the seven days before its end, or less where less is stored; without `end_time` it
    ends now. `workflow_ids` None is all. `tz` (an IANA name, or a `ZoneInfo`) is the zone of the times that it says;
    None is the machine's.

    Raises:
        ReportError: a format, metric type, language or zone that there is not; or it ends before it starts.
    """

    title: str = "Workflow report"
    metric_types: Sequence[str] = field(default_factory=lambda: list(METRIC_TYPES))
    start_time: datetime | None = None
    end_time: datetime | None = None
    workflow_ids: Sequence[str] | None = None
    format: str = "html"
    language: str = "en"
    tz: str | tzinfo | None = None

    def __post_init__(self) -> None:
        _check("format", [self.format], FORMATS)
        _check("language", [self.language], LANGUAGES)
        if isinstance(self.metric_types, str) or not self.metric_types:
            raise ReportError(f"metric_types must be a list out of {', '.join(METRIC_TYPES)}")
        _check("metric type", self.metric_types, METRIC_TYPES)
        if isinstance(self.workflow_ids, str):
            object.__setattr__(self, "workflow_ids", [self.workflow_ids])
        for name in ("start_time", "end_time"):
            if not isinstance(getattr(self, name), datetime | None):
                raise ReportError(f"{name} must be a datetime or None, not {type(getattr(self, name)).__name__}")
        self.zone_name()
        if self.start_time and self.end_time and self.start_time.astimezone() >= self.end_time.astimezone():
            raise ReportError(
                f"the report ends ({self.end_time.isoformat()}) before it starts ({self.start_time.isoformat()}): "
                "swap start_time and end_time"
            )

    def zone_name(self) -> str | None:
        """The IANA name of the zone; None for the machine's own.

        Raises:
            ReportError: there is no such zone, or it has no name to find it by again.
        """
        name = self.tz if isinstance(self.tz, str | None) else getattr(self.tz, "key", str(self.tz))
        if name is None:
            return None
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            raise ReportError(f'there is no time zone {name!r}: give an IANA name such as "Europe/Paris"') from None
        return name


def _check(what: str, given: Iterable[object], choices: Sequence[str]) -> None:
    for value in given:
        if value not in choices:
            raise ReportError(f"there is no {what} {value!r}: choose from {', '.join(choices)}")
