"""`analytics-sdk demo`: real work, real faults, real healing, watched from outside."""

import contextlib
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analytics_sdk.cli.stats import print_stats
from analytics_sdk.reporting.words import Words

if TYPE_CHECKING:
    from analytics_sdk.analytics_system import AnalyticsSystem

SEED = 42
LOOP = "analytics_sdk.cli.demo_loop:ExecutionLoop"
HEALER = "analytics_sdk.cli.demo_loop:SelfHealing.try_strategy"


def demo(
    executions: Annotated[int, typer.Option(min=1, max=10_000, help="How many workflows are run.")] = 75,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("analytics-demo"),
) -> None:
    """Run workflows that do real work and really fail, record them, and show what comes out."""
    from analytics_sdk.analytics_system import configure
    from analytics_sdk.capture.patching import auto_instrument
    from analytics_sdk.clock import SYSTEM_CLOCK

    out.mkdir(parents=True, exist_ok=True)
    system = configure(sink=f"sqlite:///{out.absolute() / 'analytics.db'}", reports_dir=out)
    with auto_instrument(LOOP, recovery=HEALER):
        system.start_resource_monitoring(interval_seconds=0.5)
        try:
            run_workflows(executions)
        finally:
            system.stop_resource_monitoring()
    files = make_files(system, out)
    now_ns = SYSTEM_CLOCK.time_ns()
    print_stats(system.query().stats(now_ns=now_ns), None, Words())
    print("\nFiles")
    for file in files:
        print(f"  {file}")
    database = f"sqlite:///{files[0]}"
    print(f"\nNext: analytics-sdk stats partner-sync --db {database}")
    system.close()


def run_workflows(executions: int) -> None:
    """Do the work in a folder of its own, with a progress bar where there is a terminal."""
    from analytics_sdk.cli.demo_loop import ExecutionLoop, SelfHealing
    from analytics_sdk.cli.demo_material import make_workflow, serve_partner

    chance = random.Random(SEED)
    loop = ExecutionLoop(SelfHealing())
    with tempfile.TemporaryDirectory(prefix="analytics-demo-") as folder, serve_partner() as ports:
        for number in progress(executions):
            workflow = make_workflow(Path(folder), number, chance, ports)
            with contextlib.suppress(Exception):  # because a demo without failures would show nothing
                loop.execute_workflow(workflow)


def progress(executions: int) -> Any:
    """Count up to a number, and show how far that is."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return range(executions)  # because older versions of rich print an empty line even when they are told not to
    return track(range(executions), "Running workflows", console=console, transient=True)


def make_files(system: "AnalyticsSystem", out: Path) -> list[Path]:
    """Deliver what was recorded, and make the report and its charts; the paths of what there is now."""
    from analytics_sdk.reporting.report_generator import ReportConfig

    system.flush()
    generator = system.report_generator
    data = generator.generate_report(ReportConfig(title="Demo: three workflows", format="html"))
    report = generator.export_html(data, out / "report.html")
    charts = generator.export_charts(data, out / "charts")
    return [(out / "analytics.db").absolute(), Path(report).absolute(), *(Path(chart).absolute() for chart in charts)]
