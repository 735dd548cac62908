"""What a column of a feature table may hold: a kind is written as text, and means one Arrow type and one packed form.

    int8 ... int64, uint8 ... uint64, float32, float64, bool, text, bytes, date,
    time[s], time[ms], time[us], time[ns], and with a zone time[us,UTC]; decimal(10,2); list<KIND>

Nothing is cast through a float on its way: what was written is what is read, offline and online.
"""

from __future__ import annotations

import re
from typing import Any

from fullcircle.errors import FeatureInvalid

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
_TIME = re.compile(r"time\[(s|ms|us|ns)(?:,([^\]]+))?\]")
_DECIMAL = re.compile(r"decimal\((\d+),(-?\d+)\)")
_LIST = re.compile(r"list<(.+)>")
_MOST_DIGITS = 38


def kind_of(kind: Any, column: str) -> str:
    """The kind of an Arrow type. Raises FeatureInvalid for one that no feature can have."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type, column)
    if types.is_integer(kind) or kind in (pa.float32(), pa.float64()):
        return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
    if types.is_boolean(kind):
        return "bool"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "bytes"
    if types.is_date(kind):
        return "date"
    if types.is_timestamp(kind):
        return f"time[{kind.unit},{kind.tz}]" if kind.tz else f"time[{kind.unit}]"
    if types.is_decimal(kind) and kind.precision <= _MOST_DIGITS:
        return f"decimal({kind.precision},{kind.scale})"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"list<{kind_of(kind.value_type, column)}>"
    raise FeatureInvalid(
        f"the column {column!r} has a type that no feature can have",
        received=str(kind),
        allowed="integers, floats, booleans, text, bytes, dates, times, decimals, and lists of these",
        next_step="turn it into one of these, or leave the column out",
    )


def arrow_type(kind: str) -> Any:
    """The Arrow type that columns of a kind are kept in."""
    import pyarrow as pa

    plain = {"bool": pa.bool_(), "text": pa.large_string(), "bytes": pa.large_binary(), "date": pa.date32()}
    if kind in plain:
        return plain[kind]
    if kind in INTEGERS or kind in FLOATS:
        return getattr(pa, kind)()
    if match := _TIME.fullmatch(kind):
        return pa.timestamp(match[1], tz=match[2])
    if match := _DECIMAL.fullmatch(kind):
        return pa.decimal128(int(match[1]), int(match[2]))
    if match := _LIST.fullmatch(kind):
        return pa.list_(arrow_type(match[1]))
    raise FeatureInvalid("a kind cannot be read", received=repr(kind), next_step="see fullcircle.features.kinds")


def is_integer(kind: str) -> bool:
    """Whether sums of this kind are whole numbers."""
    return kind in INTEGERS or kind == "bool"


def is_number(kind: str) -> bool:
    """Whether this kind can be summed."""
    return is_integer(kind) or kind in FLOATS


def is_time(kind: str) -> bool:
    """Whether this kind is a moment or a day."""
    return kind == "date" or kind.startswith("time[")


def unit_and_zone(kind: str) -> tuple[str, str | None]:
    """Of a time: its unit and its zone, None for a time without one."""
    match = _TIME.fullmatch(kind)
    if match is None:
        raise FeatureInvalid("a kind is no time", received=repr(kind), next_step="see fullcircle.features.kinds")
    return match[1], match[2]


def inner(kind: str) -> str | None:
    """Of a list, the kind of its elements; None for anything else."""
    match = _LIST.fullmatch(kind)
    return match[1] if match else None
