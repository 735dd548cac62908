"""Where the axes of a picture are labelled: round values, and days, months hours, minutes or seconds as they fall."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

# Neighbours differ so little that a label or two are left wherever one step would give too many.
_SECONDS = (1, 2, 5, 10, 30, *(60 * minutes for minutes in (1, 2, 5, 15, 30, 60, 180, 360, 720)))
_DAYS = (1, 2, 7, 14, 28)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


def value_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """At most ``most`` + 1 round values, evenly spaced, that reach around ``low`` and ``high``; at least two."""
    if not low < high:
        return (low, low + 1.0)
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    digits = 12 - math.floor(math.log10(step))
    return tuple(round(place * step, digits) for place in range(first, max(last, first + 1) + 1))


def time_ticks(low: float, high: float, most: int = 7) -> tuple[tuple[float, str], ...]:
    """At most about ``most`` moments between two times (seconds since 1970, UTC), each with its label.

    Labels are as long as they have to be: the second within minutes, the minute within days, the day within months,
    the month within years.
    """
    span = max(high - low, 1.0)
    for seconds in _SECONDS:
        if span / seconds <= most:
            return _even(low, high, float(seconds))
    for days in _DAYS:
        if span / (86400 * days) <= most:
            return _even(low, high, 86400.0 * days)
    return _months(low, high, next((m for m in _MONTHS if span / (86400 * 30.44 * m) <= most), _MONTHS[-1]))


def moment(text: str) -> float | None:
    """Seconds since 1970 of a UTC time (ISO 8601), None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _even(low: float, high: float, step: float) -> tuple[tuple[float, str], ...]:
    weeks = step >= 7 * 86400
    origin = 4 * 86400.0 if weeks else 0.0  # weeks begin on a Monday
    first = origin + math.ceil((low - origin) / step) * step
    places = [first + step * place for place in range(int((high - first) // step) + 1)] if first <= high else []
    return tuple((place, _shown(place, step)) for place in places)


def _shown(place: float, step: float) -> str:
    at = datetime.fromtimestamp(place, UTC)
    if step >= 86400 or (at.hour, at.minute, at.second) == (0, 0, 0):
        return f"{at.day} {at:%b}"
    return f"{at:%H:%M}" if step >= 60 else f"{at:%H:%M:%S}"


def _months(low: float, high: float, step: int) -> tuple[tuple[float, str], ...]:
    begun = datetime.fromtimestamp(low, UTC)
    at = datetime(begun.year, begun.month, 1, tzinfo=UTC)
    found = []
    while at.timestamp() <= high:
        index = at.year * 12 + at.month - 1
        if at.timestamp() >= low and index % step == 0:
            found.append((at.timestamp(), f"{at:%b}" if at.month != 1 and step < 12 else f"{at.year}"))
        at = (at + timedelta(days=32)).replace(day=1)
    return tuple(found)
