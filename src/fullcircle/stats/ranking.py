"""How well scores put positive rows before others: areas with their influence values, and the curves themselves.

Rows with the same score are one step everywhere. ``scores`` (n,) and ``positive`` (n, booleans) belong together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.stats.influence import Figure, undefined

Array = NDArray[Any]


class Steps(NamedTuple):
    """The distinct scores, ascending, with the weight of rows at each.

    ``order`` (n,) sorts the rows, ``step`` (n,) is the place of each sorted row among the steps, ``ones`` and
    ``others`` (k,) are the weights of positive and other rows at each.
    """

    scores: Array
    order: Array
    step: Array
    ones: Array
    others: Array


def steps(scores: Array, positive: Array, weights: Array | None = None) -> Steps:
    """Group rows by score."""
    order = np.argsort(scores)
    ranked = scores[order]
    new = np.ones(len(scores), dtype=bool)
    np.not_equal(ranked[1:], ranked[:-1], out=new[1:])
    first = np.flatnonzero(new)
    heavy = np.ones(len(scores)) if weights is None else weights[order]
    ones = np.where(positive[order], heavy, 0.0)
    return Steps(
        ranked[first],
        order,
        np.cumsum(new) - 1,
        np.add.reduceat(ones, first),
        np.add.reduceat(heavy - ones, first),
    )


def roc_auc(scores: Array, positive: Array, weights: Array | None = None) -> Figure:
    """The chance that a positive row has a higher score than another, ties half (Mann & Whitney 1947).

    The influence values are the placements of DeLong, DeLong & Clarke-Pearson (1988), so their standard error is
    DeLong's. Not defined for rows of one kind only.
    """
    if len(scores) == 0:
        return undefined(0)
    found = steps(scores, positive, weights)
    all_ones, all_others = float(np.sum(found.ones)), float(np.sum(found.others))
    if not (all_ones > 0.0 and all_others > 0.0):
        return undefined(len(scores))
    total = all_ones + all_others
    below = (np.cumsum(found.others) - found.others / 2.0) / all_others
    above = 1.0 - (np.cumsum(found.ones) - found.ones / 2.0) / all_ones
    value = min(1.0, max(0.0, float(np.dot(found.ones, below)) / all_ones))
    pulls_one, pulls_other = (below - value) * (total / all_ones), (above - value) * (total / all_others)
    influence = np.empty(len(scores))
    influence[found.order] = np.where(positive[found.order], pulls_one[found.step], pulls_other[found.step])
    return Figure(value, influence)


def average_precision(scores: Array, positive: Array, weights: Array | None = None) -> Figure:
    """The mean, over positive rows, of the precision at their score; not defined for rows of one kind only.

    With a(t) and b(t) the shares of positive and of all rows that score t or more, and pi that of positive ones, it
    is AP = E[a(X) / b(X) | positive]. A row (y, x) pulls it by y (a/b(x) - AP) / pi through its own precision, and
    by y G(x) - H(x) through that of the rows below, G(x) = E[Y [X <= x] / b(X)] / pi and
    H(x) = E[Y [X <= x] a(X) / b(X)^2] / pi.
    """
    if len(scores) == 0:
        return undefined(0)
    found = steps(scores, positive, weights)
    total = float(np.sum(found.ones) + np.sum(found.others))
    ones, every = found.ones / total, (found.ones + found.others) / total
    pi = float(np.sum(ones))
    if not pi > 0.0 or not float(np.sum(found.others)) > 0.0:
        return undefined(len(scores))
    a, b = np.cumsum(ones[::-1])[::-1], np.cumsum(every[::-1])[::-1]
    precision = np.where(b > 0.0, a / np.where(b > 0.0, b, 1.0), 0.0)
    value = min(1.0, float(np.dot(ones, precision)) / pi)
    lifts = np.cumsum(np.where(b > 0.0, ones / np.where(b > 0.0, b, 1.0), 0.0)) / pi
    costs = np.cumsum(np.where(b > 0.0, ones * precision / np.where(b > 0.0, b, 1.0), 0.0)) / pi
    pulls_one = (precision - value) / pi + lifts - costs
    influence = np.empty(len(scores))
    influence[found.order] = np.where(positive[found.order], pulls_one[found.step], -costs[found.step])
    return Figure(value, influence)


def curves(scores: Array, positive: Array, weights: Array | None = None, *, points: int = 200) -> dict[str, Array]:
    """The share of positive rows found, of others wrongly taken, and the precision, at each threshold.

    Arrays ``found``, ``taken`` and ``precision`` of the same length, at most ``points``, from the highest threshold
    to the lowest. Empty for rows of one kind only.
    """
    nothing = {name: np.empty(0) for name in ("found", "taken", "precision")}
    if len(scores) == 0:
        return nothing
    each = steps(scores, positive, weights)
    ones, others = np.cumsum(each.ones[::-1]), np.cumsum(each.others[::-1])
    if not (ones[-1] > 0.0 and others[-1] > 0.0):
        return nothing
    kept = _spread(ones / ones[-1] + others / others[-1], points)
    ones, others = ones[kept], others[kept]
    both = ones + others
    precision = np.divide(ones, both, out=np.full(len(both), math.nan), where=both > 0.0)
    return {"found": ones / each.ones.sum(), "taken": others / each.others.sum(), "precision": precision}


def _spread(along: Array, points: int) -> Array:
    """Places of at most so many entries of ``along`` (ascending), evenly spread over its range, both ends in."""
    if len(along) <= points:
        return np.arange(len(along))
    wanted = np.linspace(along[0], along[-1], points - 1)
    return np.unique(np.r_[np.minimum(np.searchsorted(along, wanted), len(along) - 1), len(along) - 1])
