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
        return _tiny(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", THIN).replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def _tiny(value: float) -> str:
    """``0.00012``, and with a power of ten below a millionth."""
    if abs(value) >= 1e-6:
        return f"{value:.7f}"[:9].rstrip("0").replace("-", "−")
    digits, _, power = f"{value:.1e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits}{THIN}×{THIN}10{raised}".replace("-", "−")


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
    moment = _moment(value)
    return value if moment is None else f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def stretch(since: str, until: str) -> str:
    """From one UTC time to another, the day named once where it is the same."""
    first, last = _moment(since), _moment(until)
    if first is None or last is None or first.date() != last.date():
        return f"{when(since)} to {when(until)}"
    if (first.hour, first.minute) == (last.hour, last.minute):
        return when(since)
    return f"{first.day} {first:%B %Y, %H:%M} to {last:%H:%M} UTC"


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def short(digest: str) -> str:
    """The first twelve characters of a digest."""
    return digest[:12]


def plural(count: int, one: str, many: str = "") -> str:
    """``1 row``, ``2 rows``."""
    return f"{figure(count)} {one if count == 1 else many or one + 's'}"
