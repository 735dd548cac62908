"""Quantiles with intervals from order statistics: exact for any continuous distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fullcircle.stats.intervals import LEVEL, Interval


def quantile(values: ArrayLike, share: float) -> Interval:
    """The ``share`` quantile of ``values`` (n,) with a 95 % interval (David & Nagaraja 2003, section 7.1).

    The number of values below the true quantile is binomial(n, share): the bounds are the order statistics that hold
    at least 95 % of it. Where n is too small for a bound it is NaN: the 99 % quantile needs 368 values.
    """
    array = np.sort(np.asarray(values, dtype=float).ravel())
    n = array.size
    if n == 0 or not np.isfinite(array).all() or not 0.0 < share < 1.0:
        return Interval(math.nan, math.nan, math.nan)
    from scipy.stats import binom

    tail = (1.0 - LEVEL) / 2.0
    centre = float(np.quantile(array, share))
    # P(fewer than k values below) <= tail, and P(at least m values below) <= tail.
    below = int(binom.ppf(tail, n, share))
    above = int(binom.ppf(1.0 - tail, n, share)) + 1
    low = float(array[below - 1]) if below >= 1 else math.nan
    high = float(array[above - 1]) if above <= n else math.nan
    return Interval(centre, min(low, centre), max(high, centre))
