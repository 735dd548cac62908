"""What each check says and how grave it is: planted cases with one right answer each."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import subjects
from fullcircle import registry
from fullcircle.errors import FullcircleError, PluginBroken, ProjectInvalid
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.fairness import SMALLEST_GROUP, Fairness
from fullcircle.evaluation.checks.importance import Importance
from fullcircle.evaluation.checks.latency import Latency
from fullcircle.evaluation.checks.quality import Quality
from fullcircle.evaluation.checks.value import Value
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.gates import at_least, at_most, beats, fair, worth
from fullcircle.types.report import Finding, Measure


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _found(answer: Finding | Skipped) -> Finding:
    assert isinstance(answer, Finding)
    return answer


def _measure(finding: Finding, name: str, group: str = "") -> Measure:
    (found,) = [each for each in finding.measures if (each.name, each.group) == (name, group)]
    return found


def _number(finding: Finding, name: str, group: str = "") -> float:
    value = _measure(finding, name, group).value
    assert value is not None
    return value


def _errors(n: int, errors: Any) -> Subject:
    """A subject whose answers are off by ``errors``, and whose baseline is off by one in every row."""
    subject = subjects.regression(n)
    return _with(subject, predicted=subject.actual + errors, baseline=subject.actual + np.tile([1.0, -1.0], n // 2))


class TestQuality:
    @pytest.mark.parametrize(
        ("error", "severity", "said"),
        [
            (0.1, "good", "It is better than the baseline beyond chance"),
            (1.0, "warning", "The improvement over the baseline, 0 y"),
            (2.0, "bad", "It is worse than the baseline beyond chance"),
        ],
    )
    def test_against_no_model_at_all(self, error: float, severity: str, said: str) -> None:
        finding = Quality().run(_errors(60, error))
        assert finding.severity == severity
        assert said in finding.text
        assert ("could be chance" in finding.text) is (severity == "warning")
        assert _number(finding, "improvement", "baseline") == pytest.approx(1.0 - error)

    def test_an_improvement_within_chance_is_a_warning(self) -> None:
        noisy = np.where(np.arange(60) % 2 == 0, 0.0, 1.9)
        finding = Quality().run(_errors(60, noisy))
        gain = _measure(finding, "improvement", "baseline")
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low < 0.0 < gain.high
        assert finding.severity == "warning"

    def test_one_row_has_no_interval_and_is_no_proof(self) -> None:
        subject = subjects.regression(1)
        finding = Quality().run(subject)
        assert finding.severity == "warning"
        assert _measure(finding, "mae").low is None
        assert "on 1 row." in finding.text

    def test_the_figures_are_in_the_sentence(self) -> None:
        finding = Quality().run(_errors(60, 0.25))
        assert finding.text.startswith("mae is 0.25 y (95 % 0.25 to 0.25) on 60 rows.")
        assert "A model that learned nothing has 1." in finding.text

    def test_a_main_metric_that_is_not_defined_is_no_verdict(self) -> None:
        subject = subjects.regression(40, gates=[at_least("r2", 0.5)])
        constant = _with(subject, actual=np.ones(40), predicted=np.ones(40))
        finding = Quality().run(constant)
        assert finding.severity == "warning"
        assert finding.text == "The main metric, r2, is not defined on these rows, so nothing can be said."

    def test_a_baseline_that_has_no_figure_is_left_out(self) -> None:
        subject = subjects.classification(40, names=("a", "b", "c"))
        silent = _with(subject, baseline_probabilities=None)
        finding = Quality().run(silent)
        assert "learned nothing" not in finding.text
        assert "Whether it beats the baseline is unknown: log_loss cannot be told for both" in finding.text
        assert finding.severity == "warning"
        assert not any(measure.name == "baseline_log_loss" for measure in finding.measures)

    def test_a_champion_is_told_apart_from_the_baseline(self) -> None:
        subject = _errors(60, 0.5)
        ahead = _with(subject, champion=subject.actual + 0.1)
        text = Quality().run(ahead).text
        assert "It is better than the baseline beyond chance" in text
        assert "It is worse than the champion beyond chance" in text
        assert "rejected" not in text
        assert "champion" not in Quality().run(subject).text

    def test_a_class_nobody_shows_is_counted_among_the_others(self) -> None:
        names = tuple(f"c{number:02d}" for number in range(20))
        subject = subjects.classification(400, names=names)
        (chart,) = Quality().run(subject).charts
        cells = chart.spec["data"]["values"]
        assert {cell["y"] for cell in cells} <= {*names, "(other)"}
        assert len({cell["y"] for cell in cells}) == 13, "twelve classes and the rest"
        assert sum(cell["n"] for cell in cells) == 400

    def test_few_classes_are_all_shown(self) -> None:
        (chart,) = Quality().run(subjects.classification(100)).charts
        assert {cell["x"] for cell in chart.spec["data"]["values"]} == {"no", "yes"}


class TestFairness:
    def _grouped(self, sizes: dict[str, int], off: dict[str, float], gap: float = 0.5) -> Subject:
        names = np.repeat(list(sizes), list(sizes.values()))
        rows = len(names)
        subject = subjects.regression(rows, gates=[fair("team", "mae", gap)])
        errors = np.array([off[name] for name in names]) * np.tile([1.0, -1.0], rows)[:rows]
        return _with(subject, predicted=subject.actual + errors, frame=subject.frame.assign(team=names))

    def test_without_a_gate_nobody_asked(self) -> None:
        answer = Fairness().run(subjects.regression(40))
        assert isinstance(answer, Skipped)
        assert "fc.fair" in answer.reason

    @pytest.mark.parametrize(("gap", "severity"), [(0.499, "bad"), (0.5, "good"), (0.6, "good")])
    def test_the_gap_itself_is_allowed_and_not_more(self, gap: float, severity: str) -> None:
        subject = self._grouped({"a": 40, "b": 40}, {"a": 0.25, "b": 0.75}, gap)
        # Numbers that a double holds exactly, so that the border is the border.
        exact = _with(subject, actual=np.zeros(80), predicted=np.repeat([0.25, 0.75], 40))
        finding = _found(Fairness().run(exact))
        assert finding.severity == severity
        assert _number(finding, "fair_gap:team:mae") == 0.5
        assert "0.75 for team=b, 0.25 for team=a" in finding.text

    def test_for_a_share_the_worst_group_has_the_least(self) -> None:
        subject = subjects.classification(80, gates=[fair("team", "accuracy", 0.1)])
        predicted = subject.actual.copy()
        predicted[:20] = np.where(predicted[:20] == "no", "yes", "no")
        frame = subject.frame.assign(team=["a"] * 40 + ["b"] * 40)
        finding = _found(Fairness().run(_with(subject, predicted=predicted, frame=frame)))
        assert "0.5 for team=a, 1 for team=b" in finding.text

    @pytest.mark.parametrize(("size", "known"), [(SMALLEST_GROUP - 1, False), (SMALLEST_GROUP, True)])
    def test_twenty_rows_are_the_smallest_group(self, size: int, known: bool) -> None:
        finding = _found(Fairness().run(self._grouped({"a": 40, "b": size}, {"a": 0.2, "b": 0.2})))
        gap = _measure(finding, "fair_gap:team:mae")
        assert gap.usable is known
        assert (f"team=b ({size} rows); at least 20 are needed" in gap.method) is not known
        assert finding.severity == ("good" if known else "warning")

    def test_many_small_groups_are_not_all_named(self) -> None:
        sizes = {f"g{number}": 5 for number in range(8)}
        gap = _measure(_found(Fairness().run(self._grouped(sizes, dict.fromkeys(sizes, 0.1)))), "fair_gap:team:mae")
        assert gap.method.count("(5 rows)") == 5
        assert "and 3 more" in gap.method

    def test_a_metric_that_one_group_does_not_have_is_named(self) -> None:
        subject = subjects.classification(80, gates=[fair("team", "roc_auc", 0.5)])
        frame = subject.frame.assign(team=np.where(subject.actual == "yes", "a", "b"))
        finding = _found(Fairness().run(_with(subject, frame=frame)))
        gap = _measure(finding, "fair_gap:team:roc_auc")
        assert not gap.usable
        assert "the metric is not defined for team=a, team=b" in gap.method
        assert "is unknown" in finding.text

    def test_a_wide_gap_outweighs_an_unknown_one(self) -> None:
        subject = self._grouped({"a": 40, "b": 40}, {"a": 0.1, "b": 2.0})
        both = _with(subject, gates=(*subject.gates, fair("group2", "mae", 0.5)))
        frame = both.frame.assign(group2="all alike")
        assert _found(Fairness().run(_with(both, frame=frame))).severity == "bad"

    def test_a_chart_shows_the_largest_groups(self) -> None:
        sizes = {f"g{number:02d}": 20 + number for number in range(25)}
        finding = _found(Fairness().run(self._grouped(sizes, dict.fromkeys(sizes, 0.1))))
        shown = [row["name"] for row in finding.charts[0].spec["data"]["values"]]
        assert len(shown) == 20
        assert shown[0] == "g24 (n=44)"


class TestValue:
    def test_without_a_gate_nobody_said_what_it_is_worth(self) -> None:
        answer = Value().run(subjects.regression(40))
        assert isinstance(answer, Skipped)
        assert "fc.worth" in answer.reason

    @pytest.mark.parametrize(("least", "severity"), [(2.0, "good"), (2.001, "bad")])
    def test_what_the_gate_asks_for_is_enough(self, least: float, severity: str) -> None:
        subject = subjects.regression(40, gates=[worth(lambda actual, predicted: np.full(len(actual), 2.0), least)])
        finding = _found(Value().run(subject))
        assert finding.severity == severity
        assert _number(finding, "value_per_row") == 2.0
        assert "An answer is worth 2 a row (95 % 2 to 2) on average over 40 rows" in finding.text

    def test_the_champion_earns_on_the_rows_it_answered(self) -> None:
        champion = np.r_[np.full(10, np.nan), np.full(30, 5.0)]
        subject = _with(
            subjects.regression(40, gates=[worth(lambda actual, predicted: predicted, 0.0)]), champion=champion
        )
        earned = _measure(_found(Value().run(subject)), "champion_value_per_row")
        assert (earned.value, earned.n) == (5.0, 30)
        none = _found(Value().run(_with(subject, champion=np.full(40, np.nan))))
        silent = _measure(none, "champion_value_per_row")
        assert (silent.value, silent.n, silent.method) == (None, 0, "no row to judge by")

    def test_a_function_of_the_users_that_fails_names_what_is_allowed(self) -> None:
        subject = subjects.regression(40, gates=[worth(lambda actual, predicted: predicted[:3], 0.0)])
        with pytest.raises(ProjectInvalid, match="one finite number per row") as caught:
            Value().run(subject)
        assert caught.value.allowed == "shape (40,)"
        assert "shape (3,)" in (caught.value.received or "")


class TestImportance:
    def test_one_row_cannot_be_shuffled(self) -> None:
        answer = Importance().run(subjects.regression(1))
        assert isinstance(answer, Skipped)
        assert isinstance(Importance().run(subjects.regression(2)), Finding)

    def test_without_probabilities_accuracy_is_asked(self) -> None:
        subject = subjects.classification(60, gates=[at_most("log_loss", 9.0)])
        asked = _found(Importance().run(subject))
        assert "makes log_loss worse" in asked.text
        for changes in ({"probabilities": None}, {"predict_probabilities": None}):
            assert "makes accuracy worse" in _found(Importance().run(_with(subject, **changes))).text

    def test_a_slow_model_is_shuffled_less_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = subjects.regression(60)
        assert "5 shuffles a column" in _found(Importance().run(subject)).text
        # A clock by which every answer takes six seconds: two columns, twenty seconds, one round.
        ticks = iter(range(0, 10**6, 6))
        monkeypatch.setattr("fullcircle.evaluation.checks.importance.time.perf_counter", lambda: next(ticks))
        slow = _found(Importance().run(subject))
        assert "1 shuffle a column" in slow.text

    def test_most_needed_columns_come_first(self) -> None:
        finding = _found(Importance().run(subjects.regression(80)))
        values = [measure.value or 0.0 for measure in finding.measures]
        assert values == sorted(values, reverse=True)
        assert [measure.group for measure in finding.measures] == ["signal", "noise"]
        assert {measure.unit for measure in finding.measures} == {"y"}


class TestLatency:
    def test_rows_are_taken_in_turn_where_there_are_few(self) -> None:
        seen: list[float] = []

        def listening(row: Any) -> object:
            seen.append(row["signal"])
            return 0.0

        Latency().run(_with(subjects.regression(3), score_one=listening))
        assert len(seen) == 220
        assert seen[:6] == seen[:3] * 2, "three rows again and again"
        assert seen[20:23] == seen[:3]

    def test_values_are_those_that_json_brings(self) -> None:
        seen: list[Any] = []
        subject = subjects.regression(3)
        frame = subject.frame.assign(
            signal=pd.Series([np.int64(1), np.bool_(True), None], dtype=object),
            noise=pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
        )
        Latency().run(_with(subject, frame=frame, score_one=seen.append))
        assert seen[0] == {"signal": 1, "noise": "2020-01-01T00:00:00"}
        assert type(seen[0]["signal"]) is int
        assert seen[1] == {"signal": True, "noise": None}
        assert seen[2] == {"signal": None, "noise": "2020-01-03T00:00:00"}


class TestEvaluate:
    def test_a_check_that_cannot_be_made_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Demanding:
            def __init__(self, what: str) -> None:
                self.what = what

        monkeypatch.setattr(registry, "find", lambda group, name: Demanding)
        with pytest.raises(PluginBroken, match="the check 'size' could not be made") as caught:
            evaluate(subjects.regression(40), checks=["size"])
        assert "no arguments" in (caught.value.allowed or "")
        assert isinstance(caught.value, FullcircleError)

    def test_findings_come_in_the_order_of_their_codes(self) -> None:
        report = evaluate(subjects.regression(40), checks=["size", "latency", "quality"])
        assert [finding.code for finding in report.findings] == ["E001", "E005", "E006"]

    @pytest.mark.parametrize(("has", "rival"), [(None, "baseline"), (False, "baseline"), (True, "champion")])
    def test_whether_there_is_a_champion_may_be_said(self, has: bool | None, rival: str) -> None:
        report = evaluate(subjects.regression(60, gates=[beats()]), has_champion=has, checks=["quality"])
        assert f"improvement over the {rival}" in report.gates[0].reason
        assert report.passed is (rival == "baseline")

    def test_gates_of_the_caller_win_over_those_of_the_subject(self) -> None:
        subject = subjects.regression(60, gates=[at_most("mae", -1.0)])
        assert not evaluate(subject, checks=["quality"]).passed
        assert evaluate(subject, [at_most("mae", 1e9)], checks=["quality"]).passed
        assert evaluate(subject, [], checks=["quality"]).gates == ()

    def test_every_figure_of_a_report_can_be_written_as_json(self) -> None:
        subject = _with(subjects.regression(40), actual=np.ones(40), predicted=np.ones(40))
        for finding in evaluate(subject).findings:
            for measure in finding.measures:
                for figure in (measure.value, measure.low, measure.high):
                    assert figure is None or math.isfinite(figure), measure.name
