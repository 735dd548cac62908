"""E001 quality: what it measures, compares, says and draws."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import subjects
from fullcircle.evaluation import metrics
from fullcircle.evaluation.check import Check, Subject
from fullcircle.evaluation.checks.quality import MOST_GROUPS, Quality
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.testing import checks as suite
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.gates import at_least, at_most, beats
from fullcircle.types.report import Finding, Measure


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _measure(finding: Finding, name: str, group: str = "") -> Measure:
    (found,) = [each for each in finding.measures if (each.name, each.group) == (name, group)]
    return found


def _number(finding: Finding, name: str, group: str = "") -> float:
    value = _measure(finding, name, group).value
    assert value is not None
    return value


def _errors(n: int, errors: Any) -> Subject:
    """A subject whose answers are off by ``errors``, and whose baseline is off by one on average."""
    subject = subjects.regression(n)
    return _with(subject, predicted=subject.actual + errors, baseline=subject.actual + np.tile([1.1, -0.9], n // 2))


class TestQualityKeepsThePromises(CheckSuite):
    @pytest.fixture
    def check(self) -> Check:
        return Quality()

    @pytest.fixture
    def subjects(self) -> Sequence[Subject]:
        gates = (beats(by="group"), at_least("accuracy", 0.0, by="group"))
        numbers = (beats(by="group"), at_most("mae", 1e6, by=("group",)))
        return (
            suite.regression(),
            _with(suite.regression(), gates=numbers),
            _with(suite.classification(2), gates=gates),
            _with(suite.classification(3), gates=gates),
        )


class TestAgainstNoModelAtAll:
    @pytest.mark.parametrize(
        ("error", "severity", "said"),
        [
            (0.1, "good", "It is better than the baseline beyond chance"),
            (1.0, "warning", "The improvement over the baseline, 0 y"),
            (2.0, "bad", "It is worse than the baseline beyond chance"),
        ],
    )
    def test_better_alike_or_worse(self, error: float, severity: str, said: str) -> None:
        finding = Quality().run(_errors(60, error))
        assert finding.severity == severity
        assert said in finding.text
        assert ("could be chance" in finding.text) is (severity == "warning")
        assert _number(finding, "improvement_over_baseline") == pytest.approx(1.0 - error)

    def test_an_improvement_within_chance_is_a_warning(self) -> None:
        noisy = np.where(np.arange(60) % 2 == 0, 0.0, 1.9)
        finding = Quality().run(_errors(60, noisy))
        gain = _measure(finding, "improvement_over_baseline")
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low < 0.0 < gain.high
        assert finding.severity == "warning"

    def test_one_row_has_no_interval_and_is_no_proof(self) -> None:
        finding = Quality().run(subjects.regression(1))
        assert finding.severity == "warning"
        assert _measure(finding, "mae").low is None
        assert "on 1 row." in finding.text

    def test_the_figures_are_in_the_sentence(self) -> None:
        finding = Quality().run(_errors(60, np.tile([0.2, 0.3], 30)))
        assert finding.text.startswith("mae is 0.25 y (95 % 0.237 to 0.263) on 60 rows.")
        assert "A model that learned nothing has 1." in finding.text
        alike = Quality().run(_errors(60, 0.25))
        assert _measure(alike, "mae").low is None
        why = "all 60 rows are alike, so nothing tells how others would be"
        assert alike.text.startswith(f"mae is 0.25 y on 60 rows. It has no interval: {why}.")
        assert Quality().run(_with(_errors(60, 0.25), unit="kg")).text.startswith("mae is 0.25 kg")

    def test_a_main_metric_that_is_not_defined_is_no_verdict(self) -> None:
        subject = subjects.regression(40, gates=[at_least("r2", 0.5)])
        constant = _with(subject, actual=np.ones(40), predicted=np.ones(40))
        finding = Quality().run(constant)
        assert finding.severity == "warning"
        assert finding.text == "The main metric, r2, is not defined on these rows, so nothing can be said."
        assert _measure(finding, "r2").method == "not defined on these rows: the label is constant"

    def test_a_baseline_that_has_no_figure_is_left_out(self) -> None:
        subject = subjects.classification(40, names=("a", "b", "c"))
        silent = _with(subject, baseline_probabilities=None)
        finding = Quality().run(silent)
        assert "learned nothing" not in finding.text
        assert "Whether it beats the baseline is unknown: log_loss cannot be told for both" in finding.text
        assert finding.severity == "warning"
        assert not any(measure.name == "baseline_log_loss" for measure in finding.measures)


class TestMeasures:
    @pytest.mark.parametrize("classes", [0, 2, 3])
    def test_every_metric_is_measured_for_all_three(self, classes: int) -> None:
        subject = suite.classification(classes) if classes else suite.regression()
        finding = Quality().run(subject)
        asked = [m for m in metrics.of_task(subject.task) if classes == 2 or not m.binary]
        for metric in asked:
            for prefix in ("", "baseline_", "champion_"):
                measure = _measure(finding, prefix + metric.name)
                assert measure.better == metric.better
                assert measure.n == 120
                assert measure.method
        names = [measure.name for measure in finding.measures]
        assert len(names) == 3 * len(asked) + 2

    def test_its_figures_are_those_of_the_table(self) -> None:
        subject = subjects.classification(150)
        finding = Quality().run(subject)
        for metric in metrics.of_task("classification"):
            assert _measure(finding, metric.name).value == metrics.estimate(metric, metrics.own(subject)).value

    def test_weights_count_and_are_said(self) -> None:
        subject = _errors(60, np.where(np.arange(60) % 2, 0.5, 0.1))
        weighted = Quality().run(_with(subject, weights=np.arange(60) % 2))
        assert _number(weighted, "mae") == pytest.approx(0.5)
        assert _number(weighted, "improvement_over_baseline") == pytest.approx(0.4)
        assert "on 60 rows by their weights, which tell as much as 30 equal ones." in weighted.text
        assert {measure.n for measure in weighted.measures} == {30}
        assert "weights" not in Quality().run(subject).text

    def test_a_champion_is_told_apart_from_the_baseline(self) -> None:
        subject = _errors(60, 0.5)
        ahead = _with(subject, champion=subject.actual + np.tile([0.05, 0.15], 30))
        finding = Quality().run(ahead)
        assert "It is better than the baseline beyond chance" in finding.text
        assert "It is worse than the champion beyond chance" in finding.text
        assert "not compared" not in finding.text
        assert _number(finding, "improvement_over_champion") == pytest.approx(-0.4)
        assert _number(finding, "champion_mae") == pytest.approx(0.1)
        assert "champion" not in Quality().run(subject).text

    def test_rows_that_the_champion_rejected_are_left_out_of_its_comparison_alone(self) -> None:
        subject = _errors(60, np.r_[np.full(20, 5.0), np.full(40, 0.5)])
        champion = subject.actual + 1.0
        champion[:20] = np.nan
        finding = Quality().run(_with(subject, champion=champion))
        gain = _measure(finding, "improvement_over_champion")
        assert gain.n == 40
        assert gain.value == pytest.approx(0.5)
        assert _measure(finding, "champion_mae").n == 40
        assert _measure(finding, "mae").n == 60
        assert "20 rows were not compared: the champion rejected them or had learned them." in finding.text
        champion[:20] = 0.0
        champion[4] = np.nan
        one = Quality().run(_with(subject, champion=champion))
        assert "1 row was not compared: the champion rejected it or had learned it." in one.text

    def test_a_champion_that_rejected_everything_is_unknown(self) -> None:
        finding = Quality().run(_with(_errors(60, 0.5), champion=np.full(60, np.nan)))
        gain = _measure(finding, "improvement_over_champion")
        assert (gain.value, gain.n) == (None, 0)
        none_left = (
            "there are no rows left on which the champion can be compared: it rejected them or had learned them"
        )
        assert f"Whether it beats the champion is unknown: {none_left}." in finding.text
        assert gain.method == none_left
        assert "0 rows" not in finding.text.replace("60 rows", "")

    def test_the_same_answers_are_no_matter_of_chance(self) -> None:
        subject = subjects.classification(60, gates=[at_least("accuracy", 0.5)])
        same = _with(subject, champion=subject.predicted, champion_probabilities=subject.probabilities)
        text = Quality().run(same).text
        assert "It answers the same as the champion." in text
        assert "chance" not in text.split("It answers")[1]
        assert "share" not in text
        (no,) = evaluate(_with(same, gates=[beats()]), checks=["quality"]).gates
        assert not no.passed

    def test_gains_without_an_interval_are_not_called_chance(self) -> None:
        subject = _errors(60, 0.5)
        finding = Quality().run(_with(subject, champion=subject.actual + 0.75))
        assert _measure(finding, "improvement_over_champion").low is None
        assert (
            "Its improvement over the champion is 0.25 y and has no interval: all 60 rows are alike" in finding.text
        )

    @pytest.mark.parametrize("classes", [0, 2])
    def test_rows_without_weight_do_not_count(self, classes: int) -> None:
        gates = (
            [at_least("accuracy", 0.0), beats("baseline")] if classes else [at_most("mae", 1e6), beats("baseline")]
        )
        subject = subjects.classification(200) if classes else subjects.regression(200)
        weighed = _with(subject, weights=np.r_[np.ones(3), np.zeros(197)], gates=gates)
        for verdict in evaluate(weighed, checks=["quality"]).gates:
            assert not verdict.passed
            assert "on only 3 rows; at least 30 are needed to decide" in verdict.reason


class TestGroups:
    def _sides(self, gates: Any, champion: Any = None) -> Subject:
        """Group a has errors of 0.2, b of 3; the champion's are 1 everywhere."""
        subject = _with(subjects.regression(120, gates=gates), baseline=np.full(120, 50.0))
        errors = np.where(subject.frame["group"] == "a", 0.2, 3.0) * np.tile([1.0, -1.0], 60)
        answers = None if champion is None else subject.actual + champion
        return _with(subject, predicted=subject.actual + errors, champion=answers)

    def test_nobody_asked_for_groups(self) -> None:
        assert {measure.group for measure in Quality().run(self._sides([beats(), at_most("mae", 1.0)])).measures} == {
            ""
        }

    def test_improvements_are_told_for_every_group_of_a_beats_gate(self) -> None:
        finding = Quality().run(self._sides([beats(by="group")], champion=np.tile([1.1, -0.9], 60)))
        assert _number(finding, "improvement_over_champion", "group=a") == pytest.approx(0.8)
        assert _number(finding, "improvement_over_champion", "group=b") == pytest.approx(-2.0)
        assert _measure(finding, "improvement_over_champion", "group=a").n == 80
        assert _measure(finding, "improvement_over_baseline", "group=b").n == 40
        assert _measure(finding, "improvement_over_baseline", "group=b").better == "higher"
        assert "It is worse than the champion beyond chance for group=b." in finding.text
        assert not [measure for measure in finding.measures if measure.name == "mae" and measure.group]

    def test_an_absolute_gate_gets_its_metric_in_every_group(self) -> None:
        finding = Quality().run(self._sides([at_most("mae", 1.0, by="group"), at_most("rmse", 9.0, by="group")]))
        for name in ("mae", "rmse"):
            assert _number(finding, name, "group=a") == pytest.approx(0.2)
            assert _number(finding, name, "group=b") == pytest.approx(3.0)
            assert _measure(finding, name, "group=b").better == "lower"
        assert not any(measure.name.startswith("improvement_over_champion") for measure in finding.measures)

    def test_gates_on_the_same_columns_measure_once_and_intersections_are_groups(self) -> None:
        subject = self._sides([beats(by=("group", "half")), at_most("mae", 1.0, by=("group", "half"))])
        frame = subject.frame.assign(half=np.arange(120) % 2)
        finding = Quality().run(_with(subject, frame=frame))
        keys = [(measure.name, measure.group) for measure in finding.measures]
        assert len(keys) == len(set(keys))
        assert {group for name, group in keys if name == "mae"} == {
            "",
            "group=a, half=0",
            "group=a, half=1",
            "group=b, half=0",
            "group=b, half=1",
        }

    def test_a_group_whose_rows_weigh_nothing_is_unknown(self) -> None:
        subject = self._sides([at_most("mae", 1.0, by="group"), beats(by="group")])
        finding = Quality().run(_with(subject, weights=(subject.frame["group"] == "a").to_numpy().astype(float)))
        for name in ("mae", "improvement_over_baseline"):
            assert _measure(finding, name, "group=b").value is None
            assert "no row has any weight" in _measure(finding, name, "group=b").method
        assert _number(finding, "mae", "group=a") == pytest.approx(_number(finding, "mae"))

    def test_a_group_that_the_champion_did_not_answer_is_unknown(self) -> None:
        subject = self._sides([beats(by="group")], champion=np.tile([1.0, -1.0], 60))
        assert subject.champion is not None
        holes = np.where(subject.frame["group"] == "b", np.nan, subject.champion)
        finding = Quality().run(_with(subject, champion=holes))
        gain = _measure(finding, "improvement_over_champion", "group=b")
        assert (gain.value, gain.n) == (None, 0)
        assert gain.method

    def test_too_many_groups_are_said_and_not_judged(self) -> None:
        rows = MOST_GROUPS + 1
        subject = subjects.regression(rows, gates=[beats(by="each")])
        finding = Quality().run(_with(subject, frame=subject.frame.assign(each=np.arange(rows))))
        assert f"each has {rows} groups, too many to judge one by one." in finding.text
        assert {measure.group for measure in finding.measures} == {""}


class TestCharts:
    def test_a_class_nobody_shows_is_counted_among_the_others(self) -> None:
        names = tuple(f"c{number:02d}" for number in range(20))
        subject = subjects.classification(400, names=names)
        (chart,) = Quality().run(subject).charts
        cells = chart.spec["data"]["values"]
        assert {cell["y"] for cell in cells} <= {*names, "(other)"}
        assert len({cell["y"] for cell in cells}) == 13, "twelve classes and the rest"
        assert sum(cell["n"] for cell in cells) == 400

    def test_counts_are_those_of_the_rows(self) -> None:
        subject = subjects.classification(100)
        cells = Quality().run(subject).charts[0].spec["data"]["values"]
        assert {cell["x"] for cell in cells} == {"no", "yes"}
        for cell in cells:
            assert cell["n"] == np.sum((subject.predicted == cell["x"]) & (subject.actual == cell["y"]))

    def test_labels_that_read_alike_are_not_one(self) -> None:
        subject = subjects.classification(60, names=(False, True))
        assert {cell["x"] for cell in Quality().run(subject).charts[0].spec["data"]["values"]} == {"False", "True"}

    def test_two_classes_have_a_roc_curve(self) -> None:
        chart = Quality().run(subjects.classification(3000)).charts[1]
        assert chart.title == "ROC curve"
        curve = chart.spec["layer"][-1]["data"]["values"]
        assert 20 < len(curve) <= 201
        assert (curve[0]["x"], curve[0]["y"]) == (0.0, 0.0)
        assert (curve[-1]["x"], curve[-1]["y"]) == (1.0, 1.0)
        x, y = (np.array([point[name] for point in curve]) for name in ("x", "y"))
        area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0))
        assert area == pytest.approx(_number(Quality().run(subjects.classification(3000)), "roc_auc"), abs=0.003)

    def test_a_rare_class_has_a_curve_of_precision_and_recall(self) -> None:
        subject = subjects.classification(2000)
        rare = np.where(np.arange(2000) % 20 == 0, subject.actual, "no").astype(object)
        chart = Quality().run(_with(subject, actual=rare)).charts[1]
        assert chart.title == "Precision and recall"
        assert "yes" in chart.spec["layer"][-1]["encoding"]["x"]["title"]

    def test_one_class_or_no_probabilities_have_no_curve(self) -> None:
        subject = subjects.classification(60)
        for silent in (
            _with(subject, probabilities=None),
            _with(subject, actual=np.array(["no"] * 60, dtype=object)),
            _with(subject, actual=np.where(np.arange(60) == 3, "new", subject.actual).astype(object)),
        ):
            assert len(Quality().run(silent).charts) == 1

    def test_what_is_left_over_is_a_sample_around_zero(self) -> None:
        chart = Quality().run(subjects.regression(1000)).charts[1]
        points = chart.spec["layer"][-1]["data"]["values"]
        assert len(points) == 400
        assert abs(np.mean([point["y"] for point in points])) < 0.2


class TestHardCases:
    def _sound(self, subject: Subject) -> Finding:
        (finding,) = evaluate(subject, checks=["quality"]).findings
        assert finding.title == "Quality", finding.text
        for measure in finding.measures:
            for part in (measure.value, measure.low, measure.high):
                assert part is None or math.isfinite(part)
            assert measure.value is not None or measure.method
        return finding

    @pytest.mark.parametrize("names", [("no", "yes"), (0, 1), (False, True), (1.5, -2.0), ("a", "b", "c")])
    def test_labels_of_any_kind_give_the_same_figures(self, names: tuple[Any, ...]) -> None:
        text = subjects.classification(120, names=("p", "q") if len(names) == 2 else ("p", "q", "r"))
        names = tuple(sorted(names))
        place = dict(zip(text.classes, names, strict=True))
        kind: Any = object if isinstance(names[0], str) else None

        def renamed(labels: Any) -> Any:
            return np.array([place[label] for label in labels.tolist()], dtype=kind)

        other = _with(
            text,
            classes=names,
            **{each: renamed(getattr(text, each)) for each in ("actual", "predicted", "baseline")},
        )
        here, there = self._sound(text), self._sound(other)
        assert [measure.value for measure in here.measures] == [measure.value for measure in there.measures]

    def test_a_class_that_is_absent_from_the_test_rows(self) -> None:
        subject = subjects.classification(200, names=("a", "b", "c"))
        kept = subject.actual != "c"
        assert subject.probabilities is not None
        assert subject.baseline_probabilities is not None
        finding = self._sound(
            _with(
                subject,
                frame=subject.frame[kept].reset_index(drop=True),
                actual=subject.actual[kept],
                predicted=subject.predicted[kept],
                baseline=subject.baseline[kept],
                probabilities=subject.probabilities[kept],
                baseline_probabilities=subject.baseline_probabilities[kept],
            )
        )
        assert _measure(finding, "roc_auc").value is None
        assert "does not occur" in _measure(finding, "roc_auc").method
        assert _number(finding, "accuracy") == np.mean(subject.predicted[kept] == subject.actual[kept])

    def test_constant_answers(self) -> None:
        subject = subjects.classification(100)
        constant = _with(subject, predicted=subject.baseline, probabilities=subject.baseline_probabilities)
        finding = self._sound(constant)
        assert finding.severity == "warning"
        assert _number(finding, "roc_auc") == 0.5
        assert _measure(finding, "mcc").value is None
        assert _number(finding, "improvement_over_baseline") == 0.0

    def test_labels_that_are_all_equal(self) -> None:
        subject = subjects.classification(100)
        finding = self._sound(_with(subject, actual=np.array(["yes"] * 100, dtype=object)))
        for name in ("roc_auc", "average_precision", "false_positive_rate", "mcc"):
            assert _measure(finding, name).value is None
        assert _number(finding, "recall") == np.mean(subject.predicted == "yes")

    @pytest.mark.parametrize("made", [subjects.regression, subjects.classification])
    def test_one_row(self, made: Any) -> None:
        report = evaluate(made(1, gates=[beats()]), checks=["quality"])
        self._sound(made(1))
        assert not report.passed

    @pytest.mark.parametrize("made", [subjects.regression, subjects.classification])
    def test_weights_of_zero_are_rows_that_are_not_there(self, made: Any) -> None:
        subject = made(200)
        weights = (np.arange(200) < 120).astype(float)
        whole = self._sound(_with(subject, weights=weights))
        top = self._sound(suite.cut(subject, 120))
        for one, two in zip(whole.measures, top.measures, strict=True):
            assert (one.value is None) is (two.value is None)
            assert one.value is None or one.value == pytest.approx(two.value or 0.0, rel=1e-9, abs=1e-12), one.name
