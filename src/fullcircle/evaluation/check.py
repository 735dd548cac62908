"""The contract of a check: one question about a model, answered with numbers.

A check is a class without arguments, registered in the entry-point group ``fullcircle.checks``. One instance is
made for each evaluation and used by one thread. It owns nothing of the subject: it must not change its arrays
or its frame. It may be slow but must be bounded, and says in its finding when it looked at a sample. With
the same subject it gives the same measures (what is measured of the machine apart: units
"ms", "rows a second", "MB"). It may raise anything: the
evaluation turns that into a finding of severity bad, and every gate that needs its measures says no.
``fullcircle.testing.checks.CheckSuite`` tests all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import DataUnfit, PredictionInvalid
from fullcircle.types.contract import Column, Value
from fullcircle.types.gates import Gate
from fullcircle.types.prediction import Prediction
from fullcircle.types.project import Serving
from fullcircle.types.report import Finding

Array = NDArray[Any]
Frame = Any  # a pandas DataFrame; pandas is loaded by those who make one


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the model learned from, m rows: all columns, the same as the model saw them, and the labels.

    ``fit`` trains a model of the same kind on rows like ``inputs`` and labels, and returns an object with ``predict``
    (and ``predict_proba``, ``classes_``); None where only the fitted model is known. It may be slow.
    """

    frame: Frame
    inputs: Frame
    actual: Array
    fit: Callable[[Frame, Array], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and its answers on n test rows. Rows that the contract rejects are left out by who makes it.

    ``actual`` and ``predicted`` are numbers for regression, labels for classification, length n. ``probabilities``
    is n x k in the order of ``classes``, or None where the model gives none; of two classes the second is the
    positive one. ``weights`` (n, not negative) say how many rows each stands for, None: one. ``baseline`` is what the
    trivial model answers for each row (training mean or most frequent class), ``baseline_probabilities`` the class
    shares in training, n x k. ``champion`` and ``champion_probabilities`` are the present champion's answers on
    the same rows (NaN or None in a row that it rejects), columns in the order of this subject's ``classes``;
    None where there is no champion. Where the
    main metric needs probabilities and a rival has none, the comparison is unknown and the gate says no.

    ``frame`` holds all columns of the test rows, ``inputs`` the ``features`` alone as the model sees them.
    ``protected`` are columns of ``frame`` whose groups are compared, ``time`` the one with the time of a row.
    ``columns`` describes features: display names, units, kinds.

    What is not known is None, and a check that needs it is skipped: ``predict`` and ``predict_probabilities`` ask
    the model about frames like ``inputs``; ``judge`` scores rows like those of ``frame`` through contract and model;
    ``score_one`` does so for one row (a mapping); ``train`` is what the model learned from; ``model_bytes`` the size
    of its file.
    """

    model: str
    task: Literal["regression", "classification"]
    actual: Array
    predicted: Array
    baseline: Array
    baseline_probabilities: Array | None
    champion: Array | None = None
    champion_probabilities: Array | None = None
    frame: Frame
    features: Sequence[str]
    classes: tuple[Value, ...] = ()
    probabilities: Array | None = None
    weights: Array | None = None
    gates: Sequence[Gate] = ()
    seed: int = 0
    label: str = ""
    unit: str = ""
    currency: str = ""
    protected: Sequence[str] = ()
    time: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict)
    serving: Serving | None = None
    inputs: Frame | None = None
    predict: Callable[[Frame], Array] | None = None
    predict_probabilities: Callable[[Frame], Array] | None = None
    judge: Callable[[Frame], Sequence[Prediction]] | None = None
    score_one: Callable[[Mapping[str, Any]], object] | None = None
    train: Training | None = None
    model_bytes: int | None = None

    @property
    def rows(self) -> int:
        """The number of test rows."""
        return len(self.actual)

    def refuse_unfit(self) -> None:
        """Raise DataUnfit or PredictionInvalid where no true number could come out of this subject."""
        rows = self.rows
        if rows == 0:
            raise DataUnfit("there are no test rows to evaluate on", next_step="give more rows")
        if len(self.frame) != rows:
            raise DataUnfit("the frame and the labels differ in length", received=f"{len(self.frame)} and {rows}")
        if missing(self.actual):
            raise DataUnfit(
                "labels of test rows are missing",
                received=f"{missing(self.actual)} of {rows}",
                allowed="a label in every row",
                next_step="leave out rows without a label in prepare",
            )
        if self.weights is not None:
            _weights(self.weights, rows)
        for name in ("predicted", "baseline"):
            _answers(name, getattr(self, name), rows)
        for name in ("probabilities", "baseline_probabilities"):
            _shares(name, getattr(self, name), (rows, len(self.classes)))
        if self.champion is not None:
            _shape("champion", self.champion, (rows,))
        if self.champion_probabilities is not None:
            _shape("champion_probabilities", self.champion_probabilities, (rows, len(self.classes)))

    def champion_answered(self) -> Array:
        """Which rows the champion answered, length n; none where there is no champion."""
        if self.champion is None:
            return np.zeros(self.rows, dtype=bool)
        answered = ~absent(self.champion)
        if self.champion_probabilities is not None:
            answered &= np.isfinite(np.asarray(self.champion_probabilities, dtype=float)).all(axis=1)
        return np.asarray(answered)


@dataclass(frozen=True)
class Skipped:
    """A check that does not apply to a subject says why, in half a sentence."""

    reason: str


class Check(Protocol):
    """One question about a model.

    ``name`` is the registered name, ``code`` a stable code such as E001, ``measures`` the names of the measures for
    all rows that gates may ask for by at_most and at_least, beyond the table of metrics.
    """

    name: str
    code: str
    measures: tuple[str, ...]

    def run(self, subject: Subject) -> Finding | Skipped:
        """Answer the question for this subject."""
        ...


def absent(values: Array) -> Array:
    """Which entries are None, NaN, NaT or infinite."""
    array = np.asarray(values)
    if array.dtype.kind in "fc":
        return np.asarray(~np.isfinite(array))
    if array.dtype.kind in "mM":
        return np.asarray(np.isnat(array))
    if array.dtype.kind == "O":
        gone = [_gone(value) for value in array.ravel().tolist()]
        return np.array(gone, dtype=bool).reshape(array.shape)
    return np.zeros(array.shape, dtype=bool)


def _gone(value: object) -> bool:
    """None, NaN, NaT, or pandas' NA, which is neither true nor false when it is compared."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def missing(values: Array) -> int:
    """How many entries are None, NaN, NaT or infinite."""
    return int(absent(values).sum())


def _weights(values: Array, rows: int) -> None:
    array = np.asarray(values)
    numbers = array.dtype.kind in "iuf" and array.shape == (rows,) and bool(np.isfinite(array).all())
    if not numbers or bool((array < 0).any()) or not array.sum() > 0:
        raise DataUnfit(
            "weights are no weights",
            received=f"{array.dtype} of shape {array.shape}",
            allowed=f"{rows} finite numbers, none negative, not all zero",
            next_step="give one weight per row, or none at all",
        )


def _answers(name: str, values: Array | None, rows: int) -> None:
    if values is None:
        return
    _shape(name, values, (rows,))
    if missing(values):
        raise PredictionInvalid(
            f"{name} holds answers that are no number or class",
            received=f"{missing(values)} of {rows}",
            allowed="a finite number or a class for every row",
            next_step="see which rows the model cannot answer",
        )


def _shares(name: str, values: Array | None, shape: tuple[int, int]) -> None:
    if values is None:
        return
    _shape(name, values, shape)
    array = np.asarray(values, dtype=float)
    if not np.all((array >= 0.0) & (array <= 1.0 + 1e-9)) or not np.allclose(array.sum(axis=1), 1.0, atol=1e-4):
        raise PredictionInvalid(
            f"{name} holds values that are no probabilities",
            received=f"{np.nanmin(array):g} to {np.nanmax(array):g}",
            allowed="0 to 1 in every cell, 1 in the sum of every row",
            next_step="let predict_proba return probabilities",
        )


def _shape(name: str, values: Array, shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise PredictionInvalid(
            f"{name} has the wrong shape",
            received=str(np.shape(values)),
            allowed=f"{shape}: one row per test row" + (", one column per class" if len(shape) == 2 else ""),
            next_step="let the model answer every row once",
        )
