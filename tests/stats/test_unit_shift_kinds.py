"""Every known mistake is found on columns of many kinds, and what is no mistake on none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fullcircle.monitoring.profiles import frozen
from fullcircle.stats.unit_shifts import FEWEST, MISTAKES, Mistake, find

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
KINDS: dict[str, Draw] = {
    "normal": lambda generator, n: generator.normal(26, 4, n),
    "skewed": lambda generator, n: generator.lognormal(3, 0.4, n),
    "even": lambda generator, n: generator.uniform(10, 40, n),
    "ages": lambda generator, n: generator.integers(18, 70, n).astype(float),
    "skewed left": lambda generator, n: 30 * generator.weibull(4, n) + 5,
}
HUGE = tuple(each for each in MISTAKES if not 0.2 < abs(each.factor) < 5)


def _quantiles(kind: str) -> tuple[float, ...]:
    return frozen(kind, KINDS[kind](np.random.default_rng(1), 3000)).quantiles


def _named(kind: str, values: Floats) -> list[Mistake]:
    return [each.mistake for each in find(_quantiles(kind), values)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_mistake_in_all_rows_is_named(kind: str) -> None:
    window, quantiles, missed = KINDS[kind](np.random.default_rng(2), 3000), _quantiles(kind), []
    for mistake in MISTAKES:
        found = find(quantiles, window * mistake.factor + mistake.offset)
        if mistake not in [each.mistake for each in found]:
            missed.append(mistake.text)
        assert all(each.share == 1.0 for each in found)
        assert [each.left for each in found] == sorted(each.left for each in found)
    assert missed == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [150, 480])
def test_a_huge_mistake_in_a_part_of_the_rows_is_named_with_the_share(kind: str, wrong: int) -> None:
    quantiles = _quantiles(kind)
    for mistake in HUGE[:: 1 + (wrong > 300)]:
        window = KINDS[kind](np.random.default_rng(3), 600)
        window[:wrong] = window[:wrong] * mistake.factor + mistake.offset
        # Years in place of months are a twelfth, which a tenth explains about as well: both may be named.
        shares = {each.mistake: each.share for each in find(quantiles, window)}
        assert shares[mistake] == pytest.approx(wrong / 600, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [FEWEST, 60, 400, 5000])
def test_rows_like_the_reference_are_not_named(kind: str, rows: int) -> None:
    generator = np.random.default_rng(rows)
    assert not any(_named(kind, KINDS[kind](generator, rows)) for _ in range(8))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values + 0.5 * values.std(),
        lambda values: values + 3 * values.std(),
        lambda values: np.where(np.arange(values.size) % 5, values, np.median(values)),
        lambda values: values[values > np.quantile(values, 0.4)],
        lambda values: values[values < np.quantile(values, 0.7)],
        lambda values: np.full(values.size, float(values.max())),
        lambda values: np.zeros(values.size),
        lambda values: np.round(values, -1),
        lambda values: values * 1.1,
        lambda values: np.where(np.arange(values.size) % 3, values, -999.0),
    ],
    ids=["moved a bit", "moved far", "mended", "no low", "no high", "stuck", "zeros", "rounded", "a tenth", "code"],
)
def test_other_changes_are_not_named(change: Callable[[Floats], Floats]) -> None:
    named = {kind: _named(kind, change(draw(np.random.default_rng(4), 1200))) for kind, draw in KINDS.items()}
    assert {kind: [each.text for each in some] for kind, some in named.items() if some} == {}


@pytest.mark.parametrize("column", ["about zero", "flag", "constant"])
def test_a_column_that_a_mistake_hardly_moves_tells_none(column: str) -> None:
    """A spread about its own middle is told from a factor by nothing; the other sign changes nothing at all."""
    generator = np.random.default_rng(5)
    values = {
        "about zero": generator.normal(0, 1, 3000),
        "flag": np.zeros(3000),
        "constant": np.full(3000, 7.0),
    }[column]
    quantiles = frozen("x", values).quantiles
    for mistake in MISTAKES:
        if mistake.factor == -1.0 or column != "about zero" or (0.2 < mistake.factor < 5 and not mistake.offset):
            assert find(quantiles, values[:500] * mistake.factor + mistake.offset) == ()


def test_values_that_are_not_finite_are_left_out() -> None:
    window = KINDS["normal"](np.random.default_rng(6), 500) * 100
    dirty = np.concatenate([window, [np.nan] * 300, [np.inf, -np.inf]])
    assert find(_quantiles("normal"), dirty) == find(_quantiles("normal"), window) != ()


@pytest.mark.parametrize("shape", [(500,), (50, 10), (1, 500)])
def test_order_and_shape_do_not_matter(shape: tuple[int, ...]) -> None:
    window = KINDS["ages"](np.random.default_rng(7), 500) / 12
    assert find(_quantiles("ages"), window[::-1].reshape(shape)) == find(_quantiles("ages"), np.sort(window)) != ()


def test_too_few_values_name_nothing() -> None:
    window = np.quantile(_quantiles("normal"), (np.arange(FEWEST) + 0.5) / FEWEST) * 1000
    assert _named("normal", window)[0].text == "multiplied by 1000"
    assert _named("normal", window[1:]) == []
    assert _named("normal", np.append(window[1:], np.nan)) == []
    assert find((), window) == find((1.0, 2.0), window) == ()


def test_a_sample_of_many_rows_says_the_same() -> None:
    """Above 20 000 rows only every so many of the sorted ones are looked at."""
    window = KINDS["skewed"](np.random.default_rng(9), 60_000) * 3600
    (best, *_) = find(_quantiles("skewed"), window)
    assert (best.mistake.text, best.share) == ("multiplied by 3600 (seconds and hours)", 1.0)


def test_the_table_of_mistakes_is_of_pairs() -> None:
    """What was done once may have been undone: each turning has its inverse, and no text is there twice."""
    ways = [(each.factor, each.offset) for each in MISTAKES]
    for factor, offset in ways:
        assert any(np.allclose((f, o), (1 / factor, -offset / factor)) for f, o in ways), (factor, offset)
    assert len({each.text for each in MISTAKES}) == len({*ways}) == len(MISTAKES)


def test_small_factors_of_a_skewed_column_are_missed_and_large_ones_are_not() -> None:
    """docs/distances.md says so."""
    values = np.random.default_rng(0).exponential(3, 4000)
    quantiles = np.quantile(values[:3000], np.linspace(0, 1, 33))
    assert find(quantiles, values[3000:] * 2.54) == ()
    assert 10.0 in [each.mistake.factor for each in find(quantiles, values[3000:] * 10)]
