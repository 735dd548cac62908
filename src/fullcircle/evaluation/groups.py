"""Groups of rows by the values of columns, and the names that measures of groups go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.evaluation.check import Array, Frame

MISSING = "(missing)"
Groups = tuple[Array, tuple[str, ...]]


def of_rows(frame: Frame, by: Sequence[str]) -> Groups:
    """The group of every row as a position in the names, and the names in their order: ``sex=f, race=b``.

    A missing value is a group of its own; 1.0 is called 1, as whether a column holds whole numbers depends on whether
    one is missing. Values that read alike but are not (1 and "1") are told apart. Raises ColumnMissing for a column
    that the frame does not have, DataUnfit for values that cannot be compared (lists).
    """
    return crossed([of_column(frame, column) for column in by], rows=len(frame))


def of_column(frame: Frame, column: str) -> Groups:
    """The same for one column."""
    import pandas as pd

    if column not in frame.columns:
        raise ColumnMissing(
            "groups are asked for by a column that is not in the data",
            received=column,
            allowed=", ".join(str(name) for name in frame.columns),
            next_step="mend by=... or protected=[...] in the project file",
        )
    try:
        codes, values = pd.factorize(frame[column], use_na_sentinel=False)
    except TypeError as error:
        raise DataUnfit(
            f"rows cannot be grouped by {column!r}: {error}",
            allowed="text, numbers, booleans or times",
            next_step="make a column of simple values in prepare",
        ) from error
    told = [f"{column}={text}" for text in _texts(list(values))]
    order = sorted(range(len(told)), key=told.__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], tuple(told[position] for position in order)


def crossed(parts: Sequence[Groups], *, rows: int) -> Groups:
    """The groups that several groupings of the same rows make together; those without rows are left out."""
    codes = np.zeros(rows, dtype=np.int64)
    names: tuple[str, ...] = ("",)
    for found, told in parts:
        joined = codes * len(told) + found
        kept, codes = _dense(joined, len(names) * len(told))
        names = tuple(_both(names[code // len(told)], told[code % len(told)]) for code in kept.tolist())
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], tuple(names[position] for position in order)


def called(names: Sequence[str], by: Sequence[str], told: str) -> str:
    """The group that a person means by ``told``, or "" where there is none.

    That is its full name, or the values alone: ``other`` for ``sex=other``, ``f, other`` for ``sex=f, race=other``.
    """
    for name in names:
        short = name.removeprefix(f"{by[0]}=")
        for column in by[1:]:
            short = short.replace(f", {column}=", ", ", 1)
        if told in (name, short):
            return name
    return ""


def gap_name(by: Sequence[str], metric: str) -> str:
    """The name of the measure that tells how far the groups of these columns are apart."""
    return f"fair_gap:{'/'.join(by)}:{metric}"


def _texts(values: Sequence[Any]) -> list[str]:
    """Every distinct value as text, no two alike."""
    import pandas as pd

    missing = [bool(pd.isna(value)) for value in values]
    plain = [MISSING if gone else _text(value) for value, gone in zip(values, missing, strict=True)]
    twice = {text for text, times in Counter(plain).items() if times > 1}
    told: dict[str, None] = {}
    for text, value, gone in zip(plain, values, missing, strict=True):
        name = repr(value) if text in twice and not gone else text
        while name in told:
            name += "'"
        told[name] = None
    return list(told)


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _dense(codes: Array, most: int) -> tuple[Array, Array]:
    """The codes that occur, ascending, and each code's position in them. Counting is faster than sorting."""
    if most > max(1000, 4 * len(codes)):
        kept, places = np.unique(codes, return_inverse=True)
        return kept, places
    kept = np.flatnonzero(np.bincount(codes, minlength=most))
    place = np.zeros(most, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    return kept, place[codes]


def _both(first: str, second: str) -> str:
    return f"{first}, {second}" if first else second
