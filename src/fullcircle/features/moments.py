"""Moments: times as callers write them, in nanoseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from fullcircle.errors import RequestInvalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: Any) -> int:
    """A time as nanoseconds since 1970 in UTC: ISO 8601 text, a datetime, numpy or pandas time.

    Without a zone: UTC.
    """
    found = value
    if hasattr(value, "value") and hasattr(value, "nanosecond"):  # a pandas Timestamp
        return int(value.tz_localize("UTC").value if value.tzinfo is None else value.value)
    if type(value).__module__ == "numpy" and hasattr(value, "astype"):
        return int(value.astype("datetime64[ns]").astype("int64"))
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
    elif isinstance(value, date) and not isinstance(value, datetime):
        found = datetime(value.year, value.month, value.day)
    if not isinstance(found, datetime):
        raise RequestInvalid(
            "a moment is no time",
            received=repr(value)[:60],
            allowed="ISO 8601 text such as 2026-11-23T18:00:00, or a datetime; without a zone it is UTC",
            next_step="mend the time",
        )
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    span = found - _EPOCH
    return (span.days * 86_400 + span.seconds) * 10**9 + span.microseconds * 1000
