"""Colours, by meaning: the same everywhere, Okabe and Ito's hues, darker on light paper and lighter on dark.

Every colour of a theme is unlike every other, because charts in a page are drawn once, in `LIGHT`, and each of its
colours is then replaced by the CSS variable of its name.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Theme:
    """One value, `#rrggbb`, for each meaning."""

    paper: str
    ink: str
    muted: str
    """Second-rank text."""
    rule: str
    """Grid lines and axes: decoration, never needed to read a chart."""
    success: str
    failed: str
    recovered: str
    accent: str
    """Running, and lines that are neither good nor bad."""
    crashed: str
    neutral: str
    first: str
    """Series without a meaning of their own, by their order: processes, GPUs."""
    second: str
    third: str
    fourth: str


LIGHT = Theme(
    paper="#ffffff",
    ink="#1a1a1a",
    muted="#595f69",
    rule="#dfe2e6",
    success="#00875f",
    failed="#c75400",
    recovered="#b07900",
    accent="#0072b2",
    crashed="#b3578b",
    neutral="#80868f",
    first="#005f94",
    second="#8a6100",
    third="#9c4777",
    fourth="#00704f",
)
DARK = Theme(
    paper="#111417",
    ink="#eceff1",
    muted="#a4adb5",
    rule="#2b3137",
    success="#00b583",
    failed="#f07b2e",
    recovered="#e8a800",
    accent="#56b4e9",
    crashed="#dd92bb",
    neutral="#7f8992",
    first="#5fb9ec",
    second="#eaae1a",
    third="#de97be",
    fourth="#16bd8d",
)
SERIES = ("first", "second", "third", "fourth")

STATUS_COLOURS = {
    "success": "success",
    "recovered": "recovered",
    "failed": "failed",
    "timeout": "failed",
    "crashed": "crashed",
    "running": "accent",
}


def colour_names() -> list[str]:
    """The names of all colours, in their order."""
    return [field.name for field in fields(Theme)]


def colour_of(theme: Theme, name: str) -> str:
    """The value of a colour by its name."""
    value: str = getattr(theme, name)
    return value


def status_colour(theme: Theme, status: str) -> str:
    """The colour of a status; grey for what neither succeeded nor failed."""
    return colour_of(theme, STATUS_COLOURS.get(status, "neutral"))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by WCAG 2, from 1 to 21."""

    def luminance(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
