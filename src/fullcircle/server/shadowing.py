"""Shadows: versions that answer copies of what the champion answered, in processes of their own, for a log alone.

The worker hands a copy over after the answer was made, and waits for nothing: what does not fit into a queue of a
bounded size is lost, and counted. The process decodes, answers and logs; it is nicer than who answers callers. One
that does not come back is ended, and a new one begun, each time later than before.

The log lies in a folder of its own, so that nothing of it is taken for production. A row holds no inputs: ``of``
names the champion's prediction, whose row has them. What was lost is in its ``lost.jsonl``; rows that were given to a
process and not known to be logged when it died count there, so that it may say more than is missing, never less.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import FullcircleError, ServerBusy
from fullcircle.server.engine import Ask
from fullcircle.server.lane import aside
from fullcircle.server.requests import rows_of
from fullcircle.server.strict import decode
from fullcircle.tables.appending import PredictionLog
from fullcircle.tables.lines import now
from fullcircle.tables.room import Losses
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fullcircle.runtimes.scorer import Scorer
    from fullcircle.server.spawning import Spawned

SHADOWS = "shadows"
"""The folder of the log, beside that of predictions."""
QUEUE = 16 * 2**20  # bytes that may wait for the process
DEADLINE = 5.0  # seconds without a row done, while some wait, after which it is ended
AGAIN, LATEST = 10.0, 600.0  # seconds until another process is begun: at first, and at last
SOON = 0.01  # seconds in which copies are gathered: a call of the system for each would be felt
TELLING = 1.0  # seconds between two notes of what was lost
STILL = 1.0  # seconds without a row done, after which it is taken to hang when all ends
NICE = 10
ROWS = 256  # of several requests in one call
_MOST_ROWS = 10_000_000
_HEAD = struct.Struct("=III")  # bytes of the request, bytes of the answer, rows
_DONE = struct.Struct("=Q")
_logger = logging.getLogger(__name__)


class ShadowLog(msgspec.Struct, frozen=True):
    """Where a shadow's process writes, and for which split."""

    folder: str
    split: str
    most_bytes: int | None = None
    fsync: str = "interval"


class _Id(msgspec.Struct):
    id: str


class _Answers(msgspec.Struct):
    predictions: list[_Id] = []


_answers = msgspec.json.Decoder(_Answers)


class Shadow:
    """Hands copies to the process of one shadow. ``spawn`` starts another process; ``first`` is one that is ready.

    ``offer`` and ``tick`` are for one event loop. ``name`` is the model's.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Spawned],
        first: Spawned,
        folder: Path,
        *,
        queue: int = QUEUE,
        deadline: float = DEADLINE,
        again: float = AGAIN,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name, self._spawn, self._on_close = name, spawn, closed
        self._process: Spawned | None = first
        self._losses = Losses(folder)
        self._queue, self._deadline = queue, deadline
        self._wait = again
        self._held: list[tuple[Ask | bytes, bytes, int]] = []
        self._bytes = self._rows = 0  # of what is held
        self._given = self._done = 0  # rows, of the present process
        self._moved = self._next = self._told = 0.0
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[Any] | None = None
        self._starting: Future[Spawned] | None = None
        self._flushing = self._closed = self._lost_since_told = False

    @property
    def lost(self) -> int:
        """Rows that were lost, as far as this process knows."""
        return self._losses.total.get(self._name, 0)

    def offer(self, ask: Ask, answer: bytes) -> None:
        """Take a copy of a request and of its answer, if there is room. Never waits, never raises."""
        size = (len(ask.body) or len(answer)) + len(answer)  # what came in another form is written as JSON later
        waiting = self._bytes + (self._transport.get_write_buffer_size() if self._transport is not None else 0)
        rows = max(ask.count, 1)
        if self._closed or waiting + size > self._queue:
            self._lose(rows)
            return
        self._held.append((ask.body or ask, answer, rows))  # the rows of many requests would be looked at as garbage
        self._bytes += size
        self._rows += rows
        if not self._flushing and self._transport is not None:
            self._flushing = True
            asyncio.get_running_loop().call_later(SOON, self._flush)

    def tick(self) -> None:
        """See that the process lives and works; ten times a second."""
        if self._closed:
            return
        if self._lost_since_told and time.monotonic() - self._told >= TELLING:
            self._lost_since_told, self._told = False, time.monotonic()
            aside(self._losses.tell, "shadow-losses")
        if self._process is None:
            self._begin_again()
        elif self._transport is None and self._opening is None:
            self._opening = asyncio.ensure_future(self._open(self._process))
        elif self._given > self._done and time.monotonic() - self._moved > self._deadline:
            self._gone(f"it did nothing for {self._deadline:g} s")

    def close(self) -> None:
        """Let the process finish what it has, and end: it ends itself when nothing more can come."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        process, transport = self._process, self._transport
        self._process = self._transport = None
        self._lose(self._rows)
        left = self._given - self._done
        if time.monotonic() - self._moved > STILL:  # it hangs, most likely, and this process may not live to see it
            self._lose(left)
            left = 0
        if transport is not None:
            (transport.close if left or self._given == self._done else transport.abort)()
        if process is not None:
            aside(partial(self._finish, process, left), "shadow-finish")
        if self._starting is not None:
            self._starting.add_done_callback(_killed)
        aside(self._losses.tell, "shadow-losses")
        self._on_close()

    def _finish(self, process: Spawned, left: int) -> None:
        """Wait until the process has done what it was given, and ends itself; or end it, and count what is left."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = process.process.wait(self._deadline)
        process.kill()
        if code != 0 and left:
            self._lose(left)
            self._losses.tell()

    def _lose(self, rows: int) -> None:
        if rows:
            self._losses.add(self._name, rows, now())
            self._lost_since_told = True

    def _flush(self) -> None:
        """Hand over what is held: after the answers left, for several requests at once."""
        self._flushing = False
        if self._transport is None or not self._held:
            return
        if self._given == self._done:
            self._moved = time.monotonic()
        frames: list[bytes] = []
        for asked, answer, rows in self._held:
            body = (
                asked
                if isinstance(asked, bytes)
                else _encode({"rows": asked.plain if asked.rows is None else asked.rows})
            )
            frames += (_HEAD.pack(len(body), len(answer), rows), body, answer)
        self._transport.write(b"".join(frames))
        self._given += self._rows
        self._held, self._bytes, self._rows = [], 0, 0

    async def _open(self, process: Spawned) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: _Acknowledged(self, process), sock=process.connection)
        except OSError:
            self._gone("it cannot be reached")
        else:
            if self._closed:
                transport.close()
                return
            transport.set_write_buffer_limits(high=self._queue)
            self._transport = transport
            self._flush()
        finally:
            self._opening = None

    def acknowledged(self, process: Spawned, rows: int) -> None:
        """The process has logged so many rows by now."""
        if process is self._process:
            self._done, self._moved = rows, time.monotonic()

    def gone(self, process: Spawned) -> None:
        """The process ended, or closed its socket."""
        if process is self._process and not self._closed:
            self._gone("it ended")

    def _gone(self, why: str) -> None:
        process, transport = self._process, self._transport
        self._process = self._transport = None
        lost = self._given - self._done
        _logger.error("the shadow of %s is ended, %d rows are lost: %s", self._name, lost, why)
        self._lose(lost)
        self._given = self._done = 0
        if transport is not None:
            transport.abort()
        if process is not None:
            aside(process.kill, "shadow-end")
        self._next = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LATEST)

    def _begin_again(self) -> None:
        if self._starting is None:
            if time.monotonic() >= self._next:
                self._starting = aside(self._spawn, "shadow")
            return
        if not self._starting.done():
            return
        starting, self._starting = self._starting, None
        try:
            self._process = starting.result()
        except (OSError, ServerBusy) as error:
            _logger.error("the shadow of %s cannot be started again: %s", self._name, error)
            self._next = time.monotonic() + self._wait
            self._wait = min(2 * self._wait, LATEST)


class _Acknowledged(asyncio.Protocol):
    """Reads how many rows the process has done."""

    def __init__(self, shadow: Shadow, process: Spawned) -> None:
        self._shadow, self._process = shadow, process
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Only the last count matters."""
        self._rest += data
        whole = len(self._rest) // _DONE.size * _DONE.size
        if whole:
            (rows,) = _DONE.unpack(self._rest[whole - _DONE.size : whole])
            self._rest = self._rest[whole:]
            self._shadow.acknowledged(self._process, rows)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._shadow.gone(self._process)


def follow(connection: socket.socket, scorer: Scorer, log: ShadowLog, name: str) -> None:
    """What the process does: answer and log copies until nothing more can come. ``name`` is the model's."""
    folder = Path(log.folder)
    folder.mkdir(parents=True, exist_ok=True)
    losses, done = Losses(folder), 0
    with PredictionLog(
        folder, most_bytes=log.most_bytes, when_full="count", fsync="never" if log.fsync == "never" else "interval"
    ) as written:
        for copies in _copies(connection):
            try:
                _answer(copies, scorer, log, name, written)
            except Exception as error:
                rows = sum(rows for _, _, rows in copies)
                told = error.code if isinstance(error, FullcircleError) else type(error).__name__
                _logger.exception("the shadow of %s lost %d rows: %s", name, rows, told)
                losses.add(name, rows, now())
                losses.tell()
            done += sum(rows for _, _, rows in copies)
            with suppress(OSError):  # the worker is gone: what it gave is logged all the same
                connection.sendall(_DONE.pack(done))


def _answer(
    copies: Sequence[tuple[bytes, bytes, int]], scorer: Scorer, log: ShadowLog, name: str, written: PredictionLog
) -> None:
    rows: list[Any] = []
    ids: list[str] = []
    for body, answer, _ in copies:
        rows += rows_of(decode(body), _MOST_ROWS)
        ids += [one.id for one in _answers.decode(answer).predictions]
    begun = time.perf_counter()
    found = scorer.score(rows)
    latency = round((time.perf_counter() - begun) / max(len(rows), 1), 9)
    kept: list[Prediction] = [
        replace(
            one,
            model=name,
            version=scorer.version,
            bundle=scorer.bundle,
            latency=latency,
            inputs=None,
            context=None,
            lookup=None,
            split=log.split,
            of=id,
        )
        for one, id in zip(found, ids, strict=True)
        if id
    ]
    written.append(kept)


def _copies(connection: socket.socket) -> Iterator[list[tuple[bytes, bytes, int]]]:
    """What came meanwhile, at once, as far as it is not too much for one call."""
    connection.setblocking(True)
    rest = bytearray()
    while data := connection.recv(2**20):
        rest += data
        found: list[tuple[bytes, bytes, int]] = []
        start = count = 0
        while len(rest) - start >= _HEAD.size:
            body, answer, rows = _HEAD.unpack_from(rest, start)
            end = start + _HEAD.size + body + answer
            if len(rest) < end:
                break
            middle = start + _HEAD.size + body
            found.append((bytes(rest[start + _HEAD.size : middle]), bytes(rest[middle:end]), rows))
            start, count = end, count + rows
            if count >= ROWS:
                yield found
                found, count = [], 0
        del rest[:start]
        if found:
            yield found


def _encode(document: Any) -> bytes:
    return msgspec.json.encode(document)


def _killed(starting: Future[Spawned]) -> None:
    if starting.exception() is None:
        starting.result().kill()
