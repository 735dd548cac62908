"""Intervals: against scipy, against the truth in simulations, and at the ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fullcircle.errors import DataUnfit
from fullcircle.stats.intervals import SCALES, bootstrap, delta, mean, paired_mean_difference, proportion, score

numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@given(numbers)
def test_the_mean_and_its_interval_are_students(values: list[float]) -> None:
    found = mean(values)
    assert found.value == pytest.approx(np.mean(values))
    if np.std(values) > 1e-9:
        spread = float(stats.sem(values))
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=spread)
        assert found[1:] == pytest.approx((low, high), rel=1e-6)


def test_the_mean_interval_holds_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(4)
    held = [low <= 3.0 <= high for _, low, high in (mean(rng.normal(3.0, 2.0, 8)) for _ in range(4000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf, 1.0]])
def test_a_mean_that_cannot_be_told_is_nan(values: list[float]) -> None:
    assert all(math.isnan(part) for part in mean(values))


def test_one_value_has_a_mean_and_no_interval() -> None:
    found = mean([2.5])
    assert found.value == 2.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_proportion_is_wilsons(pair: tuple[int, int]) -> None:
    k, n = pair
    found = proportion(k, n)
    known = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert found.value == k / n
    assert found.low == pytest.approx(known.low, abs=1e-12)
    assert found.high == pytest.approx(known.high, abs=1e-12)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_a_proportion_of_nothing_is_nan_and_an_impossible_one_is_refused() -> None:
    assert all(math.isnan(part) for part in proportion(0, 0))
    for k, n in ((-1, 3), (4, 3)):
        with pytest.raises(DataUnfit, match=r"does not fit"):
            proportion(k, n)


def test_pairing_removes_what_both_have_in_common() -> None:
    rng = np.random.default_rng(5)
    common = rng.normal(0, 100, 200)
    a, b = common + rng.normal(1.0, 0.5, 200), common
    found = paired_mean_difference(a, b)
    assert found.low < 1.0 < found.high
    assert found.high - found.low < 0.3
    known = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found[1:] == pytest.approx((known.low, known.high))


def test_pairs_of_unequal_length_are_refused_with_both_lengths() -> None:
    with pytest.raises(DataUnfit) as caught:
        paired_mean_difference([1.0, 2.0], [1.0])
    assert caught.value.received == "2, 1"


def _mean_error(a: NDArray[Any], b: NDArray[Any]) -> Any:
    return np.abs(a - b).mean(axis=-1)


def test_the_bootstrap_agrees_with_scipy_and_with_the_t_interval() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=300), rng.normal(size=300)
    found = bootstrap(_mean_error, a, b, seed=1, draws=2000)
    known = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.abs(x - y).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    exact = mean(np.abs(a - b))
    assert found.value == pytest.approx(exact.value)
    for low, high in ((known.low, known.high), (exact.low, exact.high)):
        assert found.low == pytest.approx(low, abs=0.012)
        assert found.high == pytest.approx(high, abs=0.012)


def test_the_bootstrap_gives_the_same_figures_for_a_seed_and_for_both_ways_of_calling() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=50), rng.normal(size=50)
    one = bootstrap(_mean_error, a, b, seed=3)
    assert one == bootstrap(_mean_error, a, b, seed=3)
    assert one == pytest.approx(bootstrap(_mean_error, a, b, seed=3, vectorised=True))
    assert one != bootstrap(_mean_error, a, b, seed=4)


def test_the_bootstrap_draws_rows_of_all_arrays_together() -> None:
    a = np.arange(40.0)
    found = bootstrap(_mean_error, a, a + 2.0, seed=0)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_the_bootstrap_takes_probabilities_of_several_classes_and_many_rows() -> None:
    rng = np.random.default_rng(9)
    chances = rng.dirichlet(np.ones(3), size=5000)
    picked = rng.integers(0, 3, 5000)

    def chosen(p: NDArray[Any], y: NDArray[Any]) -> Any:
        return np.take_along_axis(p, y[..., None], axis=-1)[..., 0].mean(axis=-1)

    found = bootstrap(chosen, chances, picked, seed=1, draws=300, vectorised=True)
    assert found.low < 1 / 3 < found.high
    assert found.high - found.low < 0.05


def test_the_bootstrap_has_no_bounds_where_most_draws_have_no_value() -> None:
    labels = np.array([1] + [0] * 9)

    def needs_both(y: NDArray[Any]) -> float:
        return float(y.mean()) if 0 < y.mean() < 1 else math.nan

    found = bootstrap(needs_both, labels, seed=0)
    assert found.value == pytest.approx(0.1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_bootstrap_of_nothing_one_row_and_unequal_arrays() -> None:
    assert all(math.isnan(part) for part in bootstrap(np.mean, [], seed=0))
    one = bootstrap(np.mean, [4.0], seed=0)
    assert one.value == 4.0
    assert math.isnan(one.low)
    with pytest.raises(DataUnfit):
        bootstrap(_mean_error, [1.0, 2.0], [1.0], seed=0)
    with pytest.raises(DataUnfit):
        bootstrap(np.mean, seed=0)


def test_a_statistic_without_a_value_has_no_bounds_even_where_draws_have_one() -> None:
    def unless_all_differ(values: NDArray[Any]) -> float:
        return math.nan if len(np.unique(values)) == len(values) else float(values.mean())

    found = bootstrap(unless_all_differ, np.arange(8.0), seed=0, draws=50)
    assert all(math.isnan(part) for part in found)


@pytest.mark.parametrize(("undefined", "known"), [(0, True), (1, True), (2, False), (10, False)])
def test_one_draw_in_ten_may_be_undefined_and_not_more(undefined: int, known: bool) -> None:
    asked = 0

    def sometimes(values: NDArray[Any]) -> float:
        nonlocal asked
        asked += 1
        return math.nan if 1 < asked <= 1 + undefined else float(values.mean())

    found = bootstrap(sometimes, np.arange(20.0), seed=0, draws=10)
    assert found.value == pytest.approx(9.5)
    assert math.isfinite(found.low) is known
    assert math.isfinite(found.high) is known


def test_a_single_draw_bounds_nothing() -> None:
    found = bootstrap(np.mean, [1.0, 2.0, 3.0], seed=0, draws=1)
    assert found.value == 2.0
    assert math.isnan(found.low)


def test_the_statistic_is_asked_as_it_was_said() -> None:
    shapes: list[tuple[int, ...]] = []

    def listening(values: NDArray[Any]) -> Any:
        shapes.append(values.shape)
        return values.mean(axis=-1)

    bootstrap(listening, np.arange(6.0), seed=0, draws=5)
    assert shapes == [(6,)] * 6
    shapes.clear()
    bootstrap(listening, np.arange(6.0), seed=0, draws=5, vectorised=True)
    assert shapes == [(1, 6), (5, 6)]


def test_no_array_at_all_is_refused_in_words() -> None:
    with pytest.raises(DataUnfit) as caught:
        bootstrap(np.mean, seed=0)
    assert caught.value.received == "nothing"
    assert caught.value.next_step


@given(numbers, st.integers(0, 5))
def test_a_bootstrap_of_the_mean_stays_within_the_values(values: list[float], seed: int) -> None:
    found = bootstrap(np.mean, values, seed=seed, draws=40)
    slack = 1e-9 * max(1.0, max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


@given(numbers, st.floats(-1e3, 1e3), st.sampled_from([0.5, 2.0, -3.0]))
def test_a_mean_moves_and_stretches_with_its_values(values: list[float], shift: float, factor: float) -> None:
    plain, moved = mean(values), mean([factor * value + shift for value in values])
    ends = sorted(factor * end + shift for end in (plain.low, plain.high))
    assert moved.value == pytest.approx(factor * plain.value + shift, abs=1e-5)
    assert [moved.low, moved.high] == pytest.approx(ends, rel=1e-9, abs=1e-3)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_proportion_and_its_opposite_mirror_each_other(pair: tuple[int, int]) -> None:
    k, n = pair
    found, opposite = proportion(k, n), proportion(n - k, n)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.low == pytest.approx(1.0 - opposite.high, abs=1e-12)
    assert found.high == pytest.approx(1.0 - opposite.low, abs=1e-12)
    wider = proportion(10 * k, 10 * n)
    assert wider.high - wider.low < found.high - found.low


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_score_interval_is_that_of_a_proportion_for_whole_rows_and_lies_between_for_others(
    pair: tuple[int, int],
) -> None:
    k, n = pair
    assert score(k / n, n) == proportion(k, n)
    between = score(k / n, n + 0.5)
    assert proportion(k, n).low <= between.low <= between.value <= between.high <= proportion(k, n).high


@pytest.mark.parametrize(("share", "n"), [(0.5, 0.0), (0.5, math.nan), (-0.1, 5.0), (1.1, 5.0), (math.nan, 5.0)])
def test_a_share_that_is_none_has_no_score_interval(share: float, n: float) -> None:
    assert all(math.isnan(part) for part in score(share, n))


@pytest.mark.parametrize("name", SCALES)
@settings(deadline=None)
@given(st.floats(0.001, 0.999))
def test_scales_lead_back_and_their_slope_is_the_derivative(name: str, x: float) -> None:
    scale = SCALES[name]
    assert scale.low < x < scale.high
    assert scale.back(scale.there(x)) == pytest.approx(x, rel=1e-9)
    slope = (scale.there(x + 1e-7) - scale.there(x - 1e-7)) / 2e-7
    assert scale.slope(x) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("name", SCALES)
@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.0, 1e6), st.floats(1.0, 1e6))
def test_a_delta_interval_holds_its_value_and_stays_on_its_scale(
    name: str, value: float, error: float, degrees: float
) -> None:
    scale, found = SCALES[name], delta(value, error, degrees, name)
    assert scale.low <= found.low <= value <= found.high <= scale.high
    wider = delta(value, error * 2.0, degrees, name)
    assert wider.low <= found.low
    assert wider.high >= found.high


def test_a_delta_interval_without_a_scale_is_students() -> None:
    values = np.random.default_rng(0).normal(size=12)
    found = delta(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(12), 11)
    assert tuple(found) == pytest.approx(tuple(mean(values)))
    assert delta(1000.0, 500.0, 1e9).high == pytest.approx(1000.0 + 500.0 * 1.959964)


def test_a_small_error_gives_the_same_on_every_scale() -> None:
    plain = delta(0.4, 1e-5, 1e6)
    for name in SCALES:
        assert tuple(delta(0.4, 1e-5, 1e6, name)) == pytest.approx(tuple(plain), abs=1e-8)


@pytest.mark.parametrize(
    ("value", "error", "degrees", "scale"),
    [
        (0.0, 0.1, 9.0, "log"),
        (1.0, 0.1, 9.0, "logit"),
        (0.0, 0.1, 9.0, "logit"),
        (-1.0, 0.1, 9.0, "Fisher z"),
        (1.0, 0.1, 9.0, "log(1 - x)"),
        (0.5, math.nan, 9.0, ""),
        (0.5, 0.1, 0.5, ""),
        (math.nan, 0.1, 9.0, ""),
    ],
)
def test_the_delta_method_says_nothing_on_a_border(value: float, error: float, degrees: float, scale: str) -> None:
    found = delta(value, error, degrees, scale)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
