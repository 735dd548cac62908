"""Vega-Lite specifications to SVG that can stand inside a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fullcircle.errors import MissingExtra
from fullcircle.types.report import Chart

WIDTH = 380
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_INK, _SOFT, _LINE = "#1f272b", "#56616a", "#e3e1da"
# One theme for every chart; what a specification says itself wins. Colours keep apart for the colour-blind.
THEME: Mapping[str, Any] = {
    "background": "transparent",
    "padding": {"left": 8, "top": 4, "right": 12, "bottom": 4},
    "font": _FONT,
    "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": 220},
    "axis": {
        "domainColor": "#b9b6ad",
        "gridColor": _LINE,
        "tickColor": "#b9b6ad",
        "labelColor": _SOFT,
        "titleColor": _SOFT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": 170,
        "labelFlush": False,  # pushed inwards, the first and the last label touch their neighbours
        "labelSeparation": 4,
    },
    # Below, and one under the other: beside it, names would leave a phone no room for the chart.
    "legend": {
        "orient": "bottom",
        "columns": 1,
        "labelColor": _INK,
        "titleColor": _SOFT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": 260,
        "gradientLength": 140,
        "gradientThickness": 8,
    },
    "title": {"color": _INK, "fontSize": 13},
    "bar": {
        "color": "#2f6b70"
    },  # no cornerRadiusEnd: with it, Vega-Lite 5 draws binned bars (x to x2) without a width
    "point": {"color": "#2f6b70", "size": 46},
    "line": {"color": "#2f6b70"},
    "area": {"color": "#2f6b70", "opacity": 0.7},
    "rule": {"color": "#2f6b70", "strokeWidth": 1.6},
    "range": {"category": ["#2f6b70", "#c2662d", "#5b5f97", "#a3903a", "#8f4a5e", "#5f7d3a"]},
}
# What an SVG could use to reach outside the page or to run code. Charts of ours never need it.
_FOREIGN = re.compile(r"<(?:script|foreignObject|image|a|use|style)\b|\son\w+\s*=", re.IGNORECASE)


def svg(chart: Chart, key: str) -> str | None:
    """Draw a chart as SVG, or None where its specification cannot be drawn, or would reach outside the page.

    ``key`` makes the ids inside it unique on the page. Nothing is fetched: data has to be inline.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtra(
            "charts cannot be drawn, because vl-convert-python is not installed",
            next_step='pip install "fullcircle[lab]"',
        ) from error
    prepared = _prepared(chart.spec)
    try:
        drawn = str(vl_convert.vegalite_to_svg(prepared, allowed_base_urls=[]))
    except ValueError:
        # An error of an earlier chart can come up again in the next, sound one (seen in 1.9.0): ask twice.
        try:
            drawn = str(vl_convert.vegalite_to_svg(prepared, allowed_base_urls=[]))
        except ValueError:
            return None
    without_text = re.sub(r">[^<]*<", "><", re.sub(r'"[^"]*"', '""', drawn))
    if _FOREIGN.search(without_text):
        return None
    return _own_ids(drawn, key)


def inline(chart: Chart) -> str:
    """The specification in our theme as JSON that can stand inside a script element: without "<", ">" and "&".

    What a specification says about how it wants to be embedded, and about the version it was written for, is left
    out: the page decides.
    """
    spec = {key: value for key, value in chart.spec.items() if key not in ("$schema", "usermeta")}
    if spec.get("width") == "container":
        spec.setdefault("autosize", {"type": "fit-x", "contains": "padding"})
    text = msgspec.json.encode(_themed(spec)).decode()
    # Outside of its strings JSON has none of the three.
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _themed(spec: Mapping[str, Any]) -> dict[str, Any]:
    theirs = spec.get("config")
    return {**spec, "config": _merged(THEME, theirs if isinstance(theirs, Mapping) else {})}


def _prepared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The specification in our theme, with a width in pixels where it asks for that of its container."""
    prepared = _themed(spec)
    if prepared.get("width") == "container":
        prepared["width"] = WIDTH
    return prepared


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**ours, **theirs}
    for key, value in ours.items():
        if isinstance(value, Mapping) and isinstance(theirs.get(key), Mapping):
            merged[key] = {**value, **theirs[key]}
    return merged


def _own_ids(drawn: str, key: str) -> str:
    """Clip paths and gradients are found by id, and every chart begins to count anew."""
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', drawn)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", drawn)
