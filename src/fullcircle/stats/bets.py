"""Bets on counts, and what they may cost: upper bounds of a bet's mean when the reference is a finite sample.

A bet b >= 0 on the cells of a column has the e-value prod b^N / s^n of a batch with counts N, n = sum N. Its mean is
at most 1 when s >= E_p[b], p being the true shares of the reference. p is not known: s is an upper confidence bound
from m reference rows. Each bound here is exact for a finite m (no limit theorem).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_STEPS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
_TRUST = np.array([0.05, 0.1, 0.7, 0.1, 0.05])
_LN2 = float(np.log(2.0))


def at_most(hits: ArrayLike, rows: ArrayLike, chance: ArrayLike) -> Floats:
    """The upper bound of a share of which ``hits`` of ``rows`` were seen; wrong with at most ``chance``.

    Clopper & Pearson (1934). It holds for a cell between two order statistics too: its share has the law
    Beta(hits, rows - hits + 1), which lies below the Beta(hits + 1, rows - hits) of the bound.
    """
    from scipy.special import betaincinv

    k, m, alpha = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (hits, rows, chance)))
    inside = m > k
    with np.errstate(invalid="ignore"):
        found = betaincinv(k + 1, np.where(inside, m - k, 1.0), 1 - alpha)
    return np.asarray(np.where(inside, found, 1.0), dtype=np.float64)


def at_least(hits: ArrayLike, rows: ArrayLike, chance: ArrayLike) -> Floats:
    """The lower bound of a share, see ``at_most``; exact for a cell between two order statistics."""
    from scipy.special import betaincinv

    k, m, alpha = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (hits, rows, chance)))
    seen = k > 0
    found = betaincinv(np.where(seen, k, 1.0), m - k + 1, alpha)
    return np.asarray(np.where(seen, found, 0.0), dtype=np.float64)


def beyond(rows: ArrayLike, chance: ArrayLike) -> Floats:
    """The upper bound of the chance to fall outside the smallest and largest of ``rows`` values seen.

    What two order statistics leave outside has the law Beta(2, rows - 1): P(it > x) = P(Bin(rows, x) <= 1). Equal
    values only make it smaller. 1 where there are fewer than two rows.
    """
    from scipy.special import betaincinv

    m, alpha = np.broadcast_arrays(np.asarray(rows, dtype=np.float64), np.asarray(chance, dtype=np.float64))
    found = betaincinv(2.0, np.maximum(m, 2.0) - 1, 1 - alpha)
    return np.asarray(np.where(m >= 2, found, 1.0), dtype=np.float64)


def mean_at_most(bets: ArrayLike, counts: ArrayLike, chance: ArrayLike, spread: ArrayLike) -> Floats:
    """Upper bounds of E_p[b] for bets (..., L, C), reference counts (..., C), chances and spreads (..., L).

    For any v >= max b fixed ahead, prod (v - b_i) / (v - E_p b) over the m rows has mean 1, so by Markov's inequality
    E_p b <= v - chance^(1/m) G(v) but for ``chance``, where G is the geometric mean of v - b_i (the betting bound of
    Waudby-Smith & Ramdas 2024, solved). Five v around the best, 1 + spread sqrt(m / (2 log 1/chance)), share the
    chance; ``spread`` is about the standard deviation of b and must not come from the same rows.

    Where cells are cut at order statistics, m rows leave m + 1 gaps: p is a Dirichlet draw, X_i / sum X with X_i of a
    gamma law, and Chernoff's bound of P(sum X_i (b_i - mu) >= 0) is the same product with one factor more. So one
    row is added where b is largest. That never lowers the bound, and of equal values, which may lie on either side
    of a cut, it covers the worst, where b goes up only, or down only.
    """
    b, seen = np.asarray(bets, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    allowed, sd = np.asarray(chance, dtype=np.float64), np.asarray(spread, dtype=np.float64)
    rows = seen.sum(axis=-1)[..., None]
    highest = b.max(axis=-1)
    shares = (seen / np.maximum(rows, 1.0))[..., None, :]
    log_chance = np.log(allowed)
    reach = sd * np.sqrt(rows / (-2 * log_chance))
    found = highest
    for step, trust in zip(_STEPS, _TRUST, strict=True):
        v = np.maximum(1.0 + step * reach, highest * (1 + 1e-9) + 1e-12)
        inner = (np.log(v[..., None] - b) * shares).sum(axis=-1) * rows
        depth = (log_chance + np.log(trust) + inner + np.log(v - highest)) / (rows + 1)
        bound = np.where(rows > 0, v - np.exp(depth), highest)
        found = np.minimum(found, bound)
    return np.asarray(found, dtype=np.float64)


def radius(cells: ArrayLike, chance: ArrayLike) -> Floats:
    """The u such that m KL(p_hat, p) <= u but for ``chance``, over ``cells`` cells and m rows, whatever m and p.

    P(m KL >= u) <= exp(-u) (e u / (K - 1))^(K - 1) for u > K - 1: m KL has a moment generating function of at most
    that of a gamma law of shape K - 1 (Agrawal 2020), and this is Chernoff's bound of it, solved for u.
    """
    every, alpha = np.broadcast_arrays(np.asarray(cells, dtype=np.float64), np.asarray(chance, dtype=np.float64))
    degrees = np.maximum(every - 1, 1.0)
    goal = 1.0 - np.log(alpha) / degrees
    ratio = goal + np.sqrt(2 * np.maximum(goal - 1, 0.0)) + 1e-9
    for _ in range(60):  # a fixed point of x = goal + log x, from above
        ratio = goal + np.log(ratio)
    return np.asarray(degrees * ratio * (1 + 1e-9))


def ball_at_most(bets: ArrayLike, shares: ArrayLike, depth: ArrayLike) -> Floats:
    """The largest E_p[b] over all p with KL(shares, p) <= depth, from above: bets (..., L, C), shares (..., C).

    For any v >= max b, sum p (v - b) >= exp(-depth) prod (v - b)^shares by the inequality of the arithmetic and
    geometric mean; the best v gives the largest mean itself (Filippi, Cappe & Garivier 2010, the dual). Cells without
    a share in the reference count: they bound v. A few v are tried, each of which is a valid bound. ``depth`` (...,).
    """
    b, held = np.asarray(bets, dtype=np.float64), np.asarray(shares, dtype=np.float64)[..., None, :]
    deep = np.asarray(depth, dtype=np.float64)[..., None]
    mean = (b * held).sum(axis=-1)
    sd = np.sqrt(np.maximum(((b - mean[..., None]) ** 2 * held).sum(axis=-1), 0.0))
    found = highest = b.max(axis=-1)
    for step in (0.6, 1.0, 1.6, 3.0):
        v = np.maximum(mean + step * sd / np.sqrt(2 * deep), highest * (1 + 1e-9) + 1e-12)
        inner = (np.log(v[..., None] - b) * held).sum(axis=-1)
        found = np.minimum(found, v - np.exp(inner - deep))
    return np.asarray(found, dtype=np.float64)


def tolerant_mean(mean: ArrayLike, square: ArrayLike, width: ArrayLike, bits: ArrayLike) -> Floats:
    """The largest E_q[b] over all q within ``bits`` of Jensen-Shannon divergence of p, from above.

    ``mean`` bounds E_p[b], ``square`` E_p (b - a)^2 for some a, ``width`` is the largest (b - a)^2. With the
    triangular discrimination D = sum (p - q)^2 / (p + q) <= 4 JS in nats (Topsoe 2000) and Cauchy-Schwarz,
    E_q b - E_p b <= sqrt(D (E_p + E_q)(b - a)^2), and E_q (b - a)^2 <= E_p (b - a)^2 + width sqrt(D / 2).
    """
    nats = np.asarray(bits, dtype=np.float64) * _LN2
    second, most = np.asarray(square, dtype=np.float64), np.asarray(width, dtype=np.float64)
    return np.asarray(np.asarray(mean) + np.sqrt(4 * nats * (2 * second + most * np.sqrt(2 * nats))))


def tolerant_share(share: ArrayLike, bits: ArrayLike, *, up: bool) -> Floats:
    """The share furthest up (or down) from ``share`` that is within ``bits`` of Jensen-Shannon divergence.

    Two cells never diverge more than the column they are part of, so this holds for each cell.
    """
    start, most = np.broadcast_arrays(np.asarray(share, dtype=np.float64), np.asarray(bits, dtype=np.float64))
    if not most.any():
        return start.copy()
    inside, outside = start.copy(), np.full_like(start, 1.0 if up else 0.0)
    for _ in range(50):
        middle = (inside + outside) / 2
        near = _two_cells(middle, start) <= most
        inside, outside = np.where(near, middle, inside), np.where(near, outside, middle)
    return np.where(most > 0, outside, start)


def _two_cells(first: Floats, second: Floats) -> Floats:
    """The Jensen-Shannon divergence in bits of two shares."""

    def entropy(x: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            each = -np.where(x > 0, x * np.log(x), 0.0) - np.where(x < 1, (1 - x) * np.log1p(-x), 0.0)
        return np.asarray(each / _LN2)

    return np.asarray(entropy((first + second) / 2) - (entropy(first) + entropy(second)) / 2)
