"""Thompson sampling: its shares against scipy and against draws, and what the log says of its regret."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fullcircle.errors import DataUnfit
from fullcircle.stats import bandits

ARMS = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 3)), min_size=2, max_size=5)


def test_the_best_of_two_means_is_a_normal_tail() -> None:
    found = bandits.best_of_means([1.0, 0.5], [0.3, 0.4])
    assert found[0] == pytest.approx(stats.norm.cdf(0.5 / 0.5), abs=1e-5)
    assert bandits.best_of_means([1e9, 0.0, 0.0], [1.0, 1.0, 1.0]) == pytest.approx([1.0, 0.0, 0.0])


def test_the_best_of_three_is_what_draws_find() -> None:
    means, errors = np.array([0.10, 0.13, 0.15]), np.array([0.04, 0.04, 0.05])
    drawn = np.random.default_rng(0).normal(means, errors, size=(200_000, 3))
    often = np.bincount(drawn.argmax(axis=1), minlength=3) / 200_000
    assert bandits.best_of_means(means, errors) == pytest.approx(often, abs=0.005)


@settings(max_examples=10, deadline=None)
@given(ARMS, st.randoms())
def test_shares_add_up_do_not_look_at_the_order_of_arms_and_are_the_same_again(
    arms: list[tuple[float, float]], random: object
) -> None:
    order = list(range(len(arms)))
    random.shuffle(order)  # type: ignore[attr-defined]
    means, errors = (np.array(each) for each in zip(*arms, strict=True))
    one = bandits.best_of_means(means, errors)
    assert one.sum() == pytest.approx(1.0)
    assert bandits.best_of_means(means[order], errors[order]) == pytest.approx(one[order], abs=1e-9)
    assert (bandits.best_of_means(means, errors) == one).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.floats(0, 0.2))
def test_no_arm_falls_below_the_floor(chances: list[float], floor: float) -> None:
    if sum(chances) > 0:
        shares = bandits.floored(chances, floor)
        assert shares.sum() == pytest.approx(1.0)
        assert shares.min() >= floor * (1 - 1e-12)
        assert shares[int(np.argmax(chances))] == pytest.approx(shares.max())


def played(seed: int, rates: tuple[float, float], rows: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Thompson split whose shares move every 200 rows."""
    generator = np.random.default_rng(seed)
    values, arms, shares = np.empty(rows), np.empty(rows, dtype=int), np.empty((rows, 2))
    for start in range(0, rows, 200):
        hits = [values[:start][arms[:start] == arm].sum() for arm in (0, 1)]
        counts = [(arms[:start] == arm).sum() for arm in (0, 1)]
        means = np.divide(hits, np.maximum(counts, 1))
        chances = bandits.best_of_means(means, 0.3 / np.sqrt(np.maximum(counts, 1)))
        shares[start : start + 200] = bandits.floored(chances, 0.1)
        arms[start : start + 200] = generator.random(200) < shares[start, 1]
        values[start : start + 200] = generator.random(200) < np.array(rates)[arms[start : start + 200]]
    return values, arms, shares


def test_what_arms_are_worth_is_found_without_bias_however_shares_were_learned() -> None:
    """Plain means of a learned split are too low (an arm that looks bad gets no rows to mend it); these are not."""
    found, plain, errors = [], [], []
    for seed in range(200):
        values, arms, shares = played(seed, (0.1, 0.1), 1000)
        told = bandits.regret(values, arms, shares).arms
        found.append([each.value for each in told])
        errors.append([each.error for each in told])
        plain.append([values[arms == arm].mean() for arm in (0, 1)])
    off = np.abs(np.mean(found, axis=0) - 0.1)
    assert (off < 3 * np.std(found, axis=0) / math.sqrt(200)).all()
    assert np.mean(plain) < np.mean(found)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.25)


def test_a_row_is_weighed_against_the_mean_of_earlier_rows_of_its_arm() -> None:
    """Worked out by hand: m + (y - m) / share where the arm was chosen, else m."""
    lost = bandits.regret([2.0, 6.0, 4.0], [0, 1, 0], [[0.5, 0.5], [0.2, 0.8], [0.4, 0.6]])
    first, second = lost.arms
    assert first.value == pytest.approx((2 / 0.5 + 2 + (2 + 2 / 0.4)) / 3)
    assert second.value == pytest.approx((0 + 6 / 0.8 + 6) / 3)
    assert lost.best == 1
    assert lost.lost.value == pytest.approx(second.value - 4.0)


def test_regret_is_what_was_lost_and_less_than_that_of_equal_shares() -> None:
    values, arms, shares = played(1, (0.1, 0.3))
    found = bandits.regret(values, arms, shares)
    assert found.best == 1
    lost = 0.2 * float((arms == 0).mean())
    assert found.lost.value == pytest.approx(lost, abs=3 * found.lost.error)
    assert found.lost.value < 0.07 < 0.1
    assert found.arms[1].value == pytest.approx(0.3, abs=0.05)


def test_with_equal_shares_regret_is_half_the_difference() -> None:
    generator = np.random.default_rng(2)
    arms = generator.integers(0, 2, 20_000)
    found = bandits.regret(generator.normal(np.array([0.0, 1.0])[arms]), arms, [0.5, 0.5])
    assert found.lost.value == pytest.approx(0.5, abs=0.03)


def test_means_floors_and_rows_that_do_not_fit_are_errors() -> None:
    for wrong in (
        lambda: bandits.best_of_means([1.0, 1.0], [1.0]),
        lambda: bandits.best_of_means([1.0, math.nan], [1.0, 1.0]),
        lambda: bandits.best_of_means([1.0, 1.0], [1.0, 0.0]),
        lambda: bandits.floored([0.5, 0.5], 0.6),
        lambda: bandits.floored([0.0, 0.0], 0.1),
        lambda: bandits.regret([1.0, 2.0], [0, 2], [0.5, 0.5]),
        lambda: bandits.regret([1.0, 2.0], [0, 1], [1.0, 0.0]),
        lambda: bandits.regret([1.0], [0, 1], [0.5, 0.5]),
        lambda: bandits.regret([1.0], [0], [0.5, 0.5]),
    ):
        with pytest.raises(DataUnfit, match="Thompson sampling cannot"):
            wrong()
