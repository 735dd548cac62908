"""How far a batch is from the reference: every distance of every column at once, as the measures of a stretch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fullcircle.monitoring.batches import Batch
from fullcircle.stats import distances
from fullcircle.stats.distances import Distances
from fullcircle.types.monitoring import FeatureProfile
from fullcircle.types.report import Measure

Table = NDArray[np.float64]
_SHOWN = ("js_distance", "psi", "hellinger", "ks", "wasserstein")
_UNITS: Mapping[str, str] = {"js_distance": "bits", "psi": "nats", "wasserstein": "sd"}


class Reference:
    """The columns of a profile, made ready once so that each batch after is compared in one go."""

    __slots__ = ("counts", "features", "gaps", "places", "sizes")

    def __init__(self, features: Sequence[FeatureProfile]) -> None:
        self.features = tuple(features)
        self.places = {feature.name: place for place, feature in enumerate(self.features)}
        self.sizes = np.array([len(feature.counts) for feature in self.features], dtype=np.int64)
        self.counts = self._padded([feature.counts for feature in self.features])
        self.gaps = self._padded([_gaps(feature) for feature in self.features], math.nan)

    def _padded(self, lists: Sequence[Sequence[float]], fill: float = 0.0) -> Table:
        table = np.full((len(lists), int(self.sizes.max(initial=1))), fill)
        for row, values in zip(table, lists, strict=True):
            row[: len(values)] = values
        return table

    def table(self, batch: Batch) -> Table:
        """The counts of a batch (F, most bins), filled up with zeros."""
        table: Table = np.zeros_like(self.counts)
        inside = np.arange(int(table.shape[1]))[None, :] < self.sizes[:, None]
        table[inside] = batch.table
        return table

    def distances(self, batch: Batch) -> Distances:
        """All distances of all columns, in the order of ``features``."""
        return distances.compare(self.counts, self.table(batch), self.gaps)


def measures(reference: Reference, batch: Batch, names: Sequence[str] | None = None) -> tuple[Measure, ...]:
    """The figures of columns (all of them, or ``names``), one measure each with the column as its group.

    js_distance (with its interval), psi, hellinger, ks and wasserstein are those of ``stats.distances``; missing,
    unseen and outside are shares of the column's values; mean and deviation those of its numbers. What cannot be told
    is left out.
    """
    found = reference.distances(batch)
    every = [each.tolist() for each in (found.js, found.psi, found.hellinger, found.ks, found.wasserstein)]
    low, high = found.js_low.tolist(), found.js_high.tolist()
    told: list[Measure] = []
    for name in [feature.name for feature in reference.features] if names is None else names:
        place, seen = reference.places[name], batch.summary(name)
        if not seen.n:
            continue
        for what, values in zip(_SHOWN, every, strict=True):
            if values[place] == values[place]:
                ends = (low[place], high[place]) if what == "js_distance" else (None, None)
                told.append(_measure(what, values[place], seen.n, name, *ends))
        number = reference.features[place].kind == "number"
        shares = {"missing": seen.missing, "outside" if number else "unseen": seen.outside if number else seen.unseen}
        told += [_measure(what, count / seen.n, seen.n, name) for what, count in shares.items()]
        sums = {"mean": seen.mean, "deviation": seen.deviation}
        told += [_measure(what, each, seen.n, name) for what, each in sums.items() if each is not None]
    return tuple(told)


def _measure(
    what: str, value: float, n: int, name: str, low: float | None = None, high: float | None = None
) -> Measure:
    return Measure(name=what, value=value, low=low, high=high, n=n, unit=_UNITS.get(what, ""), group=name)


def _gaps(feature: FeatureProfile) -> list[float]:
    """How far each bin is from the one before, in deviations of the reference; NaN where there is no order."""
    size = len(feature.counts)
    if feature.kind != "number" or not feature.quantiles:
        return [math.nan] * size
    places = distances.positions(feature.counts[:-2], feature.edges, feature.quantiles)
    with np.errstate(over="ignore"):  # halves: the way from one end to the other may be larger than any number
        steps = np.diff(places / 2, prepend=places[0] / 2) / (feature.deviation or 1.0) * 2
    return [*np.minimum(steps, 1e300).tolist(), math.nan, math.nan]
