"""The pictures of a window: what is drawn, in which order, and that a quiet window looks quiet."""

from __future__ import annotations

from typing import Any

import pytest

from fullcircle.monitoring.charts import MOST_BINS, MOST_FEATURES, distances, histogram
from fullcircle.types.monitoring import FeatureProfile
from fullcircle.types.report import Chart


def _values(chart: Chart) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chart.spec["data"]["values"]
    return found


def test_the_farthest_feature_comes_first_and_alarms_are_marked() -> None:
    rows = _values(distances({"age": 0.01, "bmi": 0.7, "sex": 0.2}, {"bmi"}))
    assert [row["feature"] for row in rows] == ["bmi", "sex", "age"]
    assert [row["evidence"] for row in rows] == ["alarm", "within the budget", "within the budget"]
    assert rows[0]["distance"] == 0.7


def test_of_equal_distances_inputs_come_before_the_prediction() -> None:
    rows = _values(distances({"bmi": 0.50001, "prediction": 0.50004}, set()))
    assert [row["feature"] for row in rows] == ["bmi", "prediction"]


@pytest.mark.parametrize(("largest", "width"), [(0.0, 0.05), (0.001, 0.05), (0.05, 0.05), (0.4, 0.4)])
def test_a_quiet_window_looks_quiet(largest: float, width: float) -> None:
    scale = distances({"bmi": largest, "age": 0.0}, set()).spec["encoding"]["x"]["scale"]
    assert (scale["domainMin"], scale["domainMax"]) == (0, width)


def test_a_wide_table_is_drawn_in_part() -> None:
    rows = _values(distances({f"f{number}": number / 1000 for number in range(100)}, set()))
    assert len(rows) == MOST_FEATURES
    assert rows[0]["feature"] == "f99"


AGE = FeatureProfile(name="age", kind="number", edges=(20.0, 40.0), counts=(300, 400, 300, 0, 0), low=18.0, high=66.0)


def test_each_bin_is_drawn_for_the_window_and_the_reference() -> None:
    rows = _values(histogram(AGE, (10, 10, 80, 0, 0)))
    assert [(row["bin"], row["rows"], row["share"]) for row in rows] == [
        ("up to 20", "reference", 0.3),
        ("up to 20", "window", 0.1),
        ("20 to 40", "reference", 0.4),
        ("20 to 40", "window", 0.1),
        ("above 40", "reference", 0.3),
        ("above 40", "window", 0.8),
    ]


def test_missing_and_unseen_are_drawn_where_there_are_any() -> None:
    assert {row["bin"] for row in _values(histogram(AGE, (10, 10, 10, 0, 70)))} >= {"missing"}
    assert "other" not in {row["bin"] for row in _values(histogram(AGE, (10, 10, 10, 0, 70)))}
    city = FeatureProfile(name="city", kind="category", categories=("Lima",), counts=(90, 0, 10))
    assert {row["bin"] for row in _values(histogram(city, (50, 50, 0)))} == {"Lima", "other", "missing"}


def test_many_categories_are_drawn_by_the_most_frequent_in_their_order() -> None:
    names = tuple(f"c{number:02d}" for number in range(60))
    counts = (*(1 + (number % 2) * 100 for number in range(60)), 0, 0)
    feature = FeatureProfile(name="city", kind="category", categories=names, counts=counts)
    drawn = [row["bin"] for row in _values(histogram(feature, counts)) if row["rows"] == "window"]
    assert len(drawn) == MOST_BINS
    assert drawn == sorted(drawn)
    assert {f"c{number:02d}" for number in range(1, 60, 2)} <= set(drawn), "the frequent ones"


@pytest.mark.parametrize("counts", [(0, 0, 0, 0, 0), (1, 1, 1, 0, 0)])
def test_nothing_counted_is_an_empty_picture(counts: tuple[int, ...]) -> None:
    nothing = FeatureProfile(name="age", kind="number", edges=AGE.edges, counts=(0, 0, 0, 0, 0))
    assert _values(histogram(nothing if any(counts) else AGE, counts)) == []
