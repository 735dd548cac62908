"""Distances: laws, scipy, and the level of the test when nothing changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from fullcircle.errors import DataUnfit
from fullcircle.stats.distances import g_test, jensen_shannon, jensen_shannon_debiased, merge_sparse, psi

tables = st.integers(1, 12).flatmap(
    lambda k: st.tuples(*(st.lists(st.integers(0, 500), min_size=k, max_size=k) for _ in range(2)))
)


@given(tables)
def test_distances_are_symmetric_bounded_and_zero_on_equal(pair: tuple[list[int], list[int]]) -> None:
    p, q = pair
    assume(sum(p) > 0 and sum(q) > 0)
    for measure in (jensen_shannon, jensen_shannon_debiased, psi):
        assert measure(p, q) == pytest.approx(measure(q, p), abs=1e-12)
        assert measure(p, p) == pytest.approx(0.0, abs=1e-12)
        assert measure(p, q) >= 0.0
    assert jensen_shannon_debiased(p, q) <= jensen_shannon(p, q) <= 1.0
    assert jensen_shannon(p, q) == pytest.approx(float(distance.jensenshannon(p, q, base=2)) ** 2, abs=1e-9)


@given(tables, st.integers(2, 9))
def test_only_shares_matter_to_jensen_shannon(pair: tuple[list[int], list[int]], times: int) -> None:
    p, q = pair
    assume(sum(p) > 0 and sum(q) > 0)
    assert jensen_shannon([times * c for c in p], q) == pytest.approx(jensen_shannon(p, q), abs=1e-12)


def test_known_values_of_jensen_shannon() -> None:
    assert jensen_shannon([5, 0], [0, 9]) == 1.0
    # H(3/4) - H(1/2)/2 for (1/2, 1/2) against (1, 0)
    three_quarters = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert jensen_shannon([1, 1], [2, 0]) == pytest.approx(three_quarters - 0.5)


def test_the_debiased_distance_is_about_zero_when_nothing_changed_and_kept_when_something_did() -> None:
    rng = np.random.default_rng(1)
    share = rng.dirichlet(np.ones(10))
    raw, bare = [], []
    for _ in range(2000):
        p, q = rng.multinomial(200, share), rng.multinomial(1000, share)
        occupied = ((p + q) > 0).sum()
        raw.append(jensen_shannon(p, q))
        bare.append((occupied - 1) / 8 * (1 / 200 + 1 / 1000) / math.log(2))
    assert np.mean(raw) == pytest.approx(np.mean(bare), rel=0.1)
    moved = jensen_shannon_debiased([900, 100], [100, 900])
    assert moved == pytest.approx(jensen_shannon([900, 100], [100, 900]), abs=0.001)


def test_psi_against_its_formula_and_with_an_empty_bin() -> None:
    p, q = np.array([30.5, 70.5]) / 101, np.array([50.5, 50.5]) / 101
    assert psi([30, 70, 0], [50, 50, 0]) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert math.isfinite(psi([100, 0], [50, 50]))


@pytest.mark.parametrize("measure", [jensen_shannon, jensen_shannon_debiased, psi])
def test_no_rows_have_no_distance(measure: object) -> None:
    assert callable(measure)
    assert math.isnan(measure([0, 0], [1, 2]))
    assert math.isnan(measure([1, 2], [0, 0]))
    assert math.isnan(measure([0], [0]))


@given(tables)
def test_chance_is_taken_off_by_its_formula_and_empty_bins_are_none(pair: tuple[list[int], list[int]]) -> None:
    p, q = pair
    assume(sum(p) > 0 and sum(q) > 0)
    occupied = sum(a + b > 0 for a, b in zip(p, q, strict=True))
    chance = (occupied - 1) / 8 * (1 / sum(p) + 1 / sum(q)) / math.log(2)
    found = jensen_shannon_debiased(p, q)
    assert found == pytest.approx(max(0.0, jensen_shannon(p, q) - chance), abs=1e-12)
    for measure in (jensen_shannon, jensen_shannon_debiased, psi):
        assert measure([*p, 0, 0], [*q, 0, 0]) == pytest.approx(measure(p, q), abs=1e-12)


def test_the_g_test_is_scipys_after_williams_correction() -> None:
    table = np.array([[30, 20, 50], [100, 110, 90]])
    found = g_test(table[0], table[1])
    known = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
    williams = 1 + (n * (1 / rows).sum() - 1) * (n * (1 / columns).sum() - 1) / (6 * n * 2)
    assert found.degrees == known.dof == 2
    assert found.statistic == pytest.approx(known.statistic / williams)
    assert found.p == pytest.approx(stats.chi2.sf(known.statistic / williams, 2))


@pytest.mark.parametrize(("window", "reference"), [(100, 300), (500, 5000), (1000, 100)])
def test_the_g_test_keeps_its_level_against_a_finite_reference(window: int, reference: int) -> None:
    rng = np.random.default_rng(window)
    share = rng.dirichlet(np.ones(12))
    found = np.array(
        [g_test(rng.multinomial(window, share), rng.multinomial(reference, share)).p for _ in range(6000)]
    )
    for alpha in (0.05, 0.01):
        allowed = 4 * math.sqrt(alpha / 6000)  # four standard errors
        assert abs((found <= alpha).mean() - alpha) < allowed


def test_the_g_test_sees_a_change() -> None:
    assert g_test([10, 90], [500, 500]).p < 1e-10
    assert g_test([0, 0, 40], [400, 400, 0]).p < 1e-10


@given(tables)
def test_the_g_test_is_symmetric_and_quiet_on_equal(pair: tuple[list[int], list[int]]) -> None:
    p, q = pair
    there, back = g_test(p, q), g_test(q, p)
    assert there.p == pytest.approx(back.p)
    assert 0.0 <= there.p <= 1.0
    assert g_test(p, p).p == pytest.approx(1.0)


@given(tables)
def test_merging_keeps_all_rows_and_leaves_no_sparse_bin(pair: tuple[list[int], list[int]]) -> None:
    table = np.array(pair, dtype=float)
    merged = merge_sparse(table)
    assert (merged.sum(axis=1) == table.sum(axis=1)).all()
    if merged.shape[1] > 1:
        expected = np.outer(merged.sum(axis=1), merged.sum(axis=0)) / merged.sum()
        assert expected.min() >= 5.0 - 1e-9


def test_merging_goes_in_order() -> None:
    table = np.array([[1, 2, 3, 50, 1], [1, 2, 3, 50, 1]], dtype=float)
    assert merge_sparse(table).tolist() == [[6.0, 51.0], [6.0, 51.0]]


@pytest.mark.parametrize(("window", "reference"), [([0, 0], [5, 5]), ([3], [4]), ([0], [0])])
def test_nothing_to_compare_is_no_evidence(window: list[int], reference: list[int]) -> None:
    assert g_test(window, reference) == (0.0, 0, 1.0)


@pytest.mark.parametrize(
    ("window", "reference"), [([1, 2], [1]), ([], []), ([-1, 2], [1, 2]), ([math.nan, 1], [1, 1])]
)
def test_tables_that_do_not_fit_are_refused(window: list[float], reference: list[float]) -> None:
    for measure in (jensen_shannon, jensen_shannon_debiased, psi, g_test):
        with pytest.raises(DataUnfit, match=r"cannot be compared"):
            measure(window, reference)


def test_a_bin_that_expects_exactly_five_stays_a_bin() -> None:
    # Each of the two rows holds half of all, so a column of ten expects five in each.
    assert merge_sparse(np.array([[6.0, 4.0], [4.0, 6.0]])).shape == (2, 2)
    assert merge_sparse(np.array([[6.0, 4.0], [4.0, 5.0]])).shape == (2, 1)
    assert g_test([6, 4], [4, 6]).degrees == 1
    assert g_test([6, 4], [4, 5]).p == pytest.approx(0.656, abs=0.001), "exact: the approximation says 0.49"
    assert g_test([1, 1], [1, 1]).p == 1.0


@given(tables)
def test_the_same_change_in_more_rows_is_more_evidence(pair: tuple[list[int], list[int]]) -> None:
    table = np.array(pair, dtype=float)
    merged = merge_sparse(table)
    # Only where both merge alike, and into bins enough: else two different questions are compared.
    assume(merged.shape[1] > 1 and merged.sum(axis=1).all())
    assume(np.array_equal(merge_sparse(4 * table), 4 * merged))
    small, large = g_test(*table), g_test(*(4 * table))
    assert small.degrees == large.degrees
    assert large.statistic >= 4 * small.statistic - 1e-6
    assert large.p <= small.p + 1e-9


@given(tables)
def test_whatever_holds_the_counts_the_answer_is_the_same(pair: tuple[list[int], list[int]]) -> None:
    found = g_test(*pair)
    assert found == g_test(np.array(pair[0]), tuple(pair[1]))
    assert 0.0 <= found.p <= 1.0
    assert found.statistic >= 0.0


def test_a_window_of_another_category_is_found_however_few_its_rows_beside_the_reference() -> None:
    """100 rows that share no bin with 3000: the rule of five would merge all bins, and find nothing to test."""
    found = g_test([0, 100], [3000, 0])
    assert found.degrees == 1
    assert found.p < 1e-100
    assert g_test([0, 40, 0], [595, 0, 5]).p < 1e-50
    assert g_test([40, 0], [600, 0]) == (0.0, 0, 1.0), "one bin and nothing else"


@pytest.mark.parametrize(("window", "reference"), [([38, 2], [598, 2]), ([2, 8], [90, 10]), ([1, 1], [40, 0])])
def test_where_bins_are_too_sparse_the_chance_is_fishers(window: list[int], reference: list[int]) -> None:
    from scipy.stats import fisher_exact

    assert merge_sparse(np.array([window, reference], dtype=float)).shape == (2, 1)
    assert g_test(window, reference).p == pytest.approx(fisher_exact([window, reference]).pvalue, rel=1e-9)


def test_the_exact_test_holds_the_level_too() -> None:
    generator = np.random.default_rng(9)
    drawn = [
        g_test(generator.multinomial(40, p), generator.multinomial(600, p)).p
        for p in ([0.99, 0.005, 0.005], [0.97, 0.01, 0.02])
        for _ in range(1500)
    ]
    assert np.mean(np.array(drawn) <= 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(drawn))
