"""What the training values of one column tell: its range, its categories, and what would fill a gap."""

from __future__ import annotations

import math
from typing import Any

from fullcircle.errors import DataUnfit, ProjectInvalid
from fullcircle.runtimes.values import category_name
from fullcircle.types.contract import How, Kind, Value

MARGIN = 0.1  # of the span between the smallest and the largest training value, on each side
_QUANTILES = (0.01, 0.5, 0.99)
_WAYS: dict[Kind, tuple[How, ...]] = {
    "integer": ("median", "most_frequent"),
    "number": ("median", "mean", "most_frequent"),
    "boolean": ("most_frequent",),
    "category": ("most_frequent",),
    "text": ("constant", "most_frequent"),
    "time": ("median", "most_frequent"),
}
"""How a gap of each kind may be filled; the first is the default. A constant may be given for every kind."""


def facts_of(present: Any, kind: Kind, how: How, name: str) -> dict[str, Any]:
    """Range, usual range, categories, ``fill`` and ``how`` of a column without missing values (a pandas Series).

    ``how`` is what a person asked for, "" or "constant" for the default of the kind (then training tells what it
    would have filled). Raises ProjectInvalid for a way that this kind has not.
    """
    found: dict[str, Any] = {}
    if kind in ("integer", "number"):
        found = _range(present, kind)
    elif kind == "category":
        found = {"categories": _categories(present)}
    ways = _WAYS[kind]
    used = ways[0] if how in ("", "constant") else how
    if used not in ways:
        raise ProjectInvalid(
            f"inputs.columns[{name!r}]['how'] does not fit",
            received=repr(how),
            allowed=f"{', '.join(dict.fromkeys((*ways, 'constant')))}, because the column is of kind {kind}",
            next_step="mend it in the project file or the contract file",
        )
    return {**found, "fill": _fill(present, kind, used, name), "how": used}


def most_frequent(present: Any) -> Any:
    """The most frequent value; of several the first in order, so that equal data gives an equal contract."""
    counts = present.value_counts()
    return min(counts.index[counts == counts.max()].tolist(), key=lambda value: (str(type(value)), value))


def _range(present: Any, kind: Kind) -> dict[str, Any]:
    import numpy as np

    values = present.to_numpy(dtype="float64")
    smallest, largest = float(values.min()), float(values.max())
    margin = MARGIN * (largest - smallest)
    if not math.isfinite(margin):
        margin = 0.0  # a span beyond what a double holds
    low, high = smallest - margin, largest + margin
    if smallest >= 0.0:
        low = max(0.0, low)
    # Twelve digits are as good a limit as sixteen, and 40.28 is easier to review than 40.279999999999994.
    low, high = min(float(f"{low:.12g}"), smallest), max(float(f"{high:.12g}"), largest)
    if kind == "integer":
        low, high = float(math.floor(low)), float(math.ceil(high))
    # Values that occur, not averages of neighbours: an average of two enormous numbers overflows.
    usual_low, usual_high = np.quantile(values, (_QUANTILES[0], _QUANTILES[2]), method="inverted_cdf").tolist()
    return {"low": low, "high": high, "usual_low": usual_low, "usual_high": usual_high}


def _categories(present: Any) -> tuple[str, ...]:
    """The categories that occur: in the declared order of a Categorical, else in the alphabet's."""
    seen = set(present.unique())
    declared = list(present.cat.categories) if hasattr(present, "cat") else sorted(seen)
    return tuple(dict.fromkeys(category_name(category) for category in declared if category in seen))


def _fill(present: Any, kind: Kind, how: How, name: str) -> Value:
    if kind == "boolean":
        return bool(present.astype(bool).mean() >= 0.5)
    if kind == "text":
        return "" if how == "constant" else str(most_frequent(present))
    if kind == "category":
        return category_name(most_frequent(present))
    if kind == "time":
        return _time(present, how)
    return _number(present, kind, how, name)


def _number(present: Any, kind: Kind, how: How, name: str) -> Value:
    import numpy as np

    values = present.to_numpy(dtype="float64")
    if how == "median":
        (middle,) = np.quantile(values, _QUANTILES[1:2], method="inverted_cdf").tolist()
    elif how == "mean":
        middle = _mean(values.tolist(), name)
    else:
        middle = most_frequent(present)
    return int(middle) if kind == "integer" else float(middle)


def _mean(values: list[float], name: str) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError as error:
        raise DataUnfit(
            f"column {name!r} has no mean that a 64-bit float holds",
            allowed='how "median" or "most_frequent"',
            next_step="fill it in another way",
        ) from error


def _time(present: Any, how: How) -> str:
    import pandas as pd

    times = pd.to_datetime(present)
    if how == "most_frequent":
        found: str = most_frequent(times).isoformat()
        return found
    ordered = times.sort_values()
    middle: str = ordered.iloc[(len(ordered) - 1) // 2].isoformat()
    return middle
