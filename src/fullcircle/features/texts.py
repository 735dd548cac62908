"""Rows as a person types them, KEY=VALUE, in the types that a view declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from fullcircle.errors import RequestInvalid
from fullcircle.features.definitions import outputs
from fullcircle.features.kinds import FLOATS, INTEGERS
from fullcircle.types.definitions import ViewSpec

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "text": "text"}


def row(spec: ViewSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """A row to ask a view with: keys, request columns, and features to be used as they are given.

    Raises RequestInvalid for a name that the view does not know, a key that lacks, and a value of another type.
    """
    known = _known(spec)
    unknown = [name for name in given if name not in known]
    absent = [name for name in spec.key_columns if name not in given]
    if unknown or absent:
        raise RequestInvalid(
            f"view {spec.name!r} knows no such column" if unknown else f"view {spec.name!r} needs its keys",
            received=", ".join(unknown or given) or "nothing",
            allowed=", ".join(f"{name} ({_word(kind)})" for name, kind in known.items()),
            next_step=f"see: fullcircle features show {spec.name}",
        )
    return {name: _value(name, text, known[name]) for name, text in given.items()}


def _known(spec: ViewSpec) -> dict[str, str]:
    """The kind of everything that a caller may send: keys first."""
    return {**spec.kinds_of_keys, **spec.request, **outputs(spec)}


def _value(name: str, text: str, kind: str) -> Any:
    read = _reader(kind)
    try:
        if read is not None:
            return read(text)
    except (ValueError, KeyError, ArithmeticError):
        pass
    raise RequestInvalid(
        f"the value of {name} cannot be read",
        received=text,
        allowed=_word(kind) if read is not None else f"nothing: a value of the kind {kind} cannot be typed",
        next_step=f"write {name}=VALUE with such a value" if read is not None else f"leave {name} out",
    )


def _reader(kind: str) -> Callable[[str], Any] | None:
    if kind == "int" or kind in INTEGERS:
        return int
    if kind == "float" or kind in FLOATS:
        return float
    if kind.startswith("decimal"):
        return Decimal
    if kind.startswith("time["):
        return datetime.fromisoformat
    plain: dict[str, Callable[[str], Any]] = {
        "bool": lambda text: _BOOLEANS[text.lower()],
        "str": str,
        "text": str,
        "date": date.fromisoformat,
    }
    return plain.get(kind)


def _word(kind: str) -> str:
    if kind in INTEGERS:
        return _WORDS["int"]
    if kind in FLOATS or kind.startswith("decimal"):
        return _WORDS["float"]
    if kind == "date" or kind.startswith("time["):
        return "a day such as 2026-11-23" if kind == "date" else "a time such as 2026-11-23T18:00:00"
    return _WORDS.get(kind, kind)
