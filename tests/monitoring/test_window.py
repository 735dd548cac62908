"""What a stretch of counts says: drift against the budget, verdicts, and what the monitor assumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fullcircle.monitoring import alarms as policy
from fullcircle.monitoring.batches import Batch, of_rows
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.profiles import profile
from fullcircle.monitoring.window import report
from fullcircle.types.contract import Contract, Verdict
from fullcircle.types.monitoring import Alarm, Evidence, Profile
from fullcircle.types.prediction import Prediction
from fullcircle.types.project import Monitor
from fullcircle.types.report import Finding, Report
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions

YEARLY = Monitor(false_alerts="1 per year", window="7d")


@pytest.fixture(scope="module")
def reference() -> Profile:
    frame = patients(np.random.default_rng(7), 600)
    return profile(frame, answers(frame), CONTRACT, metric="mae", value=10.0, low=9.5, high=10.5)


def _judged(
    logged: Sequence[Prediction], reference: Profile, contract: Contract = CONTRACT, steps: int = 3
) -> tuple[Report, tuple[Alarm, ...], tuple[Evidence, ...]]:
    """The same rows week after week, until the detectors have seen them ``steps`` times."""
    watch, batch = Watch(reference, YEARLY), of_rows(reference, contract, logged)
    alarms: tuple[Alarm, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    for week in range(steps):
        evidence = watch.step(batch, Batch.empty(reference.outcomes))
        at = f"2026-11-{2 + 7 * week:02d}T00:00:00.000000Z"
        alarms = policy.follow(alarms, evidence, at=at, model="patients", version=3, monitor=YEARLY).alarms
    told = report(
        reference,
        contract,
        YEARLY,
        subject="patients version 3, week 45",
        batch=batch,
        evidence=evidence,
        alarms=alarms,
        verdicts=Counter(row.verdict.status for row in logged),
        faults=Counter(f"{fault.column}\n{fault.reason}" for row in logged for fault in row.verdict.problems),
        notes=watch.notes,
    )
    return told, alarms, evidence


def _finding(told: Report, code: str) -> Finding:
    (finding,) = (each for each in told.findings if each.code == code)
    return finding


def _window(n: int = 300, seed: int = 8) -> pd.DataFrame:
    return patients(np.random.default_rng(seed), n)


def test_the_same_patients_are_quiet_and_the_budget_is_said(reference: Profile) -> None:
    told, alarms, evidence = _judged(predictions(_window()), reference, steps=1)
    assert alarms == ()
    drift = _finding(told, "M001")
    assert drift.severity == "good"
    assert drift.text.startswith("No evidence of drift beyond a budget of 1 per year")
    (said,) = (each for each in evidence if each.kind == "drift")
    assert f"drift {said.level:.2f} of {said.threshold:.2f}" in drift.text
    assert said.level < said.threshold
    assert told.rows == 300
    assert told.subject == "patients version 3, week 45"


def test_the_wrong_unit_is_found_and_named(reference: Profile) -> None:
    """bmi times ten: the answers move with it, and the verdicts because it is outside its range."""
    frame = _window()
    frame["bmi"] *= 10
    told, alarms, _ = _judged(predictions(frame), reference)
    (alarm,) = (each for each in alarms if each.kind == "drift")
    assert "bmi" in {suspect.feature for suspect in alarm.suspects}
    assert not {"children", "sex", "smoker", "note"} & {suspect.feature for suspect in alarm.suspects}
    drift = _finding(told, "M001")
    assert drift.severity == "warning"
    assert alarm.text in drift.text
    far = {each.group: each.value for each in drift.measures if each.name == "js_distance"}
    assert (far["bmi"] or 0) > 0.7
    assert (far["children"] or 0) < 0.02
    assert len(drift.charts) == 2
    assert _finding(told, "M002").table[0] == {"column": "bmi", "problem": "outside", "rows": 300}


def test_rejected_rows_count_in_the_verdicts_only(reference: Profile) -> None:
    frame = _window()
    frame["children"] = frame["children"].astype(object)
    frame.loc[:49, "children"] = "many"
    told, _, _ = _judged(predictions(frame), reference, steps=1)
    verdicts = _finding(told, "M002")
    assert {each.group: each.value for each in verdicts.measures} == {"ok": 250.0, "rejected": 50.0}
    assert "children (wrong_type: 50)" in verdicts.text
    counted = {each.group: each.n for each in _finding(told, "M001").measures if each.name == "js_distance"}
    assert counted["verdict"] == 300
    assert counted["bmi"] == 250


def test_a_window_of_rejections_is_an_alarm(reference: Profile) -> None:
    """A broken feed: nothing is answered, so there is nothing else that could move."""
    logged = [Prediction(value=None, verdict=Verdict(status="rejected"), id=f"r-{n}") for n in range(40)]
    told, alarms, _ = _judged(logged, reference)
    (alarm,) = alarms
    assert [suspect.feature for suspect in alarm.suspects] == ["verdict"]
    assert _finding(told, "M001").severity == "warning"


def test_a_private_column_is_not_watched_and_that_is_said() -> None:
    """The server keeps its values out of the log; that they are not there is no alarm."""
    private = replace(CONTRACT, columns=(*CONTRACT.columns[:2], replace(CONTRACT.columns[2], private=True)))
    known = patients(np.random.default_rng(7), 600)
    frozen = profile(known, answers(known), private)
    logged = [
        replace(each, inputs={name: value for name, value in (each.inputs or {}).items() if name != "sex"})
        for each in predictions(_window(), private)
    ]
    told, alarms, _ = _judged(logged, frozen, private)
    assert alarms == ()
    drift = _finding(told, "M001")
    assert drift.text.endswith(" Not watched, because private: sex.")
    assert "sex" not in {each.group for each in drift.measures}


def test_an_empty_stretch_says_that_it_cannot_tell(reference: Profile) -> None:
    told, alarms, _ = _judged([], reference)
    assert alarms == ()
    assert told.rows == 0
    assert _finding(told, "M001").text.startswith("Cannot tell yet")
    assert _finding(told, "M001").severity == "info"
    assert _finding(told, "M002").text == "Of 0 rows: none."


def test_what_is_assumed_comes_last_and_others_findings_before_it(reference: Profile) -> None:
    told, _, _ = _judged(predictions(_window(60)), reference, steps=1)
    assert [each.code for each in told.findings] == ["M001", "M002", "M006"]
    assert "independent" in _finding(told, "M006").text
    other = Finding(check="quality", code="M003", title="Quality", severity="info", text="none yet")
    batch = of_rows(reference, CONTRACT, [])
    more = report(
        reference,
        CONTRACT,
        YEARLY,
        subject="w",
        batch=batch,
        evidence=(),
        alarms=(),
        verdicts={},
        faults={},
        findings=[other],
        notes=["It assumes."],
    )
    assert [each.code for each in more.findings] == ["M001", "M002", "M003", "M006"]


def test_an_alarm_of_harm_or_one_that_is_over_is_no_drift(reference: Profile) -> None:
    frame = _window()
    frame["bmi"] *= 10
    logged = predictions(frame)
    _, alarms, evidence = _judged(logged, reference)
    (drift,) = alarms
    for other in (replace(drift, kind="risk"), replace(drift, state="resolved")):
        told = report(
            reference,
            CONTRACT,
            YEARLY,
            subject="w",
            batch=of_rows(reference, CONTRACT, logged),
            evidence=evidence,
            alarms=[other],
            verdicts={"ok": 300},
            faults={},
        )
        assert _finding(told, "M001").severity == "good"
