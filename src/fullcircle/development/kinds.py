"""What kind of values a column of a frame holds."""

from __future__ import annotations

from typing import Any

from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.values import read
from fullcircle.types.contract import Column, Contract, Kind, Value

MOST_CATEGORIES = 100
LARGEST_INTEGER = 2**63 - 1
_YEARS = (1677, 2262)  # what a time in nanoseconds can hold
# What pandas calls the content of a column, whatever type the column itself has.
_KINDS: dict[str, Kind] = {
    "boolean": "boolean",
    "integer": "integer",
    "floating": "number",
    "mixed-integer-float": "number",
    "string": "text",
    "datetime64": "time",
    "datetime": "time",
    "date": "time",
}
_ADVICE = {
    "decimal": 'make it numbers in prepare: frame["x"].astype(float)',
    "bytes": 'make it text in prepare: frame["x"].str.decode("utf-8")',
    "timedelta": 'make it seconds in prepare: frame["x"].dt.total_seconds()',
    "timedelta64": 'make it seconds in prepare: frame["x"].dt.total_seconds()',
    "period": 'make it times in prepare: frame["x"].dt.to_timestamp()',
}
_CAST: dict[Kind, str] = {
    "boolean": 'make it true and false in prepare: frame["x"].astype(bool)',
    "text": 'make it text in prepare: frame["x"].astype(str)',
    "time": 'make it times in prepare: pandas.to_datetime(frame["x"])',
}


def kind_of(series: Any, *, private: bool = False) -> Kind:
    """The kind of a column (a pandas Series, n values).

    Text counts as a category when it has at most 100 distinct values and fewer than half as many as rows; a
    pandas Categorical always does. Raises DataUnfit for a column without any value, of mixed types,
    of lists or other objects, with infinities, or with integers beyond 64 bits. ``private`` keeps its
    values out of the message.
    """
    import pandas as pd

    present = series[series.notna()]
    if present.empty:
        raise _unfit(series.name, "holds no value at all", "only missing values", "leave it out of features")
    if isinstance(series.dtype, pd.CategoricalDtype):
        return "category"
    told = pd.api.types.infer_dtype(present, skipna=True)
    kind = _KINDS.get(told)
    if kind is None:
        advice = _ADVICE.get(told, "make it one type in prepare, or leave it out of features")
        raise _unfit(series.name, "has no type that a model could rely on", _seen(present, told, private), advice)
    if kind in ("integer", "number"):
        _check_range(series.name, present, kind)
    if kind == "time":
        _check_times(series.name, present)
    if kind == "text":
        distinct = present.nunique()
        return "category" if distinct <= MOST_CATEGORIES and distinct < 0.5 * len(present) else "text"
    return kind


def as_declared(series: Any, kind: Kind, *, private: bool = False) -> list[Value]:
    """The values of a column (a pandas Series without missing values) as the kind that a person declared for it.

    They are read as a row's values are: whole floats are integers, numbers are categories by their name ("1001"),
    ISO 8601 text is a time; nothing else is converted. Raises DataUnfit for a value that does not fit.
    """
    if series.empty:
        raise _unfit(series.name, "holds no value at all", "only missing values", "leave it out of features")
    name = str(series.name)
    column = Column(name=name, kind=kind)
    rows = rows_of(series.rename(name).to_frame(), Contract(columns=(column,), label="", task="regression"))
    given = [row[name] for row in rows]
    if kind == "category":
        return given
    found = [read(column, value) for value in given]
    wrong = [misfit.text for _, misfit in found if misfit is not None]
    if wrong:
        told = "" if private else f"; the first: {wrong[0]}"
        raise DataUnfit(
            f"column {name!r} is declared as {kind}, and holds values that are not",
            received=f"{len(wrong)} of {len(found)} values{told}",
            allowed=f"values of the kind {kind}",
            next_step=_CAST.get(kind, "mend the values in prepare").replace('"x"', repr(name))
            + ", or declare another type",
        )
    return [value for value, _ in found]


def _check_range(name: object, present: Any, kind: Kind) -> None:
    low, high = present.min(), present.max()
    if kind == "integer" and (int(low) < -LARGEST_INTEGER or int(high) > LARGEST_INTEGER):
        raise _unfit(name, "holds integers beyond 64 bits", "too large to compute with", "make it text in prepare")
    if kind == "number" and not (abs(float(low)) < float("inf") and abs(float(high)) < float("inf")):
        raise _unfit(name, "holds infinity", "inf", "replace infinities by NaN or a number in prepare")


def _check_times(name: object, present: Any) -> None:
    low, high = present.min(), present.max()
    if low.year <= _YEARS[0] or high.year >= _YEARS[1]:
        advice = "put a missing value in the place of such dates in prepare"
        raise _unfit(name, "holds times that cannot be stored", f"{low} to {high}", advice)


def _seen(present: Any, told: str, private: bool) -> str:
    types = sorted({type(value).__name__ for value in present.iloc[:1000]})
    text = f"{' and '.join(types[:4])} ({told})"
    if private:
        return text
    examples = {type(value).__name__: repr(value)[:40] for value in reversed(list(present.iloc[:1000]))}
    return f"{text}, such as {', '.join(examples[name] for name in types[:4])}"


def _unfit(name: object, what: str, received: str, advice: str) -> DataUnfit:
    return DataUnfit(
        f"column {name!r} {what}",
        received=received,
        allowed="numbers, true and false, text, categories, or times",
        next_step=advice.replace('"x"', repr(str(name))),
    )
