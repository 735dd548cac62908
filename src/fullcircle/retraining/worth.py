"""What a retraining is worth: rows times what a row gains, less what it costs and what being wrong would cost.

Before a training nobody knows what a new model earns. What is known is how much worse the champion got since its
reference: a new one can win back about that, and not more. After it, the two were compared on the same fresh rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fullcircle.retraining.regret import noticed
from fullcircle.stats.intervals import Interval
from fullcircle.types.durations import duration
from fullcircle.types.loop import Worth
from fullcircle.types.project import Retrain

_Z = 1.959963984540054  # of a 95 % interval of a normal law


@dataclass(frozen=True)
class Level:
    """The mean of ``rows`` values, its standard ``error`` and the ``spread`` (standard deviation) of one value."""

    mean: float
    error: float
    spread: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the sums are in and over: ``rows_a_day`` answered now, in ``unit``.

    ``money`` says whether that is the project's currency (it says what a row is worth): else ``unit`` is that of the
    main metric or of the loss, and no cost can be set against it.
    """

    rows_a_day: float
    unit: str
    money: bool


def level(values: ArrayLike, *, effect: float = 1.0) -> Level:
    """The level of values (n,) a row, NaN left out; ``effect`` is how many rows tell as much as one independent."""
    array = np.asarray(values, dtype=float).ravel()
    array = array[np.isfinite(array)]
    if array.size < 2:
        return Level(float(array.mean()) if array.size else math.nan, math.nan, math.nan, int(array.size))
    spread = float(array.std(ddof=1))
    return Level(float(array.mean()), spread * math.sqrt(effect / array.size), spread, int(array.size))


def growth(before: Level, now: Level, *, more_is_better: bool = False) -> Interval:
    """How much worse a row got, with a 95 % interval (Welch's normal approximation); NaN where either is unknown.

    The levels are of a loss, or with ``more_is_better`` of a value: then what is lost is ``before`` less ``now``.
    """
    moved = before.mean - now.mean if more_is_better else now.mean - before.mean
    half = _Z * math.hypot(before.error, now.error)
    return Interval(moved, moved - half, moved + half)


def expected(lost: Interval, *, spread: float, traffic: Traffic, retrain: Retrain, realised: bool = True) -> Worth:
    """What a retraining may earn at most, before it: ``lost`` is how much worse a row got (see ``growth``).

    ``spread`` is the standard deviation of a row's value or loss, ``realised`` whether it was measured on labels or
    is what the model itself expects.
    """
    source = "as labels show" if realised else "as the model itself expects, without labels"
    return _worth(lost, spread, traffic, retrain, False, f"what a row lost against the best of the line, {source}")


def measured(gained: Interval, *, spread: float, traffic: Traffic, retrain: Retrain) -> Worth:
    """What the challenger earns, after training: ``gained`` is its paired difference a row on the fresh rows.

    ``spread`` is the standard deviation of the paired differences. ``gained`` is in merit: more is better.
    """
    return _worth(gained, spread, traffic, retrain, True, "measured on rows newer than those it learned from")


def too_little(worth: Worth) -> str:
    """Why it is not worth it, or "": what is left is not above zero, or nobody can tell."""
    if not (math.isfinite(worth.net) and math.isfinite(worth.low)):
        return f"too few rows to tell what it is worth ({worth.text})"
    return "" if worth.net > 0.0 else f"not worth it: {worth.text}"


def wrong(gain: Interval, spread: float, rows: float) -> float:
    """What being wrong is expected to cost over ``rows`` rows: E[max(0, -gain)] times the rows until it is noticed.

    The gain a row is taken as normal about its value with the interval's width. A model that is worse is taken back
    by ``regret`` after about ``noticed`` rows, at the latest after ``rows``. NaN where the interval is unknown.
    """
    deviation = (gain.high - gain.low) / (2.0 * _Z)
    if not math.isfinite(deviation):
        return math.nan
    if deviation <= 0.0:
        chance, below = float(gain.value < 0.0), max(0.0, -gain.value)
    else:
        z = gain.value / deviation
        chance = 0.5 * math.erfc(z / math.sqrt(2.0))
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        below = max(0.0, deviation * density - gain.value * chance)
    if chance <= 0.0 or below <= 0.0:
        return 0.0
    return below * min(rows, noticed(below / chance, spread))


def _worth(gain: Interval, spread: float, traffic: Traffic, retrain: Retrain, shown: bool, what: str) -> Worth:
    rows = traffic.rows_a_day * duration(retrain.horizon).total_seconds() / 86400.0
    cost, risk = retrain.cost if traffic.money else 0.0, wrong(gain, spread, rows)
    net = gain.value * rows - cost - risk
    left = f"{net:+,.4g} {traffic.unit}".rstrip() if math.isfinite(net) else "nobody can tell what"
    text = (
        f"{'measured' if shown else 'expected at most'} {left} in {_days(retrain.horizon)}: {gain.value:.3g} a row "
        f"({gain.low:.3g} to {gain.high:.3g}; {what}) x {rows:,.0f} rows, "
        f"less {cost:,.4g} for training and {risk:,.3g} for the risk of being worse"
    )
    if retrain.cost and not traffic.money:
        text += (
            f"; the cost of {retrain.cost:,.4g} is not set against it, because the project does not say what a row "
            "is worth (fc.worth)"
        )
    return Worth(
        unit=traffic.unit, horizon=retrain.horizon, rows=rows, per_row=gain.value, low=gain.low, high=gain.high,
        cost=cost, risk=risk, measured=shown, text=text,
    )  # fmt: skip


def _days(horizon: str) -> str:
    return f"{duration(horizon).total_seconds() / 86400:g} d"
