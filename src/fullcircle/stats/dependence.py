"""What the reference tells of how its rows hang together: a mix that changes with the hour, and design effects.

A design effect is how many rows tell as much as one independent row. Batches are taken for what is independent or
not, never rows: a batch whose rows come from few users varies more than its size says, and the next batch may vary
with it. docs/drift.md has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.types.monitoring import Dependence

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
WEEK = 7 * 86_400
_DAY = 86_400
_FEWEST_BATCHES = 56  # eight weeks of days
_FEWEST_BLOCKS = 8
_MOST_PHASES = 672  # a quarter of an hour; strata of shorter batches would be too large to keep
MOST_BATCHES = 100_000
"""Of shorter batches only so many are looked at, the latest."""
_UPPER = 0.05  # the chance that an effect is larger than its upper limit
_SURPRISE = 1e-3  # of one column, over all its cells and lengths
_DAILY, _WEEKLY = 5.0, 4.5  # standard deviations; sums of few squares have long tails


class Counted(NamedTuple):
    """A column of the reference: ``counts`` (B, K + 2) in each batch; ``ordered`` tells numbers from categories."""

    name: str
    ordered: bool
    counts: ArrayLike


def enough(numbers: ArrayLike, seconds: float, weeks: int) -> bool:
    """Whether batches with these numbers (since a Monday, each ``seconds`` long) are in ``weeks`` weeks, and 56.

    Of fewer batches the variance of several together cannot be told: a season in a few months would count as noise.
    """
    held = np.unique(np.asarray(numbers, dtype=np.int64))
    return held.size >= _FEWEST_BATCHES and np.unique((held * seconds) // WEEK).size >= weeks


def learn(columns: Iterable[Counted], numbers: ArrayLike, seconds: float) -> Dependence:
    """The dependence of columns of counts, batch by batch.

    ``numbers`` (B,) are the numbers of the batches, distinct and ascending, counted from a Monday 00:00 UTC in steps
    of ``seconds``; a batch that is not named had no rows. Of very short batches only the latest 100,000 are looked
    at. Columns are taken one after the other, so a generator keeps memory small. Nothing is drawn at random.
    """
    at = np.asarray(numbers, dtype=np.int64)
    recent = at > at[-1] - MOST_BATCHES
    at = at[recent]
    phases = _phases(seconds)
    first = int(at[0] // phases * phases)
    effects, strata = dict[str, float](), dict[str, tuple[tuple[int, ...], ...]]()
    chance = 1.0
    for column in columns:
        counts = np.asarray(column.counts, dtype=np.int64)[recent]
        full = np.zeros((-(-int(at[-1] + 1 - first) // phases) * phases, counts.shape[1]), dtype=np.int64)
        full[at - first] = counts
        groups = _groups(full, column.ordered, phases)
        if groups.max() > 0:
            rows = np.zeros((int(groups.max()) + 1, counts.shape[1]), dtype=np.int64)
            np.add.at(rows, groups, full)
            strata[column.name] = tuple(tuple(rows[group].tolist()) for group in groups[:phases])
        effects[column.name], own = _effect(full, groups, column.ordered, seconds)
        chance = min(chance, own)
    alone = chance * max(1, len(effects)) > _SURPRISE
    return Dependence(
        seconds=seconds,
        batches=len(at),
        phases=phases,
        effects=effects,
        strata=strata,
        unseen=0.0 if alone else unseen(len(at)),
    )


def unseen(batches: int) -> float:
    """The largest share of batches (95 %) of kinds of which none was among so many: 1 - 0.05^(1/B), about 3/B.

    The upper limit of Clopper and Pearson (1934) for none of B. Batches are the sample here, however many rows each
    has: where rows hang together, a batch of another kind brings all of its rows at once.
    """
    return -math.expm1(math.log(_UPPER) / batches)


def _phases(seconds: float) -> int:
    """How many batches make a week, 1 where they do not divide it."""
    found = WEEK / seconds
    return round(found) if abs(found - round(found)) < 1e-9 and 1 < found <= _MOST_PHASES else 1


def _scores(counts: Floats, ordered: bool) -> Floats:
    """What is looked at (C, J): of numbers place and spread, by normal scores; then the share of each cell."""
    cells = np.eye(counts.size)
    if not ordered:
        return cells
    from scipy.special import ndtri

    bins = counts[:-2]
    total = max(float(bins.sum()), 1.0)
    middle = (np.cumsum(bins) - bins / 2) / total
    z = np.concatenate([ndtri(np.clip(middle, 0.5 / total, 1 - 0.5 / total)), [0.0, 0.0]])
    present = np.append(np.ones(bins.size), [0.0, 0.0])
    return np.column_stack([z, present * (z * z - 1), cells])


def _groups(counts: Integers, ordered: bool, phases: int) -> Integers:
    """The stratum of each batch (B,): all 0, or the hour of the day or of the week, where the mix changes with it.

    Batches of one hour that deviate together, week by week, are the sign: deviations of different weeks (or days) are
    multiplied, so that neither batches that vary more than their size says nor neighbours that are alike count.
    """
    alone = np.zeros(len(counts), dtype=np.int64)
    if phases == 1 or not counts.any():
        return alone
    places = np.arange(len(counts)) % phases
    scores = _scores(counts.sum(axis=0).astype(np.float64), ordered)
    # Of numbers the place, the spread and what is missing are enough, and fewer numbers have less noise.
    scores = scores[:, [0, 1, -1]] if ordered else scores
    sums, variances, *_ = _deviations(counts, alone, scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        units = np.where(variances > 0, sums / np.sqrt(variances), 0.0)
    hours = phases // 7 if phases % 7 == 0 else 1
    filled = np.asarray(counts.sum(axis=1) > 0)
    if _apart(units, filled, hours, phases) > _WEEKLY:
        return places
    if hours > 1 and _together(units, filled, hours) > _DAILY:
        return places % hours
    return alone


def _together(units: Floats, filled: NDArray[np.bool_], length: int) -> float:
    """How many standard deviations lie between what stretches of ``length`` batches have in common, and nothing.

    The sum of the products of different stretches has mean 0 where they have nothing in common, and the variance
    that random signs of whole stretches give it; the mean of a stretch is taken off first.
    """
    shaped = units.reshape(-1, length, units.shape[1])
    here = filled.reshape(-1, length, 1)
    rows = np.maximum(here.sum(axis=1, keepdims=True), 1)
    flat = np.where(here, shaped - shaped.sum(axis=1, keepdims=True) / rows, 0.0).reshape(len(shaped), -1)
    products = flat @ flat.T
    np.fill_diagonal(products, 0.0)
    spread = math.sqrt(2 * float((products**2).sum()))
    return float(products.sum()) / spread if spread > 0 else 0.0


def _apart(units: Floats, filled: NDArray[np.bool_], hours: int, phases: int) -> float:
    """As ``_together`` for weeks, after what all days have in common was taken off."""
    if hours > 1:
        days = units.reshape(-1, hours, units.shape[1])
        here = filled.reshape(-1, hours, 1)
        common = days.sum(axis=0) / np.maximum(here.sum(axis=0), 1)
        units = np.where(here, days - common, 0.0).reshape(units.shape)
    return _together(units, filled, phases)


class _Deviations(NamedTuple):
    """Batches' sums of scores minus what their stratum makes expect (B, J), the variances of these where rows are
    independent (B, J), the excess kurtosis of one row (J,), and how far off a row can be (J,).
    """

    sums: Floats
    variances: Floats
    tails: Floats
    most: Floats


def _deviations(counts: Integers, groups: Integers, scores: Floats) -> _Deviations:
    size = int(groups.max()) + 1
    rows = np.zeros((size, counts.shape[1]))
    np.add.at(rows, groups, counts)
    totals = np.maximum(rows.sum(axis=1, keepdims=True), 1.0)
    means = rows @ scores / totals
    inner = np.maximum(rows @ scores**2 / totals - means**2, 0.0)
    inner[inner < 1e-12] = 0.0
    n = counts.sum(axis=1, keepdims=True).astype(np.float64)
    sums = counts @ scores - n * means[groups]
    pooled = rows.sum(axis=0) / totals.sum()
    centre = pooled @ scores
    second = np.maximum(pooled @ (scores - centre) ** 2, 1e-12)
    tails = np.maximum(pooled @ (scores - centre) ** 4 / second**2 - 3, 0.0)
    # The mean of a stratum is from its own batches, which makes their deviations smaller.
    batches = np.bincount(groups, weights=(n[:, 0] > 0), minlength=size)
    lost = np.where(batches > 1, batches / np.maximum(batches - 1, 1), 1.0)[groups][:, None]
    return _Deviations(sums * np.sqrt(lost), n * inner[groups], tails, np.abs(scores - centre).max(axis=0))


def _effect(counts: Integers, groups: Integers, ordered: bool, seconds: float) -> tuple[float, float]:
    """The variance of stretches of batches over what independent rows would give: the largest upper limit.

    And the chance, at most, that independent rows vary as much anywhere: all stretches together, or one of them.

    Place, spread and the cells on average are looked at up to the length of a day, and 4 batches. Where batches
    follow each other the variance still grows from there, by about as much as since half that length: that is added.
    Single cells only count where chance does not explain how far they are above all that. What changes from week to
    week or with the seasons is not taken for dependence: it is drift.
    """
    from scipy.special import chdtrc, chdtri

    found = _deviations(counts, groups, _scores(counts.sum(axis=0).astype(np.float64), ordered))
    leading = 2 if ordered else 0
    longest = max(1, int(counts.any(axis=1).sum()) // _FEWEST_BLOCKS)
    usual = min(max(4, round(_DAY / seconds)), longest)
    lengths = sorted({usual, *(2**power for power in range(30) if 2**power <= usual)})
    every = [(length, *_ratios(found, counts, length)) for length in lengths]
    half = _ratios(found, counts, max(1, usual // 2))[0]
    most = 1.0
    for length, seen, freedom, hits, _ in every:
        ratios = seen + np.maximum(seen - half, 0.0) if length == usual else seen
        most = max(most, float(_upper(ratios, freedom)[:leading].max(initial=1.0)))
        frequent = np.flatnonzero(hits[leading:] >= 5) + leading
        if frequent.size > 1:
            free = freedom[frequent].mean() * min(8, frequent.size - 1)
            most = max(most, float(_upper(ratios[frequent].mean(), free)))
    known, least = most, 1.0
    for _, ratios, freedom, _, single in every:
        least = min(least, float(chdtrc(freedom, ratios * freedom).min()), float(single.min()))
        chance = chdtri(freedom, _SURPRISE / (len(ratios) * len(every))) / freedom
        strange = ratios > known * chance
        most = max(most, float(_upper(ratios, freedom)[strange].max(initial=1.0)))
    return most, least * len(every[0][1]) * len(every)


def _upper(ratios: ArrayLike, freedom: ArrayLike) -> Floats:
    from scipy.special import chdtri

    return np.asarray(np.asarray(ratios) * freedom / chdtri(freedom, 1 - _UPPER))


def _ratios(found: _Deviations, counts: Integers, length: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Of all stretches of ``length`` batches: the variance over that of independent rows (J,), the degrees of freedom
    of a chi-square law that varies as much (J,), and the mean variance of one, for a rare cell about its hits (J,);
    and how likely any of the stretches is as far off as the farthest, at most (J,) (Bernstein's inequality).
    """

    def stretches(each: Floats) -> Floats:
        total = np.concatenate([np.zeros((1, each.shape[1])), np.cumsum(each, axis=0)])
        return np.asarray(total[length:] - total[:-length])

    sums, variances = stretches(found.sums), stretches(found.variances)
    n = stretches(counts.sum(axis=1, keepdims=True).astype(np.float64))[:, 0]
    expected = variances.sum(axis=0)
    used = expected > 0
    ratios = np.where(used, (sums**2).sum(axis=0) / np.where(used, expected, 1.0), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        blocks = np.where(used, expected**2 / (variances**2).sum(axis=0), 1.0) / length
    rows = max(float((n * n).sum() / max(n.sum(), 1.0)), 1.0)
    # Stretches that overlap tell half as much again as those that do not; rare cells vary more than normal ones.
    freedom = blocks * (1.0 if length == 1 else 1.5) / (1 + found.tails / (2 * rows))
    far = np.abs(sums)
    single = len(sums) * 2 * np.exp(-(far**2 / np.maximum(variances + found.most * far / 3, 1e-12)).max(axis=0) / 2)
    return ratios, np.maximum(freedom, 4.0), expected / max(int((n > 0).sum()), 1), single
