"""Known mistakes of units are named, and plain drift is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fullcircle.monitoring.profiles import frozen
from fullcircle.monitoring.words import guess
from fullcircle.stats.unit_shifts import MISTAKES, find
from fullcircle.types.monitoring import FeatureProfile

BMI = frozen("bmi", np.random.default_rng(0).normal(26, 4, 4000))


def _window(n: int = 1000) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(26, 4, n)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.text)
def test_each_mistake_is_named(mistake: object) -> None:
    factor, offset = mistake.factor, mistake.offset  # type: ignore[attr-defined]
    found = find(BMI.quantiles, _window() * factor + offset)
    assert mistake in [each.mistake for each in found]
    assert found[0].share == 1.0


def test_words() -> None:
    assert guess(BMI, (_window() * 10).tolist()) == "bmi looks multiplied by 10"
    assert guess(BMI, _window() / 1000) == "bmi looks divided by 1000"
    part = guess(BMI, np.concatenate([_window(600), _window(300) * 10]))
    assert part.endswith(" % of the rows of bmi look multiplied by 10")
    assert abs(int(part.split()[0]) - 33) <= 3
    assert guess(BMI, _window()) == ""
    assert guess(BMI, []) == ""


def test_a_number_that_no_unit_makes_is_left_out_and_a_column_of_such_has_no_unit() -> None:
    huge = [1.7e308, -1.7e308, np.inf, np.nan]
    assert guess(BMI, [*(_window() * 10), *huge]) == "bmi looks multiplied by 10"
    assert guess(frozen("far", np.linspace(-1.0, 1.7, 500) * 1e308), _window() * 1e306) == ""


def test_plain_drift_is_not_named() -> None:
    rng, named = np.random.default_rng(7), 0
    draws: list[Callable[[int], NDArray[np.float64]]] = [
        lambda n: rng.normal(26, 4, n),
        lambda n: np.exp(rng.normal(0, 1, n)),
        lambda n: rng.exponential(3, n),
    ]
    for turn in range(300):
        draw = draws[turn % 3]
        values = draw(800)
        middle = values.mean()
        moved = middle + (values - middle) * np.exp(0.5 * rng.normal()) + 2 * values.std() * rng.normal()
        named += bool(find(frozen("x", draw(2000)).quantiles, moved))
    assert named <= 9


def test_another_spelling_is_named() -> None:
    city = FeatureProfile(name="city", kind="category", counts=(1, 1, 0, 0), categories=("Pune", "Goa"))
    assert guess(city, ["PUNE", "PUNE", "Pune"]) == "city: 'PUNE' looks like 'Pune' in other case"
    assert guess(city, [" Goa"]) == "city: ' Goa' looks like 'Goa' with other blanks"
    assert guess(city, ["Delhi", None]) == ""
