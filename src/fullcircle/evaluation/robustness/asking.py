"""What becomes of rows that are asked for an answer: through the contract where it is known, else the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fullcircle.evaluation.check import Array, Frame, Subject, absent
from fullcircle.types.prediction import Prediction

SILENT, TOLD, REJECTED, FAILED = range(4)


class Answered(NamedTuple):
    """Answers to n rows: what became of each (one of the four numbers above), the answers, and their scores.

    A row is silent when it was answered and nothing was said about the column asked about, told when it was flagged,
    imputed or answered by the fallback because of it, failed when the model itself could not answer. ``answers`` are
    numbers or classes, None where there is none. ``scores`` (n x k) are the numbers, or the probabilities of the
    classes; NaN where there is none.
    """

    fate: Array
    answers: Array
    scores: Array

    @property
    def given(self) -> Array:
        """Which rows have an answer (n,)."""
        return np.asarray(self.fate <= TOLD)

    def at(self, rows: slice) -> Answered:
        """The same for a stretch of rows."""
        return Answered(self.fate[rows], self.answers[rows], self.scores[rows])

    def change(self, before: Answered) -> Array:
        """By how much each answer differs from ``before`` (n,): in the label's unit, or in probability.

        Of two classes that of the second, of more that of the class answered before; without probabilities 1 for
        another class and 0 for the same. NaN where one of the two has no answer.
        """
        both = self.given & before.given
        classes = before.scores.shape[1]
        rows = np.arange(len(both))
        if classes == 1:
            place = np.zeros(len(both), dtype=np.intp)
        elif classes == 2:
            place = np.ones(len(both), dtype=np.intp)
        else:
            place = np.argmax(np.nan_to_num(before.scores, nan=-1.0), axis=1)
        found = np.abs(self.scores[rows, place] - before.scores[rows, place])
        other = np.array([a != b for a, b in zip(self.answers, before.answers, strict=True)], dtype=float)
        return np.where(both, np.where(np.isnan(found), other, found), np.nan)

    def switched(self, before: Answered) -> Array:
        """Which rows have another answer than ``before`` (n,); only where both have one."""
        other = np.array([a != b for a, b in zip(self.answers, before.answers, strict=True)], dtype=bool)
        return np.asarray(other & self.given & before.given)


def through_contract(subject: Subject, predictions: Sequence[Prediction], column: str) -> Answered:
    """Predictions of ``subject.judge``, read for what they say about ``column`` ("": any column)."""
    fate = np.array([_fate(each, column) for each in predictions], dtype=np.intp)
    answers = np.array([*(each.value for each in predictions), None], dtype=object)[:-1]
    if subject.task == "regression":
        return Answered(fate, answers, np.array([_number(each.value) for each in predictions])[:, None])
    scores = np.full((len(predictions), max(2, len(subject.classes))), np.nan)
    names = [str(name) for name in subject.classes]
    for row, each in enumerate(predictions):
        if each.probabilities is not None:
            scores[row, : len(names)] = [each.probabilities.get(name, np.nan) for name in names]
    return Answered(fate, answers, scores)


def by_model(subject: Subject, frame: Frame) -> Answered:
    """The model's own answers to a frame like ``subject.inputs``. Raises what the model raises."""
    assert subject.predict is not None  # noqa: S101 - who asks has looked
    answers = np.asarray(subject.predict(frame)).reshape(-1)
    if subject.task == "regression":
        scores = answers.astype(float)[:, None]
    elif subject.predict_probabilities is None or subject.probabilities is None:
        scores = np.full((len(answers), max(2, len(subject.classes))), np.nan)
    else:
        scores = np.asarray(subject.predict_probabilities(frame), dtype=float)
    gone = absent(answers)
    if subject.task == "regression" or (subject.predict_probabilities and subject.probabilities is not None):
        gone = gone | ~np.isfinite(scores).all(axis=1)
    return Answered(np.where(gone, FAILED, SILENT), answers.astype(object), scores)


def no_answer(rows: int, classes: int) -> Answered:
    """What a model says that raises."""
    none = np.array([None] * rows, dtype=object)
    return Answered(np.full(rows, FAILED), none, np.full((rows, max(1, classes)), np.nan))


def _fate(prediction: Prediction, column: str) -> int:
    problems = prediction.verdict.problems
    if any(problem.reason == "model" for problem in problems):
        return FAILED  # whoever answered in its place
    if prediction.value is None:
        return REJECTED
    return TOLD if any(problem.column == column or not column for problem in problems) else SILENT


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
