"""Bins frozen on reference values, and counts in them. Counts of two lots of rows merge by addition.

K bins are followed by two more: "other" (a category never seen; unused for numbers) and "missing".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
_MISSING = frozenset({"nan", "NaT", "<NA>", "None"})


def quantile_edges(values: ArrayLike, bins: int = 10) -> NDArray[np.float64]:
    """Distinct inner edges, ascending, so that each bin holds about the same share of ``values`` (n,).

    Bin i holds edges[i-1] < x <= edges[i], so k edges make k + 1 bins. Edges are values that occur (the
    inverse of the empirical distribution), so repeated values do not blur. Where the smallest value fills the
    lowest bin alone (a constant, zeros, a flag) one more edge just below keeps smaller values apart
    from it. Values that are not finite are left out; without any there are no edges and one bin.
    """
    array = as_numbers(values)
    array = array[np.isfinite(array)]
    if array.size == 0:
        return np.empty(0)
    shares = np.arange(1, bins) / bins
    edges = np.unique(np.quantile(array, shares, method="inverted_cdf")) if bins > 1 else np.empty(0)
    lowest = float(array.min())
    below = math.nextafter(lowest, -math.inf)
    if edges.size and edges[0] == lowest and math.isfinite(below):
        edges = np.concatenate(([below], edges))
    # Adding 0.0 turns -0.0 into 0.0, so that the same data always gives the same text in JSON.
    return np.asarray(edges, dtype=np.float64) + 0.0


def count_numbers(values: ArrayLike, edges: ArrayLike) -> Counts:
    """How many of ``values`` (n,) fall in each bin: K + 2 counts for K - 1 ``edges``. NaN and None are missing."""
    array = as_numbers(values)
    inner = np.asarray(edges, dtype=np.float64)
    missing = np.isnan(array)
    counts = np.zeros(inner.size + 3, dtype=np.int64)
    found = np.searchsorted(inner, array[~missing], side="left")
    counts[: inner.size + 1] = np.bincount(found, minlength=inner.size + 1)
    counts[-1] = int(missing.sum())
    return counts


def count_categories(values: ArrayLike | Sequence[Any], categories: Sequence[str]) -> Counts:
    """How many of ``values`` (n,) are each of the K ``categories``, another one, or missing: K + 2 counts.

    Categories are strings; a value of another type counts as its text. None, NaN, NaT and NA are missing.
    """
    place = {category: index for index, category in enumerate(categories)}
    counts = np.zeros(len(place) + 2, dtype=np.int64)
    listed = values.tolist() if isinstance(values, np.ndarray) else list(np.asarray(values, dtype=object))
    for text, times in Counter(map(_category, listed)).items():
        counts[-1 if text is None else place.get(text, len(place))] += times
    return counts


def _category(value: object) -> str | None:
    if isinstance(value, str):
        return value
    text = str(value)
    return None if text in _MISSING else text


def as_numbers(values: ArrayLike) -> NDArray[np.float64]:
    """``values`` as a flat array of floats: booleans become 0 and 1, None and NA become NaN."""
    array = np.asarray(values)
    if array.dtype == object:
        listed = [math.nan if value is None or str(value) in _MISSING else value for value in array.ravel()]
        return np.asarray(listed, dtype=np.float64)
    return array.astype(np.float64).ravel()
