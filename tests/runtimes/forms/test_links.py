from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from form_samples import same_bits
from fullcircle.runtimes.forms import links
from fullcircle.runtimes.forms.links import LINKS_OF, answers

SCORES = st.lists(st.floats(-800, 800), min_size=1, max_size=20)


@given(SCORES)
def test_the_logistic_function_has_scipys_bits(scores: list[float]) -> None:
    from scipy.special import expit

    raw = np.array(scores).reshape(-1, 1)
    _, chances = answers(raw, "positive", "expit")
    assert chances is not None
    assert same_bits(chances[:, 1], expit(np.array(scores)))
    assert same_bits(chances[:, 0], 1 - expit(np.array(scores)))
    _, half = answers(raw, "nonnegative", "half_expit")
    assert half is not None
    assert same_bits(half[:, 1], expit(2 * np.array(scores)))


@pytest.mark.parametrize("classes", [2, 3, 7, 8, 9, 17, 40])
def test_softmax_has_scikit_learns_bits_in_both_layouts(classes: int) -> None:
    from sklearn.utils.extmath import softmax

    raw = np.random.default_rng(classes).normal(size=(30, classes)) * 20
    by_column, by_row = links.chances(raw, "softmax"), links.chances(raw, "softmax_by_row")
    assert same_bits(by_column, np.ascontiguousarray(softmax(np.asfortranarray(raw))))
    assert same_bits(by_row, softmax(raw))


def test_one_against_the_rest_and_none_likely() -> None:
    _, found = answers(np.array([[0.0, 0.0, 0.0], [-800.0, -900.0, -1000.0]]), "largest", "one_vs_rest")
    assert found is not None
    assert np.allclose(found, 1 / 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("decision", "raw", "expected"),
    [
        ("positive", [[0.0], [1e-300], [-1.0], [-0.0]], [0, 1, 0, 0]),
        ("nonnegative", [[0.0], [1e-300], [-1.0], [-0.0]], [1, 1, 0, 1]),
        ("largest", [[1.0, 1.0], [0.0, 2.0], [-1.0, -2.0]], [0, 1, 0]),
    ],
)
def test_how_a_score_decides(decision: str, raw: list[list[float]], expected: list[int]) -> None:
    found, chances = answers(np.array(raw), decision, "none")
    assert found.tolist() == expected
    assert found.dtype.kind == "i"
    assert chances is None


def test_regression_and_its_log_link() -> None:
    raw = np.array([[0.0], [1.5], [-3.25]])
    assert answers(raw, "value", "identity")[0].tolist() == [0.0, 1.5, -3.25]
    assert same_bits(answers(raw, "value", "exp")[0], np.exp(raw.ravel()))


def test_missing_scores_stay_missing() -> None:
    raw = np.array([[math.nan], [1.0]])
    _, chances = answers(raw, "positive", "expit")
    assert chances is not None
    assert np.isnan(chances[0]).all()
    assert np.isfinite(chances[1]).all()
    several = np.array([[math.nan, math.nan, math.nan], [1.0, 2.0, 3.0]])
    for link in ("softmax", "softmax_by_row", "shares", "one_vs_rest"):
        table: Any = links.chances(several, link)
        assert np.isnan(table[0]).all()
        assert np.isfinite(table[1]).all()


def test_scores_are_not_changed() -> None:
    for decision, kinds in LINKS_OF.items():
        for link in kinds:
            raw = np.array([[0.25, 1.5, -2.0]] * 2) if decision == "largest" else np.array([[0.25], [-2.0]])
            before = raw.copy()
            answers(raw, decision, link)
            assert same_bits(raw, before)
