"""The breaker of a version that is tried: it opens within the request that shows that too much goes wrong.

A request goes wrong where the version fails on a row that the champion answers, or takes longer than the champion's
p99 allows. One in a hundred may (``types.splits.BAD``): that is the error budget. Each process judges what it saw by
evidence that is valid at any time and that good requests of before do not weaken (``stats.exceeding``), by one test
on failures and one on slow requests. Slow ones within a second have one cause as a rule, such as a busy machine: they
count as one, and the good ones before them by as much less. Whoever opens it writes a small file beside served.json,
which all other processes see, and the next ones too.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fullcircle.stats.exceeding import Evidence, evidence
from fullcircle.tables import trips
from fullcircle.types.splits import ALPHA, BAD, SLOWER, UNFELT

FIRST = 10  # times as long may a request take while too little is known of the champion for a p99
BURST = 1.0  # seconds in which slow requests count as one
ROWS = 100  # rows for which a tenth of a second more is allowed
_KEPT = 1000  # of the champion's requests
_AGAIN = 100  # requests after which its p99 is worked out again
_TOLD = 100  # of those that went wrong: so many are thought of when it is said how many lately did
_logger = logging.getLogger(__name__)


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
        self._folder = folder
        self._unfelt = unfelt
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._told = 0
        self._p99 = 0.0
        self.requests = self.failed = self.slow = 0
        self._wrong: deque[tuple[int, bool]] = deque(maxlen=_TOLD)  # which requests, and whether they were slow
        self._failures, self._delays = Evidence(BAD), Evidence(BAD)
        self._fine = 0  # requests in a row that did not fail
        self._prompt = 0  # that were not slow, since the last burst of slow ones began
        self._before, self._size, self._burst = 0, 0, -math.inf  # of the last burst: prompt ones before it, slow ones
        self.is_open = False
        self.reason = ""  # why it opened
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
        self._fine += 1
        self._prompt += 1

    def fails(self, why: str) -> bool:
        """It failed, where the champion could answer. Whether that is too much: it is open then."""
        self.requests += 1
        self.failed += 1
        self._prompt += 1
        found = self._failures.after(self._fine)
        self._failures.take(self._fine)
        self._fine = 0
        return self._judged(found, why, slow=False)

    def lags(self, why: str) -> bool:
        """It took too long. Whether that is too much: it is open then."""
        self.requests += 1
        self.slow += 1
        self._fine += 1
        now = self._clock()
        if now - self._burst >= BURST:
            if self._size:
                self._delays.take(self._before / self._size)
            self._before, self._size, self._burst, self._prompt = self._prompt, 0, now, 0
        self._size += 1
        return self._judged(self._delays.after(self._before / self._size), why, slow=True)

    def _judged(self, found: float, why: str, *, slow: bool) -> bool:
        self._wrong.append((self.requests, slow))
        if self.is_open or found * ALPHA < 1:
            return False
        self.is_open = True
        self.reason = self._said(why, slow=slow)
        _logger.error("version %d is sent back: %s", self._version, self.reason)
        self._write(trips.Trip(self._split, self._version, self.reason, self.requests, self.failed + self.slow))
        return True

    def _said(self, why: str, *, slow: bool) -> str:
        """What went wrong lately, counted from where that tells the most, and whether it was slow or failed."""
        spans = [(place + 1, self.requests - since + 1) for place, (since, _) in enumerate(reversed(self._wrong))]
        bad, count = max(spans, key=lambda span: evidence(span[0], span[1], BAD))
        late = sum(one for _, one in list(self._wrong)[-bad:])
        how = {0: "failed", bad: "were too slow"}.get(late, f"went wrong, {late} of them too slow")
        said = f"{bad} of its last {count:,} requests {how}, {100 * BAD:g} in 100 may; the last one: {why}"
        if slow and self._seconds:
            said += f", where 99 in 100 of the champion's took at most {self._p99:.3g} s"
        return said

    def look(self) -> None:
        """See whether anybody opened it, and why."""
        if not self.is_open and self._folder is not None and trips.path_of(self._folder, self._split).exists():
            self.is_open = True
            with suppress(OSError):  # why is told by where it can be read
                found = trips.read(self._folder, self._split)
                self.reason = found.reason if found is not None else ""

    def _write(self, trip: trips.Trip) -> None:
        if self._folder is None:
            return
        try:
            trips.write(self._folder, trip)
        except OSError as error:
            _logger.error("that it is sent back cannot be written down, and others may ask it: %s", error)
