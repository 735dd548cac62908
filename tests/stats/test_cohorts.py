"""Late labels: a row counts by its own time, in an order that only grows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.stats.cohorts import cohort

ROWS = st.lists(st.tuples(st.floats(0, 100), st.one_of(st.none(), st.floats(0, 80))), max_size=30)


def parts(rows: list[tuple[float, float | None]]) -> tuple[np.ndarray, np.ndarray]:
    exposed = np.array([each[0] for each in rows], dtype=float)
    arrived = np.array([math.nan if late is None else at + late for at, late in rows], dtype=float)
    return exposed, arrived


def test_an_early_label_waits_for_its_time_and_a_late_one_counts_when_it_comes() -> None:
    found = cohort([0.0, 1.0, 2.0, 3.0], [1.0, 11.5, math.nan, 4.0], now=13.0, delay=10.0)
    assert found.usable.tolist() == [0, 1, 3]
    assert found.due.tolist() == [True, True, True, True]
    assert found.in_time.tolist() == [True, False, False, True]
    before = cohort([0.0, 1.0, 2.0, 3.0], [1.0, 11.5, math.nan, 4.0], now=11.4, delay=10.0)
    assert before.usable.tolist() == [0]
    assert before.due.tolist() == [True, True, False, False]


@given(ROWS, st.floats(0, 50), st.floats(0, 200), st.floats(0, 200))
def test_what_counted_once_stays_in_its_place(
    rows: list[tuple[float, float | None]], delay: float, a: float, b: float
) -> None:
    early, late = (cohort(*parts(rows), now, delay) for now in sorted((a, b)))
    assert late.usable[: early.usable.size].tolist() == early.usable.tolist()
    assert (early.due <= late.due).all()
    assert (late.in_time[early.due] == early.in_time[early.due]).all()
    assert (late.in_time <= late.due).all()


@given(ROWS, st.floats(0, 50))
def test_in_the_end_every_label_counts_once(rows: list[tuple[float, float | None]], delay: float) -> None:
    found = cohort(*parts(rows), 1e9, delay)
    assert sorted(found.usable.tolist()) == [place for place, (_, late) in enumerate(rows) if late is not None]


def test_who_defaults_early_does_not_make_the_rate_of_a_running_experiment_too_high() -> None:
    generator = np.random.default_rng(0)
    exposed = np.arange(4000.0)
    bad = generator.random(4000) < 0.1
    arrived = exposed + np.where(bad, generator.uniform(0, 500, 4000), 1000.0)
    now = 4000.0
    there = arrived <= now
    assert bad[there].mean() > 0.105
    found = cohort(exposed, arrived, now, 1000.0)
    assert found.usable.size == 3000 + 1
    assert bad[found.usable].mean() == pytest.approx(bad[:3001].mean())


@pytest.mark.parametrize(
    ("exposed", "arrived", "delay"), [([0.0], [1.0, 2.0], 1.0), ([math.nan], [1.0], 1.0), ([0.0], [1.0], -1.0)]
)
def test_rows_and_labels_that_do_not_fit_are_an_error(
    exposed: list[float], arrived: list[float], delay: float
) -> None:
    with pytest.raises(DataUnfit, match="do not belong together"):
        cohort(exposed, arrived, 10.0, delay)
