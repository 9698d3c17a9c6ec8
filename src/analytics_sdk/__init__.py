"""Know what your workflows do: every execution, step, recovery and resource sample, kept in your SQL database.

The line that data travels; each package below is one station of it:

    capture  ->  events  ->  journal  ->  shipper  ->  sinks  ->  query  ->  reporting, cli
    (your loop)  (typed)     (mmap file)   (thread or    (SQL)     (numbers)   (ink)
                                            process)

Start here: decorate with `track_workflow` and `track_step`, or point `auto_instrument` at a class that nobody may
edit; then ask `get_analytics_system().stats()`, or run `analytics-sdk report`.
"""

from typing import TYPE_CHECKING, Any

from analytics_sdk.analytics_system import configure, get_analytics_system
from analytics_sdk.capture.context import Execution, Step, copy_context, current_execution
from analytics_sdk.capture.patching import Instrumentation, Target, auto_instrument
from analytics_sdk.capture.tracking import recovery_attempt, track_step, track_workflow
from analytics_sdk.errors import AnalyticsError
from analytics_sdk.integration import get_analytics_integration

if TYPE_CHECKING:
    from analytics_sdk.system import AnalyticsSystem

__all__ = [
    "AnalyticsError",
    "AnalyticsSystem",
    "Execution",
    "Instrumentation",
    "Step",
    "Target",
    "auto_instrument",
    "configure",
    "copy_context",
    "current_execution",
    "get_analytics_integration",
    "get_analytics_system",
    "recovery_attempt",
    "track_step",
    "track_workflow",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # here, because reading metadata costs more than all the rest

        return version("analytics-sdk")
    if name == "AnalyticsSystem":
        from analytics_sdk.system import AnalyticsSystem  # here, because it loads the journal

        return AnalyticsSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
