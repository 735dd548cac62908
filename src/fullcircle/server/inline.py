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
from fullcircle.server.engine import Ask, overloaded
from fullcircle.server.http import Answer, Limits
from fullcircle.server.requests import check_count

if TYPE_CHECKING:
    from fullcircle.runtimes.encoding import Matrix
    from fullcircle.server.follower import Loaded
    from fullcircle.server.meter import Meter

BATCH = 512  # rows in one call of the model: above, the loop would be kept from its other callers
BY_HAND = 32  # rows judged by hand in one piece


class Inline:
    """See the module's text. ``meter`` counts what was answered."""

    def __init__(self, loaded: Loaded, desk: Desk, limits: Limits, meter: Meter) -> None:
        self._loaded = loaded
        self._desk = desk
        self._limits = limits
        self._meter = meter
        self._waiting: list[Ask] = []
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
        try:
            if ask.rows is not None and len(ask.rows) <= min(BATCH, self._limits.rows):
                loop = asyncio.get_running_loop()
                ask.future = loop.create_future()
                if not self._waiting:
                    loop.call_soon(self._flush)
                self._waiting.append(ask)
                found: Answer | None = await ask.future
                if found is not None:
                    return found
            return await self._alone(ask)
        finally:
            self._taken -= 1

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
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        if not batch:
            return
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
        matrix = loaded.decoder.matrix(rows or ())
        if not loaded.scorer.encoder.all_clean(matrix):
            batch, rows, matrix = self._sorted_out(batch, matrix, loaded.scorer.encoder.clean(matrix))
            if not batch:
                return
        block = loaded.scorer.block(matrix)
        if block.failed:
            for ask in batch:  # whose row it was is found out alone
                ask.future.set_result(None)
            return
        arrived = [ask.arrived for ask in batch for _ in ask.rows or ()]
        written = self._desk.quick(loaded, rows or (), block, arrived)
        document = loaded.renderer.document
        start = 0
        for ask in batch:
            end = start + len(ask.rows or ())
            ask.future.set_result(Answer(200, document(written[start:end], rejected=False)))
            start = end
        now = time.perf_counter()
        self._meter.answered(
            loaded.model, loaded.version, {"ok": len(written)}, len(written), [now - ask.arrived for ask in batch]
        )

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
        """Answer one request in pieces, and let the loop do other work between them."""
        if ask.rows is not None and len(ask.rows) > BATCH:
            check_count(len(ask.rows), "rows", self._limits.rows)
            found = await self._large(ask)
            if found is not None:
                return found
        rows = ask.by_hand(self._limits.rows)
        pieces: list[Written] = []
        for start in range(0, len(rows), BY_HAND):
            if start:
                await asyncio.sleep(0)
            pieces.append(self._desk.judged(self._loaded, rows[start : start + BY_HAND], ask.arrived))
        return finished(self._loaded, pieces, ask, self._meter)

    async def _large(self, ask: Ask) -> Answer | None:
        """Answer a request of many rows that are all clean; None where one of them needs a second look."""
        loaded, rows = self._loaded, ask.rows or []
        matrices = [loaded.decoder.matrix(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        if not all(map(loaded.scorer.encoder.all_clean, matrices)):
            return None
        blocks = []
        for matrix in matrices:
            await asyncio.sleep(0)
            blocks.append(loaded.scorer.block(matrix))
            if blocks[-1].failed:
                return None
        written: list[bytes] = []
        for place, block in enumerate(blocks):
            await asyncio.sleep(0)
            part = rows[place * BATCH : (place + 1) * BATCH]
            written += self._desk.quick(loaded, part, block, [ask.arrived] * len(part))
        return finished(loaded, [Written(written, {})], ask, self._meter)


def finished(loaded: Loaded, pieces: Sequence[Written], ask: Ask, meter: Meter) -> Answer:
    """The answer to a request from its pieces: 422 when all of its rows were rejected. Counts it."""
    rows = [row for piece in pieces for row in piece.rows]
    counts: dict[str, int] = {}
    for piece in pieces:
        for status in piece.others.values():
            counts[status] = counts.get(status, 0) + 1
    counts["ok"] = len(rows) - sum(counts.values())
    rejected = counts.get("rejected") == len(rows)
    took = [time.perf_counter() - ask.arrived]
    meter.answered(
        loaded.model, loaded.version, counts, len(rows), [] if rejected else took, took if rejected else []
    )
    return Answer(422 if rejected else 200, loaded.renderer.document(rows, rejected=rejected))
