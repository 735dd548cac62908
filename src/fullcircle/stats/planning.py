"""How many rows an experiment takes, before it starts and while it runs.

An estimate of n rows has the error ``noise / sqrt(n)``; its sequence spans ``widen`` times the multiplier of
``sequences`` in errors. All sizes are real numbers of rows of both arms together (of pairs, or of entities, where
those are the units): the caller rounds up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import Interval
from fullcircle.stats.randomised import proxy
from fullcircle.stats.sequences import best, multiplier, probability
from fullcircle.types.experiments import Standing


class Noise(NamedTuple):
    """``value``: the standard error of an estimate times the root of its rows; ``widen``: the price of exactness."""

    value: float
    widen: float = 1.0


def two_arms(spread: float, share: float, *, second: float | None = None, exact: bool = True) -> Noise:
    """Of the difference of two arms: ``spread`` is a row's standard deviation, ``share`` the second arm's of rows.

    ``second`` is the second arm's standard deviation where the effect changes it too. With ``exact`` for the sequence
    of ``randomised``, whose V is of the pooled variance or of the arms' own, whichever is larger; else for the
    asymptotic one of entities.
    """
    p, one = probability("share", share), _some("spread", spread) ** 2
    other = one if second is None else _some("spread", second) ** 2
    variance = other / p + one / (1.0 - p)
    pooled = (p * other + (1.0 - p) * one) * float(proxy(p)) / (p * (1.0 - p)) ** 2
    return Noise(math.sqrt(variance), math.sqrt(max(pooled / variance, 1.0)) if exact else 1.0)


def size(effect: float, noise: Noise, alpha: float, power: float = 0.8) -> float:
    """Rows after which an ``effect`` is known with a chance of ``power``, of a sequence narrowest at that size.

    ((widen sqrt(1 + best) + z_power) noise / effect)^2: that the bound leaves 0 behind at this very row. Who looks at
    every row knows sooner, so the chance to know by then is higher than ``power``.
    """
    reach = noise.widen * math.sqrt(1.0 + best(alpha)) + _z(power)
    return (reach * noise.value / _some("effect", abs(effect))) ** 2


def likely(effect: float, noise: Noise, planned: float, alpha: float, power: float = 0.5) -> float:
    """Rows after which an ``effect`` is known with a chance of ``power``, of a sequence narrowest at ``planned``.

    With 0.5 it is when one will likely know. An effect of 0 is never known: infinite.
    """
    z = _z(power)

    def known(n: float) -> bool:
        return abs(effect) * math.sqrt(n) / noise.value >= _reach(n, noise, planned, alpha) + z

    return _first(known, planned) if effect else math.inf


def narrow(effect: float, noise: Noise, planned: float, alpha: float, seen: float = 0.0) -> float:
    """Rows after which the sequence around a difference of ``seen`` leaves nothing as large as ``effect``.

    From there on, if that is still what is seen, one knows that there is no effect. Where ``seen`` is one itself that
    is never: infinite.
    """
    goal = _some("effect", abs(effect)) - abs(seen)
    if not goal > 0.0:
        return math.inf
    return _first(lambda n: _reach(n, noise, planned, alpha) * noise.value / math.sqrt(n) <= goal, planned)


def as_wide(noise: Noise, half: float, n: float, planned: float, alpha: float) -> Noise:
    """The noise of a sequence that is known to span ``half`` to each side at ``n`` rows."""
    return noise._replace(value=_some("width", half) * math.sqrt(n) / _reach(n, noise, planned, alpha))


def standing(interval: Interval, effect: float, *, up: bool = True) -> Standing:
    """What a difference (challenger less champion) with its bounds says: ``up`` where more is better.

    Better or worse where 0 lies outside, the same where nothing as large as ``effect`` is left inside.
    """
    if interval.low > 0.0 or interval.high < 0.0:
        return "better" if (interval.low > 0.0) == up else "worse"
    return "same" if -abs(effect) < interval.low and interval.high < abs(effect) else "undecided"


def _reach(n: float, noise: Noise, planned: float, alpha: float) -> float:
    return noise.widen * float(multiplier(best(alpha) * n / planned, alpha))


def _first(known: Callable[[float], bool], planned: float) -> float:
    """The least n, by bisection of its logarithm, from which on ``known`` holds."""
    low, high = math.log(_some("planned size", planned)) - 40.0, math.log(planned) + 40.0
    if not known(math.exp(high)):
        return math.inf
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (low, middle) if known(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _z(power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability("power", power)))


def _some(name: str, value: float) -> float:
    if not (value > 0.0 and np.isfinite(value)):
        raise DataUnfit(
            f"an experiment cannot be planned with this {name}",
            received=repr(value),
            allowed="a number above 0",
            next_step=f"state the {name}: of rows of the past, or the least that would matter",
        )
    return float(value)
