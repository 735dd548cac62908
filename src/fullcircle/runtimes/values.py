"""One value against one column, strictly: nothing is coerced, nothing is rounded, nothing raises.

``true`` is not 1, ``"3"`` is not 3, infinity is not a number, a whole number that the model's type cannot hold
exactly is refused. NaN, None, NaT and pandas' NA are all "missing". Values of numpy and pandas count as the plain
Python values they stand for.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from fullcircle.errors import DataUnfit
from fullcircle.types.contract import Column, Value

EXACT = 2**53
"""Whole numbers up to here are exact in a 64-bit float."""

_EPOCH = datetime(1970, 1, 1)
_FIRST, _LAST = datetime(1677, 9, 22), datetime(2262, 4, 11)
_LONGEST = 60
_LONGEST_LOGGED = 1000


@dataclass(frozen=True)
class Misfit:
    """Why a value does not fit its column. ``text`` may quote the value."""

    reason: Literal["missing", "unseen", "outside", "wrong_type"]
    text: str


MISSING = Misfit("missing", "the value is missing")


def may_be_missing(column: Column) -> bool:
    """Whether the model can get a missing value in this column: it is nullable, or a policy passes one on."""
    return column.nullable or column.missing == "flag" or column.wrong_type == "flag"


def lacking(column: Column) -> DataUnfit:
    """What to raise where the model's frame can hold no missing value in this column, and one is there."""
    return DataUnfit(
        f"the column {column.name!r} has a missing value and may not have one",
        received="missing",
        allowed=f"a value of kind {column.kind}",
        next_step='leave the row out, or make the column nullable in "inputs" of the project file',
    )


def read(column: Column, value: object) -> tuple[Value, Misfit | None]:
    """The plain value the model may see, and the misfit if there is one.

    With a misfit "outside" the value is still usable, with every other it is None. Never raises.
    """
    value = plain(value)
    if value is None:
        return None, None if column.nullable else MISSING
    match column.kind:
        case "number":
            found, problem = _number(value)
        case "integer":
            found, problem = _integer(value, exact_float=may_be_missing(column))
        case "boolean":
            found, problem = (value, None) if isinstance(value, bool) else (None, _wrong("true or false", value))
        case "category":
            found, problem = _category(column, value)
        case "text":
            found, problem = _text(value)
        case "time":
            found, problem = _time(value)
    return found, problem or _range(column, found)


def plain(value: object) -> object:
    """A plain Python value for whatever stands for one in numpy, pandas or a subclass; None for all that is missing.

    Anything else comes back as it is.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, float):
        number = float.__float__(value)
        return None if number != number else number
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, date):
        return None if value != value else value
    return _foreign(value)


def _foreign(value: object) -> object:
    module = type(value).__module__
    if module.startswith("pandas.") and type(value).__name__ == "NAType":
        return None
    if module == "numpy":
        import numpy as np

        if isinstance(value, np.datetime64):
            return None if np.isnat(value) else str(value)
        if isinstance(value, np.bool_ | np.integer | np.floating) and not isinstance(value, np.longdouble):
            return plain(value.item())
    return value


def category_name(value: object) -> str:
    """How a value of a data frame is written as a category: ``1`` and ``1.0`` are both "1"."""
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def is_quantity(value: object) -> bool:
    """Whether a value can be the label of a regression: an int or float (no bool) that a 64-bit float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # exact for whole numbers of any length, and false for NaN


def loggable(value: object) -> Value:
    """A value that the model never sees, as it may be logged: text, a finite number, true or false; else None."""
    value = plain(value)
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_LOGGED and _encodes(value) else None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def quoted(value: object) -> str:
    """A value as it may stand in a message: short, and safe whatever it is."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}... ({len(value)} characters)"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float | datetime):
        return str(value)
    return f"a value of type {type(value).__name__[:_LONGEST]}"


def _wrong(expected: str, value: object) -> Misfit:
    kind = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}.get(
        type(value), "something else"
    )
    return Misfit("wrong_type", f"expected {expected}, got {kind}: {quoted(value)}")


def _number(value: object) -> tuple[Value, Misfit | None]:
    if isinstance(value, float):
        return (value, None) if math.isfinite(value) else (None, _wrong("a finite number", value))
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) <= EXACT or (value.bit_length() <= 1023 and int(float(value)) == value):
            return float(value), None
        return None, _wrong("a number that a 64-bit float holds exactly", value)
    return None, _wrong("a number", value)


def _integer(value: object, *, exact_float: bool) -> tuple[Value, Misfit | None]:
    """``3.0`` is the whole number 3, as JSON Schema has it; ``3.5`` is none."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value), None
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) <= EXACT or (not exact_float and -(2**63) <= value < 2**63):
            return value, None
        return None, _wrong("a whole number that fits", value)
    return None, _wrong("a whole number", value)


def _category(column: Column, value: object) -> tuple[Value, Misfit | None]:
    if not isinstance(value, str):
        return None, _wrong("text (a category)", value)
    if value in column.categories:
        return value, None
    return None, Misfit("unseen", f"{quoted(value)} is none of the {len(column.categories)} known categories")


def _text(value: object) -> tuple[Value, Misfit | None]:
    if not isinstance(value, str):
        return None, _wrong("text", value)
    if value.isascii() or _encodes(value):
        return value, None
    return None, _wrong("text in valid Unicode", value)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(value: object) -> tuple[Value, Misfit | None]:
    """A time is kept in UTC without a zone, to the microsecond; one without a zone is taken as it is."""
    found = value
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            found = datetime(value.year, value.month, value.day)
        if not isinstance(found, datetime):
            return None, _wrong("a time as ISO 8601 text", value)
        if found.tzinfo is not None:
            found = found.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None, _wrong("a time as ISO 8601 text", value)
    if not _FIRST <= found <= _LAST:
        return None, _wrong("a time from 1678 to 2262", value)
    return found.isoformat(timespec="microseconds" if found.microsecond else "seconds"), None


def _range(column: Column, value: Value) -> Misfit | None:
    if column.kind not in ("integer", "number", "time") or value is None:
        return None
    size = _seconds(value) if isinstance(value, str) else value
    low, high = column.low, column.high
    if (low is None or not size < low) and (high is None or not size > high):
        return None
    shown = f"{quoted(value)} is outside {_bound(low)} to {_bound(high)}"
    return Misfit("outside", shown + (f" {column.unit}" if column.unit else ""))


def _seconds(value: str) -> float:
    """Bounds of a time are seconds since 1970."""
    return (datetime.fromisoformat(value) - _EPOCH).total_seconds()


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:.12g}"
