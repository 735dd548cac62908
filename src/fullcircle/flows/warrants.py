"""What must hold for an experiment to be believed: rows were dealt, and labels came, as chance deals them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows.experiment_words import days
from fullcircle.flows.exposed import Exposed
from fullcircle.flows.quality import FEWEST_LABELS
from fullcircle.stats import cohorts, mixtures
from fullcircle.types.experiments import Plan, Warrant
from fullcircle.types.splits import BAD

UNFAIR = 0.01
"""The chance with which rows that were dealt fairly are called unfair, for each of the two ways to see it."""


def dealt(plan: Plan, rows: Exposed, order: cohorts.Cohort) -> tuple[Warrant, ...]:
    """Whether chance dealt rows as it was told to, and labels came alike in both arms."""
    total, labels, planned = 0.0, 0.0, plan.rows / plan.rows_a_unit
    counts = np.zeros(2, dtype=int)
    for share in np.unique(rows.share):
        claimed = [1.0 - share, share]
        seen = _counts(rows, rows.share == share)
        counts += seen
        total += float(mixtures.off_shares(seen, claimed, planned, UNFAIR))
        labels += _uneven(plan, rows, order, rows.share == share, claimed)
    even = chance_of(total)
    told = f"{counts[1]:,} of {counts.sum():,} {_named(plan, rows)} went to version {plan.arms[-1].version}"
    even_handed = Warrant(name="sample ratio", holds=even > UNFAIR, chance=even, text=told)
    return even_handed, _coverage(plan, rows, order, chance_of(labels))


def paired(plan: Plan, rows: Exposed, order: cohorts.Cohort) -> tuple[Warrant, ...]:
    """Of a shadow both answers share a label, so labels cannot come apart: what it covers is told."""
    return _copied(rows, order.due), _coverage(plan, rows, order, 1.0)


def _uneven(
    plan: Plan, rows: Exposed, order: cohorts.Cohort, here: NDArray[np.bool_], claimed: Sequence[float]
) -> float:
    """Evidence that labels did not come alike in both arms, of the rows ``here``.

    Each unit that comes to count was dealt by the shares, if whether and when its label came had nothing to do with
    the arm: that is asked however late labels are. So was each that had none in its time; what its time is somebody
    has to know.
    """
    given, planned = _counts(rows, counted(rows, order) & here), plan.rows / plan.rows_a_unit
    if not plan.label_delay_days:
        return float(mixtures.off_shares(given, claimed, planned, UNFAIR))
    missing = _counts(rows, here & order.due, ~order.in_time)
    return float(mixtures.off_coverage(given, missing, claimed, planned))


def _coverage(plan: Plan, rows: Exposed, order: cohorts.Cohort, chance: float) -> Warrant:
    """What share of the rows got a value within the planned time, where that can be said."""
    counts, came = counted(rows, order), order.in_time
    known, late = int(counts.sum()), int((counts & ~came).sum())
    if not plan.label_delay_days:
        told, had = "with a value so far, as nobody knows how long labels take: ", counts
    elif known >= FEWEST_LABELS and late > known / 2:  # what came in time tells nothing of what will come
        short = f"{late:,} of {known:,} values came after the {days(plan.label_delay_days)} of the plan"
        told = f"{short}, too short a time (say label_delay in the project, and begin again); with a value so far: "
        had = counts
    else:
        told, had = "rows that had their time and got a value within it: ", came
    parts = []
    for arm, who in zip(plan.arms, (~rows.second, rows.second), strict=True):
        part = int((order.due & who).sum())
        parts += [f"{(had & who).sum() / part:.1%} of version {arm.version}"] if part else []
    text = f"{told}{', '.join(parts) or 'none yet'}"
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


def _named(plan: Plan, rows: Exposed) -> str:
    if not plan.metric.entity:
        return "requests"
    return "entities, and requests without one," if rows.loose.any() else "entities"


def counted(rows: Exposed, order: cohorts.Cohort) -> NDArray[np.bool_]:
    """Which rows count."""
    found = np.zeros(rows.rows, dtype=bool)
    found[order.usable] = True
    return found


def chance_of(evidence: float) -> float:
    """The always-valid p-value of an e-value, given as its logarithm."""
    return min(1.0, math.exp(-evidence)) if evidence > 0 else 1.0
