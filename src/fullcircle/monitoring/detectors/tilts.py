"""A fixed dictionary of bets: shifts of place and spread, each cell up or down, values out of range, larger losses.

Fixed bets need a bound of one mean each, which is far tighter than a ball around all shares, so small changes are
found sooner (docs/drift.md). A bet somewhat weaker than the change still pays; hence several sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullcircle.monitoring.detector import Counted, Flags, Floats, Reference
from fullcircle.stats import bets

_PLACE = np.array([0.05, 0.1, 0.2, 0.5, 1.2])
_SPREAD = np.array([0.05, 0.15, 0.4])
_UP = np.array([0.12, 0.5, 2.0])  # in standard deviations of being in the cell
_DOWN = np.array([0.12, 0.5])
_LOSS = np.array([0.03, 0.06, 0.12, 0.3, 0.8, 2.0])  # in standard deviations of the loss
_SPREAD_OF_LOSS = 0.2
# How much each kind of bet counts, in a column of numbers and in one of categories. The same shares split the chance
# that bounds fail, but for what is never bet on.
_NUMBERS = {"place": 0.4, "spread": 0.1, "cells": 0.2, "missing": 0.14, "other": 0.02, "outside": 0.14}
_CATEGORIES = {"place": 0.0, "spread": 0.0, "cells": 0.5, "missing": 0.2, "other": 0.3, "outside": 0.0}
_TINY = 1e-12


class Tilts:
    """Bets from a fixed dictionary, each with an exact bound of what it may pay under the unknown reference."""

    name = "tilts"
    code = "M101"
    weight = 0.85

    def plan(self, reference: Reference, *, share: float) -> TiltsPlan:
        """The bets and their bounds; ``scipy`` gives the quantiles of the beta law."""
        chance = reference.delta * share
        shares = _shares(reference)
        smooth, price, smooth_weights = _smooth(reference, chance, shares)
        cells = _cells(reference, chance, shares)
        outside = _outside(reference, chance, shares)
        losses = _losses(reference, chance)
        weights = [smooth_weights, cells.weights, outside.weights, losses.weights]
        joined = np.concatenate(weights, axis=1)
        total = np.maximum(joined.sum(axis=1, keepdims=True), _TINY)
        return TiltsPlan(
            weights=np.where(joined > 0, joined / total, 0.0),
            smooth=smooth,
            price=price,
            cells=cells,
            outside=outside,
            losses=losses,
            tolerant=reference.tolerance > 0,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Odds:
    """Bets on single cells: log e = hits x gain - rows x price; (F, cells, sizes), weights (F, cells x sizes)."""

    gain: Floats
    price: Floats
    weights: Floats

    def judge(self, hits: Floats, rows: Floats) -> Floats:
        found = hits[:, :, None] * self.gain - rows[:, None, None] * self.price
        return found.reshape(len(rows), -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Losses:
    """Bets that the mean loss grew: ``logs`` (F, C, sizes) per row of a cell, ``price`` (F, sizes) per row."""

    logs: Floats
    price: Floats
    weights: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class TiltsPlan:
    """The dictionary against one reference: no memory."""

    weights: Floats
    smooth: Floats
    price: Floats
    cells: _Odds
    outside: _Odds
    losses: _Losses
    tolerant: Flags

    def start(self) -> Floats:
        """Nothing is remembered."""
        return np.zeros((len(self.weights), 0))

    def judge(self, batch: Counted, memory: Floats) -> Floats:
        """Log e of every bet."""
        counts, rows = batch.counts, batch.rows
        smooth = np.matmul(self.smooth, counts[:, :, None])[:, :, 0] - rows[:, None] * self.price
        present = counts.copy()
        present[:, -2:] = 0.0
        there = present.sum(axis=1)
        losses = np.matmul(present[:, None, :], self.losses.logs)[:, 0, :]
        # Tolerance is of the whole column: a law within it may have another share outside of what is there.
        parts = [
            smooth,
            self.cells.judge(counts, rows),
            self.outside.judge(batch.outside[:, None], np.where(self.tolerant, rows, there)),
            losses - there[:, None] * self.losses.price,
        ]
        return np.concatenate(parts, axis=1)

    def learn(self, batch: Counted, memory: Floats) -> Floats:
        """Nothing is learned."""
        return memory


def _shares(reference: Reference) -> dict[str, Floats]:
    """How much each kind of bet counts, (F,): nothing for a column of losses, where only growth is looked at."""
    plain = ~reference.losses
    return {
        kind: np.where(plain, np.where(reference.ordered, _NUMBERS[kind], _CATEGORIES[kind]), 0.0)
        for kind in _NUMBERS
    }


def scores(reference: Reference) -> Floats:
    """Normal scores (F, C) of the middle rank of each bin, rounded; 0 for other, missing and padding."""
    from scipy.special import ndtri

    bins = np.where(reference.used, reference.pooled, 0.0)
    bins[:, -2:] = 0.0
    total = np.maximum(bins.sum(axis=1, keepdims=True), 1.0)
    middle = (np.cumsum(bins, axis=1) - bins / 2) / total
    # Rounded, so that the bets do not follow the noise of the reference that their bounds are from.
    rounded = (np.floor(middle * 64) + 0.5) / 64
    return np.where(_bins_of(reference), ndtri(np.clip(rounded, 1 / 128, 127 / 128)), 0.0)


def _bins_of(reference: Reference) -> NDArray[np.bool_]:
    used = reference.used.copy()
    used[:, -2:] = False
    return used


def _smooth(reference: Reference, chance: Floats, shares: dict[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """Tilts of place and spread: log b (F, L, C), log s (F, L), weights (F, L)."""
    z = scores(reference)[:, None, :]
    place = np.concatenate([_PLACE, -_PLACE])[None, :, None] * z
    spread = np.concatenate([_SPREAD, -_SPREAD])[None, :, None] * (z * z - 1)
    logs = np.concatenate([place, spread], axis=1)
    inside = _bins_of(reference)[:, None, :]
    even = inside / np.maximum(inside.sum(axis=-1, keepdims=True), 1)
    # A missing value is neither here nor there: it pays what a row pays on average.
    logs = np.where(inside, logs - np.log(np.maximum((np.exp(logs) * even).sum(-1, keepdims=True), _TINY)), 0.0)
    b = np.exp(logs)
    spreads = np.sqrt(np.maximum(((b - 1) ** 2 * even).sum(axis=-1), _TINY))
    kinds = [(shares["place"], 2 * len(_PLACE)), (shares["spread"], 2 * len(_SPREAD))]
    weights = np.concatenate([np.repeat(share[:, None] / n, n, axis=1) for share, n in kinds], axis=1)
    tolerant = reference.tolerance[:, None] > 0  # of these two means are bounded, which share the chance
    allowed = chance[:, None] * np.where(weights > 0, weights, 1.0) * np.where(tolerant, 0.5, 1.0)
    price = bets.mean_at_most(b, reference.counts, allowed, spreads)
    if reference.tolerance.any():
        square = (b - 1) ** 2
        second = bets.mean_at_most(square, reference.counts, allowed, np.maximum(spreads**2, _TINY))
        bits = reference.tolerance[:, None]
        far = bets.tolerant_mean(price, second, square.max(axis=-1), bits)
        price = np.where(tolerant, np.minimum(far, b.max(axis=-1)), price)
    return logs, np.log(price), weights


def _odds(low: Floats, high: Floats, weights: Floats) -> _Odds:
    """Bets that the share of a cell is above ``high`` or below ``low``, (F, cells); weights (F, cells)."""
    top, bottom = np.clip(high, _TINY, 1 - 1e-9)[:, :, None], np.clip(low, _TINY, 1 - _TINY)[:, :, None]
    more = top + _UP * np.sqrt(top * (1 - top))
    more = np.minimum(more, (1 + top) / 2)
    less = np.maximum(bottom - _DOWN * np.sqrt(bottom * (1 - bottom)), bottom / 4)
    gain = [np.log(q) - np.log1p(-q) - np.log(p) + np.log1p(-p) for p, q in ((top, more), (bottom, less))]
    price = [np.log1p(-p) - np.log1p(-q) for p, q in ((top, more), (bottom, less))]
    sizes = len(_UP) + len(_DOWN)
    possible = np.concatenate(
        [np.repeat((high < 1 - 1e-9)[:, :, None], len(_UP), 2), np.repeat((low > _TINY)[:, :, None], len(_DOWN), 2)],
        axis=2,
    )
    gains, prices = np.concatenate(gain, axis=2), np.concatenate(price, axis=2)
    each = np.where(possible, weights[:, :, None] / sizes, 0.0)
    gains, prices = np.where(possible, gains, 0.0), np.where(possible, prices, 0.0)
    return _Odds(gain=gains, price=prices, weights=each.reshape(len(weights), -1))


def _cells(reference: Reference, chance: Floats, shares: dict[str, Floats]) -> _Odds:
    inside = _bins_of(reference)
    weights = inside * (shares["cells"] / np.maximum(inside.sum(axis=1), 1))[:, None]
    weights[:, -2], weights[:, -1] = shares["other"], shares["missing"]
    allowed = chance[:, None] * np.where(weights > 0, weights, 1.0) / 2
    rows = reference.counts.sum(axis=1)[:, None]
    bits = reference.tolerance[:, None]
    high = bets.tolerant_share(bets.at_most(reference.counts, rows, allowed), bits, up=True)
    low = bets.tolerant_share(bets.at_least(reference.counts, rows, allowed), bits, up=False)
    return _odds(low, high, weights)


def _outside(reference: Reference, chance: Floats, shares: dict[str, Floats]) -> _Odds:
    weights = np.where(reference.ranged, shares["outside"], 0.0)
    present = reference.counts[:, :-2].sum(axis=1)
    high = bets.beyond(present, chance * np.where(weights > 0, weights, 1.0))
    high = bets.tolerant_share(high, reference.tolerance, up=True)
    return _odds(np.zeros((len(high), 1)), high[:, None], weights[:, None])


def _losses(reference: Reference, chance: Floats) -> _Losses:
    """Only upwards, and only beyond what the mean may grow: b = 1 + t v, s = 1 + t (1 + growth) UCB(E v)."""
    value = np.where(_bins_of(reference), reference.values, 0.0)
    present = reference.counts.copy()
    present[:, -2:] = 0.0
    rows = np.maximum(present.sum(axis=1), 1.0)
    mean = (present * value).sum(axis=1) / rows
    sd = np.sqrt(np.maximum((present * (value - mean[:, None]) ** 2).sum(axis=1) / rows, 1 / (4 * rows)))
    # The spread that the bound is tuned for is fixed ahead: these rows must not choose it.
    bound = bets.mean_at_most(value[:, None, :], present, chance[:, None], np.full((len(sd), 1), _SPREAD_OF_LOSS))
    worst = np.minimum(bound[:, 0] * (1 + reference.growth), 1.0)
    sizes = _LOSS[None, :] / np.maximum(sd, 1e-6)[:, None]
    logs = np.log1p(value[:, :, None] * sizes[:, None, :])
    known = reference.losses & (present.sum(axis=1) > 0)
    weights = np.repeat(known[:, None] / len(_LOSS), len(_LOSS), axis=1)
    return _Losses(logs=logs, price=np.log1p(sizes * worst[:, None]), weights=weights)
