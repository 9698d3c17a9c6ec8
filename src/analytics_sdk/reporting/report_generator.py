"""Reports: ask the store, keep the numbers, write a file.

    data = generator.generate_report(ReportConfig(title="Nightly", format="html"))
    path = generator.export(data)

Light to import: what draws and what formats is loaded when a file is written.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from analytics_sdk.clock import SYSTEM_CLOCK, Clock
from analytics_sdk.errors import ReportError
from analytics_sdk.reporting.config import FORMATS, ReportConfig

if TYPE_CHECKING:
    from analytics_sdk.reporting.report_data import Queries, ReportData

__all__ = ["FORMATS", "ReportConfig", "ReportGenerator"]


class ReportGenerator:
    """Makes reports from a store.

    `query_factory` gives a `Query` each time that one is asked; `reports_dir` is where files go that are given no
    path. May be used by several threads; they draw one after the other.
    """

    def __init__(self, query_factory: "Callable[[], Queries]", reports_dir: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._query_factory = query_factory
        self.reports_dir = Path(reports_dir)
        self._clock = clock

    def generate_report(self, config: ReportConfig) -> "ReportData":
        """Ask the store for all numbers of a report.

        Raises:
            ReportError: it ends before it starts.
            AnalyticsError: the store cannot be read.
        """
        from analytics_sdk.reporting.gathering import gather  # here, because it loads all that asks the store

        return gather(config, self._query_factory(), self._clock.time_ns())

    def export(self, data: "ReportData") -> Path:
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

    def export_html(self, data: "ReportData", path: str | os.PathLike[str] | None = None) -> Path:
        """One page that stands alone. Raises ReportError when it cannot be written, as all exports do."""
        from analytics_sdk.reporting.html import render_html  # here, because it loads jinja2 and matplotlib

        return self._write(data, path, "html", lambda: render_html(data).encode())

    def export_png(self, data: "ReportData", path: str | os.PathLike[str] | None = None) -> Path:
        """One picture of the whole report."""
        from analytics_sdk.reporting.picture import render_report_png  # here, because it loads matplotlib

        return self._write(data, path, "png", lambda: render_report_png(data))

    def export_pdf(self, data: "ReportData", path: str | os.PathLike[str] | None = None) -> Path:
        """A4 pages."""
        from analytics_sdk.reporting.picture import render_pdf  # here, because it loads matplotlib

        return self._write(data, path, "pdf", lambda: render_pdf(data))

    def export_json(self, data: "ReportData", path: str | os.PathLike[str] | None = None) -> Path:
        """All numbers; unknown ones are null."""
        from analytics_sdk.reporting.tabular import render_json

        return self._write(data, path, "json", lambda: render_json(data).encode())

    def export_csv(self, data: "ReportData", path: str | os.PathLike[str] | None = None) -> Path:
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

    def export_charts(self, data: "ReportData", directory: str | os.PathLike[str] | None = None) -> list[Path]:
        """One PNG a chart, named by what it shows; charts that would be empty are left out."""
        from analytics_sdk.reporting.picture import render_charts  # here, because it loads matplotlib

        folder = Path(directory) if directory is not None else self.reports_dir / f"{name_file(data)}-charts"
        return [_write_file(folder / f"{key}.png", picture) for key, picture in render_charts(data)]

    def _write(
        self, data: "ReportData", path: str | os.PathLike[str] | None, suffix: str, render: Callable[[], bytes]
    ) -> Path:
        place = self.reports_dir / f"{name_file(data)}.{suffix}" if path is None else Path(path)
        return _write_file(place, render())


def name_file(data: "ReportData") -> str:
    """A file name out of the title and the date: letters safe everywhere, and a hash that keeps titles apart."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", data.title.lower()).strip("-._")[:40].strip("-._") or "report"
    from analytics_sdk.reporting.words import Words  # here, because it is only needed for a file

    day = Words(data.language, ZoneInfo(data.zone) if data.zone else None).local(data.generated_at_ns).date()
    told = "\0".join((data.title, data.language, *(data.workflow_ids or ()))).encode("utf-8", "replace")
    return f"{slug}-{day.isoformat()}-{hashlib.sha256(told).hexdigest()[:6]}"


def _open_own(path: str, flags: int) -> int:
    """Opens a new file that its owner can read whatever the umask takes, and that nobody else can ever write."""
    fd = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    os.fchmod(fd, os.fstat(fd).st_mode & 0o777 | 0o600)
    return fd


def _write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: under another name first, then renamed. Its absolute path.

    Raises:
        ReportError: the place cannot be written.
    """
    path = path.expanduser().absolute()
    draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # because root would replace a device such as /dev/null
            raise FileExistsError(None, "it is no file")
        with open(draft, "xb", opener=_open_own) as file:
            file.write(content)
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
