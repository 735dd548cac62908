"""Procedures that make 95 % intervals in closed form, from answers and the influence of every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fullcircle.evaluation.answers import Answers, Array
from fullcircle.stats import influence, intervals, order
from fullcircle.stats.influence import Figure

ALONE = "one row has no interval"
SAME = "the same answers in every row"
FEW = "too few rows for an interval"
ALIKE = "all {rows} rows are alike, so nothing tells how others would be"
_UPPER = (1.0 + intervals.LEVEL) / 2.0


@dataclass(frozen=True)
class Bounds:
    """What a procedure answers. ``method`` names it, or says why there are no bounds (NaN)."""

    low: float
    high: float
    method: str


Procedure = Callable[[Answers, Figure], Bounds]


def by_t(a: Answers, found: Figure) -> Bounds:
    """Student's t interval of a mean over rows."""
    weights = a.uneven()
    if a.rows > 1 and alike(a, found):
        return no_spread(a)
    interval = intervals.delta(found.value, influence.error(found.influence, weights), freedom(found, weights))
    return Bounds(interval.low, interval.high, "t interval" if a.rows > 1 else ALONE)


def alike(a: Answers, found: Figure) -> bool:
    """Whether no row of these answers pulls the figure, so that they show no spread."""
    labels = float(np.max(np.abs(a.actual))) if a.actual.dtype.kind == "f" and a.rows else 1.0
    return influence.alike(found.influence, a.uneven(), scale=max(labels, abs(found.value)))


def no_spread(a: Answers) -> Bounds:
    """No bounds, for rows that show no spread: an interval of no width would promise what they cannot."""
    weights = a.uneven()
    seen = a.rows if weights is None else int(np.count_nonzero(weights))
    return Bounds(math.nan, math.nan, ALIKE.format(rows=seen) if seen > 1 else ALONE)


def freedom(found: Figure, weights: Array | None) -> float:
    """The degrees of freedom of a mean: n - 1, and with uneven weights what their pulls tell of the variance."""
    rows = len(found.influence)
    return rows - 1.0 if weights is None else influence.degrees(found.influence, weights)


def by_order(values: Callable[[Answers], Array]) -> Procedure:
    """Order statistics around the median of ``values``, from the binomial; weighted, as Woodruff (1952) does."""

    def procedure(a: Answers, found: Figure) -> Bounds:
        weights = a.uneven()
        interval = order.quantile(values(a), 0.5) if weights is None else _woodruff(values(a), weights)
        if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
            return Bounds(math.nan, math.nan, ALONE if a.rows == 1 else FEW)
        said = "order statistics, binomial" if weights is None else "order statistics (Woodruff)"
        return Bounds(interval.low, interval.high, said)

    return procedure


def _woodruff(values: Array, weights: Array) -> intervals.Interval:
    """The weighted quantiles at the ends of the interval of the share of weight below the median."""
    ranks = np.argsort(values)
    ranked, until = values[ranks], np.cumsum(weights[ranks])
    share = intervals.score(0.5, influence.effective(weights, len(values)))
    low, high = (influence.quantile_of(ranked, until, each) for each in (share.low, share.high))
    known = influence.effective(weights, len(values)) >= 6.0  # as few as order statistics need
    return intervals.Interval(math.nan, low if known else math.nan, high if known else math.nan)


def by_score(parts: Callable[[Answers], tuple[Array, Array]]) -> Procedure:
    """Wilson's interval for the share of hits among the rows counted, as ``parts`` tells both."""

    def procedure(a: Answers, found: Figure) -> Bounds:
        hits, counted = parts(a)
        weights = a.uneven()
        kept = None if weights is None else weights[counted]
        (rows,) = _worth(hits[counted], np.zeros(int(np.count_nonzero(counted)), dtype=np.intp), 1, kept)
        interval = intervals.score(found.value, rows)
        said = "Wilson interval" if weights is None else "Wilson interval on the effective number of rows"
        return Bounds(interval.low, interval.high, said)

    return procedure


def _worth(hits: Array, codes: Array, labels: int, weights: Array | None) -> Array:
    """How many rows of equal weight would give the share of hits of each code as exactly, length ``labels``.

    It is p (1 - p) over the variance of the weighted share, at most the rows there are (where all or none hit, Kish's
    number), and less where few rows carry the variance: t instead of z (Korn & Graubard 1998).
    """
    rows = np.bincount(codes, minlength=labels).astype(float)
    if weights is None:
        return rows
    from scipy.special import ndtri, stdtrit

    total, squares = (np.bincount(codes, weights=each, minlength=labels) for each in (weights, weights**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.bincount(codes, weights=weights * hits, minlength=labels) / total
        pulls = (weights * (hits - shares[codes])) ** 2
        second, fourth = (np.bincount(codes, weights=each, minlength=labels) for each in (pulls, pulls**2))
        spread = second / total**2 * rows / (rows - 1.0)
        found = np.where(spread > 0.0, np.minimum(rows, shares * (1.0 - shares) / spread), total**2 / squares)
        degrees = np.where(second > 0.0, 2.0 * rows / np.maximum(rows * fourth / second**2 - 1.0, 1e-9), rows)
        quantile = stdtrit(np.maximum(1.0, np.minimum(degrees, rows - 1.0)), _UPPER)
    return np.asarray(np.nan_to_num(found * (ndtri(_UPPER) / quantile) ** 2))


def by_classes(a: Answers, found: Figure) -> Bounds:
    """Limits of a mean of independent shares from those of each share (Newcombe 1998; Zou & Donner 2008)."""
    weights = a.uneven()
    shares, recall = influence.recalls(a.actual, a.predicted, a.labels, weights)
    rows = _worth(a.actual == a.predicted, a.actual, a.labels, weights)
    seen = np.flatnonzero(shares > 0.0).tolist()
    each = [intervals.score(min(1.0, float(recall[code])), float(rows[code])) for code in seen]
    low = found.value - math.hypot(*(one.value - one.low for one in each)) / len(seen)
    high = found.value + math.hypot(*(one.high - one.value for one in each)) / len(seen)
    return Bounds(low, high, "Wilson interval of each class, joined (Newcombe)")


def by_delta(scale: str, border: Callable[[Answers, Figure], Bounds]) -> Procedure:
    """The delta method on a scale; where the value lies on its border, what ``border`` says."""

    def procedure(a: Answers, found: Figure) -> Bounds:
        on, weights = intervals.SCALES[scale], a.uneven()
        if not on.low < found.value < on.high:
            return border(a, found)
        if a.rows > 1 and alike(a, found):
            return no_spread(a)
        spread, freedom = influence.error(found.influence, weights), influence.degrees(found.influence, weights)
        interval = intervals.delta(found.value, spread, freedom, scale)
        return Bounds(interval.low, interval.high, f"delta method, influence values, {scale} scale")

    return procedure


def unknown(a: Answers, _: Figure) -> Bounds:
    """No row is off: how far others would be is unknown."""
    return no_spread(a)


def _sizes(a: Answers) -> Array:
    """The effective number of rows of each class, length ``labels``."""
    weights = a.uneven()
    if weights is None:
        return np.bincount(a.actual, minlength=a.labels).astype(float)
    kept = [weights[a.actual == code] for code in range(a.labels)]
    return np.array([influence.effective(each, len(each)) for each in kept])


def sorted_out(a: Answers, found: Figure) -> Bounds:
    """An area of 0 or 1: the score interval with the largest variance that an area can have.

    That is A (1 - A) / min(ones, others) (Birnbaum & Klose 1957). Of several classes the mean of their bounds.
    """
    return _mirrored(found.value, _least(a, 1), "score interval, largest variance (Birnbaum and Klose)")


def sorted_out_twice(a: Answers, found: Figure) -> Bounds:
    """An average precision of 1: others may be hidden above, and positive rows below, each as Wilson bounds it."""
    return _mirrored(found.value, _least(a, 2), "Wilson bound, for others above and positive rows below")


def _least(a: Answers, power: int) -> float:
    sizes = _sizes(a)[: a.known]
    codes = range(1, 2) if a.known == 2 else range(a.known)
    lows = [intervals.score(1.0, min(sizes[code], sizes.sum() - sizes[code])).low for code in codes]
    return float(np.mean(lows)) ** power


def _mirrored(value: float, low: float, method: str) -> Bounds:
    return Bounds(low, 1.0, method) if value > 0.5 else Bounds(0.0, 1.0 - low, method)


def all_or_none(a: Answers, found: Figure) -> Bounds:
    """An F1 of 0 or 1: F = 2 J / (1 + J) of each class, J a share of the rows that are or are answered with it.

    The bounds of the classes are averaged, as if all erred together.
    """
    actual = _sizes(a)
    answered = _sizes(Answers(a.predicted, a.actual, None, a.known, a.labels, a.weights))
    # All right: both are the same rows. None right: they are different rows.
    sizes = actual if found.value > 0.5 else actual + answered
    shares = [intervals.score(1.0, size).low for size in sizes[sizes > 0.0].tolist()]
    if found.value > 0.5:
        return Bounds(float(np.mean([2.0 * j / (1.0 + j) for j in shares])), 1.0, "Wilson bounds of each class")
    rest = [1.0 - j for j in shares]
    return Bounds(0.0, float(np.mean([2.0 * j / (1.0 + j) for j in rest])), "Wilson bounds of each class")


def agreed(a: Answers, found: Figure) -> Bounds:
    """A coefficient of -1 or 1: what it would be if both classes' shares of hits were at their Wilson bound."""
    sizes = _sizes(a)
    others, ones = (float(intervals.score(1.0, size).low) for size in sizes[:2].tolist())
    share = float(np.dot(np.asarray(a.actual == 1, dtype=float), _heavy(a)) / np.sum(_heavy(a)))
    answered = share * ones + (1.0 - share) * (1.0 - others)
    low = (share * ones - share * answered) / math.sqrt(share * (1.0 - share) * answered * (1.0 - answered))
    said = "Wilson bounds of both classes"
    return Bounds(low, 1.0, said) if found.value > 0.0 else Bounds(-1.0, -low, said)


def _heavy(a: Answers) -> Array:
    weights = a.uneven()
    return np.ones(a.rows) if weights is None else weights
