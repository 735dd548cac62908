"""95 % intervals. Where there are too few values for an interval its bounds are NaN, never a guess.

NaN compares false with everything, so a gate that asks ``low > 0`` fails closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit

LEVEL = 0.95
_CELLS = 2_000_000  # resampled values held in memory at once


class Interval(NamedTuple):
    """An estimate and the bounds of its 95 % interval, in the unit of the estimate."""

    value: float
    low: float
    high: float


def mean(values: ArrayLike) -> Interval:
    """The mean of ``values`` (n,) with Student's t interval. One value has no interval, none has no mean."""
    array = np.asarray(values, dtype=float).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        return Interval(math.nan, math.nan, math.nan)
    centre = float(array.mean())
    if array.size == 1:
        return Interval(centre, math.nan, math.nan)
    from scipy.special import stdtrit

    half = float(stdtrit(array.size - 1, (1 + LEVEL) / 2)) * float(array.std(ddof=1)) / math.sqrt(array.size)
    return Interval(centre, centre - half, centre + half)


def paired_mean_difference(a: ArrayLike, b: ArrayLike) -> Interval:
    """The mean of ``a - b`` row by row, both (n,), with Student's t interval on the differences."""
    first, second = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if first.size != second.size:
        raise _unequal(first.size, second.size)
    return mean(first - second)


def proportion(k: int, n: int) -> Interval:
    """``k`` of ``n`` with Wilson's score interval (Wilson 1927). ``n`` = 0 has no value."""
    if not 0 <= k <= n:
        raise DataUnfit(
            "a count does not fit its total",
            received=f"{k} of {n}",
            allowed="0 <= k <= n",
            next_step="this is a defect of the caller: please report it",
        )
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    return score(k / n, n)


def score(share: float, n: float) -> Interval:
    """Wilson's score interval for a ``share`` (0 to 1) that tells as much as ``n`` rows, whole or not, would."""
    if not n > 0.0 or not 0.0 <= share <= 1.0:
        return Interval(math.nan, math.nan, math.nan)
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is 0 or 1 exactly; rounding must not push it across the share.
    low = 0.0 if share == 0.0 else min(share, centre - half)
    return Interval(share, low, 1.0 if share == 1.0 else max(share, centre + half))


class Scale(NamedTuple):
    """A scale on which a figure is nearer to normal: the open range it is for, the way there, its slope, and back."""

    low: float
    high: float
    there: Callable[[float], float]
    slope: Callable[[float], float]
    back: Callable[[float], float]


def _exp(value: float) -> float:
    return math.exp(min(value, 709.0))  # beyond, a double holds no number


SCALES: Mapping[str, Scale] = {
    "": Scale(-math.inf, math.inf, lambda x: x, lambda x: 1.0, lambda y: y),
    "log": Scale(0.0, math.inf, math.log, lambda x: 1.0 / x, _exp),
    # Explained variance is one minus a ratio, and it is the ratio that is positive and skew.
    "log(1 - x)": Scale(
        -math.inf, 1.0, lambda x: -math.log1p(-x), lambda x: 1.0 / (1.0 - x), lambda y: 1.0 - _exp(-y)
    ),
    "logit": Scale(
        0.0,
        1.0,
        lambda x: math.log(x) - math.log1p(-x),
        lambda x: 1.0 / (x * (1.0 - x)),
        lambda y: 1.0 / (1.0 + _exp(-y)),
    ),
    "Fisher z": Scale(-1.0, 1.0, math.atanh, lambda x: 1.0 / (1.0 - x * x), math.tanh),
}


def delta(value: float, error: float, degrees: float, scale: str = "") -> Interval:
    """The delta method: ``value`` and its standard ``error``, a Student's t interval on the scale, turned back.

    The bounds are NaN where the value lies on the border of the scale (a share of 0 or 1): there the method says
    nothing.
    """
    on = SCALES[scale]
    if not (on.low < value < on.high and math.isfinite(error) and degrees >= 1.0):
        return Interval(value, math.nan, math.nan)
    from scipy.special import stdtrit

    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * on.slope(value) * error
    centre = on.there(value)
    return Interval(value, min(value, on.back(centre - half)), max(value, on.back(centre + half)))


def bootstrap(
    statistic: Callable[..., Any],
    *arrays: ArrayLike,
    seed: int,
    draws: int = 1000,
    vectorised: bool = False,
) -> Interval:
    """The percentile bootstrap (Efron & Tibshirani 1993, ch. 13) of ``statistic(*arrays) -> float``.

    Every array has n rows on its first axis; row i of all arrays is drawn together. With ``vectorised`` the
    statistic gets arrays with one more axis in front (draws, n, ...) and returns one value per draw. Draws on
    which it is NaN (a draw of one class only, say) are left out; when more than one in ten is, or there are
    fewer than two rows, the bounds are NaN.
    """
    columns = [np.asarray(array) for array in arrays]
    sizes = {len(column) for column in columns}
    if len(sizes) != 1:
        raise _unequal(*sorted(sizes))
    (n,) = sizes
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(np.ravel(statistic(*(c[None] for c in columns)) if vectorised else statistic(*columns))[0])
    if n == 1 or not math.isfinite(value):
        return Interval(value, math.nan, math.nan)
    drawn = _draw(statistic, columns, n, np.random.default_rng(seed), draws, vectorised)
    finite = drawn[np.isfinite(drawn)]
    if finite.size < 0.9 * draws or finite.size < 2:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _draw(
    statistic: Callable[..., Any],
    columns: list[NDArray[Any]],
    n: int,
    generator: np.random.Generator,
    draws: int,
    vectorised: bool,
) -> NDArray[np.float64]:
    results = np.empty(draws)
    cells = n * max(1, *(int(np.prod(column.shape[1:])) for column in columns))
    step = max(1, _CELLS // cells)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        rows = generator.integers(0, n, size=(size, n))
        if vectorised:
            results[start : start + size] = statistic(*(column[rows] for column in columns))
        else:
            for offset, chosen in enumerate(rows):
                results[start + offset] = statistic(*(column[chosen] for column in columns))
    return results


def _unequal(*sizes: int) -> DataUnfit:
    return DataUnfit(
        "arrays that belong together differ in length, or there is none",
        received=", ".join(map(str, sizes)) or "nothing",
        allowed="arrays with the same number of rows",
        next_step="pass the same rows to each",
    )
