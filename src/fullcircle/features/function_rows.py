"""Rows through an on-demand function: one by one or as arrays, and no row hurts or changes another."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from fullcircle.features.function_text import refused
from fullcircle.features.kinds import is_number
from fullcircle.types.definitions import FunctionSpec

if TYPE_CHECKING:
    import numpy as np

Columns = Mapping[str, "Sequence[Any] | np.ndarray[Any, Any]"]
_WANTED = {
    "int": "no whole number of 64 bits",
    "float": "no finite number",
    "bool": "no truth value",
    "str": "no text",
}
_PLAIN = frozenset({int, float, bool, str, NoneType})
_EXACT = 2**53


@dataclass(frozen=True)
class Failed:
    """A row that has no answer, and why, without any value of it."""

    text: str


TOO_WIDE = Failed("an integer beyond 2**53 has no exact float64, which a vectorized function takes")


def compute(
    spec: FunctionSpec,
    call: Callable[..., Any],
    columns: Columns,
    n: int,
    *,
    kinds: Mapping[str, str] | None = None,
) -> list[Any]:
    """The answers to n rows in order: plain values of the declared kind, None where missing, or Failed.

    ``columns`` holds the inputs, None or NaN where missing. ``kinds`` says of which kind a column is ("int64",
    "text", "float"): a vectorized function gets what is missing as NaN in numbers and in columns of unknown kind, as
    None in all else. A row on which the function raises or whose answer does not fit is Failed; its neighbours are
    answered all the same.
    """
    given = [values_of(spec, columns, name, n) for name in spec.inputs]
    with _quiet():
        if not spec.vectorized:
            return [_single(spec, call, row) for row in zip(*given, strict=True)]
        answers: list[Any] = [TOO_WIDE] * n
        for forms, places in _groups(spec, given, kinds or {}).items():
            if "wide" not in forms:
                arrays = [
                    _array(form, [values[place] for place in places])
                    for form, values in zip(forms, given, strict=True)
                ]
                for place, answer in zip(places, _together(spec, call, arrays), strict=True):
                    answers[place] = answer
        return answers


def _quiet() -> AbstractContextManager[Any]:
    """Whoever calls may have told numpy to warn or raise: an answer must not depend on that."""
    numpy = sys.modules.get("numpy")
    return nullcontext() if numpy is None else numpy.errstate(all="ignore")


def values_of(spec: FunctionSpec, columns: Columns, name: str, n: int) -> list[Any]:
    """One input as plain Python values, None where missing."""
    found = columns.get(name, ())
    if len(found) != n or getattr(getattr(found, "dtype", None), "kind", None) in ("M", "m"):
        raise refused(
            f"a column for the on-demand function {spec.name!r} cannot be used",
            f"{name}: {len(found)} values of {getattr(found, 'dtype', 'Python')}",
            "pass a column for each input, times as texts or objects",
            allowed=f"{n} values",
        )
    values = list(found.tolist() if hasattr(found, "tolist") else found)
    if not _PLAIN.issuperset(map(type, values)):
        values = [_plain(value) for value in values]
    return [None if value != value else value for value in values]


def _plain(value: Any) -> Any:
    """What numpy wraps, as Python has it."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return value.tolist() if kind and kind in "biufUS" and getattr(value, "shape", None) == () else value


def _groups(
    spec: FunctionSpec, given: Sequence[Sequence[Any]], kinds: Mapping[str, str]
) -> dict[tuple[str, ...], list[int]]:
    """The places of the rows that one call may answer: what an array is depends on no other row."""
    objects = {name for name, kind in kinds.items() if not is_number(kind) and kind not in ("int", "float")}
    forms = [
        [_form(value, name in objects) for value in values] for name, values in zip(spec.inputs, given, strict=True)
    ]
    found: dict[tuple[str, ...], list[int]] = {}
    for place, each in enumerate(zip(*forms, strict=True)):
        found.setdefault(each, []).append(place)
    return found


def _form(value: Any, is_object: bool) -> str:
    if value is None:
        return "object" if is_object else "number"
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        return "wide"
    return "number" if isinstance(value, int | float) else "object"


def _array(form: str, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if form == "number":
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    return np.fromiter(values, dtype=object, count=len(values))


def _single(spec: FunctionSpec, call: Callable[..., Any], row: tuple[Any, ...]) -> Any:
    try:
        return _fit(spec.returns, call(*row))
    except Exception as error:  # noqa: BLE001 - foreign code, and one row must not hurt another
        return _raised(error)


def _raised(error: Exception) -> Failed:
    return Failed(f"the function could not answer this row ({type(error).__name__})")


def _together(spec: FunctionSpec, call: Callable[..., Any], arrays: Sequence[np.ndarray[Any, Any]]) -> list[Any]:
    """The answers of one call. A batch that fails is halved until the culprit is alone."""
    n = len(arrays[0])
    for array in arrays:
        array.flags.writeable = False
    try:
        return [_fit(spec.returns, value) for value in _shaped(call(*arrays), n)]
    except Exception as error:  # noqa: BLE001 - foreign code, and one row must not hurt another
        if n == 1:
            return [_raised(error)]
    first = [array[: n // 2].copy() for array in arrays]
    second = [array[n // 2 :].copy() for array in arrays]
    return _together(spec, call, first) + _together(spec, call, second)


def shape_of(answers: Any) -> tuple[int, ...]:
    """The shape of what a vectorized function returned."""
    import numpy as np

    return np.shape(answers)


def _shaped(answers: Any, n: int) -> list[Any]:
    if shape_of(answers) != (n,) or getattr(getattr(answers, "dtype", None), "kind", None) in ("M", "m"):
        raise ValueError(f"answers of shape {shape_of(answers)} to {n} rows, or times")
    return list(answers.tolist() if hasattr(answers, "tolist") else answers)


def _fit(returns: str, answer: Any) -> Any:
    """An answer as a plain value of its kind, None where it is missing, or Failed."""
    value = _plain(answer)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (is_number and value != value):
        return None
    if returns == "bool" and isinstance(value, bool):
        return value
    if returns == "str" and isinstance(value, str):
        value.encode()  # a lone half of a character cannot be sent to anybody
        return str.__str__(value)
    if returns == "float" and is_number and math.isfinite(value):
        return float(value)
    if returns == "int" and is_number and value == value // 1 and -(2**63) <= value < 2**63:
        return int(value)
    return Failed(f"the function's answer to this row is {_WANTED[returns]}")
