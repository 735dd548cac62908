"""Recalibration: the straight line, or the logistic one, that would put predictions right.

``predicted`` and ``actual`` are (n,), ``weights`` (n, not negative, not all zero) say how many rows each stands for,
None: one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.stats.calibration import checked
from fullcircle.stats.intervals import Interval, delta

Array = NDArray[Any]
# Probabilities of exactly 0 and 1 have no logit; they are taken as this far from the ends.
_EDGE = 1e-6


def logistic_slope(predicted: ArrayLike, actual: ArrayLike, weights: ArrayLike | None = None) -> Interval:
    """The slope b of logit P(actual = 1) = a + b logit(predicted) (Cox 1958), with a 95 % interval.

    1 is right; below 1 probabilities are too far out (overconfident), above 1 too timid. Newton's method; the error
    is the sandwich one, right also where the law is no logistic one. NaN where there is none: one class, equal
    probabilities, or classes that a threshold keeps apart.
    """
    said, truth, heavy = checked(predicted, actual, weights)
    nothing = Interval(math.nan, math.nan, math.nan)
    clipped = np.clip(said, _EDGE, 1 - _EDGE)
    logit = np.log(clipped) - np.log1p(-clipped)
    counted = heavy > 0
    ones = counted & (truth > 0.5)
    if not ones.any() or not (counted & ~ones).any() or np.ptp(logit[counted]) < 1e-9:
        return nothing
    # From zero Newton's method does not overshoot, as it does where fitted probabilities are near 0 and 1.
    found = np.zeros(2)
    for _ in range(50):
        fitted = _sigmoid(found[0] + found[1] * logit)
        residual, spread = heavy * (truth - fitted), heavy * fitted * (1 - fitted)
        first, cross = float(np.sum(spread)), float(np.dot(spread, logit))
        curve = np.array([[first, cross], [cross, float(np.dot(spread * logit, logit))]])
        if not first > 1e-9 * heavy.sum() or np.linalg.cond(curve) > 1e12:
            return nothing
        step = np.linalg.solve(curve, [float(np.sum(residual)), float(np.dot(residual, logit))])
        # Newton's method squares the error with each step.
        if np.abs(step).max() < 1e-6:
            return _sandwich((np.ones(len(logit)), logit), residual, curve, found)[1]
        found = found + np.clip(step, -2.0, 2.0)
    return nothing


def straight_line(
    predicted: ArrayLike, actual: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Interval, Interval]:
    """Intercept and slope of actual on predicted by (weighted) least squares, with 95 % intervals (sandwich, HC1).

    0 and 1 are right (Mincer & Zarnowitz 1969). NaN with fewer than three rows or equal predictions.
    """
    said, truth, heavy = checked(predicted, actual, weights)
    nothing = Interval(math.nan, math.nan, math.nan)
    counted = said[heavy > 0]
    if len(counted) < 3 or np.ptp(counted) <= 1e-12 * max(1.0, float(np.abs(counted).max())):
        return nothing, nothing
    centre, scale = float(np.average(said, weights=heavy)), float(np.std(counted))
    scaled = (said - centre) / scale
    cross = float(np.dot(heavy, scaled))
    curve = np.array([[float(heavy.sum()), cross], [cross, float(np.dot(heavy * scaled, scaled))]])
    found = np.linalg.solve(curve, [float(np.dot(heavy, truth)), float(np.dot(heavy * scaled, truth))])
    # Back from the scaled column: intercept = a - b centre / scale, slope = b / scale.
    back = np.array([[1.0, -centre / scale], [0.0, 1.0 / scale]])
    residual = heavy * (truth - found[0] - found[1] * scaled)
    first, second = _sandwich((np.ones(len(said)), scaled), residual, curve, found, back)
    return first, second


def _sandwich(
    design: tuple[Array, Array], scores: Array, curve: Array, found: Array, back: Array | None = None
) -> tuple[Interval, Interval]:
    """Intervals of two coefficients: curve^-1 (X' diag(score^2) X) curve^-1, times n / (n - 2)."""
    rows = len(scores)
    pulls = [column * scores for column in design]
    meat = np.array([[float(np.dot(one, other)) for one in pulls] for other in pulls])
    inverse = np.linalg.inv(curve) if back is None else back @ np.linalg.inv(curve)
    found = found if back is None else back @ found
    spread = inverse @ meat @ inverse.T * rows / max(1, rows - 2)
    made = [
        delta(float(value), math.sqrt(max(0.0, square)) if rows > 2 else math.nan, rows - 2)
        for value, square in zip(found, np.diag(spread), strict=True)
    ]
    return made[0], made[1]


def _sigmoid(values: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(values))
