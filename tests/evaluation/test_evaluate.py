"""Evaluate on real models: right answers, planted faults found, and clear refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score, mean_absolute_error

import subjects
from fullcircle.errors import ColumnMissing, DataUnfit, PluginUnknown, PredictionInvalid
from fullcircle.evaluation import evaluate as evaluating
from fullcircle.evaluation.check import Subject
from fullcircle.testing.checks import cut
from fullcircle.types.gates import at_least, at_most, beats, fair, latency, size, worth
from fullcircle.types.report import Finding, GateVerdict, Measure, Report

QUICK = ("quality", "fairness", "value", "operations")


def evaluate(subject: Subject, gates: Any = None, *, checks: Any = QUICK, **more: Any) -> Report:
    """With the quick checks where none are named: these tests are about evaluating, not about each check."""
    return evaluating.evaluate(subject, gates, checks=checks, **more)


def _value(report: Report, name: str, group: str = "") -> float:
    found = report.measure(name, group)
    assert found is not None, name
    assert found.value is not None, f"{name}: {found.method}"
    return found.value


def _finding(report: Report, check: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.check == check]
    return found


def _gate(report: Report, text: str) -> GateVerdict:
    (found,) = [gate for gate in report.gates if text in gate.gate]
    return found


def _gain(actual: Any, predicted: Any) -> Any:
    return 2.0 - np.abs(actual - predicted)


def test_a_good_model_passes_all_its_gates() -> None:
    gates = [
        at_most("mae", 1.0),
        beats("champion"),
        fair("group", "mae", 0.5),
        worth(_gain, 0.5),
        latency("100ms"),
        size("1MB"),
    ]
    subject = subjects.regression(gates=gates)
    report = evaluate(subject, gates, checks=(*QUICK, "importance"))
    assert report.passed, [gate for gate in report.gates if not gate.passed]
    assert report.rows == 200
    assert report.notes == ()
    assert [finding.code for finding in report.findings] == ["E001", "E002", "E003", "E004", "E005"]
    assert _value(report, "mae") == pytest.approx(mean_absolute_error(subject.actual, subject.predicted))
    assert _value(report, "value_per_row") == pytest.approx(2.0 - _value(report, "mae"))
    assert _value(report, "improvement_over_baseline") == pytest.approx(
        _value(report, "baseline_mae") - _value(report, "mae")
    )
    assert "no champion yet" in _gate(report, "beats").reason
    assert _value(report, "model_bytes") == 12_345
    assert 0.0 < _value(report, "latency_p50_ms") <= _value(report, "latency_p99_ms")
    assert _value(report, "importance", "signal") > 1.0 > abs(_value(report, "importance", "noise"))
    assert "signal" in _finding(report, "importance").text.split(",")[0]


def test_a_model_that_learned_nothing_does_not_beat_the_baseline() -> None:
    subject = subjects.regression(gates=[beats()])
    lazy = replace(subject, predicted=subject.baseline + 1e-9, predict=lambda frame: np.zeros(len(frame)))
    report = evaluate(lazy)
    assert not report.passed
    assert "not beyond chance" in report.gates[0].reason
    assert _finding(report, "quality").severity == "warning"
    worse = replace(subject, predicted=subject.baseline + 50.0)
    assert _finding(evaluate(worse), "quality").severity == "bad"


def test_the_champion_is_compared_on_the_same_rows() -> None:
    subject = subjects.regression(gates=[beats()])
    weaker = replace(subject, champion=subject.predicted + 3.0)
    assert evaluate(weaker).passed
    same = replace(subject, champion=subject.predicted.copy())
    assert not evaluate(same).passed
    assert _value(evaluate(weaker), "champion_mae") == pytest.approx(
        mean_absolute_error(weaker.actual, weaker.predicted + 3.0)
    )
    silent = evaluate(subject, has_champion=True)
    assert not silent.passed
    assert "improvement over the champion is not in the report" in silent.gates[0].reason


def test_rows_that_the_champion_rejected_are_not_compared_and_that_is_said() -> None:
    subject = subjects.regression(gates=[beats(), worth(_gain, -9.0)])
    champion = subject.predicted + 3.0
    champion[:40] = np.nan
    report = evaluate(replace(subject, champion=champion))
    assert report.passed
    gain = report.measure("improvement_over_champion")
    assert gain is not None
    assert gain.n == 160
    assert _value(report, "champion_mae") == pytest.approx(np.mean(np.abs(subject.actual - champion)[40:]))
    assert (
        "40 rows were not compared: the champion rejected them or had learned them."
        in _finding(report, "quality").text
    )
    champion[:180] = np.nan
    few = evaluate(replace(subject, champion=champion))
    assert "20 rows" in _gate(few, "beats").reason
    assert not few.passed
    champion[:] = np.nan
    silent = evaluate(replace(subject, champion=champion))
    assert [gate.passed for gate in silent.gates] == [False, True]


def test_a_champion_that_knows_other_classes_is_compared_all_the_same() -> None:
    subject = subjects.classification(gates=[beats()])
    champion = subject.predicted.copy()
    champion[:50] = "of old"
    shares = np.tile([0.3, 0.3], (200, 1))  # the rest went to a class that is no more
    report = evaluate(replace(subject, champion=champion, champion_probabilities=shares))
    assert report.passed
    assert _value(report, "champion_log_loss") == pytest.approx(-np.log(0.3))


@pytest.mark.parametrize("names", [("no", "yes"), (0, 1), (False, True), ("a", "b", "c")])
def test_classes_of_any_kind_are_judged(names: tuple[Any, ...]) -> None:
    subject = subjects.classification(names=names, gates=[beats(), fair("group", "accuracy", 0.5)])
    report = evaluate(subject)
    assert report.passed, report.gates
    assert _value(report, "accuracy") == pytest.approx(accuracy_score(list(subject.actual), list(subject.predicted)))
    assert (report.measure("average_precision") is not None) == (len(names) == 2)
    assert "value was not checked" in report.notes[0]


def test_a_champion_without_probabilities_is_not_beaten_by_log_loss() -> None:
    subject = subjects.classification(gates=[beats()])
    rival = replace(subject, champion=subject.baseline, champion_probabilities=None)
    report = evaluate(rival, checks=["quality"])
    assert not report.passed
    assert "log_loss cannot be told for both" in report.gates[0].reason
    known = replace(rival, champion_probabilities=subject.baseline_probabilities)
    assert evaluate(known, checks=["quality"]).passed


def test_a_model_without_probabilities_is_judged_by_accuracy() -> None:
    subject = replace(subjects.classification(gates=[beats()]), probabilities=None, predict_probabilities=None)
    report = evaluate(subject)
    assert report.passed
    assert report.measure("log_loss") is None
    assert "accuracy" in _finding(report, "quality").text


def test_a_group_that_is_served_worse_is_found() -> None:
    subject = subjects.regression(gates=[fair("group", "mae", 0.5)])
    assert evaluate(subject).passed
    shift = np.where(subject.frame["group"] == "b", 3.0, 0.0)
    report = evaluate(replace(subject, predicted=subject.predicted + shift))
    assert not report.passed
    assert _finding(report, "fairness").severity == "bad"
    assert "group=b" in _finding(report, "fairness").text
    frame = MetricFrame(
        metrics=mean_absolute_error,
        y_true=subject.actual,
        y_pred=subject.predicted + shift,
        sensitive_features=subject.frame["group"],
    )
    gap = report.measure("fair_gap:group:mae")
    assert gap is not None
    assert gap.value == pytest.approx(frame.difference(method="between_groups"), rel=1e-12)
    assert gap.low is not None
    assert gap.low > 0.5
    for group in ("a", "b"):
        assert _value(report, "group_mae", f"group={group}") == pytest.approx(frame.by_group[group], rel=1e-12)


def test_groups_that_are_too_small_missing_or_alone_fail_closed() -> None:
    subject = subjects.regression(gates=[fair("group", "mae", 100.0)])

    def grouped(values: Any) -> Report:
        return evaluate(replace(subject, frame=subject.frame.assign(group=values)), checks=["fairness"])

    few = grouped(np.where(np.arange(200) < 5, "rare", "common"))
    assert not few.passed
    assert "group=rare (5 rows)" in few.gates[0].reason
    assert not grouped("everyone").passed
    assert "one group only" in grouped("everyone").gates[0].reason
    gaps = grouped(np.array([None, "known"] * 100, dtype=object))
    assert gaps.passed
    assert gaps.measure("group_mae", "group=(missing)") is not None
    assert not grouped(np.arange(200)).passed
    with pytest.raises(ColumnMissing, match="not in the data"):
        evaluate(replace(subject, frame=subject.frame.drop(columns="group")), checks=["fairness"])


def test_each_fair_gate_has_a_gap_of_its_own() -> None:
    gates = [fair("group", "mae", 9.0), fair("half", "mae", 9.0), fair("group", "rmse", 9.0)]
    subject = subjects.regression(gates=gates)
    halves = pd.Series(np.arange(200) < 100, name="half")
    report = evaluate(replace(subject, frame=subject.frame.assign(half=halves)))
    assert report.passed
    assert len({gate.reason for gate in report.gates}) == 3
    assert len(_finding(report, "fairness").charts) == 4


@pytest.mark.parametrize(
    ("per_row", "said"),
    [
        (lambda actual, predicted: 1 / 0, "ZeroDivisionError"),
        (lambda actual, predicted: np.ones(3), "shape (3,)"),
        (lambda actual, predicted: 7.0, "shape ()"),
        (lambda actual, predicted: actual * np.nan, "200 of them not finite"),
        (lambda actual, predicted: None, "shape ()"),
        (lambda actual: actual, "TypeError"),
    ],
)
def test_a_worth_function_that_fails_is_a_bad_finding_and_no_pass(per_row: Any, said: str) -> None:
    report = evaluate(subjects.regression(gates=[worth(per_row, -1e9), at_most("mae", 5.0)]))
    assert _finding(report, "value").severity == "bad"
    assert said in _finding(report, "value").text
    assert [gate.passed for gate in report.gates] == [False, True]
    assert said in report.gates[0].reason


def test_a_worth_function_may_change_what_it_is_given() -> None:
    def greedy(actual: Any, predicted: Any) -> Any:
        predicted[:] = actual
        return np.arange(1.0, len(actual) + 1.0)

    subject = subjects.regression(gates=[worth(greedy, 0.0)])
    before = subject.predicted.copy()
    assert evaluate(subject).passed
    assert np.array_equal(subject.predicted, before)


def test_too_few_rows_stop_every_gate_about_the_data() -> None:
    subject = cut(subjects.regression(gates=[at_most("mae", 1e9), beats(), size("1MB")]), 29)
    report = evaluate(subject)
    assert [gate.passed for gate in report.gates] == [False, False, True]
    assert "29 rows" in report.gates[0].reason


def test_a_model_that_cannot_be_asked_again_fails_only_the_checks_that_ask() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("out of order")

    subject = subjects.regression(gates=[at_most("mae", 5.0), latency("1s")])
    report = evaluate(replace(subject, predict=broken, score_one=broken))
    assert [gate.passed for gate in report.gates] == [True, False]
    assert "RuntimeError: out of order" in report.gates[1].reason


def test_an_interrupt_is_not_taken_for_a_failed_check() -> None:
    def stopped(_: Mapping[str, Any]) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(replace(subjects.regression(), score_one=stopped))


def test_rows_are_scored_one_by_one_as_plain_values() -> None:
    seen: list[Mapping[str, Any]] = []
    subject = subjects.regression(rows=40)
    frame = subject.frame.assign(
        noise=pd.Series(np.where(np.arange(40) % 2, np.nan, 1.0)),
        signal=pd.date_range("2020-01-01", periods=40),
    )
    evaluate(replace(subject, frame=frame, score_one=seen.append), checks=["operations"])
    assert len(seen) == 420
    assert seen[0] == {"signal": "2020-01-01T00:00:00", "noise": 1.0}
    assert seen[1]["noise"] is None


def _spoilt(subject: Subject, **changes: Any) -> Subject:
    return replace(subject, **changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"actual": np.r_[np.nan, np.zeros(199)]}, DataUnfit),
        ({"actual": np.array([], dtype=float)}, DataUnfit),
        ({"actual": np.array([None] * 200)}, DataUnfit),
        ({"actual": np.zeros(199)}, DataUnfit),
        ({"predicted": np.zeros(199)}, PredictionInvalid),
        ({"predicted": np.r_[np.inf, np.zeros(199)]}, PredictionInvalid),
        ({"predicted": np.zeros((200, 1))}, PredictionInvalid),
        ({"champion": np.zeros(3)}, PredictionInvalid),
        ({"baseline": np.full(200, np.nan)}, PredictionInvalid),
    ],
)
def test_answers_that_no_check_could_judge_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        evaluate(_spoilt(subjects.regression(), **changes))


@pytest.mark.parametrize(
    "shares",
    [
        np.tile([0.5, 0.5, 0.0], (200, 1)),
        np.tile([0.7, 0.7], (200, 1)),
        np.tile([-0.5, 1.5], (200, 1)),
        np.tile([np.nan, 1.0], (200, 1)),
        np.full(200, 0.5),
    ],
)
def test_probabilities_that_are_none_are_refused(shares: Any) -> None:
    with pytest.raises(PredictionInvalid):
        evaluate(_spoilt(subjects.classification(), probabilities=shares))


def test_only_the_checks_asked_for_are_run_and_an_unknown_one_is_refused() -> None:
    report = evaluate(subjects.regression(gates=[at_most("mae", 9.0), size("1MB")]), checks=["operations"])
    assert [finding.check for finding in report.findings] == ["operations"]
    assert [gate.passed for gate in report.gates] == [False, True]
    with pytest.raises(PluginUnknown):
        evaluate(subjects.regression(), checks=["sizes"])


def test_progress_is_told_and_no_gates_is_not_a_pass() -> None:
    class Listener:
        def __init__(self) -> None:
            self.parts: list[tuple[int, int]] = []

        def step(self, name: str, detail: str = "") -> None:
            pytest.fail("a step belongs to the caller")

        def note(self, text: str) -> None:
            pytest.fail("nothing to note")

        def advance(self, done: int, total: int) -> None:
            self.parts.append((done, total))

    listener = Listener()
    report = evaluate(subjects.regression(), progress=listener)
    assert listener.parts[0] == (0, 4)
    assert listener.parts[-1] == (4, 4)
    assert report.gates == ()
    assert not report.passed


def test_a_gate_may_ask_for_what_a_check_measures() -> None:
    gates = [at_most("latency_p50_ms", 1000.0), at_least("value_per_row", -1e9), worth(_gain, -1e9)]
    assert evaluate(subjects.regression(gates=gates)).passed


def test_measures_of_a_report_are_found_by_name_and_group() -> None:
    report = evaluate(subjects.regression(gates=[fair("group", "mae", 9.0)]))
    assert isinstance(report.measure("group_mae", "group=a"), Measure)
    assert report.measure("group_mae", "group=a") != report.measure("group_mae", "group=b")
    assert report.measure("mae", "group=a") is None
