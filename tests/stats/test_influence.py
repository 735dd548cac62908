"""Figures over rows and how far each row pulls them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.stats import influence
from fullcircle.stats.influence import Figure

SEEDS = st.integers(0, 2**32 - 1)


def _weights(generator: np.random.Generator, rows: int) -> Any:
    return generator.exponential(size=rows) + 0.01


def _moved(figure: Any, rows: int, weights: Any) -> float:
    """How far the influence values are from what a little more weight on each row does, at most."""
    found = figure(weights)
    worst = 0.0
    for row in range(rows):
        heavier = weights.copy()
        heavier[row] += 1e-6 * weights.sum()
        slope = (figure(heavier).value - found.value) / 1e-6
        worst = max(worst, abs(slope - found.influence[row]) / np.abs(found.influence).max())
    return worst


def test_influence_values_are_derivatives() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 25))
    one, two = generator.integers(0, 3, size=(2, 25))
    weights = _weights(generator, 25)
    figures: dict[str, Any] = {
        "mean": lambda w: influence.mean(x, w),
        "ratio": lambda w: influence.ratio(x > 0, y > -0.5, w),
        "rmse": lambda w: influence.root_mean_square(x, w),
        "r2": lambda w: influence.r_squared(x, y, w),
        "balanced": lambda w: influence.balanced_accuracy(one, two, 3, w),
        "f1": lambda w: influence.macro_f1(one, two, 3, w),
        "correlation": lambda w: influence.correlation(x > 0, x + y > 0, w),
    }
    for name, figure in figures.items():
        assert _moved(figure, 25, weights) < 1e-4, name


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 40), st.booleans())
def test_pulls_cancel_out(seed: int, rows: int, weighted: bool) -> None:
    generator = np.random.default_rng(seed)
    x, y = np.round(generator.normal(size=(2, rows)), 1)
    codes = generator.integers(0, 4, size=(2, rows))
    weights = _weights(generator, rows) if weighted else None
    found = [
        influence.mean(x, weights),
        influence.ratio(x > 0, y > 0, weights),
        influence.root_mean_square(x, weights),
        influence.r_squared(x, y, weights),
        influence.median(x, weights),
        influence.balanced_accuracy(codes[0], codes[1], 4, weights),
        influence.macro_f1(codes[0], codes[1], 4, weights),
        influence.correlation(x > 0, y > 0, weights),
    ]
    for each in found:
        assert each.influence.shape == (rows,)
        if math.isnan(each.value):
            assert np.isnan(each.influence).all()
        else:
            assert influence.average(each.influence, weights) == pytest.approx(0.0, abs=1e-9)


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(1).normal(size=50)
    found = influence.mean(values)
    assert influence.error(found.influence) == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert influence.error(found.influence, np.full(50, 3.0)) == pytest.approx(influence.error(found.influence))
    assert math.isnan(influence.error(np.array([0.0])))


def test_rows_of_no_weight_are_not_there() -> None:
    values = np.random.default_rng(2).normal(size=30)
    weights = np.r_[np.ones(20), np.zeros(10)]
    whole, part = influence.mean(values, weights), influence.mean(values[:20])
    assert whole.value == pytest.approx(part.value)
    assert influence.error(whole.influence, weights) == pytest.approx(influence.error(part.influence))
    assert influence.effective(weights, 30) == pytest.approx(20.0)
    one = np.r_[1.0, np.zeros(9)]
    assert math.isnan(influence.error(influence.mean(values[:10], one).influence, one))


def test_errors_are_those_of_many_data_sets() -> None:
    """The spread of figures over 400 data sets is what influence values said of one."""
    figures: dict[str, Any] = {
        "rmse": lambda x, y, w: influence.root_mean_square(x - y, w),
        "r2": lambda x, y, w: influence.r_squared(x, x + 0.5 * y, w),
        "median": lambda x, y, w: influence.median(np.abs(x), w),
        "correlation": lambda x, y, w: influence.correlation(x > 0, x + y > 0, w),
    }
    for weighted in (False, True):
        for name, figure in figures.items():
            values, errors = [], []
            for seed in range(400):
                generator = np.random.default_rng(seed)
                x, y = generator.normal(size=(2, 200))
                weights = _weights(generator, 200) if weighted else None
                found: Figure = figure(x, y, weights)
                values.append(found.value)
                errors.append(influence.error(found.influence, weights))
            assert np.std(values) == pytest.approx(np.median(errors), rel=0.12), (name, weighted)


@settings(deadline=None)
@given(st.integers(2, 200))
def test_equal_weights_are_worth_all_rows(rows: int) -> None:
    assert influence.effective(None, rows) == rows
    assert influence.effective(np.full(rows, 0.3), rows) == pytest.approx(rows)
    assert influence.effective(np.zeros(rows), rows) == 0.0


def test_degrees_of_freedom_are_few_where_few_rows_carry_the_figure() -> None:
    normal = np.random.default_rng(3).normal(size=5000)
    assert influence.degrees(normal) == pytest.approx(5000, rel=0.1)
    flags = np.tile([1.0, -1.0], 50)
    assert influence.degrees(flags) == 99.0
    few = np.zeros(1000)
    few[:4] = [1.0, -1.0, 1.0, -1.0]
    assert influence.degrees(few) == pytest.approx(8.0, abs=0.1)
    assert influence.degrees(np.zeros(10)) == 9.0
    assert influence.degrees(np.zeros(1)) == 1.0
    assert influence.degrees(np.ones(1000) * few, np.full(1000, 2.0)) == influence.degrees(few)


def test_what_is_not_defined_is_nan_in_every_row() -> None:
    nothing = np.zeros(5, dtype=bool)
    constant = np.full(5, 0.1)
    for found in (
        influence.ratio(~nothing, nothing),
        influence.r_squared(constant, constant + 1.0),
        influence.correlation(nothing, ~nothing),
        influence.correlation(np.array([True, False, True, False, True]), nothing),
        influence.r_squared(np.r_[constant, 7.0], np.ones(6), np.r_[np.ones(5), 0.0]),
    ):
        assert math.isnan(found.value)
        assert np.isnan(found.influence).all()


def test_the_median_of_half_a_weight_is_between_two() -> None:
    assert influence.median(np.array([1.0, 2.0, 3.0, 10.0])).value == 2.5
    weights = np.array([1.0, 1.0, 1.0, 1.0 + 1e-9])
    assert influence.median(np.array([1.0, 2.0, 3.0, 10.0]), weights).value == 3.0
    assert influence.median(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0])).value == 2.5
    assert influence.median(np.array([5.0, 1.0]), np.array([0.0, 1.0])).value == 1.0
    assert influence.median(np.array([4.0])).value == 4.0


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_quantile_of_ranks_is_numpys_inverse(values: list[int], share: float) -> None:
    ranked = np.sort(np.array(values, dtype=float))
    found = influence.quantile_of(ranked, np.cumsum(np.ones(len(ranked))), share)
    assert found == np.quantile(ranked, share, method="inverted_cdf")


def test_classes_that_do_not_occur_have_no_recall_and_no_part() -> None:
    shares, recall = influence.recalls(np.array([0, 0, 2]), np.array([0, 1, 2]), 4)
    assert shares == pytest.approx([2 / 3, 0.0, 1 / 3, 0.0])
    assert recall[[0, 2]] == pytest.approx([0.5, 1.0])
    assert np.isnan(recall[[1, 3]]).all()
    assert influence.balanced_accuracy(np.array([0, 0, 2]), np.array([0, 1, 2]), 4).value == 0.75
    assert influence.macro_f1(np.array([0, 0, 2]), np.array([0, 1, 2]), 4).value == pytest.approx((2 / 3 + 0 + 1) / 3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.floats(1e-6, 1e6))
def test_whole_rows_do_not_hang_on_the_unit_of_weights(drawn: list[int], times: float) -> None:
    weights = np.array(drawn, dtype=float)
    found = influence.whole(weights, len(weights))
    assert found == influence.whole(weights * times, len(weights))
    assert 0 <= found <= np.count_nonzero(weights)
    assert (found == 0) is not bool(weights.any())
    assert influence.whole((weights > 0).astype(float), len(weights)) == np.count_nonzero(weights)
    assert influence.whole(None, 7) == 7


def test_rows_are_alike_but_for_rounding_of_what_they_were_made_from() -> None:
    errors = (np.arange(100.0) + 0.1) - np.arange(100.0)
    pulls = influence.mean(errors).influence
    assert np.any(pulls)
    assert influence.alike(pulls, scale=99.0)
    assert not influence.alike(pulls, scale=1e-6)
    assert not influence.alike(np.array([1e-9, -1e-9]), scale=99.0)
    assert influence.alike(np.array([0.0, 5.0, 0.0]), np.array([1.0, 0.0, 1.0]), scale=1.0), "no weight, no say"
    assert not influence.alike(np.array([]), scale=1.0)
