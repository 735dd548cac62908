"""The verdict of an experiment from its rows and its plan: the mathematics of docs/experiments.md, put together.

All of it may be asked at any time and as often as one likes. The chance that it is ever wrong is the plan's alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows.exposed import Exposed, Floats
from fullcircle.flows.quality import FEWEST_LABELS, VALUE
from fullcircle.monitoring.grid import iso
from fullcircle.stats import bandits, cohorts, mixtures, planning, randomised, sequences
from fullcircle.stats.intervals import Interval
from fullcircle.stats.planning import Noise
from fullcircle.types.experiments import (
    Difference,
    Guardrail,
    Look,
    Plan,
    Share,
    State,
    Verdict,
    Warrant,
)
from fullcircle.types.splits import BAD

UNFAIR = 0.01
"""The chance with which rows that were dealt fairly are called unfair, for each of the two ways to see it."""
LOOKS = 60
_DAY = 86_400.0


@dataclass(frozen=True)
class Compared:
    """Values (n,) in the order in which they came to count, and how they are compared.

    ``exact`` is the randomised sequence, for rows that chance dealt one by one. Otherwise ``unit`` says which rows
    hang together. ``paired`` values are differences already. ``units`` is the planned size.
    """

    values: Floats
    second: NDArray[np.bool_]
    share: Floats
    unit: NDArray[np.intp]
    units: float
    spread: float
    alpha: float
    first_share: float
    paired: bool
    exact: bool

    @property
    def noise(self) -> Noise | None:
        """How far estimates of these values stray, None where that cannot be told yet."""
        if self.paired:
            found = self._estimate(len(self.values))
            known = math.isfinite(found.error) and found.error > 0
            return Noise(found.error * math.sqrt(found.units)) if known else None
        if self.exact:
            spread = float(np.std(self.values)) if len(self.values) > 1 else 0.0
            return planning.two_arms(spread, self.first_share) if spread > 0 else None
        found = self._estimate(len(self.values))
        units = len(np.unique(self.unit))
        return Noise(found.error * math.sqrt(units)) if found.error > 0 and units else None

    def interval(self, rows: int) -> Interval:
        """What was known from the first of them."""
        if rows == 0:
            return sequences.NOTHING
        if self.exact:
            return randomised.interval(self._trail.at(rows - 1), self._scale, self.alpha)
        return sequences.sequence(self._estimate(rows), self._clock, self.alpha)

    def evidence(self, null: float = 0.0) -> float:
        """The logarithm of the e-value against a difference of ``null``, from all of them."""
        if not len(self.values):
            return -math.inf
        if self.exact:
            return float(randomised.log_evidence(self._trail.at(-1), self._scale, null))
        return sequences.log_evidence(self._estimate(len(self.values)), self._clock, self.alpha, null)

    @cached_property
    def _trail(self) -> randomised.Trail:
        return randomised.trail(self.values, self.second, self.share)

    @property
    def _scale(self) -> float:
        return randomised.scale(self.spread, self.units, self.first_share, self.alpha)

    @property
    def _clock(self) -> float:
        """The planned size on the clock of the estimate: of two arms n m / (n + m)."""
        return self.units if self.paired else self.units * self.first_share * (1.0 - self.first_share)

    def _estimate(self, rows: int) -> sequences.Estimate:
        unit, values, second = self.unit[:rows], self.values[:rows], self.second[:rows]
        if self.paired:
            return _ratio(unit, values)
        return sequences.difference(_ratio(unit[second], values[second]), _ratio(unit[~second], values[~second]))


def _ratio(unit: NDArray[np.intp], values: Floats) -> sequences.Estimate:
    """The mean of a row, of rows that hang together by ``unit``."""
    return sequences.ratio(*sequences.by_entity(unit, values, np.ones(len(values))))


def verdict(plan: Plan, rows: Exposed, moment: float, paired: bool) -> Verdict:
    """What is known at a ``moment`` (seconds since 1970)."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = _compared(plan, rows, order.usable, plan.metric.name, paired)
    interval = main.interval(len(main.values))
    standing = planning.standing(interval, plan.effect, up=plan.metric.better == "up")
    trust = (_copied(rows, order.due), *_labels(plan, rows, order)) if paired else _dealt(plan, rows, order)
    rails = tuple(_guarded(plan, rows, order.usable, each, paired) for each in plan.guardrails)
    state: State = "running" if standing == "undecided" else "decided"
    if not all(each.holds for each in trust):
        state, standing = "untrusted", "undecided"
    elif not all(each.holds for each in rails):
        state = "broken"
    left = _rows_left(plan, main, interval, paired) if state == "running" else None
    return Verdict(
        version=plan.arms[-1].version,
        standing=standing,
        state=state,
        difference=_difference(interval, plan.metric.unit),
        chance=_chance(main.evidence()),
        a_day=_a_day(plan, interval),
        arms=_arms(plan, rows, order, paired),
        trust=trust,
        guardrails=rails,
        rows_left=left,
        days_left=None if left is None or plan.rows_a_day <= 0 else left / plan.rows_a_day,
        regret=None if plan.floor is None else _regret(plan, main),
    )


def looks(plan: Plan, rows: Exposed, moment: float, paired: bool) -> tuple[Look, ...]:
    """What was known at up to 60 earlier moments and at this one, oldest first."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = _compared(plan, rows, order.usable, plan.metric.name, paired)
    counted = np.maximum(rows.arrived, rows.at + plan.label_delay_days * _DAY)[order.usable]
    number = len(main.values)
    places = np.unique(np.linspace(1, number, min(LOOKS, number)).astype(int)) if number else ()
    return tuple(
        Look(
            at=iso(round(float(counted[place - 1]) * 1e6)),
            rows=int(place),
            difference=_difference(main.interval(int(place)), plan.metric.unit),
        )
        for place in places
    )


def shares(plan: Plan, rows: Exposed, moment: float) -> tuple[float, ...] | None:
    """The next shares of an experiment that learns them; None while an arm has too few values to go by."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = _compared(plan, rows, order.usable, plan.metric.name, False)
    sign = 1.0 if plan.metric.better == "up" else -1.0
    arms = [_ratio(main.unit[who], sign * main.values[who]) for who in (~main.second, main.second)]
    if plan.floor is None or any(not each.error > 0.0 or each.units < FEWEST_LABELS for each in arms):
        return None
    chances = bandits.best_of_means([each.value for each in arms], [each.error for each in arms])
    return tuple(float(each) for each in bandits.floored(chances, plan.floor))


def _until(arrived: Floats, moment: float) -> Floats:
    """What was not there yet at the moment is none."""
    return np.asarray(np.where(arrived <= moment, arrived, math.nan))


def _compared(plan: Plan, rows: Exposed, usable: NDArray[np.intp], name: str, paired: bool) -> Compared:
    """The rows that count. Rows of one request were dealt together, so exact are only those that came alone."""
    unit = rows.unit[usable]
    alone = plan.metric.kind in ("proportion", "mean") and len(np.unique(unit)) == len(unit)
    return Compared(
        values=rows.values[name][usable],
        second=rows.second[usable],
        share=rows.share[usable],
        unit=unit,
        units=plan.rows / plan.rows_a_unit,
        spread=plan.spread,
        alpha=plan.alpha,
        first_share=plan.arms[-1].share,
        paired=paired,
        exact=alone and not paired and name == plan.metric.name,
    )


def _dealt(plan: Plan, rows: Exposed, order: cohorts.Cohort) -> tuple[Warrant, ...]:
    """Whether chance dealt rows as it was told to, and labels came alike in both arms."""
    total, labels, planned = 0.0, 0.0, plan.rows / plan.rows_a_unit
    counts = np.zeros(2, dtype=int)
    for share in np.unique(rows.share):
        claimed = [1.0 - share, share]
        seen = _counts(rows, rows.share == share)
        counts += seen
        total += float(mixtures.off_shares(seen, claimed, planned, UNFAIR))
        here = (rows.share == share) & order.due
        came, missing = (_counts(rows, here, which) for which in (order.in_time, ~order.in_time))
        labels += float(mixtures.off_coverage(came, missing, claimed, planned))
    even = _chance(total)
    told = f"{counts[1]:,} of {counts.sum():,} {_named(plan)} went to version {plan.arms[-1].version}"
    dealt = Warrant(name="sample ratio", holds=even > UNFAIR, chance=even, text=told)
    return dealt, _coverage(plan, rows, order, _chance(labels))


def _labels(plan: Plan, rows: Exposed, order: cohorts.Cohort) -> tuple[Warrant, ...]:
    """Of a shadow both answers share a label, so labels cannot come apart: what it covers is told."""
    return (_coverage(plan, rows, order, 1.0),)


def _coverage(plan: Plan, rows: Exposed, order: cohorts.Cohort, chance: float) -> Warrant:
    due, came = order.due, order.in_time
    parts = []
    for arm, who in zip(plan.arms, (~rows.second, rows.second), strict=True):
        part = int((due & who).sum())
        parts += [f"{(came & who).sum() / part:.1%} of version {arm.version}"] if part else []
    text = f"rows that had their time and have a value: {', '.join(parts) or 'none yet'}"
    return Warrant(name="label coverage", holds=chance > UNFAIR, chance=chance, text=text)


def _copied(rows: Exposed, due: NDArray[np.bool_]) -> Warrant:
    """Whether the shadow's log is whole: a copy is lost where it was too slow, and that is no chance."""
    number, lost = int(due.sum()), int((rows.lost & due).sum())
    holds = lost <= BAD * number
    return Warrant(name="copies", holds=holds, chance=1.0, text=f"{lost:,} of {number:,} rows have no copy")


def _counts(rows: Exposed, here: NDArray[np.bool_], which: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """How many units were dealt to each arm: each by its first row ``here``, if that is ``which``."""
    places = np.flatnonzero(here)
    _, first = np.unique(rows.unit[places], return_index=True)
    chosen = places[first] if which is None else places[first][which[places[first]]]
    return np.bincount(rows.second[chosen].astype(int), minlength=2)


def _guarded(plan: Plan, rows: Exposed, usable: NDArray[np.intp], rail: Guardrail, paired: bool) -> Warrant:
    second = np.ones(rows.rows, dtype=bool) if paired else rows.second
    share, planned = plan.arms[-1].share, plan.rows / plan.rows_a_unit
    if rail.kind == "margin":
        return _margin(plan, rows, usable, rail, paired)
    happened = rows.events[rail.name]
    hits, units = _weighed(rows.unit[second], happened[second])
    if rail.kind == "rate":
        chance = _chance(float(mixtures.above(hits, units, rail.limit, planned * share, plan.alpha)))
        text = f"{rail.name}: {int(happened[second].sum()):,} of {int(second.sum()):,} rows, at most {rail.limit:.2%}"
    else:
        others, _ = _weighed(rows.unit[~second], happened[~second])
        sizes = max(1.0, planned * BAD)
        found = mixtures.above_other(hits, others, share, sizes, times=rail.limit, alpha=plan.alpha)
        chance = _chance(float(found))
        text = f"{rail.name}: {hits:,} beside {others:,} of the champion, at most {rail.limit:g} times its share"
    return Warrant(name=rail.name, holds=chance > plan.alpha, chance=chance, text=text)


def _weighed(unit: NDArray[np.intp], happened: NDArray[np.bool_]) -> tuple[int, int]:
    """How many units, each as the share of its rows to which it happened: rows of one request have one cause."""
    if not len(unit):
        return 0, 0
    hits, rows = sequences.by_entity(unit, happened.astype(float), np.ones(len(unit)))
    return math.floor(float((hits / rows).sum())), len(rows)


def _margin(plan: Plan, rows: Exposed, usable: NDArray[np.intp], rail: Guardrail, paired: bool) -> Warrant:
    name, up = rail.name, rail.better == "up"
    found = replace(_compared(plan, rows, usable, name, paired), exact=False)
    interval = found.interval(len(found.values))
    limit = -rail.limit if up else rail.limit
    worse = interval.value < limit if up else interval.value > limit
    chance = _chance(found.evidence(limit)) if worse else 1.0
    text = f"{name}: {_said(interval.value)} beside the champion, at most {rail.limit:g} worse"
    return Warrant(name=name, holds=chance > plan.alpha, chance=chance, text=text)


def _rows_left(plan: Plan, main: Compared, interval: Interval, paired: bool) -> int | None:
    """Rows till it will likely be known: of a difference as seen so far, or none of the least that matters."""
    noise = main.noise
    if noise is None:
        return plan.likely_rows
    planned = main.units
    needed = planning.narrow(plan.effect, noise, planned, plan.alpha)
    if math.isfinite(interval.value) and interval.value:
        needed = min(needed, planning.likely(interval.value, noise, planned, plan.alpha))
    had = len(np.unique(main.unit))
    left = (needed - had) * len(main.unit) / max(had, 1)
    return max(1, math.ceil(left)) if math.isfinite(left) else None


def _a_day(plan: Plan, interval: Interval) -> Difference | None:
    if plan.metric.name != VALUE or plan.rows_a_day <= 0:
        return None
    return _difference(sequences.scaled(interval, plan.rows_a_day), plan.metric.unit)


def _arms(plan: Plan, rows: Exposed, order: cohorts.Cohort, paired: bool) -> tuple[Share, ...]:
    counts = np.zeros(rows.rows, dtype=bool)
    counts[order.usable] = True
    found = []
    for arm, who in zip(plan.arms, (~rows.second, rows.second), strict=True):
        own = np.ones(rows.rows, dtype=bool) if paired else who
        values = rows.values[plan.metric.name][counts & own]
        mean = None if paired or not len(values) else float(values.mean())
        share = arm.share
        if not paired and rows.rows:
            last = float(rows.share[-1])
            share = last if arm is plan.arms[-1] else 1.0 - last
        found.append(
            Share(
                version=arm.version,
                share=share,
                rows=int(own.sum()),
                due=int((order.due & own).sum()),
                labelled=int((counts & own).sum()),
                value=None if mean is None else Difference(value=mean, low=None, high=None, unit=plan.metric.unit),
            )
        )
    return tuple(found)


def _regret(plan: Plan, main: Compared) -> Difference | None:
    if len(main.values) < 2:
        return None
    sign = 1.0 if plan.metric.better == "up" else -1.0
    chances = np.stack([1.0 - main.share, main.share], axis=1)
    lost = bandits.regret(sign * main.values, main.second.astype(int), chances).lost
    return _difference(sequences.sequence(lost, main.units, plan.alpha), plan.metric.unit)


def _difference(interval: Interval, unit: str) -> Difference:
    value, low, high = (float(each) if math.isfinite(each) else None for each in interval)
    return Difference(value=value, low=low, high=high, unit=unit)


def _chance(evidence: float) -> float:
    return min(1.0, math.exp(-evidence)) if evidence > 0 else 1.0


def _named(plan: Plan) -> str:
    return "entities" if plan.metric.entity else "requests"


def _said(value: float) -> str:
    return f"{value:+.4g}" if math.isfinite(value) else "nothing known"
