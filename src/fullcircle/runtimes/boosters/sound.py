"""What the texts of both libraries are checked with. Their native parsers trust what they read; these do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST_BYTES = 2**29
MOST_TREES = 100_000
MOST_NODES = 20_000_000
MOST_FEATURES = 1_000_000
MOST_CLASSES = 10_000
MOST_DEPTH = 5_000
MOST_CATEGORIES = 2**24
"""What XGBoost itself allows; a column of floats tells no more apart."""
MOST_WORDS = 2**24
"""Of 32 bits, for the categories of all splits of a model together."""


class Unsound(ValueError):
    """Why a text is not a sound model, in half a sentence."""


def require(holds: bool, what: str) -> None:
    """Raise Unsound unless it holds."""
    if not holds:
        raise Unsound(what)


def within(value: object, low: int, high: int, what: str) -> int:
    """An integer of this range, both ends included."""
    if type(value) is not int or not low <= value <= high:
        raise Unsound(what)
    return value


def mapping(value: object, names: Sequence[str], what: str) -> Mapping[str, Any]:
    """An object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise Unsound(what)
    return value


def sequence(value: object, most: int, what: str) -> list[Any]:
    """A list of at most so many."""
    if not isinstance(value, list) or len(value) > most:
        raise Unsound(what)
    return value


def integers(value: object, count: int | None, low: int, high: int, what: str) -> Array:
    """A list of ``count`` integers of this range (None: of any length), as int64."""
    found = sequence(value, MOST_NODES, what)
    require(count is None or len(found) == count, what)
    require(set(map(type, found)) <= {int}, what)
    require(not found or (min(found) >= low and max(found) <= high), what)
    return np.array(found, dtype=np.int64)


def numbers(value: object, count: int, what: str) -> Array:
    """A list of ``count`` finite numbers, as float64."""
    found = sequence(value, MOST_NODES, what)
    require(len(found) == count and set(map(type, found)) <= {int, float}, what)
    try:
        array = np.array(found, dtype=np.float64)
    except OverflowError as error:
        raise Unsound(what) from error
    require(bool(np.isfinite(array).all()), what)
    return array


def reached(left: Array, right: Array) -> Array:
    """Which nodes of a tree the root leads to, as booleans; -1 stands for no child.

    Raises Unsound where a child is out of range, a node has two parents or one child, or the tree is too deep: what
    is left is a tree, so that every walk from its root ends.
    """
    count = len(left)
    inner = left >= 0
    require(count > 0 and bool(((right >= 0) == inner).all()), "a tree's branches")
    children = np.concatenate((left[inner], right[inner]))
    require(not len(children) or int(children.max()) < count, "a tree's branches")
    parents = np.bincount(children, minlength=count)
    require(int(parents.max()) <= 1 and parents[0] == 0, "a tree's branches")
    found = np.zeros(count, dtype=np.bool_)
    level: Array = np.zeros(1, dtype=np.int64)
    for _ in range(MOST_DEPTH):
        found[level] = True
        level = level[inner[level]]
        if not len(level):
            return found
        level = np.concatenate((left[level], right[level]))
    raise Unsound("a tree's depth")
