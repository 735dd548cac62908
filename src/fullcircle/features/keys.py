"""Keys are compared as keys: part by part, in their own type, never written one after another as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import Any

import msgspec

from fullcircle.errors import DataUnfit
from fullcircle.features.kinds import INTEGERS, kind_of

_ENCODER = msgspec.msgpack.Encoder()
_EPOCH = date(1970, 1, 1).toordinal()
ALLOWED = "integers, text, booleans or dates"


def key_kind(kind: Any, name: str, what: str) -> str:
    """The kind of a key column's type: "int", "text", "bool" or "date". Raises DataUnfit for any other."""
    found = kind_of(kind, name)
    if found in INTEGERS:
        return "int"
    if found in ("text", "bool", "date"):
        return found
    hint = "integers with missing values become floats in pandas: use astype('Int64')" if "float" in found else ""
    raise DataUnfit(
        f"the key column {name!r} of {what} is of a type that keys cannot have",
        received=str(kind),
        allowed=ALLOWED,
        next_step=hint or "turn it into one of these",
    )


def key_columns(table: Any, names: Sequence[str], what: str) -> list[Any]:
    """The key columns of a table: int64, large_string, bool or date32. Raises DataUnfit for a null."""
    import pyarrow as pa

    wanted = {"int": pa.int64(), "text": pa.large_string(), "bool": pa.bool_(), "date": pa.date32()}
    found = []
    for name in names:
        column = table.column(name)
        kind = key_kind(column.type, name, what)
        if column.null_count:
            raise DataUnfit(
                f"the key column {name!r} of {what} has missing values",
                received=f"{column.null_count} of {len(column)} rows",
                allowed="a key in every row",
                next_step="leave those rows out",
            )
        try:
            found.append(column.cast(wanted[kind]))
        except pa.ArrowInvalid as error:
            raise DataUnfit(
                f"the key column {name!r} of {what} holds an integer of more than 63 bits",
                received=str(error).splitlines()[0],
                allowed="integers below 2**63",
                next_step="make it text",
            ) from error
    return found


def check_alike(left: Sequence[Any], right: Sequence[Any], names: Sequence[str], what: str) -> None:
    """Raise DataUnfit where the keys of two tables are not of the same types."""
    for name, a, b in zip(names, left, right, strict=True):
        if a.type != b.type:
            raise DataUnfit(
                f"the key {name!r} has another type in {what}",
                received=f"{a.type} against {b.type}",
                allowed="the same type on both sides",
                next_step="cast one of them",
            )


def encode(columns: Sequence[Any]) -> list[bytes]:
    """One key for each row of key columns as ``key_columns`` gives them. Different keys give different bytes."""
    import pyarrow as pa

    lists = [
        column.cast(pa.int32()).to_pylist() if column.type == pa.date32() else column.to_pylist()
        for column in columns
    ]
    return encode_rows(zip(*lists, strict=True))


def encode_rows(rows: Iterable[Sequence[Any]]) -> list[bytes]:
    """One key for each tuple of plain values; dates are days since 1970."""
    pack = _ENCODER.encode
    return [pack(row) for row in rows]


def plain_key(value: Any, kind: str) -> Any:
    """A key part as a caller sends it, in the form that is encoded; None where it is not of this kind."""
    if kind == "text":
        return value if isinstance(value, str) and _is_text(value) else None
    if kind == "bool":
        return bool(value) if type(value) is bool or type(value).__name__ in ("bool_", "bool") else None
    if kind == "date":
        return _day(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None


def key_value(value: Any, kind: str) -> Any:
    """A key part as a caller sends it, as training has it; None where it is not of this kind."""
    found = plain_key(value, kind)
    return date.fromordinal(found + _EPOCH) if kind == "date" and found is not None else found


def _day(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime) and value.time() != time():
        return None  # a moment is no day
    return value.toordinal() - _EPOCH if isinstance(value, date) else None


def _is_text(value: str) -> bool:
    """Whether a text has no half of a character that UTF-8 cannot hold."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def codes(groups: Sequence[Sequence[Any]]) -> list[Any]:
    """Whole numbers for the keys of several tables, the same number for the same key: one int64 array per table."""
    import numpy as np
    import pyarrow as pa

    sizes = [len(columns[0]) for columns in groups]
    total = np.zeros(sum(sizes), dtype=np.int64)
    for parts in zip(*groups, strict=True):
        both = pa.concat_arrays([piece for part in parts for piece in _pieces(part)]) if sum(sizes) else None
        if both is None:
            continue
        encoded = both.dictionary_encode()
        column = np.asarray(encoded.indices, dtype=np.int64)
        size = max(1, len(encoded.dictionary))
        if int(total.max(initial=0) + 1) > (2**62) // size:
            total = np.unique(total, return_inverse=True)[1]
        total = total * size + column
    return np.split(total, np.cumsum(sizes)[:-1]) if sizes else []


def _pieces(column: Any) -> list[Any]:
    return list(column.chunks) if hasattr(column, "chunks") else [column]
