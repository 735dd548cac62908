"""What answers earn by a worth gate: amounts row by row, and their means with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation import procedures
from fullcircle.evaluation.check import Array, Subject, missing
from fullcircle.stats import influence
from fullcircle.stats.intervals import LEVEL
from fullcircle.types.contract import Value
from fullcircle.types.gates import Gate
from fullcircle.types.report import Measure

# What predictions (n,) earn on the subject's rows: n amounts.
Pay = Callable[[Array], Array]


def pay(gate: Gate, subject: Subject) -> Pay:
    """The gate's own way to turn predictions into amounts.

    Raises ProjectInvalid for a matrix that names a class the model does not know, or has no classes to name; the
    returned function raises it where ``per_row`` does not return one finite number per row.
    """
    if gate.matrix is not None:
        return _by_matrix(gate.matrix, subject)
    if gate.per_row is None:
        raise ProjectInvalid(
            "this gate does not say what an answer is worth",
            received=gate.text,
            allowed="fc.worth(per_row=...) or fc.worth(matrix=...)",
            next_step="mend the project file",
        )
    function = gate.per_row
    return lambda predicted: _by_function(function, subject.actual, predicted)


def earn_of(
    gate: Gate, *, model: str, task: Literal["regression", "classification"], classes: tuple[Value, ...]
) -> Callable[[Any, Any], Any]:
    """What answers earn by a worth gate, of labels (n,) and answers (n,) alone: n amounts. Raises as ``pay`` does."""

    def earn(actual: Any, predicted: Any) -> Any:
        subject = Subject(
            model=model,
            task=task,
            actual=actual,
            predicted=predicted,
            baseline=predicted,
            baseline_probabilities=None,
            frame=None,
            features=(),
            classes=classes,
        )
        return pay(gate, subject)(predicted)

    return earn


def constant(subject: Subject, position: int) -> Array:
    """The answer "class number ``position``" for every row, in the type that the model's own answers have."""
    told = subject.classes[position]
    kind = np.asarray([told], dtype=object if isinstance(told, str) and subject.predicted.dtype == object else None)
    one: Array = np.concatenate([np.asarray(subject.predicted)[:0], kind])
    return np.asarray(np.repeat(one, subject.rows))


def codes(values: Array, classes: tuple[Any, ...]) -> Array:
    """Positions in ``classes``, matched by equality; ``len(classes)`` for a value that is not among them."""
    import pandas as pd

    place = {value: position for position, value in enumerate(classes)}
    found, distinct = pd.factorize(np.asarray(values), use_na_sentinel=False)
    known: Array = np.array(
        [place.get(value, len(classes)) for value in np.asarray(distinct).tolist()], dtype=np.intp
    )
    return np.asarray(known[found])


def measure(
    name: str,
    amounts: Array,
    weights: Array | None,
    *,
    unit: str,
    method: str = "t interval",
    same: bool = False,
) -> Measure:
    """The mean of ``amounts`` (n,) with Student's t interval.

    With weights it is the weighted mean, its variance that of a ratio: sum of w² (x - mean)² over (sum of w)², times
    n / (n - 1) (Cochran 1977, ch. 6); weights that are all equal change nothing. Rows of weight zero do not count,
    and ``n`` is how many rows of equal weight tell as much. Amounts that are all alike have no interval, as they do
    not tell how others would be; ``same`` says that they are differences of the same answers, which are 0 for all.
    """
    values, share = amounts, np.ones(len(amounts))
    if weights is not None:
        counted = np.asarray(weights, dtype=float) > 0
        values, share = amounts[counted], np.asarray(weights, dtype=float)[counted]
    rows = len(values)
    if rows == 0:
        return Measure(name=name, value=None, unit=unit, method="no row to judge by", better="higher")
    share = share / share.sum()
    # From the first value on, so that equal amounts have a mean that is exactly theirs.
    centre = float(values[0] + share @ (values - values[0]))
    if rows == 1:
        said = "one row has no interval"
        return Measure(name=name, value=centre, n=1, unit=unit, method=said, better="higher")
    from scipy.special import stdtrit

    worth = influence.whole(share, rows)
    if same and not np.any(values):
        return Measure(
            name=name, value=0.0, low=0.0, high=0.0, n=worth, unit=unit, method=procedures.SAME, better="higher"
        )
    if influence.alike(values - centre, scale=float(np.max(np.abs(values)))):
        said = procedures.ALIKE.format(rows=rows)
        return Measure(name=name, value=centre, n=worth, unit=unit, method=said, better="higher")
    error = float(np.linalg.norm(share * (values - centre))) * math.sqrt(rows / (rows - 1))
    half = float(stdtrit(rows - 1, (1 + LEVEL) / 2)) * error
    said = method if weights is None else f"{method}, weighted"
    low, high = centre - half, centre + half
    return Measure(name=name, value=centre, low=low, high=high, n=worth, unit=unit, method=said, better="higher")


def scaled(found: Measure, name: str, *, times: float, unit: str) -> Measure:
    """The same measure for ``times`` (not negative) as much, under another name."""
    value, low, high = (None if each is None else each * times for each in (found.value, found.low, found.high))
    return replace(found, name=name, value=value, low=low, high=high, unit=unit)


def _by_function(per_row: Callable[[Any, Any], Any], actual: Array, predicted: Array) -> Array:
    """One number per row. Copies are handed over: the function is the user's own and may change what it gets."""
    answer = per_row(actual.copy(), predicted.copy())
    values = np.asarray(answer, dtype=float)
    if values.shape != actual.shape or missing(values):
        raise ProjectInvalid(
            "per_row in worth(...) did not return one finite number per row",
            received=f"shape {values.shape}, {missing(values)} of them not finite",
            allowed=f"shape {actual.shape}",
            next_step="let per_row(actual, predicted) work on whole arrays, for example numpy.where(...)",
        )
    return values


def _by_matrix(matrix: Mapping[tuple[Any, Any], float], subject: Subject) -> Pay:
    """Amounts from a table. A label that the model does not know earns nothing, like every pair left out."""
    known = ", ".join(repr(each) for each in subject.classes)
    place = {value: position for position, value in enumerate(subject.classes)}
    strange = [pair for pair in matrix if not all(each in place for each in pair)]
    if strange:
        raise ProjectInvalid(
            "matrix in worth(...) names a class that the model does not know",
            received=", ".join(repr(pair) for pair in strange),
            allowed=f"pairs (actual, predicted) of {known}" if known else "per_row=...: a regression has no classes",
            next_step="mend the matrix in the project file",
        )
    size = len(subject.classes) + 1
    table: Array = np.zeros((size, size))
    for (actual, predicted), amount in matrix.items():
        table[place[actual], place[predicted]] = amount
    rows = codes(subject.actual, subject.classes)
    return lambda predicted: table[rows, codes(predicted, subject.classes)]
