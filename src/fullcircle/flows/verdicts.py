"""The verdict of an experiment from its rows and its plan: the mathematics of docs/experiments.md, put together.

All of it may be asked at any time and as often as one likes. The chance that it is ever wrong is the plan's alpha.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows.compared import Compared, by_metric, compared, counting
from fullcircle.flows.exposed import Exposed, Floats
from fullcircle.flows.quality import FEWEST_LABELS, VALUE
from fullcircle.monitoring.grid import iso
from fullcircle.stats import bandits, cohorts, mixtures, planning, sequences
from fullcircle.stats.intervals import Interval
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


def verdict(plan: Plan, rows: Exposed, moment: float, paired: bool) -> Verdict:
    """What is known at a ``moment`` (seconds since 1970)."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = compared(plan, rows, order.usable, paired)
    interval = main.interval(len(main.values))
    standing = planning.standing(interval, plan.effect, up=plan.metric.better == "up")
    trust = (_copied(rows, order.due), *_labels(plan, rows, order)) if paired else _dealt(plan, rows, order)
    rails = tuple(_guarded(plan, rows, order.usable, each, paired) for each in plan.guardrails)
    state: State = "running" if standing == "undecided" else "decided"
    if not all(each.holds for each in trust):
        state, standing = "untrusted", "undecided"
    elif not all(each.holds for each in rails):
        state = "broken"
    left = _rows_left(plan, main, interval, len(order.usable)) if state == "running" else None
    a_day = plan.rows_a_day * plan.valued
    return Verdict(
        version=plan.arms[-1].version,
        standing=standing,
        state=state,
        difference=_difference(interval, plan.metric.unit),
        chance=_chance(main.evidence()),
        a_day=_a_day(plan, interval),
        arms=_arms(plan, rows, order, main),
        trust=trust,
        guardrails=rails,
        rows_left=left,
        days_left=None if left is None or a_day <= 0 else left / a_day,
        regret=None if plan.floor is None else _regret(plan, main),
    )


def looks(plan: Plan, rows: Exposed, moment: float, paired: bool) -> tuple[Look, ...]:
    """What was known at up to 60 earlier moments and at this one, oldest first."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = compared(plan, rows, order.usable, paired)
    counted = np.maximum(rows.arrived, rows.at + plan.label_delay_days * _DAY)[counting(plan, rows, order.usable)]
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
    main = compared(plan, rows, order.usable, False)
    units = [len(np.unique(main.unit[who])) for who in (~main.second, main.second)]
    found = main.estimate
    if plan.floor is None or min(units) < FEWEST_LABELS or not found.error > 0.0:
        return None
    value = found.value if plan.metric.better == "up" else -found.value
    chances = bandits.best_of_means([0.0, value], [found.error * math.sqrt(0.5)] * 2)
    return tuple(float(each) for each in bandits.floored(chances, plan.floor))


def _until(arrived: Floats, moment: float) -> Floats:
    """What was not there yet at the moment is none."""
    return np.asarray(np.where(arrived <= moment, arrived, math.nan))


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
    text = f"rows that had their time and got a value within it: {', '.join(parts) or 'none yet'}"
    return Warrant(name="label coverage", holds=chance > UNFAIR, chance=chance, text=text)


def _copied(rows: Exposed, due: NDArray[np.bool_]) -> Warrant:
    """Whether both answered the same rows: a copy is lost where the shadow was too slow, and what one of them rejects
    is hard. Neither is chance. Before its first copy the shadow was not there yet.
    """
    there = np.flatnonzero(~rows.lost)
    due = due & (np.arange(rows.rows) >= (there[0] if len(there) else 0))
    number, lost, uneven = (int(each.sum()) for each in (due, rows.lost & due, rows.uneven & due))
    text = f"{lost:,} of {number:,} rows have no copy, {uneven:,} a value of one version only"
    return Warrant(name="copies", holds=lost + uneven <= BAD * number, chance=1.0, text=text)


def _counts(rows: Exposed, here: NDArray[np.bool_], which: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """How many units were dealt to each arm: each by its first row ``here``, if that is ``which``."""
    places = np.flatnonzero(here)
    _, first = np.unique(rows.unit[places], return_index=True)
    chosen = places[first] if which is None else places[first][which[places[first]]]
    return np.bincount(rows.second[chosen].astype(int), minlength=2)


def _guarded(plan: Plan, rows: Exposed, usable: NDArray[np.intp], rail: Guardrail, paired: bool) -> Warrant:
    second = ~rows.lost if paired else rows.second
    share, planned = plan.arms[-1].share, plan.rows / plan.rows_a_unit
    if rail.kind == "margin":
        return _margin(plan, rows, usable, rail, paired)
    happened = rows.events[rail.name]
    told = f"{rail.name}: {int(happened[second].sum()):,} of {int(second.sum()):,} rows"
    if rail.kind == "rate":
        hits, units = _weighed(rows, happened, second)
        chance = _chance(float(mixtures.above(hits, units, rail.limit, planned * share, plan.alpha)))
        text = f"{told}, at most {rail.limit:.2%}"
    else:
        total = 0.0
        for one in np.unique(rows.share):  # evidence of each share that was in force, of which e-values multiply
            hits, others = (_weighed(rows, happened, who & (rows.share == one))[0] for who in (second, ~second))
            sizes = max(1.0, planned * BAD)
            total += float(mixtures.above_other(hits, others, one, sizes, times=rail.limit, alpha=plan.alpha))
        chance = _chance(total)
        text = (
            f"{told}, {int(happened[~second].sum()):,} of {int((~second).sum()):,} of the champion, "
            f"at most {rail.limit:g} times as often"
        )
    return Warrant(name=rail.name, holds=chance > plan.alpha, chance=chance, text=text)


def _weighed(rows: Exposed, happened: NDArray[np.bool_], who: NDArray[np.bool_]) -> tuple[float, int]:
    """How many units it was, each as the share of its rows to which it happened, and of how many: rows of one request
    have one cause. Parts of a unit are fair: (q/p)^x is at most 1 + x (q/p - 1) for x from 0 to 1.
    """
    hits, number = sequences.by_entity(rows.unit[who], happened[who], np.ones(int(who.sum())))
    return float((hits / number).sum()), len(number)


def _margin(plan: Plan, rows: Exposed, usable: NDArray[np.intp], rail: Guardrail, paired: bool) -> Warrant:
    name, up = rail.name, rail.better == "up"
    usable = usable[np.isfinite(rows.values[name][usable])]
    found = by_metric(plan, rows, usable, name, paired)
    interval = found.interval(len(found.values))
    limit = -rail.limit if up else rail.limit
    worse = interval.value < limit if up else interval.value > limit
    chance = _chance(found.evidence(limit)) if worse else 1.0
    text = f"{name}: {_said(interval.value)} beside the champion, at most {rail.limit:g} worse"
    return Warrant(name=name, holds=chance > plan.alpha, chance=chance, text=text)


def _rows_left(plan: Plan, main: Compared, interval: Interval, rows: int) -> int | None:
    """Rows till it will likely be known: of a difference as seen so far, or none of the least that matters.

    ``rows`` are those that count so far, several of a unit where they came together.
    """
    noise = main.noise
    if noise is None:
        return plan.likely_rows
    planned = main.units
    needed = planning.narrow(plan.effect, noise, planned, plan.alpha)
    if math.isfinite(interval.value) and interval.value:
        needed = min(needed, planning.likely(interval.value, noise, planned, plan.alpha))
    had = len(np.unique(main.unit))
    left = (needed - had) * rows / max(had, 1)
    return max(1, math.ceil(left)) if math.isfinite(left) else None


def _a_day(plan: Plan, interval: Interval) -> Difference | None:
    if plan.metric.name != VALUE or plan.rows_a_day <= 0:
        return None
    return _difference(sequences.scaled(interval, plan.rows_a_day), plan.metric.unit)


def _arms(plan: Plan, rows: Exposed, order: cohorts.Cohort, main: Compared) -> tuple[Share, ...]:
    counts = np.zeros(rows.rows, dtype=bool)
    counts[order.usable] = True
    found = []
    for arm, which in zip(plan.arms, (False, True), strict=True):
        own = np.ones(rows.rows, dtype=bool) if main.paired else rows.second == which
        values = main.values[main.second == which]
        mean = None if main.paired or not len(values) else float(values.mean())
        share = arm.share
        if not main.paired and rows.rows:
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
    _, first = np.unique(main.unit, return_index=True)
    first.sort()
    if len(first) < 2:
        return None
    sign, share = 1.0 if plan.metric.better == "up" else -1.0, main.share[first]
    chances = np.stack([1.0 - share, share], axis=1)
    lost = bandits.regret(sign * main.values[first], main.second[first].astype(int), chances).lost
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
