"""Which slices of rows have a higher mean than the rest, one or two columns deep, and whether that is chance.

Looking and judging are apart: ``search`` ranks slices on some rows, ``above_rest`` tests the few that are kept on
others, so that the many slices looked at cost nothing (Cox 1975), and ``holm`` corrects for the few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.stats.intervals import Interval

Array = NDArray[Any]
_Block = tuple[tuple[int, ...], Array]  # one or two columns, and cells x (1 + terms)
Where = tuple[tuple[int, int], ...]  # (column, group) pairs that all hold in the slice

FEWEST_ROWS = 30
# A pair of columns has to be this much clearer than one column to be told instead of it.
_PAIR = 0.95
# A small slice's own spread is trusted as if this many rows of the usual spread were added to it.
_PRIOR_ROWS = 30.0
_OVERLAP = 0.8
_OWN = 0.5
_WORSE = 1.25
_CLEAR = 4.0
# Of a search's ranking no more than this many are compared with those kept.
_RANKED = 400


@dataclass(frozen=True)
class Coded:
    """n rows of d columns as small codes, and the groups of codes that slices are made of.

    ``codes`` has d arrays (n,). ``groups`` has for each column a matrix of zeros and ones, groups x codes: a group
    may be one code or several, and groups may overlap.
    """

    codes: tuple[Array, ...]
    groups: tuple[Array, ...]

    def at(self, rows: Array) -> Coded:
        """The same for a selection of rows."""
        return Coded(tuple(codes[rows] for codes in self.codes), self.groups)

    def inside(self, where: Where) -> Array:
        """Which rows are in the slice (n,)."""
        held = [(self.groups[column][group] > 0)[self.codes[column]] for column, group in where]
        return np.asarray(np.logical_and.reduce(held))


class Signal(NamedTuple):
    """What is looked for: slices with a high mean of ``values`` (n,), or with ``both`` one far off either way."""

    values: Array
    both: bool = False


class Candidate(NamedTuple):
    """A slice that a search ranked, and its score: how many standard errors above the rest."""

    where: Where
    score: float


@dataclass(frozen=True)
class Search:
    """The candidates for one signal, best first, and how many slices were looked at."""

    kept: tuple[Candidate, ...]
    looked: int


class _Sums(NamedTuple):
    """Per slice: rows, and the sums of w, wy, w², w²y, w²y²."""

    rows: Array
    w: Array
    wy: Array
    ww: Array
    wwy: Array
    wwyy: Array


def search(
    coded: Coded, signals: Sequence[Signal], weights: Array, *, keep: int, columns: int = 30
) -> tuple[Search, ...]:
    """Rank all slices of one and two columns, for each signal by how far their (weighted) mean is off the rest's.

    The score is Welch's statistic with the slice's spread shrunken to that of all rows. Slices and their rests have
    at least 30 rows. Pairs are made of the ``columns`` columns that score highest alone. Of slices that share their
    rows only those are kept that say something beyond the better ones.
    """
    terms = _terms(signals, weights)
    total = np.array([len(weights), *(term.sum() for term in terms)], dtype=float)
    alone = [
        groups @ _tables(codes, groups.shape[1], terms).T
        for codes, groups in zip(coded.codes, coded.groups, strict=True)
    ]
    blocks: list[_Block] = [((column,), cells) for column, cells in enumerate(alone)]
    reached = [max(_best(cells, total, signals), default=-math.inf) for cells in alone]
    chosen = sorted(np.argsort(-np.array(reached), kind="stable")[:columns].tolist())
    blocks += [((first, second), _pair(coded, first, second, terms)) for first, second in combinations(chosen, 2)]
    if not blocks:
        return tuple(Search((), 0) for _ in signals)
    cells = np.concatenate([block for _, block in blocks])
    penalty = np.repeat([1.0 if len(cut) == 1 else _PAIR for cut, _ in blocks], [len(block) for _, block in blocks])
    results = []
    for number, signal in enumerate(signals):
        scores = _scores(_sums(cells, number, len(signals)), _sums(total[None], number, len(signals)), signal.both)
        ranked = _ranked(scores * penalty, blocks, coded)
        kept = _distinct(coded, signal.values, weights, ranked, keep)
        results.append(Search(kept, int(np.count_nonzero(scores > -math.inf))))
    return tuple(results)


def _best(cells: Array, total: Array, signals: Sequence[Signal]) -> list[float]:
    """The highest score of one column's slices, for each signal."""
    count = len(signals)
    sums = [(_sums(cells, number, count), _sums(total[None], number, count)) for number in range(count)]
    return [
        float(_scores(part, whole, signal.both).max(initial=-math.inf))
        for (part, whole), signal in zip(sums, signals, strict=True)
    ]


def _ranked(scores: Array, blocks: Sequence[_Block], coded: Coded) -> list[Candidate]:
    """The 400 best with a score above zero, best first; of equal ones those of the fewest and first columns."""
    ends = np.cumsum([len(block) for _, block in blocks])
    found = []
    for place in np.argsort(-scores, kind="stable")[:_RANKED].tolist():
        if not scores[place] > 0.0:
            break
        number = int(np.searchsorted(ends, place, side="right"))
        columns, block = blocks[number]
        inner = place - int(ends[number]) + len(block)
        groups = (inner,) if len(columns) == 1 else divmod(inner, len(coded.groups[columns[1]]))
        found.append(Candidate(tuple(zip(columns, groups, strict=True)), float(scores[place])))
    return found


def above_rest(inside: Array, values: Array, weights: Array, *, by: float = 0.0) -> float:
    """One-sided p: is the (weighted) mean of ``values`` inside the slice above that of the rest, by more than ``by``?

    The larger of two: Welch's t test, and the t test with one spread for all rows. Where values are skewed, each errs
    on the wrong side in one direction (the first calls too much in the short tail, the second in the long one), and
    never both in the same. 1 where either side has under two rows.
    """
    from scipy.special import stdtr

    inner, outer = _moments(values[inside], weights[inside]), _moments(values[~inside], weights[~inside])
    whole = _moments(values, weights)
    if inner is None or outer is None or whole is None:
        return 1.0
    gap = inner.mean - outer.mean - by
    if not gap > 0.0:
        return 1.0
    apart = (inner.variance / inner.size, outer.variance / outer.size)
    error = math.sqrt(sum(apart))
    freedom = (
        sum(apart) ** 2 / (apart[0] ** 2 / (inner.size - 1) + apart[1] ** 2 / (outer.size - 1)) if error else 1.0
    )
    welch = float(stdtr(freedom, -gap / error)) if error > 0.0 else 0.0
    common = math.sqrt(whole.variance * (1.0 / inner.size + 1.0 / outer.size))
    pooled = float(stdtr(whole.size - 2, -gap / common)) if common > 0.0 and whole.size > 2 else 1.0
    return max(welch, pooled)


def above_zero(values: Array, weights: Array) -> float:
    """One-sided p of a t test that the (weighted) mean of ``values`` is above zero; 1 with under two rows."""
    from scipy.special import stdtr

    found = _moments(values, weights)
    if found is None or not found.mean > 0.0:
        return 1.0
    error = math.sqrt(found.variance / found.size)
    return float(stdtr(found.size - 1, -found.mean / error)) if error > 0.0 else 0.0


def mean_interval(values: Array, weights: Array, *, of: int = 1, spread: float = 0.0) -> Interval:
    """The (weighted) mean with a t interval that holds for ``of`` slices at once (Bonferroni), 95 % in all.

    ``spread`` is the least standard deviation to reckon with: a few rows can lie close together by luck.
    """
    from scipy.special import stdtrit

    found = _moments(values, weights)
    if found is None:
        value = float(values[0]) if len(values) == 1 else math.nan
        return Interval(value, math.nan, math.nan)
    deviation = max(math.sqrt(found.variance), spread)
    half = float(stdtrit(found.size - 1, 1.0 - 0.05 / (2 * of))) * deviation / math.sqrt(found.size)
    return Interval(found.mean, found.mean - half, found.mean + half)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p values in the order given: each at most alpha holds all true nulls together to alpha (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, p_values[position] * (len(p_values) - rank)))
        adjusted[position] = highest
    return tuple(adjusted)


class _Moments(NamedTuple):
    """Mean, variance of a row and effective number of rows, (sum of w)² / sum of w² (Kish 1965)."""

    mean: float
    variance: float
    size: float


def _moments(values: Array, weights: Array) -> _Moments | None:
    """None with fewer than two effective rows."""
    total, squares = float(weights.sum()), float(weights @ weights)
    size = total * total / squares if squares > 0.0 else 0.0
    rows = int(np.count_nonzero(weights))
    if rows < 2 or size <= 1.0:
        return None
    mean = float(weights @ values) / total
    spread = float(np.sum((weights * (values - mean)) ** 2)) / squares
    return _Moments(mean, spread * rows / (rows - 1), size)


def _terms(signals: Sequence[Signal], weights: Array) -> list[Array]:
    """What is added up per slice beside the rows; values about their mean, so that squares keep their digits.

    Where all weights are one: y and y² of each signal. Else w, w², and wy, w²y, w²y² of each signal.
    """
    equal = bool(np.all(weights == 1.0))
    terms: list[Array] = [] if equal else [weights, weights * weights]
    for values, _ in signals:
        centred = values - float(weights @ values) / float(weights.sum())
        weighted = weights * centred
        terms.extend([centred, centred * centred] if equal else [weighted, weights * weighted, weighted * weighted])
    return terms


def _tables(codes: Array, size: int, terms: Sequence[Array]) -> Array:
    """Rows and sums of terms by code: (1 + terms) x size."""
    rows = np.bincount(codes, minlength=size).astype(float)
    return np.stack([rows, *(np.bincount(codes, weights=term, minlength=size) for term in terms)])


def _pair(coded: Coded, first: int, second: int, terms: Sequence[Array]) -> Array:
    """Rows and sums of every group of one column within every group of another: cells x (1 + terms)."""
    one, other = coded.groups[first], coded.groups[second]
    size = (one.shape[1], other.shape[1])
    joint = coded.codes[first] * size[1] + coded.codes[second]
    tables = _tables(joint, size[0] * size[1], terms).reshape(-1, *size)
    return np.asarray((one @ tables @ other.T).reshape(len(tables), -1).T)


def _sums(cells: Array, number: int, signals: int) -> _Sums:
    """The sums for one of the signals out of cells x (1 + terms)."""
    rows = cells[:, 0]
    if cells.shape[1] == 1 + 2 * signals:
        y, yy = cells[:, 1 + 2 * number], cells[:, 2 + 2 * number]
        return _Sums(rows, rows, y, rows, y, yy)
    return _Sums(
        rows, cells[:, 1], cells[:, 3 + 3 * number], cells[:, 2], cells[:, 4 + 3 * number], cells[:, 5 + 3 * number]
    )


def _scores(sums: _Sums, total: _Sums, both: bool) -> Array:
    """How many standard errors each slice is above its rest; minus infinity where either is too small."""
    rest = _Sums(*(whole - part for whole, part in zip(total, sums, strict=True)))
    fit = np.minimum(sums.rows, rest.rows) >= FEWEST_ROWS
    scores = np.full(len(sums.rows), -np.inf)
    inner, outer = _Sums(*(part[fit] for part in sums)), _Sums(*(part[fit] for part in rest))
    mean, other = inner.wy / inner.w, outer.wy / outer.w
    size = inner.w**2 / inner.ww
    overall = float(total.wwyy[0] / total.ww[0])
    spread = np.maximum(inner.wwyy - 2.0 * mean * inner.wwy + mean**2 * inner.ww, 0.0) / inner.ww
    shrunken = (size * spread + _PRIOR_ROWS * overall) / (size + _PRIOR_ROWS)
    others = np.maximum(outer.wwyy - 2.0 * other * outer.wwy + other**2 * outer.ww, 0.0) / outer.w**2
    error = np.sqrt(shrunken / size + others)
    found = np.divide(mean - other, error, out=np.zeros(len(mean)), where=error > 0.0)
    scores[fit] = np.abs(found) if both else found
    return scores


def _distinct(
    coded: Coded, values: Array, weights: Array, ranked: Sequence[Candidate], keep: int
) -> tuple[Candidate, ...]:
    """The best of a ranking that say something of their own.

    Most of what is near a bad slice is bad because of it. So a candidate counts where its rows outside the better
    ones are at least half as far off as all of them, or where it lies within a better one and is a quarter, and
    four standard errors, further off than the rest of it.
    """

    def mean(rows: Array) -> float:
        return float(np.average(values[rows], weights=weights[rows])) if rows.any() else 0.0

    kept: list[tuple[Candidate, Array]] = []
    covered = np.zeros(len(values), dtype=bool)
    for each in ranked:
        if len(kept) == keep:
            break
        inside = coded.inside(each.where)
        rows, left, usual = int(inside.sum()), inside & ~covered, mean(~(inside | covered))
        distance = mean(inside) - usual
        apart = left.sum() > (1.0 - _OVERLAP) * rows and distance != 0.0
        own = apart and (mean(left) - usual) / distance >= _OWN
        around = [other & ~inside for _, other in kept if np.sum(inside & other) > _OVERLAP * rows]
        if own or (around and all(_further(inside, other, values - usual, weights) for other in around)):
            kept.append((each, inside))
            covered |= inside
    return tuple(each for each, _ in kept)


def _further(inside: Array, other: Array, values: Array, weights: Array) -> bool:
    """Whether the mean of ``values`` is clearly further from zero inside than in other rows."""
    one, two = (_moments(values[rows], weights[rows]) for rows in (inside, other))
    if one is None or two is None:
        return False
    gap = abs(one.mean) - abs(two.mean)
    error = math.sqrt(one.variance / one.size + two.variance / two.size)
    return abs(one.mean) >= _WORSE * abs(two.mean) and gap >= _CLEAR * error
