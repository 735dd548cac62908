"""What this worker counted, minute by minute, for the lines beside the prediction log.

Nothing is done for a request: once a second the thread that adds up the workers hands over what the meter says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fullcircle.server.meter import OTHER, PREDICT, Meter, Snapshot, labels
from fullcircle.tables.requests import MINUTE, Histogram, Line, RequestLog

PRESENT = 5.0  # seconds between two writings of the minute that is not over: what SIGKILL can lose
_COUNTED = ("requests", "reasons", "verdicts", "failed", "lost", "neither", "busy")
_logger = logging.getLogger(__name__)


class Minutes:
    """Turns snapshots into lines. ``look`` is called again and again, ``end`` once; each by any thread.

    A version that answers has a line each minute, asked or not, so that the time it was there is known. Where the
    disk takes nothing the next line tells of more than a minute. ``clock`` is that of the wall, in Unix seconds: one
    that is set back or on begins a new line.
    """

    def __init__(self, meter: Meter, log: RequestLog, *, clock: Callable[[], float] = time.time) -> None:
        self._meter, self._log, self._clock = meter, log, clock
        self._lock = threading.Lock()
        self._told = self._ended = False
        self._since = self._begun = self._presented = 0.0
        self._number = 0
        self._fullest: dict[tuple[str, int], int] = {}
        self._begin(Snapshot())

    def look(self, found: Snapshot) -> None:
        """Write what is to be written by now."""
        with self._lock:
            if self._ended:
                return
            self._raise_marks()
            now = time.monotonic()
            if self._clock() // MINUTE != self._since // MINUTE:
                self._write(found)
            elif now - self._presented >= PRESENT:
                self._presented = now
                self._tell(self._log.present(self._lines(found)))

    def end(self) -> None:
        """Write the last line."""
        with self._lock:
            self._raise_marks()
            self._write(self._meter.snapshot())
            self._ended = True

    def _raise_marks(self) -> None:
        for key, waiting in self._meter.fullest().items():
            self._fullest[key] = max(waiting, self._fullest.get(key, 0))

    def _write(self, found: Snapshot) -> None:
        done = self._log.add(self._lines(found))
        self._tell(done)
        if done:
            self._number += 1
            self._fullest = {}
            self._begin(found)

    def _begin(self, found: Snapshot) -> None:
        self._before, self._since = found, self._clock()
        self._begun = self._presented = time.monotonic()

    def _tell(self, done: bool) -> None:
        if not done and not self._told:
            _logger.error("what became of requests cannot be written beside the prediction log: no room, or no right")
        self._told = not done

    def _lines(self, found: Snapshot) -> list[Line]:
        """One line of each version that answers or that something was counted of."""
        since = datetime.fromtimestamp(self._since, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        seconds = round(max(time.monotonic() - self._begun, 0.001), 3)
        parts: dict[tuple[str, int], dict[str, Any]] = {}
        for key in found.gauges:
            name, values = labels(key)
            if name == "current":
                parts[values[0], int(values[1])] = {}
        for key, more in self._grown(found):
            name, (*what, model, version) = labels(key)
            part = parts.setdefault((model, int(version or 0)), {})
            if name == "requests":
                if what[0] in (PREDICT, OTHER):  # not what is asked about the server itself
                    known = part.setdefault(name, {})
                    status = int(what[1])
                    known[status] = known[status] + more if status in known else more
            elif what:
                part.setdefault(name, {})[what[0]] = more
            else:
                part[name] = more
        return [
            Line(
                since=since,
                seconds=seconds,
                number=self._number,
                model=model,
                version=version,
                waiting=self._fullest.get((model, version), 0),
                bound=self._meter.bound,
                **part,
            )
            for (model, version), part in parts.items()
            if model or part
        ]

    def _grown(self, found: Snapshot) -> list[tuple[str, Any]]:
        """What came since the line before: numbers, and histograms of requests."""
        grown: list[tuple[str, Any]] = []
        for key, count in found.counts.items():
            if key.partition("\t")[0] in _COUNTED and (more := _more(key, count, self._before.counts)):
                grown.append((key, round(more, 6) if isinstance(more, float) else more))
        for key, values in found.histograms.items():
            if key.startswith("requests\t"):
                earlier = self._before.histograms.get(key) or [0.0] * len(values)
                if any(new < old for new, old in zip(values, earlier, strict=True)):
                    earlier = [0.0] * len(values)
                *buckets, total = [new - old for new, old in zip(values, earlier, strict=True)]
                if any(buckets):
                    whole = [int(count) for count in buckets]
                    grown.append((key, Histogram(buckets=whole, seconds=round(total, 6))))
        return grown


def _more(key: str, count: float, before: Mapping[str, float]) -> float:
    """How much a count grew. One that was forgotten and began anew is smaller than it was."""
    earlier = before.get(key, 0)
    return count - earlier if count >= earlier else count
