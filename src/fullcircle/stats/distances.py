"""Distances and a test between two tables of counts in the same bins."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit

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
        raise DataUnfit(
            "two tables of counts cannot be compared",
            received=f"{p.size} and {q.size} counts",
            allowed="the same number of bins, at least one, each count finite and not negative",
            next_step="count both in the same bins",
        )
    return p, q
