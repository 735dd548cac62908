"""Another unit is found, an ordinary drift is not taken for one, and what cannot be told is not told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.evaluation.check import Array
from fullcircle.stats.units import unit_shift

Law = Callable[[np.random.Generator, int], Array]

LAWS: dict[str, Law] = {
    "height": lambda g, n: g.normal(170.0, 9.0, n),
    "around zero": lambda g, n: g.normal(0.0, 1.0, n),
    "weight": lambda g, n: g.lognormal(4.3, 0.2, n),
    "skewed": lambda g, n: g.lognormal(3.2, 0.3, n),
    "very skewed": lambda g, n: g.lognormal(0.0, 2.0, n),
    "exponential": lambda g, n: g.exponential(1.0, n),
    "heavy tails": lambda g, n: g.standard_t(2, n),
    "no mean": lambda g, n: g.standard_cauchy(n),
    "whole": lambda g, n: g.integers(18, 90, n).astype(float),
    "counts": lambda g, n: g.poisson(4, n).astype(float),
    "many zeros": lambda g, n: np.where(g.random(n) < 0.6, 0.0, g.lognormal(5.0, 0.7, n)),
    "flag": lambda g, n: (g.random(n) < 0.3).astype(float),
    "temperature": lambda g, n: g.normal(18.0, 8.0, n),
    "two humps": lambda g, n: np.where(g.random(n) < 0.5, g.normal(1.0, 0.2, n), g.normal(10.0, 1.0, n)),
}
DRIFTS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "1 sd up": lambda x: x + x.std(),
    "2 sd up": lambda x: x + 2 * x.std(),
    "3 sd up": lambda x: x + 3 * x.std(),
    "3 sd down": lambda x: x - 3 * x.std(),
    "twice the variance": lambda x: (x - x.mean()) * 2**0.5 + x.mean(),
    "half the variance": lambda x: (x - x.mean()) / 2**0.5 + x.mean(),
    "a third more": lambda x: x * 4 / 3,
}


def pair(law: Law, seed: int, rows: tuple[int, int] = (800, 300)) -> tuple[Array, Array]:
    g = np.random.default_rng(seed)
    return law(g, rows[0]), law(g, rows[1])


@pytest.mark.parametrize(
    ("law", "factor", "told"),
    [
        ("height", 10.0, "looks multiplied by 10"),
        ("height", 0.1, "looks divided by 10"),
        ("height", 0.01, "looks divided by 100"),
        ("height", 1000.0, "looks multiplied by 1000"),
        ("height", 1 / 2.54, "looks divided by 2.54 (inches and centimetres)"),
        ("height", 1 / 0.3048, "looks multiplied by 3.281 (metres and feet)"),
        ("height", 1.609344, "looks multiplied by 1.609 (miles and kilometres)"),
        ("weight", 2.20462, "looks multiplied by 2.2046 (kilograms and pounds)"),
        ("weight", 0.45359, "looks divided by 2.2046 (kilograms and pounds)"),
        ("exponential", 60.0, "looks multiplied by 60 (hours and minutes, or minutes and seconds)"),
        ("exponential", 1 / 24.0, "looks divided by 24 (days and hours)"),
        ("exponential", 3600.0, "looks multiplied by 3600 (hours and seconds)"),
        ("around zero", 10.0, "looks multiplied by 10"),
        ("around zero", 0.001, "looks divided by 1000"),
        ("heavy tails", 100.0, "looks multiplied by 100"),
        ("whole", 10.0, "looks multiplied by 10"),
        ("counts", 100.0, "looks multiplied by 100"),
        ("many zeros", 100.0, "looks multiplied by 100"),
        ("two humps", 10.0, "looks multiplied by 10"),
    ],
)
def test_a_factor_is_found_and_named(law: str, factor: float, told: str) -> None:
    for seed in range(3):
        known, seen = pair(LAWS[law], seed)
        found = unit_shift(known, seen * factor)
        assert found is not None
        assert found.description == told
        assert found.share == 1.0
        assert found.factor == pytest.approx(factor, rel=1e-4)
        assert found.offset == 0.0


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (lambda c: c, lambda c: c * 1.8 + 32, "looks like degrees Fahrenheit instead of Celsius"),
        (lambda c: c * 1.8 + 32, lambda c: c, "looks like degrees Celsius instead of Fahrenheit"),
        (lambda c: c, lambda c: c + 273.15, "looks like kelvins instead of degrees Celsius"),
        (lambda c: c + 273.15, lambda c: c, "looks like degrees Celsius instead of kelvins"),
    ],
)
def test_temperatures_are_told_apart(
    before: Callable[[Array], Array], after: Callable[[Array], Array], told: str
) -> None:
    for seed in range(5):
        known, seen = pair(lambda g, n: g.normal(21.0, 5.0, n), seed)
        found = unit_shift(before(known), after(seen))
        assert found is not None
        assert found.description == told


@pytest.mark.parametrize("share", [0.07, 0.12, 0.5, 0.9])
@pytest.mark.parametrize("factor", [10.0, 0.1, 100.0])
def test_a_part_of_the_rows_is_found_with_its_share(share: float, factor: float) -> None:
    known, seen = pair(LAWS["skewed"], 3, (2000, 1000))
    wrong = np.random.default_rng(4).random(1000) < share
    found = unit_shift(known, np.where(wrong, seen * factor, seen))
    assert found is not None
    assert found.factor == pytest.approx(factor)
    assert found.share == pytest.approx(wrong.mean(), abs=0.02)


def test_a_part_in_fahrenheit_is_found_with_its_share() -> None:
    known, seen = pair(LAWS["temperature"], 5, (2000, 1000))
    wrong = np.arange(1000) % 4 == 0
    found = unit_shift(known, np.where(wrong, seen * 1.8 + 32, seen))
    assert found is not None
    assert "Fahrenheit" in found.description
    assert found.share == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rows", [(400, 200), (60, 40)])
def test_the_same_law_is_never_another_unit(law: str, rows: tuple[int, int]) -> None:
    for seed in range(12):
        assert unit_shift(*pair(LAWS[law], seed, rows)) is None


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("law", LAWS)
def test_an_ordinary_drift_is_not_another_unit(law: str, drift: str) -> None:
    for seed in range(2):
        known, seen = pair(LAWS[law], seed)
        assert unit_shift(known, DRIFTS[drift](seen)) is None


def test_values_that_were_rounded_in_the_other_unit_still_fit() -> None:
    known, seen = pair(lambda g, n: np.round(g.normal(75.0, 12.0, n)), 1)
    found = unit_shift(known, np.round(seen / 0.45359237))
    assert found is not None
    assert "pounds" in found.description


def test_a_count_that_grew_tenfold_is_no_other_unit() -> None:
    """Of counts that were multiplied by ten, each ends in a zero; of a tenth of them, most are no whole numbers."""
    g = np.random.default_rng(0)
    few, many = np.round(g.lognormal(1.0, 0.9, 800)), np.round(10 * g.lognormal(1.0, 0.9, 300))
    assert unit_shift(few, many) is None
    assert unit_shift(many, few) is None
    found = unit_shift(few, few[:300] * 10), unit_shift(many, many[:200] / 10)
    assert [None if each is None else each.description for each in found] == [
        "looks multiplied by 10",
        "looks divided by 10",
    ]


def test_an_outlier_is_not_another_unit() -> None:
    known, seen = pair(LAWS["height"], 2)
    seen[:3] *= 10
    assert unit_shift(known, seen) is None


def test_too_few_or_too_coarse_values_tell_nothing() -> None:
    known, seen = pair(LAWS["height"], 2)
    assert unit_shift(known, seen[:29] * 10) is None
    assert unit_shift(known[:29], seen * 10) is None
    assert unit_shift(known, seen[:30] * 10) is not None
    assert unit_shift([], []) is None
    assert unit_shift(np.full(100, 3.0), np.full(100, 30.0)) is None
    assert unit_shift(np.arange(100) % 2, (np.arange(100) % 2) * 10) is None
    assert unit_shift(np.zeros(100), np.zeros(100)) is None


def test_missing_and_infinite_values_are_left_out() -> None:
    known, seen = pair(LAWS["height"], 2)
    seen = seen * 10
    seen[::3] = np.nan
    seen[1::50] = np.inf
    found = unit_shift([None, *known.tolist()], seen)
    assert found is not None
    assert found.share == 1.0


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 10_000),
    factor=st.sampled_from([1.0, 10.0, 0.1, 2.20462, 1.3]),
    law=st.sampled_from(["height", "skewed", "around zero", "exponential"]),
)
def test_the_unit_of_both_does_not_matter(scale: float, seed: int, factor: float, law: str) -> None:
    known, seen = pair(LAWS[law], seed)
    plain, scaled = unit_shift(known, seen * factor), unit_shift(known * scale, seen * factor * scale)
    # Only degrees depend on the unit of both: 32 is 32 of something.
    told = [None if each is None or each.offset else each.description for each in (plain, scaled)]
    assert told[0] == told[1]


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-1e9, 1e9), min_size=30, max_size=80))
def test_identity_is_never_found(values: list[float]) -> None:
    assert unit_shift(values, values) is None
    assert unit_shift(values, values[::-1]) is None


def test_the_arrays_stay_as_they_were() -> None:
    known, seen = pair(LAWS["height"], 2)
    before = known.copy(), seen.copy()
    unit_shift(known, seen)
    assert np.array_equal(known, before[0])
    assert np.array_equal(seen, before[1])
