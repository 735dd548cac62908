"""What an experiment compares: the values that count, in their order, and the sequence that belongs to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows.exposed import Exposed, Floats
from fullcircle.flows.quality import FEWEST_LABELS
from fullcircle.stats import planning, randomised, sequences
from fullcircle.stats.intervals import Interval
from fullcircle.stats.planning import Noise
from fullcircle.types.experiments import Plan

EXACT = ("proportion", "mean")
"""The kinds of which rows are taken to be dealt one by one: the first of each unit counts."""


@dataclass(frozen=True)
class Compared:
    """Values (n,) in the order in which they came to count, and how they are compared.

    ``exact`` is the randomised sequence, for rows that chance dealt one by one. Otherwise ``unit`` says which rows
    hang together. ``paired`` values are differences already. ``units`` is the planned size, ``spread`` the planned
    standard deviation of a unit, None where it is not asked for: no unit comes back, or none was planned.
    """

    values: Floats
    second: NDArray[np.bool_]
    share: Floats
    unit: NDArray[np.intp]
    units: float
    spread: float | None
    alpha: float
    first_share: float
    paired: bool
    exact: bool

    @property
    def noise(self) -> Noise | None:
        """How far estimates of these values stray, None where that cannot be told yet."""
        if self.paired:
            found = self.estimate
            known = math.isfinite(found.error) and found.error > 0
            return Noise(found.error * math.sqrt(found.units)) if known else None
        if self.exact:
            spread = float(np.std(self.values)) if len(self.values) > 1 else 0.0
            return planning.two_arms(spread, self.first_share) if spread > 0 else None
        found, units = self.estimate, len(np.unique(self.unit))
        return Noise(found.error * math.sqrt(units)) if found.error > 0 and units else None

    def interval(self, rows: int) -> Interval:
        """What was known from the first of them."""
        if rows == 0:
            return sequences.NOTHING
        if self.exact:
            return randomised.interval(self._trail.at(rows - 1), self._scale, self.alpha)
        return sequences.sequence(self._estimate(rows), self._clock, self.alpha, self.spread)

    def evidence(self, null: float = 0.0) -> float:
        """The logarithm of the e-value against a difference of ``null``, from all of them."""
        if not len(self.values):
            return -math.inf
        if self.exact:
            return float(randomised.log_evidence(self._trail.at(-1), self._scale, null))
        return sequences.log_evidence(self.estimate, self._clock, self.alpha, null, self.spread)

    @property
    def estimate(self) -> sequences.Estimate:
        """The asymptotic estimate from all of them."""
        return self._estimate(len(self.values))

    @cached_property
    def _trail(self) -> randomised.Trail:
        return randomised.trail(self.values, self.second, self.share)

    @property
    def _scale(self) -> float:
        return randomised.scale(self.spread or 0.0, self.units, self.first_share, self.alpha)

    @property
    def _clock(self) -> float:
        """The planned size on the clock of the estimate: of two arms n m / (n + m)."""
        return self.units if self.paired else self.units * self.first_share * (1.0 - self.first_share)

    def _estimate(self, rows: int) -> sequences.Estimate:
        unit, values, second, share = self.unit[:rows], self.values[:rows], self.second[:rows], self.share[:rows]
        if self.paired:
            return _ratio(unit, values)
        parts = []
        for one in np.unique(share):  # a trend in time is no difference where shares were moved meanwhile
            ours, theirs = (share == one) & second, (share == one) & ~second
            parts.append(sequences.difference(*(_ratio(unit[who], values[who]) for who in (ours, theirs))))
        return sequences.together(parts)


def _ratio(unit: NDArray[np.intp], values: Floats) -> sequences.Estimate:
    """The mean of a row, of rows that hang together by ``unit``."""
    return sequences.ratio(*sequences.by_entity(unit, values, np.ones(len(values))))


def too_few(units: int, rows: int) -> bool:
    """Whether so many rows would have shown more entities (or requests) than nothing can ever be known by."""
    return units < FEWEST_LABELS and rows >= max(100, 10 * units)


def compared(plan: Plan, rows: Exposed, usable: NDArray[np.intp], paired: bool) -> Compared:
    """The rows by which the verdict is found, as the plan says; what comes changes nothing of how."""
    found = by_metric(plan, rows, counting(plan, rows, usable), plan.metric.name, paired)
    return replace(found, exact=True, spread=plan.spread) if plan.metric.kind in EXACT else found


def counting(plan: Plan, rows: Exposed, usable: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of an exact plan the first row of each unit, in their order: rows that were dealt together had one chance."""
    if plan.metric.kind not in EXACT:
        return usable
    _, first = np.unique(rows.unit[usable], return_index=True)
    return usable[np.sort(first)]


def by_metric(plan: Plan, rows: Exposed, usable: NDArray[np.intp], name: str, paired: bool) -> Compared:
    """Rows by any metric, the asymptotic way."""
    returning = bool(plan.metric.entity) and name == plan.metric.name  # more is known while no more entities come
    return Compared(
        values=rows.values[name][usable],
        second=rows.second[usable],
        share=rows.share[usable],
        unit=rows.unit[usable],
        units=plan.rows / plan.rows_a_unit,
        spread=plan.spread if returning else None,
        alpha=plan.alpha,
        first_share=plan.arms[-1].share,
        paired=paired,
        exact=False,
    )
