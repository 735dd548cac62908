"""Evidence from counts that holds at any time: mixtures of the multinomial law over a prior around what is claimed.

The e-value is the chance of the counts under the mixture over that under the claim: a martingale where the claim is
true, so it exceeds 1 / alpha at any time with a chance of at most alpha (Ville). No limit theorem is used. All
evidence is on the scale of natural logarithms: refuse at log(1 / alpha).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import Interval
from fullcircle.stats.sequences import best, probability

Floats = NDArray[np.float64]


def off_shares(counts: ArrayLike, shares: ArrayLike, planned: float, alpha: float = 0.01) -> Floats:
    """Evidence that ``counts`` (..., K) were not drawn with ``shares`` (K): a mismatch of the sample ratio.

    The Dirichlet-multinomial mixture of Lindon & Malek (2022): the prior's centre is the shares, its weight that with
    which it is sharpest at about ``planned`` rows. Counts of periods with other shares are asked apart and
    added. It counts what was assigned at random: of a sticky split entities, not rows. With shares (1/2, 1/2) on the
    pairs in which exactly one of two models is right it is McNemar's test, valid at any time.
    """
    seen, claimed = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    fits = claimed.ndim == 1 and seen.shape[-1:] == claimed.shape and np.all(claimed > 0)
    if not fits or abs(float(claimed.sum()) - 1.0) > 1e-9 or not np.all(seen >= 0):
        raise DataUnfit(
            "counts and shares do not belong together",
            received=f"counts of shape {seen.shape}, shares {claimed.tolist()}",
            allowed="one count of at least 0 for each share, shares above 0 that add up to 1",
            next_step="leave out arms that get no rows",
        )
    from scipy.special import gammaln

    weight = _weight(planned, alpha)
    prior = weight * claimed
    total = seen.sum(axis=-1)
    grown = (gammaln(prior + seen) - gammaln(prior) - seen * np.log(claimed)).sum(axis=-1)
    return np.asarray(grown + gammaln(weight) - gammaln(weight + total))


def off_coverage(labelled: ArrayLike, waiting: ArrayLike, shares: ArrayLike, planned: float) -> Floats:
    """Evidence that labels do not come alike in all arms: of rows that had their time, with a label and without.

    If whether a label came had nothing to do with the arm, both lots were drawn with ``shares``. The mean of two
    e-values is one: it sees labels that are rare in one arm, and missing labels that are.
    """
    with_label, without = (off_shares(each, shares, planned) for each in (labelled, waiting))
    return np.asarray(np.logaddexp(with_label, without) - math.log(2.0))


def above(hits: ArrayLike, rows: ArrayLike, limit: float, planned: float, alpha: float = 0.05) -> Floats:
    """Evidence that a rate is above ``limit``, one-sided: failures, answers slower than promised, of ``rows`` rows.

    A mixture over rates above the limit, Beta around it and cut off there. For every rate at or below the limit each
    factor is at most 1 on average. It is sharpest at about ``planned`` rows.
    """
    k, n = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64))
    if not np.all((k >= 0) & (k <= n)):
        raise _counted(k, n)
    from scipy.special import betaincc, betaln

    claimed = probability("limit", limit)
    weight = _weight(planned, alpha)
    a, b = weight * claimed, weight * (1.0 - claimed)
    with np.errstate(divide="ignore"):
        beyond = np.log(betaincc(a + k, b + n - k, claimed)) - np.log(betaincc(a, b, claimed))
    chance = k * math.log(claimed) + (n - k) * math.log1p(-claimed)
    return np.asarray(betaln(a + k, b + n - k) - betaln(a, b) + beyond - chance)


def above_other(
    hits: ArrayLike, others: ArrayLike, share: float, planned: float, *, times: float = 1.0, alpha: float = 0.05
) -> Floats:
    """Evidence that an arm's rate is more than ``times`` the other's, from ``hits`` and ``others``, the events alone.

    Of all events, those in the arm have the share p t / (p t + 1 - p) at most, p being the arm's ``share`` of rows
    and t ``times``, whatever the rate is and however it moves in the course of a day (Lindon & Malek 2022).
    ``planned`` counts events.
    """
    p = probability("share", share)
    limit = p * times / (p * times + 1.0 - p)
    return above(hits, np.asarray(hits, dtype=np.float64) + np.asarray(others), limit, planned, alpha)


def proportion(hits: int, rows: int, alpha: float, prior: tuple[float, float] = (0.5, 0.5)) -> Interval:
    """The confidence sequence of one proportion by the beta-binomial mixture (Howard et al. 2021, Robbins 1970).

    Exact at every number of rows, for independent rows of one rate. ``prior`` moves its width only.
    """
    if not 0 <= hits <= rows:
        raise _counted(np.asarray(hits), np.asarray(rows))
    goal = -math.log(probability("alpha", alpha))
    if rows == 0:
        return Interval(math.nan, 0.0, 1.0)
    from scipy.special import betaln, xlog1py, xlogy

    k, left, (a, b) = float(hits), float(rows - hits), prior
    mixed = float(betaln(a + k, b + left) - betaln(a, b))
    share = k / rows

    def refused(p: float) -> bool:
        return mixed - float(xlogy(k, p) + xlog1py(left, -p)) >= goal

    return Interval(share, _edge(refused, share, 0.0), _edge(refused, share, 1.0))


def apart(
    first: tuple[int, int], second: tuple[int, int], alpha: float, prior: tuple[float, float] = (0.5, 0.5)
) -> Interval:
    """The confidence sequence of a difference of two rates, ``first`` less ``second``, each (hits, rows).

    Exact for any two rates and any way of choosing the next row's arm by the past. Wider than ``randomised``, which
    needs the share by which chance chose, and is exact for no difference.
    """
    goal = -math.log(probability("alpha", alpha))
    (k, n), (m, r) = first, second
    if not (0 <= k <= n and 0 <= m <= r):
        raise _counted(np.array([k, m]), np.array([n, r]))
    if n == 0 or r == 0:
        return Interval(math.nan, -1.0, 1.0)

    def refused(by: float) -> bool:
        return off_difference(first, second, by, prior) >= goal

    value = k / n - m / r
    return Interval(value, _edge(refused, value, -1.0), _edge(refused, value, 1.0))


def off_difference(
    first: tuple[int, int], second: tuple[int, int], by: float, prior: tuple[float, float] = (0.5, 0.5)
) -> float:
    """Evidence that two rates, each (hits, rows), do not differ ``by`` this, ``first`` less ``second``.

    The product of two beta-binomial mixtures is an e-value against each pair of rates; of all pairs that differ by
    this, the one with the least evidence against it counts.
    """
    from scipy.special import betaln

    a, b = prior
    mixed = sum(float(betaln(a + k, b + n - k) - betaln(a, b)) for k, n in (first, second))
    return mixed - _likeliest(first, second, by)


def _likeliest(first: tuple[int, int], second: tuple[int, int], by: float) -> float:
    """The largest log likelihood of two rates of which the first is ``by`` higher; it is concave in the second."""
    from scipy.special import xlog1py, xlogy

    (k, n), (m, r) = first, second
    low, high = max(0.0, -by), min(1.0, 1.0 - by)
    for _ in range(60):
        q = (low + high) / 2.0
        p = min(max(q + by, 0.0), 1.0)
        up = (k / p if k else 0.0) + (m / q if m else 0.0) if min(p, q) > 0 else math.inf
        down = (
            ((n - k) / (1.0 - p) if n > k else 0.0) + ((r - m) / (1.0 - q) if r > m else 0.0) if max(p, q) < 1 else 0
        )
        low, high = (q, high) if up > down else (low, q)
    q = (low + high) / 2.0
    p = min(max(q + by, 0.0), 1.0)
    return float(xlogy(k, p) + xlog1py(n - k, -p) + xlogy(m, q) + xlog1py(r - m, -q))


def _edge(refused: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where ``refused`` begins between a place inside and the farthest one; that one where it never does."""
    if not refused(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2.0
        inside, outside = (inside, middle) if refused(middle) else (middle, outside)
    return outside


def _weight(planned: float, alpha: float) -> float:
    """The prior's weight in rows: rows over weight is the u of a normal mixture."""
    if not (planned > 0.0 and math.isfinite(planned)):
        raise DataUnfit(
            "a test is sharpest at a planned size, and there is none",
            received=repr(planned),
            allowed="a number above 0",
            next_step="plan the experiment first",
        )
    return planned / best(alpha)


def _counted(hits: Floats, rows: Floats) -> DataUnfit:
    return DataUnfit(
        "a count does not fit its total",
        received=f"{hits} of {rows}",
        allowed="0 <= hits <= rows",
        next_step="this is a defect of the caller: please report it",
    )
