"""Evidence from counts: figures of other implementations, exact sums over all outcomes, and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from fullcircle.errors import DataUnfit
from fullcircle.stats import mixtures
from fullcircle.stats.sequences import best

GOAL = -math.log(0.05)


def planned(weight: float, alpha: float) -> float:
    """The planned rows at which the prior has this weight."""
    return weight * best(alpha)


# Figures of other implementations: savvi 0.3.1 (Multinomial), the regression test of ssrm-test (Lindon's own, with
# its counts for seed 0), and the unit tests of confseq 0.0.11 (V = 100, s = 10, g = 0.2, h = 0.8: 135 hits of 625).


@pytest.mark.parametrize(
    ("counts", "shares", "weight", "odds"),
    [
        ([520, 480], [0.5, 0.5], 100.0, 0.623052039198119),
        ([15, 45, 40], [0.2, 0.3, 0.5], 37.5, 11.092887601703591),
        ([2, 1, 7], [0.1, 0.5, 0.4], 10_000.0, 1.0017496120131435),
    ],
    ids=["savvi, two arms", "savvi, three", "ssrm-test"],
)
def test_a_mismatch_of_shares_has_the_odds_of_others(
    counts: list[int], shares: list[float], weight: float, odds: float
) -> None:
    found = float(mixtures.off_shares(counts, shares, planned(weight, 0.01), 0.01))
    assert math.exp(found) == pytest.approx(odds, rel=1e-8)


def test_two_categories_are_the_beta_binomial_mixture_of_confseq() -> None:
    rho = 12.60056 - 0.2 * 0.8
    found = mixtures.off_shares([135, 490], [0.2, 0.8], planned(rho / 0.2 + rho / 0.8, 0.05), 0.05)
    assert float(found) == pytest.approx(-0.6941012, abs=1e-5)


def test_one_side_is_the_one_sided_mixture_of_confseq() -> None:
    rho = 100 / (2 * math.log(10) + math.log(1 + 2 * math.log(10))) - 0.2 * 0.8
    found = mixtures.above(135, 625, 0.2, planned(rho / 0.2 + rho / 0.8, 0.05), 0.05)
    assert float(found) == pytest.approx(-0.07134019, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 12])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_evidence_against_shares_is_one_on_average_over_all_counts(rows: int, share: float) -> None:
    hits = np.arange(rows + 1)
    weight = stats.binom.pmf(hits, rows, share)
    found = mixtures.off_shares(np.stack([hits, rows - hits], axis=-1), [share, 1 - share], 20.0)
    assert weight @ np.exp(found) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_evidence_above_a_limit_is_at_most_one_on_average_below_it_and_one_at_it(rate: float) -> None:
    hits, rows = np.arange(41), 40
    found = stats.binom.pmf(hits, rows, rate) @ np.exp(mixtures.above(hits, rows, 0.3, 40.0))
    assert found == pytest.approx(1.0) if rate == 0.3 else found < 1.0


PARTS = np.array([0.0, 0.25, 0.5, 1.0])  # a request of four rows went wrong in so much of it
OFTEN = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4)


@settings(max_examples=40, deadline=None)
@given(OFTEN)
def test_parts_of_a_unit_are_no_more_evidence_on_average_than_whole_ones(often: list[float]) -> None:
    """Two units, each wrong in part: the mean e-value over all that can come, where the rate is the limit itself."""
    law = np.array(often) / sum(often)
    mean = float(law @ PARTS)
    one, other = np.meshgrid(PARTS, PARTS)
    chance = np.outer(law, law)
    found = np.exp(mixtures.above(one + other, 2, mean, 10.0))
    assert float((chance * found).sum()) <= 1.0 + 1e-9


@settings(max_examples=40, deadline=None)
@given(OFTEN, st.floats(0.1, 0.9), st.floats(1.0, 4.0))
def test_parts_beside_another_arm_are_no_more_evidence_either(often: list[float], share: float, times: float) -> None:
    """Three units that chance deals: the other arm's rate is the limit's, and no event is lost by rounding."""
    law = np.array(often) / sum(often)
    rate = float(law @ PARTS)
    scaled = law / times  # the other arm's: the same, but ``times`` more seldom
    scaled[0] += 1.0 - 1.0 / times
    outcomes = [(share * a, x, 0.0) for a, x in zip(law, PARTS, strict=True)]
    outcomes += [((1 - share) * a, 0.0, x) for a, x in zip(scaled, PARTS, strict=True)]
    chance, hits, others = (np.array(each) for each in zip(*outcomes, strict=True))
    assert rate == pytest.approx(times * float(scaled @ PARTS))
    all_three = [np.add.outer(np.add.outer(each, each), each) for each in (hits, others)]
    weight = np.multiply.outer(np.multiply.outer(chance, chance), chance)
    found = np.exp(mixtures.above_other(all_three[0], all_three[1], share, 5.0, times=times))
    assert float((weight * found).sum()) <= 1.0 + 1e-9


def test_evidence_above_a_limit_is_the_integral_that_it_says() -> None:
    weight = 50 / best(0.05)
    prior = stats.beta(weight * 0.1, weight * 0.9)

    def part(rate: float) -> float:
        return float(stats.binom.pmf(9, 50, rate) * prior.pdf(rate) / prior.sf(0.1))

    whole, _ = integrate.quad(part, 0.1, 1.0, points=[0.2])
    assert math.exp(mixtures.above(9, 50, 0.1, 50.0)) == pytest.approx(whole / stats.binom.pmf(9, 50, 0.1), rel=1e-6)


def test_a_rate_far_below_its_limit_is_no_evidence_and_no_error() -> None:
    assert float(mixtures.above(0, 100_000, 0.5, 1000.0)) < -600
    assert float(mixtures.above(100_000, 100_000, 0.5, 1000.0)) > 60_000


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 0.95))
def test_shares_that_swap_with_their_counts_say_the_same(a: int, b: int, share: float) -> None:
    one = mixtures.off_shares([a, b], [share, 1 - share], 100.0)
    other = mixtures.off_shares([b, a], [1 - share, share], 100.0)
    assert float(one) == pytest.approx(float(other), abs=1e-9)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20))
def test_more_failures_of_as_many_rows_are_more_evidence(hits: int, misses: int, more: int) -> None:
    rows = hits + misses + more
    assert mixtures.above(hits + more, rows, 0.2, 50.0) > mixtures.above(hits, rows, 0.2, 50.0)


def test_beside_another_arm_only_the_events_count_and_times_moves_the_limit() -> None:
    same = mixtures.above_other(30, 10, 0.5, 40.0)
    assert float(same) == pytest.approx(float(mixtures.above(30, 40, 0.5, 40.0)))
    assert float(mixtures.above_other(30, 10, 0.5, 40.0, times=3.0)) < 0.0 < float(same)
    # An arm with a tenth of the rows has a tenth of the events where rates are the same.
    assert float(mixtures.above_other(10, 90, 0.1, 100.0)) < 0.5


def test_coverage_that_differs_is_seen_from_both_ends_and_equal_coverage_is_not() -> None:
    goal = -math.log(0.01)
    assert mixtures.off_coverage([4000, 4010], [1000, 990], [0.5, 0.5], 10_000.0) < 0
    assert (
        mixtures.off_coverage([4000, 3700], [1000, 1300], [0.5, 0.5], 10_000.0) > goal
    )  # labels get lost in one arm
    assert mixtures.off_coverage([200, 400], [4800, 4600], [0.5, 0.5], 10_000.0) > goal  # few labels, twice as many
    assert mixtures.off_coverage([40, 360], [10, 90], [0.1, 0.9], 500.0) < 0


def test_a_split_of_52_to_48_is_seen_by_about_ten_thousand_entities() -> None:
    assert mixtures.off_shares([4800, 5200], [0.5, 0.5], 10_000.0) > -math.log(0.01)
    assert mixtures.off_shares([4950, 5050], [0.5, 0.5], 10_000.0) < 0


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ([1, 2], [0.5, 0.4]),
        ([1, 2, 3], [0.5, 0.5]),
        ([1, 2], [1.0, 0.0]),
        ([-1, 2], [0.5, 0.5]),
        ([1, math.nan], [0.5, 0.5]),
    ],
)
def test_counts_that_do_not_fit_their_shares_are_an_error(counts: list[float], shares: list[float]) -> None:
    with pytest.raises(DataUnfit, match="counts and shares"):
        mixtures.off_shares(counts, shares, 100.0)


def test_counts_that_do_not_fit_their_total_are_an_error() -> None:
    with pytest.raises(DataUnfit, match="does not fit its total"):
        mixtures.above(5, 4, 0.1, 100.0)
    with pytest.raises(DataUnfit, match="does not fit its total"):
        mixtures.above(-0.5, 4, 0.1, 100.0)
    with pytest.raises(DataUnfit, match="does not fit its total"):
        mixtures.above_other(2.0, -1.0, 0.5, 100.0)


@pytest.mark.parametrize("limit", [0.0, 1.0, math.nan])
def test_a_limit_that_cannot_be_broken_or_kept_is_an_error(limit: float) -> None:
    with pytest.raises(DataUnfit, match="limit"):
        mixtures.above(1, 4, limit, 100.0)


def test_a_test_without_a_planned_size_is_an_error() -> None:
    with pytest.raises(DataUnfit, match="planned size"):
        mixtures.off_shares([1, 2], [0.5, 0.5], 0.0)
