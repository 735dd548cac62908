"""A first look at a table's columns: what they hold, which is the label, which is the time, which name a row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Look = Literal["whole numbers", "numbers", "yes or no", "categories", "text", "times", "nothing usable"]

# As the contract tells categories from free text: at most this many, in fewer than half as many rows.
_MOST_CATEGORIES = 100
# A label of at most this many whole values is taken for classes where its name says class.
_MOST_CLASSES = 10
_CLASS_NAMES = {"class", "label", "target", "species", "diagnosis"}
# Names that say "predict me", the surest first.
_LABELS = (
    *("target", "label", "class", "outcome", "response", "churn", "churned", "default", "defaulted", "survived"),
    *("fraud", "is_fraud", "diagnosis", "progression", "species", "cnt", "y"),
    *("price", "sale_price", "saleprice", "sales", "demand"),
)
_TIMES = re.compile(r"time|date|day|(^|_)(dt|ts|at|when)($|_)|stamp|created|started|month|year", re.IGNORECASE)
_NO_EVENT = re.compile(r"birth|dob|expir|(^|_)due($|_)|updated|modified|deleted", re.IGNORECASE)
_ID = re.compile(
    r"(^|[_\s.-])(id|ids|uid|uuid|guid)($|[_\s.-])|^(index|key|instant|row|rownum|row_?number)$|^unnamed", re.I
)
_CAMEL_ID = re.compile(r"[a-z](ID|Id|UUID|Uuid)$")
_DATE = r"\s*\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True)
class Column:
    """What a column holds. ``distinct`` counts different values, ``gaps`` is the share of missing ones."""

    name: str
    look: Look
    distinct: int
    rows: int
    gaps: float

    @property
    def usable(self) -> bool:
        """Whether gradient boosting can learn from it as it is."""
        return self.look in ("whole numbers", "numbers", "yes or no", "categories") and self.distinct > 1


def look_at(series: Any) -> Column:
    """Look at one column (a pandas Series)."""
    present = series[series.notna()]
    rows = len(series)
    gaps = 1.0 - len(present) / rows if rows else 0.0
    distinct = _distinct(present)
    look: Look = _look(present, distinct) if len(present) and distinct else "nothing usable"
    return Column(str(series.name), look, distinct, rows, gaps)


def _distinct(present: Any) -> int:
    try:
        return int(present.nunique())
    except TypeError:  # lists and the like, which have no hash
        return 0


def _look(present: Any, distinct: int) -> Look:
    import numpy as np
    import pandas as pd

    kind = present.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return "categories" if distinct <= _MOST_CATEGORIES else "text"
    if pd.api.types.is_bool_dtype(kind):
        return "yes or no"
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "times"
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        values = present.to_numpy(dtype=float)
        if not np.isfinite(values).all():
            return "nothing usable"
        return "whole numbers" if bool(np.all(values == np.round(values))) else "numbers"
    told = pd.api.types.infer_dtype(present, skipna=True)
    if told == "boolean":
        return "yes or no"
    if told in ("date", "datetime"):
        return "times"
    if told != "string":
        return "nothing usable"
    if (
        present.str.match(_DATE).all()
        and pd.to_datetime(present, errors="coerce", format="ISO8601", utc=True).notna().all()
    ):
        return "times"
    return "categories" if distinct <= _MOST_CATEGORIES and distinct < 0.5 * len(present) else "text"


def label_of(columns: list[Column]) -> tuple[Column, str] | None:
    """The column that is most likely to be predicted, and why; None where no column can be."""
    able = {column.name: column for column in columns if _can_be_label(column)}
    plain = {re.sub(r"[\s.-]+", "_", name.strip()).lower(): column for name, column in able.items()}
    for wanted in _LABELS:
        # Beside x and z, y is a direction.
        if wanted in plain and not (wanted == "y" and "z" in plain):
            return plain[wanted], "its name says so"
    for column in reversed(columns):
        if column.name in able:
            last = column is columns[-1]
            return column, "it is the last column" if last else "it is the last column that can be predicted"
    return None


def _can_be_label(column: Column) -> bool:
    return column.usable and not id_name(column.name)


def task_of(column: Column) -> tuple[Literal["regression", "classification"], str]:
    """The task that a label suggests, and why."""
    if column.look in ("categories", "yes or no"):
        return "classification", f"the label has {column.distinct} classes"
    if column.look == "whole numbers" and column.distinct == 2:
        return "classification", "the label has two values"
    words = re.split(r"[\W_]+", column.name.lower())
    if column.look == "whole numbers" and column.distinct <= _MOST_CLASSES and _CLASS_NAMES & set(words):
        return "classification", f"the label has {column.distinct} whole values and is named like a class"
    return "regression", "the label is a number with many values" if column.distinct > 10 else "the label is a number"


def time_of(frame: Any, columns: list[Column]) -> tuple[Column, str] | None:
    """The column that most likely says when a row happened, and why. Only columns that are dates in every row."""
    able = [column for column in columns if column.look == "times" and column.gaps == 0.0 and column.distinct > 1]
    able = [column for column in able if not _NO_EVENT.search(column.name)]
    for column in able:
        if frame[column.name].is_monotonic_increasing:
            return column, "it holds a date in every row, and the rows are in its order"
    for column in able:
        if _TIMES.search(column.name):
            return column, "it holds a date in every row, and its name says when"
    return None


def named_as_id(column: Column) -> str:
    """That a column's name says that it identifies rows, or ""."""
    return "its name says that it identifies something" if id_name(column.name) else ""


def id_name(name: str) -> bool:
    """Whether a name says that it identifies something: id, uuid, customer_id, CustomerID, Unnamed: 0."""
    return bool(_ID.search(name.strip()) or _CAMEL_ID.search(name.strip()))


def names_rows(series: Any, column: Column) -> str:
    """Why a column identifies rows rather than describes them, or ""."""
    present = series[series.notna()]
    unique = column.distinct == len(present) and len(present) > 1
    if column.look in ("text", "categories") and unique:
        return "every value occurs once: it identifies the row"
    if column.look == "whole numbers" and unique:
        if present.is_monotonic_increasing or present.is_monotonic_decreasing:
            return "whole numbers that only go up or down, one per row: it counts the rows"
        if float(present.max()) - float(present.min()) < 1.05 * len(present):
            return "each whole number of a range once: it counts the rows"
    return ""
