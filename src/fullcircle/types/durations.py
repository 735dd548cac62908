"""Spans of time and rates as people write them: "7d", "12h", "1 per year"."""

from __future__ import annotations

import re
from datetime import timedelta

from fullcircle.errors import ProjectInvalid

# Eight digits before the point: what can be written can be counted with, in every unit.
_NUMBER = r"[0-9]{1,8}(?:\.[0-9]+)?"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PER = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "quarter": 365.25 / 4, "year": 365.25}


def duration(text: str) -> timedelta:
    """Read a span such as ``"90s"``, ``"15m"``, ``"12h"``, ``"7d"`` or ``"2w"``."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*(ms|[smhdw])\s*", text) if isinstance(text, str) else None
    if match is None:
        raise ProjectInvalid(
            "a span of time cannot be read",
            received=repr(text),
            allowed='a number below a hundred million and ms, s, m, h, d or w, such as "5ms", "12h" or "7d"',
            next_step="write it in this form in the project file",
        )
    if match[2] == "ms":
        return timedelta(milliseconds=float(match[1]))
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def per_year(text: str) -> float:
    """Read a rate such as ``"1 per year"`` or ``"2 per month"`` as events a year."""
    match = (
        re.fullmatch(rf"\s*({_NUMBER})\s+per\s+(day|week|month|quarter|year)\s*", text)
        if isinstance(text, str)
        else None
    )
    if match is None or float(match[1]) <= 0:
        raise ProjectInvalid(
            "a rate cannot be read",
            received=repr(text),
            allowed="a positive number below a hundred million and per day, week, month, quarter or year",
            next_step='write for example false_alerts="1 per year"',
        )
    return float(match[1]) * 365.25 / _PER[match[2]]


def byte_count(text: str) -> int:
    """Read a size such as ``"20MB"`` or ``"500 kB"`` (powers of 1000) as bytes."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*(B|kB|KB|MB|GB)\s*", text) if isinstance(text, str) else None
    if match is None:
        raise ProjectInvalid(
            "a size cannot be read",
            received=repr(text),
            allowed='a number below a hundred million and B, kB, MB or GB, such as "20MB"',
            next_step="write it in this form in the project file",
        )
    return round(float(match[1]) * {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}[match[2]])
