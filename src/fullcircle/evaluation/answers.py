"""Answers beside the truth, in the form that metrics read.

Labels are compared as codes: positions in ``classes``, followed by labels that the model does not know, so strings,
numbers and booleans are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import DataUnfit
from fullcircle.evaluation.check import Subject
from fullcircle.stats import influence
from fullcircle.types.contract import Value

Array = NDArray[Any]
Task = Literal["regression", "classification"]
_EXACT = 2**53


@dataclass(frozen=True)
class Answers:
    """Answers on n rows beside the truth. Labels are codes; ``probabilities`` is n x ``known``, or None.

    ``weights`` are None where every row counts once.
    """

    actual: Array
    predicted: Array
    probabilities: Array | None = None
    known: int = 0
    labels: int = 0
    weights: Array | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.actual)

    def at(self, rows: Array) -> Answers:
        """The same for a selection of rows (positions, repeated ones allowed)."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Answers(self.actual[rows], self.predicted[rows], probabilities, self.known, self.labels, weights)

    def strange(self) -> bool:
        """Whether a row is of a class, or answered with one, that the model does not know."""
        if self.labels <= self.known or not self.rows:
            return False
        return bool(max(self.actual.max(), self.predicted.max()) >= self.known)

    def uneven(self) -> Array | None:
        """The weights as floats; None where all rows weigh the same."""
        if self.weights is None or not self.rows or bool(self.weights.min() == self.weights.max()):
            return None
        return np.asarray(self.weights, dtype=float)

    @property
    def worth(self) -> int:
        """How many rows of equal weight would tell as much (Kish), whole ones: what decides whether rows are few."""
        return influence.whole(self.uneven(), self.rows)


def answers(
    task: Task,
    actual: Array,
    predicted: Array,
    probabilities: Array | None = None,
    classes: Sequence[Value] = (),
    weights: Array | None = None,
) -> Answers:
    """Put answers beside the truth. For classification labels become codes.

    Raises DataUnfit for whole numbers that a float cannot hold: differences of such labels would be wrong.
    """
    if task == "regression":
        return Answers(_floats("labels", actual), _floats("answers", predicted), weights=weights)
    codes: dict[Any, int] = {value: position for position, value in enumerate(classes)}
    coded = [_coded(np.asarray(labels), codes) for labels in (actual, predicted)]
    shares = None if probabilities is None else np.asarray(probabilities, dtype=float)
    return Answers(coded[0], coded[1], shares, len(classes), len(codes), weights)


def _floats(what: str, values: Array) -> Array:
    array = np.asarray(values)
    # Beyond, not every whole number is a float, and neighbours become the same one.
    far = next((value for value in _extremes(array) if abs(value) > _EXACT), None)
    if far is not None:
        raise DataUnfit(
            f"{what} are whole numbers that a float cannot hold",
            received=repr(far),
            allowed=f"-{_EXACT} to {_EXACT} (2 to the power of 53)",
            next_step="take a constant off, or use a larger unit, in prepare",
        )
    return np.asarray(array, dtype=float)


def _extremes(array: Array) -> list[int]:
    """The smallest and the largest whole number."""
    if array.dtype.kind == "O":
        whole = [value for value in array.ravel().tolist() if isinstance(value, int) and not isinstance(value, bool)]
        return [min(whole), max(whole)] if whole else []
    return [int(array.min()), int(array.max())] if array.dtype.kind in "iu" and array.size else []


def _coded(labels: Array, codes: dict[Any, int]) -> Array:
    """The code of every label; labels that have none yet get the next ones, in the order they occur."""
    from pandas import factorize

    found, values = factorize(labels, use_na_sentinel=False)
    # A champion's holes are NaN, which is not even equal to itself: they are one label, None.
    keys = [None if value != value else value for value in np.asarray(values).tolist()]
    places = [codes.setdefault(key, len(codes)) for key in keys]
    return np.asarray(np.array(places, dtype=np.intp)[found])


def own(subject: Subject) -> Answers:
    """The subject's own answers beside the truth."""
    return answers(
        subject.task, subject.actual, subject.predicted, subject.probabilities, subject.classes, subject.weights
    )


def trivial_answers(subject: Subject) -> Answers:
    """The trivial model's answers beside the truth."""
    shares = subject.baseline_probabilities
    return answers(subject.task, subject.actual, subject.baseline, shares, subject.classes, subject.weights)


def champion_answers(subject: Subject) -> Answers | None:
    """The champion's answers beside the truth, holes included (``champion_answered``); None without a champion."""
    if subject.champion is None:
        return None
    shares = subject.champion_probabilities
    return answers(subject.task, subject.actual, subject.champion, shares, subject.classes, subject.weights)


def trivial(labels: Array, rows: int, *, task: Task, classes: Sequence[Value] = ()) -> tuple[Array, Array | None]:
    """What a model that learned nothing answers for ``rows`` rows, from the training labels.

    Returns the training mean, or the most frequent class and the class shares (rows x k).
    """
    if task == "regression":
        return np.full(rows, float(np.mean(np.asarray(labels, dtype=float)))), None
    position = {value: index for index, value in enumerate(classes)}
    counts = np.zeros(len(classes))
    for value in np.asarray(labels).tolist():
        counts[position[value]] += 1
    most = np.empty(rows, dtype=np.asarray(list(classes)).dtype)
    most[:] = classes[int(np.argmax(counts))]
    return most, np.tile(counts / counts.sum(), (rows, 1))
