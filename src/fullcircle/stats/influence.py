"""Figures over rows with their influence values: how far each row pulls the figure from where it would be without it.

The influence value psi of a row is the derivative of the figure in the direction of that row (Hampel 1974). Their
mean is zero, and a figure minus its truth is about the mean of psi, so its standard error is that of a mean (the
delta method; Efron & Tibshirani 1993, ch. 22). Of two figures on the same rows, the difference has the difference of
the influence values: that is what makes a paired comparison.

Rows are on the first axis everywhere, n of them. ``weights`` (n, not negative) say how many rows each one stands for,
None: one; weighted figures are ratios of sums, and rows with their weights are taken as a random sample. A figure
that is not defined is NaN, and so are its influence values.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Figure(NamedTuple):
    """A figure and the influence value of each row (n,), in the figure's unit."""

    value: float
    influence: Array


def undefined(rows: int) -> Figure:
    """A figure that these rows do not have."""
    return Figure(math.nan, np.full(rows, math.nan))


def average(values: Array, weights: Array | None = None) -> float:
    """The weighted mean of ``values`` (n,)."""
    return float(np.mean(values)) if weights is None else float(np.dot(weights, values) / np.sum(weights))


def error(influence: Array, weights: Array | None = None) -> float:
    """The standard error that influence values give; NaN for fewer than two rows of positive weight."""
    if weights is None:
        n, spread = influence.size, float(np.dot(influence, influence)) / max(1, influence.size) ** 2
    else:
        pulls = weights * influence
        n, spread = int(np.count_nonzero(weights)), float(np.dot(pulls, pulls)) / float(np.sum(weights)) ** 2
    return math.sqrt(spread * n / (n - 1)) if n > 1 else math.nan


def effective(weights: Array | None, rows: int) -> float:
    """How many rows of equal weight would tell as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    if weights is None:
        return float(rows)
    largest = float(np.max(weights, initial=0.0))
    if largest <= 0.0:
        return 0.0
    scaled = weights / largest  # squares of tiny weights would vanish
    return float(np.sum(scaled)) ** 2 / float(np.dot(scaled, scaled))


def whole(weights: Array | None, rows: int) -> int:
    """``effective`` in whole rows, rounded down; adding floats may leave it a hair below."""
    return math.floor(effective(weights, rows) * (1.0 + 1e-9))


def alike(influence: Array, weights: Array | None = None, *, scale: float) -> bool:
    """Whether every row of positive weight pulls a figure in the same way, but for the rounding of floats.

    ``scale`` is the size of the numbers that it was reckoned from. Such rows show no spread, and a standard error
    of zero: that is no proof that other rows would show none.
    """
    seen = influence if weights is None else influence[weights > 0]
    return bool(seen.size and np.max(np.abs(seen)) <= 64.0 * np.finfo(float).eps * scale)


def degrees(influence: Array, weights: Array | None = None) -> float:
    """Degrees of freedom of the squared standard error, from the kurtosis k of the pulls: 2 n / (k - 1).

    The variance of a variance is (k - 1) / n of its square (Satterthwaite 1946 matches it with a chi-square). Where
    a few rows carry the figure, such as the only three positive ones, this is near their number, and not n. At
    most n - 1.
    """
    pulls = influence if weights is None else weights * influence
    squares = pulls * pulls
    n, second = pulls.size, float(np.mean(squares))
    if second <= 0.0 or n < 2:
        return float(max(1, n - 1))
    kurtosis = float(np.dot(squares, squares)) / n / second**2
    return max(1.0, min(n - 1.0, 2.0 * n / max(kurtosis - 1.0, 2.0 / n)))


def mean(values: Array, weights: Array | None = None) -> Figure:
    """The mean of ``values`` (n,)."""
    centre = average(values, weights)
    return Figure(centre, values - centre)


def ratio(hits: Array, counted: Array, weights: Array | None = None) -> Figure:
    """The share of ``hits`` among the rows that are ``counted`` (both (n,) of booleans)."""
    share = average(counted.astype(float), weights)
    if not share > 0.0:
        return undefined(len(counted))
    value = average((hits & counted).astype(float), weights) / share
    return Figure(value, np.where(counted, (hits - value) / share, 0.0))


def root_mean_square(errors: Array, weights: Array | None = None) -> Figure:
    """The root of the mean of the squares of ``errors`` (n,)."""
    squares = errors * errors
    centre = average(squares, weights)
    root = math.sqrt(centre)
    return Figure(root, (squares - centre) / (2.0 * root) if root > 0.0 else np.zeros(len(errors)))


def r_squared(actual: Array, predicted: Array, weights: Array | None = None) -> Figure:
    """1 minus the mean squared error over the variance of ``actual``; not defined where that is constant."""
    seen = actual if weights is None else actual[weights > 0]
    if seen.size == 0 or seen.min() == seen.max():
        return undefined(len(actual))
    squares = (predicted - actual) ** 2
    around = (actual - average(actual, weights)) ** 2
    total, left = average(around, weights), average(squares, weights)
    return Figure(1.0 - left / total, (left / total * (around - total) - (squares - left)) / total)


def median(values: Array, weights: Array | None = None) -> Figure:
    """The median of ``values`` (n,); weighted, the mean of the lower and the upper one.

    Its influence is (1/2 - [x <= median]) / density. The density at the median is the slope of the quantiles around
    it, over a stretch as Hall & Sheather (1988) choose it for intervals.
    """
    order = np.argsort(values)
    ranked = values[order]
    until = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    value = float(np.median(values)) if weights is None else _middle(ranked, until)
    reach = min(0.5, 0.97122 * effective(weights, len(values)) ** (-1.0 / 3.0))
    low, high = (quantile_of(ranked, until, 0.5 + side * reach) for side in (-1.0, 1.0))
    sparsity = (high - low) / (2.0 * reach)
    # Values that equal the median share what is left, so that the mean is zero with ties too.
    below = np.where(values < value, 1.0, np.where(values > value, -1.0, 0.0)) / 2.0
    return Figure(value, -sparsity * (below - average(below, weights)))


def quantile_of(ranked: Array, until: Array, share: float) -> float:
    """The smallest of ``ranked`` (n, ascending) at which the cumulated weight ``until`` reaches the share."""
    place = int(np.searchsorted(until, share * until[-1] * (1.0 - 1e-12)))
    return float(ranked[min(max(place, 0), len(ranked) - 1)])


def _middle(ranked: Array, until: Array) -> float:
    """The value at half of the weight; the mean of two where half of it ends exactly between them."""
    half = 0.5 * float(until[-1])
    place = min(int(np.searchsorted(until, half)), len(ranked) - 1)
    if until[place] - half > np.finfo(float).eps:
        return float(ranked[place])
    above = min(int(np.searchsorted(until, until[place], side="right")), len(ranked) - 1)
    return (float(ranked[place]) + float(ranked[above])) / 2.0


def _shares(codes: Array, labels: int, weights: Array | None) -> Array:
    counted = np.bincount(codes, weights=weights, minlength=labels)
    return np.asarray(counted / (len(codes) if weights is None else np.sum(weights)))


def recalls(actual: Array, predicted: Array, labels: int, weights: Array | None = None) -> tuple[Array, Array]:
    """The share of every class (codes 0 to ``labels`` - 1) and its recall, NaN for classes that do not occur."""
    shares = _shares(actual, labels, weights)
    hit = actual == predicted
    found = np.bincount(actual, weights=hit if weights is None else hit * weights, minlength=labels)
    found = found / (len(actual) if weights is None else np.sum(weights))
    with np.errstate(invalid="ignore", divide="ignore"):
        return shares, np.where(shares > 0.0, found / shares, math.nan)


def balanced_accuracy(actual: Array, predicted: Array, labels: int, weights: Array | None = None) -> Figure:
    """The mean recall over the classes that occur; both arrays hold codes."""
    shares, recall = recalls(actual, predicted, labels, weights)
    occurring = shares > 0.0
    scale = np.zeros(labels)
    scale[occurring] = 1.0 / (shares[occurring] * np.count_nonzero(occurring))
    hit = (actual == predicted).astype(float)
    return Figure(float(np.mean(recall[occurring])), scale[actual] * (hit - np.nan_to_num(recall)[actual]))


def macro_f1(actual: Array, predicted: Array, labels: int, weights: Array | None = None) -> Figure:
    """The mean F1 over the classes that occur or are answered; both arrays hold codes."""
    shares, recall = recalls(actual, predicted, labels, weights)
    both = shares + _shares(predicted, labels, weights)
    seen = both > 0.0
    scale = np.zeros(labels)
    scale[seen] = 1.0 / (both[seen] * np.count_nonzero(seen))
    f1 = np.zeros(labels)
    f1[seen] = 2.0 * (np.nan_to_num(recall) * shares)[seen] / both[seen]
    pulls = 2.0 * scale[actual] * (actual == predicted)
    return Figure(float(np.mean(f1[seen])), pulls - (f1 * scale)[actual] - (f1 * scale)[predicted])


def correlation(first: Array, second: Array, weights: Array | None = None) -> Figure:
    """Pearson's correlation of two flags (n,), which is Matthews' coefficient; not defined where one is constant."""
    x, y = (values - average(values, weights) for values in (first.astype(float), second.astype(float)))
    spread = average(x * x, weights), average(y * y, weights)
    if not min(spread) > 1e-15:
        return undefined(len(first))
    x, y = x / math.sqrt(spread[0]), y / math.sqrt(spread[1])
    value = max(-1.0, min(1.0, average(x * y, weights)))
    return Figure(value, x * y - value * (x * x + y * y) / 2.0)
