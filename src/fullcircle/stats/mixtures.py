"""Evidence from counts that holds at any time: mixtures of the multinomial law over a prior around what is claimed.

The e-value is the chance of the counts under the mixture over that under the claim: a martingale where the claim is
true, so it exceeds 1 / alpha at any time with a chance of at most alpha (Ville). No limit theorem is used. All
evidence is on the scale of natural logarithms: refuse at log(1 / alpha).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats.sequences import best, probability

Floats = NDArray[np.float64]


def off_shares(counts: ArrayLike, shares: ArrayLike, planned: float, alpha: float = 0.01) -> Floats:
    """Evidence that ``counts`` (..., K) were not drawn with ``shares`` (K): a mismatch of the sample ratio.

    The Dirichlet-multinomial mixture of Lindon & Malek (2022): the prior's centre is the shares, its weight that with
    which it is sharpest at about ``planned`` rows. Counts of periods with other shares are asked apart and
    added. It counts what was assigned at random: of a sticky split entities, not rows.
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
    """Evidence that labels do not come alike in all arms: of rows with a label, and of those without in their time.

    If whether and when a label came had nothing to do with the arm, both lots were drawn with ``shares``, however
    late those come that have one. The mean of two e-values is one: it sees labels that are rare in one arm, and
    missing labels that are.
    """
    with_label, without = (off_shares(each, shares, planned) for each in (labelled, waiting))
    return np.asarray(np.logaddexp(with_label, without) - math.log(2.0))


def above(hits: ArrayLike, rows: ArrayLike, limit: float, planned: float, alpha: float = 0.05) -> Floats:
    """Evidence that a rate is above ``limit``, one-sided: failures, answers slower than promised, of ``rows`` rows.

    A mixture over rates above the limit, Beta around it and cut off there. For every rate at or below the limit each
    factor is at most 1 on average, also of a row that counts in part: (q/p)^x <= 1 + x (q/p - 1) for x from 0 to 1.
    It is sharpest at about ``planned`` rows.
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
