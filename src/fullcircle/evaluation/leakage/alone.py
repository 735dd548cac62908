"""How well one column alone tells the label: a predictor of one column, asked about rows that it has not seen.

Numbers are cut into at most 50 bins, categories with fewer than 10 rows are taken together, missing values are a
bin of their own. What a row is told is the mean label of the other rows of its bin, from the other four of five
folds: a column with a different value in every row learns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fullcircle.evaluation.check import Array, Frame, absent
from fullcircle.stats import influence, ranking
from fullcircle.stats.bins import quantile_edges
from fullcircle.stats.influence import Figure

ROWS = 20_000
_FOLDS = 5
_BINS = 50
_FEWEST = 50  # rows in all
_FEWEST_OF_CLASS = 20
_FEWEST_OF_CATEGORY = 10


class Alone(NamedTuple):
    """How well a column alone tells the label on rows not seen, with a 95 % interval; ``figure`` says in what."""

    column: str
    value: float
    low: float
    high: float
    rows: int
    figure: str


def strengths(
    frame: Frame,
    actual: Array,
    features: Sequence[str],
    *,
    task: Literal["regression", "classification"],
    classes: Sequence[Any],
    seed: int,
) -> list[Alone]:
    """Every feature of ``frame`` (m rows) by how well it tells ``actual`` alone, the strongest first.

    Binary: the area under the ROC curve. More classes: balanced accuracy. Regression: R2 of the label or of its
    ranks, whichever is larger (a few far labels must not hide that the column gives them away). At most 20 000
    seeded rows are looked at. Empty where there are fewer than 50 rows, or fewer than two classes with 20.
    """
    generator = np.random.default_rng(seed)
    rows = np.flatnonzero(~absent(actual))
    codes, known = np.zeros(0, dtype=np.intp), 0
    if task == "classification":
        codes, rows, known = _classes(actual, rows, classes)
        if known < 2:
            return []
    if len(rows) > ROWS:
        kept = np.sort(generator.choice(len(rows), ROWS, replace=False))
        rows, codes = rows[kept], codes[kept] if len(codes) else codes
    if len(rows) < _FEWEST:
        return []
    folds = generator.permutation(np.arange(len(rows)) % _FOLDS)
    found = []
    targets = _targets(np.asarray(actual, dtype=float)[rows]) if task == "regression" else ()
    for name in features:
        column = frame[name].iloc[rows]
        bins = _bins(column, max(5, min(_BINS, len(rows) // 20)))
        if task == "regression":
            figure, told = _best([_of_numbers(bins, folds, each) for each in targets]), "R2"
        elif known == 2:
            figure, told = _of_two(bins, folds, codes), "AUC"
        else:
            guesses = [_likeliest(bins, folds, codes, known), *_nearest(column, folds, codes)]
            figure = _best([influence.balanced_accuracy(codes, each, known) for each in guesses])
            told = "balanced accuracy"
        if math.isfinite(figure.value):
            found.append(_told(name, figure, told))
    return sorted(found, key=lambda each: -each.value)


def _told(name: str, figure: Figure, told: str) -> Alone:
    from scipy.special import stdtrit

    degrees = influence.degrees(figure.influence)
    half = float(stdtrit(degrees, 0.975)) * influence.error(figure.influence)
    low, high = figure.value - half, min(1.0, figure.value + half)
    return Alone(name, figure.value, low, max(figure.value, high), len(figure.influence), told)


def _classes(actual: Array, rows: Array, classes: Sequence[Any]) -> tuple[Array, Array, int]:
    """Labels as codes, the rows whose class is common enough, and how many classes these are."""
    place = {value: position for position, value in enumerate(classes)}
    codes = np.array([place.get(value, len(place)) for value in np.asarray(actual)[rows].tolist()], dtype=np.intp)
    common = np.bincount(codes, minlength=len(place) + 1) >= _FEWEST_OF_CLASS
    common[-1] = False
    kept = common[codes]
    return (np.cumsum(common) - 1)[codes[kept]], rows[kept], int(common.sum())


def _bins(column: Any, most: int) -> Array:
    """The bin of every row. Up to 50 different numbers have a bin each."""
    values = _numbers(column)
    if values is None:
        return _categories(column)
    gone = np.isnan(values)
    distinct = np.unique(values[~gone])
    edges = distinct if len(distinct) <= _BINS else quantile_edges(values, most)
    return np.where(gone, len(edges) + 1, np.searchsorted(edges, values))


def _numbers(column: Any) -> Array | None:
    """Numbers and times as floats with NaN where missing; None for anything else."""
    import pandas as pd

    if column.dtype.kind == "M":
        present = column.notna().to_numpy()
        return np.where(present, column.astype("int64").to_numpy().astype(float), np.nan)
    return column.to_numpy(dtype=float, na_value=np.nan) if pd.api.types.is_numeric_dtype(column) else None


def _categories(column: Any) -> Array:
    import pandas as pd

    values = column.astype(object)
    try:
        codes, _ = pd.factorize(values, use_na_sentinel=False)
    except TypeError:  # lists and the like cannot be told apart but as text
        codes, _ = pd.factorize(values.astype(str), use_na_sentinel=False)
    rare = np.bincount(codes) < _FEWEST_OF_CATEGORY
    return np.where(rare[codes], len(rare), codes)


def _held_out(bins: Array, folds: Array, values: Array) -> Array:
    """The mean of ``values`` over the rows of the same bin in other folds, drawn a little to the mean of all."""
    size = int(bins.max()) + 1
    cell = bins * _FOLDS + folds
    sums = np.bincount(cell, weights=values, minlength=size * _FOLDS).reshape(size, _FOLDS)
    counts = np.bincount(cell, minlength=size * _FOLDS).reshape(size, _FOLDS)
    others, behind = (each.sum(axis=1, keepdims=True) - each for each in (sums, counts))
    centre = others.sum(axis=0) / np.maximum(1, behind.sum(axis=0))
    return np.asarray(((others + centre) / (behind + 1.0))[bins, folds])


def _targets(actual: Array) -> tuple[Array, Array]:
    """The label and its ranks."""
    from scipy.stats import rankdata

    return actual, rankdata(actual)


def _best(found: Sequence[Figure]) -> Figure:
    return max(found, key=lambda figure: figure.value if math.isfinite(figure.value) else -math.inf)


def _of_numbers(bins: Array, folds: Array, target: Array) -> Figure:
    return influence.r_squared(target, _held_out(bins, folds, target))


def _of_two(bins: Array, folds: Array, codes: Array) -> Figure:
    """The area under the ROC curve of the share of the second class."""
    return ranking.roc_auc(_held_out(bins, folds, (codes == 1).astype(float)), codes == 1)


def _likeliest(bins: Array, folds: Array, codes: Array, known: int) -> Array:
    """The class that the bin makes likeliest, if all classes were equally common."""
    counts = np.bincount(codes, minlength=known)
    likely = [_held_out(bins, folds, (codes == each).astype(float)) / counts[each] for each in range(known)]
    return np.asarray(np.argmax(np.stack(likely), axis=0))


def _nearest(column: Any, folds: Array, codes: Array) -> list[Array]:
    """The class of the row of another fold with the nearest number: bins would mix classes where they meet."""
    values = _numbers(column)
    if values is None or np.isnan(values).any():
        return []
    order = np.argsort(values)
    ranked, place = values[order], np.arange(len(order))
    found = np.empty(len(codes), dtype=np.intp)
    for fold in range(_FOLDS):
        own = folds[order] == fold
        # Of the sorted rows, the last one below and the first one above that belong to another fold.
        below = np.maximum.accumulate(np.where(own, -1, place))[own]
        above = np.minimum.accumulate(np.where(own, len(order), place)[::-1])[::-1][own]
        down = np.where(below < 0, np.inf, ranked[own] - ranked[np.maximum(below, 0)])
        up = np.where(above >= len(order), np.inf, ranked[np.minimum(above, len(order) - 1)] - ranked[own])
        found[order[own]] = codes[order[np.where(down < up, below, above)]]
    return [found]
