"""Learn the contract from training rows: each input's kind, what is usual in it, and the policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fullcircle.development.kinds import kind_of
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid
from fullcircle.runtimes.values import EXACT, category_name, may_be_missing
from fullcircle.types.contract import Column, Contract, Kind, Value
from fullcircle.types.project import Inputs

MARGIN = 0.1  # of the span between the smallest and the largest training value, on each side
_QUANTILES = (0.01, 0.5, 0.99)


def learn(
    frame: Any,
    *,
    features: Sequence[str],
    label: str,
    task: Literal["regression", "classification"],
    inputs: Inputs | None = None,
) -> Contract:
    """The contract of the columns ``features`` of ``frame`` (training rows, a pandas DataFrame).

    Numbers get a hard range (the training range and a tenth of its span more on either side, integers rounded
    outward, never across zero when no training value is negative) and a usual range (the central 98 %). A time has
    no range unless one is declared (seconds since 1970): tomorrow is always later than the training rows.
    ``inputs.columns`` wins over what was learned. Raises ColumnMissing, DataUnfit for a column whose kind
    cannot be told or a label that cannot be learned, ProjectInvalid for an override that does not fit.
    """
    inputs = inputs or Inputs()
    absent = [name for name in (*features, label) if name not in frame.columns]
    if absent:
        raise ColumnMissing(
            "the training rows lack a column", received=", ".join(absent), next_step="check the project's features"
        )
    if not len(frame):
        raise DataUnfit("there are no training rows", received="0 rows", next_step="check the data and the split")
    return Contract(
        columns=tuple(_column(frame[name], name, inputs) for name in features),
        label=label,
        task=task,
        classes=() if task == "regression" else _classes(frame[label]),
        unknown=inputs.unknown,
        prior=_prior(frame[label], task),
    )


def _column(series: Any, name: str, inputs: Inputs) -> Column:
    given = dict(inputs.columns.get(name, {}))
    _check_overrides(name, given)
    kind = kind_of(series, private=bool(given.get("private")))
    gaps = bool(series.isna().any())
    if gaps and given.get("nullable") is False:
        raise DataUnfit(
            f"column {name!r} is declared as never missing, and is missing in training rows",
            received=f"{int(series.isna().sum())} of {len(series)} rows",
            next_step="fill the gaps in prepare, or take nullable out of inputs.columns",
        )
    learned: dict[str, Any] = {
        "missing": inputs.missing,
        "unseen": inputs.unseen,
        "outside": inputs.outside,
        "wrong_type": inputs.wrong_type,
        "nullable": gaps,
        **_facts(series[series.notna()], kind),
    }
    if given.get("private"):
        learned |= {"usual_low": None, "usual_high": None}  # values that occur: they would travel with the bundle
    _check_range(name, kind, {**learned, **given}, given)
    for side in ("low", "high"):
        if given.get(side) is not None:
            given[side] = float(given[side])
    column = Column(**{"name": name, "kind": kind, **learned, **given})
    _check_exact(column, series)
    return column


def _check_exact(column: Column, series: Any) -> None:
    """A missing value makes integers floats, which hold no more than 53 bits of them."""
    if column.kind != "integer" or not may_be_missing(column):
        return
    largest = max(abs(int(series.min())), abs(int(series.max())))
    if largest > EXACT:
        raise DataUnfit(
            f"column {column.name!r} holds integers too large to stay exact beside missing values",
            received=str(largest),
            allowed=f"up to {EXACT}, or no missing values",
            next_step="make it text or a number in prepare, or fill the gaps and reject missing values",
        )


def _facts(present: Any, kind: Kind) -> dict[str, Any]:
    if kind in ("integer", "number"):
        return _numeric(present, kind)
    if kind == "boolean":
        return {"fill": bool(present.astype(bool).mean() >= 0.5)}
    if kind == "category":
        return {"categories": _categories(present), "fill": category_name(_most_frequent(present))}
    if kind == "time":
        return {"fill": _middle_time(present)}
    return {"fill": ""}


def _numeric(present: Any, kind: Kind) -> dict[str, Any]:
    import numpy as np

    values = present.to_numpy(dtype="float64")
    smallest, largest = float(values.min()), float(values.max())
    margin = MARGIN * (largest - smallest)
    if not math.isfinite(margin):
        margin = 0.0  # a span beyond what a double holds
    low, high = smallest - margin, largest + margin
    if smallest >= 0.0:
        low = max(0.0, low)
    if kind == "integer":
        low, high = float(math.floor(low)), float(math.ceil(high))
    # Values that occur, not averages of neighbours: an average of two enormous numbers overflows.
    usual_low, middle, usual_high = np.quantile(values, _QUANTILES, method="inverted_cdf").tolist()
    return {
        "low": low,
        "high": high,
        "usual_low": usual_low,
        "usual_high": usual_high,
        "fill": int(middle) if kind == "integer" else middle,
    }


def _categories(present: Any) -> tuple[str, ...]:
    """The categories that occur: in the declared order of a Categorical, else in the alphabet's."""
    seen = set(present.unique())
    declared = list(present.cat.categories) if hasattr(present, "cat") else sorted(seen)
    return tuple(dict.fromkeys(category_name(category) for category in declared if category in seen))


def _most_frequent(present: Any) -> Any:
    """The most frequent value; of several the first in order, so that equal data gives an equal contract."""
    counts = present.value_counts()
    return min(counts.index[counts == counts.max()].tolist(), key=lambda value: (str(type(value)), value))


def _middle_time(present: Any) -> str:
    import pandas as pd

    ordered = pd.to_datetime(present).sort_values()
    middle: str = ordered.iloc[(len(ordered) - 1) // 2].isoformat()
    return middle


def _classes(labels: Any) -> tuple[Value, ...]:
    if labels.isna().any():
        raise DataUnfit(
            "the label is missing in training rows",
            received=f"{int(labels.isna().sum())} of {len(labels)} rows",
            next_step="leave rows without a label out in prepare",
        )
    return tuple(sorted((_plain(value) for value in labels.unique()), key=lambda value: (str(type(value)), value)))


def _prior(labels: Any, task: str) -> Value:
    if task == "classification":
        return _plain(_most_frequent(labels))
    mean = float(labels.mean())
    if not math.isfinite(mean):
        raise DataUnfit("the label has no finite mean", received=mean, next_step="look at the label's values")
    return mean


def _plain(value: Any) -> Value:
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, str | bool | int | float):
        raise DataUnfit(
            "a class label is neither text, a number nor true or false",
            received=type(plain).__name__,
            next_step="make the label text in prepare",
        )
    return plain


def _check_overrides(name: str, given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if key in ("private", "nullable"):
            fits, allowed = isinstance(value, bool), "True or False"
        elif key in ("label", "unit"):
            fits, allowed = isinstance(value, str), "text"
        elif key in ("low", "high"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits, allowed = value is None or (number and math.isfinite(value)), "a finite number, or None"
        else:
            continue  # policies were checked where they were declared
        if not fits:
            raise _misfit(name, key, value, allowed)


def _check_range(name: str, kind: Kind, merged: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    sides = [side for side in ("low", "high") if given.get(side) is not None]
    if not sides:
        return
    if kind not in ("integer", "number", "time"):
        raise _misfit(name, sides[0], given[sides[0]], f"no range, because the column is of kind {kind}")
    low, high = merged.get("low"), merged.get("high")
    if low is not None and high is not None and low > high:
        raise _misfit(name, sides[0], f"a range from {low:g} to {high:g}", "low not above high")


def _misfit(name: str, key: str, value: object, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(
        f"inputs.columns[{name!r}][{key!r}] does not fit",
        received=repr(value),
        allowed=allowed,
        next_step="mend it in the project file",
    )
