"""What a model is wrong by on a row: as it turned out, as it expects it, and what makes its word honest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

from fullcircle.monitoring import losses
from fullcircle.types.contract import Contract
from fullcircle.types.monitoring import Loss

NUMBERS = Contract(columns=(), label="y", task="regression")
TWO = Contract(columns=(), label="y", task="classification", classes=("no", "yes"))
THREE = Contract(columns=(), label="y", task="classification", classes=(1, 2, 3))
BRIER = Loss(name="brier")


def two(chance: Any) -> Any:
    chance = np.asarray(chance, dtype=float)
    return np.column_stack([1 - chance, chance])


def words(happened: Any) -> Any:
    return np.where(happened, "yes", "no").astype(object)


def said_and_came(rows: int, seed: int, honest: Any = lambda said: said) -> tuple[Any, Any]:
    """What a model says of the positive class, and what happens at the rate that is ``honest``."""
    rng = np.random.default_rng(seed)
    said = rng.beta(1.5, 2.0, rows)
    return said, rng.random(rows) < honest(said)


class TestRealised:
    def test_of_two_classes_it_is_the_brier_score(self) -> None:
        said, came = said_and_came(500, 0)
        found = losses.realised(BRIER, TWO, words(said > 0.5), two(said), words(came))
        assert found.mean() == pytest.approx(brier_score_loss(came, said))
        assert np.allclose(found, (said - came) ** 2)

    def test_of_more_it_is_half_the_squared_distance(self) -> None:
        shares = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        found = losses.realised(BRIER, THREE, [3, 1, 3], shares, [3, 1, 1])
        assert found.tolist() == pytest.approx([(0.04 + 0.09 + 0.25) / 2, 0.0, 1.0])

    def test_without_probabilities_it_is_whether_the_answer_was_wrong(self) -> None:
        loss = losses.fit(TWO, ["yes"] * 200, ["no"] * 200, None)
        assert loss == Loss(name="error")
        found = losses.realised(
            loss, TWO, ["yes", "no", "yes", None, "yes"], None, ["yes", "yes", None, "no", "maybe"]
        )
        assert found[:2].tolist() == [0.0, 1.0]
        assert np.isnan(found[2:4]).all()
        assert found[4] == 1.0

    def test_a_class_that_the_model_does_not_know_had_no_probability(self) -> None:
        found = losses.realised(BRIER, TWO, ["yes"], two([0.5]), ["maybe"])
        assert found.tolist() == [0.75]  # half of .25 + .25 + 1

    def test_what_has_no_label_or_no_probabilities_is_not_told(self) -> None:
        assert np.isnan(losses.realised(BRIER, TWO, ["yes", "yes"], two([0.5, math.nan]), [None, "yes"])).all()
        assert np.isnan(losses.realised(BRIER, TWO, ["yes"], None, ["yes"])).all()
        assert losses.realised(BRIER, TWO, [], None, []).shape == (0,)

    def test_a_number_is_measured_on_the_scale_of_the_reference(self) -> None:
        rng = np.random.default_rng(1)
        predicted = rng.normal(100, 20, 4000)
        errors = rng.normal(0, 5, 4000)
        loss = losses.fit(NUMBERS, predicted + errors, predicted, None)
        assert loss.scale == pytest.approx(np.quantile(np.abs(errors), 0.995))
        found = losses.realised(loss, NUMBERS, [10.0, 10.0, None], None, [10.0 + loss.scale / 2, 1e9, 5.0])
        assert found[:2].tolist() == pytest.approx([0.5, 1.0])
        assert math.isnan(found[2])

    @given(
        st.lists(
            st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 2, 3, 9, None])), min_size=1, max_size=20
        )
    )
    def test_it_lies_between_0_and_1(self, rows: list[tuple[float, float, Any]]) -> None:
        shares = np.array([[a, (1 - a) * b, (1 - a) * (1 - b)] for a, b, _ in rows])
        actual = [label for _, _, label in rows]
        realised = losses.realised(BRIER, THREE, [1] * len(rows), shares, actual)
        expected = losses.expected(BRIER, THREE, [1] * len(rows), shares)
        assert ((realised >= 0) & (realised <= 1) | np.isnan(realised)).all()
        assert np.isnan(realised).tolist() == [label is None for label in actual]
        assert ((expected >= 0) & (expected <= 1)).all()


class TestExpected:
    def test_an_honest_model_is_wrong_by_what_it_expects(self) -> None:
        said, came = said_and_came(40_000, 2)
        loss = losses.fit(TWO, words(came), words(said > 0.5), two(said))
        said, came = said_and_came(40_000, 3)
        expected = losses.expected(loss, TWO, words(said > 0.5), two(said)).mean()
        realised = losses.realised(loss, TWO, words(said > 0.5), two(said), words(came)).mean()
        assert expected == pytest.approx(realised, abs=0.004)

    def test_one_that_is_too_sure_is_corrected(self) -> None:
        def honest(said: Any) -> Any:
            return 0.5 + (said - 0.5) / 3

        said, came = said_and_came(20_000, 4, honest)
        loss = losses.fit(TWO, words(came), words(said > 0.5), two(said))
        assert set(loss.calibration) == {"yes"}
        mended = losses.calibrated(loss, TWO, two(said))
        assert np.abs(mended[:, 1] - honest(said)).max() < 0.08
        said, came = said_and_came(20_000, 5, honest)
        realised = losses.realised(loss, TWO, words(said > 0.5), two(said), words(came)).mean()
        own_word = (said * (1 - said)).mean()
        expected = losses.expected(loss, TWO, words(said > 0.5), two(said)).mean()
        assert expected == pytest.approx(realised, abs=0.005)
        assert abs(own_word - realised) > 0.02

    def test_of_few_rows_nothing_is_learned(self) -> None:
        said, came = said_and_came(99, 6, lambda said: 0.5 + (said - 0.5) / 3)
        assert losses.fit(TWO, words(came), words(said > 0.5), two(said)).calibration == {}

    def test_no_bias_of_the_reference_is_left_in(self) -> None:
        # A little too timid: too little to make a Brier score clearly better, enough to leave every metric off.
        said, came = said_and_came(2000, 6, lambda said: np.clip(0.5 + (said - 0.5) * 1.1, 0, 1))
        loss = losses.fit(TWO, words(came), words(said > 0.5), two(said))
        expected = losses.expected(loss, TWO, words(said > 0.5), two(said)).mean()
        assert expected == pytest.approx(brier_score_loss(came, said), abs=0.001)
        assert losses.calibrated(loss, TWO, two(said))[:, 1].mean() == pytest.approx(came.mean(), abs=0.002)

    def test_of_three_classes_the_rows_still_add_up_to_1(self) -> None:
        rng = np.random.default_rng(7)
        shares = rng.dirichlet([1, 1, 1], 6000)
        sharper = shares**0.3 / (shares**0.3).sum(axis=1, keepdims=True)
        came = np.array([rng.choice(3, p=row) for row in sharper]) + 1
        loss = losses.fit(THREE, came, shares.argmax(axis=1) + 1, shares)
        assert set(loss.calibration) == {"1", "2", "3"}
        mended = losses.calibrated(loss, THREE, shares)
        assert np.allclose(mended.sum(axis=1), 1.0)
        assert np.abs(mended - sharper).mean() < np.abs(shares - sharper).mean() / 2

    def test_of_numbers_it_is_the_mean_loss_of_such_predictions(self) -> None:
        rng = np.random.default_rng(8)
        predicted = rng.uniform(0, 10, 20_000)
        loss = losses.fit(NUMBERS, predicted + rng.normal(0, 0.1 + predicted), predicted, None)
        low, high = losses.expected(loss, NUMBERS, [1.0, 9.0], None)
        assert 4 < high / low < 12
        assert np.isnan(losses.expected(loss, NUMBERS, [None, math.nan], None)).all()
        assert losses.curve(loss, "absolute", [5.0])[0] == pytest.approx(5.1 * math.sqrt(2 / math.pi), rel=0.1)

    def test_where_nothing_was_learned_nothing_is_expected(self) -> None:
        few = losses.fit(NUMBERS, [1.0, 2.0], [1.0, 3.0], None)
        assert few.calibration == {}
        assert np.isnan(losses.expected(few, NUMBERS, [1.0], None)).all()
        assert losses.fit(NUMBERS, [], [], None) == Loss(name="absolute")
        assert losses.fit(NUMBERS, [1.0] * 200, [1.0] * 200, None).scale == 1.0
        assert np.isnan(losses.expected(Loss(name="error"), TWO, ["yes"], None)).all()
        assert losses.expected(BRIER, TWO, [], np.empty((0, 2))).shape == (0,)


class TestCalibration:
    def test_the_knots_rise_and_hold_about_as_many_rows_each(self) -> None:
        said, came = said_and_came(10_000, 9, lambda said: said**2)
        knots = np.asarray(losses.fit(TWO, words(came), words(came), two(said)).calibration["yes"])
        assert len(knots) == 40
        assert (np.diff(knots[:, 0]) > 0).all()
        assert (np.diff(knots[:, 1]) >= 0).all()
        counted = np.diff(np.searchsorted(np.sort(said), (knots[1:, 0] + knots[:-1, 0]) / 2))
        assert counted.min() > 150

    @given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 9)), min_size=1, max_size=30))
    def test_pooling_is_that_of_scikit_learn(self, pairs: list[tuple[float, int]]) -> None:
        values, weights = (np.array(each, dtype=float) for each in zip(*pairs, strict=True))
        found = losses._isotonic(values, weights)
        told = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
        assert np.allclose(found, told, atol=1e-9)

    def test_probabilities_that_are_all_alike_have_one_knot(self) -> None:
        came = np.arange(400) % 4 == 0
        loss = losses.fit(TWO, words(came), words(came), two(np.full(400, 0.9)))
        assert np.asarray(loss.calibration["yes"]).tolist() == pytest.approx(np.array([[0.9, 0.25]]))
        assert losses.calibrated(loss, TWO, two([0.2, 0.9])).tolist() == [[0.75, 0.25], [0.75, 0.25]]

    def test_the_same_rows_give_the_same_knots(self) -> None:
        said, came = said_and_came(3000, 10, np.sqrt)
        first, second = (losses.fit(TWO, words(came), words(came), two(said)) for _ in range(2))
        assert first == second
        assert first.calibration


def test_codes_of_labels() -> None:
    assert losses.codes_of(TWO, ["no", "yes", "maybe", None, math.nan]).tolist() == [0, 1, -1, -2, -2]
    assert losses.codes_of(THREE, np.array([3, 1])).tolist() == [2, 0]
