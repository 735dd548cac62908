"""Bins frozen on reference values, and counts in them. Counts of two lots of rows merge by addition.

K bins are followed by two more: "other" (a category never seen; unused for numbers) and "missing". Values may be a
list, an array of numpy, a column of pandas or one of Arrow. Each number counts as the 64-bit float it is nearest to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]
_MISSING = frozenset({"nan", "NaT", "<NA>", "None"})
# A block and what is made of it stay in the cache of a core.
BLOCK = 16_384
# One comparison a value and edge beats a binary search a value up to about here, and on every machine alike.
_MOST_COMPARED = 96
_TEXTS = frozenset({str, type(None), bool})


def quantile_edges(values: ArrayLike, bins: int = 10) -> Numbers:
    """Distinct inner edges, ascending, so that each bin holds about the same share of ``values`` (n,).

    Bin i holds edges[i-1] < x <= edges[i], so k edges make k + 1 bins. Edges are values that occur (the
    inverse of the empirical distribution), so repeated values do not blur. Where the smallest value fills the
    lowest bin alone (a constant, zeros, a flag) one more edge just below keeps smaller values apart
    from it. Values that are not finite are left out; without any there are no edges and one bin.
    """
    array = as_numbers(values)
    return edges_of_sorted(np.sort(array[np.isfinite(array)]), bins)


def edges_of_sorted(array: Numbers, bins: int) -> Numbers:
    """``quantile_edges`` of finite values that ascend."""
    if array.size == 0:
        return np.empty(0)
    places = np.arange(1, bins, dtype=np.int64) * array.size
    edges = np.unique(array[-(-places // bins) - 1])
    lowest = float(array[0])
    below = math.nextafter(lowest, -math.inf)
    if edges.size and edges[0] == lowest and math.isfinite(below):
        edges = np.concatenate(([below], edges))
    # Adding 0.0 turns -0.0 into 0.0, so that the same data always gives the same text in JSON.
    return np.asarray(edges, dtype=np.float64) + 0.0


def count_numbers(values: ArrayLike, edges: ArrayLike) -> Counts:
    """How many of ``values`` (n,) fall in each bin: K + 2 counts for K - 1 ``edges``. NaN and None are missing."""
    inner = np.asarray(edges, dtype=np.float64)
    below, total, present = np.zeros(inner.size, dtype=np.int64), 0, 0
    for block in blocks(values):
        found = up_to(block, inner)
        total, present, below = total + block.size, present + int(np.count_nonzero(block == block)), below + found
    return from_below(below, present, total)


def from_below(below: Counts, present: int, total: int) -> Counts:
    """K + 2 counts, from how many values are at most each of K - 1 edges, are there, and are there or missing."""
    counts = np.zeros(below.size + 3, dtype=np.int64)
    counts[: below.size], counts[-3], counts[-1] = below, present, total - present
    counts[1:-2] -= below
    return counts


def up_to(block: Numbers, points: Numbers) -> Counts:
    """How many values of ``block`` (n,) are at most each of ``points`` (k,), ascending. NaN is at most none."""
    if points.size > _MOST_COMPARED:
        present = block[block == block]
        found = np.bincount(np.searchsorted(points, present, side="left"), minlength=points.size + 1)
        return np.asarray(np.cumsum(found)[: points.size], dtype=np.int64)
    room = np.empty(block.size, dtype=bool)
    counted = [np.count_nonzero(np.less_equal(block, point, out=room)) for point in points.tolist()]
    return np.array(counted, dtype=np.int64)


def blocks(values: ArrayLike) -> Iterator[Numbers]:
    """``values`` (n,) as floats, a cacheful at a time, so that nothing large is copied."""
    given: Any = values
    if hasattr(given, "iterchunks"):
        for chunk in given.iterchunks():
            yield from blocks(chunk)
        return
    array = _plain(given)
    for start in range(0, len(array), BLOCK):
        yield np.ascontiguousarray(array[start : start + BLOCK], dtype=np.float64)


def as_numbers(values: ArrayLike) -> Numbers:
    """``values`` as a flat array of floats: booleans become 0 and 1, None and NA become NaN."""
    given: Any = values
    if hasattr(given, "iterchunks"):
        return np.concatenate([np.empty(0), *map(as_numbers, given.iterchunks())])
    return _plain(given).astype(np.float64)


def _plain(values: Any) -> NDArray[Any]:
    """A flat array of numbers, of the type it came in where numpy has it."""
    if hasattr(values, "dictionary_encode") and hasattr(values, "to_numpy"):  # a column of Arrow
        values = values.to_numpy(zero_copy_only=False)
    elif hasattr(getattr(values, "dtype", None), "na_value") and values.dtype.kind in "iufb":  # pandas' own types
        values = values.to_numpy(dtype=np.float64, na_value=math.nan)
    array = np.asarray(values).ravel()
    if array.dtype != object:
        return array if array.dtype.kind in "iufb" else array.astype(np.float64)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        listed = [math.nan if value is None or str(value) in _MISSING else value for value in array]
        return np.asarray(listed, dtype=np.float64)


def count_categories(values: ArrayLike | Sequence[Any], categories: Sequence[str]) -> Counts:
    """How many of ``values`` (n,) are each of the K ``categories``, another one, or missing: K + 2 counts.

    Categories are strings; a value of another type counts as its text. None, NaN, NaT and NA are missing.
    """
    place = {category: index for index, category in enumerate(categories)}
    counts = np.zeros(len(place) + 2, dtype=np.int64)
    for value, times in _tallied(values):
        text = _category(value)
        counts[-1 if text is None else place.get(text, len(place))] += times
    return counts


def _tallied(values: Any) -> Iterator[tuple[object, int]]:
    """Values, or their texts, and how often they come; the same one may come again."""
    if hasattr(values, "iterchunks"):
        for chunk in values.iterchunks():
            yield from _tallied(chunk)
    elif hasattr(values, "dictionary_encode"):  # a column of Arrow
        coded = values.dictionary_encode()
        yield from _coded(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), coded.dictionary.to_pylist())
    elif hasattr(values, "factorize") and str(getattr(values, "dtype", "object")) != "object":  # one of pandas
        codes, found = values.factorize()
        yield from _coded(codes, found.tolist())
    else:
        listed = values.tolist() if isinstance(values, np.ndarray) else list(np.asarray(values, dtype=object))
        # 1, 1.0 and True are one key and three texts.
        yield from Counter(listed if _TEXTS.issuperset(map(type, listed)) else map(_category, listed)).items()


def _coded(codes: Any, found: Sequence[object]) -> Iterator[tuple[object, int]]:
    times = np.bincount(np.asarray(codes, dtype=np.int64) + 1, minlength=len(found) + 1).tolist()
    yield from zip([None, *found], times, strict=True)


def _category(value: object) -> str | None:
    if isinstance(value, str):
        return value
    text = str(value)
    return None if text in _MISSING else text
