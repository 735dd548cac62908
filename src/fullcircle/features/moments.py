"""Moments: times as callers write them, in nanoseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from fullcircle.errors import RequestInvalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"D": 86_400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def moment(value: Any) -> int:
    """A time as nanoseconds since 1970 in UTC: ISO 8601 text, a datetime or date, numpy's or pandas' time.

    Without a zone it is UTC. Raises RequestInvalid for anything else, and for a time that 64 bits do not hold.
    """
    ticks = _ticks(value)
    if ticks is None or not -(2**63) < ticks < 2**63:
        raise RequestInvalid(
            "a moment is no time" if ticks is None else "a moment is out of range",
            received=repr(value)[:60],
            allowed="ISO 8601 text such as 2026-11-23T18:00:00, or a datetime, of the years 1678 to 2261; "
            "without a zone it is UTC",
            next_step="mend the time",
        )
    return ticks


def _ticks(value: Any) -> int | None:
    if type(value).__module__ == "numpy":
        return _of_numpy(value)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime) or value != value:  # pandas' NaT is a datetime that is not itself
        return None
    finer = getattr(value, "nanosecond", 0)  # of a pandas Timestamp
    plain = datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
    span = plain.replace(fold=value.fold) - _EPOCH
    return (span.days * 86_400 + span.seconds) * 10**9 + span.microseconds * 1000 + finer


def _of_numpy(value: Any) -> int | None:
    import numpy as np

    if not isinstance(value, np.datetime64) or np.isnat(value):
        return None
    unit, step = np.datetime_data(value.dtype)
    if unit in ("Y", "M", "W"):
        value, unit, step = value.astype("datetime64[D]"), "D", 1
    if unit not in _UNITS:
        return None  # finer than nanoseconds
    return int(value.astype(np.int64)) * step * _UNITS[unit]
