"""What answering yes from a score on earns, for every score there is, and the best of them told honestly.

The amounts do not depend on where the line is drawn, only which of two each row gets, so one sort and one sum
give the exact curve in O(n log n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit

Array = NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """Mean amounts by threshold: row i is answered yes where its score is at least the threshold.

    ``thresholds`` (m + 1,) are the m distinct scores, ascending, and infinity: never yes. The lowest is always yes.
    ``values`` (m + 1,) are the (weighted) mean amounts.
    """

    thresholds: Array
    values: Array

    @property
    def best(self) -> int:
        """The position of the highest value; of equal ones the lowest threshold."""
        return int(np.argmax(self.values))


@dataclass(frozen=True)
class CrossFit:
    """Amounts of n rows, each under a threshold that was chosen without it, and the thresholds of the folds."""

    amounts: Array
    thresholds: Array


@dataclass(frozen=True)
class _Sorted:
    """Rows by ascending score: where a new score begins, and the weight times yes - no of each row."""

    order: Array
    starts: Array
    scores: Array
    gain: Array

    def sums(self, kept: Array | None = None) -> Array:
        """What yes adds to no, by threshold, over the kept rows (n, in sorted order): m + 1 sums."""
        gain = self.gain if kept is None else self.gain * kept
        return np.append(np.cumsum(gain[::-1])[::-1][self.starts], 0.0)

    def best(self, kept: Array) -> int:
        """The place of the best threshold for the kept rows, among their own scores and never; the lowest of equals.

        A score that no kept row has would tell the rows left out apart by their own score. The lowest score of kept
        rows means always yes.
        """
        own = np.append(np.logical_or.reduceat(kept, self.starts), True)
        chosen = int(np.argmax(np.where(own, self.sums(kept), -np.inf)))
        return 0 if chosen == int(np.argmax(own)) else chosen


def curve(scores: ArrayLike, yes: ArrayLike, no: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """The exact curve over ``scores`` (n,), where a row earns ``yes`` or ``no`` (n,) by its answer.

    Raises DataUnfit where arrays differ in length, are empty, or hold scores that are not finite.
    """
    given, first, second, weight = _checked(scores, yes, no, weights)
    rows = _sort(given, weight * (first - second))
    total = float(weight.sum())
    values = (float(weight @ second) + rows.sums()) / total
    return Curve(np.append(rows.scores, np.inf), values)


def cross_fit(
    scores: ArrayLike, yes: ArrayLike, no: ArrayLike, weights: ArrayLike | None = None, *, seed: int, folds: int = 5
) -> CrossFit:
    """The amounts under the best threshold, each fold's chosen on the other folds (seeded, of equal size).

    The best point of a curve is too good to be true on the rows that chose it. Choosing on some rows and measuring on
    others takes this away (Stone 1974). Raises DataUnfit as ``curve`` does, and with fewer rows than folds.
    """
    given, first, second, weight = _checked(scores, yes, no, weights)
    count = len(given)
    if count < folds:
        raise DataUnfit(
            "there are fewer rows than folds to choose a threshold in",
            received=str(count),
            allowed=f"at least {folds} rows",
            next_step="give more rows",
        )
    rows = _sort(given, weight * (first - second))
    fold = np.random.default_rng(seed).permutation(np.arange(count) % folds)
    sorted_fold = fold[rows.order]
    places = np.append(rows.starts, count)
    chosen = np.array([rows.best(sorted_fold != number) for number in range(folds)])
    rank = np.empty(count, dtype=np.intp)
    rank[rows.order] = np.arange(count)
    amounts = np.where(rank >= places[chosen][fold], first, second)
    return CrossFit(amounts, np.append(rows.scores, np.inf)[chosen])


def _sort(scores: Array, gain: Array) -> _Sorted:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return _Sorted(order, starts, ordered[starts], gain[order])


def _checked(scores: ArrayLike, yes: ArrayLike, no: ArrayLike, weights: ArrayLike | None) -> tuple[Array, ...]:
    arrays = [np.asarray(each, dtype=float) for each in (scores, yes, no)]
    arrays.append(np.ones(arrays[0].shape) if weights is None else np.asarray(weights, dtype=float))
    shapes = {array.shape for array in arrays}
    sound = len(shapes) == 1 and arrays[0].ndim == 1 and arrays[0].size > 0
    if not sound or not all(np.isfinite(array).all() for array in arrays) or not arrays[3].sum() > 0:
        raise DataUnfit(
            "a curve needs scores, two amounts and a weight for each row",
            received=", ".join(str(array.shape) for array in arrays),
            allowed="finite numbers of one length, at least one row, weights not all zero",
            next_step="pass the same rows to each",
        )
    return tuple(arrays)
