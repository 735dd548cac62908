"""The sums of a replay: the paired difference of the main metric, and what the answers would have earned."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np

from fullcircle.evaluation import earning, metrics
from fullcircle.flows.replayed_counts import Counts, Earn, array
from fullcircle.types.contract import Contract
from fullcircle.types.loop import Difference, Worth

FEWEST_LABELS = 2


def difference(contract: Contract, metric: metrics.Metric, counts: Counts) -> Difference | None:
    """The main metric now less than then, on the labelled rows that both answered and the version has not learned."""
    rows = counts.labelled.things()
    if len(rows) < FEWEST_LABELS:
        return None
    actual, then, now = (array(contract, [row[place] for row in rows]) for place in range(3))
    nothing = (math.nan,) * len(contract.classes)
    shares = [
        None if all(row[place] is None for row in rows) else np.array([row[place] or nothing for row in rows])
        for place in (3, 4)
    ]
    before = metrics.answers(contract.task, actual, then, shares[0], contract.classes)
    after = metrics.answers(contract.task, actual, now, shares[1], contract.classes)
    found = metrics.improvement(metric, after, before)
    if found.value is None:
        return None
    low, high = (math.nan if each is None else each for each in (found.low, found.high))
    return Difference(
        on="fresh",
        metric=metric.name,
        rows=len(rows),
        champion=metric.of(before),
        challenger=metric.of(after),
        difference=found.value,
        low=low,
        high=high,
        allowed=0.0,
        passed=not found.value < 0.0,
        text=_told(metric, found),
    )


def _told(metric: metrics.Metric, found: metrics.Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{metric.name} {found.value:+.4g} in merit ({found.method})"
    sure = "better" if found.low > 0 else "worse" if found.high < 0 else "no difference that is beyond chance"
    return f"{metric.name}: {sure} ({found.value:+.4g} in merit, {found.low:+.4g} to {found.high:+.4g})"


def worth(counts: Counts, earn: Earn | None, currency: str, first: str, last: str) -> Worth | None:
    """What the version would have earned more than what was answered, over the rows that it was asked again."""
    rows = counts.labelled.things()
    if earn is None or len(rows) < FEWEST_LABELS:
        return None
    actual, then, now = (array(counts.contract, [row[place] for row in rows]) for place in range(3))
    gained = earn(actual, now) - earn(actual, then)
    found = earning.measure("gain", gained, None, unit=currency, same=bool((then == now).all()))
    if found.value is None:
        return None
    low, high = (found.value if each is None else each for each in (found.low, found.high))
    days = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 86400
    total = found.value * counts.rows
    text = (
        f"would have earned {total:+,.4g} {currency}".rstrip()
        + f": {found.value:+.3g} a row ({low:+.3g} to {high:+.3g}, on {counts.labelled.given} labelled rows) "
        f"x {counts.rows:,} rows"
    )
    return Worth(
        unit=currency,
        horizon=f"{days:.1f} d",
        rows=float(counts.rows),
        per_row=found.value,
        low=low,
        high=high,
        cost=0.0,
        risk=0.0,
        measured=True,
        text=text,
    )
