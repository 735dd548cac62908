"""One column of a contract as JSON Schema. Of a private column there is no value in it."""

from __future__ import annotations

from typing import Any

from fullcircle.runtimes.values import read
from fullcircle.types.contract import Column, Contract, Value

Schema = dict[str, Any]

_EXAMPLES = 5
_TIME = (
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?$"
)
_TYPES = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "category": "string",
    "text": "string",
    "time": "string",
}
# What stands in an example for a private value that a row may not leave out.
_NEUTRAL: dict[str, Value] = {"integer": 0, "number": 0.0, "boolean": False, "time": "2000-01-01T00:00:00"}


def of(contract: Contract, column: Column) -> Schema:
    """The schema of a value of this column."""
    kind = _TYPES[column.kind]
    free = optional(contract, column)
    found: Schema = {"type": [kind, "null"] if free else kind}
    if column.label:
        found["title"] = column.label
    found["description"] = _described(column)
    if column.kind == "category" and not column.private:
        found |= _categories(contract, column, free)
    if column.kind == "time":
        found["pattern"] = _TIME
    if column.kind in ("integer", "number"):
        found |= _bounds(contract, column)
    if not column.private:
        if column.missing == "impute" and free and not column.nullable:
            found["default"] = column.fill
        if column.kind in ("integer", "number", "time", "boolean") and column.fill is not None:
            found["examples"] = [column.fill]
    return found


def _categories(contract: Contract, column: Column, free: bool) -> Schema:
    if _acts(contract, column, column.unseen):
        return {"examples": list(column.categories[:_EXAMPLES])}
    return {"enum": [*column.categories, *([None] if free else [])]}


def _bounds(contract: Contract, column: Column) -> Schema:
    """Limits of the type, and of the hard range where a row outside is rejected and the range tells no secret."""
    low, high = (-(2**63), 2**63 - 1) if column.kind == "integer" else (None, None)
    found: Schema = {} if low is None else {"minimum": low, "maximum": high}
    if column.private or _acts(contract, column, column.outside):
        return found
    for key, bound, tighter in (("minimum", column.low, max), ("maximum", column.high, min)):
        if bound is not None:
            found[key] = tighter(found.get(key, bound), bound)
    return found


def _described(column: Column) -> str:
    """What a person has to know of a column: its unit, what is usual, what becomes of a value that does not fit."""
    told = [f"In {column.unit}." if column.unit else ""]
    if column.private:
        told.append("Private: " + ("logged as a keyed hash." if column.hashed else "not logged."))
    elif column.usual_low is not None and column.usual_high is not None:
        told.append(f"Usually {column.usual_low:g} to {column.usual_high:g}.")
    if column.kind == "time":
        told.append("A time as ISO 8601 text; without a zone it is UTC.")
        if column.low is not None or column.high is not None:
            told.append(f"Outside its range: {column.outside}.")
    elif column.kind == "category":
        told.append(f"Another category: {column.unseen}.")
    elif column.kind in ("integer", "number") and not (column.low is None and column.high is None):
        told.append(f"Outside its range: {column.outside}.")
    told.append(f"Missing: {'allowed' if column.nullable else column.missing}.")
    return " ".join(part for part in told if part)


def optional(contract: Contract, column: Column) -> bool:
    """Whether a row without a value of this column is answered, in one way or another."""
    return column.nullable or _acts(contract, column, column.missing)


def _acts(contract: Contract, column: Column, policy: str) -> bool:
    """Whether a policy lets a row through: one that has nothing to put in the place of a value rejects it."""
    if policy == "impute":
        value, misfit = read(column, column.fill)
        return value is not None and (misfit is None or misfit.reason == "outside")
    if policy == "fallback":
        return contract.prior is not None
    return policy == "flag"


def rejects_unknown(contract: Contract) -> bool:
    """Whether a row with a column that the model does not have is rejected."""
    return contract.unknown == "reject" or (contract.unknown == "fallback" and contract.prior is None)


def example(column: Column) -> Value:
    """A value that fits, the fill where it does; None for a private column that may be left out."""
    neutral = _NEUTRAL.get(column.kind, "text")
    if column.private:
        return None if column.nullable else neutral
    bounds = [column.low, column.high] if column.kind in ("integer", "number") else []
    for one in (column.fill, *column.categories[:1], *bounds, neutral):
        value, misfit = read(column, one)
        if value is not None and misfit is None:
            return value
    return neutral
