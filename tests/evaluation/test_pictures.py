"""Charts of Shapley values and of shapes: small, true to the figures, and drawable."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import vl_convert

from fullcircle.evaluation.explanation.pictures import DOTS, STEPS, Shape, shape, strip
from fullcircle.types.report import Chart


def _values(chart: Chart) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chart.spec["data"]["values"]
    return found


def _drawn(chart: Chart) -> str:
    """The picture, as text; a field that the data lack or a broken encoding would draw nothing."""
    return str(vl_convert.vegalite_to_svg(json.dumps({**chart.spec, "width": 300})))


def _strip(rows: int, names: tuple[str, ...] = ("a", "b.c[0]")) -> Chart:
    moved = np.arange(rows * len(names), dtype=float).reshape(rows, len(names))
    ranks = np.linspace(0.0, 1.0, rows)[:, None] * np.ones(len(names))
    ranks[0, 0] = np.nan
    return strip("Values", moved, names, ranks, x_title="moves the answer by (EUR)")


class TestStrip:
    def test_every_value_has_its_dot(self) -> None:
        dots = _values(_strip(20))
        assert len(dots) == 40
        assert [dot["x"] for dot in dots if dot["name"] == "b.c[0]"] == [float(place) for place in range(1, 41, 2)]
        assert next(dot["rank"] for dot in dots if dot["name"] == "a") is None
        assert dots[-1]["rank"] == 1.0

    @pytest.mark.parametrize("columns", [1, 3, 8])
    def test_it_stays_small(self, columns: int) -> None:
        names = tuple(f"c{number}" for number in range(columns))
        chart = _strip(900, names)
        assert len(_values(chart)) <= DOTS
        assert {dot["name"] for dot in _values(chart)} == set(names)
        assert len(json.dumps(chart.spec)) < 40_000

    def test_dots_are_spread_over_their_band_and_always_alike(self) -> None:
        places = [dot["z"] for dot in _values(_strip(50)) if dot["name"] == "a"]
        assert len(set(places)) == 50
        assert 0.0 <= min(places) < 0.1
        assert 0.9 < max(places) <= 1.0
        assert _strip(50) == _strip(50)

    def test_it_can_be_drawn(self) -> None:
        svg = _drawn(_strip(20))
        assert svg.count('aria-roledescription="circle"') == 40
        assert "moves the answer by (EUR)" in svg
        assert "b.c[0]" in svg
        chart = strip("V", np.ones((3, 2)), ["z", "a"], np.array([[0.5, np.nan]] * 3), x_title="x")
        assert _drawn(chart).index(">z</text>") < _drawn(chart).index(">a</text>"), "the order given, grey or not"
        assert "gray" in svg, "a value without a rank"


class TestShape:
    def test_numbers_are_steps(self) -> None:
        chart = shape(Shape("Age (years)", "number", [18.0, 40.5, 70.0], [-1.0, 2.0, 2.0]), y_title="adds")
        assert _values(chart) == [{"x": 18.0, "y": -1.0}, {"x": 40.5, "y": 2.0}, {"x": 70.0, "y": 2.0}]
        assert chart.title == "Age (years)"
        assert chart.spec["mark"]["interpolate"] == "step-after"
        svg = _drawn(chart)
        assert "Age (years)" in svg
        assert "adds" in svg

    def test_many_steps_are_thinned_out_and_keep_their_ends(self) -> None:
        at = np.linspace(0.0, 1.0, 257)
        points = _values(shape(Shape("x", "number", at.tolist(), (at**2).tolist()), y_title="adds"))
        assert len(points) == STEPS
        assert (points[0]["x"], points[-1]["x"]) == (0.0, 1.0)
        assert [point["x"] for point in points] == sorted(point["x"] for point in points)

    def test_times_keep_their_milliseconds(self) -> None:
        moment = 1_709_424_123_000.0
        chart = shape(Shape("Since", "time", [moment, moment + 1.0], [0.0, 1.0]), y_title="adds")
        assert [point["x"] for point in _values(chart)] == [1_709_424_123_000, 1_709_424_123_001]
        assert chart.spec["encoding"]["x"]["type"] == "temporal"
        assert "<svg" in _drawn(chart)

    def test_names_are_bars_and_the_strongest_are_kept_in_their_order(self) -> None:
        names = [f"n{number:02d}" for number in range(60)]
        adds = [float(number % 7) * (-1) ** number for number in range(60)]
        bars = _values(shape(Shape("Job", "name", names, adds), y_title="adds"))
        assert len(bars) == STEPS // 4
        assert [bar["name"] for bar in bars] == sorted(bar["name"] for bar in bars)
        assert min(abs(bar["x"]) for bar in bars) == 3.0, "24 are larger"
        few = shape(Shape("Job", "name", ["a", "(missing)"], [0.5, -0.5]), y_title="adds")
        assert _values(few) == [{"name": "a", "x": 0.5}, {"name": "(missing)", "x": -0.5}]
        assert "(missing)" in _drawn(few)
