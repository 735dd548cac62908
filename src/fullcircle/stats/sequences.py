"""Confidence sequences: intervals that hold at every look at once, however often and whenever one looks.

A 95 % interval holds at one look fixed ahead; who looks after every row finds something in a third of all tests in
which there is nothing. A sequence is wider and holds at all looks together but for ``alpha``. All here rest on
Robbins' normal mixture (1970): where exp(x S - x^2 V / 2) is at most 1 on average for every x, mixing over
x ~ N(0, 1 / scale) and Ville's inequality give P(some time: S^2 >= (V + scale) log((V + scale) / (scale alpha^2)))
<= alpha. With u = V / scale and S = V D for an estimate D of information V, that is |D| >= ``multiplier(u)`` errors.

Bounds are infinite where nothing can be said yet, so that no question asked of them is answered yes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import Interval

Floats = NDArray[np.float64]
_ROUNDED = 1e-12
_MOST = 1e100  # errors in a spread: its square is a number still
NOTHING = Interval(math.nan, -math.inf, math.inf)


class Estimate(NamedTuple):
    """An estimate with its standard ``error`` and the ``skew`` of its own law, from ``units`` independent units.

    ``units`` is the clock. Of a difference of two arms it is n m / (n + m): what one arm of that size would tell.
    """

    value: float
    error: float
    skew: float
    units: float


def best(alpha: float) -> float:
    """The u at which a normal mixture is narrowest for its u: the solution of u = log(1 + u) + 2 log(1 / alpha).

    A sequence that is to be narrowest at n units has u = best(alpha) t / n at t units. It is rho^2 t of Waudby-Smith,
    Arbour, Sinha, Kennedy & Ramdas (2024), and the multiplier there is sqrt(1 + u): 3.03 at 5 %.
    """
    chance = probability("alpha", alpha)
    u = goal = -2.0 * math.log(chance)
    for _ in range(100):  # a contraction: its slope is 1 / (1 + u)
        u = goal + math.log1p(u)
    return u


def multiplier(u: ArrayLike, alpha: float) -> Floats:
    """How many standard errors a two-sided sequence spans to each side at ``u`` (any shape); infinite at u = 0."""
    chance = probability("alpha", alpha)
    at = np.maximum(np.asarray(u, dtype=np.float64), 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt((1.0 + 1.0 / at) * (np.log1p(at) - 2.0 * math.log(chance))))


def mean(values: ArrayLike) -> Estimate:
    """The mean of independent ``values`` (n,), such as the differences of a shadow and its champion, row by row."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return ratio(array, np.ones(array.size))


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """Sum over sum, of one value each (n,) of every entity, by the delta method (Deng, Knoblich & Lu 2018).

    Rows of one entity hang together; its sums are one unit. With rows as denominators it is the mean of a row. A NaN
    among them, fewer than two units or denominators that add up to 0 leave NaN.
    """
    above = np.asarray(numerators, dtype=np.float64).ravel()
    below = np.asarray(denominators, dtype=np.float64).ravel()
    if above.size != below.size:
        raise DataUnfit(
            "numerators and denominators differ in length",
            received=f"{above.size} and {below.size}",
            allowed="one of each for every entity",
            next_step="pass the sums of the same entities",
        )
    n = above.size
    if n < 2 or not (np.isfinite(above).all() and np.isfinite(below).all()) or below.sum() == 0.0:
        return Estimate(math.nan, math.nan, math.nan, float(n))
    value = float(above.sum() / below.sum())
    influence = (above - value * below) / below.mean()
    most = float(np.abs(influence).max())
    # What rounding leaves of values that are all the same is no error to count with.
    if most <= _ROUNDED * float(np.abs(above).max() / abs(below.mean())):
        return Estimate(value, 0.0, 0.0, float(n))
    parts = influence / most
    spread = math.sqrt(float(parts @ parts) / (n - 1))
    return Estimate(
        value, most * spread / math.sqrt(n), float((parts**3).mean()) / spread**3 / math.sqrt(n), float(n)
    )


def by_entity(entities: ArrayLike, *columns: ArrayLike) -> tuple[Floats, ...]:
    """The sums of each of ``columns`` (n,) over the rows of every entity, in one order of the entities."""
    _, places = np.unique(np.asarray(entities).ravel(), return_inverse=True)
    sums = (np.bincount(places, np.asarray(column, dtype=np.float64).ravel()) for column in columns)
    return tuple(np.asarray(each, dtype=np.float64) for each in sums)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` less ``second``, of two arms that share no unit.

    Where arms grow in whatever steps, the covariance of two looks is the variance of the later one: Brownian motion
    on the clock of information (Jennison & Turnbull 1997), as one mean is, so the same multiplier holds.
    """
    error = math.hypot(first.error, second.error)
    shares = [(each.error / error) ** 3 if error > 0.0 else 0.0 for each in (first, second)]
    skew = first.skew * shares[0] - second.skew * shares[1]
    both = first.units + second.units
    units = first.units * second.units / both if both > 0 else 0.0
    return Estimate(first.value - second.value, error, skew, units)


def together(parts: Sequence[Estimate]) -> Estimate:
    """The estimate from ``parts`` that share no unit, each weighed by its units; who knows nothing is left out.

    Weights are counts and no values. So where each part was dealt by shares of its own, which the past alone decided,
    it is the same sum on the same clock, and no part is compared with another. NaN where no part knows anything.
    """
    known = [each for each in parts if math.isfinite(each.error)]
    units = math.fsum(each.units for each in known)
    if not units > 0.0:
        return Estimate(math.nan, math.nan, math.nan, units)
    value = math.fsum(each.units * each.value for each in known) / units
    errors = [each.units * each.error / units for each in known]
    error = math.hypot(*errors)
    cubes = [(each / error) ** 3 if error > 0.0 else 0.0 for each in errors]
    return Estimate(value, error, math.fsum(a * b.skew for a, b in zip(cubes, known, strict=True)), units)


def sequence(estimate: Estimate, planned: float, alpha: float, spread: float | None = None) -> Interval:
    """The asymptotic confidence sequence of an estimate, narrowest at ``planned`` units, valid from its burn-in on.

    The margin is that of Waudby-Smith et al. (2024, theorem 2.2), with two guards for few units. Student's law
    stands in for the normal one at the same tail, since the error itself is estimated. And nothing is said while
    Edgeworth's correction of the tail at z errors, |skew| z^3 / 6 of it, is more than a half: the burn-in.
    Where later values of an entity add to its sums, increments hang together with the past positively, and by
    Slepian's inequality that makes a crossing rarer than at equal variance. Variance goes on shrinking where no unit
    comes any more and rows still do; so with ``spread``, a unit's planned standard deviation, the bounds are as wide
    as either clock wants them, that of units or that of information, (spread / error)^2.
    """
    z = max(float(multiplier(u, alpha)) for u in _clocks(estimate, planned, alpha, spread))
    if not _ready(estimate, z):
        return Interval(estimate.value, -math.inf, math.inf)
    from scipy.special import ndtr, stdtrit

    half = -float(stdtrit(estimate.units - 1.0, ndtr(-z))) * estimate.error
    return Interval(estimate.value, estimate.value - half, estimate.value + half)


def log_evidence(
    estimate: Estimate, planned: float, alpha: float, null: float = 0.0, spread: float | None = None
) -> float:
    """Log of the e-value against ``null``: log(1 / alpha) or more just where the sequence leaves it out.

    min(1, exp(-it)) is a p-value that holds at every look. -inf while nothing can be said.
    """
    clocks = _clocks(estimate, planned, alpha, spread)
    if not _ready(estimate, max(float(multiplier(u, alpha)) for u in clocks)):
        return -math.inf
    from scipy.special import ndtri, stdtr

    z = float(ndtri(stdtr(estimate.units - 1.0, -abs(estimate.value - null) / estimate.error)))
    return min((z * z * u / (1.0 + u) - math.log1p(u)) / 2.0 for u in clocks)


def _clocks(estimate: Estimate, planned: float, alpha: float, spread: float | None) -> tuple[float, ...]:
    """How far the estimate is, as a multiplier's u: by its units, and by its information where that is known."""
    scale = best(alpha) / _planned(planned)
    if spread is None or not estimate.error > 0.0:
        return (scale * estimate.units,)
    return scale * estimate.units, scale * min(spread / estimate.error, _MOST) ** 2


def _ready(estimate: Estimate, z: float) -> bool:
    return estimate.error > 0.0 and estimate.units > 1.0 and abs(estimate.skew) * z**3 <= 3.0


def scaled(interval: Interval, by: float) -> Interval:
    """The interval times ``by``: a value a row times rows a day is a value a day."""
    if by < 0:
        return Interval(interval.value * by, interval.high * by, interval.low * by)
    return Interval(*(0.0 if by == 0 else each * by for each in interval))


def probability(name: str, value: float) -> float:
    """``value`` as it is where it lies between 0 and 1, without the ends."""
    if not 0.0 < value < 1.0:
        raise DataUnfit(
            f"{name} is no chance that one can run",
            received=repr(value),
            allowed="a number above 0 and below 1, such as 0.05",
            next_step="state how often a verdict may be wrong",
        )
    return float(value)


def _planned(planned: float) -> float:
    if not (planned > 0.0 and math.isfinite(planned)):
        raise DataUnfit(
            "a sequence is narrowest at a planned size, and there is none",
            received=repr(planned),
            allowed="a number of units above 0",
            next_step="plan the experiment first",
        )
    return float(planned)
