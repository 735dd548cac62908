"""The breaker of a version that is tried: it opens within the request that shows that too much goes wrong.

A request goes wrong where the version fails on a row that the champion answers, or takes longer than the champion's
p99 allows. One in a hundred may (``types.splits.BAD``): that is the error budget. Each process judges what it saw by
evidence that is valid at any time (``stats.exceeding``), by one test on failures and one on slow requests. Slow ones
within a second have one cause as a rule, such as a busy machine: they count as one, and all requests by as much less.
Whoever opens it writes a small file beside served.json, which all other processes see, and the next ones too.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from fullcircle.stats.exceeding import evidence
from fullcircle.types.splits import ALPHA, BAD, SLOWER, UNFELT

FOLDER = "splits"
FIRST = 10  # times as long may a request take while too little is known of the champion for a p99
BURST = 1.0  # seconds in which slow requests count as one
ROWS = 100  # rows for which a tenth of a second more is allowed
_KEPT = 1000  # of the champion's requests
_AGAIN = 100  # requests after which its p99 is worked out again
_ENOUGH = math.log(1 / ALPHA)
_logger = logging.getLogger(__name__)


class Trip(msgspec.Struct, frozen=True):
    """What the file says: why, after how many requests, of which so many went wrong."""

    split: str
    version: int
    reason: str
    requests: int = 0
    bad: int = 0


class Breaker:
    """Judges one version under one split. ``folder`` is where the file goes; None: nowhere. For one event loop."""

    def __init__(
        self,
        split: str,
        version: int,
        folder: Path | None = None,
        *,
        unfelt: float = UNFELT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._split, self._version, self._clock = split, version, clock
        self._path = None if folder is None else folder / f"{split}.json"
        self._unfelt = unfelt
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._told = 0
        self._p99 = 0.0
        self.requests = self.failed = self.slow = 0
        self._bursts, self._burst = 0, -math.inf
        self.is_open = False
        self.look()

    def champion(self, seconds: float) -> None:
        """The champion answered a request in so many seconds."""
        self._seconds.append(seconds)
        self._told += 1
        if self._told % _AGAIN == 0 or (self._told < _AGAIN and seconds > self._p99):
            ordered = sorted(self._seconds)
            self._p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]

    def patience(self, rows: int = 1) -> float:
        """The seconds after which a request of so many rows goes wrong."""
        few = len(self._seconds) < _AGAIN
        return SLOWER * self._p99 + self._unfelt * (FIRST if few else 1) * (1 + rows // ROWS)

    def well(self) -> None:
        """The version answered a request."""
        self.requests += 1

    def fails(self, why: str) -> bool:
        """It failed, where the champion could answer. Whether that is too much: it is open then."""
        self.requests += 1
        self.failed += 1
        return self._judged(self.failed, self.requests, why)

    def lags(self, why: str) -> bool:
        """It took too long. Whether that is too much: it is open then."""
        self.requests += 1
        self.slow += 1
        now = self._clock()
        if now - self._burst >= BURST:
            self._bursts, self._burst = self._bursts + 1, now
        count = math.floor(self.requests * self._bursts / self.slow)
        return self._judged(self._bursts, max(count, self._bursts), why)

    def _judged(self, bad: int, count: int, why: str) -> bool:
        if self.is_open or evidence(bad, count, BAD) < _ENOUGH:
            return False
        self.is_open = True
        wrong = self.failed + self.slow
        reason = f"{wrong} of {self.requests:,} requests went wrong, {100 * BAD:g} in 100 may; the last one: {why}"
        _logger.error("version %d is sent back: %s", self._version, reason)
        self._write(Trip(self._split, self._version, reason, self.requests, wrong))
        return True

    def look(self) -> None:
        """See whether anybody opened it."""
        if not self.is_open and self._path is not None and self._path.exists():
            self.is_open = True

    def _write(self, trip: Trip) -> None:
        if self._path is None:
            return
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(exist_ok=True)
            beside.write_bytes(msgspec.json.encode(trip))
            with suppress(FileExistsError):
                os.link(beside, self._path)
        except OSError as error:
            _logger.error("that it is sent back cannot be written down, and others may ask it: %s", error)
        finally:
            with suppress(OSError):
                beside.unlink()


def read(folder: Path, split: str) -> Trip | None:
    """What the file of a split says; None where no process opened its breaker."""
    try:
        content = (folder / f"{split}.json").read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(content, type=Trip)
    except msgspec.MsgspecError:
        return Trip(split, 0, "its breaker opened, and the file that says why cannot be read")
