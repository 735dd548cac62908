"""Misses of earlier estimates move and widen the next: bands hold where the world moves slowly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.monitoring.tracking import Miss, Z, miss, moved
from fullcircle.types.report import Measure

ERROR = 0.01


def band(value: float = 0.8, error: float = ERROR) -> Measure:
    return Measure(
        name="estimated_accuracy", value=value, low=value - Z * error, high=value + Z * error, n=1000, better="higher"
    )


def misses(offs: list[float]) -> list[Miss]:
    return [Miss(batch=place, off=off, error=ERROR) for place, off in enumerate(offs)]


def test_a_miss_is_what_came_less_what_was_estimated() -> None:
    found = miss(3, band(0.8), Measure(name="accuracy", value=0.77))
    assert found is not None
    assert found.batch == 3
    assert [found.off, found.error] == pytest.approx([-0.03, ERROR])
    assert miss(3, band(), Measure(name="accuracy", value=None)) is None
    assert miss(3, replace(band(), low=None), Measure(name="accuracy", value=0.7)) is None


def test_without_earlier_misses_an_estimate_stays_as_it_is() -> None:
    assert moved(band(), 5, []) == band()
    assert moved(band(), 0, misses([0.1, 0.2])) == band()
    unknown = Measure(name="estimated_accuracy", value=None)
    assert moved(unknown, 5, misses([0.1])) == unknown


def test_a_lasting_miss_moves_the_band_and_chance_does_not() -> None:
    found = moved(band(), 12, misses([-0.05] * 12))
    assert found.value == pytest.approx(0.75, abs=0.005)
    assert "12 labelled batches" in found.method
    rng = np.random.default_rng(0)
    still = moved(band(), 30, misses(rng.normal(0, ERROR, 30).tolist()))
    assert still.value == pytest.approx(0.8, abs=0.006)
    assert width(still) < 1.3 * width(band())


def test_the_longer_ago_the_misses_the_wider_the_band() -> None:
    rng = np.random.default_rng(1)
    walked = misses(np.cumsum(rng.normal(0, ERROR, 20)).tolist())
    widths = [width(moved(band(0.6), batch, walked)) for batch in (20, 25, 40)]
    assert widths == sorted(widths)
    assert widths[0] > width(band())


@pytest.mark.parametrize("speed", [0.0, 0.1, 1.0])
def test_bands_hold_at_their_rate_over_a_world_that_walks(speed: float) -> None:
    rng, hits, tries = np.random.default_rng(2), 0, 0
    for _ in range(30):
        way = np.cumsum(rng.normal(0, ERROR * math.sqrt(speed), 40))
        offs = (way + rng.normal(0, ERROR, 40)).tolist()
        for batch in range(8, 40):
            found = moved(band(0.5), batch, misses(offs)[:batch])
            assert found.low is not None
            assert found.high is not None
            hits += found.low <= 0.5 + offs[batch] <= found.high
            tries += 1
    assert 0.92 <= hits / tries <= 0.985


@given(st.lists(st.floats(-1, 1), max_size=12), st.integers(0, 15), st.floats(0.0, 1.0))
def test_a_share_stays_one_and_the_value_within_its_band(offs: list[float], batch: int, value: float) -> None:
    clipped = replace(band(value), low=max(0.0, value - 0.02), high=min(1.0, value + 0.02))
    found = moved(clipped, batch, misses(offs))
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


@given(st.permutations(list(range(6))))
def test_the_order_of_misses_does_not_matter_nor_those_of_the_future(order: list[int]) -> None:
    known = misses([0.01, -0.02, 0.03, 0.02, 0.04, 0.9])
    assert moved(band(0.5), 5, [known[place] for place in order]) == moved(band(0.5), 5, known[:5])


def test_an_error_has_no_upper_bound() -> None:
    error = Measure(name="estimated_mae", value=0.5, low=0.4, high=0.6, better="lower")
    found = moved(error, 9, [Miss(batch=place, off=3.0, error=0.05) for place in range(9)])
    assert found.value is not None
    assert found.value > 1.0


def width(measure: Measure) -> float:
    assert measure.low is not None
    assert measure.high is not None
    return measure.high - measure.low
