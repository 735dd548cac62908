"""Windows of history as points over time: put together where there are many, the same points for every policy."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fullcircle.flows.pages.monitored import Pictures, span
from fullcircle.flows.pages.plots import Axis, Drawn, Plot, draw
from fullcircle.flows.pages.ticks import moment
from fullcircle.types.loop import Played, Policy, Rehearsal

POINTS = 120  # more than that on one picture is noise


class Timeline(Pictures):
    """The one axis of the page: ``merged`` windows of the first policy that has any make a point."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        """Lay out the axis; it has none while nothing was played."""
        self._told: list[dict[str, object]] = []
        self.even = False
        windows = next((each.windows for each in rehearsal.policies if each.windows), ())
        self.merged = max(1, -(-len(windows) // POINTS))
        groups = [windows[at : at + self.merged] for at in range(0, len(windows), self.merged)]
        self.names = [span(each[0].since, each[-1].until) for each in groups]
        bounds = [(moment(each[0].since), moment(each[-1].until)) for each in groups]
        ends = tuple((since, until) for since, until in bounds if since is not None and until is not None)
        self.axis = Axis(ends) if ends and len(ends) == len(groups) else None

    def marked(self, plot: Plot, marks: Sequence[tuple[float, float, str]], small: bool = False) -> Drawn | None:
        """The plot as SVG with lines at some times (spans in seconds since 1970 with a class name)."""
        if self.axis is None or plot.empty:
            return None
        return draw(plot, replace(self.axis, marks=tuple(marks)), ticks=2 if small else 4)

    def place(self, at: str) -> float | None:
        """Where a time is, as a share of the width; None where it is no time, or there is no axis."""
        found = moment(at)
        return None if found is None or self.axis is None else self.axis.x(found) / 1000


@dataclass(frozen=True)
class Points:
    """One policy at the points of the axis: the mean metric, and what came of it so far.

    ``metric`` is weighted by labelled rows, ``earned`` added up from the first window on, less the trainings.
    """

    metric: tuple[float | None, ...]
    so_far: tuple[float | None, ...]
    earned: tuple[float | None, ...]


def points(policy: Policy, axis: Axis) -> Points:
    """The windows of a policy at the points of the axis; they may be longer or shorter than the points."""
    known = [(bounds, each) for each in policy.windows if (bounds := _bounds(each)) is not None]
    known.sort(key=lambda pair: pair[0])
    ends = [until for _, until in axis.ends]
    inside: list[list[Played]] = [[] for _ in ends]
    for (since, until), each in known:
        inside[min(bisect_right(ends, (since + until) / 2), len(ends) - 1)].append(each)
    begun = [since for (since, _), _ in known]
    metric = []
    for (since, until), own in zip(axis.ends, inside, strict=True):
        at = bisect_right(begun, (since + until) / 2) - 1
        # A window longer than a point is the figure of all the points that it covers.
        covering = [known[at][1]] if not own and at >= 0 and known[at][0][1] > since else []
        metric.append(_mean(own or covering))
    return Points(tuple(metric), tuple(_so_far(inside)), tuple(_earned(policy, inside, ends)))


def segments(policy: Policy, timeline: Timeline) -> list[tuple[float, float, int]]:
    """Which version answered from where to where (shares of the width)."""
    found: list[tuple[float, float, int]] = []
    for each in policy.windows:
        left, right = timeline.place(each.since), timeline.place(each.until)
        if left is None or right is None:
            continue
        if found and found[-1][2] == each.version:
            found[-1] = (found[-1][0], right, each.version)
        else:
            found.append((left, right, each.version))
    return found


def costs(policy: Policy) -> list[tuple[float, float]]:
    """What trainings cost, and when: each the same share of what lies between the rows' worth and what was earned."""
    if policy.value is None or policy.earned is None or not policy.trained:
        return []
    each = (policy.value * sum(window.rows for window in policy.windows) - policy.earned) / policy.trained
    steps = [told for told in policy.told if told.step is not None and (told.step.learned or told.step.differences)]
    return [(at, each) for told in steps if (at := moment(told.at)) is not None]


def _bounds(each: Played) -> tuple[float, float] | None:
    since, until = moment(each.since), moment(each.until)
    return None if since is None or until is None else (since, until)


def _mean(windows: Sequence[Played]) -> float | None:
    known = [(each.metric, each.labelled) for each in windows if each.metric is not None and each.labelled]
    known = [pair for pair in known if math.isfinite(pair[0])]
    rows = sum(count for _, count in known)
    return sum(value * count for value, count in known) / rows if rows else None


def _so_far(inside: Sequence[Sequence[Played]]) -> list[float | None]:
    """The mean metric over all windows until then."""
    total, rows, found = 0.0, 0, list[float | None]()
    for own in inside:
        for each in own:
            if each.metric is not None and math.isfinite(each.metric):
                total, rows = total + each.metric * each.labelled, rows + each.labelled
        found.append(total / rows if rows else None)
    return found


def _earned(policy: Policy, inside: Sequence[Sequence[Played]], ends: Sequence[float]) -> list[float | None]:
    if not any(each.value is not None for each in policy.windows):
        return [None] * len(ends)
    spent = costs(policy)
    total, found = 0.0, list[float | None]()
    for own, end in zip(inside, ends, strict=True):
        total += sum(each.value * each.rows for each in own if each.value is not None and math.isfinite(each.value))
        found.append(total - sum(cost for at, cost in spent if at <= end))
    return found
