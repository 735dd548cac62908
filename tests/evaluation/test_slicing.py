"""Cutting loses no row and names tell what is in a slice; losses are the field's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, zero_one_loss

import subjects
from fullcircle.evaluation import slicing

numbers = st.lists(st.one_of(st.integers(-50, 50).map(float), st.just(float("nan"))), min_size=1, max_size=80)
words = st.lists(st.one_of(st.text("abcdefghijklmnopq", min_size=1, max_size=2), st.none()), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(st.one_of(numbers, words))
def test_every_row_has_one_code_and_every_name_is_one_slice(values: list[Any]) -> None:
    found = slicing.cut(pd.DataFrame({"x": pd.Series(values, dtype=None if _numeric(values) else object)}), ["x"], {})
    if not found.names:
        assert len(set(map(str, values))) == 1, "only a constant column is left out"
        return
    (names,), (codes,), (groups,) = found.names, found.coded.codes, found.coded.groups
    assert len(codes) == len(values)
    assert groups.shape == (len(names), codes.max() + 1)
    assert len(set(names)) == len(names)
    for group in range(len(names)):
        assert found.coded.inside(((0, group),)).any(), "an empty slice has no name"
    assert np.sum([found.coded.inside(((0, group),)) for group in range(len(names))]) == len(values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=11, max_size=80, unique=True))
def test_a_range_holds_just_the_values_that_it_names(values: list[int]) -> None:
    found = slicing.cut(pd.DataFrame({"x": values}), ["x"], {})
    for group, name in enumerate(found.names[0]):
        inside = np.array(values)[found.coded.inside(((0, group),))]
        low, high = int(inside.min()), int(inside.max())
        assert name == (f"x={low}" if low == high else f"x {low} to {high}")
        between = [value for value in values if low <= value <= high]
        assert sorted(inside.tolist()) == sorted(between)


def _numeric(values: list[Any]) -> bool:
    return all(isinstance(value, float) for value in values)


def test_the_order_of_columns_is_kept_and_none_is_cut_twice() -> None:
    frame = pd.DataFrame({"b": ["u", "v"], "a": [1, 2], "c": [True, False]})
    found = slicing.cut(frame, ["a", "b", "a", "c"], {})
    assert [names[0].split("=")[0] for names in found.names] == ["a", "b", "c"]
    assert found.told(((0, 1), (1, 0))) == "a=2 and b=u"


def test_the_frame_is_left_as_it_was() -> None:
    frame = pd.DataFrame({"x": [1.5, None, 3.0], "y": pd.Categorical(["u", "v", None])})
    before = frame.copy(deep=True)
    found = slicing.cut(frame, ["x", "y"], {})
    assert frame.equals(before)
    assert found.names == (("x=1.5", "x=3", "x=(missing)"), ("y=u", "y=v", "y=(missing)"))


class TestLosses:
    def test_of_a_regression(self) -> None:
        subject = subjects.regression(50)
        found = slicing.losses(subject, np.arange(50))
        assert found.loss.mean() == pytest.approx(mean_absolute_error(subject.actual, subject.predicted), rel=1e-12)
        assert found.signed is not None
        assert found.signed.mean() == pytest.approx(np.mean(subject.predicted - subject.actual), rel=1e-12)
        assert (found.unit, found.excess, found.wrong) == ("y", None, False)

    @pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c"), (0, 1)])
    def test_of_probabilities(self, names: tuple[Any, ...]) -> None:
        subject = subjects.classification(300, names=names)
        found = slicing.losses(subject, np.arange(300))
        expected = log_loss(subject.actual, subject.probabilities, labels=list(subject.classes))
        assert found.loss.mean() == pytest.approx(expected, rel=1e-12)
        assert found.excess is not None
        assert subject.probabilities is not None
        entropy = -np.sum(subject.probabilities * np.log(subject.probabilities), axis=1)
        np.testing.assert_allclose(found.loss - found.excess, entropy, rtol=1e-9)
        assert abs(found.excess.mean()) < 0.15, "these probabilities are about right"

    def test_of_answers_alone(self) -> None:
        subject = dataclasses.replace(subjects.classification(80), probabilities=None)
        found = slicing.losses(subject, np.arange(80))
        assert found.loss.mean() == pytest.approx(zero_one_loss(subject.actual, subject.predicted))
        assert found.wrong

    def test_certainty_is_finite(self) -> None:
        subject = subjects.classification(40)
        sure = np.tile([1.0, 0.0], (40, 1))
        found = slicing.losses(dataclasses.replace(subject, probabilities=sure), np.arange(40))
        assert np.isfinite(found.loss).all()
        assert found.excess is not None
        assert np.isfinite(found.excess).all()
        assert set(np.round(found.loss).tolist()) == {0.0, 36.0}

    def test_rows_are_picked(self) -> None:
        subject = subjects.classification(40)
        whole, some = (slicing.losses(subject, rows) for rows in (np.arange(40), np.array([3, 1, 7])))
        assert some.loss.tolist() == whole.at(np.array([3, 1, 7])).loss.tolist() == whole.loss[[3, 1, 7]].tolist()
