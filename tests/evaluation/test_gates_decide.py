"""Gates on reports of real checks: every kind finds its measure, by groups too, and decides on its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import subjects
from fullcircle.evaluation.check import Subject
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, size, worth
from fullcircle.types.report import GateVerdict, Report

CHECKS = ("quality", "fairness", "value", "operations")


def _earned(actual: Any, predicted: Any) -> Any:
    return 10.0 - np.abs(actual - predicted)


def _with_sex(subject: Subject, gates: Sequence[Gate], small: int = 0) -> Subject:
    """The subject with two more columns; ``small`` rows are of a third sex."""
    sex = np.where(np.arange(subject.rows) % 2 == 0, "female", "male").astype(object)
    sex[:small] = "other"
    return replace(subject, frame=subject.frame.assign(sex=sex), gates=tuple(gates))


def _report(gates: Sequence[Gate], *, small: int = 0, champion: float | None = None, rows: int = 300) -> Report:
    subject = _with_sex(subjects.regression(rows), gates, small)
    if champion is not None:
        worse = subject.predicted + champion * np.random.default_rng(5).normal(size=subject.rows)
        subject = replace(subject, champion=worse)
    return evaluate(subject, checks=CHECKS)


def _answers(report: Report) -> dict[str, bool]:
    return {verdict.gate: verdict.passed for verdict in report.gates}


KINDS: tuple[Gate, ...] = (
    at_most("mae", 1.2),
    at_least("r2", 0.5),
    at_most("bias", 0.5),
    beats("baseline"),
    fair("sex", "mae", 1.0),
    fair(["sex", "group"], "mae", 1.5),
    worth(_earned, 5.0),
    latency("1s"),
    size("1MB"),
    at_most("mae", 1.5, by="sex"),
    at_least("r2", 0.5, by=("sex", "group")),
    beats("champion", by="sex"),
)


@pytest.fixture(scope="module")
def passed() -> Report:
    return _report(KINDS)


@pytest.mark.parametrize("gate", KINDS, ids=lambda gate: gate.text)
def test_every_kind_finds_its_measure_and_passes_where_the_model_is_good(passed: Report, gate: Gate) -> None:
    (verdict,) = [verdict for verdict in passed.gates if verdict.gate == gate.text]
    assert verdict.passed, verdict.reason
    assert "must be" in verdict.reason


STRICT: tuple[Gate, ...] = (
    at_most("mae", 0.1),
    at_least("r2", 0.99),
    at_most("bias", 0.0),
    fair("sex", "mae", 0.0),
    worth(_earned, 9.9),
    latency("0.00001ms"),
    size("1kB"),
    at_most("mae", 0.1, by="sex"),
    at_least("r2", 0.99, by=("sex", "group")),
)


def test_every_kind_says_no_where_the_limit_is_too_strict() -> None:
    report = _report(STRICT)
    assert _answers(report) == {gate.text: False for gate in STRICT}
    assert all("must be" in verdict.reason for verdict in report.gates)
    assert not report.passed


def _of(report: Report, gate: Gate) -> GateVerdict:
    (verdict,) = [verdict for verdict in report.gates if verdict.gate == gate.text]
    return verdict


def test_between_value_and_bound_more_rows_decide() -> None:
    """With the same limit above the value the gate says no on few rows and yes on many."""
    gate = at_most("mae", 0.85)  # the error is normal with deviation 1: its mean size is 0.8
    few = _of(_report([gate], rows=40), gate)
    assert not few.passed
    assert "its interval does not: more rows would tell" in few.reason
    many = _of(_report([gate], rows=20_000), gate)
    assert many.passed, many.reason


def test_a_group_too_small_fails_unless_it_is_acknowledged() -> None:
    gates = (
        at_most("mae", 2.0, by="sex"),
        fair("sex", "mae", 2.0),
        fair("sex", "bias", 2.0, without=["other"]),
    )
    report = _report(gates, small=7)
    by_group, gap, without = (_of(report, gate) for gate in gates)
    assert not by_group.passed
    assert "sex=other" in by_group.reason
    assert "7 rows" in by_group.reason
    assert not gap.passed
    assert "other" in gap.reason
    assert without.passed, without.reason


def test_the_champion_is_beaten_or_not_on_average_and_for_all() -> None:
    gates = (beats(), beats(by="sex"), beats(margin=10.0))
    assert _answers(_report(gates, champion=3.0)) == dict.fromkeys([gate.text for gate in gates], True)
    same = _report(gates, champion=0.0)
    assert _answers(same) == {gates[0].text: False, gates[1].text: False, gates[2].text: True}


def test_better_on_average_and_worse_for_some_is_told() -> None:
    gates = (beats(), beats(by="sex"))
    subject = _with_sex(subjects.regression(400), gates)
    men = (subject.frame["sex"] == "male").to_numpy()
    off = np.random.default_rng(5).normal(size=subject.rows)
    champion = np.where(men, subject.actual + 0.1 * off, subject.actual + 9.0 * off)
    report = evaluate(replace(subject, champion=champion), checks=CHECKS)
    assert _answers(report) == {gates[0].text: True, gates[1].text: False}
    reason = _of(report, gates[1]).reason
    assert "improvement over the champion for sex=male is -" in reason
    assert "sex=female" not in reason
    assert "worse beyond chance" in reason


def test_classes_have_their_gates() -> None:
    gates = (
        at_least("accuracy", 0.6),
        at_most("log_loss", 0.69),
        fair("sex", "equalized_odds", 0.6),
        fair("sex", "selection_rate", 0.5),
        worth(matrix={("yes", "yes"): 10.0, ("no", "yes"): -1.0}, at_least=0.5),
        beats(),
    )
    report = evaluate(_with_sex(subjects.classification(400), gates), checks=CHECKS)
    assert all(verdict.passed for verdict in report.gates), report.gates


def test_a_check_that_did_not_run_fails_the_gates_that_need_it() -> None:
    gates = (at_most("mae", 1.5), fair("sex", "mae", 1.0), worth(_earned), latency("1s"), size("1MB"))
    report = evaluate(_with_sex(subjects.regression(200), gates), checks=("quality",))
    assert list(_answers(report).values()) == [True, False, False, False, False]
    assert all("is not in the report" in verdict.reason for verdict in report.gates[1:])
