"""Vega-Lite pictures of a window beside the reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fullcircle.monitoring.words import bin_names, shares
from fullcircle.types.monitoring import FeatureProfile
from fullcircle.types.report import Chart

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
MOST_FEATURES = 40
MOST_BINS = 40


_LEAST_WIDTH = 0.05  # bits: a window in which nothing moved must not look as if something had


def distances(found: Mapping[str, float], moved: Collection[str]) -> Chart:
    """The distance of each feature (name to bits), the farthest first, marked where there is an alarm."""
    ranked = sorted(found.items(), key=lambda item: -round(item[1], 3))[:MOST_FEATURES]
    rows = [
        {"feature": name, "distance": round(bits, 6), "evidence": "alarm" if name in moved else "within the budget"}
        for name, bits in ranked
    ]
    encoding = {
        "y": {"field": "feature", "type": "nominal", "sort": None, "title": None},
        "x": {
            "field": "distance",
            "type": "quantitative",
            "title": "Jensen-Shannon divergence from the reference, bits",
            "scale": {"domainMin": 0, "domainMax": max(_LEAST_WIDTH, *(bits for _, bits in ranked))},
        },
        "color": {
            "field": "evidence",
            "type": "nominal",
            "title": None,
            "scale": {"domain": ["alarm", "within the budget"], "range": ["#b3261e", "#8a9ba8"]},
        },
    }
    return Chart(title="How far each feature moved", spec=_bars(rows, encoding))


def histogram(feature: FeatureProfile, counts: Sequence[int]) -> Chart:
    """The shares of one feature's bins, window beside reference. The rarest bins beyond 40 are left out."""
    now, before = shares(counts), shares(feature.counts)
    rows: list[dict[str, Any]] = []
    if now is not None and before is not None:
        places = [place for place in range(len(now)) if place < len(now) - 2 or now[place] + before[place] > 0]
        common = sorted(sorted(places, key=lambda place: -float(now[place] + before[place]))[:MOST_BINS])
        names = bin_names(feature)
        for place in common:
            rows.append({"bin": names[place], "rows": "reference", "share": round(float(before[place]), 6)})
            rows.append({"bin": names[place], "rows": "window", "share": round(float(now[place]), 6)})
    encoding = {
        "x": {"field": "bin", "type": "nominal", "sort": None, "title": feature.name},
        "xOffset": {"field": "rows", "type": "nominal"},
        "y": {"field": "share", "type": "quantitative", "title": "share of rows", "axis": {"format": "%"}},
        "color": {
            "field": "rows",
            "type": "nominal",
            "title": None,
            "scale": {"domain": ["reference", "window"], "range": ["#8a9ba8", "#1f6feb"]},
        },
    }
    return Chart(title=f"{feature.name}: window and reference", spec=_bars(rows, encoding))


def _bars(rows: Sequence[Mapping[str, Any]], encoding: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "data": {"values": list(rows)},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": dict(encoding),
        "width": "container",
    }
