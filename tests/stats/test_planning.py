"""Planned sizes: formulas against simulation, and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.stats import planning, randomised, sequences
from fullcircle.stats.intervals import Interval
from fullcircle.stats.planning import Noise

GOAL = -math.log(0.05)
EFFECTS, SHARES = st.floats(0.01, 10), st.floats(0.02, 0.98)


def test_the_size_is_that_of_the_formula_worked_out_by_hand() -> None:
    """A spread of 1, equal arms, an effect of 0.1 at 5 % and 80 %: (3.0351 + 0.8416)^2 (2 / 0.1)^2 rows."""
    found = planning.size(0.1, planning.two_arms(1.0, 0.5), 0.05)
    assert found == pytest.approx((math.sqrt(1 + 8.2119618) + 0.8416212) ** 2 * 400, rel=1e-6)
    assert found == pytest.approx(6011.66, abs=0.1)
    fixed = (1.959964 + 0.8416212) ** 2 * 400  # who looks once
    assert 1.9 < found / fixed < 1.95


def test_planning_is_what_simulation_finds() -> None:
    noise = planning.two_arms(1.0, 0.5)
    rows = math.ceil(planning.size(0.25, noise, 0.05))
    likely = planning.likely(0.25, noise, rows, 0.05)
    generator = np.random.default_rng(0)
    second = generator.random((1000, rows)) < 0.5
    trail = randomised.trail(generator.normal(size=second.shape) + 0.25 * second, second, 0.5)
    known = randomised.log_evidence(trail, randomised.scale(1.0, rows, 0.5, 0.05)) >= GOAL
    assert known[:, -1].mean() == pytest.approx(0.8, abs=0.06)  # at this very row: four Monte-Carlo errors and a bit
    assert 0.82 < known.any(axis=1).mean() < 0.92
    assert known[:, math.ceil(likely) - 1].mean() == pytest.approx(0.5, abs=0.07)
    first = np.where(known.any(axis=1), known.argmax(axis=1), rows)
    assert 0.7 * likely < np.median(first) <= likely


def test_the_width_at_a_size_is_that_of_planning() -> None:
    noise, rows = planning.two_arms(2.0, 0.2), 5000
    generator = np.random.default_rng(1)
    second = generator.random(rows) < 0.2
    trail = randomised.trail(generator.normal(0.0, 2.0, rows), second, 0.2)
    told = randomised.interval(trail.at(-1), randomised.scale(2.0, rows, 0.2, 0.05), 0.05)
    assert planning.narrow((told.high - told.low) / 2, noise, rows, 0.05) == pytest.approx(rows, rel=0.1)


def test_entities_and_pairs_pay_no_price_of_exactness() -> None:
    assert planning.two_arms(1.0, 0.1, exact=False).widen == 1.0
    assert planning.two_arms(1.0, 0.5).widen == pytest.approx(1.0)
    assert planning.two_arms(1.0, 0.1).widen == pytest.approx(math.sqrt(2.02), rel=1e-2)


def test_the_noise_of_two_arms_that_stray_differently_is_that_of_their_difference() -> None:
    """Rates of 10 % and 20 %, or of 20 % and 10 % in a fifth of the rows."""
    found = planning.two_arms(0.3, 0.5, second=0.4)
    assert found.value == pytest.approx(math.sqrt(0.09 / 0.5 + 0.16 / 0.5))
    assert found.widen == pytest.approx(1.0)
    few = planning.two_arms(0.4, 0.2, second=0.3)  # the second arm, of the smaller variance, has a fifth of the rows
    assert few.value == pytest.approx(math.sqrt(0.09 / 0.2 + 0.16 / 0.8))
    pooled = (0.2 * 0.09 + 0.8 * 0.16) * 0.6 / (2 * math.log(4)) / 0.16**2
    assert few.value * few.widen == pytest.approx(math.sqrt(pooled))
    assert planning.two_arms(0.0995, 0.2, second=0.1706).widen == 1.0  # the arm's own variance is the larger bound
    generator, rows = np.random.default_rng(2), 400
    second = generator.random((3000, rows)) < 0.5
    y = generator.random(second.shape) < np.where(second, 0.2, 0.1)
    at = [(y * arm).sum(axis=1) / arm.sum(axis=1) for arm in (second, ~second)]
    assert np.std(at[0] - at[1]) == pytest.approx(found.value / math.sqrt(rows), rel=0.05)


@given(EFFECTS, SHARES, st.floats(0.001, 0.2), st.floats(0.1, 0.95))
def test_at_the_planned_size_the_effect_is_known_with_the_planned_power(
    effect: float, share: float, alpha: float, power: float
) -> None:
    noise = planning.two_arms(1.0, share)
    rows = planning.size(effect, noise, alpha, power)
    assert planning.likely(effect, noise, rows, alpha, power) == pytest.approx(rows, rel=1e-6)


@given(EFFECTS, SHARES, st.floats(0.001, 0.2))
def test_smaller_effects_and_smaller_chances_take_longer(effect: float, share: float, alpha: float) -> None:
    noise = planning.two_arms(1.0, share)
    rows = planning.size(effect, noise, alpha)
    assert planning.size(effect / 2, noise, alpha) == pytest.approx(4 * rows)
    assert planning.size(effect, noise, alpha / 2) > rows
    assert planning.size(-effect, noise, alpha) == rows
    assert planning.likely(effect / 2, noise, rows, alpha) > planning.likely(effect, noise, rows, alpha)
    assert planning.narrow(effect / 2, noise, rows, alpha) > planning.narrow(effect, noise, rows, alpha)


@given(st.floats(0.02, 0.5))
def test_equal_arms_decide_soonest_and_swapped_ones_as_soon(share: float) -> None:
    one, other = planning.two_arms(1.0, share), planning.two_arms(1.0, 1 - share)
    assert one == pytest.approx(other)
    assert planning.size(1.0, one, 0.05) >= planning.size(1.0, planning.two_arms(1.0, 0.5), 0.05) * (1 - 1e-9)


def test_no_effect_is_never_known_but_the_sequence_gets_narrow() -> None:
    assert planning.likely(0.0, Noise(1.0), 100.0, 0.05) == math.inf
    assert planning.narrow(0.1, Noise(1.0), 1000.0, 0.05) == pytest.approx(brentq_rows(0.1, 1000.0), rel=1e-6)


def test_a_difference_that_is_seen_leaves_the_bounds_less_room() -> None:
    """It is known that nothing as large is left where half the width is no more than what lies between the two."""
    noise, effect = Noise(1.0), 0.1
    assert planning.narrow(effect, noise, 1000.0, 0.05, 0.06) == pytest.approx(brentq_rows(0.04, 1000.0), rel=1e-6)
    assert planning.narrow(effect, noise, 1000.0, 0.05, -0.06) == planning.narrow(effect, noise, 1000.0, 0.05, 0.06)
    assert planning.narrow(effect, noise, 1000.0, 0.05, 0.1) == math.inf
    assert planning.narrow(effect, noise, 1000.0, 0.05, -0.3) == math.inf


@given(st.floats(0.01, 10.0), st.floats(30.0, 1e5), st.floats(0.05, 0.95))
def test_bounds_that_are_known_tell_the_noise(half: float, n: float, share: float) -> None:
    noise = planning.as_wide(planning.two_arms(1.0, share), half, n, 1000.0, 0.05)
    assert noise.widen == planning.two_arms(1.0, share).widen
    assert planning.narrow(half, noise, 1000.0, 0.05) == pytest.approx(n, rel=1e-6)


def brentq_rows(margin: float, planned: float) -> float:
    from scipy.optimize import brentq

    def excess(n: float) -> float:
        return float(sequences.multiplier(sequences.best(0.05) * n / planned, 0.05)) / math.sqrt(n) - margin

    return float(brentq(excess, 1.0, 1e6, rtol=1e-12))


@pytest.mark.parametrize(
    ("low", "high", "up", "said"),
    [
        (0.1, 0.5, True, "better"),
        (0.1, 0.5, False, "worse"),
        (-0.5, -0.1, True, "worse"),
        (-0.5, -0.1, False, "better"),
        (-0.1, 0.15, True, "same"),
        (-0.2, 0.1, True, "undecided"),
        (-0.1, 0.3, True, "undecided"),
        (-math.inf, math.inf, True, "undecided"),
        (0.0, 0.5, True, "undecided"),
        (math.nan, math.nan, True, "undecided"),
    ],
)
def test_a_standing_is_said_only_when_the_bounds_say_it(low: float, high: float, up: bool, said: str) -> None:
    assert planning.standing(Interval(0.0, low, high), 0.2, up=up) == said


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_nothing_can_be_planned_without_a_spread(bad: float) -> None:
    with pytest.raises(DataUnfit, match="spread"):
        planning.two_arms(bad, 0.5)


def test_nothing_can_be_planned_without_an_effect_or_power() -> None:
    with pytest.raises(DataUnfit, match="effect"):
        planning.size(0.0, Noise(1.0), 0.05)
    with pytest.raises(DataUnfit, match="power"):
        planning.size(1.0, Noise(1.0), 0.05, power=1.0)
