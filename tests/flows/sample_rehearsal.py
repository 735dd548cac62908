"""A story of a rehearsal, as its page tells it: hired bikes over 17 months, growing demand, one unit mistake.

Made of nouns alone. The shipped loop retrains twice, holds a week of wrong units, and takes one bad version back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from fullcircle.types.loop import (
    Changed,
    Difference,
    Played,
    Policy,
    Quarantined,
    Rehearsal,
    Replayed,
    Step,
    Told,
    Trigger,
    Worth,
)
from fullcircle.types.monitoring import Alarm, Decision

FIRST = datetime(2011, 8, 1, tzinfo=UTC)
ROWS, COST = 168, 50.0
WEEKS = 74


def utc(days: float) -> str:
    """A time so many days after the first."""
    return (FIRST + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def worth(per_row: float, *, measured: bool, unit: str = "EUR", **changes: Any) -> Worth:
    """The sums of a decision."""
    half = 0.19 if measured else 0.4
    text = f"{'measured' if measured else 'expected at most'} {per_row * 720 - COST - 3:+.4g} {unit} in 30 d"
    made = Worth(
        unit=unit,
        horizon="30d",
        rows=720.0,
        per_row=per_row,
        low=per_row - half,
        high=per_row + half,
        cost=COST,
        risk=3.0,
        measured=measured,
        text=text,
    )
    return replace(made, **changes)


def difference(better: float, on: str = "fresh", **changes: Any) -> Difference:
    """Challenger beside champion."""
    made = Difference(
        on="fresh" if on == "fresh" else "frozen",
        metric="mae",
        rows=412 if on == "fresh" else 900,
        champion=61.2,
        challenger=61.2 - better,
        difference=better,
        low=better - 4.1,
        high=better + 4.1,
        allowed=0.0 if on == "fresh" else 2.5,
        passed=better > -2.5,
        text=f"{better:+.3g} of mae on {on} rows",
    )
    return replace(made, **changes)


def alarm(number: int, days: float, until: float | None = None, **changes: Any) -> Alarm:
    """Realised harm, a page."""
    made = Alarm(
        id=f"bike-demand-1-risk-{number}",
        model="bike-demand",
        version=1,
        kind="risk",
        severity="page",
        state="open" if until is None else "resolved",
        since=utc(days - 14),
        opened=utc(days),
        updated=utc(days),
        resolved="" if until is None else utc(until),
        text="the losses of version 1 grew",
        sure="by chance once in 4 years",
        advice="retrain",
    )
    return replace(made, **changes)


def raised(found: Alarm) -> Told:
    """An alarm as the story tells it."""
    return Told(at=found.opened, kind="alarm", text=found.text, version=found.version, alarm=found)


def promoted(days: float, version: int) -> Told:
    """A retraining that paid."""
    reason = f"fresh rows better by 18.4 (14.3 to 22.5) mae; version {version} takes over"
    step = Step(
        at=utc(days),
        decision=Decision(
            action="promote", model="bike-demand", version=version, previous=version - 1, reason=reason
        ),
        trigger=Trigger(
            cause="harm",
            reason="the losses of the champion grew by 0.05 since 12 September",
            since=utc(days - 20),
            alarms=("bike-demand-1-risk-1",),
        ),
        expected=worth(0.81, measured=False),
        measured=worth(0.62, measured=True),
        quarantine=(Quarantined(rows=14, reason="repeated more often than rows ever were"),),
        differences=(difference(18.4), difference(-6.0, "frozen", passed=False, text="worse on the rows of 2011")),
        labelled=1480,
        learned=1466,
        changed=True,
    )
    return Told(at=utc(days), kind="promote", text=reason, version=version, step=step)


def held(days: float) -> Told:
    """A week of wrong units."""
    reason = "temp looks multiplied by 41: mend it upstream, a new model would learn the mistake"
    step = Step(
        at=utc(days),
        decision=Decision(action="hold", model="bike-demand", version=None, previous=2, reason=reason),
        trigger=Trigger(cause="drift", reason="temp moved by 0.6 bits since 3 April", since=utc(days - 7)),
        expected=worth(0.4, measured=False),
        quarantine=(Quarantined(rows=168, reason="looks multiplied by 41", column="temp", value="9.8 to 39.4"),),
        labelled=610,
    )
    return Told(at=utc(days), kind="hold", text=reason, step=step)


def rolled_back(days: float) -> Told:
    """Realised harm of a new version."""
    reason = "version 3 answers worse than version 2 would have, by 0.02 to 0.05 of loss a row"
    step = Step(
        at=utc(days),
        decision=Decision(action="rollback", model="bike-demand", version=2, previous=3, reason=reason),
        labelled=300,
    )
    return Told(at=utc(days), kind="rollback", text=reason, version=2, step=step)


def story() -> tuple[Told, ...]:
    """What happened under the shipped settings."""
    first, second = alarm(1, 42, 63), alarm(2, 250, 266, kind="drift", severity="ticket", text="temp moved")
    return (
        Told(at=utc(0), kind="start", text="version 1 learned from 5 110 rows", version=1),
        raised(first),
        promoted(49, 2),
        Told(at=utc(63), kind="resolved", text=first.text, version=1, alarm=first),
        raised(second),
        held(252),
        Told(at=utc(266), kind="resolved", text=second.text, version=2, alarm=second),
        promoted(300, 3),
        rolled_back(360),
        promoted(420, 4),
    )


def windows(
    level: Sequence[float], *, days: float = 7.0, money: bool = True, labels: bool = True, version: int = 1
) -> tuple[Played, ...]:
    """Windows with these metrics."""
    return tuple(
        Played(
            since=utc(days * place),
            until=utc(days * (place + 1)),
            rows=int(ROWS * days / 7),
            labelled=int(ROWS * days / 7) if labels else 0,
            version=version + (2 if days * place > 300 else 1 if days * place > 49 else 0),
            metric=each if labels else None,
            value=4.0 - 0.03 * each if money and labels else None,
        )
        for place, each in enumerate(level)
    )


def levels(count: int, seed: int, final: float, jumps: bool) -> list[float]:
    """Errors that grow with demand and the season, and fall where a model is new."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(count):
        share = place / max(1, count - 1)
        season = 8.0 * math.sin(6.0 * math.pi * share)
        grown = final * (share % 0.3 if jumps else share)
        found.append(float(38.0 + season + grown + rng.normal(0, 2.0)))
    return found


def policy(
    name: str, metrics: Sequence[float], *, days: float = 7.0, told: tuple[Told, ...] = (), **changes: Any
) -> Policy:
    """One policy with its figures."""
    money, labels = changes.pop("money", True), changes.pop("labels", True)
    played = windows(metrics, days=days, money=money, labels=labels, version=1)
    trained = changes.get("trained", 0)
    mean = float(np.mean(metrics)) if len(metrics) and labels else None
    earned = sum(each.value * each.rows for each in played if each.value is not None) - COST * trained
    made = Policy(
        name=name,
        windows=played,
        told=told,
        metric=mean,
        value=None if mean is None or not money else 4.0 - 0.03 * mean,
        earned=earned if money and labels else None,
    )
    return replace(made, **changes)


def rehearsal(
    *, count: int = WEEKS, days: float = 7.0, money: bool = True, labels: bool = True, tries: int = 0, **changes: Any
) -> Rehearsal:
    """The whole story."""
    same: dict[str, Any] = {"days": days, "money": money, "labels": labels}
    told = story() if count else ()
    policies = [
        policy(
            "shipped", levels(count, 1, 40.0, True), told=told, trained=4, promoted=3, rolled_back=1, alarms=2, **same
        ),
        policy("never", levels(count, 2, 55.0, False), told=told[:1], alarms=2, **same),
        policy(
            "schedule 30d", levels(count, 3, 44.0, True), told=(told[:1] + told[2:3]), trained=17, promoted=9, **same
        ),
        policy("hindsight", levels(count, 4, 36.0, True), **same),
    ]
    for place in range(tries):
        name = f'retrain.schedule="{7 * (place + 1)}d"'
        changed = {"retrain.schedule": f"{7 * (place + 1)}d"}
        own = levels(count, 9 + place, 38.0 + 2 * place, True)
        policies.append(
            policy(name, own, told=told, changes=changed, trained=4 + place, promoted=3, alarms=2, **same)
        )
    made = Rehearsal(
        model="bike-demand",
        metric="mae",
        higher_is_better=False,
        since=utc(0),
        until=utc(days * max(1, count)),
        first=5110,
        rows=int(ROWS * days / 7) * count,
        seconds=61.4,
        policies=tuple(policies),
        currency="EUR" if money else "",
        verdict=("The loop did at least as well as never retraining and as every 30 days, training 13 times less.",),
        notes=(
            "The answers changed nothing in the world: nobody was refused a bike because of them.",
            "Latency and size were taken as passed.",
        ),
    )
    return replace(made, **changes)


def replayed(**changes: Any) -> Replayed:
    """A month of lending answered again by an older version."""
    made = Replayed(
        model="lender",
        version=3,
        against=(4, 5),
        since=utc(0),
        until=utc(30),
        rows=12400,
        labelled=8100,
        changed=980,
        groups=(
            Changed(
                column="",
                value="",
                rows=12400,
                changed=980,
                before=0.31,
                after=0.34,
                earned_before=71.6,
                earned_after=69.2,
            ),
            Changed(
                column="region",
                value="north",
                rows=5400,
                changed=310,
                before=0.30,
                after=0.31,
                earned_before=75.0,
                earned_after=74.8,
            ),
            Changed(
                column="region",
                value="south",
                rows=7000,
                changed=670,
                before=0.32,
                after=0.36,
                earned_before=None,
                earned_after=None,
            ),
        ),
        verdicts=(("ok", "ok", 12100), ("flagged", "ok", 180), ("rejected", "ok", 80), ("ok", "flagged", 40)),
        differences=(
            difference(
                -0.012,
                metric="roc_auc",
                rows=8100,
                champion=0.81,
                challenger=0.798,
                low=-0.02,
                high=-0.004,
                passed=False,
                text="roc_auc falls by 0.012 (0.004 to 0.02)",
            ),
        ),
        examples=(
            ("01JD0000000000000000000001", "repaid", "default"),
            ("01JD0000000000000000000002", "default", "repaid"),
        ),
        worth=worth(-2.4, measured=True),
        currency="EUR",
        notes=("120 rows hold no private values in the log and were not answered again.",),
    )
    return replace(made, **changes)
