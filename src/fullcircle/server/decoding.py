"""From the bytes of a prediction request to the matrix of its rows, at the speed of the JSON decoder.

A struct made from the contract lets through exactly what needs no second look: every column of the contract once in
every row, with a value of its type, and nothing else but context columns. Whatever is not so (a missing key, an
unknown one, another type, a key twice) is not judged here: the caller decodes the body again, strictly, and judges
each row by hand.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fullcircle.runtimes.encoding import LOOK, Encoder
from fullcircle.runtimes.values import EXACT, loggable
from fullcircle.server.strict import colons
from fullcircle.tables.predictions import kept_back
from fullcircle.tables.private import public
from fullcircle.types.contract import Column, Contract

if TYPE_CHECKING:
    from fullcircle.runtimes.encoding import Matrix

# From here on a float may stand for another whole number than was sent.
_INTEGER = Annotated[int, msgspec.Meta(gt=-EXACT, lt=EXACT)]
_NUMBER = Annotated[float, msgspec.Meta(gt=float(-EXACT), lt=float(EXACT))]
_TYPES: dict[str, Any] = {"number": _NUMBER, "integer": _INTEGER, "boolean": bool, "category": str}
_PLAIN: dict[str, type] = {"number": float, "integer": int, "boolean": bool, "category": str}
_ONLY = {kind: {kind} for kind in _PLAIN.values()}
_SCALAR = str | int | float | bool | None
_encode = msgspec.json.encode
_STRANGE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')  # what a struct's field cannot be called


def decodable(contract: Contract) -> bool:
    """Whether there can be a decoder: every column stands in a matrix, and has a name that a struct can have."""
    names = (*contract.names, *contract.context)
    return all(column.kind in _TYPES for column in contract.columns) and not any(map(_STRANGE.search, names))


class Decoder:
    """Decodes the requests for one contract. Holds no state; one for each loaded version."""

    def __init__(self, contract: Contract, encoder: Encoder) -> None:
        self._columns = len(contract.columns)
        self._codes = [(place, codes) for place, codes in enumerate(encoder.codes) if codes is not None]
        self._context = contract.context
        self._kept_back = kept_back(contract)
        self._names = contract.names
        self._kinds = [(column.name, column.kind, column.nullable) for column in contract.columns]
        self._plain = not any(self._kept_back) and not self._context
        self._row, self._decoder = _structs(contract)
        self._pack = struct.Struct(f"{self._columns}d").pack
        self.numbers = not self._context and all(column.kind == "number" for column in contract.columns)
        """Whether ``table`` can be asked."""

    def rows(self, body: bytes) -> list[Any] | None:
        """The rows as structs, at least one; None where the body needs a second look."""
        try:
            request: Any = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        found = request.rows
        if found is msgspec.UNSET:
            rows = self._turned(request.columns)
            members = 1 + self._columns + self._brought(request.columns)
        else:
            rows = found if request.columns is msgspec.UNSET else None
            members = 1 + len(found) * self._columns + sum(map(self._brought, found))
        # A key that occurs twice: the decoder lets the last one win, but it is written with a colon of its own.
        if not rows or (members != body.count(b":") and members != colons(body)):
            return None
        return rows

    def _turned(self, columns: Any) -> list[Any] | None:
        """Columns as rows; None where they are not there, or of different lengths."""
        if columns is msgspec.UNSET:
            return None
        values = _tuple(columns)
        if len({len(one) for one in values if one is not msgspec.UNSET}) != 1:
            return None
        count = len(values[0])
        return [self._row(*row) for row in zip(*(_filled(one, count) for one in values), strict=True)]

    def _brought(self, row: Any) -> int:
        """How many of the context columns a row brings along."""
        if not self._context or row is msgspec.UNSET:
            return 0
        return sum(value is not msgspec.UNSET for value in _tuple(row)[self._columns :])

    def turned(self, columns: Mapping[str, list[Any]]) -> list[Any] | None:
        """Rows as structs, of columns of plain values that are all of one length.

        A whole number may stand as a float and the other way round, where nothing is lost. None where a column is
        missing or strange, or a value needs a second look.
        """
        lists: list[list[Any]] = []
        for name, kind, nullable in self._kinds:
            values = _fitted(kind, columns[name], nullable=nullable) if name in columns else None
            if values is None:
                return None
            lists.append(values)
        count, strange = len(lists[0]), len(columns) - len(lists)
        for name in self._context:
            strange -= name in columns
            lists.append(columns[name] if name in columns else [msgspec.UNSET] * count)
        return None if strange else [self._row(*row) for row in zip(*lists, strict=True)]

    def getter(self, names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]] | None:
        """What gets the values of these columns from a row that ``rows`` gave; None where it has not all of them."""
        known = {name: f"c{place}" for place, name in enumerate(self._names)}
        known |= {name: f"x{place}" for place, name in enumerate(self._context) if name not in known}
        if not names or not known.keys() >= set(names):
            return None
        get = attrgetter(*(known[name] for name in names))
        return get if len(names) > 1 else lambda row: (get(row),)

    def table(self, values: Sequence[float | None]) -> list[Any]:
        """Rows as structs, of numbers row by row. Only where every column is a number, and there is no context."""
        if len(values) == self._columns:
            return [self._row(*values)]
        return list(starmap(self._row, zip(*[iter(values)] * self._columns, strict=True)))

    def packed(self, values: Sequence[float | None]) -> Matrix | None:
        """The matrix of these rows, at less cost than by ``matrix``; None where a value is missing."""
        try:
            return _matrix(bytearray(struct.pack(f"{len(values)}d", *values)), self._columns)
        except struct.error:  # a missing value
            return None

    def listed(self, columns: Sequence[Sequence[float | None]]) -> list[Any]:
        """The same of one list for each column, in order."""
        return list(starmap(self._row, zip(*columns, strict=True)))

    def structs(self, values: Sequence[Mapping[str, Any]], contexts: Sequence[Mapping[str, Any] | None]) -> list[Any]:
        """Rows as structs from judged values and what each brought along."""
        unset = msgspec.UNSET
        return [
            self._row(*row.values(), *((context or {}).get(name, unset) for name in self._context))
            for row, context in zip(values, contexts, strict=True)
        ]

    def matrix(self, rows: Sequence[Any]) -> Matrix:
        """The matrix of rows that ``rows`` gave, shape (n, columns); LOOK where a category is not known."""
        coded = self._codes or self._context
        values: list[Sequence[Any]] = [self._coded(row) for row in rows] if coded else list(map(_tuple, rows))
        try:
            return _matrix(bytearray().join(starmap(self._pack, values)), self._columns)
        except struct.error:  # a missing value
            import numpy as np

            return np.array(values, dtype=np.float64)

    def _coded(self, row: Any) -> list[Any]:
        """The values of a row, with a number for each category."""
        values = list(_tuple(row)[: self._columns])
        for place, codes in self._codes:
            found = values[place]
            values[place] = math.nan if found is None else codes.get(found, LOOK)
        return values

    def logged(self, rows: Sequence[Any], key: bytes = b"") -> list[bytes]:
        """Rows as the log keeps them: what stands behind ``"inputs":`` in JSON, and ``context`` where there is some.

        Private values are left out, or hashed with ``key`` where the contract says so.
        """
        if self._plain:
            return list(map(_encode, rows))
        return [self._kept(row, key) for row in rows]

    def _kept(self, row: Any, key: bytes) -> bytes:
        values = _tuple(row)
        inputs = public(dict(zip(self._names, values, strict=False)), *self._kept_back, key)
        if not self._context:
            return _encode(inputs)
        context = {
            name: loggable(value)
            for name, value in zip(self._context, values[self._columns :], strict=True)
            if value is not msgspec.UNSET
        }
        shown = public(context, *self._kept_back, key)
        return _encode(inputs) + b',"context":' + _encode(shown)


_tuple = msgspec.structs.astuple


def _matrix(packed: bytearray, width: int) -> Matrix:
    """The matrix of numbers in 64 bits each, row by row. It may be written to."""
    import numpy as np

    return np.frombuffer(packed).reshape(-1, width)


def _filled(values: Any, count: int) -> list[Any]:
    return [msgspec.UNSET] * count if values is msgspec.UNSET else list(values)


def _fitted(kind: str, values: list[Any], *, nullable: bool) -> list[Any] | None:
    """Values of the type of a column's kind; None where one is of another, or may not be exact in a float."""
    wanted = _PLAIN[kind]
    if len(values) == 1 and wanted is not int and type(values[0]) is wanted:
        return values
    kinds = set(map(type, values))
    if nullable:
        kinds.discard(type(None))
    if kinds == _ONLY[wanted] and wanted is not int:
        return values
    if wanted in (str, bool) or not kinds <= {int, float}:
        return values if not kinds else None  # nothing but missing values
    if int in kinds and not all(value is None or -EXACT < value < EXACT for value in values):
        return None
    if wanted is int and float in kinds:
        if not all(value is None or (-EXACT < value < EXACT and value == int(value)) for value in values):
            return None
        return [None if value is None else int(value) for value in values]
    return values if kinds <= _ONLY[wanted] else [None if value is None else float(value) for value in values]


def _structs(contract: Contract) -> tuple[type, msgspec.json.Decoder[Any]]:
    """The struct of a row, and a decoder of requests: ``{"rows": [{...}]}`` or ``{"columns": {NAME: [...]}}``."""
    kinds = [(f"c{place}", _type(column)) for place, column in enumerate(contract.columns)]
    others = [f"x{place}" for place in range(len(contract.context))]
    unset, missing = msgspec.UnsetType, msgspec.UNSET
    names = dict(zip([name for name, _ in kinds], contract.names, strict=True))
    names |= dict(zip(others, contract.context, strict=True))
    row = msgspec.defstruct(
        "Row",
        [*kinds, *((name, _SCALAR | unset, missing) for name in others)],
        rename=names,
        forbid_unknown_fields=True,
        gc=False,
    )
    columns = msgspec.defstruct(
        "Columns",
        [
            *((name, list[kind]) for name, kind in kinds),  # type: ignore[valid-type]
            *((name, list[_SCALAR] | unset, missing) for name in others),
        ],
        rename=names,
        forbid_unknown_fields=True,
    )
    request = msgspec.defstruct(
        "Request",
        [("rows", list[row] | unset, missing), ("columns", columns | unset, missing)],  # type: ignore[valid-type]
        forbid_unknown_fields=True,
    )
    return row, msgspec.json.Decoder(request)


def _type(column: Column) -> Any:
    kind = _TYPES[column.kind]
    return kind | None if column.nullable else kind
