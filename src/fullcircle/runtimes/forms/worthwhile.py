"""Whether a form is worth its place, from what the model is made of.

The choice of a form is part of a bundle, and the same inputs have to give the same bundle on a busy machine and on an
idle one. So no clock decides: the constants below were measured once (docs/forms.md tells how), on the careful side.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.forms.trees import MOST_LEAVES, Forest

MOST_SCORES = 32
MOST_MODEL_BYTES = 16 * 2**20
_ROWS = 64
_STEP = 36  # nanoseconds for one row to go one level down in a tree that is walked
_CALL = 1_000_000  # nanoseconds that asking scikit-learn with a frame takes before the first tree
_TREE = {"HistGradientBoosting": 15_000, "RandomForest": 60_000, "ExtraTrees": 60_000}
_OTHER_TREE = 2_000  # nanoseconds that the fitted model takes for 64 rows in one tree


def check_trees(forest: Forest, kind: str) -> None:
    """Raises NotCompiled for trees that the library of the fitted model, a ``kind``, would walk sooner.

    Trees of few leaves are words, and always worth it.
    """
    if forest.most_leaves <= MOST_LEAVES:
        return
    each = next((cost for name, cost in _TREE.items() if kind.startswith(name)), _OTHER_TREE)
    if _ROWS * _STEP * levels(forest) > _CALL + each * forest.trees:
        raise NotCompiled(f"its {forest.trees} large trees would not be faster in numpy")


def levels(forest: Forest) -> float:
    """How many nodes a row passes in all trees together: the mean depth of a tree's leaves, summed over the trees."""
    tree = np.repeat(np.arange(forest.trees), np.diff(forest.starts))
    passed, leaves = np.zeros(forest.trees), np.zeros(forest.trees)
    nodes, depth = forest.starts[:-1].astype(np.intp), 0
    while nodes.size:
        ends = forest.feature[nodes] < 0
        found = np.bincount(tree[nodes[ends]], minlength=forest.trees)
        passed += depth * found
        leaves += found
        inner = nodes[~ends]
        nodes, depth = np.concatenate((forest.left[inner], forest.right[inner])).astype(np.intp), depth + 1
    return float((passed / leaves).sum())


def check_scores(count: int) -> None:
    """Raises NotCompiled for more classes than adding products in a fixed order is fast for."""
    if count > MOST_SCORES:
        raise NotCompiled(f"its {count} scores would not be faster in numpy than with BLAS")


def check_size(model: Any) -> None:
    """Raises NotCompiled for a large model: how it is asked matters little then, and comparing would take minutes."""
    held: list[int] = []
    try:
        rest = len(pickle.dumps(model, protocol=5, buffer_callback=lambda part: held.append(part.raw().nbytes)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise NotCompiled("its size cannot be told") from error
    if sum(held) + rest > MOST_MODEL_BYTES:
        raise NotCompiled(f"it is larger than {MOST_MODEL_BYTES // 2**20} MB: a frame costs little beside it")
