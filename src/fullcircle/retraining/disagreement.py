"""Where the champion is wrong more often than it used to be: in one source, in one slice, or nearly everywhere.

A row's excess is its loss less what the known rows with such values make one expect (an additive fit on the bins), so
that rows of a harder kind are no disagreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import Coded

Array = NDArray[Any]
FEWEST = 20
"""Rows of a source or a slice below which it is not judged."""
_SWEEPS = 3
_PRIOR = 20.0  # rows of no excess that every bin's mean is shrunken with
_CHANCE = 0.001  # of naming a source or a slice in error, over all that are looked at
_LEAST = 0.04  # excess loss a row, below which poison does little
_TIMES = 4.0  # times the excess of the rest
_WIDEST = 0.45  # share of the new rows that one slice or the sources named may have
_TIED = 3.0  # commoner than among the known rows: then it is not known how hard such rows are
_PART = 0.2
_MOST = 10_000  # known rows that the refined look learns from


class Excess(NamedTuple):
    """``known`` (m,) and ``new`` (n,) excesses, NaN where the loss is not known; ``usual`` is the known mean loss."""

    known: Array
    new: Array
    usual: float


class Odd(NamedTuple):
    """Rows (n,) that disagree while the rest agrees, and the known ones (m,) like them; ``text`` says by how much."""

    inside: NDArray[np.bool_]
    known: NDArray[np.bool_]
    column: str
    value: str
    text: str


def excess(columns: Sequence[Coded], known: Array, new: Array) -> Excess | None:
    """The excess of the losses (m,) and (n,); None where either has fewer than 20 rows with a loss."""
    told = np.isfinite(known)
    if int(told.sum()) < FEWEST or int(np.isfinite(new).sum()) < FEWEST:
        return None
    left, usual = known[told] - known[told].mean(), float(known[told].mean())
    expected = np.full(len(new), usual)
    for _ in range(_SWEEPS):
        for column in columns:
            codes = column.known[told]
            counts = np.bincount(codes, minlength=column.size)
            means = np.bincount(codes, weights=left, minlength=column.size) / (counts + _PRIOR)
            left = left - means[codes]
            expected += means[column.new]
    found = np.full(len(known), np.nan)
    found[told] = left
    return Excess(found, new - np.clip(expected, 0.0, 1.0), usual)


def refined(columns: Sequence[Coded], known: Array, new: Array) -> Excess | None:
    """The excess by a small forest of the known rows' losses, which sees what works together; slower."""
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees
    from threadpoolctl import threadpool_limits

    told = np.flatnonzero(np.isfinite(known))
    if len(told) < FEWEST or int(np.isfinite(new).sum()) < FEWEST:
        return None
    told = told[:: max(1, len(told) // _MOST)]
    X, Z = (np.column_stack([getattr(each, side) for each in columns]).astype(float) for side in ("known", "new"))
    parts = np.arange(len(told)) % 2 == 0
    left, said = np.full(len(known), np.nan), np.zeros(len(new))
    with threadpool_limits(limits=1):
        for part in (parts, ~parts):
            model = Trees(max_iter=40, max_leaf_nodes=8, early_stopping=False, random_state=0)
            model.fit(X[told[~part]], known[told[~part]])
            left[told[part]] = known[told[part]] - model.predict(X[told[part]])
            said += model.predict(Z) / 2
    return Excess(left, new - np.clip(said, 0.0, 1.0), float(known[told].mean()))


def in_sources(of: Excess, source: Array, alive: NDArray[np.bool_]) -> list[Odd]:
    """The sources (n,) whose rows disagree while those of most others agree."""
    found, codes = np.unique(source.astype(str), return_inverse=True)
    told = alive & np.isfinite(of.new)
    counts = np.bincount(codes[told], minlength=len(found))
    judged = np.flatnonzero(counts >= FEWEST)
    if judged.size < 2:
        return []
    means = np.bincount(codes[told], weights=of.new[told], minlength=len(found))[judged] / counts[judged]
    order = np.argsort(means)
    middle = np.searchsorted(np.cumsum(counts[judged][order]), counts[judged].sum() / 2)
    centre = float(means[order][middle])  # half of the rows may be wrong before this moves much
    spread = _spread(of, told)
    limit = _limit(len(judged))
    odd = [
        place
        for place, mean in zip(judged.tolist(), means.tolist(), strict=True)
        if mean - centre > max(_LEAST, _TIMES * abs(centre), limit * spread / np.sqrt(counts[place]))
    ]
    if int(counts[odd].sum()) > 0.5 * int(counts.sum()):
        return []
    return [
        Odd(
            codes == place,
            np.zeros(len(of.known), dtype=bool),
            "",
            str(found[place]),
            f"the source {found[place]}: the champion loses {mean:.3f} a row more than it used to on such rows, "
            f"{centre:.3f} more on the rows of most sources",
        )
        for place, mean in zip(judged.tolist(), means.tolist(), strict=True)
        if place in odd
    ]


def in_slices(of: Excess, columns: Sequence[Coded], alive: NDArray[np.bool_]) -> list[Odd]:
    """The slices (values or bins of one column) that disagree while the rest of their column agrees, the worst first.

    None where so many disagree that the concept rather seems to have changed: that is left to the challenge. Rows
    beyond the known ones are not judged, nor slices that are three times as common as before.
    """
    told = alive & np.isfinite(of.new)
    for column in columns:
        told = told & column.inside
    n = int(told.sum())
    if n < 2 * FEWEST:
        return []
    values, spread = of.new[told], _spread(of, told)
    known = np.isfinite(of.known)
    limit = _limit(sum(column.size for column in columns))
    found: list[tuple[float, Odd]] = []
    for column in columns:
        codes = column.new[told]
        counts = np.bincount(codes, minlength=column.size).astype(float)
        sums = np.bincount(codes, weights=values, minlength=column.size)
        before = np.bincount(column.known[known], minlength=column.size).astype(float)
        drawn = np.bincount(column.known, minlength=column.size) / max(1, len(column.known))
        squares = np.bincount(codes, weights=values * values, minlength=column.size)
        squares += np.bincount(column.known[known], weights=of.known[known] ** 2, minlength=column.size)
        own = np.sqrt(squares / np.maximum(counts + before, 1))  # losses spread more where they are large
        error = np.maximum(spread, own) * np.sqrt(1.0 / np.maximum(counts, 1) + 1.0 / np.maximum(before, 1))
        apart = np.where(counts >= FEWEST, sums / np.maximum(counts, 1), 0.0)
        odd = (counts >= FEWEST) & (before >= FEWEST) & (counts / n <= np.maximum(_TIED * drawn, 2 * FEWEST / n))
        odd &= apart > np.maximum(_LEAST, limit * error)
        rest = counts[~odd].sum()
        if not odd.any() or counts[odd].sum() > _WIDEST * n or rest < FEWEST:
            continue
        level, others = sums[odd].sum() / counts[odd].sum(), sums[~odd].sum() / rest
        if abs(others) * _TIMES > level or _several(apart, error, odd, counts, level):
            continue
        score = float((level - others) / (spread / np.sqrt(counts[odd].sum())))
        texts = ", ".join(column.texts[code] for code in np.flatnonzero(odd)[:4].tolist())
        said = f"{column.name} {texts}: the champion loses {level:.3f} a row more than it used to"
        said += f", {others:.3f} elsewhere"
        found.append((score, Odd(odd[column.new], odd[column.known], column.name, texts, said)))
    found.sort(key=lambda each: -each[0])
    return [each for _, each in found]


def _several(apart: Array, error: Array, odd: NDArray[np.bool_], counts: Array, level: float) -> bool:
    """Whether others of the column's bins, weighed by rows, disagree too, though less: a concept bends."""
    others = ~odd & (counts >= FEWEST)
    bent = others & (apart > np.maximum(3.0 * error, _PART * level))
    return bool(counts[bent].sum() > 0.15 * counts[others].sum()) if others.any() else True


def _spread(of: Excess, told: NDArray[np.bool_]) -> float:
    known = of.known[np.isfinite(of.known)]
    return float(max(known.std(), of.new[told].std(), 1e-9))


def _limit(looked: int) -> float:
    """How many standard errors chance reaches over so many (Bonferroni), of a normal law."""
    from scipy.special import ndtri

    return float(-ndtri(_CHANCE / max(1, looked)))
