"""Quantiles by order statistics: the interval covers, and says when it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.stats import order


@pytest.mark.parametrize(("share", "n"), [(0.5, 40), (0.5, 501), (0.9, 200), (0.99, 500)])
def test_the_interval_holds_the_true_quantile_at_least_95_of_100_times(share: float, n: int) -> None:
    generator = np.random.default_rng(3)
    truth = -math.log(1.0 - share)  # of the exponential law
    drawn = generator.exponential(size=(2000, n))
    found = [order.quantile(row, share) for row in drawn]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    # Discrete, so never less than 95 %; four standard errors of 2000 draws are 0.02.
    assert 0.93 <= covered <= 1.0
    assert covered <= 0.995 or n < 60


@pytest.mark.parametrize(("n", "known"), [(367, False), (368, True), (2, False)])
def test_too_few_values_have_no_upper_end_for_a_far_quantile(n: int, known: bool) -> None:
    found = order.quantile(np.arange(n, dtype=float), 0.99)
    assert math.isfinite(found.high) is known
    assert math.isfinite(found.value)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_number_has_no_quantile(values: list[float]) -> None:
    assert all(math.isnan(each) for each in order.quantile(values, 0.5))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_at_the_edge_has_none(share: float) -> None:
    assert math.isnan(order.quantile([1.0, 2.0], share).value)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_the_bounds_hold_the_value_and_are_values_that_occurred(values: list[float], share: float) -> None:
    found = order.quantile(values, share)
    assert found.value == np.quantile(values, share)
    if math.isfinite(found.low):
        assert found.low <= found.value
    if math.isfinite(found.high):
        assert found.value <= found.high
