"""Subjects: what no check could judge is refused before any check runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subjects
from fullcircle.errors import DataUnfit, FullcircleError, PredictionInvalid
from fullcircle.evaluation.check import Subject, absent, missing
from fullcircle.testing.checks import cut

NUMBERS = subjects.regression(40)
CLASSES = subjects.classification(40)


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _refused(subject: Subject, kind: type[FullcircleError], what: str) -> FullcircleError:
    with pytest.raises(kind, match=what) as caught:
        subject.refuse_unfit()
    return caught.value


@pytest.mark.parametrize("subject", [NUMBERS, CLASSES], ids=["regression", "classification"])
def test_a_sound_subject_passes(subject: Subject) -> None:
    subject.refuse_unfit()
    _with(subject, champion=subject.predicted, champion_probabilities=subject.probabilities).refuse_unfit()
    _with(subject, probabilities=None, baseline_probabilities=None).refuse_unfit()
    assert subject.rows == 40


@pytest.mark.parametrize("subject", [NUMBERS, CLASSES], ids=["regression", "classification"])
def test_no_rows_are_refused(subject: Subject) -> None:
    error = _refused(cut(subject, 0), DataUnfit, "there are no test rows")
    assert error.next_step == "give more rows"


def test_a_frame_of_another_length_is_refused_with_both() -> None:
    error = _refused(_with(NUMBERS, frame=NUMBERS.frame.head(39)), DataUnfit, "differ in length")
    assert error.received == "39 and 40"


@pytest.mark.parametrize("gone", [np.nan, np.inf, -np.inf])
def test_missing_labels_are_counted(gone: float) -> None:
    actual = NUMBERS.actual.copy()
    actual[[3, 5]] = gone
    error = _refused(_with(NUMBERS, actual=actual), DataUnfit, "labels of test rows are missing")
    assert error.received == "2 of 40"


@pytest.mark.parametrize("gone", [None, float("nan"), pd.NaT])
def test_missing_classes_are_counted(gone: Any) -> None:
    actual = CLASSES.actual.copy()
    actual[7] = gone
    assert _refused(_with(CLASSES, actual=actual), DataUnfit, "missing").received == "1 of 40"


@pytest.mark.parametrize("name", ["predicted", "baseline"])
def test_an_answer_that_is_none_is_refused_by_name(name: str) -> None:
    for subject, gone in ((NUMBERS, np.nan), (NUMBERS, np.inf), (CLASSES, None)):
        answers = np.array(getattr(subject, name))
        if gone is None:
            answers = answers.astype(object)
        answers[0] = gone
        error = _refused(_with(subject, **{name: answers}), PredictionInvalid, f"{name} holds answers")
        assert error.received == "1 of 40"


@pytest.mark.parametrize("name", ["predicted", "baseline", "champion"])
@pytest.mark.parametrize("shape", [(39,), (41,), (40, 1), (1, 40), ()])
def test_answers_are_one_for_each_row(name: str, shape: tuple[int, ...]) -> None:
    error = _refused(_with(NUMBERS, **{name: np.zeros(shape)}), PredictionInvalid, f"{name} has the wrong shape")
    assert error.received == str(shape)
    assert error.allowed == "(40,): one row per test row"


@pytest.mark.parametrize("name", ["probabilities", "baseline_probabilities", "champion_probabilities"])
@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 3), (39, 2)])
def test_probabilities_are_one_for_each_row_and_class(name: str, shape: tuple[int, ...]) -> None:
    subject = _with(CLASSES, champion=CLASSES.predicted)
    error = _refused(_with(subject, **{name: np.full(shape, 0.5)}), PredictionInvalid, f"{name} has the wrong shape")
    assert "one column per class" in (error.allowed or "")


@pytest.mark.parametrize("name", ["probabilities", "baseline_probabilities"])
@pytest.mark.parametrize("row", [(-0.1, 1.1), (0.6, 0.6), (0.2, 0.2), (np.nan, 1.0), (2.0, -1.0), (np.inf, 0.0)])
def test_what_is_no_probability_is_refused(name: str, row: tuple[float, float]) -> None:
    shares = np.full((40, 2), 0.5)
    shares[11] = row
    error = _refused(_with(CLASSES, **{name: shares}), PredictionInvalid, f"{name} holds values that are no prob")
    assert "1 in the sum" in (error.allowed or "")


@given(st.floats(0.0, 1.0))
def test_every_share_is_a_probability_with_its_rest(share: float) -> None:
    shares = np.full((40, 2), 0.5)
    shares[0] = (share, 1.0 - share)
    _with(CLASSES, probabilities=shares).refuse_unfit()


def test_shares_of_single_precision_are_near_enough() -> None:
    shares = np.full((40, 2), np.float32(0.1))
    shares[:, 1] = np.float32(0.9) + np.float32(1e-6)
    _with(CLASSES, probabilities=shares).refuse_unfit()


class TestChampion:
    def test_a_row_it_rejected_is_no_fault_of_the_subject(self) -> None:
        champion = NUMBERS.predicted.copy()
        champion[:4] = np.nan
        subject = _with(NUMBERS, champion=champion)
        subject.refuse_unfit()
        assert subject.champion_answered().tolist() == [False] * 4 + [True] * 36

    def test_a_class_it_did_not_name_is_not_answered(self) -> None:
        champion = CLASSES.predicted.astype(object)
        champion[3] = None
        shares = np.array(CLASSES.probabilities)
        shares[5] = np.nan
        subject = _with(CLASSES, champion=champion, champion_probabilities=shares)
        subject.refuse_unfit()
        assert np.flatnonzero(~subject.champion_answered()).tolist() == [3, 5]
        without = _with(subject, champion_probabilities=None)
        assert np.flatnonzero(~without.champion_answered()).tolist() == [3]

    def test_where_there_is_none_it_answered_nothing(self) -> None:
        answered = NUMBERS.champion_answered()
        assert answered.dtype == np.bool_
        assert answered.tolist() == [False] * 40


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        (np.array([1.0, np.nan, np.inf, -np.inf]), [False, True, True, True]),
        (np.array([1, 0, -5]), [False, False, False]),
        (np.array([True, False]), [False, False]),
        (np.array(["a", ""]), [False, False]),
        (np.array(["a", None, float("nan"), "", 0, False], dtype=object), [False, True, True, False, False, False]),
        (np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]"), [False, True]),
        (np.array([1, "NaT"], dtype="timedelta64[s]"), [False, True]),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), [[False, True], [True, False]]),
        (np.array([[None, "a"]], dtype=object), [[True, False]]),
        (np.array([pd.NA, pd.NaT, "<NA>"], dtype=object), [True, True, False]),
    ],
)
def test_what_counts_as_absent(values: Any, gone: list[Any]) -> None:
    assert absent(values).tolist() == gone
    assert missing(values) == np.sum(gone)
