"""The log of predictions and outcomes: what any number of processes append to at once, read as one.

Each process writes predictions to a segment of its own (see ``segments``), so no two ever share a file; an id is
``<segment>-<byte where its line begins>``, so finding one is one seek. Closed segments are compacted to Parquet, and
are read the same way: every row once, at every moment. A line that was torn by a crash is skipped and counted, never
fatal. Rows that were erased are skipped too.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.errors import PredictionNotFound
from fullcircle.tables import compacted
from fullcircle.tables.appending import PredictionLog as PredictionLog
from fullcircle.tables.lines import Lines, model_folder, moment
from fullcircle.tables.outcomes import OUTCOMES as OUTCOMES
from fullcircle.tables.outcomes import append_outcomes as append_outcomes
from fullcircle.tables.outcomes import read_outcomes as read_outcomes
from fullcircle.tables.private import public
from fullcircle.tables.room import read_lost as read_lost
from fullcircle.tables.segments import COMPACTED, ID, INDEX, LINES, in_index, models, names
from fullcircle.types.contract import Contract
from fullcircle.types.prediction import Outcome, Prediction


class SegmentRows:
    """The rows of one segment in whichever form it has, in order.

    ``since`` and ``until`` are times in the form of ``lines.now``: a compacted segment that is wholly outside of them
    is passed over without being read.
    """

    def __init__(self, home: Path, name: str, since: str = "", until: str = "") -> None:
        self.name = name
        self._torn = 0
        self._lines = Lines(home / f"{name}{LINES}", Prediction)
        self._compacted = home / f"{name}{COMPACTED}"
        self._window = since, until

    @property
    def torn(self) -> int:
        """How many lines were skipped so far."""
        return self._lines.torn + self._torn

    def __iter__(self) -> Iterator[Prediction]:
        """Read from the start. A segment that is gone has no rows."""
        self._torn = 0
        yield from self._lines
        if self._packed() is not None:
            yield from compacted.rows(self._compacted)

    def begins(self) -> str | None:
        """A time that no row is before; None where there is nothing to read."""
        self._torn = 0
        for row in self._lines:
            return str(row.time)
        found = self._packed()
        return found.oldest if found else None

    def _packed(self) -> compacted.About | None:
        """What the compacted form says, where this is the one that counts and has rows to read."""
        if not (self._lines.gone and self._compacted.exists()):
            return None
        found = compacted.about(self._compacted)
        self._torn = found.torn
        return found if not found.outside(*self._window) else None


class Predictions(Iterator[Prediction]):
    """Predictions of several segments in order of time. ``torn`` counts lines skipped because a crash cut them."""

    def __init__(self, segments: Iterable[SegmentRows], accept: Callable[[Prediction], bool]) -> None:
        self._segments = list(segments)
        self._rows = filter(accept, self._merge())

    def __next__(self) -> Prediction:
        return next(self._rows)

    @property
    def torn(self) -> int:
        """How many lines were skipped so far."""
        return sum(segment.torn for segment in self._segments)

    def _merge(self) -> Iterator[Prediction]:
        # Segments wait in order of their first time and are opened when their turn comes, so a thousand
        # finished ones do not mean a thousand open files.
        begun = [(segment.begins(), place) for place, segment in enumerate(self._segments)]
        waiting = sorted(((first, place) for first, place in begun if first is not None), reverse=True)
        heap: list[tuple[str, int, Prediction, Iterator[Prediction]]] = []
        while waiting or heap:
            if waiting and (not heap or waiting[-1][0] <= heap[0][0]):
                place = waiting.pop()[1]
                rows = iter(self._segments[place])
            else:
                _, place, prediction, rows = heapq.heappop(heap)
                yield prediction
            following = next(rows, None)
            if following is not None:
                heapq.heappush(heap, (following.time, place, following, rows))


def signed(
    predictions: Iterable[Prediction], contract: Contract, *, model: str, version: int, bundle: str, key: bytes = b""
) -> list[Prediction]:
    """Predictions as they go to the log: by which version, without the values that the contract calls private.

    A column that is to be hashed is, with the workspace's ``key``; without one it is left out.
    """
    left_out, hashing = kept_back(contract)
    return [
        replace(
            one,
            model=model,
            version=version,
            bundle=bundle,
            inputs=public(one.inputs, left_out, hashing, key),
            context=public(one.context, left_out, hashing, key),
        )
        for one in predictions
    ]


def kept_back(contract: Contract) -> tuple[frozenset[str], frozenset[str]]:
    """The columns whose values the log may not hold: those that are left out, and those that are hashed."""
    hashing = frozenset(column.name for column in contract.columns if column.hashed)
    private = frozenset(column.name for column in contract.columns if column.private)
    return private - hashing, hashing


def find(folder: Path, prediction_id: str) -> Prediction:
    """The logged prediction of this id, by one seek, also an erased one. Raises PredictionNotFound.

    In a compacted segment it needs pyarrow: MissingExtra where that is not installed (see ``known``).
    """
    match = ID.fullmatch(prediction_id)
    for model in models(folder) if match else ():
        found = _at(folder / model, match[1], int(match[2])) if match else None
        if found is not None and found.id == prediction_id:
            return found
    raise PredictionNotFound(
        "no logged prediction has this id",
        received=prediction_id[:80],
        next_step="take the id from an answer of the server, or of `fullcircle score`",
    )


def known(folder: Path, model: str, prediction_id: str) -> bool:
    """Whether a prediction of the model has this id and was not erased. Needs no pyarrow: for servers."""
    match = ID.fullmatch(prediction_id)
    if not match or match[2] != str(int(match[2])):
        return False
    home, name, offset = model_folder(folder, model), match[1], int(match[2])
    try:
        found = _line(home / f"{name}{LINES}", offset)
    except FileNotFoundError:
        try:
            return in_index(home / f"{name}{INDEX}", offset)
        except FileNotFoundError:
            return False
    return found is not None and found.id == prediction_id


def _at(home: Path, name: str, offset: int) -> Prediction | None:
    try:
        return _line(home / f"{name}{LINES}", offset)
    except FileNotFoundError:
        path = home / f"{name}{COMPACTED}"
        return compacted.row(path, f"{name}-{offset}") if path.exists() else None


def _line(path: Path, offset: int) -> Prediction | None:
    with path.open("rb") as file:
        if offset >= os.fstat(file.fileno()).st_size:
            return None  # not asked of the file system: it has a limit of its own, and an error for what is above
        file.seek(offset)
        line = file.readline()
    try:
        return msgspec.json.decode(line, type=Prediction)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read(folder: Path, model: str, *, since: str = "", until: str = "", version: int | None = None) -> Predictions:
    """The model's logged predictions from ``since`` on and before ``until`` (ISO 8601, UTC if it has no zone).

    In order of time; only those of ``version`` where given; without those that were erased. Raises RequestInvalid
    for a time of another form.
    """
    low, high = (moment(text) if text else "" for text in (since, until))

    def accept(prediction: Prediction) -> bool:
        return (
            prediction.time >= low
            and (not high or prediction.time < high)
            and (version is None or prediction.version == version)
            and not prediction.erased
        )

    home = model_folder(folder, model)
    return Predictions([SegmentRows(home, name, low, high) for name in names(home)], accept)


def torn_lines(folder: Path, model: str) -> int:
    """How many lines of the model's predictions and outcomes a crash cut short."""
    home = model_folder(folder, model)
    outcomes = Lines(home / OUTCOMES, Outcome)
    found: list[SegmentRows | Lines] = [SegmentRows(home, name, until="0") for name in names(home)]
    found.append(outcomes)
    for rows in found:
        for _ in rows:
            pass
    return sum(rows.torn for rows in found)
