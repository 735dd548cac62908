"""The work behind a request: ask the model, write the log, and only then form the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import (
    FullcircleError,
    OnlineStoreUnavailable,
    PredictionNotFound,
    ServerBusy,
    ViewNotPublished,
    WorkspaceUnusable,
)
from fullcircle.server.follower import Loaded
from fullcircle.server.http import Answer, answer
from fullcircle.server.requests import Label, labels, predictions, unfit
from fullcircle.tables.predictions import PredictionLog, append_outcomes, find, signed
from fullcircle.types.prediction import Outcome

_logger = logging.getLogger(__name__)


class Desk:
    """Predicts and takes outcomes. ``predict`` is called by one thread, ``outcomes`` by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = PredictionLog(folder)

    def predict(self, loaded: Loaded, rows: Sequence[dict[str, Any]]) -> Answer:
        """Answer all rows by one version. Raises ServerBusy where the log cannot be written: nothing unrecorded."""
        scorer = loaded.scorer
        try:
            scored = scorer.score(rows)
        except (OnlineStoreUnavailable, ViewNotPublished) as error:
            raise _not_looked_up(error) from error
        found = signed(scored, scorer.contract, model=loaded.model, version=loaded.version, bundle=loaded.bundle)
        try:
            logged = self._log.append(found)
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        status, body = predictions(loaded.model, loaded.version, logged)
        return answer(body, status)

    def outcomes(self, loaded: Loaded, pairs: Sequence[tuple[str, Any]]) -> Answer:
        """Write the labels of known predictions of this model to the log, and say what became of each."""
        found: list[Label] = []
        accepted: list[Outcome] = []
        for number, value in pairs:
            why = unfit(value, loaded.scorer.contract)
            if not self._knows(loaded.model, number):
                found.append(Label(id=number, status="unknown"))
            elif why:
                found.append(Label(id=number, status="rejected", text=why))
            else:
                found.append(Label(id=number, status="accepted"))
                accepted.append(Outcome(prediction_id=number, value=value))
        try:
            append_outcomes(self._folder, loaded.model, accepted)
        except WorkspaceUnusable as error:
            raise _unrecorded(error) from error
        status, body = labels(loaded.model, found)
        return answer(body, status)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _knows(self, model: str, number: str) -> bool:
        try:
            return find(self._folder, number).model == model
        except PredictionNotFound:
            return False


def _not_looked_up(error: FullcircleError) -> ServerBusy:
    _logger.error("features cannot be looked up: %s", error)
    return ServerBusy(
        "the features of the model cannot be looked up at the moment",
        next_step="try again; whoever runs the server: look at its log and at the online store",
    )


def _unrecorded(error: WorkspaceUnusable) -> ServerBusy:
    _logger.error("nothing is answered, because nothing can be recorded: %s", error)
    return ServerBusy(
        "the server cannot write its log, and answers nothing it cannot record",
        next_step="whoever runs the server: look at its own log, make room on the disk",
    )
