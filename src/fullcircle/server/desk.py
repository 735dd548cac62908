"""The work behind a request: ask the model, write the log, and only then form the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.errors import (
    OnlineStoreUnavailable,
    RequestInvalid,
    ServerBusy,
    ViewNotPublished,
    WorkspaceUnusable,
)
from fullcircle.server.engine import Ask, Mark
from fullcircle.server.follower import Loaded
from fullcircle.server.http import Answer, answer
from fullcircle.server.rendering import Lines, Parts
from fullcircle.server.requests import Label, labels, unfit
from fullcircle.tables import waiting
from fullcircle.tables.appending import line_of
from fullcircle.tables.predictions import PredictionLog, append_outcomes, known, signed
from fullcircle.tables.segments import ID
from fullcircle.types.prediction import Outcome, Prediction

if TYPE_CHECKING:
    from fullcircle.runtimes.scorer import Block
    from fullcircle.server.meter import Meter

_PIECE = 128  # rows that are written as JSON before others get their turn
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """Rows that are in the log: the JSON of each answer, and the verdict of each that is not ok by its place."""

    rows: list[bytes]
    others: Mapping[int, str]


class Desk:
    """Predicts, logs and takes outcomes. ``outcomes`` may run in another thread than the rest.

    ``meter`` counts the rows that were answered and could not be logged, where that is allowed.
    """

    def __init__(self, folder: Path, meter: Meter | None = None, **log: Any) -> None:
        self._folder = folder
        self._meter = meter
        self._log = PredictionLog(folder, **log)

    def quick(
        self,
        loaded: Loaded,
        rows: Sequence[Any],
        block: Block,
        batch: Sequence[Ask],
    ) -> Lines:
        """Log rows that the contract let through as they are, all answered.

        ``rows`` are what the version's decoder gave: those of each request of ``batch``, one after another. Raises
        ServerBusy where the log cannot be written: nothing unrecorded.
        """
        now = time.perf_counter()
        latencies: list[bytes] = []
        for ask in batch:
            latency = b"%.6f" % (now - ask.arrived)
            latencies += [latency if ask.mark is None else latency + ask.mark.json] * len(ask.rows or ())
        parts, bodies = self._bodies(loaded, rows, block, latencies)
        return Lines(self._logged(loaded, bodies), *parts, block.answers, block.chances)

    async def many(
        self, loaded: Loaded, rows: Sequence[Any], blocks: Sequence[Block], arrived: float, mark: Mark | None
    ) -> Written:
        """The same for one request of many rows, answered block by block. Raises ServerBusy.

        Whatever their number, the rows of a request go to the log together, so all of them are there or none, with
        the same time and latency, which tell them from others. Between blocks others get their turn.
        """
        latency = b"%.6f" % (time.perf_counter() - arrived) + (b"" if mark is None else mark.json)
        parts, bodies, start = [], [], 0
        for block in blocks:
            await asyncio.sleep(0)
            part = rows[start : start + len(block.answers)]
            (values, shares, _), made = self._bodies(loaded, part, block, [latency] * len(part))
            parts.append((values, shares))
            bodies += made
            start += len(part)
        ids, written = self._logged(loaded, bodies), list[bytes]()
        for values, shares in parts:
            await asyncio.sleep(0)
            part = ids[len(written) : len(written) + len(values)]
            written += map(loaded.renderer.row, part, values, shares)
        return Written(written, {})

    def scored(self, loaded: Loaded, rows: Sequence[object]) -> Sequence[Prediction]:
        """What the version answers to rows that are judged by hand, in no log yet. Raises ServerBusy."""
        try:
            return loaded.scorer.score(rows)
        except (OnlineStoreUnavailable, ViewNotPublished) as error:
            _logger.error("features cannot be looked up: %s", error)
            raise not_looked_up() from error

    async def logged(
        self, loaded: Loaded, predictions: Sequence[Prediction], arrived: float, mark: Mark | None = None
    ) -> Written:
        """Log the predictions for one request, at once as ``many`` does, and write the answers. Raises ServerBusy."""
        more = {"latency": round(time.perf_counter() - arrived, 6), **({} if mark is None else mark.fields())}
        found: list[Prediction] = []
        bodies: list[bytes] = []
        for start in range(0, len(predictions), _PIECE):
            if start:
                await asyncio.sleep(0)
            made = signed(
                predictions[start : start + _PIECE],
                loaded.scorer.contract,
                model=loaded.model,
                version=loaded.version,
                bundle=loaded.bundle,
                key=self._log.key,
            )
            part = [replace(one, **more) for one in made]
            found += part
            bodies += map(line_of, part)
        written: list[bytes] = []
        for place, (id, one) in enumerate(zip(self._logged(loaded, bodies), found, strict=True)):
            if place and place % _PIECE == 0:
                await asyncio.sleep(0)
            written.append(loaded.renderer.other(replace(one, id=id)))
        others = {place: one.verdict.status for place, one in enumerate(found) if one.verdict.status != "ok"}
        return Written(written, others)

    def _bodies(
        self, loaded: Loaded, rows: Sequence[Any], block: Block, latencies: Sequence[bytes]
    ) -> tuple[Parts, list[bytes]]:
        """What rows that are all ok are answered, and their lines of the log, as JSON."""
        parts = loaded.renderer.parts(block)
        kept = loaded.decoder.logged(rows, self._log.key)
        return parts, loaded.renderer.logged(parts, kept, latencies)

    def _logged(self, loaded: Loaded, bodies: Sequence[bytes]) -> list[str]:
        """Write lines to the log; their ids. Raises ServerBusy."""
        try:
            ids, _ = self._log.write(loaded.model, bodies)
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        if ids and not ids[0]:
            self._lose(loaded, len(ids))
        return ids

    def outcomes(self, loaded: Loaded, given: Sequence[Outcome]) -> Answer:
        """Write labels to the log, and say what became of each.

        Those of known predictions of this model are accepted. Those by key, and ids that are not in the log (yet),
        are kept until their prediction is found, as far as there is room.
        """
        found: list[Label] = []
        accepted: list[Outcome] = []
        wait: list[tuple[int, Outcome]] = []
        for one in given:
            label, kept = self._judged(loaded, one)
            found.append(label)
            if label.status == "accepted":
                accepted.append(one)
            elif kept is not None:
                wait.append((len(found) - 1, kept))
        try:
            if wait and waiting.full(self._folder, loaded.model, [one for _, one in wait]):
                for place, one in wait:
                    became = "unknown" if one.prediction_id else "rejected"
                    found[place] = Label(id=one.prediction_id, status=became, text="too many outcomes wait already")
            else:
                waiting.append_waiting(self._folder, loaded.model, [one for _, one in wait])
            append_outcomes(self._folder, loaded.model, accepted)
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        status, body = labels(loaded.model, found)
        return answer(body, status)

    def _judged(self, loaded: Loaded, one: Outcome) -> tuple[Label, Outcome | None]:
        """What becomes of an outcome, and the form in which it waits, None where it does not."""
        why = unfit(one.value, loaded.scorer.contract)
        if one.key is not None:
            if why:
                return Label(id="", status="rejected", text=why), None
            try:
                kept, why = waiting.as_logged(one, loaded.scorer.contract, self._log.key)
            except RequestInvalid as error:
                kept, why = one, error.what
            return Label(id="", status="rejected" if why else "waiting", text=why), None if why else kept
        number = one.prediction_id
        if known(self._folder, loaded.model, number):
            return Label(id=number, status="rejected" if why else "accepted", text=why), None
        if why or not ID.fullmatch(number):
            return Label(id=number, status="unknown"), None
        return Label(id=number, status="unknown", text="it waits for its prediction"), one

    def _lose(self, loaded: Loaded, rows: int) -> None:
        # Of the rows of one model that go to the log together all are written or none.
        if self._meter is not None:
            self._meter.lost(loaded.model, loaded.version, rows)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    @property
    def lost(self) -> Mapping[str, int]:
        """By model, the rows that were answered and could not be logged, where that was allowed."""
        return self._log.lost


def not_looked_up() -> ServerBusy:
    """What a request is told whose features cannot be looked up."""
    return ServerBusy(
        "the features of the model cannot be looked up at the moment",
        next_step="try again; whoever runs the server: look at its log and at the online store",
        cause="lookup",
    )


def _unrecorded(error: WorkspaceUnusable) -> ServerBusy:
    _logger.error("nothing is answered, because nothing can be recorded: %s", error)
    return ServerBusy(
        "the server cannot write its log, and answers nothing it cannot record",
        next_step="whoever runs the server: look at its own log, make room on the disk",
        cause="log",
    )
