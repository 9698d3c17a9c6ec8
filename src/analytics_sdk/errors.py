"""Everything that this package raises. Each message says what happened and what to do next."""


class AnalyticsError(Exception):
    """The root: catch this to catch all of ours."""


class SettingError(AnalyticsError):
    """A setting that the user gave cannot work. Raised by `configure`, never inside the host's loop."""


class SelectorError(AnalyticsError):
    """A selector (`node_id="{node.id}"`, `success=lambda result: ...`) is wrong. Raised while decorating."""


class TargetError(AnalyticsError):
    """`auto_instrument` was pointed at something that is not there, or that cannot be patched."""


class JournalError(AnalyticsError):
    """A journal folder or file cannot be used."""


class ReportError(AnalyticsError):
    """A report cannot be made as asked: an unknown format, an unknown language, a place that cannot be written."""


class ArchiveError(AnalyticsError):
    """The archive cannot be written or read: a library is not installed, a file is missing or damaged."""


class SinkError(AnalyticsError):
    """A sink could not do what it was asked. The subclasses tell the shipper what to do about it."""


class SinkUnavailable(SinkError):
    """For now: locked, down, refused, cut off. The shipper backs off and tries again, without a limit in time."""


class SinkMisconfigured(SinkError):
    """Until somebody acts: wrong password, missing driver, another schema. Delivery stops, journaling goes on."""


class RejectedRecord(SinkError):
    """This batch holds a value that the sink refuses. The shipper narrows it down to the record and sets that aside."""


class Fenced(SinkError):
    """Another shipper has moved the journal's position: nothing was written, and nothing is to be written again."""
