"""Reports: ask the store, keep the numbers, write a file.

    data = generator.generate_report(ReportConfig(title="Nightly", format="html"))
    path = generator.export(data)

Light to import: what draws and what formats is loaded when a file is written.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import ReportError
from analytics_sdk.query import choose_bucket_ns, to_ns
from analytics_sdk.query.results import Distribution
from analytics_sdk.reporting.report_data import (
    METRIC_TYPES,
    Halves,
    Numbers,
    Queries,
    ReportData,
    find_cut_ns,
    halve_points,
    read_stats,
)
from analytics_sdk.reporting.words import LANGUAGES, Words

FORMATS = ("html", "png", "pdf", "json", "csv")
MOST_EXECUTIONS = 10_000
"""So many executions are kept with the numbers, the newest; a report as CSV keeps all."""
DEFAULT_PERIOD = timedelta(days=7)

_SHORT_BUCKETS_NS = tuple(seconds * 10**9 for seconds in (1, 2, 5, 10, 15, 30))
_NOTHING = Distribution([], 0, None, None)


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
        if self.start_time and self.end_time and to_ns(self.start_time) >= to_ns(self.end_time):
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


class ReportGenerator:
    """Makes reports from a store.

    `query_factory` gives a `Query` each time that one is asked; `reports_dir` is where files go that are given no
    path. May be used by several threads; they draw one after the other.
    """

    def __init__(self, query_factory: Callable[[], Queries], reports_dir: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._query_factory = query_factory
        self.reports_dir = Path(reports_dir)
        self._clock = clock

    def generate_report(self, config: ReportConfig) -> ReportData:
        """Ask the store for all numbers of a report.

        Raises:
            ReportError: it ends before it starts.
            AnalyticsError: the store cannot be read.
        """
        query = self._query_factory()
        now_ns = self._clock.time_ns()
        zone = config.zone_name()
        words = Words(config.language, ZoneInfo(zone) if zone else None)
        ids = None if config.workflow_ids is None else list(config.workflow_ids)
        start_ns, end_ns = _choose_period(config, query, ids, now_ns)
        wants = set(config.metric_types)
        stats = query.stats(ids, start_ns=start_ns, end_ns=end_ns, now_ns=now_ns)
        bucket_ns, origin_ns = _choose_buckets(start_ns, end_ns, words)
        points, distribution, halves, executions, timeline = [], _NOTHING, None, [], None
        limit = None if config.format == "csv" else MOST_EXECUTIONS
        if "execution" in wants:
            points = query.series(ids, start_ns, end_ns, bucket_ns, origin_ns=origin_ns)
            distribution = query.distribution(ids, start_ns, end_ns)
            cut_ns = find_cut_ns(points)
            if cut_ns is not None:
                durations = (query.distribution(ids, start_ns, cut_ns), query.distribution(ids, cut_ns, end_ns))
                halves = Halves(cut_ns, *halve_points(points, cut_ns), durations)
            executions = query.executions(ids, start_ns, end_ns, None if limit is None else limit + 1)
        if "step" in wants:
            slowest = query.slowest(ids, start_ns, end_ns)
            timeline = query.timeline(slowest.execution_id) if slowest else None
        return ReportData(
            title=str(config.title),
            metric_types=tuple(name for name in METRIC_TYPES if name in wants),
            workflow_ids=None if ids is None else tuple(ids),
            format=config.format,
            language=config.language,
            zone=zone,
            generated_at_ns=now_ns,
            start_ns=start_ns,
            end_ns=end_ns,
            bucket_ns=bucket_ns,
            numbers=_keep_wanted(read_stats(stats), wants),
            points=points,
            distribution=distribution,
            halves=halves,
            timeline=timeline,
            samples=query.samples(start_ns, end_ns) if "resource" in wants else [],
            executions=executions[:limit],
            executions_complete=limit is None or len(executions) <= limit,
        )

    def export(self, data: ReportData) -> Path:
        """Write the report in the format that it was asked for, into `reports_dir`; the path of the file.

        Raises:
            ReportError: the file cannot be written.
        """
        exporters = {
            "html": self.export_html,
            "png": self.export_png,
            "pdf": self.export_pdf,
            "json": self.export_json,
            "csv": self.export_csv,
        }
        return exporters[data.format](data)

    def export_html(self, data: ReportData, path: str | os.PathLike[str] | None = None) -> Path:
        """One page that stands alone. Raises ReportError when it cannot be written, as all exports do."""
        from analytics_sdk.reporting.html import render_html  # here, because it loads jinja2 and matplotlib

        return self._write(data, path, "html", lambda: render_html(data).encode())

    def export_png(self, data: ReportData, path: str | os.PathLike[str] | None = None) -> Path:
        """One picture of the whole report."""
        from analytics_sdk.reporting.picture import render_report_png  # here, because it loads matplotlib

        return self._write(data, path, "png", lambda: render_report_png(data))

    def export_pdf(self, data: ReportData, path: str | os.PathLike[str] | None = None) -> Path:
        """A4 pages."""
        from analytics_sdk.reporting.picture import render_pdf  # here, because it loads matplotlib

        return self._write(data, path, "pdf", lambda: render_pdf(data))

    def export_json(self, data: ReportData, path: str | os.PathLike[str] | None = None) -> Path:
        """All numbers; unknown ones are null."""
        from analytics_sdk.reporting.tabular import render_json

        return self._write(data, path, "json", lambda: render_json(data).encode())

    def export_csv(self, data: ReportData, path: str | os.PathLike[str] | None = None) -> Path:
        """The executions, a row each.

        Raises:
            ReportError: the data holds the newest executions only; or the file cannot be written.
        """
        from analytics_sdk.reporting.tabular import render_csv

        if not data.executions_complete:
            raise ReportError(
                f"this report holds only the newest {len(data.executions)} executions: "
                'generate it with format="csv" to have them all'
            )
        return self._write(data, path, "csv", lambda: render_csv(data).encode("utf-8-sig"))

    def export_charts(self, data: ReportData, directory: str | os.PathLike[str] | None = None) -> list[Path]:
        """One PNG a chart, named by what it shows; charts that would be empty are left out."""
        from analytics_sdk.reporting.picture import render_charts  # here, because it loads matplotlib

        folder = Path(directory) if directory is not None else self.reports_dir / f"{name_file(data)}-charts"
        return [_write_file(folder / f"{key}.png", picture) for key, picture in render_charts(data)]

    def _write(
        self, data: ReportData, path: str | os.PathLike[str] | None, suffix: str, render: Callable[[], bytes]
    ) -> Path:
        place = self.reports_dir / f"{name_file(data)}.{suffix}" if path is None else Path(path)
        return _write_file(place, render())


def _choose_period(config: ReportConfig, query: Queries, ids: list[str] | None, now_ns: int) -> tuple[int, int]:
    end_ns = now_ns + 1 if config.end_time is None else to_ns(config.end_time)
    if config.start_time is not None:
        start_ns = to_ns(config.start_time)
    else:
        first_ns = query.first_started_at_ns(ids)
        start_ns = end_ns - DEFAULT_PERIOD // timedelta(microseconds=1) * 1000
        if first_ns is not None and start_ns < first_ns < end_ns:
            start_ns = first_ns
    if start_ns >= end_ns:
        raise ReportError("the report ends before it starts: its start_time lies in the future")
    return start_ns, end_ns


def _choose_buckets(start_ns: int, end_ns: int, words: Words) -> tuple[int, int]:
    """The length of a chart's buckets, and where they begin to count: at local midnight, so that days are days."""
    bucket_ns = next((step for step in _SHORT_BUCKETS_NS if (end_ns - start_ns) / step <= 60), None)
    if bucket_ns is None:
        bucket_ns = choose_bucket_ns(start_ns, end_ns)
    midnight = words.local(start_ns).replace(hour=0, minute=0, second=0, microsecond=0)
    return bucket_ns, to_ns(midnight)


def _keep_wanted(numbers: Numbers, wants: set[str]) -> Numbers:
    """Numbers without the parts that were not asked for."""
    blank = Numbers()
    if "step" not in wants:
        numbers = replace(numbers, steps=blank.steps)
    if "recovery" not in wants:
        numbers = replace(numbers, recovery=blank.recovery)
    if "resource" not in wants:
        numbers = replace(numbers, resources=blank.resources)
    return numbers


def name_file(data: ReportData) -> str:
    """A file name out of the title and the date: letters safe everywhere, and a hash that keeps titles apart."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", data.title.lower()).strip("-._")[:40].strip("-._") or "report"
    day = Words(data.language, ZoneInfo(data.zone) if data.zone else None).local(data.generated_at_ns).date()
    told = "\0".join((data.title, data.language, *(data.workflow_ids or ()))).encode("utf-8", "replace")
    return f"{slug}-{day.isoformat()}-{hashlib.sha256(told).hexdigest()[:6]}"


def _write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: under another name first, then renamed. Its absolute path.

    Raises:
        ReportError: the place cannot be written.
    """
    path = path.expanduser().absolute()
    draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {path}: {error.strerror or type(error).__name__}. "
            "Give another path, or set reports_dir to a folder that you may write to"
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return path
