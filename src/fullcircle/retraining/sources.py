"""How many of the new rows each source may give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NEWCOMER = 0.25
"""Of the project's share, what one source that never sent a row before may give."""
GROWTH = 1.25
"""Times its share of the known rows that a source may give."""


@dataclass(frozen=True)
class Allowances:
    """The greatest shares of the rows that are kept: ``known`` of each known source, of one ``newcomer``, of all."""

    known: Mapping[str, float]
    newcomer: float
    newcomers: float

    def of(self, source: str) -> float:
        """What one source may give."""
        return self.known.get(source, self.newcomer)


def names(source: Any) -> Array:
    """The sources (n,) as text; a missing one is "missing"."""
    import pandas as pd

    column = pd.Series(np.asarray(source, dtype=object))
    return np.asarray(column.where(column.notna(), "missing").astype(str), dtype=object)


def allowances(known: Array, new: Array, share: float) -> Allowances:
    """The shares, from who sent the ``known`` rows (the oldest first) and who sends the ``new`` ones (text).

    A known source may give ``share``, or what it usually gives and a quarter (or chance) more, whichever is larger.
    What it usually gives is taken among those that send now. One that never sent a row may give a quarter of
    ``share``, all of those together ``share``: else who is capped would come again under many names. Where new names
    are usual (among the latest half of the known rows half as many again are allowed as were new there), names are no
    check.
    """
    counts = {name: int(count) for name, count in zip(*np.unique(known.astype(str), return_counts=True), strict=True)}
    present = {name: counts[name] for name in np.unique(new.astype(str)).tolist() if name in counts}
    total, n = sum(present.values()), max(1, len(new))
    found = {}
    for name, count in present.items():
        usual = count / total
        found[name] = min(1.0, max(share, usual + max((GROWTH - 1) * usual, 3 * math.sqrt(usual * (1 - usual) / n))))
    half = len(known) // 2
    early = set(known[:half].astype(str).tolist())
    fresh = float(np.mean([name not in early for name in known[half:].astype(str).tolist()])) if half else 0.0
    return Allowances(found, share * NEWCOMER, min(1.0, max(share, 1.5 * fresh)))


def within(source: Array, allowed: Allowances) -> NDArray[np.bool_]:
    """Which rows (n,) to keep so that no source has more than its share of those kept; its newest ones go first.

    The shares are of what is kept, not of what was sent: a flood would raise its own limit. The rows are the oldest
    first. Nothing is kept where only newcomers sent rows.
    """
    if not len(source):
        return np.zeros(0, dtype=bool)
    found, codes = np.unique(source.astype(str), return_inverse=True)
    counts = np.bincount(codes, minlength=len(found))
    shares = np.array([allowed.of(name) for name in found.tolist()])
    newcomer = np.array([name not in allowed.known for name in found.tolist()], dtype=bool)
    total, caps = int(counts.sum()), counts
    while True:
        caps = np.minimum(counts, np.floor(shares * total + 1e-9).astype(np.int64))
        caps = _together(caps, newcomer, math.floor(allowed.newcomers * total + 1e-9))
        if caps.sum() == total:
            break
        total = int(caps.sum())
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.empty(len(source), dtype=np.int64)
    place[order] = np.arange(len(source)) - np.repeat(starts, counts)
    return np.asarray(place < caps[codes])


def _together(caps: Array, newcomer: NDArray[np.bool_], most: int) -> Array:
    """The newcomers' caps lowered, alike, until they come to no more than ``most``."""
    if int(caps[newcomer].sum()) <= most:
        return caps
    level = np.sort(caps[newcomer])
    low, high = 0, int(level[-1])
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(level, middle).sum()) <= most else (low, middle - 1)
    lowered = np.where(newcomer, np.minimum(caps, low), caps)
    # What is left over is a row each for some: where every newcomer sent one row, not all are left out.
    more = np.flatnonzero(newcomer & (caps > low))[: most - int(lowered[newcomer].sum())]
    lowered[more] += 1
    return lowered
