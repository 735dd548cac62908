"""The engine of quick models: it asks them on the event loop, for all that arrived meanwhile at once.

Nobody waits for others: a batch is what came in while the loop was busy. Rows are judged before they join a batch;
a request with a row that needs a second look is answered by itself, row by row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.server.desk import Desk, Written
from fullcircle.server.engine import Ask, Coming, overloaded
from fullcircle.server.http import Answer, Limits
from fullcircle.server.requests import check_count

if TYPE_CHECKING:
    from fullcircle.runtimes.encoding import Matrix
    from fullcircle.server.follower import Loaded
    from fullcircle.server.meter import Meter
    from fullcircle.types.prediction import Prediction

BATCH = 512  # rows in one call of the model: above, the loop would be kept from its other callers
COSTLY = 0.0003  # seconds of a call of the model above which a fuller batch is worth some rounds of the loop
ENOUGH = 128  # requests that are a batch without waiting for more
ROUNDS = 12  # of the loop, at most, that a batch is gathered in
BY_HAND = 32  # rows judged by hand in one piece


class Inline:
    """See the module's text. ``meter`` counts what was answered."""

    def __init__(
        self, loaded: Loaded, desk: Desk, limits: Limits, meter: Meter, coming: Coming | None = None
    ) -> None:
        self._loaded = loaded
        self._desk = desk
        self._limits = limits
        self._most = min(BATCH, limits.rows)
        self._meter = meter
        self._coming = coming
        self._waiting: list[Ask] = []
        self._scheduled = False
        self._seen = self._rounds = 0  # of the batch that is being gathered
        self._last = 1  # requests of the batch before
        self._cost = 0.0  # seconds of a call of the model, smoothed
        self._taken = 0

    @property
    def idle(self) -> bool:
        """See Engine."""
        return self._taken == 0

    def close(self) -> None:
        """See Engine. Nothing is held."""

    async def answer(self, ask: Ask) -> Answer:
        """See Engine."""
        if self._taken >= self._limits.waiting:
            raise overloaded(self._limits.waiting)
        self._taken += 1
        self._meter.queued(self._loaded.model, 1)
        try:
            if ask.rows is not None and len(ask.rows) <= self._most:
                loop = asyncio.get_running_loop()
                ask.future = loop.create_future()
                self._waiting.append(ask)
                self._gather(loop)
                found: Answer | None = await ask.future
                if found is not None:
                    return found
            return await self._alone(ask)
        finally:
            self._taken -= 1
            self._meter.queued(self._loaded.model, -1)

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush now where nobody else is about to ask, else after those."""
        if len(self._waiting) >= ENOUGH:  # under a storm somebody is always about to ask
            self._flush()
            return
        if self._scheduled:
            return
        alone = self._coming is not None and self._coming.count == 0
        if alone and (self._last == 1 or self._cost < COSTLY):
            self._flush()
        else:
            self._scheduled = True
            loop.call_soon(self._later)

    def _later(self) -> None:
        """Flush, once no request is about to ask any more.

        Where a call of the model costs much beside a row, who comes in the next rounds of the loop is taken along,
        as long as somebody does: those that were just answered ask again. No time is waited.
        """
        self._rounds += 1
        coming = self._coming is not None and self._coming.count > 0
        growing = self._last > 1 and self._cost >= COSTLY and len(self._waiting) > self._seen
        if self._rounds < ROUNDS and (coming or growing):
            self._seen = len(self._waiting)
            asyncio.get_running_loop().call_soon(self._later)
            return
        self._scheduled = False
        if self._waiting:
            self._flush()

    def _flush(self) -> None:
        """Answer what waits, as many requests as fit into a batch."""
        waiting = [ask for ask in self._waiting if not ask.future.done()]  # a caller may have hung up
        batch: list[Ask] = []
        count = 0
        for ask in waiting:
            count += len(ask.rows or ())
            if batch and count > BATCH:
                break
            batch.append(ask)
        self._waiting = waiting[len(batch) :]
        self._seen = self._rounds = 0
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._later)
        if not batch:
            return
        self._last = len(batch)
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001 - it is each caller's, and told to each
            for ask in batch:
                if not ask.future.done():
                    ask.future.set_exception(error)

    def _answer(self, batch: list[Ask]) -> None:
        """Answer the requests whose rows are all clean; give the others back to be answered alone."""
        loaded = self._loaded
        rows = batch[0].rows if len(batch) == 1 else [row for ask in batch for row in ask.rows or ()]
        matrix = self._matrix(batch, rows or ())
        if not loaded.scorer.encoder.all_clean(matrix):
            batch, rows, matrix = self._sorted_out(batch, matrix, loaded.scorer.encoder.clean(matrix))
            if not batch:
                return
        begun = time.perf_counter()
        block = loaded.scorer.block(matrix)
        took = time.perf_counter() - begun
        self._cost += 0.1 * (took - self._cost)
        if block.failed:
            for ask in batch:  # whose row it was is found out alone
                ask.future.set_result(None)
            return
        written = self._desk.quick(loaded, rows or (), block, batch)
        answered = loaded.renderer.answered
        start = 0
        for ask in batch:
            end = start + len(ask.rows or ())
            if ask.writer is None:
                ask.future.set_result(Answer(200, answered(written, start, end)))
            else:
                ask.written = True
                ask.future.set_result(ask.writer(loaded, ask.kept, written, start, end))
            start = end
        now = time.perf_counter()
        seconds = [now - ask.arrived for ask in batch]
        self._meter.answered(loaded.model, loaded.version, {"ok": start}, start, seconds, (), took, self._taken)

    def _matrix(self, batch: list[Ask], rows: Sequence[Any]) -> Matrix:
        """The matrix of all rows of a batch, put together from those that are there already."""
        known = [ask.matrix for ask in batch if ask.matrix is not None]
        if len(known) < len(batch):
            return self._loaded.decoder.matrix(rows)
        if len(known) == 1:
            return known[0]
        import numpy as np

        return np.concatenate(known)

    def _sorted_out(self, batch: list[Ask], matrix: Matrix, clean: Any) -> tuple[list[Ask], list[Any], Matrix]:
        """The requests whose rows are all clean, their rows and matrix. The others are given back."""
        kept: list[Ask] = []
        chosen: list[int] = []
        start = 0
        for ask in batch:
            end = start + len(ask.rows or ())
            if clean[start:end].all():
                kept.append(ask)
                chosen += range(start, end)
            else:
                ask.future.set_result(None)
            start = end
        return kept, [row for ask in kept for row in ask.rows or ()], matrix[chosen]

    async def _alone(self, ask: Ask) -> Answer:
        """Answer one request in pieces, and let the loop do other work between them. It is logged as a whole."""
        if ask.rows is not None and len(ask.rows) > BATCH:
            check_count(len(ask.rows), "rows", self._limits.rows)
            found = await self._large(ask)
            if found is not None:
                return found
        rows = ask.by_hand(self._limits.rows)
        scored: list[Prediction] = []
        for start in range(0, len(rows), BY_HAND):
            if start:
                await asyncio.sleep(0)
            begun = time.perf_counter()
            scored += self._desk.scored(self._loaded, rows[start : start + BY_HAND])
            self._worked(begun)
        written = await self._desk.logged(self._loaded, scored, ask.arrived, ask.mark)
        return finished(self._loaded, written, ask, self._meter)

    async def _large(self, ask: Ask) -> Answer | None:
        """Answer a request of many rows that are all clean; None where one of them needs a second look."""
        loaded, rows = self._loaded, ask.rows or []
        matrix = loaded.decoder.matrix(rows) if ask.matrix is None else ask.matrix
        matrices = [matrix[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        if not all(map(loaded.scorer.encoder.all_clean, matrices)):
            return None
        blocks = []
        for matrix in matrices:
            await asyncio.sleep(0)
            begun = time.perf_counter()
            blocks.append(loaded.scorer.block(matrix))
            self._worked(begun)
            if blocks[-1].failed:
                return None
        return finished(loaded, await self._desk.many(loaded, rows, blocks, ask.arrived, ask.mark), ask, self._meter)

    def _worked(self, begun: float) -> None:
        seconds = time.perf_counter() - begun
        self._meter.worked(self._loaded.model, self._loaded.version, seconds, self._taken)


def finished(loaded: Loaded, written: Written, ask: Ask, meter: Meter) -> Answer:
    """The answer to a request: 422 when all of its rows were rejected. Counts it."""
    rows = written.rows
    counts: dict[str, int] = {}
    for status in written.others.values():
        counts[status] = counts.get(status, 0) + 1
    counts["ok"] = len(rows) - sum(counts.values())
    rejected = counts.get("rejected") == len(rows)
    took = [time.perf_counter() - ask.arrived]
    meter.answered(
        loaded.model, loaded.version, counts, len(rows), [] if rejected else took, took if rejected else []
    )
    return Answer(422 if rejected else 200, loaded.renderer.document(rows, rejected=rejected))
