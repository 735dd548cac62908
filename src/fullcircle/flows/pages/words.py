"""Figures, times and digests as a page writes them. Every function takes a value and returns text."""

from __future__ import annotations

import math
from datetime import UTC, datetime

THIN = "\u202f"  # narrow no-break space: groups digits, and holds a figure and its unit together


def figure(value: object) -> str:
    """A number with four significant digits, thousands grouped; a dash where there is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN)
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.2g}".replace("-", "−")
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", THIN).replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """``41.2 to 47.5``, or a dash where an end is unknown."""
    if low is None or high is None:
        return "–"
    return f"{figure(float(low))} to {figure(float(high))}"


def seconds(value: float) -> str:
    """A length of time: ``0.4 s``, ``12 s``, ``3 min 5 s``."""
    if value < 9.95:
        return f"{value:.1f}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes else f"{rest}{THIN}s"


def size(value: int) -> str:
    """A number of bytes in powers of 1000."""
    amount = float(value)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f}{THIN}{unit}" if unit == "B" else f"{amount:.3g}{THIN}{unit}"
        amount /= 1000
    return f"{amount:.3g}{THIN}GB"


def when(value: str) -> str:
    """A UTC time (ISO 8601) as ``23 November 2026, 18:00 UTC``; anything else unchanged."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def short(digest: str) -> str:
    """The first twelve characters of a digest."""
    return digest[:12]


def plural(count: int, one: str, many: str = "") -> str:
    """``1 row``, ``2 rows``."""
    return f"{figure(count)} {one if count == 1 else many or one + 's'}"
