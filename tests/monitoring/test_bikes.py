"""Real hours of bike sharing: with 2011 as the reference, 2012 is drift as a ticket and growing losses as a page."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from fullcircle.monitoring import alarms as policy
from fullcircle.monitoring.batches import of_labelled, of_rows
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.profiles import profile
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.monitoring import Alarm
from fullcircle.types.prediction import Prediction
from fullcircle.types.project import Monitor

BIKE = Path(os.environ.get("BIKE_HOUR") or Path(__file__).parents[3] / "shared" / "data" / "bike_hour.csv")
FEATURES = ["hr", "workingday", "weathersit", "temp", "hum", "windspeed"]
CONTRACT = Contract(
    columns=tuple(Column(name=name, kind="number", low=-100.0, high=100.0) for name in FEATURES),
    label="cnt",
    task="regression",
    prior=150.0,
)
WEEKLY = Monitor(false_alerts="1 per year", window="7d")


def _hours() -> pd.DataFrame:
    hours = pd.read_csv(BIKE)
    return hours.assign(at=pd.to_datetime(hours["dteday"]) + pd.to_timedelta(hours["hr"], unit="h"))


def _logged(rows: pd.DataFrame, answers: np.ndarray) -> list[Prediction]:
    return [
        Prediction(value=float(value), verdict=Verdict(status="ok"), id=f"p-{place}", inputs=dict(row))
        for place, (row, value) in enumerate(zip(rows[FEATURES].to_dict("records"), answers, strict=True))
    ]


@pytest.mark.skipif(not BIKE.is_file(), reason="no hour.csv of the UCI bike sharing data: set BIKE_HOUR to its path")
def test_drift_is_a_ticket_and_growing_losses_are_a_page() -> None:
    hours = _hours()
    old, new = hours[hours["at"] < "2012-01-01"], hours[hours["at"] >= "2012-01-01"]
    aside = np.random.default_rng(0).random(len(old)) < 0.5
    model = HistGradientBoostingRegressor(random_state=0, max_iter=40).fit(old[~aside][FEATURES], old[~aside]["cnt"])
    known = old[aside]
    answers, labels = model.predict(known[FEATURES]).tolist(), known["cnt"].astype(float).tolist()
    frozen = profile(known[FEATURES], answers, CONTRACT, labels=labels)
    timed = profile(known[FEATURES], answers, CONTRACT, labels=labels, times=known["at"], window="7d")
    assert timed.features == frozen.features
    assert timed.dependence is None, "a year has too few weeks to learn from how they hang together"
    watch, alarms = Watch(timed, WEEKLY), tuple[Alarm, ...]()
    assert watch.notes[0].startswith("cannot calibrate for dependence yet")
    weeks = new.groupby((new["at"] - pd.Timestamp("2012-01-02")).dt.days // 7)
    for week, rows in weeks:
        logged = _logged(rows, model.predict(rows[FEATURES]))
        pairs = list(zip(logged, rows["cnt"].astype(float).tolist(), strict=True))
        counts = of_rows(frozen, CONTRACT, logged), of_labelled(frozen, CONTRACT, pairs)
        at = (pd.Timestamp("2012-01-09") + pd.Timedelta(days=7 * int(week))).isoformat() + "Z"
        evidence = watch.step(*counts)
        alarms = policy.follow(alarms, evidence, at=at, model="bikes", version=1, monitor=WEEKLY).alarms
    first = {alarm.kind: alarm for alarm in reversed(alarms)}
    assert first["drift"].severity == "ticket"
    assert {"temp", "prediction"} & {suspect.feature for suspect in first["drift"].suspects}
    assert first["risk"].severity == "page"
    assert first["risk"].opened < "2012-06", "a growing error is a page within months"
    gone = first["risk"].resolved
    assert not gone or gone > "2012-12-24", "it does not go away before the holidays, when few ride"
