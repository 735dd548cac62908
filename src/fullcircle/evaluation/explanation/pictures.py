"""Charts of what a model does with its columns: Shapley values row by row, and the shapes of a glass box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.evaluation.check import Array
from fullcircle.types.report import Chart

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
DOTS = 400
STEPS = 100
# The golden ratio spreads points over a band without a generator, and without two that meet.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Shape:
    """What a column adds to an answer: ``adds`` (n,) from each place ``at`` (n,) on.

    ``at`` are numbers, milliseconds since 1970 where ``kind`` is "time", or names where it is "name".
    """

    title: str
    kind: str
    at: Sequence[Any]
    adds: Sequence[float]


def strip(title: str, values: Array, names: Sequence[str], ranks: Array, *, x_title: str) -> Chart:
    """One dot per row and column, in a band per column: ``values`` (n x m) across, colour by ``ranks`` (n x m).

    Ranks are 0 to 1; NaN ranks (categories, missing values) are grey. At most 400 dots: the first rows.
    """
    rows = max(1, min(len(values), DOTS // max(1, len(names))))
    dots = [
        {
            "name": name,
            "x": _short(values[row, column]),
            "rank": None if np.isnan(ranks[row, column]) else _short(ranks[row, column]),
            "z": _short((row * _GOLDEN) % 1.0),
        }
        for column, name in enumerate(names)
        for row in range(rows)
    ]
    place = {
        "x": {"field": "x", "type": "quantitative", "title": x_title},
        # Two layers would otherwise be sorted one after the other.
        "y": {"field": "name", "type": "nominal", "title": None, "sort": list(names)},
        "yOffset": {"field": "z", "type": "quantitative", "scale": {"domain": [-0.2, 1.2]}},
    }
    colour = {
        "field": "rank",
        "type": "quantitative",
        "title": "value",
        "scale": {"scheme": "viridis", "domain": [0, 1]},
        "legend": {"values": [0, 1], "labelExpr": "datum.value == 0 ? 'low' : 'high'"},
    }
    mark = {"type": "circle", "size": 18, "opacity": 0.8, "tooltip": True}
    # In a layer of their own, as a dot without a rank would be left out of a scale of ranks.
    layers = [
        {"transform": [{"filter": "datum.rank === null"}], "mark": {**mark, "color": "gray"}, "encoding": place},
        {"transform": [{"filter": "datum.rank !== null"}], "mark": mark, "encoding": {**place, "color": colour}},
    ]
    return _chart(title, {"data": {"values": dots}, "layer": layers}, {"step": 30})


def shape(found: Shape, *, y_title: str) -> Chart:
    """Steps along a numeric or time axis, or a bar per name; at most 100 of them."""
    at, adds = list(found.at), [float(each) for each in found.adds]
    if found.kind == "name":
        largest = sorted(range(len(at)), key=lambda place: -abs(adds[place]))[: STEPS // 4]
        bars = [{"name": str(at[place]), "x": _short(adds[place])} for place in sorted(largest)]
        encoding: Mapping[str, Any] = {
            "x": {"field": "x", "type": "quantitative", "title": y_title},
            "y": {"field": "name", "type": "nominal", "title": None, "sort": None},
        }
        return _chart(
            found.title,
            {"data": {"values": bars}, "mark": {"type": "bar", "tooltip": True}, "encoding": encoding},
            {"step": 18},
        )
    kept = np.unique(np.linspace(0, len(at) - 1, min(len(at), STEPS)).round().astype(int)).tolist()
    points = [{"x": _exactly(at[place], found.kind), "y": _short(adds[place])} for place in kept]
    encoding = {
        "x": {
            "field": "x",
            "type": "temporal" if found.kind == "time" else "quantitative",
            "title": found.title,
            "scale": {"zero": False},
        },
        "y": {"field": "y", "type": "quantitative", "title": y_title},
    }
    mark = {"type": "line", "interpolate": "step-after", "tooltip": True}
    return _chart(found.title, {"data": {"values": points}, "mark": mark, "encoding": encoding}, 200)


def _chart(title: str, spec: Mapping[str, Any], height: object) -> Chart:
    return Chart(title=title, spec={"$schema": _SCHEMA, "width": "container", "height": height, **spec})


def _exactly(value: Any, kind: str) -> float | int:
    return int(value) if kind == "time" else _short(value)


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")
