"""Preprocessing without scikit-learn: arithmetic on whole columns, and tables for columns of few values.

Every output of scikit-learn's simple steps depends on one input column. One that scales or fills a number is a chain
of operations, done for all columns at once with a neutral value where a column has no such operation. One that comes
from categories (or from single numbers, as a one-hot column of an integer) is a table with an entry for each interval
of the input between two keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NEUTRAL: Mapping[str, float] = {
    "fill": np.nan,
    "subtract": 0.0,
    "divide": 1.0,
    "multiply": 1.0,
    "add": -0.0,
    "low": -np.inf,
    "high": np.inf,
}
"""Operations with a number, and the number that leaves every value as it is, bit for bit."""

UNARY: Mapping[str, Any] = {
    "isnan": np.isnan,
    "absolute": np.absolute,
    "cbrt": np.cbrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "sqrt": np.sqrt,
}
_ARITHMETIC: Mapping[str, Any] = {
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
    "low": np.maximum,
    "high": np.minimum,
}
FINITE = "finite"
"""Where scikit-learn looks for infinities: the row is refused if there is one."""
OPERATIONS = (*NEUTRAL, *UNARY, FINITE)
MOST_BINS = 100_000
"""Of all tables of a model together."""


@dataclass(frozen=True, eq=False)
class Chains:
    """Operations on numbers. ``sources`` (p,) are the columns they begin with.

    ``operations`` are s places in ``OPERATIONS``; ``values`` (s, p) what is filled, added and so on; ``marks`` (s, p)
    which columns an operation without a neutral value is for.
    """

    sources: Array
    operations: Array
    values: Array
    marks: Array

    def apply(self, matrix: Array) -> tuple[Array, Array | None]:
        """The prepared numbers of each row, shape (n, p), and which rows scikit-learn would refuse (None: no row)."""
        found: Array = matrix[:, self.sources]
        refused: Array | None = None
        if not self._plan:
            return found, refused
        with np.errstate(all="ignore"):
            for name, work, values, marks in self._plan:
                if name == "fill":
                    found = np.where(np.isnan(found), values, found)
                elif name in _ARITHMETIC:
                    found = work(found, values)
                elif name == FINITE:
                    infinite: Array = np.asarray(np.isinf(found[:, marks]).any(axis=1))
                    refused = infinite if refused is None else refused | infinite
                else:
                    found[:, marks] = work(found[:, marks])
        return found, refused

    @cached_property
    def _plan(self) -> list[tuple[str, Any, Array, Array]]:
        """Each operation: its name, its function, its numbers and the columns it is for."""
        names = [OPERATIONS[place] for place in self.operations.tolist()]
        works = [_ARITHMETIC.get(name) or UNARY.get(name) for name in names]
        return list(zip(names, works, self.values, map(np.flatnonzero, self.marks), strict=True))


@dataclass(frozen=True, eq=False)
class Tables:
    """Columns of few values. Entry e reads column ``columns[e]`` and has the sorted ``keys[starts[e]:starts[e+1]]``.

    The last key is infinity, so a number has the interval (bin) of the first key that is not below it, and NaN, which
    sorts last, one of its own: keys + 1 bins. ``refused`` says for all bins of all entries, one after the other,
    whether scikit-learn would refuse such a value.
    """

    columns: Array
    keys: Array
    starts: Array
    refused: Array

    @property
    def bins(self) -> Array:
        """The number of bins of each entry."""
        return np.diff(self.starts) + 1

    @property
    def first_bins(self) -> Array:
        """Where the bins of each entry begin among all."""
        return np.concatenate(([0], np.cumsum(self.bins)))

    def keys_of(self, entry: int) -> Array:
        """The keys of one entry."""
        found: Array = self.keys[self.starts[entry] : self.starts[entry + 1]]
        return found

    def places(self, matrix: Array) -> Array:
        """The bin of each row in each entry, shape (n, entries)."""
        found = np.empty((len(matrix), len(self.columns)), dtype=np.intp)
        for entry, (column, keys) in enumerate(self._plan):
            found[:, entry] = keys.searchsorted(matrix[:, column])
        return found

    @cached_property
    def _plan(self) -> list[tuple[int, Array]]:
        """The column and the keys of each entry."""
        return [(column, self.keys_of(entry)) for entry, column in enumerate(self.columns.tolist())]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a model's own columns (features) are made of.

    Feature f is column ``chain[f]`` of ``chains`` where that is not -1, else the table
    ``values[first[f]:first[f+1]]`` over the bins of entry ``entry[f]`` of ``tables``.
    """

    width: int
    chains: Chains
    tables: Tables
    chain: Array
    entry: Array
    values: Array
    first: Array

    def table(self, feature: int) -> Array:
        """The values of a feature that comes from a table, one for each bin of its entry."""
        found: Array = self.values[self.first[feature] : self.first[feature + 1]]
        return found

    def matrix(self, rows: Array) -> tuple[Array, Array | None]:
        """All features of each row, shape (n, features), and which rows scikit-learn would refuse."""
        numbers, refused = self.chains.apply(rows)
        found = np.empty((len(rows), len(self.chain)), dtype=np.float64)
        direct = self.chain >= 0
        found[:, direct] = numbers[:, self.chain[direct]]
        if len(self.tables.columns):
            places = self.tables.places(rows)
            for feature in np.flatnonzero(~direct).tolist():
                found[:, feature] = self.table(feature)[places[:, self.entry[feature]]]
            bad = self.tables.refused[places + self.tables.first_bins[:-1]].any(axis=1)
            if bad.any():
                refused = bad if refused is None else refused | bad
        return found, refused


def arrays(prepared: Prepared) -> dict[str, Array]:
    """A preparation as named arrays, for a file."""
    chains, tables = prepared.chains, prepared.tables
    return {
        "width": np.array([prepared.width], dtype=np.int32),
        "chain.sources": chains.sources.astype(np.int32),
        "chain.operations": chains.operations.astype(np.uint8),
        "chain.values": chains.values.astype(np.float64),
        "chain.marks": chains.marks.astype(np.bool_),
        "table.columns": tables.columns.astype(np.int32),
        "table.keys": tables.keys.astype(np.float64),
        "table.starts": tables.starts.astype(np.int32),
        "table.refused": tables.refused.astype(np.bool_),
        "feature.chain": prepared.chain.astype(np.int32),
        "feature.entry": prepared.entry.astype(np.int32),
        "feature.values": prepared.values.astype(np.float64),
        "feature.first": prepared.first.astype(np.int32),
    }
