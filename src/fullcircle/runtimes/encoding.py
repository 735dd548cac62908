"""Rows as a matrix of 64-bit floats, the form in which most rows are judged and models are asked quickly.

A number stands as it is, an integer and a boolean as a float, a category as its position in the contract's list,
what is missing (or a category that is not in the list) as NaN. ``LOOK`` in a cell means that the value could not be
written so: the row has to be judged by hand (``contracts.examine``), which also finds the words for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.runtimes.values import EXACT, lacking, may_be_missing
from fullcircle.types.contract import Column, Contract, Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

LOOK = -math.inf
_KINDS = ("number", "integer", "boolean", "category")


class Encoder:
    """The matrix of one contract. Holds no state but the contract's own facts: threads may share it."""

    def __init__(self, contract: Contract) -> None:
        import numpy as np

        self.contract = contract
        self.encodable = all(column.kind in _KINDS for column in contract.columns)
        """Whether all columns can stand in a matrix: none of text, none of time."""
        self.codes = tuple(
            {name: float(code) for code, name in enumerate(column.categories)} if column.kind == "category" else None
            for column in contract.columns
        )
        """For each column its categories' positions, None for a column of another kind."""
        bounds = [_bounds(column) for column in contract.columns]
        self._low = np.array([low for low, _ in bounds], dtype=np.float64)
        self._high = np.array([high for _, high in bounds], dtype=np.float64)
        self._nullable = np.array([column.nullable for column in contract.columns], dtype=np.bool_)
        self._any_nullable = bool(self._nullable.any())

    def matrix(self, rows: Sequence[Mapping[str, Value]]) -> Matrix:
        """The values that ``examine`` gave, shape (n, columns), C-contiguous."""
        import numpy as np

        if not rows:
            return np.empty((0, len(self.contract.columns)), dtype=np.float64)
        columns = [self._column(column, [row.get(column.name) for row in rows]) for column in self.contract.columns]
        return np.array(columns, dtype=np.float64).T.copy(order="C")

    def _column(self, column: Column, values: list[Value]) -> list[float]:
        nan = math.nan
        if column.kind == "category":
            codes = {name: float(code) for code, name in enumerate(column.categories)}
            return [codes.get(value, nan) if isinstance(value, str) else nan for value in values]
        return [nan if value is None else float(value) for value in values]

    def clean(self, matrix: Matrix) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows need no further look, shape (n,).

        All their values are in the hard range, whole numbers exact, and missing only where the column is nullable:
        ``examine`` would call them ok. A NaN has to mean a missing value; write LOOK for an unseen category.
        """
        import numpy as np

        return np.asarray(self._fits(matrix).all(axis=1))

    def all_clean(self, matrix: Matrix) -> bool:
        """Whether that holds for every row: what a server asks for each batch, in a quarter of the time."""
        import numpy as np

        fits = self._fits(matrix)
        return int(np.count_nonzero(fits)) == fits.size

    def _fits(self, matrix: Matrix) -> np.ndarray[Any, np.dtype[np.bool_]]:
        fits: np.ndarray[Any, np.dtype[np.bool_]] = (matrix >= self._low) & (matrix <= self._high)
        if self._any_nullable:
            fits |= self._nullable & (matrix != matrix)
        return fits

    def values(self, matrix: Matrix) -> list[dict[str, Value]]:
        """The plain values of each row, as ``examine`` gives them."""
        names = self.contract.names
        return [dict(zip(names, row, strict=True)) for row in zip(*self.columns(matrix), strict=True)]

    def columns(self, matrix: Matrix) -> list[list[Value]]:
        """The same values column by column."""
        import numpy as np

        pairs = zip(self.contract.columns, np.ascontiguousarray(matrix.T), strict=True)
        return [
            cells.tolist()
            if column.kind == "number" and not (cells != cells).any()
            else _plain(column, cells.tolist())
            for column, cells in pairs
        ]

    def frame(self, matrix: Matrix) -> pd.DataFrame:
        """The frame that ``contracts.to_frame`` makes of the same rows. Integers have to be exact in a float.

        Raises DataUnfit for a missing integer or boolean where none may come, as ``to_frame`` does.
        """
        import pandas as pd

        arrays = {column.name: _array(column, matrix[:, place]) for place, column in enumerate(self.contract.columns)}
        names = pd.Index(self.contract.names, dtype=object)
        return pd.DataFrame(arrays, columns=names, index=range(len(matrix)), copy=False)


def _bounds(column: Column) -> tuple[float, float]:
    """What a cell may hold without a further look. From 2**53 on a float does not tell which integer was sent."""
    if column.kind == "category":
        return 0.0, float(len(column.categories) - 1)
    if column.kind == "boolean":
        return 0.0, 1.0
    low, high = column.low, column.high
    most = float(EXACT - 1)
    return -most if low is None else max(low, -most), most if high is None else min(high, most)


def _plain(column: Column, values: list[float]) -> list[Value]:
    if column.kind == "category":
        return [None if value != value else column.categories[int(value)] for value in values]
    if column.kind == "boolean":
        return [None if value != value else value == 1.0 for value in values]
    if column.kind == "integer":
        return [None if value != value else int(value) for value in values]
    return [None if value != value else value for value in values]


def _array(column: Column, values: Matrix) -> Any:
    import numpy as np
    import pandas as pd

    if column.kind == "category":
        codes = np.where(np.isnan(values), -1, values).astype(np.intp)
        return pd.Categorical.from_codes(codes, categories=pd.Index(column.categories, dtype=object))
    if column.kind == "number" or may_be_missing(column):
        return values.copy()
    if not np.isfinite(values).all():
        raise lacking(column)
    return values.astype(np.int64 if column.kind == "integer" else np.bool_)
