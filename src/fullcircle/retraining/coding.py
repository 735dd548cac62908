"""Rows as small whole numbers: every column of known and new rows in bins that were frozen on the known ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 10
FEW = 20
"""A number with no more different values than these has one bin for each."""
_CATEGORIES = 50
_MOST = 100_000  # known rows that bins are frozen on


@dataclass(frozen=True)
class Coded:
    """One column: codes (m,) of the known rows and (n,) of the new ones, below ``size``; the last is "missing".

    ``texts`` say what each code
    stands for, ``single`` whether each is one value. ``inside`` (n,) is False where a number lies beyond all known.
    """

    name: str
    number: bool
    known: Array
    new: Array
    texts: tuple[str, ...]
    inside: Array
    single: bool = True

    @property
    def size(self) -> int:
        return len(self.texts)


def coded(known: Any, new: Any) -> tuple[Coded, ...]:
    """The columns that both frames have, in the order of ``new``."""
    return tuple(_coded(str(name), known[name], new[name]) for name in new.columns if name in known.columns)


def is_number(column: Any) -> bool:
    """Whether a pandas column holds numbers that can be more or less; truth values are categories."""
    return bool(column.dtype.kind in "iuf" or (column.dtype.kind == "O" and _all_numbers(column)))


def numbers(column: Any) -> NDArray[np.float64]:
    """The values of a column of numbers (n,), NaN where one is missing."""
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _all_numbers(column: Any) -> bool:
    from pandas.api.types import infer_dtype

    return infer_dtype(column, skipna=True) in ("integer", "floating", "mixed-integer-float", "decimal")


def _coded(name: str, known: Any, new: Any) -> Coded:
    if is_number(known) and is_number(new):
        return _number(name, numbers(known), numbers(new))
    return _category(name, known, new)


def _number(name: str, known: Array, new: Array) -> Coded:
    sample = known[:: max(1, len(known) // _MOST)]
    sample = np.sort(sample[np.isfinite(sample)])
    if not sample.size:
        nothing = np.zeros(len(new), dtype=np.intp)
        return Coded(name, True, np.zeros(len(known), dtype=np.intp), nothing, ("missing",), np.ones(len(new), bool))
    distinct = np.unique(sample)
    if distinct.size <= FEW:
        edges = (distinct[1:] + distinct[:-1]) / 2
        texts = [f"{value:g}" for value in distinct]
    else:
        edges = np.unique(np.quantile(sample, np.linspace(0, 1, BINS + 1)[1:-1]))
        ends = [f"{value:.4g}" for value in edges]
        texts = [
            f"up to {ends[0]}",
            *(f"{a} to {b}" for a, b in pairwise(ends)),
            f"above {ends[-1]}",
        ]
    low, high = np.nanmin(known), np.nanmax(known)
    inside = ~((new < low) | (new > high))
    return Coded(
        name, True, _placed(known, edges), _placed(new, edges), (*texts, "missing"), inside, distinct.size <= FEW
    )


def _placed(values: Array, edges: Array) -> Array:
    found = np.searchsorted(edges, values)
    found[np.isnan(values)] = len(edges) + 1
    return found


def _category(name: str, known: Any, new: Any) -> Coded:
    import pandas as pd

    both = pd.concat([known.astype(object), new.astype(object)], ignore_index=True)
    codes, values = pd.factorize(both)
    counts = np.bincount(codes[: len(known)][codes[: len(known)] >= 0], minlength=len(values))
    kept = np.sort(np.argsort(-counts, kind="stable")[:_CATEGORIES])
    place = np.full(len(values) + 1, len(kept))
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept) + 1  # a code of -1 is a missing value
    found = place[codes]
    texts = (*(str(values[each]) for each in kept), "another value", "missing")
    return Coded(name, False, found[: len(known)], found[len(known) :], texts, np.ones(len(new), dtype=bool))
