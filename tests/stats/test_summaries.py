"""Sums that merge exactly, and are near the mean and deviation of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.stats.bins import BLOCK
from fullcircle.stats.summaries import FARTHEST, Sums, deviation, grid, mean, sums

numbers = st.lists(st.floats(allow_nan=False), max_size=50)


@given(numbers, st.integers(0, 50), st.floats(-1e300, 1e300), st.floats(0, 1e300))
def test_parts_add_up_to_the_whole(values: list[float], cut: int, low: float, size: float) -> None:
    on = grid(low, low + size)
    whole, parts = sums(np.array(values), on), [sums(np.array(part), on) for part in (values[:cut], values[cut:])]
    assert parts[0].plus(parts[1]) == whole == sums(np.array(values[::-1]), on)


def test_squares_of_a_full_block_are_exact() -> None:
    assert FARTHEST**2 * BLOCK <= 2.0**53
    assert sums(np.full(BLOCK, 1e300), grid(0.0, 1.0)).second == BLOCK * int(FARTHEST) ** 2


@pytest.mark.parametrize("low", [0.0, -7.0, 1e6])
def test_whole_numbers_have_their_own_mean_and_deviation(low: float) -> None:
    values = low + np.random.default_rng(0).integers(0, 90, 500).astype(np.float64)
    on = grid(low, low + 90)
    assert mean(sums(values, on), on) == pytest.approx(values.mean(), rel=1e-15)
    assert deviation(sums(values, on), on) == pytest.approx(values.std(), rel=1e-12)


def test_other_numbers_are_near() -> None:
    values = np.random.default_rng(0).normal(26, 4, 5000)
    on = grid(float(values.min()), float(values.max()))
    assert mean(sums(values, on), on) == pytest.approx(values.mean(), abs=4 / 2000)
    assert deviation(sums(values, on), on) == pytest.approx(values.std(), rel=1e-3)


def test_of_nothing_there_is_neither() -> None:
    assert (mean(Sums(), grid(0, 1)), deviation(Sums(), grid(0, 1))) == (None, None)
    assert math.isfinite(grid(5.0, 5.0).step)
