"""Numbers as people read them, and charts that hold what they show."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.evaluation import charts, words
from fullcircle.types.report import Measure


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
        (0.0, "0"),
        (44.2512, "44.25"),
        (0.0001234, "0.0001234"),
        (-0.0000912, "-0.0000912"),
        (6.5e-19, "0"),
        (999.94, "999.9"),
        (1000.0, "1 000"),
        (-1234.5, "-1 234"),
        (12_345_678.9, "12 345 679"),
    ],
)
def test_a_number_is_short_and_readable(value: float | None, said: str) -> None:
    assert words.number(value) == said


@given(st.floats(-1e9, 1e9))
def test_a_number_is_close_to_what_it_stands_for(value: float) -> None:
    read = float(words.number(value).replace(" ", ""))
    assert read == pytest.approx(value, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (Measure(name="m", value=44.25, low=41.2, high=47.5, unit="bikes"), "44.25 bikes (95 % 41.2 to 47.5)"),
        (Measure(name="m", value=0.5, low=0.4, high=0.6), "0.5 (95 % 0.4 to 0.6)"),
        (Measure(name="m", value=3.0, unit="kg"), "3 kg"),
        (Measure(name="m", value=3.0, low=1.0), "3"),
        (Measure(name="m", value=3.0, high=1.0), "3"),
        (Measure(name="m", value=None, unit="kg"), "unknown"),
    ],
)
def test_a_measure_is_said_with_its_interval_and_unit(measure: Measure, said: str) -> None:
    assert words.span(measure) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (4345, "4 345 rows")])
def test_rows_are_counted_in_words(count: int, said: str) -> None:
    assert words.rows(count) == said


class TestCharts:
    def test_points_and_the_line_they_should_lie_on(self) -> None:
        chart = charts.scatter("t", [1.0, 2.0, 3.0], [2.0, 5.0, 0.5], x_title="actual", y_title="predicted")
        points, line = chart.spec["layer"]
        assert points["data"]["values"] == [{"x": 1.0, "y": 2.0}, {"x": 2.0, "y": 5.0}, {"x": 3.0, "y": 0.5}]
        assert line["data"]["values"] == [{"x": 0.5, "y": 0.5}, {"x": 5.0, "y": 5.0}]

    @pytest.mark.parametrize(("rows", "shown"), [(400, 400), (401, 400), (5000, 400)])
    def test_many_points_are_a_sample_in_their_order(self, rows: int, shown: int) -> None:
        values = np.arange(float(rows))
        one, again, other = (
            charts.scatter("t", values, values, x_title="x", y_title="y", seed=seed).spec["layer"]
            for seed in (0, 0, 1)
        )
        xs = [point["x"] for point in one[0]["data"]["values"]]
        assert len(xs) == len(set(xs)) == shown
        assert xs == sorted(xs)
        assert one == again
        assert (one != other) is (rows > 400)

    def test_bars_keep_their_order_and_zero_is_on_the_axis(self) -> None:
        chart = charts.bars("t", [("b", 1.23456789), ("a", -2.0)], x_title="x")
        assert chart.spec["data"]["values"] == [{"name": "b", "x": 1.23457}, {"name": "a", "x": -2.0}]
        assert chart.spec["encoding"]["y"]["sort"] is None
        assert "scale" not in chart.spec["encoding"]["x"], "a bar that does not start at zero lies"

    def test_ranges_leave_out_what_is_unknown(self) -> None:
        named = [
            ("whole", Measure(name="m", value=1.0, low=0.5, high=1.5, n=9)),
            ("point", Measure(name="m", value=2.0, n=1)),
            ("half", Measure(name="m", value=2.0, low=1.0, n=1)),
            ("gone", Measure(name="m", value=None)),
            ("nan", Measure(name="m", value=math.nan)),
        ]
        assert charts.ranges("t", named, x_title="x").spec["data"]["values"] == [
            {"name": "whole (n=9)", "x": 1.0, "low": 0.5, "high": 1.5},
            {"name": "point (n=1)", "x": 2.0, "low": 2.0, "high": 2.0},
            {"name": "half (n=1)", "x": 2.0, "low": 1.0, "high": 2.0},
        ]

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 30))
    def test_a_histogram_counts_every_value_once(self, values: list[float], bins: int) -> None:
        bars = charts.histogram("t", values, x_title="x", bins=bins).spec["data"]["values"]
        assert len(bars) == bins
        assert sum(bar["y"] for bar in bars) == len(values)
        assert all(bar["low"] <= bar["high"] for bar in bars)
        assert [bar["low"] for bar in bars] == sorted(bar["low"] for bar in bars)

    def test_cells_hold_their_counts(self) -> None:
        chart = charts.heat("t", [("no", "yes", 3), ("yes", "yes", 4)], x_title="predicted", y_title="actual")
        assert chart.spec["data"]["values"] == [{"x": "no", "y": "yes", "n": 3}, {"x": "yes", "y": "yes", "n": 4}]

    @pytest.mark.parametrize("name", ["a.b", "a[0]", "a'b", 'a"b', "\\", "ä\n", "datum.x"])
    def test_a_name_of_any_letters_is_data_and_never_a_field(self, name: str) -> None:
        for chart in (
            charts.bars("t", [(name, 1.0)], x_title="x"),
            charts.heat("t", [(name, name, 1)], x_title="x", y_title="y"),
            charts.ranges("t", [(name, Measure(name="m", value=1.0))], x_title="x"),
        ):
            spec = dict(chart.spec)
            data = spec.pop("data")
            assert name in msgspec.json.decode(msgspec.json.encode(data))["values"][0].get("name", name)
            assert '"field":' + msgspec.json.encode(name).decode() not in msgspec.json.encode(spec).decode()
