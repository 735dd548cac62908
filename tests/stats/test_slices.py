"""The search ranks as counting by hand does, and the tests behind a verdict keep their level on skewed rows."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fullcircle.stats import slices
from fullcircle.stats.slices import Coded, Signal


def _coded(*columns: Any) -> Coded:
    codes = tuple(np.asarray(column, dtype=np.intp) for column in columns)
    return Coded(codes, tuple(np.eye(int(column.max()) + 1) for column in codes))


def _random(rows: int, seed: int, columns: int = 4, codes: int = 4) -> Coded:
    generator = np.random.default_rng(seed)
    return _coded(*(generator.integers(0, codes, rows) for _ in range(columns)))


def _by_hand(inside: Any, values: Any, weights: Any) -> float:
    """Welch's statistic, the slice's spread shrunken to that of all rows."""
    inner, outer = (np.average(values[part], weights=weights[part]) for part in (inside, ~inside))

    def spread(part: Any) -> tuple[float, float]:
        w, y = weights[part], values[part]
        mean = np.average(y, weights=w)
        return float(np.sum((w * (y - mean)) ** 2) / np.sum(w**2)), float(np.sum(w) ** 2 / np.sum(w**2))

    (own, size), (other, rest), (overall, _) = spread(inside), spread(~inside), spread(np.ones(len(values), bool))
    shrunken = (size * own + 30.0 * overall) / (size + 30.0)
    return float((inner - outer) / math.sqrt(shrunken / size + other / rest))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_the_best_slice_is_the_best_of_all_counted_by_hand(weighted: bool, both: bool) -> None:
    generator = np.random.default_rng(1)
    coded, values = _random(1500, 0), 100.0 + generator.normal(size=1500)
    weights = generator.gamma(2.0, size=1500) if weighted else np.ones(1500)
    (found,) = slices.search(coded, [Signal(values, both)], weights, keep=5)
    scores = {}
    singles = [((column, code),) for column in range(4) for code in range(4)]
    pairs = [(*first, *second) for first, second in combinations(singles, 2) if first[0][0] != second[0][0]]
    for where in (*singles, *pairs):
        score = _by_hand(coded.inside(where), values, weights) * (1.0 if len(where) == 1 else 0.95)
        scores[where] = abs(score) if both else score
    assert found.looked == len(scores) == 16 + 6 * 16
    best = max(scores, key=lambda where: scores[where])
    assert found.kept[0].where == best
    assert found.kept[0].score == pytest.approx(scores[best], rel=1e-9)
    for each in found.kept:
        assert each.score == pytest.approx(scores[each.where], rel=1e-9)


def test_groups_of_several_codes_are_slices_too() -> None:
    codes = np.repeat(np.arange(4), 100)
    values = np.where(codes <= 1, 1.0, 0.0) + np.random.default_rng(0).normal(0, 0.5, 400)
    joined = Coded((codes,), (np.vstack([np.eye(4), [1, 1, 0, 0]]),))
    (found,) = slices.search(joined, [Signal(values)], np.ones(400), keep=3)
    assert found.kept[0].where == ((0, 4),)
    assert found.looked == 5
    assert joined.inside(((0, 4),)).tolist() == (codes <= 1).tolist()


def test_a_planted_pair_comes_first_and_its_parents_do_not_follow() -> None:
    coded = _random(2000, 3)
    values = np.random.default_rng(0).normal(size=2000)
    planted = ((1, 2), (3, 0))
    (found,) = slices.search(coded, [Signal(values + 2.0 * coded.inside(planted))], np.ones(2000), keep=10)
    assert found.kept[0].where == planted
    assert found.kept[0].score > 10.0
    parents = {((1, 2),), ((3, 0),)}
    assert not parents & {each.where for each in found.kept}, "they hold the pair's rows"


def test_one_column_is_told_rather_than_a_pair_of_the_same_rows() -> None:
    generator = np.random.default_rng(2)
    rows = generator.integers(0, 3, 1200)
    nearly_all = (generator.random(1200) < 0.03).astype(int)
    values = generator.normal(size=1200) + (rows == 1)
    (found,) = slices.search(_coded(rows, nearly_all), [Signal(values)], np.ones(1200), keep=10)
    assert found.kept[0].where == ((0, 1),)
    assert ((0, 1), (1, 0)) not in {each.where for each in found.kept}


def test_a_much_worse_part_of_a_bad_slice_is_told_too() -> None:
    rows = np.arange(4000)
    outer, inner = (rows % 2), (rows // 2) % 10
    values = 1.0 * (outer == 1) + 0.8 * ((outer == 1) & (inner == 3)) + np.random.default_rng(0).normal(size=4000)
    (found,) = slices.search(_coded(outer, inner), [Signal(values)], np.ones(4000), keep=5)
    assert [each.where for each in found.kept[:2]] == [((0, 1),), ((0, 1), (1, 3))]


def test_a_bad_slice_around_a_worse_one_is_told_too() -> None:
    rows = np.arange(4000)
    outer, inner = (rows % 2), (rows // 2) % 10
    values = 1.0 * (outer == 1) + 4.0 * ((outer == 1) & (inner == 3)) + np.random.default_rng(0).normal(size=4000)
    (found,) = slices.search(_coded(outer, inner), [Signal(values)], np.ones(4000), keep=5)
    assert [each.where for each in found.kept] == [((0, 1), (1, 3)), ((0, 1),)], "and no part of them again"


def test_each_signal_has_its_own_ranking() -> None:
    coded, noise = _random(1000, 5), np.random.default_rng(0).normal(size=1000)
    up, down = noise + 3.0 * coded.inside(((0, 1),)), noise - 3.0 * coded.inside(((2, 3),))
    first, second, third = slices.search(
        coded, [Signal(up), Signal(down), Signal(down, both=True)], np.ones(1000), keep=1
    )
    assert first.kept[0].where == ((0, 1),)
    assert second.kept[0].where != ((2, 3),), "one-sided: low is no fault"
    assert third.kept[0].where == ((2, 3),)


def test_only_the_best_columns_make_pairs() -> None:
    coded, values = _random(1000, 0, columns=5), np.random.default_rng(0).normal(size=1000)
    (found,) = slices.search(coded, [Signal(values)], np.ones(1000), keep=1, columns=2)
    assert found.looked == 5 * 4 + 16


@pytest.mark.parametrize("size", [29, 30])
def test_thirty_rows_are_the_smallest_slice_and_the_smallest_rest(size: int) -> None:
    codes = (np.arange(200) < size).astype(int)
    for values in (codes.astype(float), 1.0 - codes):
        (found,) = slices.search(_coded(codes), [Signal(values)], np.ones(200), keep=3)
        assert found.looked == (2 if size == 30 else 0)


def test_without_columns_or_differences_nothing_is_found() -> None:
    (none,) = slices.search(Coded((), ()), [Signal(np.arange(100.0))], np.ones(100), keep=3)
    assert (none.kept, none.looked) == ((), 0)
    (flat,) = slices.search(_random(500, 0), [Signal(np.full(500, 7.0))], np.ones(500), keep=3)
    assert flat.kept == ()


def _drawn(law: str, generator: np.random.Generator) -> Any:
    if law == "exponential":
        return generator.exponential(size=300)
    if law == "lognormal":
        return generator.lognormal(size=300)
    return (generator.random(300) < 0.05).astype(float)


class TestAboveRest:
    def _rows(self, seed: int, size: int = 40, rows: int = 400) -> tuple[Any, Any]:
        return np.arange(rows) < size, np.random.default_rng(seed).normal(size=rows)

    def test_it_is_the_larger_p_of_two_t_tests(self) -> None:
        inside, values = self._rows(0)
        for spread in (0.3, 3.0):
            wide = np.where(inside, 0.3 + spread * values, values)
            welch = stats.ttest_ind(wide[inside], wide[~inside], equal_var=False, alternative="greater").pvalue
            gap = wide[inside].mean() - wide[~inside].mean()
            error = wide.std(ddof=1) * math.sqrt(1 / 40 + 1 / 360)
            pooled = stats.t.sf(gap / error, 398)
            assert slices.above_rest(inside, wide, np.ones(400)) == pytest.approx(max(welch, pooled), rel=1e-9)

    def test_equal_weights_change_nothing_and_unequal_ones_do(self) -> None:
        inside, values = self._rows(1)
        values = values + 0.3 * inside
        plain = slices.above_rest(inside, values, np.ones(400))
        assert slices.above_rest(inside, values, np.full(400, 7.0)) == pytest.approx(plain, rel=1e-9)
        heavy = np.where(values > 0, 3.0, 1.0)
        assert slices.above_rest(inside, values, heavy) != pytest.approx(plain)

    def test_below_is_never_proven(self) -> None:
        inside, values = self._rows(2)
        assert slices.above_rest(inside, values - 5.0 * inside, np.ones(400)) == 1.0
        assert slices.above_rest(inside, np.ones(400), np.ones(400)) == 1.0

    def test_a_margin_has_to_be_exceeded(self) -> None:
        inside, values = self._rows(3)
        shifted = values - np.where(inside, values[inside].mean(), values[~inside].mean()) + 1.0 * inside
        plain, wide, beyond = (slices.above_rest(inside, shifted, np.ones(400), by=by) for by in (0.0, 0.5, 1.0))
        assert plain < wide < 0.01
        assert beyond == pytest.approx(1.0) or beyond > 0.49

    def test_rows_that_differ_without_spread_are_proof(self) -> None:
        inside = np.arange(400) < 40
        assert slices.above_rest(inside, inside.astype(float), np.ones(400)) < 1e-12

    def test_one_row_proves_nothing(self) -> None:
        values = np.array([9.0, 0.0, 0.1, 0.2])
        assert slices.above_rest(np.array([True, False, False, False]), values, np.ones(4)) == 1.0

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    @pytest.mark.parametrize("law", ["exponential", "lognormal", "rare"])
    def test_it_keeps_its_level_on_skewed_rows(self, law: str, sign: float) -> None:
        generator, inside = np.random.default_rng(0), np.arange(300) < 30
        alarms = 0
        for _ in range(2000):
            drawn = _drawn(law, generator)
            alarms += slices.above_rest(inside, sign * drawn, np.ones(300)) <= 0.01
        # Welch alone raises 100 of 2000 on the short tail of an exponential, the common spread 50 on its long one.
        assert alarms <= 20

    def test_it_sees_what_is_there(self) -> None:
        inside, seen = np.arange(300) < 40, 0
        for seed in range(200):
            drawn = np.random.default_rng(seed).exponential(size=300)
            seen += slices.above_rest(inside, np.where(inside, 2.5 * drawn, drawn), np.ones(300)) <= 0.001
        assert seen > 140


def test_above_zero_is_students_test() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 60)
    expected = stats.ttest_1samp(values, 0.0, alternative="greater").pvalue
    assert slices.above_zero(values, np.ones(60)) == pytest.approx(expected, rel=1e-9)
    assert slices.above_zero(-values, np.ones(60)) == 1.0
    assert slices.above_zero(np.ones(5), np.ones(5)) == 0.0
    assert slices.above_zero(np.ones(1), np.ones(1)) == 1.0


class TestMeanInterval:
    def test_one_slice_has_students_interval(self) -> None:
        values = np.random.default_rng(0).normal(size=50)
        found = slices.mean_interval(values, np.ones(50))
        expected = stats.t.interval(0.95, 49, values.mean(), values.std(ddof=1) / math.sqrt(50))
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)

    def test_many_slices_share_what_may_be_missed(self) -> None:
        values = np.random.default_rng(0).normal(size=50)
        found = slices.mean_interval(values, np.ones(50), of=20)
        expected = stats.t.interval(1 - 0.05 / 20, 49, values.mean(), values.std(ddof=1) / math.sqrt(50))
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)

    def test_no_spread_by_luck_is_not_certainty(self) -> None:
        found = slices.mean_interval(np.zeros(30), np.ones(30), spread=0.5)
        assert found.high == pytest.approx(stats.t.ppf(0.975, 29) * 0.5 / math.sqrt(30))

    def test_too_few_rows_have_no_interval(self) -> None:
        one, none = (slices.mean_interval(np.ones(rows), np.ones(rows)) for rows in (1, 0))
        assert one.value == 1.0
        assert math.isnan(one.low)
        assert math.isnan(none.value)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_holm(p_values: list[float]) -> None:
    found = slices.holm(p_values)
    order = np.argsort(p_values, kind="stable")
    by_hand = np.ones(len(p_values))
    for rank, position in enumerate(order):
        earlier = by_hand[order[rank - 1]] if rank else 0.0
        by_hand[position] = max(earlier, min(1.0, (len(p_values) - rank) * p_values[position]))
    assert found == pytest.approx(by_hand.tolist())
    assert all(adjusted >= p for adjusted, p in zip(found, p_values, strict=True))


def test_holm_on_an_example() -> None:
    assert slices.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
