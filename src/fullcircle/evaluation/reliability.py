"""Reliability as people read it: a chart, a table and the bin that is furthest off in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fullcircle.evaluation import words
from fullcircle.evaluation.check import Array
from fullcircle.stats.calibration import Reliability
from fullcircle.types.report import Chart

_BARS = 20
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def example(found: Reliability, happened: str) -> str:
    """The worst bin of probabilities: ``Of rows given 80 to 90 %, 61 % were yes.``"""
    where = worst(found)
    low, high = (f"{100 * end[where]:.3g}" for end in (found.low, found.high))
    given = low if low == high else f"{low} to {high}"
    return f"Of rows given {given} %, {100 * found.actual[where]:.3g} % {happened}."


def example_of_numbers(found: Reliability, unit: str) -> str:
    """The worst bin of numbers: ``Rows predicted 90 to 110 EUR (101 on average) were 97 on average.``"""
    where = worst(found)
    low, high = (words.number(float(end[where])) for end in (found.low, found.high))
    actual, said = (words.number(float(mean[where])) for mean in (found.actual, found.predicted))
    given = f"{low} {unit}".rstrip() if low == high else f"{low} to {high} {unit}".rstrip() + f" ({said} on average)"
    return f"Rows predicted {given} were {actual} on average."


def worst(found: Reliability) -> int:
    """The bin that is furthest beyond its own chance."""
    return int(np.argmax(np.abs(found.gap) / np.maximum(found.error, 1e-12)))


def direction(found: Reliability) -> str:
    """Whether predictions in the worst bin are too high or too low."""
    return "too high" if found.gap[worst(found)] < 0.0 else "too low"


def table(found: Reliability, happened: str) -> tuple[Mapping[str, Any], ...]:
    """One row for each bin; ``happened`` names the mean of what happened."""
    columns = {
        "from": found.low,
        "to": found.high,
        "rows": found.rows,
        "mean predicted": found.predicted,
        happened: found.actual,
        "low": found.lower,
        "high": found.upper,
    }
    return tuple(
        {name: int(values[bin_]) if name == "rows" else short(values[bin_]) for name, values in columns.items()}
        for bin_ in range(len(found.rows))
    )


def short(value: Any) -> float | None:
    """Four significant digits, None where there is no number."""
    return float(f"{float(value):.4g}") if math.isfinite(value) else None


def chart(title: str, found: Reliability, said: Array, *, x_title: str, y_title: str) -> Chart:
    """Means of bins with intervals, the diagonal where they belong, and below it how often predictions are where."""
    x = {"type": "quantitative", "title": x_title, "scale": {"zero": False}}
    y = {"type": "quantitative", "title": y_title, "scale": {"zero": False}}
    layers = [_bars(said, x), {"layer": [_diagonal(found, x, y), *_points(found, x, y)]}]
    spec = {"$schema": _SCHEMA, "width": "container", "height": 280, "layer": layers}
    return Chart(title=title, spec={**spec, "resolve": {"scale": {"y": "independent"}}})


def _bars(said: Array, x: Mapping[str, Any]) -> Mapping[str, Any]:
    counts, edges = np.histogram(said, bins=_BARS)
    bars = [{"from": short(edges[i]), "to": short(edges[i + 1]), "n": int(n)} for i, n in enumerate(counts)]
    # The upper part of the picture is for the points.
    top = {"domainMax": int(3 * max(1, counts.max()))}
    rows = {"field": "n", "type": "quantitative", "title": "rows", "scale": top}
    return {
        "data": {"values": bars},
        "mark": {"type": "bar", "opacity": 0.25, "tooltip": True},
        "encoding": {
            "x": {**x, "field": "from", "bin": {"binned": True}},
            "x2": {"field": "to"},
            "y": {**rows, "axis": {"orient": "right", "grid": False}},
        },
    }


def _diagonal(found: Reliability, x: Mapping[str, Any], y: Mapping[str, Any]) -> Mapping[str, Any]:
    ends = [short(found.low.min()), short(found.high.max())]
    return {
        "data": {"values": [{"x": end, "y": end} for end in ends]},
        "mark": {"type": "line", "color": "gray", "strokeDash": [4, 3]},
        "encoding": {"x": {**x, "field": "x"}, "y": {**y, "field": "y"}},
    }


def _points(found: Reliability, x: Mapping[str, Any], y: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    columns = {"x": found.predicted, "y": found.actual, "low": found.lower, "high": found.upper, "rows": found.rows}
    data = {
        "values": [{name: short(values[bin_]) for name, values in columns.items()} for bin_ in range(len(found.rows))]
    }
    return (
        {
            "data": data,
            "mark": "rule",
            "encoding": {"x": {**x, "field": "x"}, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "data": data,
            "mark": {"type": "point", "filled": True, "size": 60, "tooltip": True},
            "encoding": {"x": {**x, "field": "x"}, "y": {**y, "field": "y"}},
        },
    )
