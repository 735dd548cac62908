"""Bets that are learned from what the last batches looked like, for shapes that no dictionary has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fullcircle.monitoring.detector import Counted, Flags, Floats, Reference
from fullcircle.stats import bets

_HALF_LIVES = np.array([1.0, 8.0, 48.0])
_KEPT = 0.5 ** (1 / _HALF_LIVES)
_STAKES = np.array([0.3, 0.9])
_HIGHEST = 30.0
_PRIOR = 20.0  # rows, of the reference's shares, that speak against a bet


class Learned:
    """Ratios of recent to expected counts, staked in part, against all references that the sample leaves possible."""

    name = "learned"
    code = "M102"
    weight = 0.15

    def plan(self, reference: Reference, *, share: float) -> LearnedPlan:
        """The ball of possible references: m KL(sample, p) <= u, with u of Agrawal (2020)."""
        counts = np.where(reference.used, reference.counts, 0.0)
        rows, size = counts.sum(axis=1), reference.used.sum(axis=1)
        depth = bets.radius(size, reference.delta * share) / np.maximum(rows, 1.0)
        live = (~reference.losses) & (rows > 0) & (size > 1)
        bets_made = len(_HALF_LIVES) * len(_STAKES)
        weights = np.repeat(live[:, None] / bets_made, bets_made, axis=1)
        shares = counts / np.maximum(rows, 1.0)[:, None]
        return LearnedPlan(
            weights=weights, shares=shares, used=reference.used, depth=depth, tolerance=reference.tolerance
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedPlan:
    """Memory: for each half-life the counts seen in each cell, then those that were expected."""

    weights: Floats
    shares: Floats
    used: Flags
    depth: Floats
    tolerance: Floats

    def start(self) -> Floats:
        """No batch yet."""
        columns, cells = self.shares.shape
        return np.zeros((columns, 2 * len(_KEPT) * cells))

    def judge(self, batch: Counted, memory: Floats) -> Floats:
        """Log e of each half-life and stake, from what earlier batches showed."""
        columns, cells = self.shares.shape
        seen, hoped = memory.reshape(columns, 2, len(_KEPT), cells).swapaxes(0, 1)
        prior = _PRIOR * self.shares[:, None, :] + 0.5
        ratio = np.where(self.used[:, None, :], np.minimum((seen + prior) / (hoped + prior), _HIGHEST), 1.0)
        made = [1 - stake + stake * ratio for stake in _STAKES]
        b = np.stack(made, axis=2).reshape(columns, -1, cells)
        worst = bets.ball_at_most(b, self.shares, self.depth)
        # A phase of the week without a reference row leaves everything possible.
        worst = np.where(self.shares.sum(axis=1)[:, None] > 0, worst, b.max(axis=-1))
        if self.tolerance.any():
            bits = self.tolerance[:, None]
            square = (b - 1) ** 2
            far = bets.tolerant_mean(
                worst, bets.ball_at_most(square, self.shares, self.depth), square.max(axis=-1), bits
            )
            worst = np.where(bits > 0, np.minimum(far, b.max(axis=-1)), worst)
        counts = batch.counts
        won = np.matmul(np.log(b), counts[:, :, None])[:, :, 0]
        return np.asarray(won - counts.sum(axis=1)[:, None] * np.log(worst))

    def learn(self, batch: Counted, memory: Floats) -> Floats:
        """Older batches fade, this one is added; a column without rows stays as it was."""
        columns, cells = self.shares.shape
        kept = memory.reshape(columns, 2, len(_KEPT), cells)
        counts, rows = batch.counts, batch.rows
        both = np.stack([counts, rows[:, None] * self.shares], axis=1)[:, :, None, :]
        found = np.where(rows[:, None, None, None] > 0, kept * _KEPT[:, None] + both, kept)
        return found.reshape(columns, -1)
