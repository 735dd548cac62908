"""Dependence through the profile: from rows with times to what the monitor knows of its traffic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.monitoring.batches import Batch, count
from fullcircle.monitoring.batchwise import cells_of
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.profiles import frozen, profile
from fullcircle.stats import bins
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.project import Monitor
from monitoring.monitoring_rows import CONTRACT, patients, predictions

MONDAY = pd.Timestamp("2026-01-05", tz="UTC")
DAYS = 70


def rows(daily: int = 30) -> tuple[pd.DataFrame, pd.Series]:
    """Ten weeks of patients; at weekends the smokers come."""
    generator = np.random.default_rng(1)
    frame = patients(generator, DAYS * daily)
    day = np.repeat(np.arange(DAYS), daily)
    frame["smoker"] = generator.random(len(day)) < np.where(day % 7 >= 5, 0.7, 0.1)
    seconds = day * 86_400 + generator.integers(0, 86_400, len(day))
    return frame, pd.Series(MONDAY + pd.to_timedelta(seconds, unit="s"))


@pytest.fixture(scope="module")
def reference() -> tuple[pd.DataFrame, pd.Series, Profile]:
    frame, times = rows()
    return frame, times, profile(frame, predictions(frame), CONTRACT, times=times, window="1d")


def test_a_profile_with_times_knows_its_batches(reference: tuple[pd.DataFrame, pd.Series, Profile]) -> None:
    frame, times, found = reference
    known = found.dependence
    assert known is not None
    assert (known.seconds, known.batches, known.phases) == (86_400.0, DAYS, 7)
    assert set(known.effects) == {feature.name for feature in found.features}
    assert set(known.strata) == {"smoker"}
    by_day = [int((frame["smoker"].to_numpy() & (times.dt.day_of_week == day).to_numpy()).sum()) for day in range(7)]
    place = next(each for each in found.features if each.name == "smoker").categories.index("True")
    assert [row[place] for row in known.strata["smoker"]] == by_day
    assert all(1.0 <= each < 3.0 for each in known.effects.values())


def test_strata_add_up_to_the_reference(reference: tuple[pd.DataFrame, pd.Series, Profile]) -> None:
    _, _, found = reference
    assert found.dependence is not None
    total = np.array(found.dependence.strata["smoker"]).sum(axis=0)
    assert tuple(total.tolist()) == next(each for each in found.features if each.name == "smoker").counts


def test_the_same_rows_in_any_order_and_form_of_time_give_the_same(
    reference: tuple[pd.DataFrame, pd.Series, Profile],
) -> None:
    frame, times, found = reference
    order = np.random.default_rng(5).permutation(len(frame))
    mixed = frame.iloc[order].reset_index(drop=True)
    texts = [moment.tz_convert("Asia/Kolkata").isoformat() for moment in times.iloc[order]]
    again = profile(mixed, predictions(mixed), CONTRACT, times=texts, window="1d")
    assert again.dependence == found.dependence
    plain = profile(frame, predictions(frame), CONTRACT, times=times.dt.tz_localize(None), window="1d")
    assert plain.dependence == found.dependence


def test_without_times_or_with_too_few_weeks_nothing_is_learned() -> None:
    frame, times = rows(daily=4)
    answers = predictions(frame)
    assert profile(frame, answers, CONTRACT).dependence is None
    assert profile(frame, answers, CONTRACT, times=times).dependence is None
    assert profile(frame, answers, CONTRACT, times=[None] * len(frame), window="1d").dependence is None
    early = np.where(times < MONDAY + pd.Timedelta(days=49), times, None)
    assert profile(frame, answers, CONTRACT, times=early, window="1d").dependence is None
    assert profile(frame, answers, CONTRACT, times=times, window="30d").dependence is None
    assert profile(frame, answers, CONTRACT, times=times, window="7d").dependence is None
    assert profile(frame, answers, CONTRACT, times=times, window="1d").dependence is not None


def test_rows_without_a_readable_time_are_left_out() -> None:
    frame, times = rows(daily=4)
    given: list[Any] = list(times)
    given[3], given[10] = "some day", None
    found = profile(frame, predictions(frame), CONTRACT, times=given, window="1d").dependence
    assert found is not None
    assert sum(sum(row) for row in found.strata["smoker"]) == len(frame) - 2


def test_cells_are_those_that_counting_uses() -> None:
    generator = np.random.default_rng(2)
    values = np.round(generator.normal(size=500), 1)
    values[::50] = np.nan
    values[1:4] = [np.inf, -np.inf, -0.0]
    feature = frozen("x", values[:200])
    assert np.bincount(cells_of(feature, values), minlength=len(feature.counts)).tolist() == list(
        bins.count_numbers(values, feature.edges)
    )
    texts: list[Any] = ["a", "b", None, 1, 1.0, True, float("nan"), "b", "None", "c", "True"]
    for categories in [("a", "b"), ("1", "1.0", "True"), ()]:
        shaped = FeatureProfile(name="t", kind="category", categories=categories, counts=(0,) * (len(categories) + 2))
        assert np.bincount(cells_of(shaped, texts), minlength=len(shaped.counts)).tolist() == list(
            bins.count_categories(texts, categories)
        )


def test_traffic_that_follows_the_week_is_quiet_and_its_change_is_found(
    reference: tuple[pd.DataFrame, pd.Series, Profile],
) -> None:
    _, _, found = reference
    watch, generator = Watch(found, Monitor(window="1d")), np.random.default_rng(6)
    (smoker,) = [each for each in found.features if each.name == "smoker"]
    none = Batch.empty(found.outcomes)

    def day(phase: int, share: float) -> bool:
        batch = count([smoker], {"smoker": generator.random(200) < share}, 200)
        return watch.step(batch, none, phase=phase)[0].fired

    assert "learned from 70 batches" in watch.notes[0]
    assert not any(day(phase % 7, 0.7 if phase % 7 >= 5 else 0.1) for phase in range(140))
    assert any(day(phase, 0.7) for phase in range(5))


def test_a_larger_batch_than_the_reference_had_tells_less_than_its_size(
    reference: tuple[pd.DataFrame, pd.Series, Profile],
) -> None:
    """What the rows of a day have in common does not go away with more rows."""
    _, _, found = reference
    assert found.dependence is not None
    (bmi,) = [each for each in found.features if each.name == "bmi"]
    shares = np.array(bmi.counts[:-2]) * np.linspace(0.3, 1.7, len(bmi.counts) - 2)

    def level(effect: float, times: float) -> float:
        values = np.repeat(np.append(bmi.edges, 45.0), (shares * times).astype(int))
        batch = count([bmi], {"bmi": values}, len(values))
        learned = replace(found, dependence=replace(found.dependence, effects={"bmi": effect}))  # type: ignore[type-var]
        return Watch(learned, Monitor(window="1d")).step(batch, Batch.empty(found.outcomes))[0].level

    assert abs(level(4.0, 100.0) - level(4.0, 1.0)) < 1
    for chance in (1.0, 1.5):  # what independent rows may show by chance is not taken for something in common
        assert level(chance, 100.0) > level(chance, 1.0) + 1000
