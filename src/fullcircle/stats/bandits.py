"""Thompson sampling as a split: each arm's share is the chance that it is the best one (Thompson 1933).

The shares are worked out by quadrature, not drawn: the same counts give the same shares, and they are the very
propensities that the log keeps. A floor leaves every arm rows enough to be judged by, and bounds 1 / share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.stats import sequences
from fullcircle.stats.sequences import Estimate

Floats = NDArray[np.float64]
_POINTS = (np.arange(2000) + 0.5) / 2000


class Regret(NamedTuple):
    """What a split lost so far beside giving all rows to the arm ``best`` by its estimate (a place in ``arms``).

    ``arms`` holds the value of each arm a row, ``lost`` that of the best less what was got a row. The best is chosen
    by the same rows, so ``lost`` is rather too high than too low, and bounds of it are those beside an arm that was
    named ahead.
    """

    best: int
    lost: Estimate
    arms: tuple[Estimate, ...]


def best_of_means(means: ArrayLike, errors: ArrayLike) -> Floats:
    """The chance of each arm (K) to have the highest mean: normal posteriors of ``means`` and ``errors`` (K)."""
    from scipy.special import ndtr, ndtri

    middle, error = np.asarray(means, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    fits = middle.ndim == 1 and middle.shape == error.shape and np.isfinite(middle).all()
    if not fits or not np.all((error > 0) & np.isfinite(error)):
        raise _unfit("means and errors", "one finite mean and one error above 0 for every arm")
    m, s = middle[:, None], error[:, None]
    return _best(m + s * ndtri(_POINTS), lambda x: ndtr((x - m) / s))


def _best(points: Floats, below: Any) -> Floats:
    """The mean over the posterior of each arm of the chance that all others lie below."""
    found = np.empty(len(points))
    for arm, at in enumerate(points):
        others = np.delete(below(at[None, :]), arm, axis=0)
        found[arm] = others.prod(axis=0).mean()
    return np.asarray(found / found.sum())


def floored(chances: ArrayLike, floor: float) -> Floats:
    """Shares (K) of at least ``floor`` each that add up to 1: the rest goes by ``chances`` (K)."""
    p = np.asarray(chances, dtype=np.float64)
    if not 0.0 <= floor * p.size <= 1.0 or not np.all(p >= 0) or not p.sum() > 0:
        raise _unfit(f"a floor of {floor!r} for {p.size} arms", "a floor from 0 to 1 / arms, chances that add up")
    return np.asarray(floor + (1.0 - floor * p.size) * p / p.sum())


def regret(values: ArrayLike, arms: ArrayLike, shares: ArrayLike) -> Regret:
    """The regret so far, estimated from the log, where more is better: see ``Regret``. Needs two rows."""
    y, arm, p = _aligned(values, arms, shares)
    if y.size < 2:
        raise _unfit(f"{y.size} rows", "two rows at least")
    scores = _scores(y, arm, p)
    best = int(np.argmax(scores.mean(axis=0)))
    return Regret(best, sequences.mean(scores[:, best] - y), tuple(sequences.mean(each) for each in scores.T))


def _aligned(values: ArrayLike, arms: ArrayLike, shares: ArrayLike) -> tuple[Floats, NDArray[np.intp], Floats]:
    y, arm = np.asarray(values, dtype=np.float64).ravel(), np.asarray(arms).astype(np.intp).ravel()
    given = np.asarray(shares, dtype=np.float64)
    if y.size != arm.size or not np.isfinite(y).all() or (given.ndim == 2 and len(given) != y.size):
        raise _unfit("values, arms and shares", "one finite value, one arm and one list of shares a row")
    p = np.broadcast_to(given, (y.size, given.shape[-1]))
    if arm.size and not (arm.min() >= 0 and arm.max() < p.shape[1] and np.all(p[np.arange(y.size), arm] > 0)):
        raise _unfit("an arm that could not be chosen", "arms counted from 0, each with a share above 0 in its row")
    return y, arm, p


def _scores(y: Floats, arm: NDArray[np.intp], p: Floats) -> Floats:
    chosen = arm[:, None] == np.arange(p.shape[1])
    sums, counts = np.cumsum(chosen * y[:, None], axis=0), np.cumsum(chosen, axis=0)
    before = np.zeros_like(p)
    before[1:] = sums[:-1] / np.maximum(counts[:-1], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(chosen, (y[:, None] - before) / p, 0.0)
    return np.asarray(before + step)


def _unfit(received: str, allowed: str) -> DataUnfit:
    return DataUnfit(
        "a split by Thompson sampling cannot be worked out from this",
        received=received,
        allowed=allowed,
        next_step="pass what the log holds, row by row",
    )
