"""Misses of earlier estimates move and widen the next: bands hold where the world moves slowly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.monitoring.tracking import RATE, STEP, Miss, Track, Z, follow, miss
from fullcircle.types.report import Measure

ERROR = 0.01


def band(value: float = 0.8, error: float = ERROR) -> Measure:
    return Measure(
        name="estimated_accuracy", value=value, low=value - Z * error, high=value + Z * error, n=1000, better="higher"
    )


def misses(offs: list[float]) -> list[Miss]:
    return [Miss(off=off, error=ERROR) for off in offs]


def moved(measure: Measure, batch: int, known: list[Miss]) -> Measure:
    """The band of a batch after those before it, of which the first are scored, one batch late."""
    scored: list[Miss | None] = [*known, *[None] * (batch + 1 - len(known))]
    given, _ = follow([measure] * (batch + 1), scored[: batch + 1], range(batch + 1))
    found = given[batch]
    assert found is not None
    return found


def test_a_miss_is_what_came_less_what_was_estimated() -> None:
    found = miss(band(0.8), Measure(name="accuracy", value=0.77))
    assert found is not None
    assert [found.off, found.error] == pytest.approx([-0.03, ERROR])
    assert miss(band(), Measure(name="accuracy", value=None)) is None
    assert miss(replace(band(), low=None), Measure(name="accuracy", value=0.7)) is None


def test_without_earlier_misses_an_estimate_stays_as_it_is() -> None:
    assert moved(band(), 5, []) == band()
    assert moved(band(), 0, misses([0.1])) == band()
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
@pytest.mark.parametrize("delay", [1, 6])
def test_bands_hold_at_their_rate_over_a_world_that_walks(speed: float, delay: int) -> None:
    rng, hits = np.random.default_rng(2), list[bool | None]()
    for _ in range(8):
        way = np.cumsum(rng.normal(0, ERROR * math.sqrt(speed), 60))
        offs = (way + rng.normal(0, ERROR, 60)).tolist()
        hits += follow([band(0.5)] * 60, misses(offs), due(60, delay))[1][10:]
    assert 0.91 <= np.mean([bool(each) for each in hits]) <= 0.975


def due(batches: int, delay: int) -> list[int]:
    """How many of the first batches have their labels when each is judged."""
    return [max(0, place - delay + 1) for place in range(batches)]


WORLDS = {
    "noisier than the bands say": lambda rng: rng.normal(0, 2.5 * ERROR, 200),
    "heavy tails": lambda rng: rng.standard_t(2, 200) * ERROR,
    "it turns every 20 batches": lambda rng: rng.normal(0, ERROR, 200) + 0.1 * (np.arange(200) // 20 % 2),
    "it runs away": lambda rng: rng.normal(0, ERROR, 200) + 0.02 * np.arange(200),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("delay", [1, 3, 6])
def test_the_width_keeps_the_long_run_rate_whatever_the_world_does(world: str, delay: int) -> None:
    offs = WORLDS[world](np.random.default_rng(4)).tolist()
    _, held = follow([band(0.5)] * 200, misses(offs), due(200, delay))
    assert 1 - np.mean([bool(each) for each in held]) == pytest.approx(RATE, abs=0.02 + 0.005 * delay)


def test_in_a_world_that_stands_still_bands_are_hardly_wider() -> None:
    rng, widths = np.random.default_rng(5), []
    for _ in range(4):
        given, held = follow([band(0.5)] * 200, misses(rng.normal(0, ERROR, 200).tolist()), due(200, 1))
        widths += [width(each) / width(band()) for each in given if each is not None]
        assert np.mean([bool(each) for each in held]) == pytest.approx(1 - RATE, abs=0.016)
    assert np.mean(widths) < 1.08


def test_the_width_rises_by_a_miss_and_falls_by_a_hit_as_said() -> None:
    track = Track()
    track.learn(0, Miss(off=1.0, error=ERROR), held=False)
    assert track.width == pytest.approx(Z + STEP * 0.95)
    track.learn(1, Miss(off=0.0, error=ERROR), held=True)
    assert track.width == pytest.approx(Z + STEP * 0.90)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.integers(1, 6))
def test_a_band_never_hangs_on_labels_that_were_not_due(offs: list[float], delay: int) -> None:
    count = len(offs)
    whole, held = follow([band(0.5)] * count, misses(offs), due(count, delay))
    cut = max(0, count - delay)
    other = misses([*offs[:cut], *[9.0] * (count - cut)])
    assert follow([band(0.5)] * count, other, due(count, delay))[0] == whole
    given, again = follow([band(0.5)] * count, misses(offs), due(count, delay))
    assert (given, again) == (whole, held)
    for measure, off, known in zip(whole, offs, held, strict=True):
        assert measure is not None
        assert measure.low is not None
        assert measure.high is not None
        if measure.low > 0.0 and measure.high < 1.0:  # where it was not cut
            assert known == (measure.low - 1e-12 <= 0.5 + off <= measure.high + 1e-12)


def test_batches_without_labels_or_estimates_are_passed_over() -> None:
    given, held = follow([band(), None, band()], [None, None, Miss(off=0.0, error=ERROR)], [0, 1, 2])
    assert given == [band(), None, band()]
    assert held == [None, None, True]


@given(st.lists(st.floats(-1, 1), max_size=12), st.integers(0, 15), st.floats(0.0, 1.0))
def test_a_share_stays_one_and_the_value_within_its_band(offs: list[float], batch: int, value: float) -> None:
    clipped = replace(band(value), low=max(0.0, value - 0.02), high=min(1.0, value + 0.02))
    found = moved(clipped, batch, misses(offs))
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_an_error_has_no_upper_bound() -> None:
    error = Measure(name="estimated_mae", value=0.5, low=0.4, high=0.6, better="lower")
    found = moved(error, 9, [Miss(off=3.0, error=0.05)] * 9)
    assert found.value is not None
    assert found.value > 1.0


def width(measure: Measure) -> float:
    assert measure.low is not None
    assert measure.high is not None
    return measure.high - measure.low
