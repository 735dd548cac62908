"""Reliability, calibration error and recalibration: references, laws, coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from fullcircle.errors import DataUnfit
from fullcircle.stats import calibration, intervals, recalibration


def _drawn(rows: int, seed: int, said: Any = lambda share: share) -> tuple[Any, Any]:
    """Probabilities that a model says about shares, and what happens."""
    generator = np.random.default_rng(seed)
    share = generator.beta(1.2, 2.0, rows)
    return said(share), (generator.random(rows) < share).astype(float)


def _square(share: Any) -> Any:
    return share**2


def _bold(share: Any) -> Any:
    return expit(2 * logit(share))


class TestReliability:
    def test_ten_bins_of_equal_count_hold_the_means_of_their_rows(self) -> None:
        said, happened = _drawn(1000, 0)
        found = calibration.reliability(said, happened)
        assert found.rows.tolist() == [100] * 10
        order = np.argsort(said)
        for bin_, rows in enumerate(np.split(order, 10)):
            assert found.low[bin_] == said[rows].min()
            assert found.high[bin_] == said[rows].max()
            assert found.predicted[bin_] == pytest.approx(said[rows].mean(), abs=1e-12)
            assert found.actual[bin_] == pytest.approx(happened[rows].mean(), abs=1e-12)
            wilson = intervals.proportion(int(happened[rows].sum()), 100)
            assert (found.lower[bin_], found.upper[bin_]) == pytest.approx(wilson[1:], abs=1e-12)
            assert set(found.of_row[rows].tolist()) == {bin_}

    def test_bins_of_numbers_have_t_intervals(self) -> None:
        generator = np.random.default_rng(0)
        said = generator.normal(size=100)
        happened = said + generator.normal(size=100)
        found = calibration.reliability(said, happened, shares=False)
        for bin_ in range(len(found.rows)):
            expected = intervals.mean(happened[found.of_row == bin_])
            assert (found.actual[bin_], found.lower[bin_], found.upper[bin_]) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize(("rows", "bins"), [(1, 1), (19, 1), (40, 2), (100, 5), (200, 10), (5000, 10)])
    def test_few_rows_make_few_bins(self, rows: int, bins: int) -> None:
        assert len(calibration.reliability(*_drawn(rows, 1)).rows) == bins

    @given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=1, max_size=300))
    def test_equal_predictions_stay_together_and_no_row_is_lost(self, said: list[float]) -> None:
        found = calibration.reliability(said, np.zeros(len(said)))
        assert found.rows.sum() == len(said)
        assert found.part.sum() == pytest.approx(1.0)
        assert len(set(zip(said, found.of_row.tolist(), strict=True))) == len(set(said))
        assert np.all(found.high[:-1] < found.low[1:])
        assert found.rows.min() * 2 * max(1, min(10, len(said) // 20)) >= len(said) or len(found.rows) == 1

    def test_a_weight_of_two_is_a_row_twice(self) -> None:
        said, happened = _drawn(400, 2)
        weights = np.random.default_rng(3).integers(1, 3, 400)
        found = calibration.reliability(said, happened, weights)
        for bin_ in range(len(found.rows)):
            here = found.of_row == bin_
            twice = np.repeat(happened[here], weights[here])
            assert found.actual[bin_] == pytest.approx(twice.mean(), abs=1e-12)
            assert found.part[bin_] == pytest.approx(weights[here].sum() / weights.sum(), abs=1e-12)

    def test_equal_weights_change_nothing(self) -> None:
        said, happened = _drawn(500, 2)
        plain = calibration.expected_error(said, happened)
        assert calibration.expected_error(said, happened, np.full(500, 7.0)) == pytest.approx(plain, abs=1e-12)

    @pytest.mark.parametrize(
        ("said", "happened", "weights"),
        [([], [], None), ([0.1], [0, 1], None), ([math.nan], [1], None), ([0.1], [1], [0.0]), ([0.1], [1], [1, 2])],
    )
    def test_what_cannot_be_compared_is_refused(self, said: Any, happened: Any, weights: Any) -> None:
        with pytest.raises(DataUnfit):
            calibration.reliability(said, happened, weights)


class TestExpectedError:
    def test_a_known_error_is_found_in_one_bin(self) -> None:
        found = calibration.expected_error(np.full(1000, 0.3), np.r_[np.ones(500), np.zeros(500)])
        assert found.value == pytest.approx(0.2, abs=1e-9)
        assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 999) * math.sqrt(251 / 999 / 1000), 1e-6)

    def test_it_is_the_usual_estimate_where_chance_adds_nothing(self) -> None:
        said, happened = _drawn(20_000, 4, _square)
        found = calibration.reliability(said, happened)
        usual = float(np.sum(found.part * np.abs(found.gap)))
        assert calibration.expected_error(said, happened).value == pytest.approx(usual, abs=1e-4)

    def test_chance_is_taken_off_where_there_is_nothing_else(self) -> None:
        values, usual = [], []
        for seed in range(100):
            said, happened = _drawn(1000, seed)
            found = calibration.reliability(said, happened)
            usual.append(float(np.sum(found.part * np.abs(found.gap))))
            values.append(calibration.expected_error(said, happened).value)
        assert np.mean(values) < 0.65 * np.mean(usual)
        assert min(values) >= 0.0

    @pytest.mark.parametrize(("said", "truth"), [(_square, 0.17849), (_bold, 0.09969)])
    def test_the_interval_covers_the_truth(self, said: Any, truth: float) -> None:
        # The truth is that of ten bins on four million rows.
        found = [calibration.expected_error(*_drawn(1000, seed, said)) for seed in range(600)]
        assert 0.93 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.97

    def test_a_calibrated_model_is_said_to_be_one(self) -> None:
        found = [calibration.expected_error(*_drawn(500, seed)) for seed in range(300)]
        assert np.mean([each.low == 0.0 for each in found]) >= 0.94

    def test_numbers_have_their_own_unit(self) -> None:
        generator = np.random.default_rng(5)
        said = generator.normal(size=2000)
        happened = said + generator.normal(size=2000)
        one = calibration.expected_error(said + 0.5, happened, shares=False)
        ten = calibration.expected_error(10 * (said + 0.5), 10 * happened, shares=False)
        assert one.value == pytest.approx(0.5, abs=0.06)
        assert ten == pytest.approx([10 * each for each in one], rel=1e-9)

    def test_one_row_has_no_interval(self) -> None:
        found = calibration.expected_error([0.3], [1.0])
        assert found.value == pytest.approx(0.7)
        assert math.isnan(found.low)
        assert math.isnan(found.high)

    def test_all_alike_is_not_known_exactly(self) -> None:
        found = calibration.expected_error(np.full(20, 0.9), np.ones(20))
        assert found.low == 0.0
        assert found.high - found.value > 0.05


class TestStandardError:
    def test_it_is_that_of_a_mean(self) -> None:
        values = np.random.default_rng(0).normal(size=50)
        assert calibration.standard_error(values) == pytest.approx(stats.sem(values), rel=1e-12)
        assert calibration.standard_error(values, np.full(50, 3.0)) == pytest.approx(stats.sem(values), rel=1e-12)
        assert math.isnan(calibration.standard_error([1.0]))

    def test_it_knows_uneven_weights(self) -> None:
        generator = np.random.default_rng(1)
        weights = generator.uniform(0.5, 2.0, size=80)
        drawn = generator.normal(size=(4000, 80))
        means = drawn @ weights / weights.sum()
        errors = [calibration.standard_error(each, weights) for each in drawn[:1000]]
        assert np.mean(errors) == pytest.approx(means.std(), rel=0.05)


class TestChance:
    @settings(max_examples=100)
    @given(st.integers(1, 200), st.floats(0.001, 0.999), st.data())
    def test_it_is_never_below_the_exact_p_value(self, rows: int, share: float, data: st.DataObject) -> None:
        hits = data.draw(st.integers(0, rows))
        happened = np.r_[np.ones(hits), np.zeros(rows - hits)]
        law = stats.binom(rows, share)
        exact = min(1.0, 2 * min(law.cdf(hits), law.sf(hits - 1)))
        assert calibration.chance(np.full(rows, share), happened) >= exact * (1 - 1e-9)

    @pytest.mark.parametrize(("share", "hits"), [(0.5, 600), (0.1, 150), (0.9, 850)])
    def test_it_is_not_far_above(self, share: float, hits: int) -> None:
        law = stats.binom(1000, share)
        exact = 2 * min(law.cdf(hits), law.sf(hits - 1))
        found = calibration.chance(np.full(1000, share), np.r_[np.ones(hits), np.zeros(1000 - hits)])
        assert exact < found < 30 * exact

    def test_rare_events_in_a_small_group_are_no_alarm(self) -> None:
        # Four of twenty at 2 % are 5.7 standard errors, and yet they come up once in 800 times.
        assert calibration.chance(np.full(20, 0.02), np.r_[np.ones(4), np.zeros(16)]) > 1e-3

    def test_what_cannot_happen_is_as_improbable_as_it_gets(self) -> None:
        assert calibration.chance([0.0], [1]) < 1e-20
        assert calibration.chance([1.0], [0]) < 1e-20
        assert calibration.chance([1.0, 0.0], [1, 0]) == 1.0

    def test_spiegelhalters_statistic_finds_too_bold_probabilities(self) -> None:
        said, happened = _drawn(2000, 6, _bold)
        assert calibration.chance(said, happened, 1 - 2 * said) < 1e-6
        honest, happened = _drawn(2000, 6)
        assert calibration.chance(honest, happened, 1 - 2 * honest) > 0.01


class TestMostImprobable:
    def test_true_probabilities_are_seldom_improbable(self) -> None:
        low = 0
        for seed in range(200):
            said, happened = _drawn(300, seed)
            low += calibration.most_improbable(said, happened, None, calibration.reliability(said, happened)) < 0.01
        assert low <= 3

    def test_one_bad_bin_is_enough(self) -> None:
        said, happened = _drawn(2000, 7)
        happened[(said > 0.5) & (said < 0.6)] = 1.0
        found = calibration.reliability(said, happened)
        assert calibration.most_improbable(said, happened, None, found) < 1e-6

    @pytest.mark.parametrize(("off", "low"), [(0.0, False), (0.3, True)])
    def test_numbers(self, off: float, low: bool) -> None:
        generator = np.random.default_rng(8)
        said = generator.normal(size=1000)
        happened = said + generator.normal(size=1000) + off
        found = calibration.reliability(said, happened, shares=False)
        assert (calibration.most_improbable(said, happened, None, found, shares=False) < 0.001) is low

    def test_a_bin_that_is_quiet_by_luck_is_not_taken_at_its_word(self) -> None:
        generator = np.random.default_rng(8)
        said = np.linspace(0.0, 1.0, 1000)
        happened = said + generator.normal(size=1000)
        happened[300:400] = said[300:400] + 0.02 + 0.001 * generator.normal(size=100)
        found = calibration.reliability(said, happened, shares=False)
        assert found.gap[3] / found.error[3] > 50.0
        assert calibration.most_improbable(said, happened, None, found, shares=False) > 0.05

    def test_numbers_that_are_exact_or_off_by_a_constant(self) -> None:
        said = np.linspace(0.0, 1.0, 100)
        right = calibration.reliability(said, said, shares=False)
        assert calibration.most_improbable(said, said, None, right, shares=False) == 1.0
        shifted = calibration.reliability(said, said + 1.0, shares=False)
        assert calibration.most_improbable(said, said + 1.0, None, shifted, shares=False) < 1e-6


class TestRecalibration:
    def test_the_slope_is_that_of_a_logistic_regression(self) -> None:
        said, happened = _drawn(800, 9, _square)
        weights = np.random.default_rng(9).integers(1, 4, 800)
        model = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
        model.fit(logit(said)[:, None], happened, sample_weight=weights)
        found = recalibration.logistic_slope(said, happened, weights)
        assert found.value == pytest.approx(model.coef_[0, 0], abs=1e-5)
        assert found.low < found.value < found.high

    def test_the_slope_of_true_probabilities_is_one_as_often_as_it_says(self) -> None:
        found = [recalibration.logistic_slope(*_drawn(500, seed)) for seed in range(600)]
        assert 0.93 <= np.mean([each.low <= 1.0 <= each.high for each in found]) <= 0.97

    def test_it_undoes_a_temperature(self) -> None:
        found = recalibration.logistic_slope(*_drawn(50_000, 10, _bold))
        assert found.value == pytest.approx(0.5, abs=0.02)

    @pytest.mark.parametrize(
        ("said", "happened"),
        [([0.2, 0.8] * 20, [1.0] * 40), ([0.5] * 40, [0.0, 1.0] * 20), ([0.1, 0.9] * 20, [0.0, 1.0] * 20)],
        ids=["one class", "equal probabilities", "separated"],
    )
    def test_where_there_is_no_slope_it_is_unknown(self, said: list[float], happened: list[float]) -> None:
        assert all(math.isnan(each) for each in recalibration.logistic_slope(said, happened))

    def test_probabilities_of_nothing_and_all_are_bounded(self) -> None:
        said = np.r_[np.zeros(50), np.ones(50)]
        happened = np.r_[np.zeros(45), np.ones(5), np.zeros(5), np.ones(45)]
        found = recalibration.logistic_slope(said, happened)
        assert 0.0 < found.value < 1.0

    def test_the_line_is_that_of_least_squares(self) -> None:
        generator = np.random.default_rng(11)
        said = generator.normal(100.0, 20.0, 300)
        happened = 5.0 + 0.9 * said + generator.normal(size=300) * said / 20
        intercept, slope = recalibration.straight_line(said, happened)
        expected = np.polyfit(said, happened, 1)
        assert (slope.value, intercept.value) == pytest.approx(expected, rel=1e-9)
        design = np.column_stack([np.ones(300), said])
        residual = happened - design @ [intercept.value, slope.value]
        bread = np.linalg.inv(design.T @ design)
        spread = bread @ (design.T @ (design * residual[:, None] ** 2)) @ bread * 300 / 298
        half = stats.t.ppf(0.975, 298) * np.sqrt(np.diag(spread))
        assert (intercept.high - intercept.value, slope.high - slope.value) == pytest.approx(half, rel=1e-6)

    def test_weights_of_the_line_are_rows_repeated(self) -> None:
        generator = np.random.default_rng(12)
        said, happened = generator.normal(size=(2, 60))
        weights = generator.integers(1, 4, 60)
        weighted = recalibration.straight_line(said, happened, weights)
        repeated = recalibration.straight_line(np.repeat(said, weights), np.repeat(happened, weights))
        assert [each.value for each in weighted] == pytest.approx([each.value for each in repeated], rel=1e-9)

    @pytest.mark.parametrize("said", [[1.0, 2.0], [3.0] * 10])
    def test_where_there_is_no_line_it_is_unknown(self, said: list[float]) -> None:
        found = recalibration.straight_line(said, np.arange(len(said)))
        assert all(math.isnan(each.value) for each in found)
