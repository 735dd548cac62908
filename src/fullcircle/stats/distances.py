"""Distances, and a test, between two tables of counts in the same bins: one column at a time, or all of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit

Floats = NDArray[np.float64]
_NORMAL_95 = 1.959963984540054
SMALLEST_EXPECTED = 5.0  # the usual rule for the chi-square approximation (Cochran 1954)


class GTest(NamedTuple):
    """The likelihood-ratio statistic, its degrees of freedom, and the chance of one as large under no change."""

    statistic: float
    degrees: int
    p: float


def jensen_shannon(p_counts: ArrayLike, q_counts: ArrayLike) -> float:
    """The Jensen-Shannon divergence in bits: 0 for equal shares, 1 for disjoint ones (Lin 1991).

    Counts are (K,) each. NaN where one of the two holds nothing.
    """
    p, q = _pair(p_counts, q_counts)
    if p.sum() == 0 or q.sum() == 0:
        return math.nan
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    found = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / (2 * math.log(2))
    return min(1.0, max(0.0, found))


def jensen_shannon_debiased(p_counts: ArrayLike, q_counts: ArrayLike) -> float:
    """The Jensen-Shannon divergence in bits minus what chance alone makes of it, at least 0.

    With n and m counted and K bins occupied, 8 nm/(n+m) times the divergence in nats is about chi-square with
    K-1 degrees when nothing changed, so its mean (K-1)/8 (1/n + 1/m) / ln 2 bits is taken off.
    """
    p, q = _pair(p_counts, q_counts)
    raw = jensen_shannon(p, q)
    if math.isnan(raw):
        return raw
    occupied, n, m = int(((p + q) > 0).sum()), float(p.sum()), float(q.sum())
    return max(0.0, raw - (occupied - 1) / 8 * (1 / n + 1 / m) / math.log(2))


def psi(p_counts: ArrayLike, q_counts: ArrayLike) -> float:
    """The population stability index, sum of (p - q) ln(p / q), in nats; NaN where one holds nothing.

    Half a row is added to each bin that either side occupies, so that an empty bin is finite.
    """
    p, q = _pair(p_counts, q_counts)
    if p.sum() == 0 or q.sum() == 0:
        return math.nan
    used = (p + q) > 0
    p, q = p[used] + 0.5, q[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def g_test(window_counts: ArrayLike, reference_counts: ArrayLike) -> GTest:
    """Whether two samples come from one distribution: the likelihood-ratio test on the 2 x K table of counts.

    The reference is a sample too, so its noise counts. Neighbouring bins are merged, in order, until each
    merged bin is expected to hold at least 5 rows of either sample; the merging looks at the pooled counts
    only, so it does not bend the level. The statistic is divided by Williams' correction (Sokal & Rohlf 1995,
    box 17.8). Where all bins merge into one although more are occupied (a reference of one category, a window of
    another, and few rows), p is that of Fisher's exact test of the fullest bin against the others. With nothing to
    compare (an empty sample, one occupied bin) p is 1.
    """
    counted = np.stack(_pair(window_counts, reference_counts))
    table = merge_sparse(counted)
    rows, columns, total = table.sum(axis=1), table.sum(axis=0), float(table.sum())
    degrees = table.shape[1] - 1
    if not rows.all() or np.count_nonzero(counted.sum(axis=0)) < 2:
        return GTest(0.0, 0, 1.0)
    if degrees < 1:
        return _exact(counted)
    from scipy.special import chdtrc

    expected = np.outer(rows, columns) / total
    raw = 2 * float(sum(_relative_entropy(seen, hoped) for seen, hoped in zip(table, expected, strict=True)))
    spread = (total * np.sum(1 / rows) - 1) * (total * np.sum(1 / columns) - 1)
    statistic = max(0.0, raw) / (1 + float(spread) / (6 * total * degrees))
    return GTest(statistic, degrees, float(chdtrc(degrees, statistic)))


def _exact(table: NDArray[np.float64]) -> GTest:
    """Fisher's exact test, two-sided: the bin that is fullest in both samples together, against all others.

    Which bin that is follows from the pooled counts, on which the test is conditional: the level holds.
    """
    from scipy.special import gammaln

    fullest = int(table.sum(axis=0).argmax())
    inside = table[:, fullest]
    pair = np.stack([inside, table.sum(axis=1) - inside], axis=1)
    n, full, total = float(pair[0].sum()), float(inside.sum()), float(table.sum())
    possible = np.arange(max(0.0, n + full - total), min(n, full) + 1)

    def ways(of: float, some: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1), dtype=np.float64)

    chances = np.exp(ways(full, possible) + ways(total - full, n - possible) - ways(total, np.array([n])))
    own = chances[np.abs(possible - inside[0]).argmin()]
    p = float(chances[chances <= own * (1 + 1e-7)].sum())
    expected = np.outer(pair.sum(axis=1), pair.sum(axis=0)) / total
    raw = 2 * float(sum(_relative_entropy(seen, hoped) for seen, hoped in zip(pair, expected, strict=True)))
    return GTest(max(0.0, raw), 1, min(1.0, p))


def merge_sparse(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge neighbouring columns of a 2 x K table until both rows expect at least 5 in each; what is left over
    joins the last one.
    """
    total = float(table.sum())
    if total == 0:
        return table[:, :1]
    smaller = float(table.sum(axis=1).min()) / total
    groups: list[NDArray[np.float64]] = []
    pending = np.zeros(2)
    for column in table.T:
        pending = pending + column
        if pending.sum() * smaller >= SMALLEST_EXPECTED:
            groups.append(pending)
            pending = np.zeros(2)
    if not groups:
        groups, pending = [pending], np.zeros(2)
    groups[-1] = groups[-1] + pending
    return np.stack(groups, axis=1)


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, q = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    both = np.concatenate([p, q])
    if p.size != q.size or p.size == 0 or not np.isfinite(both).all() or (both < 0).any():
        raise _unlike(f"{p.size} and {q.size} counts")
    return p, q


def _unlike(received: str) -> DataUnfit:
    return DataUnfit(
        "two tables of counts cannot be compared",
        received=received,
        allowed="the same number of bins, at least one, each count finite and not negative",
        next_step="count both in the same bins",
    )


class Distances(NamedTuple):
    """Distances of F columns from the reference, each (F,), NaN where there is nothing to compare.

    ``js`` is the debiased Jensen-Shannon divergence in bits, ``js_low`` and ``js_high`` its 95 % interval; ``psi`` in
    nats; ``hellinger`` from 0 to 1. Of numbers only: ``ks``, the largest difference of the shares up to an edge, and
    ``wasserstein``, in standard deviations of the reference. Each is an effect size, and none of them a test.
    """

    js: Floats
    js_low: Floats
    js_high: Floats
    psi: Floats
    hellinger: Floats
    ks: Floats
    wasserstein: Floats


def compare(reference: ArrayLike, window: ArrayLike, gaps: ArrayLike | None = None) -> Distances:
    """All distances between two tables of counts (F, K) in the same bins, of F columns at once.

    A row of fewer bins is filled up with zeros. ``gaps`` (F, K) are the distances from each bin to the one before it,
    in standard deviations of the reference: the first of a row is not used, and NaN says that bins have no order, or
    that this bin does not belong to it ("missing"); such bins must come last. docs/distances.md has the formulas.
    """
    p, q = _tables(reference, window)
    with np.errstate(divide="ignore", invalid="ignore"):
        m, n = p.sum(axis=1), q.sum(axis=1)
        shares, others = p / m[:, None], q / n[:, None]
        js, low, high = _divergence(shares, others, m, n)
        used = (p + q) > 0
        mended, mended_q = np.where(used, p + 0.5, 0.0), np.where(used, q + 0.5, 0.0)
        mended, mended_q = mended / mended.sum(axis=1)[:, None], mended_q / mended_q.sum(axis=1)[:, None]
        psis = np.where(used, (mended - mended_q) * np.log(mended / mended_q), 0.0).sum(axis=1)
        roots = np.sqrt(shares) - np.sqrt(others)
        hellinger = np.sqrt(np.clip((roots * roots).sum(axis=1) / 2, 0.0, 1.0))
        none = (m == 0) | (n == 0)
        ks, wasserstein = _ordered(p, q, np.full(p.shape, np.nan) if gaps is None else np.asarray(gaps, dtype=float))
    js, low, high, psis, hellinger = (np.where(none, np.nan, each) for each in (js, low, high, psis, hellinger))
    return Distances(js=js, js_low=low, js_high=high, psi=psis, hellinger=hellinger, ks=ks, wasserstein=wasserstein)


def _divergence(p: Floats, q: Floats, m: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
    """The debiased divergence in bits with its interval, from shares (F, K) of m and n rows.

    With N = nm/(n+m), T = 8 N JS (nats) is about noncentral chi-square with K-1 degrees where p is near q, and
    then sqrt(T - (K-2)/2) is about normal with unit variance (Sankaran 1959). Farther away the variance of JS is that
    of the delta method, Var_p(log(p/mid)/2)/m + Var_q(log(q/mid)/2)/n; near, that is JS/(2N), so their ratio is the
    variance of the root.
    """
    middle = (p + q) / 2
    first = np.where(p > 0, np.log(p / middle), 0.0)
    second = np.where(q > 0, np.log(q / middle), 0.0)
    to_p, to_q = (p * first).sum(axis=1), (q * second).sum(axis=1)
    raw = np.clip((to_p + to_q) / 2, 0.0, math.log(2))
    spread = ((p * first**2).sum(axis=1) - to_p**2) / (4 * m) + ((q * second**2).sum(axis=1) - to_q**2) / (4 * n)
    size, degrees = n * m / (n + m), ((p + q) > 0).sum(axis=1) - 1.0
    statistic, shift = 8 * size * raw, (degrees - 1) / 2
    root = np.sqrt(np.maximum(statistic - shift, 0.0))
    reach = _NORMAL_95 * np.sqrt(np.where(raw > 0, np.clip(spread * 2 * size / raw, 0.0, 4.0), 1.0))
    bits = 8 * size * math.log(2)
    best = np.maximum(statistic - degrees, 0.0) / bits
    low = np.maximum(np.maximum(root - reach, 0.0) ** 2 - shift, 0.0) / bits
    high = ((root + reach) ** 2 - shift) / bits
    return np.minimum(best, 1.0), np.minimum(low, best), np.clip(high, best, 1.0)


def _ordered(p: Floats, q: Floats, gaps: Floats) -> tuple[Floats, Floats]:
    """The largest and the summed difference of cumulative shares, over the bins that have a place."""
    inside = np.isfinite(gaps)
    first, second = np.where(inside, p, 0.0), np.where(inside, q, 0.0)
    totals = first.sum(axis=1), second.sum(axis=1)
    apart = np.abs(first.cumsum(axis=1) / totals[0][:, None] - second.cumsum(axis=1) / totals[1][:, None])
    ks = np.where(inside, apart, 0.0).max(axis=1, initial=0.0)
    steps = np.where(inside, gaps, 0.0)[:, 1:]
    wasserstein = (np.where(inside[:, 1:], apart[:, :-1], 0.0) * steps).sum(axis=1)
    none = (totals[0] == 0) | (totals[1] == 0)
    return np.where(none, np.nan, ks), np.where(none, np.nan, wasserstein)


def positions(counts: ArrayLike, edges: ArrayLike, quantiles: ArrayLike) -> Floats:
    """Where each of K bins of numbers stands (K,): the mean of the reference's values in it, as its quantiles tell.

    ``counts`` (K,) are the reference's, ``edges`` (K-1,) inner edges, ``quantiles`` values at evenly spaced shares,
    in between which the quantile function is taken as straight. An empty bin stands at the middle of its edges, or at
    the one it has.
    """
    found, inner, spread = (np.asarray(each, dtype=np.float64) for each in (counts, edges, quantiles))
    if not inner.size or not spread.size or not found.sum():
        return np.zeros(found.size)
    # In units of a power of two, which changes no digit: sums of numbers near the largest one do not overflow.
    unit = int(np.frexp(np.abs(np.concatenate([inner, spread])).max())[1])
    inner, spread = np.ldexp(inner, -unit), np.ldexp(spread, -unit)
    ends = np.clip(np.concatenate([[0.0], np.cumsum(found) / found.sum()]), 0.0, 1.0)
    shares = np.linspace(0.0, 1.0, spread.size)
    # The integral of the quantile function up to each end of a bin.
    whole = np.concatenate([[0.0], np.cumsum((spread[1:] + spread[:-1]) / 2) / max(1, spread.size - 1)])
    place = np.clip(np.searchsorted(shares, ends, side="right") - 1, 0, spread.size - 1)
    at = np.interp(ends, shares, spread)
    upto = whole[place] + (ends - shares[place]) * (spread[place] + at) / 2
    width = np.diff(ends)
    padded = np.concatenate([inner[:1], inner, inner[-1:]])
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(width > 0, np.diff(upto) / width, padded[:-1] / 2 + padded[1:] / 2)
    low, high = np.concatenate([spread[:1], inner]), np.concatenate([inner, spread[-1:]])
    placed = np.maximum.accumulate(np.clip(means, low, high))
    return np.asarray(np.ldexp(placed, unit))


def _tables(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    p, q = (np.atleast_2d(np.asarray(each, dtype=np.float64)) for each in (first, second))
    if p.shape != q.shape or not np.isfinite(p).all() or not np.isfinite(q).all() or (p < 0).any() or (q < 0).any():
        raise _unlike(f"{p.shape} and {q.shape} counts")
    return p, q
