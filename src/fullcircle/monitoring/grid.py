"""Batches on the clock: each is as long as the monitor's window, and one begins on Monday, 5 January 1970, 00:00 UTC.

Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fullcircle.types import clock
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import Profile

MONDAY = 4 * 86_400_000_000
WEEK = 7 * 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def micros(text: str) -> int | None:
    """The moment of a time in ISO 8601 (UTC if it has no zone); None where it cannot be read."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _since(found)


def _since(moment: datetime) -> int:
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICRO


def iso(moment: int) -> str:
    """A moment as the log writes times: ISO 8601 with microseconds and Z."""
    return (_EPOCH + timedelta(microseconds=moment)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> int:
    """The present moment."""
    return clock.micros()


def length(text: str) -> int:
    """A span such as "7d" in microseconds."""
    return duration(text) // _MICRO


@dataclass(frozen=True)
class Grid:
    """Batches of ``length`` microseconds."""

    length: int

    def start(self, moment: int) -> int:
        """When the batch began, or begins, that a moment is in."""
        return moment - (moment - MONDAY) % self.length

    def phase(self, start: int, profile: Profile) -> int:
        """Which part of the week a batch is in, of those that the reference tells apart; 0 where it tells none."""
        known = profile.dependence
        if known is None or known.phases <= 1:
            return 0
        return int((start - MONDAY) % WEEK // (known.seconds * 1_000_000)) % known.phases
