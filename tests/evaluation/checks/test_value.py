"""What the value check says: planted amounts with one right answer each."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import subjects
from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation import earning
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.value import DAYS_A_MONTH, Value
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.gates import Gate, worth
from fullcircle.types.project import Serving
from fullcircle.types.report import Finding, Measure

# A caught yes brings 100, asking in vain costs 10.
PAYS = {("yes", "yes"): 100.0, ("no", "yes"): -10.0}


class TestSuite(CheckSuite):
    @pytest.fixture
    def check(self) -> Value:
        return Value()


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _found(subject: Subject) -> Finding:
    answer = Value().run(subject)
    assert isinstance(answer, Finding)
    return answer


def _measure(finding: Finding, name: str) -> Measure:
    (found,) = [each for each in finding.measures if (each.name, each.group) == (name, "")]
    return found


def _number(finding: Finding, name: str) -> float:
    value = _measure(finding, name).value
    assert value is not None
    return value


def _caught(actual: Any, predicted: Any) -> Any:
    return np.where(predicted == "yes", np.where(actual == "yes", 100.0, -10.0), 0.0)


@functools.cache
def _classification(rows: int) -> Subject:
    return subjects.classification(rows)


def _rare(rows: int = 2000, seed: int = 0, gate: Gate | None = None, **changes: Any) -> Subject:
    """One row in five is a yes, with true probabilities; the model says yes from a half on."""
    generator = np.random.default_rng(seed)
    p = generator.beta(1, 4, rows)
    known = {
        "actual": np.where(generator.random(rows) < p, "yes", "no"),
        "predicted": np.where(p >= 0.5, "yes", "no"),
        "probabilities": np.c_[1.0 - p, p],
        "baseline": np.full(rows, "no"),
        "gates": [gate or worth(matrix=PAYS)],
    }
    return _with(_classification(rows), **(known | changes))


def _regression(per_row: Any, least: float = 0.0, rows: int = 40, **changes: Any) -> Subject:
    return _with(subjects.regression(rows, gates=[worth(per_row, least)]), **changes)


class TestEarned:
    def test_without_a_gate_nobody_said_what_it_is_worth(self) -> None:
        answer = Value().run(subjects.regression(40))
        assert isinstance(answer, Skipped)
        assert "fc.worth" in answer.reason

    @pytest.mark.parametrize(("least", "severity"), [(1.983, "good"), (1.984, "bad")])
    def test_what_the_gate_asks_for_is_enough(self, least: float, severity: str) -> None:
        finding = _found(_regression(lambda actual, predicted: np.tile([1.95, 2.05], 20), least))
        assert finding.severity == severity
        assert _number(finding, "value_per_row") == pytest.approx(2.0)
        assert "An answer is worth 2 a row (95 % 1.984 to 2.016) on average over 40 rows" in finding.text
        assert ("That is not enough" in finding.text) is (severity == "bad")

    def test_amounts_that_are_all_alike_are_no_proof(self) -> None:
        subject = _regression(lambda actual, predicted: np.full(len(actual), 2.0), 1.0)
        finding = _found(subject)
        value = _measure(finding, "value_per_row")
        assert (value.value, value.low, value.high, value.n) == (2.0, None, None, 40)
        assert finding.severity == "bad"
        said = "all 40 rows are alike, so nothing tells how others would be"
        assert f"That is not enough: it has no interval, as {said}." in finding.text
        (no,) = evaluate(subject, checks=["value"]).gates
        assert not no.passed
        assert no.reason == f"the value of a row is 2 and has no interval to decide on: {said}"

    def test_rows_without_weight_do_not_count(self) -> None:
        weights = np.r_[np.ones(3), np.zeros(197)]
        subject = _rare(200, gate=worth(matrix=PAYS, at_least=-1e6), weights=weights)
        value = _measure(_found(subject), "value_per_row")
        assert value.n == 3
        (no,) = evaluate(subject, checks=["value"]).gates
        assert not no.passed
        amounts = _regression(lambda actual, predicted: predicted, -1e6, 200, weights=weights)
        (no,) = evaluate(amounts, checks=["value"]).gates
        assert "on only 3 rows; at least 30 are needed to decide" in no.reason

    def test_the_low_end_decides_and_not_the_mean(self) -> None:
        subject = _regression(lambda actual, predicted: np.tile([0.0, 2.0], 20), 0.9)
        value = _measure(_found(subject), "value_per_row")
        expected = stats.t.interval(0.95, 39, 1.0, np.tile([0.0, 2.0], 20).std(ddof=1) / math.sqrt(40))
        assert (value.low, value.high) == pytest.approx(expected, rel=1e-12)
        assert _found(subject).severity == "bad"
        assert "at least 0.9 was asked for, beyond chance" in _found(subject).text

    def test_one_row_has_no_interval_and_is_no_proof(self) -> None:
        finding = _found(_regression(lambda actual, predicted: np.full(len(actual), 2.0), rows=1))
        value = _measure(finding, "value_per_row")
        assert (value.value, value.low, value.method) == (2.0, None, "one row has no interval")
        assert finding.severity == "bad"

    def test_it_is_told_in_the_projects_currency(self) -> None:
        finding = _found(_regression(lambda actual, predicted: predicted, currency="EUR"))
        assert {measure.unit for measure in finding.measures} == {"EUR a row"}
        assert " EUR a row (95 % " in finding.text
        assert finding.charts[0].spec["layer"][0]["encoding"]["x"]["title"] == "mean value of a row in EUR"

    def test_what_it_earns_over_no_model_is_paired(self) -> None:
        def per_row(actual: Any, predicted: Any) -> Any:
            return predicted + 1000.0 * (np.arange(len(actual)) % 2)

        subject = _regression(per_row, predicted=np.full(40, 3.0), baseline=np.ones(40))
        more = _measure(_found(subject), "value_over_baseline")
        assert (more.value, more.low, more.high) == (2.0, None, None), "every row gains the same"
        noisy = np.full(40, 3.0) + np.tile([0.1, -0.1], 20)
        wider = _measure(_found(_with(subject, predicted=noisy)), "value_over_baseline")
        assert (wider.low, wider.high) == pytest.approx((2.0 - 0.0324, 2.0 + 0.0324), abs=1e-4)
        assert wider.method == "paired t interval"
        same = _measure(_found(_with(subject, predicted=np.ones(40))), "value_over_baseline")
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3)), min_size=2, max_size=20))
    def test_weights_count_rows(self, drawn: list[tuple[int, int]]) -> None:
        values, weights = (np.array(each, dtype=float) for each in zip(*drawn, strict=True))
        found = earning.measure("v", values, weights, unit="")
        if not weights.any():
            assert found.value is None
            return
        assert found.value == pytest.approx(np.average(values, weights=weights))
        assert found.n == math.floor(weights.sum() ** 2 / (weights**2).sum() + 1e-6)
        equal, plain = (earning.measure("v", values, given, unit="") for given in (np.full(len(values), 3.0), None))
        assert (equal.value, equal.low, equal.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12)

    def test_a_weighted_interval_covers_as_often_as_it_says(self) -> None:
        held = 0
        for seed in range(1000):
            generator = np.random.default_rng(seed)
            weights, values = generator.gamma(2.0, size=60), generator.normal(1.0, size=60)
            found = earning.measure("v", values, weights, unit="")
            held += found.low is not None and found.high is not None and found.low <= 1.0 <= found.high
        assert 925 <= held <= 970


class TestChampion:
    def test_the_champion_earns_on_the_rows_it_answered(self) -> None:
        champion = np.r_[np.full(10, np.nan), np.full(30, 5.0)]
        subject = _regression(
            lambda actual, predicted: predicted, champion=champion, predicted=np.tile([6.9, 7.1], 20)
        )
        finding = _found(subject)
        earned, more = (_measure(finding, name) for name in ("champion_value_per_row", "value_over_champion"))
        assert (earned.value, earned.n) == (5.0, 30)
        assert more.value == pytest.approx(2.0)
        assert more.n == 30
        assert "The champion earns 5 a row on the same rows; this model 2 more (95 % 1.962 to 2.038)." in finding.text
        assert "10 rows were not compared: the champion rejected them or had learned them." in finding.text
        none = _found(_with(subject, champion=np.full(40, np.nan)))
        silent = _measure(none, "champion_value_per_row")
        assert (silent.value, silent.n, silent.method) == (None, 0, "no row to judge by")
        assert "There are no rows left on which the champion can be compared" in none.text
        same = _found(_with(subject, champion=subject.predicted))
        assert "The champion gives the same answers, so it earns the same." in same.text
        assert "chance" not in same.text

    def test_a_function_that_knows_the_rows_by_place_is_asked_about_all(self) -> None:
        at_stake = np.arange(40.0)
        champion = np.r_[np.full(10, np.nan), np.full(30, 5.0)]
        subject = _regression(lambda actual, predicted: at_stake * predicted, champion=champion)
        assert _number(_found(subject), "champion_value_per_row") == pytest.approx(5.0 * np.mean(np.arange(10, 40)))

    def test_a_champion_of_classes_with_holes(self) -> None:
        subject = _rare(200)
        champion = subject.actual.astype(object)
        champion[:50] = None
        finding = _found(_with(subject, champion=champion))
        share = np.mean(subject.actual[50:] == "yes")
        assert _number(finding, "champion_value_per_row") == pytest.approx(100.0 * share)
        assert " less (95 % " in finding.text

    def test_less_and_by_chance_are_told(self) -> None:
        noisy = np.tile([3.0, -3.0], 20)
        subject = _regression(lambda actual, predicted: predicted, predicted=noisy - 0.1, champion=-noisy)
        assert "this model 0.1 less (95 % -1.8" in _found(subject).text
        assert "which could be chance." in _found(subject).text
        ahead = _with(subject, predicted=np.full(40, 1.0), champion=np.full(40, 2.0))
        assert "this model 1 less, without an interval: all 40 rows are alike" in _found(ahead).text

    def test_a_month_is_what_the_requests_of_a_month_earn(self) -> None:
        subject = _regression(
            lambda actual, predicted: predicted,
            predicted=np.tile([2.9, 3.1], 20),
            champion=np.full(40, 2.0),
            currency="EUR",
            serving=Serving(requests_per_day=100.0),
        )
        finding = _found(subject)
        month = _measure(finding, "value_per_month")
        assert month.value == pytest.approx(3.0 * 100.0 * 365.25 / 12.0)
        assert month.unit == "EUR a month"
        row = _measure(finding, "value_per_row")
        assert row.low is not None
        assert month.low == pytest.approx(row.low * 100.0 * DAYS_A_MONTH)
        assert _number(finding, "value_over_champion_per_month") == pytest.approx(100.0 * DAYS_A_MONTH)
        assert "At 100 requests a day that is 9 131 EUR a month (95 % 9 033 to 9 230)." in finding.text
        assert "The champion earns 6 088 EUR a month on the same rows; this model 3 044 more" in finding.text
        unknown = _found(_with(subject, serving=None))
        assert not any("month" in measure.name for measure in unknown.measures)


class TestMatrix:
    def test_it_is_the_function_that_says_the_same(self) -> None:
        by_matrix, by_function = (_found(_rare(gate=gate)) for gate in (worth(matrix=PAYS), worth(_caught)))
        assert by_matrix == by_function

    @pytest.mark.parametrize("names", [("no", "yes"), (0, 1), (False, True), (1.0, 2.0), ("b", "a", "c")])
    def test_classes_are_matched_by_equality(self, names: tuple[Any, ...]) -> None:
        matrix = {(names[1], names[1]): 4.0, (names[0], names[1]): -1.0}
        subject = subjects.classification(300, names=names, gates=[worth(matrix=matrix)])
        hit = np.sum((subject.predicted == names[1]) & (subject.actual == names[1]))
        miss = np.sum((subject.predicted == names[1]) & (subject.actual == names[0]))
        assert hit > 0
        assert _number(_found(subject), "value_per_row") == pytest.approx((4.0 * hit - miss) / 300)

    def test_numbers_match_their_equals(self) -> None:
        subject = subjects.classification(100, names=(0, 1), gates=[worth(matrix={(1.0, True): 1.0})])
        both = np.mean((subject.predicted == 1) & (subject.actual == 1))
        assert _number(_found(subject), "value_per_row") == pytest.approx(both)

    def test_a_class_that_the_model_does_not_know_is_refused(self) -> None:
        with pytest.raises(ProjectInvalid, match="names a class that the model does not know") as caught:
            Value().run(_rare(gate=worth(matrix={("yes", "yes"): 1.0, ("Yes", "no"): 1.0})))
        assert "('Yes', 'no')" in (caught.value.received or "")
        assert "'no', 'yes'" in (caught.value.allowed or "")

    def test_a_regression_has_no_classes(self) -> None:
        with pytest.raises(ProjectInvalid, match="does not know") as caught:
            Value().run(subjects.regression(40, gates=[worth(matrix={(1, 1): 1.0})]))
        assert "a regression has no classes" in (caught.value.allowed or "")

    def test_a_label_that_the_model_does_not_know_earns_nothing(self) -> None:
        subject = _rare(400)
        strange = _with(subject, actual=np.full(400, "maybe"))
        assert _number(_found(strange), "value_per_row") == 0.0


class TestThreshold:
    def test_the_threshold_that_earns_most_is_found(self) -> None:
        # With true probabilities yes pays from 100 p = 10 (1 - p) on: 1/11.
        finding = _found(_rare(20_000, currency="EUR"))
        assert _number(finding, "best_threshold") == pytest.approx(1 / 11, abs=0.04)
        best, more = _measure(finding, "best_value_per_row"), _measure(finding, "best_value_over_own")
        assert best.value is not None
        assert best.value - _number(finding, "value_per_row") == pytest.approx(more.value)
        assert best.method == "t interval, cross-fitted in 5 folds: chosen on the others, measured on each"
        assert "Answering yes from a probability of 0.0" in finding.text
        assert "the model's own answers earn" in finding.text

    def test_the_best_value_is_not_optimistic(self) -> None:
        # Probabilities that know nothing: any threshold earns 0 on average, whatever the curve shows.
        gate = worth(matrix={("yes", "yes"): 1.0, ("no", "yes"): -1.0})
        best, advised = [], 0
        for seed in range(100):
            generator = np.random.default_rng(seed)
            p = generator.random(60)
            blind = _with(
                _rare(60, gate=gate),
                actual=np.where(generator.random(60) < 0.5, "yes", "no"),
                probabilities=np.c_[1 - p, p],
                predicted=np.where(p >= 0.5, "yes", "no"),
            )
            finding = _found(blind)
            best.append(_number(finding, "best_value_per_row"))
            advised += "would earn" in finding.text
        assert abs(np.mean(best)) < 4 * np.std(best) / math.sqrt(100)
        assert advised <= 10, "one-sided 2.5 %, and folds that share rows"

    def test_a_cut_that_is_right_already_is_left_alone(self) -> None:
        subject = _rare()
        assert subject.probabilities is not None
        right = _with(subject, predicted=np.where(subject.probabilities[:, 1] >= 1 / 11, "yes", "no"))
        assert "No other threshold is shown to earn more" in _found(right).text

    @pytest.mark.parametrize(
        ("matrix", "said"),
        [
            ({("yes", "yes"): 1.0, ("no", "yes"): 1.0}, "Always answering yes would earn 1 a row"),
            ({("yes", "yes"): -1.0, ("no", "yes"): -1.0}, "Never answering yes would earn 0 a row"),
        ],
    )
    def test_always_and_never(self, matrix: Any, said: str) -> None:
        finding = _found(_rare(gate=worth(matrix=matrix)))
        assert said in finding.text
        threshold = _measure(finding, "best_threshold")
        assert (threshold.value is None) is ("Never" in said)
        assert threshold.value is not None or "never answering" in threshold.method

    def test_an_amount_that_hangs_on_other_rows_has_no_curve(self) -> None:
        def crowded(actual: Any, predicted: Any) -> Any:
            return np.full(len(actual), float(np.sum(predicted == "yes")))

        finding = _found(_rare(gate=worth(crowded)))
        assert "There is no value curve: what an answer earns does not depend on its own row alone." in finding.text
        assert _measure(finding, "best_threshold").value is None
        assert [chart.title for chart in finding.charts] == ["Value of an answer", "Value by row"]

    def test_few_rows_choose_nothing(self) -> None:
        assert "needs at least 30 rows" in _found(_rare(29)).text
        assert _measure(_found(_rare(30)), "best_value_per_row").value is not None
        weights = np.r_[np.ones(29), np.zeros(31)]
        assert "needs at least 30 rows" in _found(_rare(60, weights=weights)).text

    def test_without_two_classes_and_probabilities_there_is_nothing_to_move(self) -> None:
        three = subjects.classification(60, names=("a", "b", "c"), gates=[worth(matrix={("a", "a"): 1.0})])
        for subject in (three, _with(_rare(), probabilities=None), _regression(lambda a, p: p)):
            finding = _found(subject)
            assert not any(measure.name.startswith("best") for measure in finding.measures)
            assert "threshold" not in finding.text
            assert len(finding.charts) == 2

    def test_one_probability_for_all_is_all_or_nothing(self) -> None:
        finding = _found(_rare(probabilities=np.tile([0.7, 0.3], (2000, 1))))
        assert _number(finding, "best_threshold") == 0.3
        assert "Always answering yes would earn" in finding.text

    def test_one_class_only_in_the_rows(self) -> None:
        finding = _found(_with(_rare(200), actual=np.full(200, "no")))
        assert _measure(finding, "best_threshold").value is None
        assert _number(finding, "best_value_per_row") == 0.0

    def test_short_texts_do_not_cut_long_classes(self) -> None:
        subject = _rare(200)
        only_no = _with(subject, predicted=np.full(200, "no"))  # numpy keeps two letters of each
        assert earning.constant(only_no, 1).tolist() == ["yes"] * 200
        assert _number(_found(only_no), "best_value_per_row") > 0.0

    def test_weights_move_the_best_threshold(self) -> None:
        subject = _rare(4000)
        heavy = np.where(subject.actual == "no", 50.0, 1.0)
        plain, weighted = (_number(_found(_with(subject, weights=each)), "best_threshold") for each in (None, heavy))
        assert weighted > plain + 0.2
        assert _measure(_found(_with(subject, weights=heavy)), "value_per_row").method == "t interval, weighted"


class TestCharts:
    def test_the_curve_is_drawn_at_no_more_than_200_thresholds(self) -> None:
        finding = _found(_rare())
        chart = finding.charts[1]
        assert chart.title == "Value by threshold"
        line, own, best = (layer["data"]["values"] for layer in chart.spec["layer"])
        assert 150 < len(line) <= 200
        assert [each["x"] for each in line] == sorted(each["x"] for each in line)
        assert {each["y"] for each in own} == {_number(finding, "value_per_row")}
        assert best[0]["x"] == pytest.approx(_number(finding, "best_threshold"), rel=1e-5)
        assert best[0]["y"] == max(each["y"] for each in line)

    def test_all_who_earn_are_beside_each_other(self) -> None:
        subject = _rare(champion=np.full(2000, "no"))
        shown = [row["name"] for row in _found(subject).charts[0].spec["data"]["values"]]
        assert [name.split(" (")[0] for name in shown] == ["this model", "no model", "champion", "best threshold"]


class TestRefusals:
    def test_a_function_of_the_users_that_fails_names_what_is_allowed(self) -> None:
        subject = _regression(lambda actual, predicted: predicted[:3])
        with pytest.raises(ProjectInvalid, match="one finite number per row") as caught:
            Value().run(subject)
        assert caught.value.allowed == "shape (40,)"
        assert "shape (3,)" in (caught.value.received or "")

    def test_a_number_that_is_none_is_refused(self) -> None:
        with pytest.raises(ProjectInvalid, match="one finite number") as caught:
            Value().run(_regression(lambda actual, predicted: np.where(np.arange(40) < 2, np.nan, 1.0)))
        assert "2 of them not finite" in (caught.value.received or "")

    def test_a_worth_gate_that_says_nothing_is_refused(self) -> None:
        with pytest.raises(ProjectInvalid, match="does not say what an answer is worth"):
            Value().run(_with(subjects.regression(40), gates=[Gate(kind="worth", text="worth")]))


def test_many_rows_have_their_threshold() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(200_000)
    subject = subjects.classification(40, names=(0, 1))
    many = _with(
        subject,
        actual=(generator.random(len(p)) < p).astype(int),
        predicted=(p >= 0.5).astype(int),
        probabilities=np.c_[1 - p, p],
        baseline=np.zeros(len(p), dtype=int),
        frame=subject.frame.iloc[np.zeros(len(p), dtype=int)],
        gates=[worth(lambda actual, said: np.where(said == 1, np.where(actual == 1, 100.0, -10.0), 0.0))],
    )
    finding = _found(many)
    assert _number(finding, "best_threshold") == pytest.approx(1 / 11, abs=0.02)
