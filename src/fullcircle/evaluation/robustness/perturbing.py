"""Inputs that went wrong on purpose: one column of a frame at a time, in ways in which inputs do go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fullcircle.evaluation.check import Array, Frame
from fullcircle.types.contract import Column

Sort = Literal["number", "category", "boolean", "time"]
_SORTS: Mapping[str, Sort] = {
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "category": "category",
    "text": "category",
    "time": "time",
}
NOISE = 0.01  # of a column's standard deviation
UNSEEN = "never seen before"
WRONG = "not a number"
NAMES: Mapping[str, str] = {
    "missing": "missing",
    "unseen": "unseen category",
    "times_10": "10 times too large",
    "times_100": "100 times too large",
    "wrong_type": "text for a number",
    "noise": "noise of 1 %",
}


class Perturbed(NamedTuple):
    """A frame (n rows) with one column spoiled; ``touched`` (n,) says in which rows anything is different."""

    column: str
    kind: str
    frame: Frame
    touched: Array


def sort_of(column: Any, known: Column | None) -> Sort:
    """What a column holds: by the contract where that is known, else by its dtype."""
    import pandas as pd

    if known is not None:
        return _SORTS[known.kind]
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if column.dtype.kind == "M":
        return "time"
    return "number" if pd.api.types.is_numeric_dtype(column) else "category"


def spoiled(
    frame: Frame, features: Sequence[str], columns: Mapping[str, Column], *, wrong_type: bool
) -> Iterator[Perturbed]:
    """Every feature of ``frame``, spoiled in each way that its sort allows; ``frame`` itself is not changed.

    A missing value, a category that nobody has seen, a number 10 and 100 times too large, and, where ``wrong_type``
    is asked for, text in a number (noise is ``noisy``). The commonest mistakes come first, for those who stop early.
    """
    sorts = {name: sort_of(frame[name], columns.get(name)) for name in features}
    for kind in NAMES:
        if kind == "noise" or (kind == "wrong_type" and not wrong_type):
            continue
        for name, sort in sorts.items():
            if kind == "missing" or sort == ("category" if kind == "unseen" else "number"):
                yield _spoil(frame, name, kind)


def _spoil(frame: Frame, name: str, kind: str) -> Perturbed:
    column = frame[name]
    present = column.notna().to_numpy()
    if kind == "missing":
        return Perturbed(name, kind, frame.assign(**{name: _without(column)}), present)
    if kind in ("unseen", "wrong_type"):
        values = np.full(len(frame), UNSEEN if kind == "unseen" else WRONG, dtype=object)
        return Perturbed(name, kind, frame.assign(**{name: values}), np.ones(len(frame), dtype=bool))
    column = _numbers(column)
    times = column * (10 if kind == "times_10" else 100)
    return Perturbed(name, kind, frame.assign(**{name: times}), present & (times != column).fillna(False).to_numpy())


def _without(column: Any) -> Any:
    """The column with nothing in it, in a type that can hold nothing."""
    import pandas as pd

    if column.dtype.kind in "iu":
        return pd.Series(np.nan, index=column.index)
    if column.dtype.kind in "b" or column.dtype == object:
        return pd.Series([None] * len(column), index=column.index, dtype=object)
    return pd.Series([None] * len(column), index=column.index).astype(column.dtype)


def noisy(
    frame: Frame, spread: Mapping[str, float], columns: Mapping[str, Column], generator: np.random.Generator
) -> Frame:
    """A copy with normal noise of 1 % of ``spread``, by column. Whole numbers stay whole."""
    changes = {}
    for name, size in spread.items():
        noise = generator.normal(scale=NOISE * size, size=len(frame))
        column, known = _numbers(frame[name]), columns.get(name)
        whole = column.dtype.kind in "iu" or (known is not None and known.kind == "integer")
        changes[name] = (column + np.round(noise)).astype(column.dtype) if whole else column + noise
    return frame.assign(**changes)


def spreads(frame: Frame, names: Sequence[str]) -> dict[str, float]:
    """The standard deviation of each of these columns; those that do not vary are left out."""
    found = {name: float(np.nanstd(_numbers(frame[name]).to_numpy(dtype=float, na_value=np.nan))) for name in names}
    return {name: value for name, value in found.items() if np.isfinite(value) and value > 0.0}


def _numbers(column: Any) -> Any:
    """Numbers that a frame keeps as objects (because some are missing) as numbers."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce") if column.dtype == object else column
