"""What became of requests, minute by minute: one line a process, a minute and a version of a model, beside the log.

The prediction log has the rows that were answered. A request that was refused has no row; it is counted here, with
the latency of all, and how busy the model was. The files lie in the folder ``_requests`` of the log, one a process
and a day (UTC), so that nobody waits for a lock; ``<process>.now`` holds the minute that is not over, replaced as a
whole every few seconds. SIGKILL loses what was counted since then, and nothing else.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.tables.lines import Lines, moment, write
from fullcircle.tables.room import LEAST_FREE, REQUESTS, folder_bytes
from fullcircle.types import clock

SECONDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds, included, of the buckets of durations; one more bucket holds what took longer."""
MINUTE = 60.0
DAYS = 400
"""Days after which a file goes."""
SHARE = 20
"""The lines may take this part of the log's bound (a twentieth): beyond, the oldest days go first."""
_NOW, _LINES = ".now", ".jsonl"
_BRIEF = 10.0  # seconds: a shorter line tells nothing of how busy a minute was


class Histogram(msgspec.Struct, kw_only=True):
    """How long requests took: the count of each bucket (``SECONDS`` has their bounds), and the sum in seconds."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if len(self.buckets) != len(SECONDS) + 1 or min(self.buckets) < 0:
            raise ValueError(f"a histogram has {len(SECONDS) + 1} counts")

    @property
    def count(self) -> int:
        """How many requests there were."""
        return sum(self.buckets)

    def __add__(self, other: Histogram) -> Histogram:
        found = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        return Histogram(buckets=found, seconds=self.seconds + other.seconds)

    def quantile(self, share: float) -> tuple[float, float]:
        """The bounds of the bucket that holds the value below or at which ``share`` of the requests are.

        That value is the k-th smallest of n, k = max(1, ceil(share * n)); it lies above the first bound and at most
        at the second, which is infinite for what took longer than all buckets. Raises ValueError without requests.
        """
        if not self.count or not 0 <= share <= 1:
            raise ValueError("there is no quantile of no requests, or of a share beyond 0 to 1")
        wanted, passed = share * self.count, 0
        bounds = (0.0, *SECONDS, float("inf"))
        for place, count in enumerate(self.buckets):
            passed += count
            if count and passed >= wanted:
                return bounds[place], bounds[place + 1]
        raise AssertionError  # all of them are at or below the last one


class Traffic(msgspec.Struct, kw_only=True):
    """Requests of one version of a model, or of several, in ``seconds`` of the processes that answer.

    ``requests`` maps a status to how long its requests took, ``reasons`` counts why they were refused; ``verdicts``,
    ``failed``, ``lost`` and ``neither`` are rows: the last those that a version left unanswered and that the champion
    beside it would have left unanswered too. ``busy`` are the seconds in which the model computed.
    """

    seconds: float = 0.0
    requests: dict[int, Histogram] = {}
    reasons: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    failed: int = 0
    lost: int = 0
    neither: int = 0
    busy: float = 0.0

    def include(self, more: Traffic) -> None:
        """Add what was counted elsewhere, or later."""
        self.seconds += more.seconds
        self.failed += more.failed
        self.lost += more.lost
        self.neither += more.neither
        self.busy += more.busy
        _add(self.requests, more.requests)
        _add(self.reasons, more.reasons)
        _add(self.verdicts, more.verdicts)


class Line(Traffic, kw_only=True, omit_defaults=True):
    """What one process counted of one version of a model from ``since`` on, usually for a minute.

    ``number`` counts the minutes of the process. ``model`` is "" for requests that named no model that is served, or
    were refused before their address was read. ``waiting`` are the most requests that were with the model at a time,
    of ``bound`` that may be.
    """

    since: str
    seconds: float
    number: int
    model: str = ""
    version: int = 0
    waiting: int = 0
    bound: int = 0


class Counted(Traffic, kw_only=True):
    """The sum of lines, over processes and minutes. ``lines`` is how many, ``torn`` how many could not be read.

    ``seconds`` are those of all processes together, so ``busy / seconds`` is the share of time that the model
    computed; ``busiest`` is the largest such share of one process in one line, ``fullest`` the largest share of
    ``bound`` that was waiting at a time.
    """

    busiest: float = 0.0
    fullest: float = 0.0
    lines: int = 0
    torn: int = 0

    def take(self, line: Line) -> None:
        """Add one line to the sum."""
        self.include(line)
        self.lines += 1
        if line.seconds >= _BRIEF:
            self.busiest = max(self.busiest, line.busy / line.seconds)
        if line.bound:
            self.fullest = max(self.fullest, line.waiting / line.bound)

    def __add__(self, other: Counted) -> Counted:
        found = Counted(
            busiest=max(self.busiest, other.busiest),
            fullest=max(self.fullest, other.fullest),
            lines=self.lines + other.lines,
            torn=self.torn + other.torn,
        )
        found.include(self)
        found.include(other)
        return found


def _add(known: dict[Any, Any], more: Mapping[Any, Any]) -> None:
    for key, value in more.items():
        known[key] = known[key] + value if key in known else value


class RequestLog:
    """Writes the lines of this process into the folder of the prediction log. For one thread.

    ``most_bytes`` is the bound of the log (None: none), of which the lines take a twentieth at most, counted in it.
    Where the disk has no room nothing is written, and nothing raised: ``add`` says so, and the caller keeps counting.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        self._log, self._home = folder, folder / REQUESTS
        self._most = None if most_bytes is None else most_bytes // SHARE
        self._whole = most_bytes
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._swept = ""

    def add(self, lines: Sequence[Line]) -> bool:
        """Append the lines of a minute that is over, all or none. False where they cannot be written now."""
        days: dict[str, list[bytes]] = {}
        for line in lines:
            days.setdefault(line.since[:10], []).append(msgspec.json.encode(line) + b"\n")
        try:
            self._room()
            for day, found in days.items():
                self._append(self._home / f"{day}-{self._name}{_LINES}", b"".join(found))
            (self._home / f"{self._name}{_NOW}").unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def present(self, lines: Sequence[Line]) -> bool:
        """Say what was counted of the minute that is not over. False where it cannot be written now."""
        path = self._home / f"{self._name}{_NOW}"
        beside = path.with_name(f".{path.name}")
        try:
            self._room()
            beside.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            os.replace(beside, path)
        except OSError:
            return False
        return True

    def _room(self) -> None:
        """See that there is a folder, and room. Raises OSError."""
        self._home.mkdir(parents=True, exist_ok=True)
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime())
        if hour != self._swept:
            self._swept = hour
            self._sweep()
        found = os.statvfs(self._home)
        if found.f_bavail * found.f_frsize < LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _append(self, path: Path, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(handle).st_size
            try:
                write(handle, data)
            except OSError:
                os.ftruncate(handle, size)  # nobody else writes to this file
                raise
        finally:
            os.close(handle)

    def _sweep(self) -> None:
        """Remove what is too old, then the oldest while there is too much; never what this process writes."""
        present = datetime.fromtimestamp(clock.micros() / 1e6, UTC)
        oldest = (present - timedelta(days=DAYS)).strftime("%Y-%m-%d")
        found = sorted((_day(path), path) for path in self._home.iterdir() if path.suffix in (_LINES, _NOW))
        sizes = {path: _size(path) for _, path in found}
        used = sum(sizes.values())
        over = 0 if self._whole is None else max(used - (self._most or 0), folder_bytes(self._log) - self._whole)
        for day, path in found:
            if self._name in path.name or (day >= oldest and over <= 0):
                continue
            path.unlink(missing_ok=True)
            over -= sizes[path]


def _day(path: Path) -> str:
    """The day whose lines a file holds; of a minute that is not over, the day it was written."""
    if path.suffix == _LINES:
        return path.name[:10]
    with suppress(FileNotFoundError):
        return time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))
    return ""


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # another process took it away
        return path.stat().st_size
    return 0


class Requests:
    """Reads what all processes wrote between two times (UTC, ISO 8601, the end excluded), each line once.

    ``torn`` counts lines that cannot be read, in the last reading. A line counts where it began: what came in the
    second around the end of a minute may count in the next one.
    """

    def __init__(self, folder: Path, since: str, until: str) -> None:
        self._home = folder / REQUESTS
        self._since, self._until = moment(since), moment(until)
        self.torn = 0

    def __iter__(self) -> Iterator[Line]:
        self.torn = 0
        if not self._home.is_dir():
            return
        # First what is not over: a minute that ends meanwhile is found again among the lines, and told from them.
        present = [(path.stem, [*self._lines(path)]) for path in self._home.glob(f"*{_NOW}")]
        known: set[tuple[str, int]] = set()
        minutes = {name for name, _ in present}
        for path in sorted(self._home.glob(f"*{_LINES}")):
            day, process = path.name[:10], path.stem[11:]
            if self._since[:10] <= day <= self._until[:10]:
                for line in self._lines(path):
                    if process in minutes:
                        known.add((process, line.number))
                    if self._since <= line.since < self._until:
                        yield line
        for process, lines in present:
            for line in lines:
                if (process, line.number) not in known and self._since <= line.since < self._until:
                    yield line

    def _lines(self, path: Path) -> Iterator[Line]:
        lines = Lines(path, Line)
        yield from lines
        self.torn += lines.torn


def read(
    folder: Path, model: str, stretches: Sequence[tuple[str, str]], version: int | None = None
) -> tuple[Counted, ...]:
    """The sum of each stretch (since, until) of one model, of all versions or one. Stretches are in order.

    With ``model`` "" those that named no model that is served. ``torn`` lines count in the first stretch.
    """
    found = tuple(Counted() for _ in stretches)
    if not stretches:
        return found
    begins, ends = [moment(since) for since, _ in stretches], [moment(until) for _, until in stretches]
    lines = Requests(folder, begins[0], max(ends))
    for line in lines:
        place = bisect_right(begins, line.since) - 1
        if line.model == model and version in (None, line.version) and line.since < ends[place]:
            found[place].take(line)
    found[0].torn = lines.torn
    return found
