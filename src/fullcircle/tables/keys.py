"""A stable number for each row, made of what is in it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
_EXACT = 2**53  # integers up to here are floats without loss
_STEP = np.uint64(0x9E3779B97F4A7C15)


def row_keys(frame: Any, *, seed: int = 0) -> Keys:
    """One 64-bit key per row (n,): equal for rows that hold the same values under the same column names.

    The same on every machine and pandas version. Neither the order of columns nor their storage matters: 1, 1.0
    and True are one value, None, NaN and NaT are one, a category is its text, a time is its moment in UTC.
    Another ``seed`` gives unrelated keys.
    """
    total = np.full(len(frame), _mix(np.array([seed & (2**64 - 1)], dtype=np.uint64))[0], dtype=np.uint64)
    for name in frame.columns:
        salt = np.uint64(_digest(f"column {name}"))
        total += _mix(_values(frame[name]) ^ salt)
    return _mix(total)


def family(column: Any) -> str:
    """What a column holds as far as keys go: number, time, text or object."""
    import pandas as pd

    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return family(kind.categories.to_series())
    if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_numeric_dtype(kind):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "time"
    if pd.api.types.is_object_dtype(kind):
        found = pd.api.types.infer_dtype(column, skipna=True)
        return {
            "string": "text",
            "empty": "text",
            "integer": "number",
            "floating": "number",
            "boolean": "number",
        }.get(found, "number" if found == "mixed-integer-float" else "object")
    return "text" if pd.api.types.is_string_dtype(kind) else "object"


def _values(column: Any) -> Keys:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        kinds = _values(column.cat.categories.to_series())
        return np.asarray(np.append(kinds, _MISSING)[column.cat.codes.to_numpy()])
    kind = family(column)
    if kind == "number":
        return _numbers(column)
    if kind == "time":
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
        moments = naive.to_numpy().astype("datetime64[us]").view(np.int64)
        return np.where(column.isna().to_numpy(), _MISSING, _mix(moments.view(np.uint64) ^ _TIME))
    codes, distinct = pd.factorize(column.map(_text, na_action="ignore"))
    kinds = np.array([_digest(f"text {value}") for value in distinct], dtype=np.uint64)
    return np.asarray(np.append(kinds, _MISSING)[codes])


def _numbers(column: Any) -> Keys:
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, np.dtype):
        raw = column.to_numpy()
    else:
        raw = column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0)
    if raw.dtype == object:
        raw = column.where(~missing, 0).infer_objects().to_numpy()
        raw = raw.astype(np.float64) if raw.dtype == object else raw
    floats = raw.astype(np.float64) + 0.0  # -0.0 becomes 0.0
    keys = _mix(floats.view(np.uint64) ^ _NUMBER)
    if raw.dtype.kind in "iu":
        large = (raw > _EXACT) | (raw < -_EXACT)
        keys = np.where(large, _mix(keys ^ raw.astype(np.uint64)), keys)
    return np.where(missing, _MISSING, keys)


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{type(value).__name__} {value}"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(values: Keys) -> Keys:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014): every bit of the input moves every bit out."""
    mixed = values + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


_MISSING = np.uint64(0x5851F42D4C957F2D)
_NUMBER = np.uint64(0x14057B7EF767814F)
_TIME = np.uint64(0x2545F4914F6CDD1D)
