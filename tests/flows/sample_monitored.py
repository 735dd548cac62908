"""A story of a model in production, as its page tells it: a year of weeks, a hot summer, harm in autumn.

Made of nouns alone: a model of hired bikes with labels that come two weeks late. Summer is warmer than the reference
(a ticket that resolved by itself), and from October on the model is wrong by more (a page).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from fullcircle.types.monitoring import (
    Alarm,
    Decision,
    Dependence,
    FeatureProfile,
    Loss,
    Monitored,
    Profile,
    Role,
    Stretch,
    Suspect,
)
from fullcircle.types.report import Measure

FIRST = datetime(2025, 11, 24, tzinfo=UTC)
WEEKS = 52
SUMMER, AUTUMN = range(27, 41), range(45, WEEKS)


def utc(moment: datetime) -> str:
    """A time as the journal has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def week(place: float) -> str:
    """When a week began."""
    return utc(FIRST + timedelta(days=7 * place))


def numbers(
    name: str, low: float, high: float, mean: float, deviation: float, role: Role = "input"
) -> FeatureProfile:
    """A column of numbers in ten bins of equal shares."""
    edges = tuple(float(low + (high - low) * place / 10) for place in range(1, 10))
    return FeatureProfile(
        name=name,
        kind="number",
        counts=(*[868] * 10, 0, 9),
        edges=edges,
        low=low,
        high=high,
        mean=mean,
        deviation=deviation,
        role=role,
    )


def categories(name: str, counted: dict[str, int], role: Role = "input") -> FeatureProfile:
    """A column of categories."""
    return FeatureProfile(
        name=name, kind="category", categories=tuple(counted), counts=(*counted.values(), 0, 0), role=role
    )


STATUSES = {"ok": 8420, "imputed": 40, "flagged": 220, "fallback": 3, "rejected": 6}
COLUMNS = (
    numbers("temp", 0.02, 0.98, 0.49, 0.19),
    numbers("hum", 0.0, 1.0, 0.63, 0.19),
    numbers("windspeed", 0.0, 0.85, 0.19, 0.12),
    numbers("hr", 0, 23, 11.5, 6.9),
    categories("weathersit", {"clear": 5800, "mist": 2150, "rain": 730, "storm": 9}),
    categories("workingday", {"True": 5930, "False": 2759}),
    categories("verdict", STATUSES, "verdict"),
    numbers("prediction", 1, 820, 171, 142, "prediction"),
    numbers("estimated loss", 0, 1, 0.11, 0.07, "estimate"),
)


def reference() -> Profile:
    """The year before."""
    return Profile(
        features=COLUMNS,
        rows=8689,
        metric="mae",
        metric_value=38.2,
        metric_low=37.1,
        metric_high=39.3,
        loss=Loss(name="absolute", scale=420.0),
        dependence=Dependence(seconds=604800.0, batches=52, phases=1, effects={"temp": 19.0, "hum": 7.0}),
    )


def _distance(column: FeatureProfile, place: int, rng: np.random.Generator) -> float:
    season = max(0.0, math.sin(math.pi * (place - 24) / 20)) if 24 <= place <= 44 else 0.0
    far = {"temp": 0.16, "hum": 0.02, "windspeed": 0.012, "prediction": 0.05, "estimated loss": 0.02}
    bits = far.get(column.name, 0.002) * season + (0.04 if column.name == "prediction" and place in AUTUMN else 0.0)
    return float(max(-0.0008, bits + rng.normal(0.0015, 0.0016)))


def _columns(place: int, rng: np.random.Generator) -> list[Measure]:
    found = []
    for column in COLUMNS:
        bits = _distance(column, place, rng)
        figures: dict[str, tuple[float, float | None]] = {
            "js_distance": (bits, 0.004 + 0.1 * abs(bits)),
            "missing": (0.001 + (0.03 if column.name == "hum" and 30 < place < 36 else 0.0), None),
            "unseen": (0.0, None),
            "outside": (0.02 if column.name == "temp" and place in SUMMER else 0.0, None),
        }
        if column.kind == "number" and column.mean is not None and column.deviation is not None:
            way = {"hr": 0.0, "windspeed": -0.3}.get(column.name, 1.0)
            lift = way * 1.2 * math.sqrt(max(0.0, bits)) * column.deviation
            figures["mean"] = (column.mean + lift + float(rng.normal(0, 0.03)) * column.deviation, None)
            figures["deviation"] = (column.deviation, None)
        for name, (value, half) in figures.items():
            low, high = (None, None) if half is None else (max(0.0, value - half), value + half)
            unit = "bits" if name == "js_distance" else ""
            found.append(
                Measure(
                    name=name, value=value, low=low, high=high, n=4000, unit=unit, group=column.name, better="lower"
                )
            )
    return found


def _quality(place: int, rng: np.random.Generator) -> list[Measure]:
    harm = 14.0 if place in AUTUMN else 0.0
    guessed = 38.5 + 0.2 * harm + float(rng.normal(0, 0.7))
    found = [
        Measure(name="estimated_mae", value=guessed, low=guessed - 3.4, high=guessed + 3.4, n=4000, unit="rides"),
        Measure(name="label_coverage", value=0.0, low=0.0, high=0.001, n=4000, unit="share"),
    ]
    if place >= WEEKS - 2:
        return found
    share = 0.55 if place == WEEKS - 3 else 0.97
    mae = 38.4 + harm + float(rng.normal(0, 1.1))
    worth = 2.9 - 0.06 * (mae - 38)
    half = 2.4
    gap = 5.5 + float(rng.normal(0, 0.8)) + 0.3 * harm
    return [
        found[0],
        Measure(name="mae", value=mae, low=mae - half, high=mae + half, n=3900, unit="rides", better="lower"),
        Measure(name="label_coverage", value=share, low=share - 0.01, high=share + 0.01, n=4000, unit="share"),
        Measure(name="label_delay_p50", value=86400 * (9.2 + float(rng.normal(0, 0.4))), n=3900, unit="s"),
        Measure(name="label_delay_p90", value=86400 * (13.1 + float(rng.normal(0, 0.6))), n=3900, unit="s"),
        Measure(name="value_per_row", value=worth, low=worth - 0.15, high=worth + 0.15, n=3900, unit="EUR"),
        Measure(name="fair_gap:workingday:mae", value=gap, low=gap - 3, high=gap + 3, n=3900, unit="rides"),
        Measure(name="mae", value=mae + 0.7 * gap, low=mae - 2, high=mae + 9, n=1200, group="workingday=False"),
        Measure(name="mae", value=mae - 0.3 * gap, low=mae - 6, high=mae + 2, n=2700, group="workingday=True"),
        Measure(name="mae", value=mae * 1.9, low=mae * 1.7, high=mae * 2.1, n=400, group="slice: hr 17 to 18"),
    ]


def _traffic(place: int, rows: int, rng: np.random.Generator) -> list[Measure]:
    mean = 1.9 + float(rng.normal(0, 0.05))
    slow = 7.5 + float(rng.normal(0, 0.6)) + (9.0 if place == 33 else 0.0)
    failed = 3 + (140 if place == 33 else 0)
    share = failed / rows
    buckets = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05)
    place_of = next(number for number, bound in enumerate(buckets) if bound * 1000 >= slow)
    return [
        Measure(name="requests", value=float(rows), n=rows, unit="requests"),
        Measure(name="requests", value=float(rows - failed), n=rows, unit="requests", group="200"),
        Measure(name="requests_failed", value=float(failed), n=rows, unit="requests"),
        Measure(name="requests_refused", value=float(failed), n=rows, unit="requests", group="QueueFull"),
        Measure(name="failed_share", value=share, low=0.8 * share, high=1.2 * share, n=rows),
        Measure(name="failed_share", value=0.1 * share, low=0.0, high=0.3 * share, n=rows, group="5xx"),
        Measure(name="latency_mean", value=mean / 1000, low=mean / 1000, high=mean / 1000, n=rows, unit="s"),
        Measure(
            name="latency_p99",
            value=buckets[place_of],
            low=buckets[place_of - 1],
            high=buckets[place_of],
            n=rows,
            unit="s",
            method="bounds of its bucket",
        ),
        Measure(name="rows_lost", value=0.0, n=rows, unit="rows"),
        Measure(name="busy_share", value=0.05 + 0.00002 * rows, n=rows),
        Measure(name="busiest_share", value=0.22 + 0.00002 * rows, n=rows),
        Measure(name="queue_share", value=0.9 if place == 33 else 0.1, n=rows),
    ]


def stretches() -> tuple[Stretch, ...]:
    """Fifty-two weeks."""
    rng = np.random.default_rng(7)
    found = []
    for place in range(WEEKS):
        rows = int(3000 + 1400 * math.sin(math.pi * place / WEEKS) + rng.integers(0, 300))
        labelled = 0 if place >= WEEKS - 2 else int(rows * (0.55 if place == WEEKS - 3 else 0.97))
        counted = {name: int(rows * count / 8689) for name, count in STATUSES.items()}
        counted["flagged"] += 90 if place in SUMMER else 0
        counted["ok"] = rows - sum(count for name, count in counted.items() if name != "ok")
        found.append(
            Stretch(
                since=week(place),
                until=week(place + 1),
                rows=rows,
                labelled=labelled,
                verdicts=tuple(counted.items()),
                measures=(*_columns(place, rng), *_quality(place, rng), *_traffic(place, rows, rng)),
                levels=_levels(place, rng),
            )
        )
    return tuple(found)


def _levels(place: int, rng: np.random.Generator) -> dict[str, float]:
    drift = 0.08 + 0.1 * max(0, place - 22) if place < 30 else (0.05 if place in SUMMER else 0.12)
    risk = 0.06 if place < 45 else 0.3 * (place - 44)
    return {
        "drift": min(1.08, drift + float(rng.uniform(0, 0.05))),
        "risk": min(1.2, risk + float(rng.uniform(0, 0.05))),
        "estimate": 0.07 + float(rng.uniform(0, 0.06)) + (0.03 * (place - 44) if place in AUTUMN else 0.0),
    }


def harm() -> Alarm:
    """The page of autumn, open."""
    return Alarm(
        id="bike-demand-2-risk-1",
        model="bike-demand",
        version=2,
        kind="risk",
        severity="page",
        state="open",
        since=week(45),
        opened=week(48),
        updated=week(50),
        text="The model is wrong by more than on the reference: mean absolute error 53 rides, 38 on the reference",
        sure="at a budget of 1 false alert a year this happens by chance less than once in 4 years",
        advice="Retrain: fullcircle retrain bike-demand. Until then the previous version can be put back: "
        "fullcircle rollback bike-demand",
        batches=4,
        cost=2350.0,
        currency="EUR",
        suspects=(
            Suspect(
                feature="loss",
                distance=0.021,
                evidence=9.1,
                low=0.015,
                high=0.028,
                text="loss: 22 % of the rows are above 0.3, against 10 % in the reference",
            ),
        ),
    )


def drifts() -> tuple[Alarm, ...]:
    """The ticket of summer, resolved, and one that somebody has seen."""
    hot = Alarm(
        id="bike-demand-2-drift-1",
        model="bike-demand",
        version=2,
        kind="drift",
        severity="ticket",
        state="resolved",
        since=week(27),
        opened=week(30),
        updated=week(41),
        resolved=week(41),
        text="2 columns moved away from the reference: temp, prediction",
        sure="at a budget of 1 false alert a year this happens by chance less than once in 2 years",
        advice="Look whether summer was in the training rows.",
        batches=11,
        suspects=(
            Suspect(
                feature="temp",
                distance=0.151,
                evidence=14.0,
                low=0.14,
                high=0.163,
                text="temp: 31 % of the rows are above 0.79, against 10 % in the reference",
            ),
            Suspect(feature="prediction", distance=0.04, evidence=5.0, certain=False),
        ),
    )
    seen = replace(
        hot,
        id="bike-demand-2-drift-2",
        state="acknowledged",
        since=week(47),
        opened=week(49),
        updated=week(51),
        resolved="",
        acknowledged_by="ada",
        text="1 column moved away from the reference: prediction",
        advice="See the page that is open: the answers and the harm began to move in the same week.",
        batches=3,
        suspects=(
            Suspect(
                feature="prediction",
                distance=0.043,
                evidence=7.2,
                low=0.035,
                high=0.052,
                text="prediction: 17 % of the rows are at most 83, against 10 % in the reference",
                guess="prediction looks divided by 1.2 in a third of the rows",
            ),
        ),
    )
    return hot, seen


def latest() -> dict[str, tuple[int, ...]]:
    """The counts of the last week."""
    rng = np.random.default_rng(3)
    found = {}
    for column in COLUMNS:
        shares = np.array(column.counts, dtype=float) + 1.0
        if column.name == "prediction":
            shares[:3] *= 1.7
        found[column.name] = tuple(int(count) for count in rng.multinomial(3120, shares / shares.sum()))
    return found


def story(**changes: Any) -> Monitored:
    """The whole of it."""
    hot, seen = drifts()
    whole = Monitored(
        model="bike-demand",
        version=2,
        at="2026-11-23T06:00:00.000000Z",
        budget="1 per year",
        reference=reference(),
        stretches=stretches(),
        latest=latest(),
        alarms=(harm(), seen, hot),
        decisions=(
            (
                week(50),
                Decision(
                    action="hold",
                    model="bike-demand",
                    version=2,
                    reason="cooldown of 7d is not over; 3 900 new labelled rows",
                ),
            ),
            (
                week(0),
                Decision(action="promote", model="bike-demand", version=2, previous=1, reason="all gates passed"),
            ),
        ),
        notes=(
            "The rows of a week hang together: as many as 19 of temp tell as much as one independent row.",
            "Seasons are not known: the reference holds one year.",
        ),
        currency="EUR",
        window="7d",
        tolerance={"temp": 0.02},
    )
    return replace(whole, **changes)


def quiet(**changes: Any) -> Monitored:
    """The spring of it: nothing has happened."""
    whole = story()
    return replace(whole, **{"stretches": whole.stretches[:20], "alarms": (), "at": week(20), **changes})


def wide(columns: int, stretches_: Sequence[Stretch] = ()) -> Monitored:
    """A model with very many columns: all have figures in the last week only, the first 60 in every week."""
    whole = story(alarms=())
    names = [f"column {place}" for place in range(columns)]
    features = tuple(replace(COLUMNS[0], name=name) for name in names)
    own = [
        replace(
            each,
            measures=tuple(
                Measure(name=figure, value=0.5 / (1 + place), low=0.0, high=1.0, n=900, group=name)
                for place, name in enumerate(names if number == WEEKS - 1 else names[:60])
                for figure in ("js_distance", "missing", "unseen", "outside", "mean")
            ),
        )
        for number, each in enumerate(stretches_ or whole.stretches)
    ]
    counted = dict.fromkeys(names, whole.latest["temp"])
    return replace(whole, reference=replace(whole.reference, features=features), stretches=tuple(own), latest=counted)
