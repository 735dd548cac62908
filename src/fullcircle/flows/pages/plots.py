"""Pictures over time as SVG of our own: light enough for hundreds on one page, at home in the dark, all on one axis.

A plot's SVG is stretched to whatever room it gets (strokes keep their width), and its labels are text of the page: so
it stays readable on a phone. It holds numbers and class names only, no text of a user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from fullcircle.flows.pages.ticks import value_ticks

WIDTH, HEIGHT = 1000.0, 100.0
_MOST = 1e150
Style = Literal["line", "dots", "bars", "stack"]
Form = Literal["", "%", "s", "ms", "d"]
_Placed = TypeVar("_Placed")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One figure over time: a value a stretch (None where there is none), with its interval where it has one.

    ``tone`` is the name of a colour in the style sheet, ``n`` the rows behind each value.
    """

    name: str
    values: Sequence[float | None]
    lows: Sequence[float | None] = ()
    highs: Sequence[float | None] = ()
    tone: str = "a"
    style: Style = "line"

    @property
    def known(self) -> list[float]:
        """The finite values."""
        return _finite(self.values)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What one picture shows. ``form`` says how values are written: "%" for shares, "s", "ms" and "d" for times.

    ``reference`` is the value that all is compared with, and its interval; ``limit`` a line not to be crossed, with
    its name. ``floor`` and ``ceiling`` hold the axis where given. ``note`` is told under the picture.
    """

    title: str
    series: tuple[Series, ...]
    form: Form = ""
    unit: str = ""
    reference: tuple[float, float | None, float | None] | None = None
    limit: tuple[float, str] | None = None
    floor: float | None = None
    ceiling: float | None = None
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(series.known for series in self.series)


@dataclass(frozen=True)
class Axis:
    """Time from left to right: the ends of every stretch in seconds since 1970, ascending.

    ``marks`` are spans in which an alarm was open, as (from, to, class name).
    """

    ends: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float, str], ...] = ()

    @property
    def low(self) -> float:
        """Where it begins."""
        return self.ends[0][0]

    @property
    def high(self) -> float:
        """Where it ends."""
        return max(self.ends[-1][1], self.ends[0][0] + 1.0)

    def x(self, moment: float) -> float:
        """The place of a moment, 0 to 1000; what lies outside is at the end."""
        return WIDTH * min(1.0, max(0.0, (moment - self.low) / (self.high - self.low)))

    @property
    def middles(self) -> tuple[float, ...]:
        """The place of each stretch."""
        return tuple(self.x((since + until) / 2) for since, until in self.ends)


@dataclass(frozen=True)
class Drawn:
    """The SVG of a plot, and its ticks as (share of the height from the top, value)."""

    svg: str
    ticks: tuple[tuple[float, float], ...]


def draw(plot: Plot, axis: Axis, *, ticks: int = 4) -> Drawn:
    """Draw a plot over an axis that has at least one stretch."""
    low, high = domain(plot)
    marked = value_ticks(low, high, ticks)
    low, high = min(low, marked[0]), max(high, marked[-1])
    down = _Down(low, high)
    shapes = [*_marks(axis), *_grid(marked, down), *_reference(plot, down)]
    stacked = [series for series in plot.series if series.style == "stack"]
    shapes += _stack(stacked, axis, down)
    for series in plot.series:
        if series.style == "bars":
            shapes += _bars(series, axis, down)
        elif series.style != "stack":
            shapes += [*_band(series, axis, down), *_trace(series, axis, down)]
    if plot.limit is not None:
        shapes.append(f'<path class="limit" d="M0 {down.y(plot.limit[0])}H1000"/>')
    body = "".join(shapes)
    svg = f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true" focusable="false">{body}</svg>'
    return Drawn(svg, tuple((down.y(tick) / HEIGHT, tick) for tick in marked))


def domain(plot: Plot) -> tuple[float, float]:
    """The values that the picture has to reach: all of the figures, the reference, the limit.

    Intervals count too, but not beyond half of that range again on either side, or a usual interval's length where
    that is more: one wide one must not flatten all.
    """
    known = [value for series in plot.series for value in series.known]
    known += _finite((plot.reference and plot.reference[0], plot.limit and plot.limit[0], plot.floor, plot.ceiling))
    if any(series.style in ("bars", "stack") for series in plot.series):
        known.append(0.0)
    known = known or [0.0, 1.0]
    low, high = min(known), max(known)
    ends = _finite(end for series in plot.series for end in (*series.lows, *series.highs))
    ends += _finite(plot.reference[1:]) if plot.reference else []
    lengths = sorted(
        last - first
        for series in plot.series
        for first, last in zip(series.lows, series.highs, strict=True)
        if first is not None and last is not None and math.isfinite(last - first)
    )
    usual = min(lengths[(len(lengths) - 1) // 2], _MOST) if lengths else 0.0
    spread = max(0.5 * (high - low), usual) or 0.5 * abs(high) or (0.01 if plot.form == "%" else 1.0)
    low, high = max(low - spread, min([low, *ends])), min(high + spread, max([high, *ends]))
    if low == high:
        low, high = (low - abs(low) * 0.1, high + abs(high) * 0.1) if low else (0.0, 2 * spread)
    low = low if plot.floor is None else plot.floor
    high = high if plot.ceiling is None else max(plot.ceiling, low + 1e-9)
    return low, max(high, low + 1e-12 + abs(low) * 1e-9)


def bars(now: Sequence[float], before: Sequence[float]) -> str:
    """A histogram: the shares of the bins now, narrow, before those of the reference, wide. One SVG."""
    top = max([*now, *before, 1e-9])
    step = WIDTH / max(1, len(now))
    shapes = []
    for place, (share, was) in enumerate(zip(now, before, strict=True)):
        left = place * step
        for kind, value, inset in (("was", was, 0.06), ("now", share, 0.28)):
            height = HEIGHT * value / top
            x, width = left + inset * step, step * (1 - 2 * inset)
            shapes.append(f'<path class="{kind}" d="M{x:.1f} 100v-{height:.1f}h{width:.1f}V100z"/>')
    body = "".join(shapes)
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true" focusable="false">{body}</svg>'


@dataclass(frozen=True)
class _Down:
    """Values from the bottom to the top; what lies outside is drawn at the edge."""

    low: float
    high: float

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT * (1.0 - min(1.02, max(-0.02, share))), 1)


def _marks(axis: Axis) -> Iterable[str]:
    for since, until, kind in axis.marks:
        left = axis.x(since)
        width = max(3.0, axis.x(until) - left)
        yield f'<path class="mark {kind}" d="M{left:.1f} 0h{width:.1f}v100h-{width:.1f}z"/>'


def _grid(ticks: Sequence[float], down: _Down) -> Iterable[str]:
    lines = "".join(f"M0 {down.y(tick)}H1000" for tick in ticks)
    yield f'<path class="grid" d="{lines}"/>'


def _reference(plot: Plot, down: _Down) -> Iterable[str]:
    if plot.reference is None:
        return
    value, low, high = plot.reference
    if low is not None and high is not None:
        top, bottom = down.y(high), down.y(low)
        yield f'<path class="usual" d="M0 {top}H1000V{bottom}H0z"/>'
    yield f'<path class="reference" d="M0 {down.y(value)}H1000"/>'


def _band(series: Series, axis: Axis, down: _Down) -> Iterable[str]:
    """The intervals of a line as areas, of dots as whiskers."""
    if not series.lows:
        return
    whole = [
        (x, down.y(low), down.y(high)) if low is not None and high is not None and math.isfinite(low + high) else None
        for x, low, high in zip(axis.middles, series.lows, series.highs, strict=True)
    ]
    if series.style == "dots":
        paths = "".join(f"M{each[0]:.1f} {each[2]}V{each[1]}" for each in whole if each)
        if paths:
            yield f'<path class="whisker {series.tone}" d="{paths}"/>'
        return
    for run in _runs(whole):
        if len(run) == 1:
            yield f'<path class="whisker {series.tone}" d="M{run[0][0]:.1f} {run[0][2]}V{run[0][1]}"/>'
            continue
        there = " ".join(f"{x:.1f} {high}" for x, _, high in run)
        back = " ".join(f"{x:.1f} {low}" for x, low, _ in reversed(run))
        yield f'<path class="band {series.tone}" d="M{there}L{back}z"/>'


def _trace(series: Series, axis: Axis, down: _Down) -> Iterable[str]:
    placed = [
        (x, down.y(value)) if value is not None and math.isfinite(value) else None
        for x, value in zip(axis.middles, series.values, strict=True)
    ]
    runs = _runs(placed)
    if series.style == "dots":
        dots = [point for run in runs for point in run]
    else:
        dots = [run[0] for run in runs if len(run) == 1]
        lines = "".join("M" + " ".join(f"{x:.1f} {y}" for x, y in run) for run in runs if len(run) > 1)
        if lines:
            yield f'<path class="line {series.tone}" d="{lines}"/>'
    if dots:
        points = "".join(f"M{x:.1f} {y}h0" for x, y in dots)
        yield f'<path class="dots {series.tone}" d="{points}"/>'


def _bars(series: Series, axis: Axis, down: _Down) -> Iterable[str]:
    drawn = []
    for (since, until), value in zip(axis.ends, series.values, strict=True):
        if value is not None and math.isfinite(value):
            left, right = axis.x(since), axis.x(until)
            gap = 0.12 * (right - left)
            drawn.append(f"M{left + gap:.1f} {down.y(0.0)}V{down.y(value)}H{right - gap:.1f}V{down.y(0.0)}z")
    if drawn:
        yield f'<path class="bar {series.tone}" d="{"".join(drawn)}"/>'


def _stack(stacked: Sequence[Series], axis: Axis, down: _Down) -> Iterable[str]:
    """Shares, one upon the other."""
    below = [0.0] * len(axis.ends)
    for series in stacked:
        drawn = []
        for place, ((since, until), value) in enumerate(zip(axis.ends, series.values, strict=True)):
            if value is None or not math.isfinite(value) or value <= 0:
                continue
            bottom, top = down.y(below[place]), down.y(below[place] + value)
            below[place] += value
            drawn.append(f"M{axis.x(since):.1f} {bottom}V{top}H{axis.x(until):.1f}V{bottom}z")
        if drawn:
            yield f'<path class="bar {series.tone}" d="{"".join(drawn)}"/>'


def _runs(placed: Sequence[_Placed | None]) -> list[list[_Placed]]:
    """Neighbours that are known, together."""
    runs: list[list[_Placed]] = [[]]
    for each in placed:
        if each is None:
            runs.append([])
        else:
            runs[-1].append(each)
    return [run for run in runs if run]


def _finite(values: Iterable[float | None]) -> list[float]:
    """The finite ones, cut at _MOST, so that no axis overflows."""
    return [min(_MOST, max(-_MOST, value)) for value in values if value is not None and math.isfinite(value)]
