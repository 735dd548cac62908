"""E-detectors: evidence that is added up over batches and keeps its promise for ever.

An e-value e of a batch is a number >= 0 whose mean, given all that came before, is at most 1 when nothing changed.
The Shiryaev-Roberts form M <- e (1 + M) then has E[M] <= 1 + M before, so M minus the number of batches falls on
average, and an alarm at M >= c comes after c batches on average or later (Shin, Ramdas & Rinaldo 2023, e-detectors).
All here is on the scale of natural logarithms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def shiryaev_roberts(level: ArrayLike, log_e: ArrayLike) -> Floats:
    """Log of M <- e (1 + M), for ``level`` = log M (-inf where it is 0) and ``log_e``, of one shape."""
    return np.asarray(np.asarray(log_e, dtype=np.float64) + np.logaddexp(0.0, np.asarray(level, dtype=np.float64)))


def cusum(level: ArrayLike, log_e: ArrayLike) -> Floats:
    """Log of C <- e max(C, 1); it is never above the Shiryaev-Roberts form, and tells since when."""
    return np.asarray(np.asarray(log_e, dtype=np.float64) + np.maximum(0.0, np.asarray(level, dtype=np.float64)))


def log_average(levels: ArrayLike, weights: ArrayLike) -> Floats:
    """Log of the weighted sum of exp(levels) over the last axis; -inf where all weights or values are 0.

    With weights that add up to at most 1 an average of e-detectors is an e-detector, however they hang together.
    """
    logs, shares = np.asarray(levels, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    known = np.where(shares > 0, logs, -np.inf)
    top = known.max(axis=-1, initial=-np.inf)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = (np.exp(known - safe[..., None]) * shares).sum(axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(np.isfinite(top), safe + np.log(total), top), dtype=np.float64)


def passing(levels: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Which of F columns pass the e-d-BH procedure at an alarm: the k* largest, k* = max{k: M_(k) >= F c / k}.

    ``levels`` (F,) are logarithms of the columns' own e-detectors, ``threshold`` that of c. The errors among those
    named are then at most 1/c of the patience, under any dependence (Dandapanthula & Ramdas 2025).
    """
    logs = np.asarray(levels, dtype=np.float64)
    order = np.argsort(-logs, kind="stable")
    ranks = np.arange(1, logs.size + 1)
    fits = np.flatnonzero(logs[order] >= threshold + np.log(logs.size) - np.log(ranks))
    named = np.zeros(logs.size, dtype=np.bool_)
    if fits.size:
        named[order[: int(fits[-1]) + 1]] = True
    return named


def insured(log_e: ArrayLike, unseen: float) -> Floats:
    """Log e-values of batches of which a share of at most ``unseen`` (q) is of kinds that no bet was made for.

    min(e, v) / (1 + q (v - 1)): whatever e is in a share q of batches, its mean is at most 1 where e has one of at
    most 1 in the others. That is the censored ratio of Huber (1965, A robust version of the probability ratio test).
    v = 1 / sqrt(q): half of what B batches can ever tell, log(1 / q), at a price of less than sqrt(q) a batch; both
    get better as B grows. With q = 0 e-values are what they were.
    """
    logs = np.asarray(log_e, dtype=np.float64)
    if unseen <= 0:
        return logs
    return np.minimum(logs, -math.log(unseen) / 2) - math.log1p(math.sqrt(unseen) - unseen)
