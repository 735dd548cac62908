"""Do predictions mean what they say? Reliability in bins, calibration error, and tests of it.

Everywhere ``predicted`` and ``actual`` are (n,): probabilities and 0 or 1 where ``shares`` is true, else numbers in
one unit. ``weights`` (n, not negative, not all zero) say how many rows each stands for, None: one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import LEVEL, Interval

Array = NDArray[Any]
BINS = 10
# A bin of fewer rows says little: fewer rows make fewer bins.
ROWS_A_BIN = 20
# Up to this z nothing is improbable enough for a warning, and the bound is not worked out.
_NEAR = 2.5
# exp(60) is far beyond any level, and far from overflow.
_FURTHEST = 60.0


@dataclass(frozen=True)
class Reliability:
    """Rows in bins of about equal count, ascending by prediction; every array has one entry for each bin.

    ``low`` and ``high`` are the smallest and largest prediction, ``predicted`` and ``actual`` the means, ``lower``
    and ``upper`` the 95 % interval of the actual mean (Wilson 1927 for shares, Student's t for numbers, NaN for one
    row), ``error`` the standard error of ``actual - predicted``, ``part`` the share of all weight. ``of_row`` (n,) is
    the bin of every row.
    """

    rows: Array
    part: Array
    low: Array
    high: Array
    predicted: Array
    actual: Array
    lower: Array
    upper: Array
    error: Array
    of_row: Array

    @property
    def gap(self) -> Array:
        """Mean actual minus mean predicted; positive where predictions are too low."""
        return np.asarray(self.actual - self.predicted)


def reliability(
    predicted: ArrayLike,
    actual: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    shares: bool = True,
    bins: int = BINS,
) -> Reliability:
    """Up to ``bins`` bins. Equal predictions are never parted; bins under half of the usual size join the one before.

    Raises DataUnfit where there is no row, lengths differ or a number is not finite.
    """
    said, truth, heavy = checked(predicted, actual, weights)
    of_row = _bins_of(said, max(1, min(bins, len(said) // ROWS_A_BIN)))
    rows, mass = np.bincount(of_row), np.bincount(of_row, heavy)
    effective = _ratio(mass**2, np.bincount(of_row, heavy**2))
    means = [_ratio(np.bincount(of_row, heavy * each), mass) for each in (said, truth)]
    lower, upper = _wilson(means[1], effective) if shares else _student(truth, heavy, of_row, means[1])
    inside = [said[of_row == number] for number in range(len(rows))]
    return Reliability(
        rows=rows,
        part=mass / mass.sum(),
        low=np.array([each.min() for each in inside]),
        high=np.array([each.max() for each in inside]),
        predicted=means[0],
        actual=means[1],
        lower=lower,
        upper=upper,
        error=_errors(truth - said, heavy, of_row, means[1] - means[0], extra=0.25 if shares else 0.0),
        of_row=of_row,
    )


def expected_error(
    predicted: ArrayLike,
    actual: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    shares: bool = True,
    bins: int = BINS,
    within: Reliability | None = None,
) -> Interval:
    """The expected calibration error over equal-count bins, without what chance adds to it, with a 95 % interval.

    The usual estimate (Naeini, Cooper & Hauskrecht 2015) is E = sum of part_b |gap_b|. Chance alone makes it
    positive, so the excess that normal noise of size error_b would add to gaps as large as those seen is taken off
    (Kumar, Liang & Ma 2019): value = max(0, sum of part_b (2 |gap_b| - F(gap_b, error_b))), with the mean of a folded
    normal F(g, s) = s sqrt(2/pi) exp(-g^2/2s^2) + |g| erf(|g| / s sqrt 2). The interval is value +- t se, where se is
    the standard error of the mean over rows of sign(gap_b) (actual - predicted). Its lower end is 0 also where E is
    not larger than a calibrated model would show in 97.5 % of samples. One row has no interval. ``within`` is the
    ``reliability`` of the same rows where it is known already.
    """
    said, truth, heavy = checked(predicted, actual, weights)
    found = within or reliability(said, truth, heavy, shares=shares, bins=bins)
    from scipy.special import erf, stdtrit

    wide, noise = np.abs(found.gap), np.maximum(found.error, np.finfo(float).tiny)
    rows = len(said)
    if rows == 1:
        return Interval(float(wide[0]), math.nan, math.nan)
    folded = noise * math.sqrt(2 / math.pi) * np.exp(-0.5 * (wide / noise) ** 2)
    folded += wide * erf(wide / (noise * math.sqrt(2)))
    value = max(0.0, float(np.sum(found.part * (2 * wide - folded))))
    signed = np.sign(found.gap)[found.of_row] * (truth - said)
    error = standard_error(signed, heavy, extra=1.0 if shares else 0.0)
    half = float(stdtrit(rows - 1, (1 + LEVEL) / 2)) * error
    usual = float(np.sum(found.part * noise)) * math.sqrt(2 / math.pi)
    spread = math.sqrt(float(np.sum((found.part * noise) ** 2)) * (1 - 2 / math.pi))
    z = float(stdtrit(np.inf, (1 + LEVEL) / 2))
    chance = float(np.sum(found.part * wide)) <= usual + z * spread
    # No mean of distances between shares is above 1.
    high = min(1.0, value + half) if shares else value + half
    return Interval(value, 0.0 if chance else max(0.0, value - half), high)


def standard_error(values: ArrayLike, weights: ArrayLike | None = None, *, extra: float = 0.0) -> float:
    """The standard error of the weighted mean of ``values`` (n,): sqrt(n / (n - 1) sum w^2 (x - mean)^2) / sum w.

    Without weights that is the usual s / sqrt(n). ``extra`` is added to the sum of squares, for values so alike that
    their spread says nothing: with 1.0 a share of 0 or 1 keeps an error. NaN for one row.
    """
    array = np.asarray(values, dtype=float)
    heavy = np.ones(len(array)) if weights is None else np.asarray(weights, dtype=float)
    if len(array) < 2:
        return math.nan
    deviation = array - np.average(array, weights=heavy)
    squares = float(np.sum((heavy * deviation) ** 2)) + extra * float(np.mean(heavy**2))
    return math.sqrt(squares * len(array) / (len(array) - 1)) / float(heavy.sum())


def chance(predicted: ArrayLike, actual: ArrayLike, counts: ArrayLike | None = None) -> float:
    """An upper bound on the two-sided p-value of S = sum of counts * actual, where actual is 1 with ``predicted``.

    Chernoff's bound for independent events of known, unequal probability: P(S >= s) <= min over t > 0 of
    exp(sum of log(1 - p + p e^(t a)) - t s), doubled for two sides. It holds for any number of rows and the rarest
    events, where z and chi-square do not. ``counts`` (n,) may be negative: 1 - 2 p gives the statistic of
    Spiegelhalter (1986). 1 where the deviation is within 2.5 standard errors.
    """
    p, y = np.asarray(predicted, dtype=float), np.asarray(actual, dtype=float)
    a = np.ones(len(p)) if counts is None else np.asarray(counts, dtype=float)
    off = float(np.sum(a * (y - p)))
    variance = float(np.sum(a**2 * p * (1 - p)))
    if off**2 <= _NEAR**2 * variance or abs(off) < 1e-9 * max(1.0, float(np.abs(a).sum())):
        return 1.0
    if off < 0.0:
        a = -a
    total = float(np.sum(a * y))
    reach = _FURTHEST / float(np.abs(a).max())
    t = reach if variance <= 0.0 else min(reach, abs(off) / variance)
    best = 0.0
    for _ in range(8):
        grown = np.exp(t * a)
        spread = 1 - p + p * grown
        best = min(best, float(np.sum(np.log(np.maximum(spread, np.finfo(float).tiny)))) - t * total)
        tilted = p * grown / np.maximum(spread, np.finfo(float).tiny)
        slope, curve = float(np.sum(a * tilted)) - total, float(np.sum(a**2 * tilted * (1 - tilted)))
        after = min(reach, max(t / 4, t - slope / curve)) if curve > 0.0 else reach
        if best < -_FURTHEST or abs(after - t) <= 1e-3 * t:
            break
        t = after
    return min(1.0, 2.0 * math.exp(best))


def most_improbable(
    predicted: ArrayLike, actual: ArrayLike, weights: ArrayLike | None, within: Reliability, *, shares: bool = True
) -> float:
    """The p-value of the largest deviation from calibration, corrected for having looked at several (Bonferroni).

    Looked at are the mean over all rows, that of every bin, and with ``shares`` the statistic of Spiegelhalter
    (1986), each through ``chance``, so it is an upper bound. For numbers it is Student's t; as a bin's spread may be
    small by luck, it counts as at least that of all bins together.
    """
    said, truth, heavy = checked(predicted, actual, weights)
    if not shares:
        return _improbable_mean(truth - said, heavy, within)
    bounds = [chance(said, truth, heavy), chance(said, truth, heavy * (1 - 2 * said))]
    order = np.argsort(within.of_row, kind="stable")
    for here in np.split(order, np.cumsum(within.rows)[:-1]):
        bounds.append(chance(said[here], truth[here], heavy[here]))
    return min(1.0, min(bounds) * len(bounds))


def checked(predicted: ArrayLike, actual: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """All three as floats (n,), weights of one where there are none. Raises DataUnfit where they do not fit."""
    said, truth = np.asarray(predicted, dtype=float).ravel(), np.asarray(actual, dtype=float).ravel()
    heavy = np.ones(len(said)) if weights is None else np.asarray(weights, dtype=float).ravel()
    if not len(said) == len(truth) == len(heavy) or not len(said):
        raise DataUnfit(
            "predictions, truth and weights differ in length, or there is none",
            received=f"{len(said)}, {len(truth)} and {len(heavy)}",
            allowed="one number of each for every row",
            next_step="pass the same rows to each",
        )
    if not all(np.isfinite(each).all() for each in (said, truth, heavy)) or not heavy.sum() > 0.0:
        raise DataUnfit(
            "calibration needs finite numbers, and weights that are not all zero",
            allowed="finite numbers",
            next_step="leave out rows without a number",
        )
    return said, truth, heavy


def _improbable_mean(residual: Array, heavy: Array, within: Reliability) -> float:
    from scipy.special import stdtr

    if len(residual) < 2:
        return 1.0
    mass = np.bincount(within.of_row, heavy)
    pooled = math.sqrt(float(np.average((residual - within.gap[within.of_row]) ** 2, weights=heavy)))
    floor = pooled * _ratio(np.sqrt(np.bincount(within.of_row, heavy**2)), mass)
    gaps = np.append(within.gap, np.average(residual, weights=heavy))
    errors = np.append(np.maximum(within.error, floor), standard_error(residual, heavy))
    free = np.append(within.rows - 1, len(residual) - 1)
    # Differences this small are rounding.
    differs = np.abs(gaps) > 1e-9 * max(float(np.abs(residual).max()), float(np.abs(within.actual).max()))
    if np.any(differs & (errors <= 0.0)):
        return 0.0
    tested = differs & (free > 0)
    if not tested.any():
        return 1.0
    return min(1.0, float(np.min(2.0 * stdtr(free[tested], -np.abs(gaps[tested]) / errors[tested]))) * len(gaps))


def _bins_of(said: Array, bins: int) -> Array:
    """The bin of every row, counted from 0. Bytes sort and count fast."""
    rows = len(said)
    places = [rows * number // bins - 1 for number in range(1, bins)]
    edges = np.unique(np.partition(said, places)[places]) if places else np.empty(0)
    fine = np.searchsorted(edges, said, side="left")
    counts = np.bincount(fine, minlength=len(edges) + 1)
    coarse: list[int] = []
    here, held = 0, 0
    for count in counts.tolist():
        # The next bin begins only where this one and what is left are large enough.
        left = rows - sum(counts[: len(coarse)].tolist())
        if held and min(held, left) * 2 * bins >= rows:
            here, held = here + 1, 0
        coarse.append(here)
        held += count
    return np.array(coarse, dtype=np.uint8)[fine]


def _errors(residual: Array, heavy: Array, of_row: Array, gap: Array, *, extra: float) -> Array:
    """The standard error of the mean residual in each bin; 0 for a single row."""
    rows, mass = np.bincount(of_row), np.bincount(of_row, heavy)
    deviation = heavy * (residual - gap[of_row])
    squares = np.bincount(of_row, deviation**2) + extra * np.bincount(of_row, heavy**2) / rows
    return np.asarray(_ratio(np.sqrt(squares * _ratio(rows, rows - 1)), mass))


def _ratio(above: Array, below: Array) -> Array:
    """Division where nothing is below: 0, as an empty bin has no part in any sum."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0.0)


def _wilson(share: Array, rows: Array) -> tuple[Array, Array]:
    from scipy.special import ndtri

    z2 = float(ndtri((1 + LEVEL) / 2)) ** 2
    n = np.maximum(rows, np.finfo(float).tiny)
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * share * (1 - share) / n + (z2 / (2 * n)) ** 2) / (1 + z2 / n)
    return np.clip(np.minimum(centre - half, share), 0.0, 1.0), np.clip(np.maximum(centre + half, share), 0.0, 1.0)


def _student(truth: Array, heavy: Array, of_row: Array, mean: Array) -> tuple[Array, Array]:
    from scipy.special import stdtrit

    rows = np.bincount(of_row)
    half = np.full(len(rows), math.nan)
    several = rows > 1
    error = _errors(truth, heavy, of_row, mean, extra=0.0)
    half[several] = stdtrit(rows[several] - 1, (1 + LEVEL) / 2) * error[several]
    return mean - half, mean + half
