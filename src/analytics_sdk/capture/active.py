"""The process's recorder: decorators read it at each call, systems put themselves here."""

import os
from collections.abc import Callable

from analytics_sdk.capture.recorder import Recorder


class Active:
    """What is active in this process."""

    recorder: Recorder | None = None
    enabled = True
    """False: capture is off for this process, by the user's word."""
    bootstrap: Callable[[], Recorder | None] | None = None
    """Makes the default system on the first tracked call; set by `analytics_system`. Never raises."""

    def start(self) -> Recorder | None:
        """The recorder, made now where there is none yet; None where capture is off."""
        if self.recorder is None and self.enabled and self.bootstrap is not None:
            return self.bootstrap()
        return self.recorder


active = Active()


def _after_fork_in_child() -> None:
    if active.recorder is not None:
        active.recorder.disown_open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
