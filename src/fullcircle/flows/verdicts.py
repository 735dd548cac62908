"""The verdict of an experiment from its rows and its plan: the mathematics of docs/experiments.md, put together.

All of it may be asked at any time and as often as one likes. The chance that it is ever wrong is the plan's alpha.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows import warrants
from fullcircle.flows.compared import Compared, by_metric, compared, counting, too_few
from fullcircle.flows.exposed import Exposed, Floats
from fullcircle.flows.quality import FEWEST_LABELS, VALUE
from fullcircle.flows.warrants import chance_of, counted
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

LOOKS = 60
_DAY = 86_400.0


def verdict(plan: Plan, rows: Exposed, moment: float, paired: bool) -> Verdict:
    """What is known at a ``moment`` (seconds since 1970)."""
    order = cohorts.cohort(rows.at, _until(rows.arrived, moment), moment, plan.label_delay_days * _DAY)
    main = compared(plan, rows, order.usable, paired)
    interval = main.interval(len(main.values))
    standing = planning.standing(interval, plan.effect, up=plan.metric.better == "up")
    trust = warrants.paired(plan, rows, order) if paired else warrants.dealt(plan, rows, order)
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
        chance=chance_of(main.evidence()),
        a_day=_a_day(plan, interval),
        arms=_arms(plan, rows, order, main),
        trust=trust,
        guardrails=rails,
        rows_left=left,
        days_left=None if left is None or a_day <= 0 else left / a_day,
        regret=None if plan.floor is None else _regret(plan, main),
        entities=len(np.unique(rows.unit[~rows.loose])) if plan.metric.entity else None,
        loose=int(rows.loose.sum()),
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


def _guarded(plan: Plan, rows: Exposed, usable: NDArray[np.intp], rail: Guardrail, paired: bool) -> Warrant:
    second = ~rows.lost if paired else rows.second
    share, planned = plan.arms[-1].share, plan.rows / plan.rows_a_unit
    if rail.kind == "margin":
        return _margin(plan, rows, usable, rail, paired)
    happened = rows.events[rail.name]
    told = f"{rail.name}: {int(happened[second].sum()):,} of {int(second.sum()):,} rows"
    if rail.kind == "rate":
        hits, units = _weighed(rows, happened, second)
        chance = chance_of(float(mixtures.above(hits, units, rail.limit, planned * share, plan.alpha)))
        text = f"{told}, at most {rail.limit:.2%}"
    else:
        total = 0.0
        for one in np.unique(rows.share):  # evidence of each share that was in force, of which e-values multiply
            hits, others = (_weighed(rows, happened, who & (rows.share == one))[0] for who in (second, ~second))
            sizes = max(1.0, planned * BAD)
            total += float(mixtures.above_other(hits, others, one, sizes, times=rail.limit, alpha=plan.alpha))
        chance = chance_of(total)
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
    chance = chance_of(found.evidence(limit)) if worse else 1.0
    text = f"{name}: {_said(interval.value)} beside the champion, at most {rail.limit:g} worse"
    return Warrant(name=name, holds=chance > plan.alpha, chance=chance, text=text)


def _rows_left(plan: Plan, main: Compared, interval: Interval, rows: int) -> int | None:
    """Rows till it will likely be known: that there is a difference as seen so far, or none that would matter.

    ``rows`` are those that count so far, several of a unit where they came together.
    """
    noise, had = main.noise, len(np.unique(main.unit))
    if plan.metric.entity and too_few(had, rows):
        return None
    if noise is None:
        return plan.likely_rows
    planned, seen = main.units, interval.value if math.isfinite(interval.value) else 0.0
    half = (interval.high - interval.low) / 2
    if had >= FEWEST_LABELS and 0.0 < half < math.inf:  # the bounds themselves say how wide they are, and around what
        noise, seen = planning.as_wide(noise, half, had, planned, plan.alpha), (interval.low + interval.high) / 2
    needed = planning.narrow(plan.effect, noise, planned, plan.alpha, seen)
    needed = min(needed, planning.likely(seen, noise, planned, plan.alpha))
    left = (needed - had) * rows / max(had, 1)
    return max(1, math.ceil(left)) if math.isfinite(left) else None


def _a_day(plan: Plan, interval: Interval) -> Difference | None:
    if plan.metric.name != VALUE or plan.rows_a_day <= 0:
        return None
    return _difference(sequences.scaled(interval, plan.rows_a_day), plan.metric.unit)


def _arms(plan: Plan, rows: Exposed, order: cohorts.Cohort, main: Compared) -> tuple[Share, ...]:
    counts, found = counted(rows, order), []
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


def _said(value: float) -> str:
    return f"{value:+.4g}" if math.isfinite(value) else "nothing known"
