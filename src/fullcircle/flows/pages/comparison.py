"""The page of two reports side by side: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.live import script
from fullcircle.types.comparison import ComparedMeasure, Comparison
from fullcircle.types.report import Chart

_PICTURES = 6
_OTHERS = ("baseline_", "champion_")
_TONES = {"better": "good", "worse": "bad", "same within doubt": "info", "unknown": "unknown"}


def render_comparison(comparison: Comparison, *, interactive: bool = True) -> str:
    """The page of a comparison as HTML text. It holds everything in itself and opens from a file.

    Raises MissingExtra where Jinja2 or vl-convert-python is not installed.
    """
    page = environment(interactive=interactive).get_template("comparison.html")
    return page.render(
        comparison=comparison,
        tones=_TONES,
        checks=checks(comparison.rows),
        charts=pictures(comparison),
        tally=[(word, _TONES[word], sum(row.standing == word for row in comparison.rows)) for word in _TONES],
        script=script() if interactive else None,
    )


@dataclass(frozen=True)
class Compared:
    """The measures of one check: those for all rows, and those of groups and columns."""

    check: str
    whole: tuple[ComparedMeasure, ...]
    parts: tuple[ComparedMeasure, ...]


def checks(rows: Sequence[ComparedMeasure]) -> tuple[Compared, ...]:
    """The measures by check, in the order in which they come."""
    found = []
    for check in dict.fromkeys(row.check for row in rows):
        own = [row for row in rows if row.check == check]
        whole = tuple(row for row in own if not row.group)
        found.append(Compared(check, whole, tuple(row for row in own if row.group)))
    return tuple(found)


def pictures(comparison: Comparison) -> tuple[Chart, ...]:
    """For each of the first measures of quality that both have with an interval: two dots with their ranges."""
    shown = [
        row
        for row in comparison.rows
        if row.check == "quality" and not row.group and not row.name.startswith(_OTHERS) and _both(row)
    ]
    return tuple(_picture(row, (comparison.first, comparison.second)) for row in shown[:_PICTURES])


def _both(row: ComparedMeasure) -> bool:
    sides = [side for side in (row.first, row.second) if side is not None]
    return len(sides) == 2 and all(side.usable and side.low is not None and side.high is not None for side in sides)


def _picture(row: ComparedMeasure, names: tuple[str, str]) -> Chart:
    values = [
        {"name": name, "x": side.value, "low": side.low, "high": side.high}
        for name, side in zip(names, (row.first, row.second), strict=True)
        if side is not None
    ]
    title = f"{row.name}, {row.unit}" if row.unit else row.name
    way = {"higher": "higher is better", "lower": "lower is better", "zero": "nearer to zero is better"}
    across = {
        "type": "quantitative",
        "scale": {"zero": False},
        "axis": {"tickCount": 5},
        "title": way.get(row.better, ""),
    }
    down = {"field": "name", "type": "nominal", "title": None, "sort": None}
    colour = {"field": "name", "type": "nominal", "sort": None, "legend": None}
    tooltip = [
        {"field": "name", "type": "nominal", "title": "version"},
        *({"field": each, "type": "quantitative", "title": told, "format": ".4g"} for each, told in _FIELDS),
    ]
    encoding = {"y": down, "color": colour, "tooltip": tooltip}
    return Chart(
        title=title,
        spec={
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": "container",
            "height": {"step": 30},
            "data": {"values": values},
            "layer": [
                {"mark": "rule", "encoding": {**encoding, "x": {**across, "field": "low"}, "x2": {"field": "high"}}},
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {**encoding, "x": {**across, "field": "x"}},
                },
            ],
        },
    )


_FIELDS = (("x", "value"), ("low", "from"), ("high", "to"))
