"""The difference of two arms from chance alone: laws, exact small cases, and how often it is wrong at any row."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.stats import randomised
from fullcircle.stats.randomised import Trail

GOAL = -math.log(0.05)
ROWS = st.lists(st.tuples(st.floats(-50, 50), st.booleans(), st.floats(0.05, 0.95)), min_size=2, max_size=40)


def parts(rows: list[tuple[float, bool, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, second, share = (np.array(each) for each in zip(*rows, strict=True))
    return values, second, share


def test_the_proxy_is_that_of_kearns_and_saul() -> None:
    assert float(randomised.proxy(0.5)) == 0.25
    assert randomised.proxy([0.1, 0.9]) == pytest.approx([0.8 / (2 * math.log(9))] * 2)
    assert randomised.proxy([0.3, 0.1, 0.05]) / [0.21, 0.09, 0.0475] == pytest.approx([1.12, 2.02, 3.22], abs=0.01)
    near = randomised.proxy([0.5 + 4.9e-5, 0.5 + 5.1e-5])
    assert near[0] == pytest.approx(near[1], rel=1e-8)


@given(st.floats(0.001, 0.999), st.floats(-30, 30))
def test_the_proxy_bounds_the_moments_of_one_draw(share: float, x: float) -> None:
    mean = math.log(share * math.exp(x * (1 - share)) + (1 - share) * math.exp(-x * share))
    assert mean <= x * x * float(randomised.proxy(share)) / 2 + 1e-9


@pytest.mark.parametrize("share", [0.5, 0.2, 0.93])
def test_the_e_value_is_at_most_one_on_average_over_all_ways_to_draw_the_arms(share: float) -> None:
    """Fisher: the values stand, all 2^8 assignments are weighed by their chance. No simulation, no limit."""
    values = np.array([3.0, -1.0, 0.0, 0.0, 1000.0, 2.0, 2.0, -7.0])
    ways = np.array(list(itertools.product([False, True], repeat=8)))
    weight = np.where(ways, share, 1 - share).prod(axis=1)
    trail = randomised.trail(np.broadcast_to(values, ways.shape), ways, share)
    for scale in (0.1, 100.0, 1e6):
        means = weight @ np.exp(randomised.log_evidence(trail, scale))
        assert means.max() <= 1.0 + 1e-9
        assert means[-1] <= means[1] + 1e-9  # it can only fall from row to row


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_an_effect_that_is_there_is_refused_no_more_than_it_may(share: float) -> None:
    values = np.array([3.0, -1.0, 0.0, 0.0, 40.0, 2.0, 2.0, -7.0])
    ways = np.array(list(itertools.product([False, True], repeat=8)))
    weight = np.where(ways, share, 1 - share).prod(axis=1)
    trail = randomised.trail(values + 5.0 * ways, ways, share)
    assert (weight @ np.exp(randomised.log_evidence(trail, 50.0, 5.0))).max() <= 1.0 + 1e-9


@given(ROWS, st.floats(-5, 5), st.floats(0.1, 100))
def test_the_evidence_is_that_of_a_plain_loop(
    rows: list[tuple[float, bool, float]], effect: float, scale: float
) -> None:
    trail = randomised.trail(*parts(rows))
    total = bound = seen = 0.0
    before: list[float] = []
    for row, (value, second, share) in enumerate(rows):
        rest = value - effect * second
        step = rest - (sum(before) / len(before) if before else rest)
        weight = 1 / share if second else -1 / (1 - share)
        total += weight * step
        bound += float(randomised.proxy(share)) * (step / (share * (1 - share))) ** 2
        seen += (weight * step) ** 2
        before.append(rest)
        spent = max(bound, seen) + scale
        evidence = (total**2 / spent - math.log(spent / scale)) / 2
        found = float(randomised.log_evidence(trail.at(row), scale, effect))
        assert found == pytest.approx(evidence, rel=1e-6, abs=1e-6)


@given(ROWS)
def test_arms_that_swap_turn_the_sign(rows: list[tuple[float, bool, float]]) -> None:
    values, second, share = parts(rows)
    one = randomised.interval(randomised.trail(values, second, share).at(-1), 10.0, 0.05)
    other = randomised.interval(randomised.trail(values, ~second, 1 - share).at(-1), 10.0, 0.05)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-6, abs=1e-6)


@given(ROWS, st.floats(-100, 100))
def test_the_origin_of_the_values_does_not_matter(rows: list[tuple[float, bool, float]], shift: float) -> None:
    values, second, share = parts(rows)
    one, other = (randomised.trail(each, second, share) for each in (values, values + shift))
    assert randomised.log_evidence(one, 5.0) == pytest.approx(randomised.log_evidence(other, 5.0), abs=1e-6)


@given(ROWS, st.integers(1, 40))
def test_rows_so_far_give_the_same_whatever_comes_after(rows: list[tuple[float, bool, float]], cut: int) -> None:
    values, second, share = parts(rows)
    whole, part = randomised.trail(values, second, share), randomised.trail(values[:cut], second[:cut], share[:cut])
    for one, other in zip(whole, part, strict=True):
        assert one[:cut] == pytest.approx(other, abs=1e-9)


@given(ROWS, st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_smaller_chance_is_a_wider_interval(rows: list[tuple[float, bool, float]], a: float, b: float) -> None:
    at = randomised.trail(*parts(rows)).at(-1)
    wide, narrow = (randomised.interval(at, 10.0, alpha) for alpha in sorted((a, b)))
    slack = 1e-9 * (1 + abs(narrow.value)) if math.isfinite(narrow.value) else 0.0
    assert wide.low <= narrow.low + slack
    assert wide.high >= narrow.high - slack


def test_the_interval_ends_where_the_evidence_does_and_holds_0_exactly_where_it_is_not_refused() -> None:
    generator = np.random.default_rng(0)
    seen = set()
    for effect in (0.0, 0.2, 0.4, 0.8):
        second = generator.random(400) < 0.4
        at = randomised.trail(generator.normal(size=400) + effect * second, second, 0.4).at(-1)
        scale = randomised.scale(1.0, 400, 0.4, 0.05)
        told = randomised.interval(at, scale, 0.05)
        for edge in (told.low, told.high):
            assert float(randomised.log_evidence(at, scale, edge)) == pytest.approx(GOAL, rel=1e-6)
        refused = bool(randomised.log_evidence(at, scale) >= GOAL)
        assert refused == (not told.low <= 0.0 <= told.high)
        seen.add(refused)
    assert seen == {True, False}


def test_with_equal_arms_it_is_as_narrow_as_the_asymptotic_one() -> None:
    from fullcircle.stats import sequences

    generator, n = np.random.default_rng(1), 4000
    second = generator.random(n) < 0.5
    values = generator.normal(5.0, 2.0, n)
    told = randomised.interval(randomised.trail(values, second, 0.5).at(-1), randomised.scale(2, n, 0.5, 0.05), 0.05)
    found = sequences.difference(sequences.mean(values[second]), sequences.mean(values[~second]))
    other = sequences.sequence(found, n / 4, 0.05)
    assert told.high - told.low == pytest.approx(other.high - other.low, rel=0.03)
    assert told.value == pytest.approx(other.value, abs=0.02)


def test_a_wrong_guess_of_the_spread_makes_it_wider_not_wrong() -> None:
    generator, n = np.random.default_rng(2), 1000
    second = generator.random((500, n)) < 0.5
    trail = randomised.trail(generator.normal(size=second.shape), second, 0.5)
    widths = []
    for spread in (0.1, 1.0, 10.0):
        scale = randomised.scale(spread, n, 0.5, 0.05)
        assert (randomised.log_evidence(trail, scale) >= GOAL).any(axis=1).mean() <= 0.05
        told = randomised.interval(Trail(*(each[0, -1] for each in trail)), scale, 0.05)
        widths.append(told.high - told.low)
    assert widths[1] < min(widths[0], widths[2])


@pytest.mark.parametrize(
    ("first", "second", "share", "effect"),
    [
        (lambda g, s: g.normal(0, 1, s), lambda g, s: g.normal(0, 3, s), 0.5, 0.0),
        (lambda g, s: g.normal(0, 1, s), lambda g, s: g.normal(0, 3, s), 0.1, 0.0),
        (lambda g, s: (g.random(s) < 0.1) * 1.0, lambda g, s: (g.random(s) < 0.2) * 1.0, 0.5, 0.1),
        (lambda g, s: g.lognormal(0, 1, s), lambda g, s: np.full(s, math.exp(0.5)), 0.5, 0.0),
    ],
    ids=["other variance", "other variance, one in ten", "rates", "other skew"],
)
def test_the_mean_effect_is_held_at_every_row_where_effects_differ(
    first: object, second: object, share: float, effect: float
) -> None:
    generator, size = np.random.default_rng(3), (200, 2000)
    arm = generator.random(size) < share
    y = np.where(arm, second(generator, size), first(generator, size))  # type: ignore[operator]
    trail = randomised.trail(y, arm, share)
    wrong = (randomised.log_evidence(trail, randomised.scale(1.0, 2000, share, 0.05), effect) >= GOAL).any(axis=1)
    assert wrong.mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


def test_a_trend_and_a_ramp_together_do_not_deceive_it() -> None:
    """Later rows are worth more, and more of them go to the second arm: the difference of the means is all trend."""
    generator, n = np.random.default_rng(4), 2000
    share = np.where(np.arange(n) < 1000, 0.1, 0.5)
    arm = generator.random((200, n)) < share
    y = generator.normal(size=arm.shape) + np.linspace(0.0, 3.0, n)
    naive = [row[a].mean() - row[~a].mean() for row, a in zip(y, arm, strict=True)]
    assert np.mean(naive) > 0.5
    trail = randomised.trail(y, arm, share)
    assert (randomised.log_evidence(trail, randomised.scale(1.5, n, 0.3, 0.05)) >= GOAL).any(axis=1).mean() <= 0.05
    values = [randomised.interval(Trail(*(each[run, -1] for each in trail)), 1e4, 0.05).value for run in range(200)]
    assert abs(np.mean(values)) < 0.05


def test_before_both_arms_have_rows_nothing_is_said() -> None:
    for rows in ([1.0], [1.0, 2.0], []):
        trail = randomised.trail(rows, [True] * len(rows), 0.5)
        if rows:
            told = randomised.interval(trail.at(-1), 1.0, 0.05)
            assert (told.low, told.high) == (-math.inf, math.inf)
    assert trail.rows.shape == (0,)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_a_row_that_could_not_go_to_both_arms_is_an_error(share: float) -> None:
    with pytest.raises(DataUnfit, match="one arm only"):
        randomised.trail([1.0, 2.0], [True, False], [0.5, share])


@pytest.mark.parametrize(("values", "second"), [([1.0], [True, False]), ([math.nan, 1.0], [True, False])])
def test_values_without_arms_and_arms_without_values_are_errors(values: list[float], second: list[bool]) -> None:
    with pytest.raises(DataUnfit, match="do not belong together"):
        randomised.trail(values, second, 0.5)


@pytest.mark.parametrize(("spread", "planned"), [(0.0, 100.0), (1.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)])
def test_there_must_be_a_spread_and_a_size(spread: float, planned: float) -> None:
    with pytest.raises(DataUnfit, match="spread and a size"):
        randomised.scale(spread, planned, 0.5, 0.05)
