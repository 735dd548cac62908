"""Learn the contract from training rows: each input's kind, what is usual in it, and the policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fullcircle.development.facts import facts_of, most_frequent
from fullcircle.development.kinds import as_declared, kind_of
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid
from fullcircle.runtimes.values import EXACT, category_name, may_be_missing, read
from fullcircle.types.contract import Column, Contract, Kind, Value
from fullcircle.types.overrides import POLICY_KEYS
from fullcircle.types.project import Inputs


@dataclass(frozen=True)
class Learned:
    """A contract, and for each column the facts that training rows alone told: what a person said is not in them."""

    contract: Contract
    facts: Mapping[str, Mapping[str, Any]]


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
    return study(frame, features=features, label=label, task=task, inputs=inputs).contract


def study(
    frame: Any,
    *,
    features: Sequence[str],
    label: str,
    task: Literal["regression", "classification"],
    inputs: Inputs | None = None,
) -> Learned:
    """The contract as ``learn`` gives it, with what was learned apart from what a person said."""
    inputs = inputs or Inputs()
    absent = [name for name in (*features, label) if name not in frame.columns]
    if absent:
        raise ColumnMissing(
            "the training rows lack a column", received=", ".join(absent), next_step="check the project's features"
        )
    if not len(frame):
        raise DataUnfit("there are no training rows", received="0 rows", next_step="check the data and the split")
    found = {name: _column(frame[name], name, inputs) for name in features}
    contract = Contract(
        columns=tuple(column for column, _ in found.values()),
        label=label,
        task=task,
        classes=() if task == "regression" else _classes(frame[label]),
        unknown=inputs.unknown,
        failed=inputs.failed,
        prior=_prior(frame[label], task),
        label_name=inputs.label_name,
        label_unit=inputs.label_unit,
    )
    return Learned(contract, {name: facts for name, (_, facts) in found.items()})


def _column(series: Any, name: str, inputs: Inputs) -> tuple[Column, dict[str, Any]]:
    given = dict(inputs.columns.get(name, {}))
    private = bool(given.get("private") or given.get("hashed"))
    declared: Kind | None = given.pop("type", None)
    kind = declared or kind_of(series, private=private)
    gaps = bool(series.isna().any())
    if gaps and given.get("nullable") is False:
        raise DataUnfit(
            f"column {name!r} is declared as never missing, and is missing in training rows",
            received=f"{int(series.isna().sum())} of {len(series)} rows",
            next_step="fill the gaps in prepare, or take nullable out of inputs.columns",
        )
    present = series[series.notna()]
    if declared is not None:
        present = _converted(present, kind, private=private)
    facts = {"nullable": gaps, **facts_of(present, kind, given.get("how", ""), name)}
    if private:
        facts |= {"usual_low": None, "usual_high": None}  # values that occur: they would travel with the bundle
    policies = {key: getattr(inputs, key) for key in POLICY_KEYS}
    column = Column(**{"name": name, "kind": kind, **policies, **facts, **_said(name, kind, facts, given)})
    if "fill" in given:
        column = replace(column, fill=_constant(column, given["fill"]))
    _check_categories(column, present, given)
    _check_exact(column, series if declared is None else present)
    return column, {"kind": kind, **facts}


def _converted(present: Any, kind: Kind, *, private: bool) -> Any:
    """The values of a declared kind, of the dtype that such a column would have had by itself."""
    import pandas as pd

    values = as_declared(present, kind, private=private)
    if kind == "category":
        return pd.Series(pd.Categorical(values, categories=_in_order(present, values)), index=present.index)
    if kind == "time":
        return pd.Series(pd.to_datetime(values, format="ISO8601"), index=present.index)
    return pd.Series(values, index=present.index)


def _in_order(present: Any, names: list[Value]) -> list[Value]:
    """The names of categories in the order of what they name: 2 before 10. A Categorical has its own order."""
    if hasattr(present, "cat"):
        return list(dict.fromkeys(category_name(category) for category in present.cat.categories))
    named = dict(zip(names, present.tolist(), strict=True))
    try:
        return sorted(named, key=lambda name: named[name])
    except TypeError:  # of several types
        return sorted(named, key=str)


def _said(name: str, kind: Kind, facts: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a person said, checked against the kind and put in the column's own types."""
    said = dict(given)
    for low, high in (("low", "high"), ("usual_low", "usual_high")):
        _check_range(name, kind, {**facts, **given}, given, low, high)
        for side in (low, high):
            if said.get(side) is not None:
                said[side] = float(said[side])
    if "categories" in given:
        if kind != "category":
            raise _misfit(name, "categories", given["categories"], f'no categories, or the type "category" to {kind}')
        said["categories"] = tuple(given["categories"])
    if "fill" in given:
        said["how"] = "constant"
    return said


def _constant(column: Column, fill: Value) -> Value:
    """A fill that a person gave, as the model would see it."""
    value, misfit = read(column, fill)
    if misfit is not None:
        raise _misfit(column.name, "fill", fill, f"a {column.kind} that the column allows: {misfit.text}")
    return value


def _check_categories(column: Column, present: Any, given: Mapping[str, Any]) -> None:
    """Categories that a person lists have to cover the training rows: others would be lost on the model."""
    if "categories" not in given:
        return
    names = [category_name(value) for value in present.unique()]
    strange = sorted(set(names) - set(column.categories))
    if strange:
        shown = f"{len(strange)} others" if column.private else ", ".join(repr(name) for name in strange[:5])
        raise DataUnfit(
            f"column {column.name!r} holds categories that are not among those declared",
            received=shown + (f" and {len(strange) - 5} more" if len(strange) > 5 and not column.private else ""),
            allowed=", ".join(column.categories[:10]),
            next_step="add them to the declared categories, or mend the values in prepare",
        )
    if column.fill not in column.categories:
        raise _misfit(column.name, "categories", column.categories, f"the fill among them: {column.fill!r}")


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
        return _plain(most_frequent(labels))
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


def _check_range(
    name: str, kind: Kind, merged: Mapping[str, Any], given: Mapping[str, Any], low_key: str, high_key: str
) -> None:
    sides = [side for side in (low_key, high_key) if given.get(side) is not None]
    if not sides:
        return
    if kind not in ("integer", "number", "time") or (kind == "time" and low_key != "low"):
        raise _misfit(name, sides[0], given[sides[0]], f"no range, because the column is of kind {kind}")
    low, high = merged.get(low_key), merged.get(high_key)
    if low is not None and high is not None and low > high:
        raise _misfit(name, sides[0], f"a range from {low:g} to {high:g}", f"{low_key} not above {high_key}")


def _misfit(name: str, key: str, value: object, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(
        f"inputs.columns[{name!r}][{key!r}] does not fit",
        received=repr(value),
        allowed=allowed,
        next_step="mend it in the project file or the contract file",
    )
