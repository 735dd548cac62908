"""The columns of one kind as arrays: reference counts, strata, effects, tolerance, and the counts of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.monitoring.detector import Floats, Reference
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.project import Monitor

if TYPE_CHECKING:
    from fullcircle.monitoring.engine import Traffic


class Columns:
    """F columns side by side, filled up to C cells: bins, padding, other, missing.

    ``every`` is how many columns the monitor watches in all: they share the chance that bounds fail.
    """

    def __init__(self, features: Sequence[FeatureProfile], profile: Profile, monitor: Monitor, every: int) -> None:
        self.features = tuple(features)
        self.names = tuple(feature.name for feature in self.features)
        self.sizes = [len(feature.counts) for feature in self.features]
        self.width = max(self.sizes)
        known = profile.dependence
        fits = known is not None and abs(known.seconds - duration(monitor.window).total_seconds()) < 1e-6
        effects = known.effects if known is not None and fits else {}
        self.unseen = known.unseen if known is not None and fits else 0.0
        self.phases = known.phases if known is not None and fits else 1
        strata = known.strata if known is not None and fits else {}
        self.strata: Mapping[int, Sequence[tuple[int, ...]]] = {
            place: strata[name] for place, name in enumerate(self.names) if name in strata
        }
        self.effects = np.array([max(1.0, float(effects.get(name, 1.0))) for name in self.names])
        self.counts = np.array([self._wide(feature.counts) for feature in self.features])
        self.usual = self.counts.sum(axis=1) / max(1, known.batches if known is not None else 1)
        self.tolerance = np.array([_tolerance(monitor, name) for name in self.names])
        self._every, self._monitor = every, monitor

    def _wide(self, counts: Sequence[float]) -> Floats:
        row = np.zeros(self.width)
        row[: len(counts) - 2], row[-2:] = counts[:-2], counts[-2:]
        return row

    def counted(self, batch: Traffic, labelled: Traffic) -> tuple[Floats, Floats]:
        """Counts (F, C) and outside (F,) of a batch; zeros for a column that it does not have or is not watched."""
        counts, outside = np.zeros((len(self.names), self.width)), np.zeros(len(self.names))
        inputs, labels = set(batch.features), set(labelled.features)
        for place, name in enumerate(self.names):
            source = batch if name in inputs else labelled if name in labels else None
            if source is None or self.tolerance[place] >= 1:
                continue
            row = np.asarray(source.counts(name), dtype=np.float64)
            counts[place, : len(row) - 2], counts[place, -2:] = row[:-2], row[-2:]
            outside[place] = source.outside(name)
        return counts, outside

    def effects_of(self, counts: Floats) -> Floats:
        """The design effects (F,) of a batch. They were learned at the usual size of a batch, and what its rows have
        in common weighs more in a larger one; but chance alone makes effects of up to 2, which are left as they are.
        """
        larger = np.maximum(1.0, counts.sum(axis=1) / np.maximum(self.usual, 1.0))
        sure = np.clip(self.effects - 2.0, 0.0, 1.0)
        return np.asarray(self.effects + sure * (self.effects - 1.0) * (larger - 1.0))

    def at(self, phase: int | None) -> Floats:
        """Reference counts (F, C) at a phase of the week, or at all of them, not divided by anything."""
        counts = self.counts.copy()
        if phase is not None:
            for place, rows in self.strata.items():
                counts[place] = self._wide(rows[phase % len(rows)])
        return counts

    def shares(self, phase: int | None) -> Floats:
        """The reference's shares (F, C) at a phase; half a row more in each cell, so that none is 0."""
        smooth = self.at(phase) + 0.5
        return np.asarray(smooth / smooth.sum(axis=1, keepdims=True))

    def reference(self, phase: int | None) -> Reference:
        """What detectors compare with at a phase, or (None) over the whole week."""
        places = np.arange(self.width)[None, :]
        sizes = np.array(self.sizes)[:, None]
        losses = np.array([each.role in ("loss", "estimate") and each.kind == "number" for each in self.features])
        parts = [_strata(self.strata[place]) if place in self.strata else 1 for place in range(len(self.names))]
        # Of numbers no value is "other": nothing is bet on that.
        numbers = np.array([each.kind == "number" for each in self.features])
        used = (places < sizes - 2) | (places >= self.width - 2)
        return Reference(
            counts=self.at(phase) / self.effects[:, None],
            pooled=self.counts / self.effects[:, None],
            used=used,
            ordered=numbers,
            ranged=numbers & np.array([each.low is not None and each.high is not None for each in self.features]),
            losses=losses,
            values=np.array([_middles(each, self.width) for each in self.features]),
            growth=np.where(losses, self._monitor.worse_by, 0.0),
            delta=(1 - self._monitor.confidence) / self._every / np.array(parts),
            tolerance=np.where(losses | (self.tolerance >= 1), 0.0, self.tolerance),
        )


def _tolerance(monitor: Monitor, name: str) -> float:
    given = monitor.tolerance
    return float(given.get(name, 0.0)) if isinstance(given, Mapping) else float(given)


def _strata(rows: Sequence[tuple[int, ...]]) -> int:
    """How many samples a column is compared with: one an hour of the day or of the week, and that of all hours.

    Two of them may look alike by chance and are two all the same.
    """
    day = len(rows) // 7 if len(rows) % 7 == 0 else len(rows)
    daily = all(row == rows[place % day] for place, row in enumerate(rows))
    return (day if daily else len(rows)) + 1


def _middles(feature: FeatureProfile, width: int) -> Floats:
    """The middle of each bin of a loss, between 0 and 1; 0 for the cells that are no bins."""
    row = np.zeros(width)
    if feature.kind == "number":
        low = 0.0 if feature.low is None else feature.low
        high = 1.0 if feature.high is None else feature.high
        ends = np.clip(np.array([low, *feature.edges, high]), 0.0, 1.0)
        ends[0], ends[-1] = min(ends[0], ends[1]), max(ends[-1], ends[-2])
        row[: len(ends) - 1] = (ends[1:] + ends[:-1]) / 2
    return row
