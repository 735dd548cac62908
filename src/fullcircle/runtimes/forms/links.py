"""From a model's raw score to its answer, with the same functions of the same libraries as the model uses.

scikit-learn's logistic function is scipy's, which calls the C library's ``exp`` for one value after the other, and
so does ``math.exp``; numpy's own vectorised ``exp`` has other bits, and is what scikit-learn uses everywhere else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LINKS_OF = {
    "value": ("identity", "exp"),
    "positive": ("expit", "half_expit", "none"),
    "nonnegative": ("expit", "half_expit", "none"),
    "likelier": ("expit",),
    "largest": ("softmax", "softmax_by_row", "shares", "one_vs_rest", "none"),
}
"""How a score decides, each with the ways in which it may become an answer or probabilities."""


def answers(raw: Array, decision: str, link: str) -> tuple[Array, Array | None]:
    """Answers (n,) and chances (n, classes) or None for raw scores of shape (n, k). ``raw`` is not changed."""
    if decision == "value":
        return (np.exp(raw[:, 0]) if link == "exp" else raw[:, 0]), None
    if decision == "largest":
        return raw.argmax(axis=1), chances(raw, link)
    if decision == "likelier":  # LightGBM compares the chances, which a tiny score leaves equal
        table = _two(raw[:, 0])
        return (table[:, 1] > table[:, 0]).astype(np.intp), table
    decided = raw[:, 0] > 0 if decision == "positive" else raw[:, 0] >= 0
    return decided.astype(np.intp), chances(raw, link)


def chances(raw: Array, link: str) -> Array | None:
    """Probabilities of raw scores."""
    match link:
        case "none":
            return None
        case "shares":
            return raw
        case "expit" | "half_expit":
            return _two(raw[:, 0] if link == "expit" else 2 * raw[:, 0])
        case "one_vs_rest":
            return _one_vs_rest(raw)
    found: Array = np.exp(raw - raw.max(axis=1, keepdims=True))
    if link == "softmax_by_row":
        found /= found.sum(axis=1, keepdims=True)
    else:
        # scikit-learn's scores lie column by column here, and numpy then adds one column after the other.
        found /= np.add.accumulate(found, axis=1)[:, -1:]
    return found


def _two(scores: Array) -> Array:
    likely = np.array([_expit(score) for score in scores.tolist()], dtype=np.float64)
    return np.stack((1 - likely, likely), axis=1)


def _one_vs_rest(raw: Array) -> Array:
    found = np.array([[_expit(score) for score in row] for row in raw.tolist()]).reshape(raw.shape)
    total = np.add.accumulate(found, axis=1)[:, -1:]
    nothing = total[:, 0] == 0
    if nothing.any():
        found[nothing] = 1.0
        total[nothing] = raw.shape[1]
    return np.asarray(found / total)


def _expit(score: float) -> float:
    try:
        return 1.0 / (1.0 + math.exp(-score))
    except OverflowError:
        return 0.0
