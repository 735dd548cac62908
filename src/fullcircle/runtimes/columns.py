"""Whole columns against a contract: what is plainly right becomes a matrix at once, the rest is left to ``examine``.

Three ways for columns to arrive: with types (Arrow: Parquet, frames), as text that a file without types is written
in (CSV), and as the rows of JSON documents. Each gives the matrix of ``Encoder``, with ``LOOK`` in each cell that is
not plainly right, and any of its rows as ``examine`` takes them. A cell that is no ``LOOK`` stands for the value that
``values.read`` gives for the row's own: so both ways give one answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fullcircle.runtimes.contracts import context_of
from fullcircle.runtimes.encoding import LOOK, Encoder
from fullcircle.runtimes.values import EXACT, category_name, plain, read
from fullcircle.types.contract import Column, Contract, Value

if TYPE_CHECKING:
    import numpy as np

    from fullcircle.runtimes.encoding import Matrix

    Cells = np.ndarray[Any, np.dtype[np.float64]]

MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The words for a missing value in a file of text, those of pandas."""

_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LONG = re.compile(r"[+-]?0[0-9]")


class Typed:
    """Columns with types: Arrow arrays of one length under their names."""

    def __init__(self, columns: Mapping[str, Any], rows: int) -> None:
        self.columns = columns
        self.rows = rows

    def matrix(self, encoder: Encoder) -> Matrix:
        """The matrix of ``encoder``, LOOK where a value is not plainly right. A column that is not there is NaN."""
        return _stacked(encoder, self.columns, self.rows, _from_arrow)

    def dicts(self, contract: Contract, places: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """The rows at ``places`` (all by default) as plain values: the columns of the contract and its context."""
        kinds = _kinds(contract, self.columns)
        chosen = [_taken(self.columns[name], places) for name in kinds]
        lists = [[_plain(value, kind) for value in cells] for cells, kind in zip(chosen, kinds.values(), strict=True)]
        return _rows(list(kinds), lists, self.rows if places is None else len(places))

    def contexts(self, contract: Contract) -> list[dict[str, Value] | None]:
        """What each row brings along for the log."""
        return _contexts(contract, self.columns, self.rows, lambda value: _plain(value, ""))


class Written:
    """Columns of a file that has no types: Arrow arrays of text, without nulls.

    A cell of a number column is read as a number, strictly; a category is taken as written where the contract has
    it, else as the number it may be (``1.0`` is "1"). Text and times are what is written.
    """

    def __init__(self, columns: Mapping[str, Any], rows: int) -> None:
        self.columns = columns
        self.rows = rows

    def matrix(self, encoder: Encoder) -> Matrix:
        """See Typed."""
        return _stacked(encoder, self.columns, self.rows, _from_text)

    def dicts(self, contract: Contract, places: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """See Typed."""
        known = {column.name: column for column in contract.columns}
        names = list(_kinds(contract, self.columns))
        chosen = [_taken(self.columns[name], places) for name in names]
        lists = [
            [written(known[name], cell) if name in known else guessed(cell) for cell in cells]
            for name, cells in zip(names, chosen, strict=True)
        ]
        return _rows(names, lists, self.rows if places is None else len(places))

    def contexts(self, contract: Contract) -> list[dict[str, Value] | None]:
        """See Typed."""
        return _contexts(contract, self.columns, self.rows, guessed)


class Documents:
    """Rows as a JSON document has them. Keys that neither the contract nor its context knows are not judged."""

    def __init__(self, documents: Sequence[Mapping[str, Any]]) -> None:
        self.documents = documents
        self.rows = len(documents)

    def matrix(self, encoder: Encoder) -> Matrix:
        """See Typed."""
        columns = {name: [one.get(name) for one in self.documents] for name in encoder.contract.names}
        return _stacked(encoder, columns, self.rows, _from_list)

    def dicts(self, contract: Contract, places: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """See Typed."""
        known = frozenset(contract.names) | frozenset(contract.context)
        chosen = self.documents if places is None else [self.documents[place] for place in places]
        return [{name: value for name, value in one.items() if name in known} for one in chosen]

    def contexts(self, contract: Contract) -> list[dict[str, Value] | None]:
        """See Typed."""
        return [context_of(contract, one) for one in self.documents]


Columns = Typed | Written | Documents


def written(column: Column, text: str) -> Value:
    """What a cell of a file without types says to this column."""
    if column.kind == "category":
        if text in column.categories:
            return text
        return None if text in MISSING else _name(column, text)
    if text in MISSING:
        return None
    return text if column.kind in ("text", "time") else _typed(text)


def _name(column: Column, text: str) -> str:
    """The category that is meant by a number or a truth, else the text."""
    name = category_name(_typed(text))
    return name if name in column.categories else text


def _typed(text: str) -> Value:
    found = text.strip(" \t")
    if _WHOLE.fullmatch(found):
        return int(found)
    if _NUMBER.fullmatch(found):
        return float(found)
    return _TRUTH.get(text, text)


def guessed(text: str) -> Value:
    """A value that only the log sees. Zeros in front belong to a name, not to a number."""
    if text in MISSING:
        return None
    return text if _LONG.match(text) else _typed(text)


def _kinds(contract: Contract, columns: Mapping[str, Any]) -> dict[str, str]:
    known = {column.name: str(column.kind) for column in contract.columns}
    return {name: known.get(name, "") for name in columns if name in known or name in contract.context}


def _taken(array: Any, places: Sequence[int] | None) -> list[Any]:
    import pyarrow as pa

    found = array if places is None else array.take(pa.array(places, pa.int64()))
    return _listed(found)


def _listed(array: Any) -> list[Any]:
    """The values of an array; a text that says so for one that Python has no value for: a time of the year 50000."""
    import pyarrow as pa

    try:
        values: list[Any] = array.to_pylist()
        return values
    except (ValueError, OverflowError, LookupError, ArithmeticError, pa.ArrowException):
        return [_legible(one) for one in array]


def _legible(cell: Any) -> Any:
    import pyarrow as pa

    try:
        return cell.as_py()
    except (ValueError, OverflowError, LookupError, ArithmeticError, pa.ArrowException):
        return f"a value that is no {cell.type}"


def _plain(value: Any, kind: str) -> Any:
    """As ``contracts.rows_of`` has it, but of one cell: what its neighbours are does not matter."""
    value = plain(value)
    if isinstance(value, Decimal):
        value = plain(float(value))
    if value is None:
        return None
    if kind == "category":
        return category_name(value)
    if kind == "boolean" and isinstance(value, float) and value in (0.0, 1.0):
        return value == 1.0
    return value.isoformat() if isinstance(value, date) else value


def _rows(names: list[str], lists: list[list[Any]], count: int) -> list[dict[str, Any]]:
    if not names:
        return [{} for _ in range(count)]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def _contexts(
    contract: Contract, columns: Mapping[str, Any], rows: int, read_cell: Any
) -> list[dict[str, Value] | None]:
    names = [name for name in contract.context if name in columns]
    lists = [[read_cell(value) for value in _listed(columns[name])] for name in names]
    return [context_of(contract, row) for row in _rows(names, lists, rows)]


def _stacked(encoder: Encoder, columns: Mapping[str, Any], rows: int, cells: Any) -> Matrix:
    import numpy as np

    matrix = np.empty((rows, len(encoder.contract.columns)), dtype=np.float64)
    for place, column in enumerate(encoder.contract.columns):
        found = columns.get(column.name)
        matrix[:, place] = math.nan if found is None else cells(column, found)
    return matrix


def _from_list(column: Column, values: list[Any]) -> Cells:
    import numpy as np

    kinds = set(map(type, values))
    if column.kind == "category" and kinds <= {str, type(None)}:
        codes = {name: float(code) for code, name in enumerate(column.categories)}
        return np.array([math.nan if value is None else codes.get(value, LOOK) for value in values], dtype=np.float64)
    if column.kind in ("number", "integer") and kinds <= {float, int, type(None)}:
        try:
            return _whole(column, np.array(values, dtype=np.float64), rounded=int in kinds)
        except OverflowError:
            pass
    return np.array([_by_hand(column, value) for value in values], dtype=np.float64)


def _by_hand(column: Column, value: Any) -> float:
    found, misfit = read(column, value)
    if misfit is not None:
        return LOOK
    if isinstance(found, str):
        return float(column.categories.index(found))
    return math.nan if found is None else float(found)


def _whole(column: Column, cells: Cells, *, rounded: bool) -> Cells:
    """Numbers as the column takes them. ``rounded``: they may have been whole numbers that a float rounds."""
    import numpy as np

    if rounded:
        cells = np.where(np.abs(cells) >= EXACT, LOOK, cells)
    if column.kind == "integer":
        # Plus zero: the whole number of -0.0 is 0.
        cells = np.where((cells == np.floor(cells)) | np.isnan(cells), cells + 0.0, LOOK)
    return cells


def _from_arrow(column: Column, array: Any) -> Cells:
    import numpy as np
    import pyarrow as pa

    if column.kind == "category":
        return _categories(array, lambda value: _code(column, _plain(value, "category")))
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if (
        pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or (pa.types.is_integer(kind) and column.kind != "boolean")
    ):
        cells = _floats(array)
        if column.kind == "boolean":
            fits = (cells == 0.0) | (cells == 1.0) | np.isnan(cells)
            return np.where(fits, cells + 0.0, LOOK)
        return _whole(column, cells, rounded=pa.types.is_integer(kind))
    if column.kind == "boolean" and pa.types.is_boolean(kind):
        return _floats(array.cast(pa.uint8()))
    return np.where(_nulls(array), math.nan, LOOK)


def _floats(array: Any) -> Cells:
    import pyarrow as pa

    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())  # by way of text to the nearest float; Arrow's own way misses it by a bit
    found: Cells = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _nulls(array: Any) -> Any:
    return array.is_null().to_numpy(zero_copy_only=False)


def _code(column: Column, name: str | None) -> float:
    if name is None:
        return math.nan
    return float(column.categories.index(name)) if name in column.categories else LOOK


def _categories(array: Any, code: Any) -> Cells:
    """Each different value is looked at once."""
    import numpy as np
    import pyarrow as pa

    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = np.array([*(code(value) for value in _listed(encoded.dictionary)), math.nan], dtype=np.float64)
    places = encoded.indices.cast(pa.int64()).fill_null(len(codes) - 1)
    found: Cells = codes[places.to_numpy(zero_copy_only=False)]
    return found


def _from_text(column: Column, array: Any) -> Cells:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind not in ("number", "integer"):
        return _categories(array, lambda text: _by_hand(column, written(column, text)))
    missing = pc.is_in(array, value_set=pa.array(sorted(MISSING), pa.string()))
    known = pc.if_else(missing, None, array)
    try:
        cells = _floats(known)
    except pa.ArrowInvalid:
        known = pc.utf8_trim(known, characters=" \t")
        known = pc.if_else(pc.match_substring_regex(known, f"^{_NUMBER.pattern}$"), known, None)
        cells = _floats(known)
    gone = missing.to_numpy(zero_copy_only=False)
    # Not a number, and not missing either: some other text. And "-0" is the whole number 0, "-0.0" is not.
    odd = (np.isnan(cells) & ~gone) | ((cells == 0.0) & np.signbit(cells))
    cells = np.where(odd, LOOK, cells)
    return _whole(column, cells, rounded=True)


def of_database(contract: Contract, rows: Sequence[dict[str, Any]]) -> Documents:
    """The rows of a query. Many databases have 0 and 1 for false and true, and a number may name a category."""
    kinds = {column.name: column.kind for column in contract.columns if column.kind in ("category", "boolean")}
    for row in rows:
        for name, kind in kinds.items():
            value = row.get(name)
            if kind == "category":
                row[name] = None if plain(value) is None else category_name(value)
            elif type(value) is int and value in (0, 1):
                row[name] = value == 1
    return Documents(rows)
