"""Losses that grew though nothing could have been learned: labels that became wrong at random.

A model of the known labels answers the new rows worse by some growth. A correction of it that is learned on one half
of the new rows and judged on the other (cross-fitted) gets a part of that back. Of a concept that moved it gets most
back; of labels flipped at random in a share r of the rows only about r, and that by shrinking all answers alike. So
where nothing but that shrinking, towards a point in the middle of the answers, can be learned, it does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import Coded, is_number, numbers

Array = NDArray[Any]
FEWEST = 300
"""New rows below which it is not asked."""
_MOST = 6_000
_CLASSES = 3
_GROWN = 4.0  # standard errors
_GROWN_BY = 0.1  # of the loss that was usual
_LEARNABLE = 0.5
_BENT = 0.15
_FADED = 0.8


class Growth(NamedTuple):
    """How much a row's squared error grew, what of it can be learned again, and the errors of both.

    ``bent`` is what can be learned beyond a straight line in the old answers, ``shrinks`` whether that line draws the
    answers towards a point in their middle.
    """

    grown: float
    grown_error: float
    learned: float
    learned_error: float
    bent: float
    bent_error: float
    shrinks: bool

    @property
    def unlearnable(self) -> bool:
        """Whether surely less than half of it can be learned, or next to nothing but a shrinking of all answers."""
        if self.grown < _GROWN * self.grown_error:
            return False
        surely = self.grown - 2.0 * self.grown_error
        shrunken = self.shrinks and self.bent + 1.64 * self.bent_error < _BENT * surely
        return shrunken or self.learned + 2.0 * self.learned_error < _LEARNABLE * surely


@dataclass(frozen=True)
class Answers:
    """What a model of the known labels says of known rows (cross-fitted) and of new ones, beside their labels.

    All have a column for each class that is looked at, or one for a number. ``old`` and ``now`` are the rows' places.
    """

    old: Array
    said_known: Array
    known: Array
    now: Array
    said_new: Array
    new: Array

    def faded(self, known: NDArray[np.bool_], new: NDArray[np.bool_]) -> bool:
        """Whether labels follow the answers clearly less (by a fifth) in these new rows than in these known ones.

        Labels flipped in a share r of the rows follow them 1 - 2 r times as much; those of an honest change of level,
        or of the weight of what the rows have in common, go on following them.
        """
        before, _ = _following(self.said_known[known[self.old]], self.known[known[self.old]])
        after, error = _following(self.said_new[new[self.now]], self.new[new[self.now]])
        return bool(before > 0.0 and after + 2.0 * error < _FADED * before)


def answers(
    known: Any, known_label: Array, new: Any, label: Array, columns: tuple[Coded, ...], task: str, seed: int
) -> Answers:
    """They, from at most 6000 rows of both."""
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees
    from threadpoolctl import threadpool_limits

    generator = np.random.default_rng(seed)
    old, now = (np.sort(generator.permutation(len(each))[:_MOST]) for each in (known, new))
    X, Z = _matrix(known, columns, old, True), _matrix(new, columns, now, False)
    y, z = _targets(np.asarray(known_label)[old], np.asarray(label)[now], task)
    part = generator.random(len(old)) < 0.5
    said_known, said_new = np.zeros_like(y), np.zeros_like(z)
    with threadpool_limits(limits=1):
        for fold, column in product((part, ~part), range(y.shape[1])):
            model = Trees(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=0)
            model.fit(X[~fold], y[~fold, column])
            said_known[fold, column] = model.predict(X[fold])
            said_new[:, column] += model.predict(Z) / 2
    return Answers(old, said_known, y, now, said_new, z)


def _following(said: Array, label: Array) -> tuple[float, float]:
    """The slope of labels on answers, over all columns, and its standard error; NaN with too few rows."""
    if len(said) < 20:
        return math.nan, math.nan
    x, y = said - said.mean(axis=0), label - label.mean(axis=0)
    square = float((x * x).sum())
    if square <= 0.0:
        return math.nan, math.nan
    slope = float((x * y).sum()) / square
    return slope, math.sqrt(float(((x * (y - slope * x)) ** 2).sum())) / square


def grew(excess: Array, usual: float) -> bool:
    """Whether losses grew at all, beyond chance and by a tenth: cheap, and asked first. ``excess`` (n,) a row."""
    told = excess[np.isfinite(excess)]
    if told.size < FEWEST:
        return False
    mean = float(told.mean())
    return mean > max(_GROWN * float(told.std()) / math.sqrt(told.size), _GROWN_BY * usual)


class _Part(NamedTuple):
    """Squared errors (n,): of the known labels' model on known rows aside, on the new ones, on a line, and mended."""

    errors: tuple[Array, Array, Array, Array]
    shrinks: bool


def growth(
    known: Any, known_label: Array, new: Any, label: Array, columns: tuple[Coded, ...], task: str, seed: int
) -> Growth | None:
    """It, from at most 6000 rows of both; None with too few of either."""
    from threadpoolctl import threadpool_limits

    generator = np.random.default_rng(seed)
    old = np.sort(generator.permutation(len(known))[:_MOST])
    now = np.sort(generator.permutation(len(new))[:_MOST])
    if min(len(old), len(now)) < FEWEST:
        return None
    X, Z = _matrix(known, columns, old, True), _matrix(new, columns, now, False)
    targets, late = _targets(np.asarray(known_label)[old], np.asarray(label)[now], task)
    fold = generator.random(len(old)) < 0.25
    half = generator.random(len(now)) < 0.5
    with threadpool_limits(limits=1):  # a few thousand rows are not worth the threads
        parts = [_one(X, targets[:, each], Z, late[:, each], fold, half) for each in range(targets.shape[1])]
    before, after, line, mended = (np.sum([part.errors[place] for part in parts], axis=0) for place in range(4))
    return Growth(
        float(after.mean() - before.mean()),
        math.hypot(_error(after), _error(before)),
        float((after - mended).mean()),
        _error(after - mended),
        float((line - mended).mean()),
        _error(line - mended),
        all(part.shrinks for part in parts),
    )


def _one(X: Array, y: Array, Z: Array, z: Array, fold: Array, half: Array) -> _Part:
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees

    first = Trees(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=0).fit(X[~fold], y[~fold])
    said = first.predict(Z)
    left = z - said
    level, bent = np.empty(len(z)), np.empty(len(z))
    with_answer = np.column_stack([Z, said])
    for part in (half, ~half):
        slope = np.polynomial.polynomial.polyfit(said[~part], left[~part], 1)
        level[part] = np.polynomial.polynomial.polyval(said[part], slope)
        second = Trees(max_iter=30, max_leaf_nodes=8, early_stopping=False, random_state=0)
        rest = left[~part] - np.polynomial.polynomial.polyval(said[~part], slope)
        bent[part] = level[part] + second.fit(with_answer[~part], rest).predict(with_answer[part])
    candidates = [(left - each) ** 2 for each in (level, bent)]
    best = min(candidates, key=lambda each: float(each.mean()))
    errors = (y[fold] - first.predict(X[fold])) ** 2, left**2, candidates[0], best
    return _Part(errors, _shrinks(said, z))


def _shrinks(said: Array, z: Array) -> bool:
    """Whether what happens is the answers drawn towards a point in their middle: what labels wrong at random do."""
    start, slope = np.polynomial.polynomial.polyfit(said, z, 1)
    error = _error(z - start - slope * said) / max(float(said.std()), 1e-9)
    if slope + 2.0 * error >= 1.0:
        return False
    low, high = np.quantile(said, [0.1, 0.9])
    return bool(low <= start / (1.0 - slope) <= high)


def _targets(known: Array, new: Array, task: str) -> tuple[Array, Array]:
    """What is learned: a number in spreads, cut far off; or for each of the commonest classes whether it is that."""
    if task == "regression":
        old, late = known.astype(float), new.astype(float)
        low, middle, high = np.nanquantile(old, [0.05, 0.5, 0.95])
        scale = float(high - low) or 1.0
        return _cut((old - middle) / scale), _cut((late - middle) / scale)
    values, counts = np.unique(known.astype(str), return_counts=True)
    chosen = values[np.argsort(-counts, kind="stable")[:_CLASSES]].tolist()
    chosen = chosen[1:] if len(values) == 2 else chosen
    return _among(known, chosen), _among(new, chosen)


def _cut(values: Array) -> Array:
    return np.clip(values, -5.0, 5.0)[:, None]


def _among(labels: Array, chosen: list[str]) -> Array:
    return np.stack([labels.astype(str) == name for name in chosen], axis=1).astype(float)


def _matrix(frame: Any, columns: tuple[Coded, ...], rows: Array, known: bool) -> Array:
    taken = []
    for column in columns:
        codes = column.known if known else column.new
        plain = column.number and is_number(frame[column.name])
        taken.append(numbers(frame[column.name].iloc[rows]) if plain else codes[rows].astype(float))
    return np.column_stack(taken)


def _error(values: Array) -> float:
    return float(values.std()) / math.sqrt(len(values))
