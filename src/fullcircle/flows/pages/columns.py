"""The columns of a model against their reference: the farthest as cards, the rest as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fullcircle.flows.pages.panels import Measured
from fullcircle.flows.pages.plots import Plot, Series, bars
from fullcircle.monitoring.words import bin_names, percent, shares
from fullcircle.types.monitoring import FeatureProfile, Monitored, Suspect
from fullcircle.types.report import Measure

CARDS = 40
_BARS = 12
ROLES = {
    "input": "input",
    "verdict": "what became of the rows",
    "prediction": "the answer",
    "estimate": "the loss that the model expects",
    "label": "what really was, where labels have come",
    "loss": "what the model was wrong by, where labels have come",
}


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One bar of a histogram: shares in words and as heights from 0 to 1."""

    name: str
    now: str
    before: str
    height: float
    was: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """One column. ``suspect`` where an open alarm points at it, ``distance`` its latest one.

    ``histogram`` is a drawing for numbers; categories have ``bins`` as lines with their names instead, those that
    changed most, and ``left_out`` of them are not shown. ``figures`` are the other latest measures.
    """

    name: str
    role: str
    distance: Measure | None
    suspect: Suspect | None
    tolerance: float
    plots: tuple[Plot, ...] = ()
    histogram: str = ""
    bins: tuple[Bin, ...] = ()
    left_out: int = 0
    figures: tuple[Measure, ...] = ()
    ends: tuple[str, str] = ("", "")

    @property
    def watched(self) -> bool:
        """Whether anybody is told when it moves."""
        return self.tolerance < 1.0


def suspects(monitored: Monitored) -> dict[str, Suspect]:
    """The columns that open alarms point at; one that is certain in any is certain."""
    found: dict[str, Suspect] = {}
    for alarm in monitored.alarms:
        for suspect in alarm.suspects if alarm.state != "resolved" else ():
            if suspect.feature not in found or (suspect.certain and not found[suspect.feature].certain):
                found[suspect.feature] = suspect
    return found


def ranked(names: Sequence[str], distances: Mapping[str, float], named: Mapping[str, Suspect]) -> list[str]:
    """The columns that alarms point at first, the certain ones before; then the farthest; ties stay in order."""

    def order(name: str) -> tuple[int, float]:
        suspect = named.get(name)
        return (2 if suspect is None else 0 if suspect.certain else 1, -distances.get(name, -1.0))

    return sorted(names, key=order)


def cards(monitored: Monitored, measured: Measured) -> tuple[list[Card], list[Card]]:
    """The cards of the farthest columns, and the rest without pictures."""
    features = {each.name: each for each in (*monitored.reference.features, *monitored.reference.outcomes)}
    named = suspects(monitored)
    latest = {name: measured.latest("js_distance", name) for name in features}
    distances = {name: each.value for name, each in latest.items() if each is not None and each.value is not None}
    order = ranked(list(features), distances, named)
    whole = [_card(monitored, measured, features[name], named.get(name), latest[name]) for name in order[:CARDS]]
    rest = [
        Card(
            name=name,
            role=ROLES[features[name].role],
            distance=latest[name],
            suspect=named.get(name),
            tolerance=monitored.tolerance.get(name, 0.0),
            figures=_figures(measured, name, ("missing", "unseen", "outside")),
        )
        for name in order[CARDS:]
    ]
    return whole, rest


def _card(
    monitored: Monitored,
    measured: Measured,
    feature: FeatureProfile,
    suspect: Suspect | None,
    distance: Measure | None,
) -> Card:
    tolerance = monitored.tolerance.get(feature.name, 0.0)
    drawn, bins, left_out = _histogram(feature, monitored.latest.get(feature.name, ()))
    plots = (
        _distance(measured, feature.name, tolerance),
        _mean(measured, feature),
        _broken(measured, feature),
    )
    number = feature.kind == "number" and feature.low is not None and feature.high is not None
    return Card(
        name=feature.name,
        role=ROLES[feature.role],
        distance=distance,
        suspect=suspect,
        tolerance=tolerance,
        plots=tuple(plot for plot in plots if not plot.empty),
        histogram=drawn,
        bins=bins,
        left_out=left_out,
        figures=_figures(measured, feature.name, ("psi", "hellinger", "ks", "wasserstein")),
        ends=(f"{feature.low:.4g}", f"{feature.high:.4g}") if number else ("", ""),
    )


def _distance(measured: Measured, name: str, tolerance: float) -> Plot:
    series = measured.series("js_distance", "distance", group=name, tone="a")
    return Plot(
        title="distance, bits",
        series=(series,),
        unit="bits",
        floor=0.0,
        limit=(tolerance, "tolerance") if 0.0 < tolerance < 1.0 else None,
    )


def _mean(measured: Measured, feature: FeatureProfile) -> Plot:
    series = measured.series("mean", "mean", group=feature.name, tone="d")
    mean, spread = feature.mean, feature.deviation or 0.0
    reference = None if mean is None else (mean, mean - spread, mean + spread)
    return Plot(title="mean", series=(series,), reference=reference)


def _broken(measured: Measured, feature: FeatureProfile) -> Plot:
    wanted = (("missing", "b"), ("unseen", "c"), ("outside", "d"))
    shown: tuple[Series, ...] = tuple(
        measured.series(name, name, group=feature.name, tone=tone)
        for name, tone in wanted
        if name != ("outside" if feature.kind == "category" else "unseen")
    )
    total = sum(feature.counts)
    was = feature.counts[-1] / total if total else 0.0
    return Plot(
        title=", ".join(series.name for series in shown),
        series=shown,
        form="%",
        floor=0.0,
        reference=(was, None, None) if was else None,
    )


def _histogram(feature: FeatureProfile, counts: Sequence[int]) -> tuple[str, tuple[Bin, ...], int]:
    now, before = shares(counts), shares(feature.counts)
    if now is None or before is None or len(now) != len(before):
        return "", (), 0
    top = max(*now.tolist(), *before.tolist(), 1e-9)
    bins = [
        Bin(name=name, now=percent(share), before=percent(was), height=share / top, was=was / top)
        for name, share, was in zip(bin_names(feature), now.tolist(), before.tolist(), strict=True)
    ]
    if feature.kind == "number":
        kept = [place for place in range(len(bins)) if place < len(bins) - 2 or now[place] + before[place] > 0]
        return bars(now[kept].tolist(), before[kept].tolist()), tuple(bins[place] for place in kept), 0
    there = [each for each, share, was in zip(bins, now, before, strict=True) if share + was > 0]
    order = sorted(there, key=lambda each: -max(each.height, each.was))
    return "", tuple(order[:_BARS]), max(0, len(order) - _BARS)


def _figures(measured: Measured, group: str, names: Sequence[str]) -> tuple[Measure, ...]:
    return tuple(found for name in names if (found := measured.latest(name, group)) is not None)
