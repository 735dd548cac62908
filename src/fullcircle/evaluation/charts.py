"""The few kinds of chart that checks draw, as Vega-Lite v5 with modest data inline.

Field names are fixed (x, y, name, low, high), so a column's name can hold any character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fullcircle.types.report import Chart, Measure

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
POINTS = 400


def scatter(title: str, x: ArrayLike, y: ArrayLike, *, x_title: str, y_title: str, seed: int = 0) -> Chart:
    """Points beside the line x = y; a seeded sample of at most 400."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(xs) > POINTS:
        picked = np.sort(np.random.default_rng(seed).choice(len(xs), POINTS, replace=False))
        xs, ys = xs[picked], ys[picked]
    low, high = float(min(xs.min(), ys.min())), float(max(xs.max(), ys.max()))
    values = [{"x": _round(a), "y": _round(b)} for a, b in zip(xs.tolist(), ys.tolist(), strict=True)]
    encoding = {"x": _axis("x", x_title), "y": _axis("y", y_title)}
    line = {
        "data": {"values": [{"x": low, "y": low}, {"x": high, "y": high}]},
        "mark": {"type": "line", "color": "gray"},
    }
    return _chart(
        title,
        {
            "layer": [
                {
                    "data": {"values": values},
                    "mark": {"type": "point", "opacity": 0.5, "tooltip": True},
                    "encoding": encoding,
                },
                {**line, "encoding": encoding},
            ]
        },
    )


def bars(title: str, named: Sequence[tuple[str, float]], *, x_title: str) -> Chart:
    """One bar per name, in the order given."""
    values = [{"name": name, "x": _round(value)} for name, value in named]
    return _chart(
        title,
        {
            "data": {"values": values},
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {"x": _axis("x", x_title), "y": _names()},
        },
        height={"step": 18},
    )


def ranges(title: str, named: Sequence[tuple[str, Measure]], *, x_title: str) -> Chart:
    """One point per name with its interval; measures without a value are left out."""
    values = [
        {
            "name": f"{name} (n={measure.n})",
            "x": _round(measure.value),
            "low": _round(measure.value if measure.low is None else measure.low),
            "high": _round(measure.value if measure.high is None else measure.high),
        }
        for name, measure in named
        if measure.value is not None and measure.usable
    ]
    scale = {"scale": {"zero": False}}
    return _chart(
        title,
        {
            "data": {"values": values},
            "layer": [
                {
                    "mark": {"type": "rule", "tooltip": True},
                    "encoding": {"x": {**_axis("low", x_title), **scale}, "x2": {"field": "high"}, "y": _names()},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 60, "tooltip": True},
                    "encoding": {"x": {**_axis("x", x_title), **scale}, "y": _names()},
                },
            ],
        },
        height={"step": 24},
    )


def histogram(title: str, values: ArrayLike, *, x_title: str, bins: int = 30) -> Chart:
    """How often values fall into bins of equal width."""
    array = np.asarray(values, dtype=float)
    counts, edges = np.histogram(array, bins=bins)
    bars = [
        {"low": _round(edges[i]), "high": _round(edges[i + 1]), "y": int(count)} for i, count in enumerate(counts)
    ]
    low = {"field": "low", "type": "quantitative", "bin": {"binned": True}, "title": x_title}
    return _chart(
        title,
        {
            "data": {"values": bars},
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {"x": low, "x2": {"field": "high"}, "y": _axis("y", "rows")},
        },
    )


def heat(title: str, cells: Sequence[tuple[str, str, int]], *, x_title: str, y_title: str) -> Chart:
    """Counts by two names: (across, down, count)."""
    values = [{"x": across, "y": down, "n": count} for across, down, count in cells]
    place = {
        "x": {"field": "x", "type": "nominal", "title": x_title, "sort": None, "axis": {"labelAngle": 0}},
        "y": {"field": "y", "type": "nominal", "title": y_title, "sort": None},
    }
    colour = {"field": "n", "type": "quantitative", "title": "rows", "scale": {"scheme": "blues"}}
    dark = max((count for _, _, count in cells), default=0) / 2
    ink = {"condition": {"test": f"datum.n > {dark}", "value": "white"}, "value": "black"}
    figure = {"field": "n", "type": "quantitative"}
    text = {"mark": "text", "encoding": {**place, "text": figure, "color": ink}}
    rect = {"mark": {"type": "rect", "tooltip": True}, "encoding": {**place, "color": colour}}
    return _chart(title, {"data": {"values": values}, "layer": [rect, text]}, height={"step": 30})


def line(
    title: str, x: ArrayLike, y: ArrayLike, *, x_title: str, y_title: str, beside: Sequence[tuple[float, float]] = ()
) -> Chart:
    """A line through points in their order (give at most a few hundred), and a gray one ``beside`` it."""
    encoding = {"x": _axis("x", x_title), "y": _axis("y", y_title)}
    pairs = zip(np.asarray(x, dtype=float).tolist(), np.asarray(y, dtype=float).tolist(), strict=True)
    points = [{"x": _round(a), "y": _round(b), "n": place} for place, (a, b) in enumerate(pairs)]
    layers: list[tuple[list[dict[str, float]], dict[str, Any]]] = [(points, {"tooltip": True})]
    if beside:
        gray = [{"x": a, "y": b, "n": place} for place, (a, b) in enumerate(beside)]
        layers.insert(0, (gray, {"color": "gray"}))
    order = {"field": "n", "type": "quantitative"}
    return _chart(
        title,
        {
            "layer": [
                {
                    "data": {"values": values},
                    "mark": {"type": "line", **look},
                    "encoding": {**encoding, "order": order},
                }
                for values, look in layers
            ]
        },
    )


def dots(title: str, x: ArrayLike, y: ArrayLike, *, x_title: str, y_title: str, seed: int = 0) -> Chart:
    """Points beside the line y = 0; a seeded sample of at most 400."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(xs) > POINTS:
        picked = np.sort(np.random.default_rng(seed).choice(len(xs), POINTS, replace=False))
        xs, ys = xs[picked], ys[picked]
    values = [{"x": _round(a), "y": _round(b)} for a, b in zip(xs.tolist(), ys.tolist(), strict=True)]
    mark = {"type": "point", "opacity": 0.5, "tooltip": True}
    places = {"x": {**_axis("x", x_title), "scale": {"zero": False}}, "y": _axis("y", y_title)}
    return _chart(
        title,
        {
            "layer": [
                {
                    "data": {"values": [{"y": 0}]},
                    "mark": {"type": "rule", "color": "gray"},
                    "encoding": {"y": places["y"]},
                },
                {"data": {"values": values}, "mark": mark, "encoding": places},
            ]
        },
    )


def _chart(title: str, spec: Mapping[str, Any], height: object = 260) -> Chart:
    return Chart(title=title, spec={"$schema": _SCHEMA, "width": "container", "height": height, **spec})


def _axis(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title}


def _names() -> dict[str, Any]:
    return {"field": "name", "type": "nominal", "title": None, "sort": None}


def _round(value: Any) -> float:
    """Six significant digits are more than a screen shows, and keep reports small."""
    return float(f"{float(value):.6g}")
