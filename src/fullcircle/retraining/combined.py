"""Backdoors of values that are common each and rare only together: more of them than two, or parts of numbers.

Where a small tree of the champion's excess losses finds rows that it answers wrong, two things that the tree did not
look at must hold as for any planted pattern: such rows are much commoner than they ever were, and nearly all of them
have one label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import Coded
from fullcircle.retraining.patterns import FEWEST, odd

Array = NDArray[Any]
_LEAVES = 40
_WRONG = 0.2  # excess loss a row in such a leaf
_KINDS = 10
_MOST = 20_000  # rows that a tree grows on, evenly spaced


class Combination(NamedTuple):
    """New rows (n,) that are alike in several columns, and what is odd about them."""

    inside: NDArray[np.bool_]
    text: str


def found(columns: Sequence[Coded], excess: Array, label: Array) -> list[Combination]:
    """The combinations in the new rows: ``excess`` (n,) is how much worse than expected the champion answered each.

    Labels (n,) are small whole numbers, as of ``patterns.labels``.
    """
    if len(label) < 10 * FEWEST or not columns:
        return []
    X, Z = _cells(columns, "known"), _cells(columns, "new")
    told = np.isfinite(excess)
    kinds, counts = np.unique(label[told], return_counts=True)
    return [
        each
        for kind in kinds[np.argsort(-counts, kind="stable")][:_KINDS].tolist()
        for each in _of_one(X, Z, excess, label, told, kind)
    ]


def _of_one(X: Array, Z: Array, excess: Array, label: Array, told: Array, kind: int) -> Iterator[Combination]:
    """The leaves of a tree that looks where the champion is wrong about one label."""
    from sklearn.tree import DecisionTreeRegressor

    target = np.where(told & (label == kind), np.maximum(excess, 0.0), 0.0)
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=FEWEST, random_state=0)
    grown = np.flatnonzero(told)
    grown = grown[:: max(1, len(grown) // _MOST)]
    tree.fit(Z[grown], target[grown])
    leaves, before = tree.apply(Z), tree.apply(X)
    for leaf in np.unique(leaves[told]).tolist():
        inside = (leaves == leaf) & told
        if float(excess[inside].mean()) >= _WRONG:
            text = odd(inside, int(np.count_nonzero(before == leaf)), len(X), label)
            if text:
                yield Combination(inside, f"rows that are alike in several columns: {text}")


def _cells(columns: Sequence[Coded], side: str) -> Array:
    """Codes of numbers as they are (they have an order), of categories one column each."""
    taken = []
    for column in columns:
        codes = getattr(column, side)
        if column.number:
            taken.append(codes.astype(np.float32))
        else:
            taken += [(codes == code).astype(np.float32) for code in range(column.size)]
    return np.column_stack(taken)
