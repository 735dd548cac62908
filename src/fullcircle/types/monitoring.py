"""What monitoring hands on: profiles, windows, alarms and decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fullcircle.types.report import Report


@dataclass(frozen=True, kw_only=True)
class FeatureProfile:
    """Counts of one column in bins that were frozen on the reference rows.

    Numeric columns: ``edges`` are K-1 inner edges, bin i holds edges[i-1] < x <= edges[i]. Category columns:
    one bin per entry of ``categories``. Two more bins always follow: "other" (a category never seen; unused
    for numbers) and "missing". So ``len(counts)`` is K + 2. ``low``/``high`` are the smallest and largest
    reference value of a number.
    """

    name: str
    kind: Literal["number", "category"]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The reference: how each input column, and the prediction itself, looked when the model was evaluated.

    ``metric`` is the project's main metric on those rows, with its interval, and ``rows`` their number.
    """

    features: tuple[FeatureProfile, ...]
    rows: int
    metric: str = ""
    metric_value: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Evidence that one feature of a window differs from the reference.

    ``distance`` is the debiased Jensen-Shannon divergence in bits (0 same, 1 disjoint), ``statistic`` and
    ``p`` the test's, ``alpha`` the level that the alert budget left for it.
    """

    feature: str
    detector: str
    distance: float
    statistic: float
    p: float
    alpha: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of production traffic, compared with the reference.

    ``labelled`` is how many of ``rows`` have an outcome by now, ``verdicts`` counts rows per status as
    (status, count).
    """

    name: str
    model: str
    version: int
    since: str
    until: str
    rows: int
    labelled: int
    verdicts: tuple[tuple[str, int], ...]
    alarms: tuple[Alarm, ...]
    report: Report


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a version, why, and on which figures."""

    action: Literal["promote", "hold", "rollback", "keep"]
    model: str
    version: int | None
    reason: str
    previous: int | None = None
    figures: tuple[tuple[str, float], ...] = ()
