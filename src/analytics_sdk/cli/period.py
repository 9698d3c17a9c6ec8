"""Stretches of time as people type them: `30m`, `24h`, `7d`."""

import re

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def parse_period(text: str) -> float:
    """Seconds in `90s`, `30m`, `24h`, `7d` or `2w`.

    Raises:
        ValueError: it is none of these, or nothing at all.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if not match or match[2] not in UNITS or not float(match[1]):
        raise ValueError(f"{text!r} is no stretch of time; write it as 30m, 24h or 7d")
    return float(match[1]) * UNITS[match[2]]
