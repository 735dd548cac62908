"""Groups of rows by the values of columns, and the names that measures of groups go by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fullcircle.errors import ColumnMissing
from fullcircle.evaluation.check import Array, Frame

MISSING = "(missing)"


def of_rows(frame: Frame, by: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """The group of every row as a position in the names, and the names in their order: ``sex=f, race=b``.

    A missing value is a group of its own. Raises ColumnMissing for a column that the frame does not have.
    """
    import pandas as pd

    absent = [name for name in by if name not in frame.columns]
    if absent:
        raise ColumnMissing(
            "groups are asked for by a column that is not in the data",
            received=", ".join(absent),
            allowed=", ".join(str(name) for name in frame.columns),
            next_step="mend by=... or protected=[...] in the project file",
        )
    codes = np.zeros(len(frame), dtype=np.int64)
    names: list[str] = [""]
    for column in by:
        found, values = pd.factorize(frame[column], use_na_sentinel=False)
        told = [f"{column}={MISSING if pd.isna(value) else value}" for value in values]
        joined = codes * len(told) + found
        kept, codes = np.unique(joined, return_inverse=True)
        names = [_both(names[code // len(told)], told[code % len(told)]) for code in kept.tolist()]
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], tuple(names[position] for position in order)


def gap_name(by: Sequence[str], metric: str) -> str:
    """The name of the measure that tells how far the groups of these columns are apart."""
    return f"fair_gap:{'/'.join(by)}:{metric}"


def _both(first: str, second: str) -> str:
    return f"{first}, {second}" if first else second
