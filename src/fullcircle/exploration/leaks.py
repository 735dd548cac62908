"""Columns that give the label away: alone, or together with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A column this close to the label was made from it, or it was made from the column.
TOO_CLOSE = 0.999
# By chance alone few rows are often split without a mistake.
_ENOUGH_ROWS = 50
_MOST_VALUES = 20


def alone(series: Any, label: Any, *, classes: bool) -> str:
    """How one column (a pandas Series) by itself determines the label, or ""."""
    known = series.notna() & label.notna()
    values, truth = series[known], label[known]
    if len(values) < 20 or values.nunique() < 2 or truth.nunique() < 2:
        return ""
    numeric = _numeric(values)
    if _numeric(truth) and numeric:
        found = _correlation(values, truth)
        if abs(found) > TOO_CLOSE:
            return f"its correlation with the label is {found:.4f}: it is the label in another form"
    if classes:
        return _splits(values, truth, numeric)
    if values.nunique() <= len(values) / 5 and _explained(values, truth) > TOO_CLOSE:
        return "its values alone explain the label: the label was made from it, or it from the label"
    return ""


def together(frame: Any, names: Sequence[str], label: Any) -> tuple[str, ...]:
    """Numeric columns whose weighted sum is the label in every row, as casual + registered = cnt; () for none."""
    if not _numeric(label) or label.isna().any():
        return ()
    names = [name for name in names if _numeric(frame[name]) and not frame[name].isna().any()]
    names = [name for name in names if frame[name].nunique() > 1]
    if len(names) < 2 or len(label) < 3 * len(names) + 20:
        return ()
    X = frame[list(names)].to_numpy(dtype=float)
    y = label.to_numpy(dtype=float)
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), y - y.mean()
    if _left_over(X, y) > 1e-9:
        return ()
    # Columns that can be done without, last ones first, are no part of the sum.
    kept = list(range(len(names)))
    for position in reversed(range(len(names))):
        without = [each for each in kept if each != position]
        if without and _left_over(X[:, without], y) <= 1e-9:
            kept = without
    return tuple(names[position] for position in kept)


def _numeric(series: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(series.dtype)) and not pd.api.types.is_bool_dtype(series.dtype)


def _correlation(values: Any, truth: Any) -> float:
    """The stronger of Pearson's and Spearman's: a column may be the label's logarithm."""
    a, b = values.to_numpy(dtype=float), truth.to_numpy(dtype=float)
    straight = float(np.corrcoef(a, b)[0, 1])
    ranked = float(np.corrcoef(values.rank().to_numpy(), truth.rank().to_numpy())[0, 1])
    # Ranks of a few values say little: two classes are in the order of any column that parts them roughly.
    return ranked if abs(ranked) > abs(straight) and truth.nunique() > _MOST_VALUES else straight


def _splits(values: Any, truth: Any, numeric: bool) -> str:
    """Whether the classes follow from the column without one mistake."""
    codes = truth.astype("category").cat.codes.to_numpy()
    if values.nunique() <= _MOST_VALUES and values.nunique() <= len(values) / 5:
        per_value = truth.groupby(values.astype("object"), observed=True).nunique()
        return "each of its values goes with one class only" if int(per_value.max()) == 1 else ""
    if not numeric or len(values) < _ENOUGH_ROWS:
        return ""
    ordered = values.to_numpy(dtype=float)
    order = np.argsort(ordered, kind="stable")
    ordered, codes = ordered[order], codes[order]
    changes = codes[1:] != codes[:-1]
    clean = not np.any(changes & (ordered[1:] == ordered[:-1]))
    if clean and int(changes.sum()) == len(np.unique(codes)) - 1:
        return "limits on it alone part the classes without one mistake"
    return ""


def _explained(values: Any, truth: Any) -> float:
    """The share of the label's variance that the means per value explain."""
    means = truth.groupby(values.astype("object"), observed=True).transform("mean")
    total = float(np.var(truth.to_numpy(dtype=float)))
    return 1.0 - float(np.var(truth.to_numpy(dtype=float) - means.to_numpy(dtype=float))) / total if total else 0.0


def _left_over(X: NDArray[Any], y: NDArray[Any]) -> float:
    """The share of the label's variance that no weighted sum of the columns explains."""
    weights = np.linalg.lstsq(X, y, rcond=None)[0]
    return float(np.sum((y - X @ weights) ** 2) / np.sum(y**2)) if np.any(y) else 1.0
