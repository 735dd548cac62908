"""The difference of two arms, from nothing but that chance decided which arm a row went to.

Take any effect d, and say that each row's value would have been d higher in the second arm, whatever it was. Then
the values less d are the same whichever arm a row went to, and all that is random is the arm: Z = 1 with the logged
share. So X = c (Y - d Z - m), with c = 1 / share in the second arm, -1 / (1 - share) in the first, and m any figure
from earlier rows, has mean 0 given all values, and is sub-Gaussian with (Y - d Z - m)^2 times a factor of the share
alone (Kearns & Saul 1998). Robbins' mixture of the sum gives the sequence: all d not refused (Fisher's test, made
valid at any time; for a share of a half the inequality is that of de la Pena 1999 for symmetric steps).

It asks nothing of the values: heavy tails, many zeros, trends in time, a share that is moved or learned as long as
the past alone decides it. It is exact for an effect that is the same for all rows, no effect above all. Where
effects differ from row to row, so do the variances of the arms, and X^2 may add up to more than those bounds: the
larger sum counts, which takes nothing from what is exact and holds the mean effect in the limit of many rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import Interval
from fullcircle.stats.sequences import best, probability

Floats = NDArray[np.float64]


class Trail(NamedTuple):
    """Sums up to a row: of c (Y - m) and c (Z - z), m and z being the means of earlier rows, and of their squares.

    ``square``, ``cross`` and ``still`` are of the squares and the product times the factor of the share, those that
    were ``seen`` times c^2. Each is a number, or an array with one entry a look.
    """

    rows: Floats
    signed: Floats
    moved: Floats
    square: Floats
    cross: Floats
    still: Floats
    seen_square: Floats
    seen_cross: Floats
    seen_still: Floats

    def at(self, look: int | NDArray[np.intp]) -> Trail:
        """The sums at a look, or at several, counted from 0; -1 is the last."""
        return Trail(*(np.asarray(each)[..., look] for each in self))


def proxy(share: ArrayLike) -> Floats:
    """The sub-Gaussian variance of one draw with chance ``share``: (1 - 2p) / (2 log((1 - p) / p)), 1/4 at a half.

    It is p (1 - p) times 1 at 50 %, 1.12 at 30 %, 2.0 at 10 %, 3.2 at 5 %: the price of exactness, in rows.
    """
    p = np.asarray(share, dtype=np.float64)
    if not np.all((p > 0.0) & (p < 1.0)):
        raise DataUnfit(
            "a row that could go to one arm only tells nothing of a difference",
            received=f"shares from {p.min():g} to {p.max():g}" if p.size else "no share",
            allowed="shares above 0 and below 1",
            next_step="leave out rows from before the split and after it",
        )
    tilt = 1.0 - 2.0 * p
    near = np.abs(tilt) < 1e-4  # there the quotient is 0 / 0; its series is 1/4 (1 - tilt^2 / 3 ...)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = tilt / (2.0 * (np.log1p(-p) - np.log(p)))
    return np.asarray(np.where(near, 0.25 * (1.0 - tilt * tilt / 3.0), exact))


def trail(values: ArrayLike, second: ArrayLike, share: ArrayLike) -> Trail:
    """The sums after each row; ``values`` and ``second`` (did it go to the second arm?) are (..., n).

    Rows come in the order in which their value was there to be used, ties in any order that does not look at arm or
    value. ``share`` is the chance that a row had of the second arm, given that it went to one of the two: a number,
    or one a row.
    """
    y, z = np.asarray(values, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if y.shape != z.shape or not np.isfinite(y).all():
        raise DataUnfit(
            "values and arms do not belong together",
            received=f"values {y.shape}, arms {z.shape}" if y.shape != z.shape else "a value that is no number",
            allowed="one finite value and one arm a row",
            next_step="leave out rows without a value, in both",
        )
    p = np.broadcast_to(np.asarray(share, dtype=np.float64), y.shape)
    factor = proxy(p) / (p * (1.0 - p)) ** 2
    sign = np.where(z > 0.5, 1.0 / p, -1.0 / (1.0 - p))
    of_value, of_arm = _beyond(y), _beyond(z)
    return Trail(
        np.broadcast_to(np.arange(1.0, y.shape[-1] + 1), y.shape),
        np.cumsum(sign * of_value, axis=-1),
        np.cumsum(sign * of_arm, axis=-1),
        np.cumsum(factor * of_value**2, axis=-1),
        np.cumsum(factor * of_value * of_arm, axis=-1),
        np.cumsum(factor * of_arm**2, axis=-1),
        np.cumsum((sign * of_value) ** 2, axis=-1),
        np.cumsum(sign**2 * of_value * of_arm, axis=-1),
        np.cumsum((sign * of_arm) ** 2, axis=-1),
    )


def _beyond(values: Floats) -> Floats:
    """Each value less the mean of those before it; 0 for the first, so that no origin of the scale matters."""
    n = values.shape[-1]
    if n == 0:
        return values
    first = values[..., :1]
    sums = np.cumsum(values - first, axis=-1)
    before = np.concatenate([np.zeros_like(first), sums[..., :-1] / np.arange(1, n)], axis=-1)
    return np.asarray(values - first - before)


def scale(spread: float, planned: float, share: float, alpha: float) -> float:
    """The mixture's scale with which the sequence is narrowest at ``planned`` rows of standard deviation ``spread``.

    Both must be said before the first row; a wrong guess makes the sequence wider, not wrong.
    """
    if not (spread > 0.0 and planned > 0.0 and math.isfinite(spread * planned)):
        raise DataUnfit(
            "a sequence needs a spread and a size to aim at",
            received=f"spread {spread!r}, rows {planned!r}",
            allowed="numbers above 0",
            next_step="plan the experiment on rows of the past whose values differ",
        )
    p = float(share)
    return planned * spread**2 * float(proxy(p)) / (p * (1.0 - p)) ** 2 / best(alpha)


def log_evidence(at: Trail, scale: float, effect: float = 0.0) -> Floats:
    """Log of the e-value against ``effect`` at each look: at log(1 / alpha) or more it is refused at level alpha."""
    total = at.signed - effect * at.moved
    bound = at.square - 2.0 * effect * at.cross + effect**2 * at.still
    seen = at.seen_square - 2.0 * effect * at.seen_cross + effect**2 * at.seen_still
    spent = np.maximum(bound, seen) + scale
    return np.asarray((total * total / spent - np.log(spent / scale)) / 2.0)


def interval(at: Trail, scale: float, alpha: float) -> Interval:
    """The effects that are not refused at one look, of numbers: second arm less first, in the unit of the values.

    Infinite where rows are too few to refuse any effect, however large.
    """
    goal = -math.log(probability("alpha", alpha))
    moved = float(at.moved)
    if not moved > 0.0:
        return Interval(math.nan, -math.inf, math.inf)
    centre = float(at.signed) / moved
    step = math.sqrt(float(at.square) + scale) / moved + abs(centre) * 1e-12
    low, high = (_edge(at, scale, goal, centre, side * step) for side in (-1.0, 1.0))
    return Interval(centre, low, high)


def _edge(at: Trail, scale: float, goal: float, centre: float, step: float) -> float:
    """Where the evidence reaches ``goal``, from ``centre``, where it is 0, outwards."""
    inside, outside = centre, centre + step
    for _ in range(60):
        if float(log_evidence(at, scale, outside)) >= goal:
            break
        inside, outside = outside, centre + (outside - centre) * 2.0
    else:
        return math.copysign(math.inf, step)
    for _ in range(100):
        middle = (inside + outside) / 2.0
        if float(log_evidence(at, scale, middle)) >= goal:
            outside = middle
        else:
            inside = middle
    return outside
