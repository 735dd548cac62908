"""Amounts of some rows are those of a function that is asked about all rows, in their own places."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subjects
from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation import amounts
from fullcircle.types.gates import Gate, worth

SUBJECT = subjects.regression(40)


def _sized(actual: Any, said: Any) -> Any:
    """A worth that knows rows by their place."""
    return np.arange(40) * 1000.0 - np.abs(actual - said)


@given(st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True), st.integers(0, 9))
def test_a_row_earns_what_it_would_earn_among_all(picked: list[int], seed: int) -> None:
    rows = np.array(sorted(picked))
    said = np.random.default_rng(seed).normal(size=len(rows))
    got = amounts.of_rows(worth(_sized), SUBJECT, rows)(said)
    assert got == pytest.approx(rows * 1000.0 - np.abs(SUBJECT.actual[rows] - said))


def test_the_other_rows_keep_their_own_answers() -> None:
    seen: list[Any] = []

    def kept(actual: Any, said: Any) -> Any:
        seen.append(said)
        return np.zeros(len(actual))

    own = SUBJECT.predicted.copy()
    amounts.of_rows(worth(kept), SUBJECT, np.array([3, 5]))(np.array([1.5, 2.5]))
    (said,) = seen
    assert said[[3, 5]].tolist() == [1.5, 2.5]
    others = np.setdiff1d(np.arange(40), [3, 5])
    assert np.array_equal(said[others], own[others])
    assert np.array_equal(SUBJECT.predicted, own), "the subject is not touched"


def test_longer_names_of_classes_are_not_cut() -> None:
    names = ("a", "another")
    subject = subjects.classification(30, names=names)
    short = dataclasses.replace(subject, actual=np.full(30, "another"), predicted=np.full(30, "a"))
    paid = amounts.of_rows(worth(lambda actual, said: 1.0 * (actual == said)), short, np.arange(10))
    assert paid(np.full(10, "another", dtype=object)).tolist() == [1.0] * 10
    matrix = amounts.of_rows(worth(matrix={("another", "another"): 2.0}), short, np.arange(10))
    assert matrix(np.full(10, "another", dtype=object)).tolist() == [2.0] * 10


@pytest.mark.parametrize("gate", [worth(lambda actual, said: 1.0), worth(matrix={("x", "y"): 1.0})])
def test_a_gate_that_cannot_be_asked_is_refused(gate: Gate) -> None:
    with pytest.raises(ProjectInvalid):
        amounts.of_rows(gate, SUBJECT, np.arange(4))(np.zeros(4))
