"""The pytest plugin: one fixture. It stands outside the package, because pytest loads it in every run of everybody who
has the package installed, and must not load the package with it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from analytics_sdk.testing import CapturedEvents


@pytest.fixture
def capture_analytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[CapturedEvents]":
    """What the test records, in memory: `.step("fetch").status`, `.executions`, `.stats()`. The environment's
    ANALYTICS_SDK_* settings and the process's own system are out of the way meanwhile; reports go to `tmp_path`."""
    for name in [name for name in os.environ if name.startswith("ANALYTICS_SDK_")]:
        monkeypatch.delenv(name)
    from analytics_sdk.testing import capture_events  # here, because only a test that asks for it shall load it

    with capture_events(folder=tmp_path / "analytics") as captured:
        yield captured
