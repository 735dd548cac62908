"""The realised metric: which labels count, how it is compared with the reference, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fullcircle.monitoring.quality import FEWEST_LABELS, Labelled, Metric, join, realised, worse
from fullcircle.types.contract import Contract, Status, Value, Verdict
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Finding, Measure, Report

NUMBERS = Contract(columns=(), label="y", task="regression")
WORDS = Contract(columns=(), label="y", task="classification", classes=("no", "yes"))


def _mae(actual: NDArray[Any], predicted: NDArray[Any], shares: NDArray[Any] | None) -> float:
    return float(np.mean(np.abs(actual - predicted)))


def _within_one(actual: NDArray[Any], predicted: NDArray[Any], shares: NDArray[Any] | None) -> float:
    return float(np.mean(np.abs(actual - predicted) < 1.0))


MAE = Metric(name="mae", of=_mae, unit="bikes")
CLOSE = Metric(name="close", of=_within_one, greater_is_better=True)


def _profile(
    metric: str = "mae", value: float | None = 1.0, low: float | None = 0.9, high: float | None = 1.1
) -> Profile:
    return Profile(features=(), rows=500, metric=metric, metric_value=value, metric_low=low, metric_high=high)


def _logged(values: Sequence[Value], status: Status = "ok", **more: Any) -> list[Prediction]:
    return [
        Prediction(id=f"p-{n}", value=value, verdict=Verdict(status=status), **more) for n, value in enumerate(values)
    ]


def _labels(values: Sequence[Value]) -> dict[str, Outcome]:
    return {f"p-{n}": Outcome(prediction_id=f"p-{n}", value=value) for n, value in enumerate(values)}


def _off(by: float, n: int = 100) -> Labelled:
    """Answers that are wrong by ``by``, give or take a little."""
    predicted = np.zeros(n)
    actual = by + 0.05 * np.random.default_rng(0).normal(size=n)
    return Labelled(actual=actual, predicted=predicted, probabilities=None, unusable=0)


def _measures(finding: Finding) -> Mapping[str, Measure]:
    return {measure.name: measure for measure in finding.measures}


class TestJoin:
    def test_labels_go_beside_their_own_prediction(self) -> None:
        labels = {"p-2": Outcome(prediction_id="p-2", value=7.0), "p-0": Outcome(prediction_id="p-0", value=5)}
        found = join(_logged([1.0, 2.0, 3.0]), labels, NUMBERS)
        assert found.predicted.tolist() == [1.0, 3.0]
        assert found.actual.tolist() == [5.0, 7.0]
        assert found.actual.dtype == found.predicted.dtype == np.float64
        assert (found.probabilities, found.unusable) == (None, 0)

    @pytest.mark.parametrize(("label", "counts"), [(3, True), (3.5, True), (-0.0, True), (True, False), ("3", False)])
    @pytest.mark.parametrize("of", [1.0, -2.0])
    def test_a_quantity_is_a_number(self, label: Value, counts: bool, of: float) -> None:
        found = join(_logged([of]), _labels([label]), NUMBERS)
        assert len(found.actual) == int(counts)
        assert found.unusable == int(not counts)

    @pytest.mark.parametrize("label", [math.nan, math.inf, -math.inf, 10**400, -(10**400), 2**1024])
    def test_a_quantity_is_finite(self, label: float) -> None:
        assert join(_logged([1.0]), _labels([label]), NUMBERS).unusable == 1

    @pytest.mark.parametrize(("label", "counts"), [("no", True), ("perhaps", True), (1, False), (True, False)])
    def test_a_class_is_of_the_kind_of_the_classes(self, label: Value, counts: bool) -> None:
        # A class that is new is a label all the same: the model was wrong about it.
        found = join(_logged(["yes"]), _labels([label]), WORDS)
        assert len(found.actual) == int(counts)
        assert found.unusable == int(not counts)

    def test_true_is_not_one_among_classes(self) -> None:
        whole = replace(WORDS, classes=(0, 1))
        assert join(_logged([1]), _labels([True]), whole).unusable == 1
        assert join(_logged([1]), _labels([1]), whole).unusable == 0
        assert join(_logged([True]), _labels([True]), replace(WORDS, classes=(False, True))).unusable == 0

    def test_what_was_not_answered_logged_or_labelled_does_not_count(self) -> None:
        rejected = _logged([None], "rejected")
        unlogged = [Prediction(value=1.0, verdict=Verdict(status="ok"))]
        assert (
            len(
                join(
                    rejected + unlogged, {**_labels([1.0]), "": Outcome(prediction_id="", value=1.0)}, NUMBERS
                ).actual
            )
            == 0
        )
        assert join(_logged([1.0]), _labels([None]), NUMBERS) is not None
        unlabelled = join(_logged([1.0, 2.0]), _labels([None]), NUMBERS)
        assert (len(unlabelled.actual), unlabelled.unusable) == (0, 0)

    def test_probabilities_are_in_the_contracts_order_and_fallbacks_left_out(self) -> None:
        answered = _logged(["yes"] * 2, probabilities={"yes": 0.7, "no": 0.3})
        fallback = [Prediction(id="p-9", value="no", verdict=Verdict(status="fallback"))]
        labels = {**_labels(["no"] * 2), "p-9": Outcome(prediction_id="p-9", value="no")}
        found = join(answered + fallback, labels, WORDS)
        assert found.probabilities is not None
        assert found.probabilities.tolist() == [[0.3, 0.7]] * 2
        plain = join(fallback, labels, WORDS)
        assert plain.probabilities is None
        assert plain.predicted.tolist() == ["no"], "without probabilities anywhere, all rows count"


class TestRealised:
    @pytest.mark.parametrize(("labels", "told"), [(FEWEST_LABELS - 1, False), (FEWEST_LABELS, True)])
    def test_thirty_labels_are_the_fewest(self, labels: int, told: bool) -> None:
        finding = realised(_off(1.0, labels), 100, MAE, _profile())
        assert ("mae" in _measures(finding)) is told
        assert ("too few to tell (30 are needed)" in finding.text) is not told
        assert finding.text.startswith(f"{labels} of 100 answered rows have a label by now")

    def test_without_a_metric_it_only_counts(self) -> None:
        finding = realised(_off(1.0), 400, None, _profile())
        assert finding.severity == "info"
        assert "no metric was given" in finding.text
        (coverage,) = finding.measures
        assert (coverage.name, coverage.value, coverage.n) == ("label_coverage", 0.25, 400)
        assert coverage.low is not None
        assert coverage.high is not None
        assert coverage.low < 0.25 < coverage.high

    def test_labels_that_do_not_fit_are_said(self) -> None:
        assert "labels are of the wrong kind" not in realised(_off(1.0), 100, MAE, _profile()).text
        odd = realised(replace(_off(1.0), unusable=3), 100, MAE, _profile())
        assert "3 labels are of the wrong kind and left out" in odd.text

    @pytest.mark.parametrize(
        "profile",
        [_profile(metric="rmse"), _profile(metric=""), _profile(value=None)],
        ids=["another", "none", "unknown"],
    )
    def test_another_metric_is_not_compared(self, profile: Profile) -> None:
        finding = realised(_off(50.0), 100, MAE, profile)
        assert finding.severity == "info"
        assert "reference_mae" not in _measures(finding)
        assert "reference" not in finding.text
        assert _measures(finding)["mae"].value == pytest.approx(50.0, rel=0.01)

    @pytest.mark.parametrize(
        ("by", "severity"), [(1.0, "good"), (0.5, "good"), (1.05, "good"), (1.5, "warning"), (9.0, "warning")]
    )
    def test_less_is_better_for_an_error(self, by: float, severity: str) -> None:
        finding = realised(_off(by), 100, MAE, _profile())
        assert finding.severity == severity
        assert ("worse, beyond chance" in finding.text) is (severity == "warning")
        assert worse(Report(subject="m", findings=(finding,))) is (severity == "warning")

    @pytest.mark.parametrize(("by", "severity"), [(0.5, "good"), (9.0, "warning")])
    def test_more_is_better_for_a_share(self, by: float, severity: str) -> None:
        finding = realised(_off(by), 100, CLOSE, _profile("close", 0.8, 0.7, 0.9))
        assert finding.severity == severity

    @pytest.mark.parametrize(("metric", "by"), [(MAE, 9.0), (CLOSE, 9.0)])
    @pytest.mark.parametrize(("low", "high"), [(None, None), (None, 1.1), (0.9, None)])
    def test_without_an_interval_nothing_is_beyond_chance(
        self, metric: Metric, by: float, low: float | None, high: float | None
    ) -> None:
        # The bound that would be compared is missing: of an error the upper, of a share the lower one.
        needed = low if metric.greater_is_better else high
        finding = realised(_off(by), 100, metric, _profile(metric.name, 1.0, low, high))
        assert finding.severity == ("good" if needed is None else "warning")
        assert "1 on the reference" in finding.text

    def test_a_window_without_an_interval_is_not_worse(self) -> None:
        def flat(actual: NDArray[Any], predicted: NDArray[Any], shares: NDArray[Any] | None) -> float:
            return 100.0 if len(np.unique(actual)) == len(actual) else math.nan

        finding = realised(_off(1.0), 100, Metric(name="mae", of=flat), _profile())
        assert _measures(finding)["mae"].value == 100.0
        assert _measures(finding)["mae"].low is None
        assert finding.severity == "good"
        assert "mae is 100 on these rows" in finding.text

    def test_touching_intervals_are_not_apart(self) -> None:
        exact = Metric(name="mae", of=lambda actual, predicted, shares: 2.0)
        assert realised(_off(1.0), 100, exact, _profile(value=1.5, low=1.0, high=2.0)).severity == "good"
        assert realised(_off(1.0), 100, exact, _profile(value=1.5, low=1.0, high=1.999)).severity == "warning"
        better = replace(exact, greater_is_better=True)
        assert realised(_off(1.0), 100, better, _profile(value=2.5, low=2.0, high=3.0)).severity == "good"
        assert realised(_off(1.0), 100, better, _profile(value=2.5, low=2.001, high=3.0)).severity == "warning"

    def test_figures_carry_their_unit_rows_and_way(self) -> None:
        finding = realised(_off(1.0), 200, MAE, _profile())
        found, reference = _measures(finding)["mae"], _measures(finding)["reference_mae"]
        assert (found.unit, found.n, found.method) == ("bikes", 100, "percentile bootstrap, 1000 draws")
        assert (reference.unit, reference.n, reference.low, reference.high) == ("bikes", 500, 0.9, 1.1)
        assert "(0.9 to 1.1) on the reference" in finding.text

    def test_many_rows_need_fewer_draws(self) -> None:
        finding = realised(_off(1.0, 20_001), 20_001, MAE, _profile())
        assert _measures(finding)["mae"].method == "percentile bootstrap, 200 draws"

    def test_a_metric_of_probabilities_gets_the_rows_it_is_asked_about(self) -> None:
        n = 40
        labelled = Labelled(
            actual=np.arange(n),
            predicted=np.arange(n),
            probabilities=np.stack([np.arange(n)] * 2, axis=1),
            unusable=0,
        )

        def aligned(actual: NDArray[Any], predicted: NDArray[Any], shares: NDArray[Any] | None) -> float:
            assert shares is not None
            assert (shares[:, 0] == actual).all()
            assert (actual == predicted).all()
            return float(actual.mean())

        finding = realised(labelled, n, Metric(name="trust", of=aligned), _profile("trust", 0.0, 0.0, 0.0))
        assert _measures(finding)["trust"].value == pytest.approx(19.5)

    @given(st.integers(0, 60), st.integers(0, 100))
    def test_coverage_is_a_share_with_its_interval(self, labels: int, more: int) -> None:
        (coverage,) = realised(_off(1.0, labels), labels + more, None, _profile()).measures
        if labels + more == 0:
            assert (coverage.value, coverage.low, coverage.high) == (None, None, None)
            return
        assert coverage.value == labels / (labels + more)
        assert coverage.low is not None
        assert coverage.high is not None
        assert 0.0 <= coverage.low <= coverage.value <= coverage.high <= 1.0


def test_only_quality_makes_a_report_worse() -> None:
    drift = Finding(check="drift", code="M001", title="t", severity="warning", text="t")
    assert not worse(Report(subject="m", findings=(drift,)))
    assert not worse(Report(subject="m"))
