"""The work behind a request: ask the model, write the log, and only then form the answer."""

from __future__ import annotations

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
from fullcircle.server.engine import Mark
from fullcircle.server.follower import Loaded
from fullcircle.server.http import Answer, answer
from fullcircle.server.rendering import Lines
from fullcircle.server.requests import Label, labels, unfit
from fullcircle.tables import waiting
from fullcircle.tables.predictions import PredictionLog, append_outcomes, known, signed
from fullcircle.tables.segments import ID
from fullcircle.types.prediction import Outcome, Prediction

if TYPE_CHECKING:
    from fullcircle.runtimes.scorer import Block
    from fullcircle.server.meter import Meter

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
        arrived: Sequence[float],
        marks: Sequence[Mark | None] = (),
    ) -> Lines:
        """Log rows that the contract let through as they are, all answered.

        ``rows`` are what the version's decoder gave, ``arrived`` when each came (``time.perf_counter``), ``marks``
        what the log says of the split of each, where there is one. Raises ServerBusy
        where the log cannot be written: nothing unrecorded.
        """
        renderer, logged = loaded.renderer, loaded.decoder.logged
        values, chances = renderer.parts(block)
        shares = chances or [b""] * len(values)
        now, key = time.perf_counter(), self._log.key
        latencies = [b"%.6f" % (now - since) for since in arrived]
        if marks:  # they stand behind it
            latencies = [
                latency if mark is None else latency + mark.json
                for latency, mark in zip(latencies, marks, strict=True)
            ]
        bodies = [
            renderer.logged(value, share, logged(row, key), latency)
            for value, share, row, latency in zip(values, shares, rows, latencies, strict=True)
        ]
        try:
            ids, _ = self._log.write(loaded.model, bodies)
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        if ids and not ids[0]:
            self._lose(loaded, len(ids))
        return Lines(ids, values, shares, block.answers, block.chances)

    def judged(self, loaded: Loaded, rows: Sequence[object], arrived: float, mark: Mark | None = None) -> Written:
        """Judge rows by hand, answer and log them. Raises ServerBusy."""
        try:
            scored = loaded.scorer.score(rows)
        except (OnlineStoreUnavailable, ViewNotPublished) as error:
            _logger.error("features cannot be looked up: %s", error)
            raise not_looked_up() from error
        return self.scored(loaded, scored, arrived, mark)

    def scored(
        self, loaded: Loaded, predictions: Sequence[Prediction], arrived: float, mark: Mark | None = None
    ) -> Written:
        """Log predictions that were made elsewhere, and write their answers. Raises ServerBusy."""
        latency = round(time.perf_counter() - arrived, 6)
        found = signed(
            predictions,
            loaded.scorer.contract,
            model=loaded.model,
            version=loaded.version,
            bundle=loaded.bundle,
            key=self._log.key,
        )
        try:
            more = {} if mark is None else mark.fields()
            done = self._log.append([replace(one, latency=latency, **more) for one in found])
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        if done and not done[0].id:
            self._lose(loaded, len(done))
        others = {place: one.verdict.status for place, one in enumerate(done) if one.verdict.status != "ok"}
        return Written([loaded.renderer.other(one) for one in done], others)

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
