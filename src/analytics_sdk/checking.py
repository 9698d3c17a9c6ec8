"""What is wrong with settings is found when they are given, and not when something is to be delivered or archived."""

from analytics_sdk.config import Settings
from analytics_sdk.errors import AnalyticsError, ArchiveError, SettingError
from analytics_sdk.guard import trouble
from analytics_sdk.journal.owner import private_folder
from analytics_sdk.sinks import make_sink
from analytics_sdk.sinks.base import Sink


def check_settings(settings: Settings) -> None:
    """Find out what is wrong with a sink, with the journal's folder, or with what retention needs.

    Raises:
        SettingError: something that the user gave cannot work.
    """
    for target in settings.sinks:
        if not isinstance(target, Sink):
            make_sink(target, schema=settings.schema, table_prefix=settings.table_prefix)
    if settings.retention_days is not None:
        from analytics_sdk.archive.parquet import require_pyarrow  # here, because few programs archive

        try:
            require_pyarrow()
        except ArchiveError as problem:
            raise SettingError(f"retention_days is set: {problem}") from None
    given = settings.sources["sink"] != "default" or settings.sources["journal_dir"] != "default"
    assert settings.journal_dir is not None
    try:
        private_folder(settings.journal_dir)
    except (OSError, AnalyticsError) as problem:
        message = (
            f"the journal folder {settings.journal_dir} cannot be used: {problem}; set journal_dir to a folder of yours"
        )
        if given:
            raise SettingError(message) from None
        trouble("journal-folder", "%s", message)
