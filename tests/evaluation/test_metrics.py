"""The table of metrics against scikit-learn, with and without weights, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

import subjects
from fullcircle.errors import DataUnfit, ProjectInvalid
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.metrics import (
    METRICS,
    Answers,
    Metric,
    answers,
    estimate,
    find,
    main_metric,
    measure,
    of_task,
    trivial,
)
from fullcircle.types.gates import at_least, at_most, beats, fair, latency

SEEDS = st.integers(0, 2**32 - 1)
Scored = Callable[[Any, Any, Any, Any], float]  # actual, predicted, probabilities of the classes in order, weights


def _c(name: str) -> Metric:
    return find(name, "classification")


def _r(name: str) -> Metric:
    return find(name, "regression")


REGRESSION: dict[str, Callable[[Any, Any, Any], float]] = {
    "mae": lambda y, p, w: reference.mean_absolute_error(y, p, sample_weight=w),
    "rmse": lambda y, p, w: reference.root_mean_squared_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: reference.r2_score(y, p, sample_weight=w),
    "median_absolute_error": lambda y, p, w: reference.median_absolute_error(y, p, sample_weight=w),
    "bias": lambda y, p, w: float(np.average(p - y, weights=w)),
}
# Labels are 0, 1, ...: positions in the classes.
LABELS: dict[str, Scored] = {
    "accuracy": lambda y, p, s, w: reference.accuracy_score(y, p, sample_weight=w),
    "balanced_accuracy": lambda y, p, s, w: reference.balanced_accuracy_score(y, p, sample_weight=w),
    "f1": lambda y, p, s, w: reference.f1_score(y, p, average="macro", zero_division=0.0, sample_weight=w),
}
SHARES: dict[str, Scored] = {
    "log_loss": lambda y, p, s, w: reference.log_loss(y, s, labels=range(s.shape[1]), sample_weight=w),
}
BINARY: dict[str, Scored] = {
    "brier": lambda y, p, s, w: reference.brier_score_loss(y, s[:, 1], sample_weight=w, pos_label=1),
    "precision": lambda y, p, s, w: reference.precision_score(y, p, sample_weight=w, zero_division=np.nan),
    "recall": lambda y, p, s, w: reference.recall_score(y, p, sample_weight=w, zero_division=np.nan),
    "false_positive_rate": lambda y, p, s, w: reference.recall_score(1 - y, p, sample_weight=w, zero_division=np.nan),
    "selection_rate": lambda y, p, s, w: float(np.average(p == 1, weights=w)),
    "bias": lambda y, p, s, w: float(np.average(s[:, 1], weights=w) - np.average(y == 1, weights=w)),
}
BOTH_CLASSES: dict[str, Scored] = {
    "roc_auc": lambda y, p, s, w: reference.roc_auc_score(y, s[:, 1], sample_weight=w),
    "average_precision": lambda y, p, s, w: reference.average_precision_score(y, s[:, 1], sample_weight=w),
}
SEVERAL: dict[str, Scored] = {
    "brier": lambda y, p, s, w: reference.brier_score_loss(y, s, labels=range(s.shape[1]), sample_weight=w),
    "roc_auc": lambda y, p, s, w: reference.roc_auc_score(
        y, s, multi_class="ovr", average="macro", labels=range(s.shape[1]), sample_weight=w
    ),
}
KINDS = st.sampled_from([("no", "yes"), (0, 1), (False, True), ("a", "b", "c"), (3, 1, 7, 9), (2.5, -1.0, 0.0)])


def _classified(seed: int, rows: int, classes: tuple[Any, ...], levels: int = 0) -> tuple[Any, Any, Any]:
    """Labels, answers and probabilities; with ``levels`` probabilities repeat."""
    generator = np.random.default_rng(seed)
    kind: Any = object if isinstance(classes[0], str) else None
    values = np.array(classes, dtype=kind)
    actual = values[generator.integers(0, len(classes), size=rows)]
    shares = generator.dirichlet(np.ones(len(classes)), size=rows)
    if levels:
        shares = np.ceil(shares * levels)
        shares /= shares.sum(axis=1, keepdims=True)
    return actual, values[np.argmax(shares, axis=1)], shares


def _weights(seed: int, rows: int, weighted: bool) -> Any:
    return np.random.default_rng(seed + 1).exponential(size=rows) + 1e-3 if weighted else None


def _exactly(metric: Metric, given_answers: Answers, expected: float) -> None:
    found = metric.of(given_answers)
    if math.isnan(expected):
        assert math.isnan(found), metric.name
    else:
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), metric.name


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 60), st.booleans(), st.sampled_from([None, 1]))
def test_regression_metrics_are_scikit_learns(seed: int, rows: int, weighted: bool, digits: int | None) -> None:
    generator = np.random.default_rng(seed)
    actual, predicted = generator.normal(size=rows), generator.normal(size=rows)
    if digits is not None:
        actual, predicted = np.round(actual, digits), np.round(predicted, digits)
    weights = _weights(seed, rows, weighted)
    for name, function in REGRESSION.items():
        if name == "r2" and len(set(actual.tolist())) == 1:
            continue
        _exactly(
            _r(name), answers("regression", actual, predicted, weights=weights), function(actual, predicted, weights)
        )
    assert set(REGRESSION) == {metric.name for metric in of_task("regression")}


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 60), KINDS, st.booleans(), st.integers(0, 6))
def test_metrics_of_classes_are_scikit_learns(
    seed: int, rows: int, classes: tuple[Any, ...], weighted: bool, levels: int
) -> None:
    actual, predicted, shares = _classified(seed, rows, classes, levels)
    weights = _weights(seed, rows, weighted)
    coded = answers("classification", actual, predicted, shares, classes, weights)
    y, p = (np.array([classes.index(value) for value in each.tolist()]) for each in (actual, predicted))
    asked: dict[str, Scored] = {**LABELS, **SHARES}
    if len(classes) == 2:
        asked |= BINARY | (BOTH_CLASSES if len(set(y.tolist())) == 2 else {})
    elif len(set(y.tolist())) == len(classes):
        asked |= SEVERAL
    with warnings.catch_warnings():
        # scikit-learn warns of classes that were answered and never occur, and of rows of one class.
        warnings.simplefilter("ignore")
        for name, function in asked.items():
            _exactly(_c(name), coded, function(y, p, shares, weights))
        if len(classes) == 2 and len(set(y.tolist())) == len(set(p.tolist())) == 2:
            _exactly(_c("mcc"), coded, reference.matthews_corrcoef(y, p, sample_weight=weights))


def test_every_metric_of_the_table_is_compared() -> None:
    compared = {*LABELS, *SHARES, *BINARY, *BOTH_CLASSES, *SEVERAL, "mcc"}
    assert {metric.name for metric in of_task("classification")} == compared
    names = [(metric.task, metric.name) for metric in METRICS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: f"{metric.task}-{metric.name}")
@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")], ids=len)
def test_weights_that_are_whole_numbers_repeat_rows(metric: Metric, classes: tuple[str, ...]) -> None:
    generator = np.random.default_rng(3)
    times = generator.integers(0, 4, size=80)
    rows = np.repeat(np.arange(80), times)
    if metric.task == "regression":
        actual, predicted = generator.normal(size=(2, 80))
        whole = answers("regression", actual, predicted, weights=times.astype(float))
    else:
        actual, predicted, shares = _classified(3, 80, classes)
        whole = answers("classification", actual, predicted, shares, classes, times)
    if metric.applies(whole):
        repeated = Answers(
            whole.actual[rows],
            whole.predicted[rows],
            None if whole.probabilities is None else whole.probabilities[rows],
            whole.known,
            whole.labels,
        )
        assert metric.of(whole) == pytest.approx(metric.of(repeated), rel=1e-12)
        even = Answers(
            *(getattr(whole, each) for each in ("actual", "predicted", "probabilities", "known", "labels"))
        )
        seven = Answers(even.actual, even.predicted, even.probabilities, even.known, even.labels, np.full(80, 7.0))
        assert estimate(metric, even) == estimate(metric, seven), "the same weight for all is none"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: f"{metric.task}-{metric.name}")
@pytest.mark.parametrize("weighted", [False, True])
def test_influence_is_what_a_row_does_to_the_value(metric: Metric, weighted: bool) -> None:
    """A little more weight on row i moves the value by that much times its influence."""
    generator = np.random.default_rng(4)
    weights = generator.exponential(size=60) + 0.1 if weighted else np.ones(60)
    if metric.task == "regression":
        actual, noise = generator.normal(size=(2, 60))
        given_answers = answers("regression", actual, actual + noise, weights=weights)
    else:
        actual, predicted, shares = _classified(4, 60, ("a", "b"), levels=5)
        given_answers = answers("classification", actual, predicted, shares, ("a", "b"), weights)
    pulls = metric.influence(given_answers)
    assert pulls is not None
    assert np.dot(weights, pulls) == pytest.approx(0.0, abs=1e-10)
    if metric.name == "median_absolute_error":
        return  # its value moves in steps; the tests of intervals look after it
    for row in range(0, 60, 7):
        heavier = weights.copy()
        heavier[row] += 1e-6 * weights.sum()
        moved = Answers(
            given_answers.actual,
            given_answers.predicted,
            given_answers.probabilities,
            2 * (metric.task[0] == "c"),
            given_answers.labels,
            heavier,
        )
        slope = (metric.of(moved) - metric.of(given_answers)) / 1e-6
        assert slope == pytest.approx(pulls[row], abs=1e-4 * np.abs(pulls).max())


@pytest.mark.parametrize("classes", [("no", "yes"), (0, 1), (1.5, -2.0), (False, True)])
def test_labels_of_any_kind_get_the_code_of_their_class(classes: tuple[Any, ...]) -> None:
    kind: Any = object if isinstance(classes[0], str) else None
    actual = np.array([classes[1], classes[0], classes[1]], dtype=kind)
    for labels in (actual, actual.astype(object), actual.astype(str) if kind else actual):
        coded = answers("classification", labels, labels[::-1], None, classes)
        assert coded.actual.tolist() == [1, 0, 1]
        assert (coded.known, coded.labels) == (2, 2)


def test_text_and_numbers_that_look_alike_are_different_labels() -> None:
    mixed = np.array(["1", 1, True, 2, None], dtype=object)
    coded = answers("classification", mixed, mixed, None, ("1", 1))
    assert coded.actual.tolist() == [0, 1, 1, 2, 3]
    assert coded.labels == 4


def test_a_class_that_the_model_does_not_know_counts_as_wrong() -> None:
    actual = np.array(["a", "b", "new", "new"], dtype=object)
    predicted = np.array(["a", "b", "a", "b"], dtype=object)
    coded = answers("classification", actual, predicted, np.tile([0.5, 0.5], (4, 1)), ("a", "b"))
    assert _c("accuracy").of(coded) == 0.5
    assert _c("balanced_accuracy").of(coded) == pytest.approx(2 / 3)
    assert _c("log_loss").of(coded) > 17.0
    assert estimate(_c("roc_auc"), coded).value is None


def test_columns_of_probabilities_in_another_order_are_read_by_class() -> None:
    actual, predicted, shares = _classified(1, 50, ("a", "b", "c"))
    one = answers("classification", actual, predicted, shares, ("a", "b", "c"))
    other = answers("classification", actual, predicted, shares[:, [2, 0, 1]], ("c", "a", "b"))
    for metric in of_task("classification"):
        if metric.applies(one):
            assert metric.of(one) == pytest.approx(metric.of(other), rel=1e-12), metric.name


def test_the_main_metric_is_the_first_that_a_gate_names() -> None:
    assert main_metric("regression", ()).name == "mae"
    assert main_metric("classification", ()).name == "log_loss"
    assert main_metric("classification", (), probabilities=False).name == "accuracy"
    gates = (beats(), latency("5ms"), fair("g", "mae", 1.0), at_most("latency_p50_ms", 9), at_least("r2", 0.5))
    assert main_metric("regression", gates).name == "r2"
    assert main_metric("regression", (at_most("log_loss", 1.0), at_most("rmse", 1.0))).name == "rmse"


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    for name in ("accuracy", "mape", ""):
        with pytest.raises(ProjectInvalid) as caught:
            find(name, "regression")
        assert "mae, rmse, r2, bias" in str(caught.value.allowed)


def test_the_trivial_model_is_the_mean_or_the_most_frequent_class() -> None:
    values, shares = trivial(np.array([1, 2, 6]), 4, task="regression")
    assert values.tolist() == [3.0] * 4
    assert shares is None
    labels = np.array(["b", "a", "b", "b"], dtype=object)
    values, shares = trivial(labels, 2, task="classification", classes=("a", "b", "c"))
    assert values.tolist() == ["b", "b"]
    assert shares is not None
    assert shares.tolist() == [[0.25, 0.75, 0.0]] * 2


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_the_best_constant_probability_is_that_of_the_trivial_model(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.array(["a", "b"], dtype=object)[generator.integers(0, 2, size=40)]
    if len(set(labels.tolist())) < 2:
        return
    values, shares = trivial(labels, 40, task="classification", classes=("a", "b"))
    other = np.tile([0.37, 0.63], (40, 1))
    of = _c("log_loss").of
    best = of(answers("classification", labels, values, shares, ("a", "b")))
    assert best <= of(answers("classification", labels, values, other, ("a", "b"))) + 1e-12


@pytest.mark.parametrize(
    ("name", "value", "merit"),
    [("accuracy", 0.9, 0.9), ("mae", 3.0, -3.0), ("bias", 2.0, -2.0), ("bias", -2.0, -2.0), ("r2", -1.0, -1.0)],
)
def test_merit_is_more_for_better(name: str, value: float, merit: float) -> None:
    assert find(name, "classification" if name == "accuracy" else "regression").merit(value) == merit


def test_no_probabilities_have_no_surprise() -> None:
    labels = np.array(["a", "b"], dtype=object)
    without = answers("classification", labels, labels, None, ("a", "b"))
    for name in ("log_loss", "roc_auc"):
        assert math.isnan(_c(name).of(without))
        assert not _c(name).applies(without)


def test_a_probability_of_nothing_costs_much_and_not_everything() -> None:
    labels = np.array(["a"], dtype=object)
    sure = answers("classification", labels, labels, np.array([[0.0, 1.0]]), ("a", "b"))
    assert _c("log_loss").of(sure) == pytest.approx(-math.log(np.finfo(float).eps))
    right = answers("classification", labels, labels, np.array([[1.0, 0.0]]), ("a", "b"))
    assert _c("log_loss").of(right) == 0.0


def test_two_classes_are_named_by_their_place() -> None:
    labels = np.array(["lo", "hi", "hi", "lo"], dtype=object)
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    area = _c("roc_auc")
    assert area.of(answers("classification", labels, labels, shares, ("lo", "hi"))) == 1.0
    assert area.of(answers("classification", labels, labels, shares, ("hi", "lo"))) == 0.0
    three = answers("classification", labels, labels, np.full((4, 3), 1 / 3), ("lo", "hi", "mid"))
    assert area.applies(three)
    assert not _c("recall").applies(three)


def _refused(metric: Metric, *given_answers: Any) -> str:
    found = measure(metric, *given_answers)
    assert (found.value, found.low, found.high) == (None, None, None)
    return found.method


def test_what_is_not_defined_has_no_value_and_says_why() -> None:
    constant = np.full(50, 0.1)
    assert "the label is constant" in _refused(_r("r2"), constant, constant + 1.0)
    assert "there are no rows" in _refused(_r("mae"), np.array([]), np.array([]))
    a, b = np.array(["a"] * 50, dtype=object), np.array(["b"] * 50, dtype=object)
    half, both = np.tile([0.5, 0.5], (50, 1)), ("a", "b")
    for labels in (a, b):
        assert "a class does not occur" in _refused(_c("roc_auc"), labels, labels, half, both)
        assert "one class" in _refused(_c("average_precision"), labels, labels, half, both)
        assert "of one class" in _refused(_c("mcc"), labels, labels, half, both)
    assert "no row is of the positive class" in _refused(_c("recall"), a, b, half, both)
    assert "no row is of the negative class" in _refused(_c("false_positive_rate"), b, b, half, both)
    assert "no row is answered with the positive class" in _refused(_c("precision"), a, a, half, both)
    assert "it needs probabilities" in _refused(_c("log_loss"), a, a, None, both)
    three = np.full((50, 3), 1 / 3)
    assert "it needs two classes" in _refused(_c("mcc"), a, a, three, ("a", "b", "c"))


def test_a_class_that_does_not_occur_leaves_one_against_the_rest_undefined_and_the_others_not() -> None:
    actual, predicted, shares = _classified(2, 60, ("a", "b", "c"))
    kept = actual != "c"
    coded = answers("classification", actual[kept], predicted[kept], shares[kept], ("a", "b", "c"))
    assert math.isnan(_c("roc_auc").of(coded))
    assert _c("balanced_accuracy").of(coded) == pytest.approx(
        np.mean([np.mean(predicted[actual == name] == name) for name in ("a", "b")])
    )
    for name in ("log_loss", "accuracy", "f1", "brier"):
        assert math.isfinite(_c(name).of(coded))


def test_rows_of_an_unknown_class_are_not_taken_for_one_of_two() -> None:
    actual = np.array(["a", "b", "new", "b"], dtype=object)
    shares = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.25, 0.75]])
    coded = answers("classification", actual, np.array(["a", "b", "a", "b"], dtype=object), shares, ("a", "b"))
    for metric in of_task("classification"):
        if metric.binary:
            assert "does not know" in estimate(metric, coded).method, metric.name
    assert "does not know" in estimate(_c("roc_auc"), coded).method
    # Of three classes, one of which the model gave nothing: half of 0.5² + 0.5² + 1².
    expected = (3 * 0.25**2 + 0.75) / 4
    assert _c("brier").of(coded) == pytest.approx(expected)


class TestLargeWholeNumbers:
    """Beyond 2^53 neighbours become the same float, and an error of one would be none."""

    @pytest.mark.parametrize("kind", [np.int64, np.uint64, object])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_they_are_refused(self, kind: Any, sign: int) -> None:
        if kind is np.uint64 and sign < 0:
            return
        far = np.array([0, 1, sign * (2**53 + 1)], dtype=kind)
        for actual, predicted in ((far, np.zeros(3)), (np.zeros(3), far), (far, far)):
            with pytest.raises(DataUnfit, match="that a float cannot hold") as caught:
                answers("regression", actual, predicted)
            assert caught.value.received == str(sign * (2**53 + 1))
            assert caught.value.next_step

    def test_as_far_as_floats_are_exact_they_are_measured(self) -> None:
        last = np.array([2**53, 2**53 - 1, -(2**53)])
        mae = find("mae", "regression")
        assert mae.of(answers("regression", last, last - np.array([1, 0, -1]))) == pytest.approx(2 / 3)
        assert mae.of(answers("regression", np.array([1e300, 2.0]), np.array([1e300, 3.0]))) == 0.5
        assert mae.of(answers("regression", np.array([True, False]), np.array([1, 1]))) == 0.5

    def test_an_evaluation_refuses_them(self) -> None:
        subject = dataclasses.replace(subjects.regression(40), actual=2**60 + np.arange(40))
        with pytest.raises(DataUnfit, match="that a float cannot hold"):
            evaluate(subject, checks=["quality"])


def test_rows_count_by_what_their_weights_tell() -> None:
    actual = np.arange(200.0)
    for weights, worth in (
        (None, 200),
        (np.full(200, 0.1), 200),
        (np.r_[np.ones(3), np.zeros(197)], 3),
        (np.r_[np.full(3, 1e9), np.ones(197)], 3),
        (np.tile([1.0, 3.0], 100), 160),
    ):
        assert answers("regression", actual, actual, weights=weights).worth == worth
