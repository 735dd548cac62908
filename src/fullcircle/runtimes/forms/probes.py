"""Rows on which a form is compared with its model: where a difference would hide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fullcircle.runtimes.forms.preparing import Array, Chains, Prepared
from fullcircle.runtimes.forms.trees import Forest
from fullcircle.runtimes.values import EXACT, may_be_missing
from fullcircle.types.contract import Column, Contract

MOST_LIMITS = 1200
"""Of one column: with more, they are spread evenly over all of them."""
MOST_IN_ALL = 6000
"""Of all columns: each of them costs about ten rows."""
_HALVINGS = 120


def limits(prepared: Prepared, forest: Forest | None) -> dict[int, Array]:
    """For each column of the contract the numbers at which an answer may change: splits, and keys of tables."""
    found: dict[int, list[Array]] = {}
    for entry, column in enumerate(prepared.tables.columns.tolist()):
        keys = prepared.tables.keys_of(entry)
        found.setdefault(column, []).append(keys[np.isfinite(keys)])
    if forest is not None:
        for feature in np.unique(forest.feature[forest.feature >= 0]).tolist():
            if (place := int(prepared.chain[feature])) >= 0:
                splits = np.unique(forest.threshold[(forest.feature == feature) & np.isfinite(forest.threshold)])
                before = _before(prepared.chains, place, _spread(splits, MOST_LIMITS))
                found.setdefault(int(prepared.chains.sources[place]), []).append(before)
    merged = {column: np.unique(np.concatenate(parts)) for column, parts in found.items()}
    most = _fair([len(values) for values in merged.values()])
    return {column: _spread(values, most) for column, values in merged.items()}


def _before(chains: Chains, place: int, splits: Array) -> Array:
    """The numbers of a column that preprocessing turns into these, as far as halving an interval finds them."""
    if not len(chains.operations):
        return splits
    alone = Chains(
        sources=np.zeros(1, dtype=np.intp),
        operations=chains.operations,
        values=chains.values[:, [place]],
        marks=chains.marks[:, [place]],
    )
    low, high = np.full(len(splits), -1e15), np.full(len(splits), 1e15)
    for _ in range(_HALVINGS):
        middle = low + (high - low) / 2
        below = alone.apply(middle[:, None])[0][:, 0] <= splits
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.concatenate((low, high))


def _fair(lengths: list[int]) -> int:
    """How many limits each column may keep so that all together are few: those with few keep all of them."""
    most = MOST_LIMITS
    while most > 1 and sum(min(length, most) for length in lengths) > MOST_IN_ALL:
        most -= most // 8 + 1
    return max(1, most)


def _spread(values: Array, most: int) -> Array:
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.intp)]


def boundary(contract: Contract, rows: Array, at: dict[int, Array], seed: int) -> Array:
    """Rows at, just below and just above each limit of each column, and at the 32-bit floats around it.

    Every such row is one of ``rows`` with one value changed; a column of whole numbers gets the whole numbers around.
    """
    generator = np.random.default_rng(seed)
    parts = [rows[:0]]
    for place, column in enumerate(contract.columns):
        values = np.unique(np.concatenate((_around(at.get(place, np.zeros(0)), column), _extremes(column))))
        if len(values):
            part = rows[generator.integers(0, len(rows), len(values))]
            part[:, place] = values
            parts.append(part)
    return np.concatenate(parts)


def missing(contract: Contract, rows: Array, seed: int) -> Array:
    """Rows that lack one value each, in every column where one may be missing, and a row that lacks all of these."""
    generator = np.random.default_rng(seed)
    places = [place for place, column in enumerate(contract.columns) if _may_lack(column)]
    found = rows[generator.integers(0, len(rows), 3 * len(places) + bool(places))]
    for number, place in enumerate([*places, *places, *places]):
        found[number, place] = np.nan
    if places:
        found[-1, places] = np.nan
    return found


def _may_lack(column: Column) -> bool:
    return may_be_missing(column) or (column.kind == "category" and "flag" in (column.unseen, column.missing))


def _around(values: Array, column: Column) -> Array:
    if column.kind == "category":
        return np.arange(len(column.categories), dtype=np.float64)
    if column.kind == "boolean":
        return np.array([0.0, 1.0])
    if column.kind == "integer":
        whole = np.floor(values)
        near: Array = np.concatenate((whole - 1, whole, whole + 1))
        exact: Array = near[np.abs(near) <= EXACT]
        return exact
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        singles = [single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))]
    doubles = [values, *(one.astype(np.float64) for one in singles)]
    near = np.concatenate([*doubles, *(np.nextafter(one, side) for one in doubles for side in (np.inf, -np.inf))])
    finite: Array = near[np.isfinite(near)]
    return finite


def _extremes(column: Column) -> Array:
    if column.kind not in ("number", "integer"):
        return np.zeros(0)
    bounds = [bound for bound in (column.low, column.high, column.usual_low, column.usual_high) if bound is not None]
    large = [1e6, 123456789.0, float(2**24 + 1), float(2**31), float(EXACT)]
    found = np.array([0.0, -0.0, 1.0, -1.0, *bounds, *large, *(-value for value in large)])
    return np.round(found) if column.kind == "integer" else found


def blocks(contract: Contract, rows: Array, at: dict[int, Array], seed: int) -> Iterator[Array]:
    """The rows as they are, those at limits, those that lack values; each to be asked in one call."""
    yield rows
    yield boundary(contract, rows, at, seed)
    yield missing(contract, rows, seed)
