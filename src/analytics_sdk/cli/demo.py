"""`analytics-sdk demo`: real work, real faults, real healing, watched from outside."""

import contextlib
import random
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from analytics_sdk.cli.guidance import PROGRAM, epilog
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.stats import print_stats
from analytics_sdk.cli.store import Json
from analytics_sdk.cli.terminal import counted, emphasise, print_json, print_wrapped
from analytics_sdk.reporting.words import Words

if TYPE_CHECKING:
    from analytics_sdk.analytics_system import AnalyticsSystem

EPILOG = epilog(
    ["demo", "demo --executions 300 --out /tmp/demo"],
    {0: "the database, the report and its charts are where the printed paths say"},
    json='{"database", "report", "charts", "next", "stats"}',
)
STORY = (
    "Some files are missing, damaged or in another encoding, and a service answers late. "
    "The loop that runs the work knows nothing of analytics."
)
SEED = 42
LOOP = "analytics_sdk.cli.demo_loop:ExecutionLoop"
HEALER = "analytics_sdk.cli.demo_loop:SelfHealing.try_strategy"


def demo(
    executions: Annotated[int, typer.Option(min=1, max=10_000, help="How many workflows are run.")] = 75,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("analytics-demo"),
    json: Json = False,
) -> None:
    """Run workflows that do real work and really fail, record them, and show what comes out."""
    from analytics_sdk.analytics_system import configure
    from analytics_sdk.capture.patching import auto_instrument
    from analytics_sdk.clock import SYSTEM_CLOCK

    say = partial(print, file=sys.stderr) if json else print_wrapped
    out.mkdir(parents=True, exist_ok=True)
    system = configure(sink=f"sqlite:///{out.absolute() / 'analytics.db'}", reports_dir=out)
    say(f"Running {counted(executions, 'workflow')} of real work. {STORY}")
    with auto_instrument(LOOP, recovery=HEALER):
        system.start_resource_monitoring(interval_seconds=0.5)
        try:
            run_workflows(executions)
        finally:
            system.stop_resource_monitoring()
    say("Delivering what was recorded; making the report and its charts.")
    files = make_files(system, out)
    answer: Mapping[str, Any] = system.query().stats(now_ns=SYSTEM_CLOCK.time_ns())
    system.close()
    following = f"{PROGRAM} stats partner-sync --db sqlite:///{files.database}"
    if json:
        print_json({**files._asdict(), "next": following, "stats": answer})
        return
    print()
    print_stats(answer, None, Words())
    print(f"\n{emphasise('Files')}")
    for file in files.database, files.report, files.charts[0].parent:
        print(f"  {file}")
    print(f"\nNext: {following}")


def run_workflows(executions: int) -> None:
    """Do the work in a folder of its own."""
    from analytics_sdk.cli.demo_loop import ExecutionLoop, SelfHealing
    from analytics_sdk.cli.demo_material import make_workflow, serve_partner

    chance = random.Random(SEED)
    loop = ExecutionLoop(SelfHealing())
    with (
        tempfile.TemporaryDirectory(prefix="analytics-demo-") as folder,
        serve_partner() as ports,
        Progress("Running workflows", executions) as progress,
    ):
        for number in range(executions):
            workflow = make_workflow(Path(folder), number, chance, ports)
            with contextlib.suppress(Exception):  # because a demo without failures would show nothing
                loop.execute_workflow(workflow)
            progress.move(number + 1, f"{number + 1} of {executions}")


class Files(NamedTuple):
    """What the demo leaves behind."""

    database: Path
    report: Path
    charts: list[Path]


def make_files(system: "AnalyticsSystem", out: Path) -> Files:
    """Deliver what was recorded, and make the report and its charts."""
    from analytics_sdk.reporting.report_generator import ReportConfig

    with Progress("Delivering what was recorded") as progress:
        system.flush()
        generator = system.report_generator
        data = generator.generate_report(ReportConfig(title="Demo: three workflows", format="html"))
        progress.doing = "Making the report"
        report = generator.export_html(data, out / "report.html")
        progress.doing = "Making the charts"
        charts = generator.export_charts(data, out / "charts")
    return Files((out / "analytics.db").absolute(), report.absolute(), [chart.absolute() for chart in charts])
