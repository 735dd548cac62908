"""Confidence sequences: laws, figures of other implementations, and how often they are wrong at any look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from fullcircle.errors import DataUnfit
from fullcircle.stats import sequences
from fullcircle.stats.intervals import Interval
from fullcircle.stats.sequences import Estimate

CHANCES = st.floats(0.001, 0.5)
VALUES = arrays(np.float64, st.integers(4, 60), elements=st.floats(-100, 100))
X = (np.arange(1, 41) * 0.37) % 1.0


# Figures of other implementations: the unit tests of confseq 0.0.11 (V = 100; made with its authors' R package), and
# what ville 0.1.0 answers for X.


def test_the_boundary_is_that_of_confseq() -> None:
    assert 10 * sequences.multiplier(100 / 12.60056, 0.05) == pytest.approx(30.35209, abs=1e-5)


def test_the_margin_is_that_of_ville_but_for_students_law() -> None:
    found = sequences.mean(X)
    margin = float(sequences.multiplier(sequences.best(0.05), 0.05)) * found.error
    assert found.value - margin == pytest.approx(0.3716368572651928, abs=1e-6)
    told = sequences.sequence(found, 40, 0.05)
    assert told.low < found.value - margin
    tail = stats.norm.sf(sequences.multiplier(sequences.best(0.05), 0.05))
    assert told.value - told.low == pytest.approx(stats.t.isf(tail, 39) * found.error, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
def test_best_is_where_the_multiplier_is_least(alpha: float) -> None:
    found = optimize.minimize_scalar(
        lambda u: float(sequences.multiplier(u, alpha)), bounds=(0.1, 100), method="bounded", options={"xatol": 1e-9}
    )
    assert sequences.best(alpha) == pytest.approx(found.x, rel=1e-4)
    assert sequences.multiplier(found.x, alpha) == pytest.approx(math.sqrt(1 + sequences.best(alpha)), rel=1e-6)


def test_rho_is_that_of_the_paper() -> None:
    """rho^2 t = -W(-alpha^2 / e) - 1 on the lower branch (Waudby-Smith et al. 2024)."""
    from scipy.special import lambertw

    for alpha in (0.2, 0.05, 0.001):
        assert sequences.best(alpha) == pytest.approx(-lambertw(-(alpha**2) / math.e, -1).real - 1, rel=1e-9)


@given(st.floats(1e-6, 1e6), CHANCES)
def test_at_the_margin_the_mixture_is_one_over_alpha(u: float, alpha: float) -> None:
    z = float(sequences.multiplier(u, alpha))
    assert z * z * u / (1 + u) / 2 - math.log1p(u) / 2 == pytest.approx(-math.log(alpha), rel=1e-9)


@given(VALUES, CHANCES, CHANCES)
def test_a_smaller_chance_is_a_wider_interval(values: np.ndarray, a: float, b: float) -> None:
    found = Estimate(1.0, 0.5, 0.0, float(values.size))
    low, high = sorted((a, b))
    narrow, wide = sequences.sequence(found, 30, high), sequences.sequence(found, 30, low)
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12


@given(VALUES, VALUES)
def test_arms_that_swap_turn_the_sign(a: np.ndarray, b: np.ndarray) -> None:
    first, second = sequences.mean(a), sequences.mean(b)
    one, other = sequences.difference(first, second), sequences.difference(second, first)
    assert one.value == -other.value
    assert (one.error, one.units) == (other.error, other.units)
    assert one.skew == -other.skew
    here, there = sequences.sequence(one, 30, 0.05), sequences.sequence(other, 30, 0.05)
    assert (here.low, here.high) == (-there.high, -there.low)


@given(VALUES, st.floats(-5, 5), st.floats(0.1, 10))
def test_origin_and_unit_do_not_matter(values: np.ndarray, shift: float, unit: float) -> None:
    one, other = sequences.mean(values), sequences.mean(shift + unit * values)
    assert other.value == pytest.approx(shift + unit * one.value, abs=1e-8)
    assert other.error == pytest.approx(unit * one.error, rel=1e-6, abs=1e-8)
    if one.error > 1e-3:
        assert other.skew == pytest.approx(one.skew, rel=1e-4, abs=1e-6)


@given(VALUES, st.floats(-3, 3))
def test_evidence_says_what_the_interval_says(values: np.ndarray, null: float) -> None:
    found = sequences.mean(values)
    told = sequences.sequence(found, 20, 0.05)
    evidence = sequences.log_evidence(found, 20, 0.05, null)
    if abs(evidence + math.log(0.05)) > 1e-6:
        assert (evidence >= -math.log(0.05)) == (not told.low <= null <= told.high)


def test_the_moments_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=500)
    found = sequences.mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(stats.sem(values))
    assert found.skew == pytest.approx(stats.skew(values) / math.sqrt(500), rel=0.01)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [2.0] * 50, [0.1] * 7, [1e-200] * 7])
def test_too_few_values_or_none_that_differ_leave_everything_open(values: list[float]) -> None:
    told = sequences.sequence(sequences.mean(values), 10, 0.05)
    assert (told.low, told.high) == (-math.inf, math.inf)
    assert sequences.log_evidence(sequences.mean(values), 10, 0.05) == -math.inf


def test_nothing_is_said_of_skewed_values_before_there_are_enough() -> None:
    values = np.random.default_rng(1).exponential(size=2000)
    assert math.isinf(sequences.sequence(sequences.mean(values[:60]), 500, 0.05).low)
    told = sequences.sequence(sequences.mean(values), 500, 0.05)
    assert told.low < 1.0 < told.high


def test_a_ratio_by_entity_has_the_error_of_entities_drawn_anew() -> None:
    generator = np.random.default_rng(2)

    def drawn() -> Estimate:
        level, rows = generator.normal(1.0, 1.0, 400), generator.poisson(3.0, 400) + 1
        return sequences.ratio(level * rows + generator.normal(size=400), rows)

    many = [drawn() for _ in range(400)]
    assert np.mean([each.error for each in many]) == pytest.approx(np.std([each.value for each in many]), rel=0.1)
    rows = generator.normal(size=90)
    one = sequences.ratio(*sequences.by_entity(np.arange(90), rows, np.ones(90)))
    assert one == pytest.approx(sequences.mean(rows))  # an entity a row: the mean


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), min_size=1, max_size=20), st.randoms())
def test_sums_by_entity_do_not_look_at_the_order_of_rows(rows: list[tuple[str, int]], random: object) -> None:
    names, values = zip(*rows, strict=True)
    (sums,) = sequences.by_entity(names, values)
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    (again,) = sequences.by_entity(*zip(*mixed, strict=True))
    assert sums.tolist() == again.tolist()
    assert sums.sum() == sum(values)


@given(VALUES, VALUES)
def test_one_part_alone_is_itself(a: np.ndarray, b: np.ndarray) -> None:
    one = sequences.difference(sequences.mean(a), sequences.mean(b))
    unknown = sequences.difference(sequences.mean(a), sequences.mean([1.0]))
    for parts in ([one], [one, unknown], [unknown, one]):
        told = sequences.together(parts)
        assert told.value == pytest.approx(one.value, rel=1e-12, abs=1e-12)
        assert told.error == pytest.approx(one.error, rel=1e-12)
        assert told.skew == pytest.approx(one.skew, rel=1e-9, abs=1e-12)
        assert told.units == pytest.approx(one.units)


@pytest.mark.parametrize("parts", [[], [sequences.mean([1.0])], [sequences.mean([])] * 2])
def test_parts_that_know_nothing_know_nothing_together(parts: list[Estimate]) -> None:
    told = sequences.together(parts)
    assert math.isnan(told.value)
    assert sequences.sequence(told, 30, 0.05).low == -math.inf
    assert sequences.log_evidence(told, 30, 0.05) == -math.inf


def test_parts_without_an_error_say_nothing_however_many() -> None:
    told = sequences.together([sequences.mean([2.0] * 9), sequences.mean([2.0] * 5)])
    assert (told.value, told.error, told.skew) == (2.0, 0.0, 0.0)
    assert sequences.sequence(told, 30, 0.05).low == -math.inf


def test_parts_are_put_together_by_hand() -> None:
    told = sequences.together([Estimate(1.0, 0.3, 0.2, 30.0), Estimate(5.0, 0.4, -0.1, 10.0)])
    assert told.value == pytest.approx(2.0)
    assert told.error == pytest.approx(math.hypot(0.75 * 0.3, 0.25 * 0.4))
    assert told.skew == pytest.approx((0.2 * 0.225**3 - 0.1 * 0.1**3) / told.error**3)
    assert told.units == 40.0


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_evidence_goes_by_the_slower_clock_of_the_two(spread: float) -> None:
    """Between the two multipliers the one clock refuses the null and the other does not: so it is not refused."""
    found = Estimate(0.0, 1.0 / math.sqrt(400), 0.0, 400.0)
    plain, told = sequences.sequence(found, 400, 0.05), sequences.sequence(found, 400, 0.05, spread)
    null = (plain.high + told.high) / 2
    evidence = sequences.log_evidence(found, 400, 0.05, null, spread)
    if spread == 1.0:
        assert told.high == pytest.approx(plain.high)
    else:
        assert told.high > 1.01 * plain.high
        assert evidence < -math.log(0.05) < sequences.log_evidence(found, 400, 0.05, null)
    edge = sequences.log_evidence(found, 400, 0.05, told.high, spread)
    assert edge == pytest.approx(-math.log(0.05), rel=1e-6)


def test_parts_are_weighed_by_their_units_and_stray_as_drawn_anew() -> None:
    """Worlds of two levels, dealt by 90 % and then by halves: what both arms have in common is in no estimate."""
    generator = np.random.default_rng(8)

    def drawn() -> Estimate:
        parts = []
        for level, share, rows in ((0.0, 0.9, 400), (5.0, 0.5, 200)):
            second = generator.random(rows) < share
            values = generator.exponential(size=rows) + level
            parts.append(sequences.difference(sequences.mean(values[second]), sequences.mean(values[~second])))
        return sequences.together(parts)

    many = [drawn() for _ in range(500)]
    assert np.mean([each.value for each in many]) == pytest.approx(0.0, abs=0.02)
    assert np.mean([each.error for each in many]) == pytest.approx(np.std([each.value for each in many]), rel=0.1)
    assert np.mean([each.units for each in many]) == pytest.approx(400 * 0.09 + 200 * 0.25, rel=0.02)
    assert np.mean([each.skew for each in many]) == pytest.approx(stats.skew([each.value for each in many]), abs=0.35)


@given(VALUES, st.floats(0.01, 100), st.floats(-3, 3))
def test_with_a_spread_bounds_are_never_narrower_and_say_what_the_evidence_says(
    values: np.ndarray, spread: float, null: float
) -> None:
    found = sequences.mean(values)
    plain, told = sequences.sequence(found, 20, 0.05), sequences.sequence(found, 20, 0.05, spread)
    assert told.low <= plain.low
    assert told.high >= plain.high
    evidence = sequences.log_evidence(found, 20, 0.05, null, spread)
    assert evidence <= sequences.log_evidence(found, 20, 0.05, null)
    if abs(evidence + math.log(0.05)) > 1e-6:
        assert (evidence >= -math.log(0.05)) == (not told.low <= null <= told.high)


def test_where_the_spread_is_as_planned_both_clocks_are_one() -> None:
    values = np.random.default_rng(6).normal(size=900)
    found = sequences.mean(values)
    spread = found.error * math.sqrt(found.units)
    assert sequences.sequence(found, 500, 0.05, spread) == pytest.approx(sequences.sequence(found, 500, 0.05))


def test_where_no_unit_comes_any_more_bounds_go_on_with_the_information() -> None:
    """An estimate of 1000 units whose error shrinks: in errors its bounds get wider, by the multiplier's figure."""
    best = sequences.best(0.05)
    for smaller in (1.0, 2.0, 10.0, 1e3, 1e6):
        found = Estimate(0.0, 0.05 / smaller, 0.0, 1000.0)
        told = sequences.sequence(found, 1000, 0.05, 0.05 * math.sqrt(1000))
        tail = stats.norm.sf(sequences.multiplier(best * smaller**2, 0.05))
        assert told.high / found.error == pytest.approx(stats.t.isf(tail, 999), rel=1e-6)
        by_units = sequences.sequence(found, 1000, 0.05).high / found.error
        assert by_units == pytest.approx(sequences.sequence(found._replace(error=1.0), 1000, 0.05).high)


def test_units_that_stand_still_are_no_clock_for_what_is_looked_at_for_ever() -> None:
    """Brownian motion over 12 powers of ten, 500 looks, 1000 runs: the units say the same all the time."""
    times = np.geomspace(1.0, 1e12, 500)
    steps = np.sqrt(np.diff(times, prepend=0.0)) * np.random.default_rng(9).normal(size=(1000, 500))
    z = np.abs(np.cumsum(steps, axis=1) / np.sqrt(times))
    still, moving = (sequences.multiplier(sequences.best(0.05) * clock, 0.05) for clock in (1.0, times))
    assert (z >= still).any(axis=1).mean() > 0.15
    assert (z >= np.maximum(still, moving)).any(axis=1).mean() <= 0.05


def test_arms_that_grow_unevenly_stay_on_the_clock_of_information() -> None:
    """The second arm is ramped: 5 %, then half of the rows. Looks at every tenth row, no difference, 2000 runs."""
    generator, n = np.random.default_rng(3), 1000
    second = generator.random((2000, n)) < np.where(np.arange(n) < 500, 0.05, 0.5)
    y = generator.normal(size=second.shape)
    counts = [np.maximum(np.cumsum(each, axis=1), 1) for each in (second, ~second)]
    means = [np.cumsum(y * each, axis=1) / count for each, count in zip((second, ~second), counts, strict=True)]
    units = counts[0] * counts[1] / (counts[0] + counts[1])
    z = np.abs(means[0] - means[1]) * np.sqrt(units)
    wrong = (z >= sequences.multiplier(sequences.best(0.05) * units / 150, 0.05)).any(axis=1).mean()
    assert 0.01 < wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(
    ("law", "middle"),
    [
        (lambda g, s: g.exponential(size=s), 1.0),
        (lambda g, s: g.lognormal(0, 1.5, s), math.exp(1.125)),
        (lambda g, s: (g.random(s) < 0.05) * g.lognormal(0, 1, s), 0.05 * math.exp(0.5)),
        (lambda g, s: (g.random(s) < 0.01).astype(float), 0.01),
    ],
    ids=["exponential", "lognormal", "many zeros", "rare"],
)
def test_skew_does_not_make_verdicts_where_there_is_none(law: object, middle: float) -> None:
    """Looks at rows 5, 10, 20, ... of 300 runs. Without the guards up to 65 % of such runs were wrong."""
    generator, wrong = np.random.default_rng(4), 0
    for _ in range(300):
        values = law(generator, 1500)  # type: ignore[operator]
        for n in (5, 10, 20, 40, 80, 150, 300, 600, 1000, 1500):
            told = sequences.sequence(sequences.mean(values[:n]), 100, 0.05)
            if not told.low <= middle <= told.high:
                wrong += 1
                break
    assert wrong / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan, -0.1])
def test_an_alpha_that_is_no_chance_is_an_error(alpha: float) -> None:
    with pytest.raises(DataUnfit, match="alpha is no chance"):
        sequences.best(alpha)


@pytest.mark.parametrize("planned", [0.0, -5.0, math.nan, math.inf])
def test_without_a_planned_size_there_is_no_sequence(planned: float) -> None:
    with pytest.raises(DataUnfit, match="planned size"):
        sequences.sequence(sequences.mean(X), planned, 0.05)


def test_numerators_and_denominators_of_two_lengths_are_an_error() -> None:
    with pytest.raises(DataUnfit, match="differ in length"):
        sequences.ratio([1.0, 2.0], [1.0])


@settings(max_examples=30)
@given(st.floats(-10, 10), st.floats(0, 10), st.floats(0, 10), st.floats(-1000, 1000))
def test_a_value_a_day_has_its_bounds_in_order(value: float, down: float, up: float, by: float) -> None:
    told = sequences.scaled(Interval(value, value - down, value + up), by)
    assert told.low <= told.value <= told.high
    assert told.value == value * by


def test_no_rows_a_day_are_worth_nothing_even_where_nothing_is_known() -> None:
    assert sequences.scaled(Interval(1.0, -math.inf, math.inf), 0.0) == (0.0, 0.0, 0.0)
