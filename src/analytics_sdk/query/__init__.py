"""Numbers out of a store: `Query` asks, `results` are the types of the answers. Loads no SQL library by itself."""

from analytics_sdk.query.query import Query
from analytics_sdk.query.series import Course, choose_bucket_ns
from analytics_sdk.query.stats import empty_stats
from analytics_sdk.query.window import Window, resolve_window, to_datetime, to_ns

__all__ = [
    "Course",
    "Query",
    "Window",
    "choose_bucket_ns",
    "empty_stats",
    "resolve_window",
    "to_datetime",
    "to_ns",
]
