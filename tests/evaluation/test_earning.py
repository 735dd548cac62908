"""Amounts by a worth gate equal looking them up one by one, in whatever type labels come."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import subjects
from fullcircle.evaluation import earning
from fullcircle.evaluation.check import Subject
from fullcircle.types.gates import Gate, worth
from fullcircle.types.report import Measure

CLASSES = ("a", "b", "c")


def _subject(actual: Any, predicted: Any, classes: tuple[Any, ...] = CLASSES) -> Subject:
    base = subjects.regression(4)
    return dataclasses.replace(
        base, task="classification", classes=classes, actual=np.asarray(actual), predicted=np.asarray(predicted)
    )


@settings(deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), st.integers(-9, 9), min_size=1),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=30),
)
def test_a_matrix_is_looked_up_row_by_row(matrix: dict[tuple[str, str], int], rows: list[tuple[str, str]]) -> None:
    actual, predicted = (np.array(each) for each in zip(*rows, strict=True))
    found = earning.pay(worth(matrix=matrix), _subject(actual, predicted))(predicted)
    assert found.tolist() == [float(matrix.get(pair, 0)) for pair in rows], "d is known to nobody and earns nothing"


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 7]), min_size=1, max_size=30))
def test_codes_are_positions(values: list[int]) -> None:
    classes = (2, 0, 1)
    expected = [classes.index(value) if value in classes else 3 for value in values]
    for given_as in (np.array(values), np.array(values, dtype=float), np.array(values, dtype=object)):
        assert earning.codes(given_as, classes).tolist() == expected


def test_codes_of_nothing_and_of_holes() -> None:
    assert earning.codes(np.array([], dtype=object), ("a",)).tolist() == []
    assert earning.codes(np.array(["a", None, np.nan], dtype=object), ("a",)).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("predicted", "classes"),
    [
        (np.array(["no", "no"]), ("no", "perhaps")),
        (np.array(["no", "no"], dtype=object), ("no", "perhaps")),
        (np.array([0, 0]), (0, 1)),
        (np.array([0.0, 0.0]), (0, 1)),
        (np.array([False, False]), (False, True)),
    ],
)
def test_one_answer_for_all_comes_in_the_models_own_type(predicted: Any, classes: tuple[Any, ...]) -> None:
    subject = _subject(predicted, predicted, classes)
    for position, told in enumerate(classes):
        answer = earning.constant(subject, position)
        assert answer.tolist() == [told, told]
        assert answer.dtype.kind == predicted.dtype.kind


def test_a_function_gets_copies() -> None:
    def greedy(actual: Any, predicted: Any) -> Any:
        actual[:], predicted[:] = 0.0, 0.0
        return np.ones(len(actual))

    subject = subjects.regression(10)
    before = subject.actual.copy(), subject.predicted.copy()
    assert earning.pay(worth(greedy), subject)(subject.predicted).tolist() == [1.0] * 10
    assert subject.actual.tolist() == before[0].tolist()
    assert subject.predicted.tolist() == before[1].tolist()


def test_whole_numbers_and_objects_are_amounts_too() -> None:
    gates: list[Gate] = [
        worth(lambda actual, predicted: np.ones(len(actual), dtype=int)),
        worth(lambda actual, predicted: [1] * len(actual)),
        worth(lambda actual, predicted: np.array([1.0] * len(actual), dtype=object)),
        worth(lambda actual, predicted: np.ones(len(actual), dtype=bool)),
    ]
    subject = subjects.regression(3)
    for gate in gates:
        found = earning.pay(gate, subject)(subject.predicted)
        assert found.dtype == np.float64
        assert found.tolist() == [1.0] * 3


class TestMeasure:
    def _of(self, values: list[float], weights: list[float] | None = None) -> Measure:
        given_weights = None if weights is None else np.array(weights)
        return earning.measure("v", np.array(values), given_weights, unit="EUR a row")

    def test_equal_amounts_have_exactly_their_mean(self) -> None:
        for count in (2, 3, 7, 40, 1000):
            for weights in (None, [0.3] * count):
                found = self._of([0.1] * count, weights)
                assert (found.value, found.low, found.high) == (0.1, None, None)
                assert found.method == f"all {count} rows are alike, so nothing tells how others would be"

    def test_amounts_alike_but_for_rounding_have_no_interval(self) -> None:
        assert self._of([0.1 * 3, 0.3] * 20).low is None
        assert self._of([0.3, 0.3 + 1e-9] * 20).low is not None

    def test_differences_of_the_same_answers_are_known(self) -> None:
        found = earning.measure("v", np.zeros(40), None, unit="", same=True)
        assert (found.value, found.low, found.high, found.n) == (0.0, 0.0, 0.0, 40)
        assert earning.measure("v", np.zeros(40), None, unit="").low is None

    def test_rows_count_by_what_their_weights_tell(self) -> None:
        values = [float(number) for number in range(200)]
        assert self._of(values, [1.0] * 3 + [0.0] * 197).n == 3
        assert self._of(values, [1e6] * 3 + [1.0] * 197).n == 3
        assert self._of(values, [7.0] * 200).n == 200

    def test_rows_of_no_weight_are_not_there(self) -> None:
        some, all_rows = self._of([1.0, 2.0, 3.0]), self._of([1.0, 99.0, 2.0, 3.0], [1.0, 0.0, 1.0, 1.0])
        assert (some.value, some.low, some.high) == pytest.approx((all_rows.value, all_rows.low, all_rows.high))
        assert all_rows.n == 3
        assert all_rows.method == "t interval, weighted"
        alone = self._of([1.0, 2.0], [0.0, 5.0])
        assert (alone.value, alone.low, alone.n) == (2.0, None, 1)

    def test_uneven_weights_make_it_less_certain(self) -> None:
        values = np.random.default_rng(0).normal(size=50).tolist()
        even, uneven = self._of(values, [1.0] * 50), self._of(values, [1.0, 9.0] * 25)
        assert even.low is not None
        assert even.high is not None
        assert uneven.low is not None
        assert uneven.high is not None
        assert uneven.high - uneven.low > 1.1 * (even.high - even.low)

    def test_a_month_is_a_multiple(self) -> None:
        day = self._of([1.0, 2.0, 3.0])
        month = earning.scaled(day, "month", times=30.0, unit="EUR a month")
        assert day.low is not None
        assert (month.name, month.value, month.unit, month.n) == ("month", 60.0, "EUR a month", 3)
        assert month.low == pytest.approx(30.0 * day.low)
        unknown = earning.scaled(self._of([]), "month", times=30.0, unit="EUR a month")
        assert (unknown.value, unknown.low, unknown.method) == (None, None, "no row to judge by")
