"""The curve of thresholds equals counting by hand, and the best point is measured on rows that did not choose it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.stats.thresholds import cross_fit, curve

# Few distinct scores, so that there are ties; amounts that doubles add up exactly.
rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 4)),
    min_size=1,
    max_size=40,
)


def _arrays(drawn: list[tuple[int, int, int, int]]) -> tuple[Any, ...]:
    scores, yes, no, weights = (np.array(each, dtype=float) for each in zip(*drawn, strict=True))
    return scores / 8.0, yes, no, weights


@settings(deadline=None)
@given(rows)
def test_the_curve_is_the_mean_amount_at_every_threshold(drawn: list[tuple[int, int, int, int]]) -> None:
    scores, yes, no, weights = _arrays(drawn)
    found = curve(scores, yes, no, weights)
    assert found.thresholds.tolist() == [*np.unique(scores).tolist(), np.inf]
    by_hand = [np.average(np.where(scores >= at, yes, no), weights=weights) for at in found.thresholds]
    np.testing.assert_allclose(found.values, by_hand, atol=1e-12)
    assert found.values[found.best] == pytest.approx(max(by_hand), abs=1e-12)
    assert found.best == int(np.argmax(found.values)), "of equal ones the lowest threshold"


@settings(deadline=None)
@given(rows)
def test_no_weights_are_weights_of_one(drawn: list[tuple[int, int, int, int]]) -> None:
    scores, yes, no, _ = _arrays(drawn)
    plain, ones = curve(scores, yes, no), curve(scores, yes, no, np.ones(len(scores)))
    assert plain.values.tolist() == ones.values.tolist()


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(drawn: list[tuple[int, int, int, int]], chance: Any) -> None:
    shuffled = list(drawn)
    chance.shuffle(shuffled)
    np.testing.assert_allclose(curve(*_arrays(drawn)).values, curve(*_arrays(shuffled)).values, atol=1e-12)


def test_every_row_gets_one_of_its_two_amounts_under_its_folds_threshold() -> None:
    generator = np.random.default_rng(3)
    scores = np.round(generator.random(200), 2)
    yes, no = np.arange(200.0), -np.arange(200.0)
    found = cross_fit(scores, yes, no, seed=5, folds=4)
    assert len(found.thresholds) == 4
    fold = np.random.default_rng(5).permutation(np.arange(200) % 4)
    expected = np.where(scores >= found.thresholds[fold], yes, no)
    assert found.amounts.tolist() == expected.tolist()
    for number in range(4):
        others = fold != number
        best = curve(scores[others], yes[others], no[others])
        value = np.mean(np.where(scores[others] >= found.thresholds[number], yes[others], no[others]))
        assert value == pytest.approx(best.values.max()), "each fold's threshold is the best on the others"
    again = cross_fit(scores, yes, no, seed=5, folds=4)
    assert again.amounts.tolist() == found.amounts.tolist()


def test_the_best_point_is_too_good_to_be_true_and_cross_fitting_is_not() -> None:
    # Scores that know nothing: every threshold earns 0 on average, and the best of 40 rows looks like more.
    shown, measured = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        scores, gain = generator.random(40), generator.normal(size=40)
        shown.append(curve(scores, gain, np.zeros(40)).values.max())
        measured.append(cross_fit(scores, gain, np.zeros(40), seed=seed).amounts.mean())
    assert np.mean(shown) > 0.1
    assert abs(np.mean(measured)) < 4 * np.std(measured) / np.sqrt(200)


@pytest.mark.parametrize(
    "given_rows",
    [
        ([], [], []),
        ([0.1], [1.0, 2.0], [0.0]),
        ([0.1, np.nan], [1.0, 2.0], [0.0, 0.0]),
        ([0.1, 0.2], [1.0, np.inf], [0.0, 0.0]),
        ([[0.1]], [[1.0]], [[0.0]]),
        ([0.1], [1.0], [0.0], [0.0]),
    ],
)
def test_what_is_no_curve_is_refused(given_rows: Any) -> None:
    with pytest.raises(DataUnfit, match="a curve needs"):
        curve(*given_rows)


def test_fewer_rows_than_folds_choose_nothing() -> None:
    with pytest.raises(DataUnfit, match="fewer rows than folds") as caught:
        cross_fit([0.1, 0.2], [1, 1], [0, 0], seed=0)
    assert caught.value.allowed == "at least 5 rows"
    assert cross_fit([0.1] * 5, [1] * 5, [0] * 5, seed=0).amounts.tolist() == [1.0] * 5
