"""The engine of slow models: a process of its own asks them, and is killed where it does not come back.

Nobody waits for others: the next call takes all that arrived while the last one ran. A call that dies or exceeds
its deadline takes the process with it; each request of that call is then asked alone, and the one at fault is
halved, so that only rows at fault are answered without the model. After several failures in a row a breaker opens:
for a while the model is not asked at all, and every row gets what the contract's policy ``failed`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import OnlineStoreUnavailable, ServerBusy, ViewNotPublished
from fullcircle.server.desk import Desk, not_looked_up
from fullcircle.server.engine import CLOSED, Ask, overloaded
from fullcircle.server.frames import Mode, Question, Reply, packed, read
from fullcircle.server.http import Answer, Limits
from fullcircle.server.inline import finished
from fullcircle.server.lane import aside
from fullcircle.server.spawning import Spawned
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded
    from fullcircle.server.meter import Meter

DEADLINE = 5.0  # seconds for one call of the model
PATIENCE = 1.0  # seconds that a request may have to wait by what calls took so far; else it is refused at once
SPLITS = 6  # processes that one request may cost while it is halved until the rows at fault are alone
STARTING = 10.0  # seconds that requests wait for a new process; then they are answered without
FAILURES = 3  # calls in a row that failed before the breaker opens
OPEN = 10.0  # seconds that it stays open
_BATCH = 256  # rows of several requests in one call
_OPEN = "the model failed several times in a row and is not asked for the moment"
_LOOKUPS = (OnlineStoreUnavailable.code, ViewNotPublished.code)
_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    """One request that waits, or a part of one.

    ``alone`` after a call failed that it was part of; ``mode`` who is to answer it; ``kills`` how many processes the
    request that it is a part of has cost.
    """

    ask: Ask
    rows: list[dict[str, Any]]
    future: asyncio.Future[list[Prediction]]
    alone: bool = False
    mode: Mode = "model"
    why: str = ""
    kills: int = 0


class _Gone(Exception):
    """The process died or was killed."""


class Child:
    """See the module's text. ``spawn`` starts a process and waits until it is ready; ``first`` is one that is.

    ``per_row`` are the seconds for a row as measured when the version was loaded, ``deadline`` those for a call.
    ``closed`` is called once, when nothing is asked any more, and gets the process if it may be used for another
    version; by default it is ended. ``beside`` says that it stands beside the model's champion.
    """

    def __init__(
        self,
        loaded: Loaded,
        desk: Desk,
        limits: Limits,
        meter: Meter,
        spawn: Callable[[], Spawned],
        first: Spawned,
        *,
        per_row: float,
        deadline: float = DEADLINE,
        closed: Callable[[Spawned | None], None] | None = None,
        beside: bool = False,
    ) -> None:
        self._loaded, self._desk, self._limits, self._meter = loaded, desk, limits, meter
        self._spawn = spawn
        self._deadline = deadline
        self._on_close = closed
        self._beside = beside
        self._process: Spawned | None = first
        self._starting: asyncio.Future[Spawned] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._task: asyncio.Task[None] | None = None
        self._call, self._row = 0.0, per_row  # seconds of a call: so much, and so much for each row
        self._failures = 0
        self._opened = -OPEN
        self._closed = False

    @property
    def idle(self) -> bool:
        """See Engine."""
        return not self._waiting and not self._running

    def close(self) -> None:
        """See Engine."""
        if self._closed:
            return
        self._closed = True
        if self._failures >= FAILURES:
            self._tell(is_open=False)
        if self._task is None:
            self._finish()

    async def answer(self, ask: Ask) -> Answer:
        """See Engine."""
        predictions = await self.predict(ask)
        written = await self._desk.logged(self._loaded, predictions, ask.arrived, ask.mark)
        return finished(self._loaded, written, ask, self._meter)

    async def predict(self, ask: Ask) -> list[Prediction]:
        """What the model answers to each row, which is in no log yet. Raises as ``answer`` does."""
        if self._closed:
            raise ServerBusy(CLOSED, next_step="try again", cause="not_ready")
        if self._expected() > PATIENCE or len(self._waiting) >= self._limits.waiting:
            raise overloaded(len(self._waiting))
        rows = ask.by_hand(self._limits.rows)
        job = _Job(ask, rows, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._meter.queued(self._loaded.model, 1)
        self._meter.worked(self._loaded.model, self._loaded.version, waiting=len(self._waiting))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await job.future

    def _tell(self, *, is_open: bool) -> None:
        """Say whether the model is asked; of a version beside the champion it would be said of the champion."""
        if not self._beside:
            self._meter.breaker(self._loaded.model, is_open=is_open)

    def _expected(self) -> float:
        """Seconds until a request that came now would be asked, by what calls took so far."""
        if not self._waiting:
            return 0.0
        rows = sum(len(job.rows) for job in self._waiting) + sum(len(job.rows) for job in self._running)
        return self._call * (1 + rows / self._most()) + self._row * rows

    def _most(self) -> int:
        """Rows of several requests in one call: far from the deadline by what calls took so far."""
        return max(1, min(_BATCH, int(self._deadline / 4 / max(self._row, 1e-6))))

    async def _work(self) -> None:
        """Answer what waits, call after call, until nothing does."""
        try:
            while self._waiting:
                self._running = self._next()
                await self._one_call(self._running)
                self._running = []
        except Exception as error:
            _logger.exception("a defect in the engine")
            for job in (*self._running, *self._waiting):
                if not job.future.done():
                    job.future.set_exception(error)
            self._meter.queued(self._loaded.model, -len(self._waiting))
            self._waiting.clear()
            self._running = []
        finally:
            self._task = None
            if self._closed:
                self._finish()

    def _next(self) -> list[_Job]:
        """The requests of the next call: one that has to be asked alone, or all that fit together."""
        taken = [self._waiting.popleft()]
        if not taken[0].alone:
            count, most = len(taken[0].rows), self._most()
            while self._waiting and not self._waiting[0].alone:
                count += len(self._waiting[0].rows)
                if count > most:
                    break
                taken.append(self._waiting.popleft())
        self._meter.queued(self._loaded.model, -len(taken))
        return taken

    async def _one_call(self, jobs: list[_Job]) -> None:
        mode, why = jobs[0].mode, jobs[0].why
        if mode == "model" and time.monotonic() < self._opened + OPEN:
            mode, why = "before", _OPEN
            self._failed(jobs)
        rows = [row for job in jobs for row in job.rows]
        begun = time.monotonic()
        try:
            reply = await self._asked(Question(mode=mode, rows=rows, why=why))
        except _Gone as gone:
            self._after_failure(jobs, mode, str(gone))
            return
        finally:
            self._meter.worked(self._loaded.model, self._loaded.version, time.monotonic() - begun)
        if mode == "model":
            self._took(time.monotonic() - begun, len(rows))
            if self._failures:
                self._failures = 0
                self._tell(is_open=False)
        self._deal(jobs, reply)

    def _deal(self, jobs: list[_Job], reply: Reply) -> None:
        """Give each request its rows."""
        if reply.code:
            _logger.error("the rows could not be answered: %s", reply.message)
            busy = not_looked_up() if reply.code in _LOOKUPS else ServerBusy(CLOSED, cause="defect")
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(busy)
            return
        start = 0
        for job in jobs:
            end = start + len(job.rows)
            if not job.future.done():
                job.future.set_result(reply.predictions[start:end])
            start = end

    def _took(self, seconds: float, rows: int) -> None:
        """Learn what a call takes: the whole of it for one row, and what more rows add."""
        share = 0.2
        if rows == 1:
            self._call += share * (seconds - self._call)
        else:
            more = max(0.0, seconds - self._call) / max(rows, 1)
            self._row += share * (more - self._row)
            self._call = min(self._call, seconds)

    def _after_failure(self, jobs: list[_Job], mode: Mode, why: str) -> None:
        """The process died during this call: who is asked again, and how."""
        if mode == "model" and not jobs[0].kills:
            self._failures += 1
            if self._failures >= FAILURES:
                self._opened = time.monotonic()
                self._tell(is_open=True)
                _logger.error("the model failed %d times in a row and is not asked for %g s", self._failures, OPEN)
        if len(jobs) > 1:
            for job in reversed(jobs):
                job.alone = True
                self._waiting.appendleft(job)
            self._meter.queued(self._loaded.model, len(jobs))
            return
        (job,) = jobs
        if mode == "model" and len(job.rows) > 1 and job.kills < SPLITS:
            self._split(job)
        elif mode == "model":
            self._failed(jobs)
            job.alone, job.mode, job.why = True, "before", why
            self._waiting.appendleft(job)
            self._meter.queued(self._loaded.model, 1)
        else:
            self._without(jobs, why)

    def _split(self, job: _Job) -> None:
        """Ask for the two halves of a request apart: only the rows at fault are to go without the model."""
        loop, middle = asyncio.get_running_loop(), len(job.rows) // 2
        parts = [
            _Job(job.ask, rows, loop.create_future(), alone=True, kills=job.kills + 1)
            for rows in (job.rows[:middle], job.rows[middle:])
        ]

        def joined(_: asyncio.Future[list[Prediction]]) -> None:
            if job.future.done() or not all(part.future.done() for part in parts):
                return
            errors = [error for part in parts if (error := part.future.exception()) is not None]
            if errors:
                job.future.set_exception(errors[0])
            else:
                job.future.set_result([one for part in parts for one in part.future.result()])

        for part in parts:
            part.future.add_done_callback(joined)
        self._waiting.extendleft(reversed(parts))
        self._meter.queued(self._loaded.model, len(parts))

    def _failed(self, jobs: Sequence[_Job]) -> None:
        self._meter.failed(self._loaded.model, self._loaded.version, sum(len(job.rows) for job in jobs))

    def _without(self, jobs: Sequence[_Job], why: str) -> None:
        """Answer with neither the model nor the champion before: there is no process to ask."""
        scorer = self._loaded.scorer
        for job in jobs:
            if job.future.done():
                continue
            if scorer.contract.failed == "reject":
                told = "try again in a second"
                job.future.set_exception(ServerBusy(why, next_step=told, cause="breaker"))
            else:
                job.future.set_result(list(scorer.without_model(job.rows, why)))

    async def _asked(self, question: Question) -> Reply:
        """The reply of the process. Raises _Gone where it died, or was killed as it took too long."""
        streams = await self._connected()
        if streams is None:
            raise _Gone("the process of the model could not be started again in time")
        reader, writer = streams
        try:
            async with asyncio.timeout(self._deadline):
                writer.write(packed(question))
                await writer.drain()
                content = await read(reader)
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            _logger.error("the process of the model is ended: %s", type(error).__name__)
            self._end()
            late = isinstance(error, TimeoutError)
            why = f"the model did not answer within {self._deadline:g} s" if late else "the model's process died"
            raise _Gone(why) from error
        return msgspec.json.decode(content, type=Reply)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The streams to a living process; a new one is started where there is none. None where there is none yet."""
        if self._streams is not None:
            return self._streams
        if self._process is None:
            self._starting = self._starting or asyncio.wrap_future(aside(self._spawn, "spawn"))
            done, _ = await asyncio.wait({self._starting}, timeout=STARTING)
            if not done:
                return None
            starting, self._starting = self._starting, None
            try:
                self._process = starting.result()
            except (OSError, ServerBusy) as error:
                _logger.error("the process of the model cannot be started again: %s", error)
                return None
        reader, writer = await asyncio.open_connection(sock=self._process.connection, limit=2**22)
        self._streams = (reader, writer)
        return self._streams

    def _finish(self) -> None:
        """Let go of the process: nobody waits for it."""
        process = self._process
        kept = None if process is None or self._on_close is None else process.released()
        if process is not None and kept is not None:
            self._process = None
            if self._streams is None:  # else the loop closes it
                process.connection.close()
        self._end()
        if self._on_close is not None:
            self._on_close(kept)

    def _end(self) -> None:
        """End the process, whatever it does."""
        streams, process = self._streams, self._process
        self._streams = self._process = None
        if self._starting is not None:
            self._starting.add_done_callback(_killed)
            self._starting = None
        if streams is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                streams[1].close()
        if process is not None:
            process.kill()


def _killed(starting: asyncio.Future[Spawned]) -> None:
    """End a process that is no longer wanted now that it has started."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()
