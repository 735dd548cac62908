"""Ensembles of trees in numpy, with the bits of scikit-learn: all nodes of all trees at once, by bit vectors.

A tree of at most 64 leaves is a word with a bit for each leaf, from left to right. A node whose test fails shuts out
the leaves on its left. For each interval between two thresholds of a column the words of all trees are known
beforehand, so a row costs one look-up a column and one AND of words; the lowest bit left in a word is the leaf
(the idea of QuickScorer: Lucchese and others, SIGIR 2015). Larger trees are walked level by level, all at once.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from fullcircle.runtimes.forms.links import answers
from fullcircle.runtimes.forms.preparing import Array, Prepared

MOST_TABLE_BYTES = 64 * 2**20
MOST_LEAVES = 64
MOST_NODES = 4_000_000
_ROWS = 128
_STEPS = 200_000
_BY_ONE = 3
_AT_ONCE = 65_536  # words of all columns of some rows that are looked up together: beyond, they leave the cache
_COUNT = getattr(np, "bitwise_count", None)
_LARGEST_SINGLE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Forest:
    """The nodes of t trees, one tree after the other, parents before children.

    ``feature`` (N,) is -1 for a leaf; ``left`` and ``right`` are places among all N. A node sends a value to the left
    when it is at most ``threshold``, or, where ``category`` is not -1, when ``members[category, value]`` says so; a
    missing one when ``missing_left``. ``value`` (N, v) is what a leaf adds. Trees take turns in adding to the
    ``len(start)`` scores, which begin at ``start`` and are divided by ``divisor`` at last; with v > 1 each tree adds
    to all of them. ``single`` means that values are rounded to 32-bit floats first, and refused if that is infinite.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    category: Array
    members: Array
    value: Array
    starts: Array
    start: Array
    divisor: float
    single: bool
    takes_missing: bool

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.starts) - 1

    @property
    def most_leaves(self) -> int:
        """The number of leaves of the largest tree."""
        counts = np.add.reduceat((self.feature < 0).astype(np.int64), self.starts[:-1])
        return int(counts.max())


class TreesForm:
    """Answers with the trees of a model. Equal rows give equal bits, whatever their number."""

    name = "trees"

    def __init__(self, prepared: Prepared, forest: Forest, decision: str, link: str) -> None:
        self.probable = decision != "value"
        self._forest = forest
        self._decision = decision
        self._link = link
        self._leaves: _Words | _Walk
        if forest.most_leaves <= MOST_LEAVES:
            self._leaves = _Words(prepared, forest)
        else:
            self._leaves = _Walk(prepared, forest)

    def ask(self, matrix: Array) -> tuple[Array, Array | None]:
        """See Form. A row that scikit-learn would refuse is answered with NaN."""
        step = self._leaves.rows
        if len(matrix) <= step:
            return answers(self._scores(matrix), self._decision, self._link)
        parts = [self._scores(matrix[begin : begin + step]) for begin in range(0, len(matrix), step)]
        return answers(np.concatenate(parts), self._decision, self._link)

    def _scores(self, matrix: Array) -> Array:
        """The raw scores (n, k), added tree by tree in scikit-learn's order."""
        forest = self._forest
        found = self._leaves.values(matrix)
        if found.shape[2] == 1:
            found = found.reshape(len(matrix), forest.trees // len(forest.start), len(forest.start))
        found[:, 0] += forest.start
        scores: Array = np.add.accumulate(found, axis=1, out=found)[:, -1]
        return scores / forest.divisor if forest.divisor != 1.0 else scores


class _Walk:
    """Trees of any size: every row goes one level down in every tree at a time."""

    def __init__(self, prepared: Prepared, forest: Forest) -> None:
        self.rows = max(1, _STEPS // forest.trees)
        self._prepared = prepared
        self._forest = forest
        self._children = np.stack((forest.right, forest.left), axis=1).ravel().astype(np.intp)
        self._feature = forest.feature.astype(np.intp)

    def values(self, matrix: Array) -> Array:
        """What each tree adds for each row, shape (n, trees, v)."""
        forest = self._forest
        features, refused = self._prepared.matrix(matrix)
        bad = np.zeros(len(matrix), dtype=np.bool_) if refused is None else refused
        if forest.single:
            with np.errstate(over="ignore"):
                features = features.astype(np.float32)
            bad = bad | np.isinf(features).any(axis=1)
        missing = np.isnan(features)
        if not forest.takes_missing:
            bad = bad | missing.any(axis=1)
        at = np.tile(forest.starts[:-1].astype(np.intp), len(matrix))
        places = np.repeat(np.arange(len(matrix)) * features.shape[1], forest.trees)
        flat, any_missing, flat_missing = features.ravel(), bool(missing.any()), missing.ravel()
        active = np.flatnonzero(self._feature.take(at) >= 0)
        while active.size:
            nodes = at.take(active)
            cells = places.take(active) + self._feature.take(nodes)
            goes = flat.take(cells) <= forest.threshold.take(nodes)
            if any_missing:
                goes |= flat_missing.take(cells) & forest.missing_left.take(nodes)
            nodes = self._children.take(2 * nodes + goes)
            at[active] = nodes
            active = active[self._feature.take(nodes) >= 0]
        found: Array = forest.value.take(at, axis=0).reshape(len(matrix), forest.trees, forest.value.shape[1])
        found[bad] = np.nan
        return found


class _Words:
    """Trees of few leaves, as words."""

    rows = _ROWS

    def __init__(self, prepared: Prepared, forest: Forest) -> None:
        leaves = forest.most_leaves
        self._kind: Any = np.uint32 if leaves <= 32 else np.uint64
        self._one = self._kind(1)
        self._trees = forest.trees
        self._prepared = prepared
        self._plain = not len(prepared.chains.operations)
        blocks = _blocks(prepared, forest)
        self._table = _table(prepared, forest, blocks, self._kind)
        self._keys = [block.keys for block in blocks]
        self._lists = [block.keys.tolist() for block in blocks]
        self._lasts = [len(keys) for keys in self._lists]
        self._inputs = [block.column if block.raw else block.column + prepared.width for block in blocks]
        self._first: Array = np.cumsum([0, *(len(keys) + 1 for keys in self._lists)], dtype=np.intp)[:-1]
        self._offsets = self._first.tolist()
        width = 8 * np.dtype(self._kind).itemsize
        self._slots = np.arange(forest.trees, dtype=np.intp) * (width + 1)
        self._values = _leaf_values(forest, width)

    def values(self, matrix: Array) -> Array:
        """What each tree adds for each row, shape (n, trees, v)."""
        if not self._plain:
            numbers, refused = self._prepared.chains.apply(matrix)
            matrix = np.concatenate((matrix, numbers), axis=1)
            found = self._leaf(self._words(matrix))
            if refused is not None:
                found[refused] = np.nan
            return found
        return self._leaf(self._words(matrix))

    def _words(self, matrix: Array) -> Array:
        if len(matrix) < _BY_ONE:
            found = np.empty((len(matrix), self._trees), dtype=self._kind)
            for place, row in enumerate(matrix.tolist()):
                values = [row[column] for column in self._inputs]
                bins = list(map(bisect_left, self._lists, values))
                if isnan(sum(values)):
                    known = zip(values, bins, self._lasts, strict=True)
                    bins = [found_bin if value == value else last for value, found_bin, last in known]
                rows: Any = self._first + bins
                np.bitwise_and.reduce(self._table.take(rows, axis=0), axis=0, out=found[place])
            return found
        columns = np.ascontiguousarray(matrix.T)
        if len(matrix) * self._trees * len(self._keys) <= _AT_ONCE:
            places = [
                keys.searchsorted(columns[column]) for column, keys in zip(self._inputs, self._keys, strict=True)
            ]
            every: Any = np.array(places) + self._first[:, np.newaxis]
            return np.asarray(np.bitwise_and.reduce(self._table.take(every, axis=0), axis=0))
        words = np.empty((len(matrix), self._trees), dtype=self._kind)
        more = np.empty_like(words)
        target = words
        for column, keys, offset in zip(self._inputs, self._keys, self._offsets, strict=True):
            bins = keys.searchsorted(columns[column])
            bins += offset
            self._table.take(bins, axis=0, out=target, mode="clip")
            if target is more:
                words &= more
            target = more
        return words

    def _leaf(self, words: Array) -> Array:
        """The leaf of the lowest bit; a word without any is a row that is refused, and finds NaN."""
        places = _trailing(words, self._one) + self._slots
        found: Array = self._values.take(places, axis=0)
        return found


def _trailing(words: Array, one: Any, count: Any = _COUNT) -> Array:
    """The number of zeros below the lowest bit; all of them for zero. ``count`` is what numpy 2 counts bits with."""
    below = (words - one) & ~words
    found: Array
    if count is not None:
        found = count(below)
        return found
    lowest = below + one  # 2**k, or zero where there was no bit
    found = np.where(lowest == 0, 8 * words.dtype.itemsize, np.frexp(lowest.astype(np.float64))[1] - 1)
    return found


def _leaf_values(forest: Forest, width: int) -> Array:
    """Values by tree and leaf, shape (trees * (width + 1), v), NaN in the slot after the last leaf."""
    found = np.full((forest.trees, width + 1, forest.value.shape[1]), np.nan)
    first, _ = _spans(forest)
    leaves = np.flatnonzero(forest.feature < 0)
    tree = np.searchsorted(forest.starts, leaves, side="right") - 1
    found[tree, first[leaves]] = forest.value[leaves]
    return found.reshape(-1, forest.value.shape[1])


def _spans(forest: Forest) -> tuple[Array, Array]:
    """For each node the first leaf under it, counted from the left in its tree, and how many there are."""
    count = [1] * len(forest.feature)
    left, right, feature = forest.left.tolist(), forest.right.tolist(), forest.feature.tolist()
    for node in range(len(count) - 1, -1, -1):
        if feature[node] >= 0:
            count[node] = count[left[node]] + count[right[node]]
    first = [0] * len(count)
    for node in range(len(count)):
        if feature[node] >= 0:
            first[left[node]] = first[node]
            first[right[node]] = first[node] + count[left[node]]
    return np.array(first, dtype=np.intp), np.array(count, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class _Block:
    """One input column and the intervals of it that are told apart, for the features that come from it."""

    column: int
    raw: bool
    keys: Array
    features: tuple[int, ...]
    entry: int


def _blocks(prepared: Prepared, forest: Forest) -> list[_Block]:
    used = set(forest.feature[forest.feature >= 0].tolist())
    strict = forest.single or not forest.takes_missing
    plain = not len(prepared.chains.operations)
    found: list[_Block] = []
    for feature in range(len(prepared.chain)):
        chain = int(prepared.chain[feature])
        if chain < 0 or (feature not in used and not strict):
            continue
        limits = forest.threshold[forest.feature == feature]
        keys = [*map(_single_limit, limits.tolist()), *_EDGES] if forest.single else limits.tolist()
        column = int(prepared.chains.sources[chain]) if plain else chain
        found.append(_Block(column, plain, np.unique([*keys, np.inf]), (feature,), -1))
    for entry in range(len(prepared.tables.columns)):
        features = tuple(np.flatnonzero(prepared.entry == entry).tolist())
        refused = bool(prepared.tables.refused[slice(*prepared.tables.first_bins[entry : entry + 2])].any())
        if strict or refused or used.intersection(features):
            column, keys_of = int(prepared.tables.columns[entry]), prepared.tables.keys_of(entry)
            found.append(_Block(column, True, keys_of, features, entry))
    if not found:
        found.append(_Block(0, True, np.array([np.inf]), (), -1))
    return found


def table_bytes(prepared: Prepared, forest: Forest) -> int:
    """The size of the words' table and of the leaves' values beside it."""
    rows = sum(len(block.keys) + 1 for block in _blocks(prepared, forest))
    word = 4 if forest.most_leaves <= 32 else 8
    return forest.trees * (rows * word + (8 * word + 1) * int(forest.value.shape[1]) * 8)


def _table(prepared: Prepared, forest: Forest, blocks: list[_Block], kind: Any) -> Array:
    """The words of all trees for each interval of each block, shape (intervals of all blocks, trees)."""
    first, count = _spans(forest)
    inner = np.flatnonzero(forest.feature >= 0)
    under = [(1 << int(count[node])) - 1 << int(first[node]) for node in forest.left[inner].tolist()]
    full = 2 ** (8 * np.dtype(kind).itemsize) - 1
    masks = np.zeros(len(forest.feature), dtype=kind)
    masks[inner] = np.array([full ^ mask for mask in under], dtype=kind)
    tree = np.searchsorted(forest.starts, np.arange(len(forest.feature)), side="right") - 1
    tables = []
    for block in blocks:
        table = np.full((len(block.keys) + 1, forest.trees), full, dtype=kind)
        for feature in block.features:
            nodes = inner[forest.feature[inner] == feature]
            if block.entry < 0:
                _numbers(table, forest, block.keys, nodes, tree[nodes], masks[nodes])
            else:
                _listed(table, forest, prepared.table(feature), nodes, tree[nodes], masks[nodes])
        if block.entry >= 0:
            table[prepared.tables.refused[slice(*prepared.tables.first_bins[block.entry : block.entry + 2])]] = 0
        tables.append(table)
    return np.concatenate(tables)


def _numbers(table: Array, forest: Forest, keys: Array, nodes: Array, tree: Array, masks: Array) -> None:
    """Shut out leaves in the intervals above each node's threshold."""
    limits = forest.threshold[nodes]
    if forest.single:
        limits = np.array([_single_limit(limit) for limit in limits.tolist()])
    above = keys.searchsorted(limits) + 1
    seen = above < len(keys)
    np.bitwise_and.at(table, (above[seen], tree[seen]), masks[seen])
    np.bitwise_and.accumulate(table[: len(keys)], axis=0, out=table[: len(keys)])
    right = ~forest.missing_left[nodes]
    np.bitwise_and.at(table, (np.full(int(right.sum()), len(keys)), tree[right]), masks[right])
    if not forest.takes_missing:
        table[len(keys)] = 0
    if forest.single:
        low, high = keys.searchsorted(_EDGES)
        table[: low + 1] = 0
        table[high + 1 : len(keys)] = 0


def _listed(table: Array, forest: Forest, values: Array, nodes: Array, tree: Array, masks: Array) -> None:
    """Shut out leaves for each value of a table that a node sends to the right."""
    with np.errstate(over="ignore"):
        values = values.astype(np.float32).astype(np.float64) if forest.single else values
    missing = np.isnan(values)
    for node, place, mask in zip(nodes.tolist(), tree.tolist(), masks, strict=True):
        if (category := int(forest.category[node])) >= 0:
            goes = forest.members[category][np.where(missing, 0, values).astype(np.intp)]
        else:
            goes = values <= forest.threshold[node]
        goes = np.where(missing, forest.missing_left[node], goes)
        table[~goes, place] &= mask
    if not forest.takes_missing:
        table[missing] = 0
    if forest.single:
        table[np.isinf(values)] = 0


def _single_limit(limit: float) -> float:
    """The largest number that, rounded to a 32-bit float, is at most ``limit``."""
    with np.errstate(over="ignore"):
        below = np.float32(limit)
        if float(below) > limit:
            below = np.nextafter(below, np.float32(-np.inf))
        after = np.nextafter(below, np.float32(np.inf))
        if not np.isfinite(below) or not np.isfinite(after):
            return limit
        middle = (float(below) + float(after)) / 2
        return middle if np.float32(middle) == below else float(np.nextafter(middle, -np.inf))


_HALF_STEP = (_LARGEST_SINGLE - float(np.nextafter(np.float32(_LARGEST_SINGLE), np.float32(0)))) / 2
# Halfway to the next power of two a number is rounded to infinity.
_EDGES = (-(_LARGEST_SINGLE + _HALF_STEP), float(np.nextafter(_LARGEST_SINGLE + _HALF_STEP, 0.0)))
