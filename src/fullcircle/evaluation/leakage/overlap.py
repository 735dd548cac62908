"""Test rows that equal a training row, and whether chance alone makes as many.

On coarse data equal rows are common. If test rows were drawn like training rows, equal rows fall on both sides by
chance: of a group of c equal rows none, some or all are test rows, with known chances. That more groups than that
lie on both sides is what copied rows do, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fullcircle.evaluation.check import Array, Frame

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_TILTS = np.linspace(0.0, 40.0, 801)


class Shared(NamedTuple):
    """``rows`` of ``of`` test rows equal a training row; ``expected`` is the share of training rows with an equal.

    ``p`` bounds the chance that as many groups of equal rows lie on both sides when rows were drawn alike.
    """

    rows: int
    of: int
    expected: float
    p: float


def shared(train: Frame, test: Frame, columns: Sequence[str], labels: tuple[Array, Array]) -> Shared:
    """Rows of ``test`` (n) that equal a row of ``train`` (m) in these columns and the label.

    ``labels`` are those of training and of test rows. Numbers are equal by value, whatever their types; missing
    values are equal to each other. Rows are compared by 64-bit fingerprints.
    """
    prints = _fingerprints(train, test, columns, labels)
    size, others = len(train), len(test)
    _, place, counts = np.unique(prints, return_inverse=True, return_counts=True)
    learned = np.bincount(place[:size], minlength=len(counts))
    asked = counts - learned
    both = (learned > 0) & (asked > 0)
    doubles = int(learned[learned > 1].sum())
    sizes, groups = np.unique(counts[counts > 1], return_counts=True)
    p = _chance(int(both.sum()), sizes, groups, size, others)
    return Shared(int(asked[both].sum()), others, doubles / size if size else 0.0, p)


def _chance(both: int, sizes: Array, groups: Array, size: int, others: int) -> float:
    """Chernoff's bound on the chance that at least ``both`` groups of equal rows have rows on both sides.

    A group of c rows is on one side alone with the chances of drawing c rows of one kind (hypergeometric).
    """
    if not sizes.size:
        return 1.0
    split = 1.0 - np.exp(_all_of(sizes, others, size + others)) - np.exp(_all_of(sizes, size, size + others))
    split = np.clip(split, 0.0, 1.0)
    if both <= float(split @ groups):
        return 1.0
    # In logs: with e to the tilt alone, large groups would overflow.
    tilted = np.log1p(split[None, :] * np.expm1(_TILTS)[:, None]) @ groups - _TILTS * both
    return float(np.exp(min(0.0, tilted.min())))


def _all_of(sizes: Array, kind: int, total: int) -> Array:
    """The log of the chance that ``sizes`` rows drawn from ``total`` are all of a kind that ``kind`` rows have."""
    from scipy.special import gammaln

    fits = sizes <= kind
    some = np.where(fits, sizes, 0)
    found = gammaln(kind + 1) - gammaln(kind - some + 1) - gammaln(total + 1) + gammaln(total - some + 1)
    return np.where(fits, found, -np.inf)


def _fingerprints(train: Frame, test: Frame, columns: Sequence[str], labels: tuple[Array, Array]) -> Array:
    """One number per row, training rows first; a column at a time, so that memory stays small."""
    import pandas as pd

    found = np.zeros(len(train) + len(test), dtype=np.uint64)
    pairs = [(train[name], test[name]) for name in columns]
    pairs.append((pd.Series(np.asarray(labels[0])), pd.Series(np.asarray(labels[1]))))
    for first, second in pairs:
        found = found * _PRIME + pd.util.hash_array(_alike(first, second))
    return found


def _alike(first: Any, second: Any) -> Array:
    """Two columns as one array of numbers, equal where the values are."""
    import pandas as pd

    kinds = [pd.api.types.infer_dtype(each, skipna=True) if each.dtype == object else "" for each in (first, second)]
    pair = [_as_time(each) if each.dtype.kind == "M" else each for each in (first, second)]
    whole = all(pd.api.types.is_integer_dtype(each) and not each.hasnans for each in pair)
    if whole:
        return np.concatenate([each.to_numpy(dtype=np.int64) for each in pair])
    if all(pd.api.types.is_numeric_dtype(each) for each in pair):
        numbers = np.concatenate([each.to_numpy(dtype=float, na_value=np.nan) for each in pair]) + 0.0
        numbers[np.isnan(numbers)] = np.nan
        return numbers
    values = pd.concat([each.astype(object) for each in pair], ignore_index=True)
    if "mixed" in kinds:  # lists and the like cannot be told apart but as text
        values = values.astype(str)
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64)


def _as_time(column: Any) -> Any:
    """Nanoseconds since 1970 as whole numbers, without time zone."""
    import pandas as pd

    return pd.Series(pd.to_datetime(column, utc=True).dt.as_unit("ns").astype("int64"))
