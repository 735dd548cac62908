"""The sums behind a decision: rows times gain, less the cost and less what being wrong would cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.retraining.regret import noticed
from fullcircle.retraining.worth import Traffic, expected, growth, level, measured, too_little, wrong
from fullcircle.stats.intervals import Interval
from fullcircle.types.project import Retrain

EUROS = Traffic(rows_a_day=100.0, unit="EUR", money=True)
LOSSES = Traffic(rows_a_day=100.0, unit="loss", money=False)
GAIN = Interval(0.31, 0.12, 0.49)


def test_the_sentence_tells_the_sums() -> None:
    worth = measured(GAIN, spread=2.0, traffic=EUROS, retrain=Retrain(cost=50.0, horizon="30d"))
    assert worth.rows == 3000.0
    assert worth.gain == pytest.approx(930.0)
    assert worth.net == pytest.approx(930.0 - 50.0 - worth.risk)
    assert (worth.unit, worth.measured, worth.cost) == ("EUR", True, 50.0)
    assert "EUR in 30 d: 0.31 a row (0.12 to 0.49; " in worth.text
    assert "x 3,000 rows, less 50 for training and" in worth.text
    assert too_little(worth) == ""


def test_a_gain_below_the_cost_is_not_worth_it() -> None:
    worth = expected(GAIN, spread=2.0, traffic=EUROS, retrain=Retrain(cost=1000.0))
    assert not worth.measured
    assert too_little(worth).startswith("not worth it: expected at most -")


def test_without_labels_it_says_so() -> None:
    worth = expected(GAIN, spread=2.0, traffic=EUROS, retrain=Retrain(), realised=False)
    assert "as the model itself expects, without labels" in worth.text


def test_a_cost_that_cannot_be_set_against_a_metric_is_told_and_left_out() -> None:
    worth = expected(GAIN, spread=0.3, traffic=LOSSES, retrain=Retrain(cost=50.0))
    assert worth.cost == 0.0
    assert "the cost of 50 is not set against it" in worth.text
    assert "not set against it" not in expected(GAIN, spread=0.3, traffic=LOSSES, retrain=Retrain()).text


def test_nobody_can_tell_is_no_yes() -> None:
    unknown = growth(level([0.1]), level([0.3, 0.4]))
    worth = expected(unknown, spread=math.nan, traffic=EUROS, retrain=Retrain())
    assert too_little(worth).startswith("too few rows to tell")


def test_growth_is_welchs_interval() -> None:
    before, now = level([0.1, 0.2, 0.3, math.nan]), level([0.4, 0.6])
    found = growth(before, now)
    assert before.rows == 3
    assert found.value == pytest.approx(0.3)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.hypot(0.1 / 3**0.5, 0.1414213 / 2**0.5), rel=1e-3)
    assert growth(before, now, more_is_better=True).value == pytest.approx(-0.3)
    assert level(np.arange(10.0), effect=4.0).error == pytest.approx(2 * level(np.arange(10.0)).error)


@pytest.mark.parametrize("value", [-0.05, 0.0, 0.02, 0.1])
def test_the_risk_is_the_mean_of_what_would_be_lost(value: float) -> None:
    deviation, rows = 0.03, 200.0
    drawn = np.random.default_rng(1).normal(value, deviation, 400_000)
    below = np.maximum(0.0, -drawn).mean()
    found = wrong(Interval(value, value - 1.96 * deviation, value + 1.96 * deviation), 10.0, rows)
    assert found == pytest.approx(below * rows, rel=0.05, abs=0.002)


def test_a_risk_ends_when_it_is_noticed() -> None:
    sure = Interval(-0.1, -0.1, -0.1)
    assert wrong(sure, 0.05, 1e9) == pytest.approx(0.1 * noticed(0.1, 0.05))
    assert wrong(sure, 0.05, 10.0) == pytest.approx(1.0)
    assert wrong(Interval(0.1, 0.1, 0.1), 0.05, 1e9) == 0.0


@given(value=st.floats(-1, 1), deviation=st.floats(1e-3, 1), more=st.floats(0.01, 1))
def test_more_gain_is_never_more_risk_while_nobody_can_notice(value: float, deviation: float, more: float) -> None:
    def of(centre: float) -> float:
        # Over many rows it may be: a smaller harm is noticed later.
        return wrong(Interval(centre, centre - deviation, centre + deviation), 0.5, 1.0)

    assert of(value + more) <= of(value) + 1e-9
