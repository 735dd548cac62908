"""Linear models in numpy: products added one after the other, so that a row's bits do not depend on its neighbours.

scikit-learn multiplies with BLAS, which adds in another order; the two agree within ``TOLERANCE``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fullcircle.runtimes.forms.links import answers
from fullcircle.runtimes.forms.preparing import Array, Prepared

TOLERANCE = 1e-12
"""Of the answer, and of probabilities, relative to the larger of the two and to 1."""
_CELLS = 500_000


@dataclass(frozen=True, eq=False)
class Weights:
    """``weights`` (k, features) and ``intercept`` (k,) of k scores."""

    weights: Array
    intercept: Array


class LinearForm:
    """Answers with a linear model. Equal rows give equal bits, whatever their number."""

    name = "linear"

    def __init__(self, prepared: Prepared, weights: Weights, decision: str, link: str) -> None:
        self.probable = link != "none" and decision != "value"
        self._prepared = prepared
        self._decision = decision
        self._link = link
        direct = prepared.chain >= 0
        columns = np.empty(int(direct.sum()), dtype=np.intp)
        columns[prepared.chain[direct]] = np.flatnonzero(direct)
        self._weights = np.ascontiguousarray(weights.weights[:, columns])
        self._start = weights.intercept
        tables = [_table(prepared, weights, entry) for entry in range(len(prepared.tables.columns))]
        self._table = np.concatenate([np.empty((0, len(self._start))), *tables])
        self._first = prepared.tables.first_bins[:-1]
        self._rows = max(1, _CELLS // max(1, weights.weights.size))

    def ask(self, matrix: Array) -> tuple[Array, Array | None]:
        """See Form. A row that scikit-learn would refuse is answered with NaN.

        Where there are neither numbers nor probabilities to be NaN, ValueError is raised, as scikit-learn does.
        """
        parts = [self._scores(matrix[begin : begin + self._rows]) for begin in range(0, len(matrix), self._rows)]
        scores = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty((0, len(self._start)))])
        found, chances = answers(scores, self._decision, self._link)
        if chances is None and self._decision != "value" and np.isnan(scores).any():
            raise ValueError("a row holds what the model refuses, and a class cannot say so")
        return found, chances

    def _scores(self, matrix: Array) -> Array:
        """The scores of each row, shape (n, k); NaN where the row is refused."""
        numbers, refused = self._prepared.chains.apply(matrix)
        count = numbers.shape[1] + 1
        parts = np.empty((len(matrix), len(self._start), count + len(self._first)))
        parts[:, :, 0] = self._start
        with np.errstate(all="ignore"):
            np.multiply(numbers[:, None, :], self._weights, out=parts[:, :, 1:count])
            if len(self._first):
                places = self._prepared.tables.places(matrix) + self._first
                parts[:, :, count:] = self._table.take(places, axis=0).swapaxes(1, 2)
            scores: Array = np.add.accumulate(parts, axis=2, out=parts)[:, :, -1].copy()
        if refused is not None:
            scores[refused] = np.nan
        if not np.isfinite(scores).all():  # an infinite sum of finite numbers is an answer, of infinite ones none
            scores[~np.isfinite(numbers).all(axis=1)] = np.nan
        return scores


def _table(prepared: Prepared, weights: Weights, entry: int) -> Array:
    """What the features of one table add to the scores, for each of its bins, shape (bins, k)."""
    bins = int(prepared.tables.bins[entry])
    found = np.zeros((bins, len(weights.intercept)))
    with np.errstate(all="ignore"):
        for feature in np.flatnonzero(prepared.entry == entry).tolist():
            found = found + prepared.table(feature)[:, None] * weights.weights[:, feature]
    found[prepared.tables.refused[slice(*prepared.tables.first_bins[entry : entry + 2])]] = np.nan
    return found
