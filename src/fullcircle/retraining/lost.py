"""Labels of one class that became another by a fixed chance, whatever the row: lost, late, or overwritten.

Where outcomes of one kind are lost with chance r, the class comes with probability (1 - r) p instead of p: even of
the rows that surely have it, a share r does not. A world that truly moved shifts log-odds instead, and leaves the
sure rows nearly as they were. Where p is small everywhere the two are the same, and nothing is said.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.noise import Answers

Array = NDArray[Any]
FEWEST = 300
"""New rows below which it is not asked."""
_LEAST = 0.1  # the share lost, below which it does little
_ODDS = 6.0  # log-likelihood by which it must explain labels better than any shift of log-odds (e^6 is 400 to 1)
_GONE = 0.15  # of the rows of a class that were expected: fewer came than this
_EXPECTED = 30.0
_COMMON = 0.05
_EDGE = 0.005
_STEPS = 25


class Lost(NamedTuple):
    """The ``share`` of a class's rows that came with another label; ``place`` is its column in the answers.

    ``other`` says that it is the rest that was lost to it.
    """

    share: float
    place: int
    other: bool


def rarer(known: Array, new: Array) -> bool:
    """Whether a class with a twentieth of the known labels or more is half as common in the new: a quick look."""
    if not len(known) or not len(new):
        return False
    names, counts = np.unique(known.astype(str), return_counts=True)
    usual, came = counts / len(known), np.array([np.mean(new.astype(str) == name) for name in names.tolist()])
    return bool(((usual >= _COMMON) & (came < usual / 2.0)).any())


def found(answers: Answers) -> Lost | None:
    """The class whose labels were lost most surely, or None. ``answers`` are those of a model of the known labels."""
    if len(answers.new) < FEWEST or len(answers.known) < FEWEST:
        return None
    for place in range(answers.new.shape[1]):
        before, after = answers.known[:, place], answers.new[:, place]
        odds = _logit(answers.said_known[:, place])
        start, slope = _shifted(odds, before)
        honest = start + slope * _logit(answers.said_new[:, place])  # as calibrated on the known rows
        for other in (False, True):
            share = _share(-honest if other else honest, 1.0 - after if other else after)
            if share > 0.0:
                return Lost(share, place, other)
    return None


def _share(odds: Array, label: Array) -> float:
    """The share of the label that was lost; 0.0 where another explanation does as well."""
    chance = 1.0 / (1.0 + np.exp(-odds))
    expected, came = float(chance.sum()), float(label.sum())
    if expected >= _EXPECTED and came < _GONE * expected:
        return 1.0 - came / expected
    share = _kept_away(chance, label)
    if share < _LEAST:
        return 0.0
    lost = _likelihood((1.0 - share) * chance, label)
    start, slope = _shifted(odds, label)
    moved = _likelihood(1.0 / (1.0 + np.exp(-(start + slope * odds))), label)
    same = _likelihood(chance, label)
    return share if lost - max(moved, same) > _ODDS else 0.0


def _kept_away(chance: Array, label: Array) -> float:
    """The most likely r where the label comes with probability (1 - r) p: where the likelihood's slope is 0."""
    low, high = 0.0, 1.0 - 1e-6
    for _ in range(_STEPS * 2):
        middle = (low + high) / 2.0
        kept = (1.0 - middle) * chance
        slope = float((-label / (1.0 - middle) + (1.0 - label) * chance / (1.0 - kept)).sum())
        low, high = (middle, high) if slope > 0.0 else (low, middle)
    return low


def _shifted(odds: Array, label: Array) -> tuple[float, float]:
    """Level and slope of the log-odds that explain the labels best (Newton's method, a touch of ridge)."""
    X = np.column_stack([np.ones(len(odds)), odds])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(X @ weights, -30, 30)))
        pull = X.T @ (label - chance) - 1e-3 * (weights - np.array([0.0, 1.0]))
        bend = (X * (chance * (1.0 - chance))[:, None]).T @ X + 1e-3 * np.eye(2)
        step = np.linalg.solve(bend, pull)
        weights = weights + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-8:
            break
    return float(weights[0]), float(weights[1])


def _logit(chance: Array) -> Array:
    inside = np.clip(chance, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(inside / (1.0 - inside)))


def _likelihood(chance: Array, label: Array) -> float:
    inside = np.clip(chance, 1e-9, 1.0 - 1e-9)
    found = float((label * np.log(inside) + (1.0 - label) * np.log(1.0 - inside)).sum())
    return found if math.isfinite(found) else -math.inf
