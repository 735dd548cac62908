"""E-detectors: the recursion, averages and what an alarm may name, against plain arithmetic and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fullcircle.stats import evidence

LOGS = arrays(np.float64, st.integers(1, 12), elements=st.floats(-5, 5))


@given(LOGS)
def test_shiryaev_roberts_is_the_sum_over_all_starts(log_e: np.ndarray) -> None:
    """M_j = sum over i of e_i e_(i+1) ... e_j, and CUSUM the largest of these."""
    level, most = np.array(-np.inf), np.array(-np.inf)
    for each in log_e:
        level, most = evidence.shiryaev_roberts(level, each), evidence.cusum(most, each)
    products = [np.exp(log_e[start:].sum()) for start in range(len(log_e))]
    assert np.exp(level) == pytest.approx(sum(products), rel=1e-9)
    assert np.exp(most) == pytest.approx(max(products), rel=1e-9)
    assert most <= level + 1e-12


def test_huge_evidence_stays_finite_and_one_step_from_nothing_is_the_batch() -> None:
    level = np.array([-np.inf, 5000.0])
    assert evidence.shiryaev_roberts(level, np.array([2.0, 5000.0])).tolist() == [2.0, 10_000.0]
    assert evidence.cusum(level, np.array([2.0, -6000.0])).tolist() == [2.0, -1000.0]


@given(LOGS, st.integers(0, 2**31))
def test_averages_are_averages(logs: np.ndarray, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(logs)))
    assert float(evidence.log_average(logs, weights)) == pytest.approx(np.log(weights @ np.exp(logs)), abs=1e-9)


def test_nothing_averages_to_nothing_and_weights_of_zero_hide() -> None:
    none = np.full((2, 3), -np.inf)
    assert evidence.log_average(none, np.full((2, 3), 1 / 3)).tolist() == [-np.inf, -np.inf]
    assert float(evidence.log_average([900.0, 1.0], [0.0, 1.0])) == 1.0
    assert float(evidence.log_average([900.0], [0.0])) == -np.inf


def test_an_average_of_e_detectors_keeps_the_promise_of_alarms() -> None:
    """Bets on a coin that is fair, at c = 50: the mean number of alarms in 50 batches is at most 1."""
    generator, c, alarms = np.random.default_rng(3), np.log(50.0), 0
    levels, weights = np.full((4000, 3), -np.inf), np.array([0.5, 0.3, 0.2])
    stakes = np.array([0.4, -0.4, 0.9])
    for _ in range(50):
        heads = generator.random((4000, 1)) < 0.5
        levels = evidence.shiryaev_roberts(levels, np.log1p(np.where(heads, stakes, -stakes)))
        fired = evidence.log_average(levels, weights) >= c
        alarms += int(fired.sum())
        levels[fired] = -np.inf
    assert 0.05 < alarms / 4000 <= 1.0  # it does alarm, so the bound means something


@given(arrays(np.float64, st.integers(1, 7), elements=st.floats(-3, 12)), st.floats(0, 6))
def test_the_columns_that_pass_are_the_largest_set_that_supports_itself(levels: np.ndarray, line: float) -> None:
    """By brute force: the largest k such that some k columns all have M >= F c / k."""
    size, best = len(levels), 0
    for k in range(1, size + 1):
        goal = line + np.log(size) - np.log(k)
        if any(all(levels[place] >= goal for place in some) for some in itertools.combinations(range(size), k)):
            best = k
    named = evidence.passing(levels, line)
    assert int(named.sum()) == best
    assert not best or levels[named].min() >= (levels[~named].max() if best < size else -np.inf)


def test_one_strong_column_of_many_passes_alone() -> None:
    levels = np.full(100, -1.0)
    levels[7] = np.log(100.0) + 9.0
    assert np.flatnonzero(evidence.passing(levels, 9.0)).tolist() == [7]
    assert not evidence.passing(levels - 0.1, 9.0).any()


@given(
    arrays(np.float64, 6, elements=st.floats(-30, 30)),
    arrays(np.float64, 4, elements=st.floats(-700, 700)),
    st.integers(0, 2**31),
    st.floats(1e-6, 0.5),
    st.floats(0, 1),
)
def test_whatever_rare_batches_show_the_mean_stays_at_most_one(
    usual: np.ndarray, strange: np.ndarray, seed: int, unseen: float, part: float
) -> None:
    """Usual batches have a mean of exactly 1; at most the share ``unseen`` shows anything."""
    generator = np.random.default_rng(seed)
    chances, others = generator.dirichlet(np.ones(6)), generator.dirichlet(np.ones(4))
    usual = usual - np.log(chances @ np.exp(usual))
    share = part * unseen
    mean = (1 - share) * (chances @ np.exp(evidence.insured(usual, unseen)))
    mean += share * (others @ np.exp(evidence.insured(strange, unseen)))
    assert mean <= 1 + 1e-9


@given(LOGS, st.floats(1e-9, 0.9), st.floats(1.01, 100))
def test_insurance_only_takes_away_and_more_batches_make_it_cheaper(
    log_e: np.ndarray, unseen: float, times: float
) -> None:
    found, better = evidence.insured(log_e, unseen), evidence.insured(log_e, unseen / times)
    assert (found <= log_e).all()
    assert (better - log_e)[log_e <= 0] == pytest.approx((better - log_e)[log_e <= 0].min(initial=0.0))
    most = [float(evidence.insured(1e9, each)) for each in (unseen, unseen / times)]
    assert 0 <= most[0] < most[1] < -np.log(unseen / times) / 2
    assert evidence.insured(log_e, 0.0).tolist() == log_e.tolist()


def test_what_one_batch_can_tell_after_eight_weeks() -> None:
    """Of days, and of hours: the factor by which a batch multiplies evidence at most."""
    days, hours = (1 - 0.05 ** (1 / batches) for batches in (63, 1344))
    assert np.exp(evidence.insured(50.0, days)) == pytest.approx(3.97, abs=0.01)
    assert np.exp(evidence.insured(50.0, hours)) == pytest.approx(20.28, abs=0.01)
    assert np.exp(evidence.insured(0.0, hours)) == pytest.approx(0.957, abs=0.001)
