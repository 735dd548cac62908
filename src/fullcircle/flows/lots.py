"""The answered rows of a stretch of time and the labels that came for them: counted whole, kept as an even sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fullcircle.monitoring.estimates import Answered
from fullcircle.monitoring.grid import micros
from fullcircle.monitoring.quality import Labelled, fits
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Outcome, Prediction

Array = NDArray[Any]
KEPT = 20_000
"""Of more rows of a stretch so many are kept, and so many of those with a label: enough for any figure."""


@dataclass(frozen=True, slots=True)
class _Row:
    value: Value
    shares: tuple[float, ...] | None
    label: Value
    delay: float | None
    groups: tuple[Any, ...]


class Lot:
    """One stretch: take rows in any order, then read. ``groups`` are columns of which values are kept.

    Which rows are kept depends on their ids alone, so the same rows give the same figures in any order.
    """

    def __init__(self, contract: Contract, groups: Sequence[str] = ()) -> None:
        """An empty one."""
        self._contract, self._groups = contract, tuple(groups)
        self._names = [str(label) for label in contract.classes]
        self._all, self._labelled = _Sample(), _Sample()
        self.answered = self.labelled = self.unusable = 0

    def take(self, row: Prediction, outcome: Outcome | None) -> None:
        """One row with the outcome that counts; without an answer it is passed over."""
        if row.value is None or row.erased:
            return
        self.answered += 1
        label = None if outcome is None else outcome.value
        if label is not None and not fits(label, self._contract):
            self.unusable += 1
            label = None
        shares = tuple(row.probabilities.get(name, math.nan) for name in self._names) if row.probabilities else None
        kept = _Row(row.value, shares, label, _delay(row, outcome), tuple(held(row, each) for each in self._groups))
        key = crc32(row.id.encode()), row.id
        self._all.add(key, kept)
        if label is not None:
            self.labelled += 1
            self._labelled.add(key, kept)

    @property
    def answers(self) -> Answered:
        """The answers (a sample of them)."""
        return self._answers(self._all.rows())

    @property
    def labelled_answers(self) -> Answered:
        """Those whose label came."""
        return self._answers(self._pairs())

    @property
    def labels(self) -> Labelled:
        """The answers beside their labels. Where some have probabilities, those of a fallback are left out."""
        rows = self._pairs()
        return Labelled(
            actual=self._array([row.label for row in rows]),
            predicted=self._array([row.value for row in rows]),
            probabilities=self._shares(rows),
            unusable=self.unusable,
        )

    @property
    def delays(self) -> Array:
        """Seconds from the answer to its label."""
        return np.array([row.delay for row in self._labelled.rows() if row.delay is not None], dtype=float)

    def values(self, column: str) -> list[Any]:
        """What the rows of ``labels`` have in a column of groups, None where they have nothing."""
        place = self._groups.index(column)
        return [row.groups[place] for row in self._pairs()]

    def _pairs(self) -> list[_Row]:
        rows = self._labelled.rows()
        sure = [row for row in rows if row.shares is not None]
        return sure or rows

    def _answers(self, rows: Sequence[_Row]) -> Answered:
        return Answered(predicted=self._array([row.value for row in rows]), probabilities=self._shares(rows))

    def _shares(self, rows: Sequence[_Row]) -> Array | None:
        if not any(row.shares is not None for row in rows):
            return None
        nothing = (math.nan,) * len(self._names)
        return np.array([nothing if row.shares is None else row.shares for row in rows], dtype=float)

    def _array(self, values: Sequence[Value]) -> Array:
        if self._contract.task == "regression":
            return np.array(values, dtype=float)
        if values and not any(isinstance(value, str) for value in values):
            return np.array(values)
        return np.array(values, dtype=object)


def lots(
    contract: Contract,
    bounds: Sequence[tuple[str, str]],
    rows: Iterable[Prediction],
    outcomes: Mapping[str, Outcome],
    groups: Sequence[str] = (),
) -> list[Lot]:
    """The rows of each stretch from the first of its ``bounds`` to before the second, in one pass.

    Bounds are times as the log has them, ascending; "" is open. Rows in none of them are passed over.
    """
    found = [Lot(contract, groups) for _ in bounds]
    starts = np.array([since for since, _ in bounds])
    for row in rows:
        place = int(np.searchsorted(starts, row.time, side="right")) - 1
        if place >= 0 and (not bounds[place][1] or row.time < bounds[place][1]):
            found[place].take(row, outcomes.get(row.id))
    return found


class _Sample:
    """Those with the smallest keys."""

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[int, str], _Row]] = []

    def add(self, key: tuple[int, str], row: _Row) -> None:
        self._kept.append((key, row))
        if len(self._kept) >= 2 * KEPT:
            self._cut()

    def rows(self) -> list[_Row]:
        self._cut()
        return [row for _, row in self._kept]

    def _cut(self) -> None:
        self._kept.sort(key=lambda each: each[0])
        del self._kept[KEPT:]


def _delay(row: Prediction, outcome: Outcome | None) -> float | None:
    if outcome is None:
        return None
    made, heard = micros(row.time), micros(outcome.time)
    return None if made is None or heard is None else max(0.0, (heard - made) / 1e6)


def held(row: Prediction, column: str) -> Any:
    """What a row has in a column, wherever the log holds it."""
    lookup = row.lookup or {}
    for held in (row.inputs, row.context, lookup.get("request"), lookup.get("passed"), lookup.get("values")):
        if isinstance(held, Mapping) and held.get(column) is not None:
            return held[column]
    return None
