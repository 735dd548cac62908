"""The table of metrics against scikit-learn, its intervals, and its paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation.metrics import (
    METRICS,
    Answers,
    answers,
    draws_for,
    estimate,
    find,
    improvement,
    main_metric,
    measure,
    of_task,
    trivial,
)
from fullcircle.stats import intervals
from fullcircle.types.gates import at_least, at_most, beats, fair, latency

SEEDS = st.integers(0, 2**32 - 1)
REGRESSION: dict[str, Callable[[Any, Any], float]] = {
    "mae": reference.mean_absolute_error,
    "rmse": reference.root_mean_squared_error,
    "r2": reference.r2_score,
    "bias": lambda actual, predicted: float(np.mean(predicted) - np.mean(actual)),
}
LABELS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "f1": lambda actual, predicted: float(reference.f1_score(actual, predicted, average="macro", zero_division=0.0)),
}


def _classified(seed: int, rows: int, classes: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(seed)
    kind: Any = object if isinstance(classes[0], str) else None
    values = np.array(classes, dtype=kind)
    actual = values[generator.integers(0, len(classes), size=rows)]
    shares = generator.dirichlet(np.ones(len(classes)), size=rows)
    return actual, values[np.argmax(shares, axis=1)], shares


def _exactly(name: str, given_answers: Answers, expected: float) -> None:
    assert METRICS[name].of(given_answers) == pytest.approx(expected, rel=1e-12, abs=1e-12), name


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 60))
def test_regression_metrics_are_scikit_learns(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    actual, predicted = generator.normal(size=rows), generator.normal(size=rows)
    for name, function in REGRESSION.items():
        _exactly(name, answers("regression", actual, predicted), function(actual, predicted))
    assert set(REGRESSION) == {metric.name for metric in of_task("regression")}


@settings(max_examples=40, deadline=None)
@given(
    SEEDS, st.integers(2, 60), st.sampled_from([("no", "yes"), (0, 1), (False, True), ("a", "b", "c"), (3, 1, 7, 9)])
)
def test_metrics_of_labels_are_scikit_learns(seed: int, rows: int, classes: tuple[Any, ...]) -> None:
    actual, predicted, shares = _classified(seed, rows, classes)
    coded = answers("classification", actual, predicted, shares, classes)
    text = [str(value) for value in actual], [str(value) for value in predicted]
    for name, function in LABELS.items():
        if name == "balanced_accuracy" and (set(text[1]) - set(text[0]) or len(set(text[0])) < 2):
            continue  # scikit-learn warns of classes that were predicted and never occur, and of one class only
        _exactly(name, coded, function(*text))
    order = np.argsort([str(value) for value in classes])
    names = sorted(str(value) for value in classes)
    _exactly("log_loss", coded, reference.log_loss(text[0], shares[:, order], labels=names))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 12))
def test_roc_auc_is_scikit_learns_with_ties(seed: int, rows: int, levels: int) -> None:
    actual, predicted, shares = _classified(seed, rows, ("no", "yes"))
    shares = np.round(shares * levels) / levels
    coded = answers("classification", actual, predicted, shares, ("no", "yes"))
    if len(set(actual.tolist())) < 2:
        assert math.isnan(METRICS["roc_auc"].of(coded))
    else:
        _exactly("roc_auc", coded, reference.roc_auc_score((actual == "yes").astype(int), shares[:, 1]))


def test_a_class_that_the_model_does_not_know_counts_as_wrong() -> None:
    actual = np.array(["a", "b", "new", "new"], dtype=object)
    predicted = np.array(["a", "b", "a", "b"], dtype=object)
    coded = answers("classification", actual, predicted, np.tile([0.5, 0.5], (4, 1)), ("a", "b"))
    assert METRICS["accuracy"].of(coded) == 0.5
    assert METRICS["balanced_accuracy"].of(coded) == pytest.approx(2 / 3)
    assert METRICS["log_loss"].of(coded) > 17.0
    assert estimate(METRICS["roc_auc"], coded).value is None


def test_columns_of_probabilities_in_another_order_are_read_by_class() -> None:
    actual, predicted, shares = _classified(1, 50, ("a", "b", "c"))
    one = answers("classification", actual, predicted, shares, ("a", "b", "c"))
    other = answers("classification", actual, predicted, shares[:, [2, 0, 1]], ("c", "a", "b"))
    for metric in of_task("classification"):
        if metric.applies(one):
            assert metric.of(one) == pytest.approx(metric.of(other), rel=1e-12), metric.name


@pytest.mark.parametrize("name", list(METRICS))
def test_every_interval_holds_its_value_and_names_its_method(name: str) -> None:
    metric = METRICS[name]
    if metric.task == "regression":
        generator = np.random.default_rng(0)
        actual = generator.normal(size=300)
        found = measure(metric, actual, actual + generator.normal(size=300), unit="kg")
        assert found.unit == ("kg" if metric.unit == "label" else "")
    else:
        actual, predicted, shares = _classified(0, 300, ("no", "yes"))
        found = measure(metric, actual, predicted, shares, ("no", "yes"))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.n == 300
    assert any(word in found.method for word in ("Wilson", "t interval", "bootstrap"))


@pytest.mark.parametrize("name", ["mae", "rmse", "bias"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(name: str) -> None:
    truth = {"mae": math.sqrt(2.0 / math.pi), "rmse": 1.0, "bias": 0.0}[name]
    held = 0
    for seed in range(200):
        error = np.random.default_rng(seed).normal(size=120)
        found = measure(METRICS[name], np.zeros(120), error, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    # A percentile bootstrap runs a little short with 120 rows; the others are within chance of 190.
    assert (170 if name == "rmse" else 178) <= held <= 199


def test_what_is_not_defined_has_no_value_and_says_so() -> None:
    constant = np.ones(50)
    assert measure(METRICS["r2"], constant, constant).value is None
    labels = np.array(["a"] * 50, dtype=object)
    shares = np.tile([0.5, 0.5], (50, 1))
    assert measure(METRICS["roc_auc"], labels, labels, shares, ("a", "b")).value is None
    without = measure(METRICS["log_loss"], labels, labels, None, ("a", "b"))
    assert without.value is None
    assert without.method
    assert measure(METRICS["mae"], np.array([]), np.array([])).value is None
    alone = measure(METRICS["mae"], np.array([1.0]), np.array([2.0]))
    assert (alone.value, alone.low, alone.high) == (1.0, None, None)


@pytest.mark.parametrize("name", ["mae", "rmse", "r2", "bias"])
def test_a_better_model_improves_and_a_worse_one_does_not(name: str) -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(size=400)
    good, bad = actual + 0.1 * generator.normal(size=400), actual + 1.0 + generator.normal(size=400)
    better = improvement(METRICS[name], answers("regression", actual, good), answers("regression", actual, bad))
    worse = improvement(METRICS[name], answers("regression", actual, bad), answers("regression", actual, good))
    assert better.low is not None
    assert worse.high is not None
    assert better.low > 0.0 > worse.high
    assert better.value == pytest.approx(-(worse.value or 0.0))


@pytest.mark.parametrize("name", list(METRICS))
def test_the_same_answers_are_no_improvement(name: str) -> None:
    metric = METRICS[name]
    if metric.task == "regression":
        actual = np.random.default_rng(0).normal(size=60)
        same = answers("regression", actual, actual + 1.0)
    else:
        same = answers("classification", *_classified(0, 60, ("no", "yes")), ("no", "yes"))
    found = improvement(metric, same, same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_rival_without_probabilities_cannot_be_compared_by_them() -> None:
    actual, predicted, shares = _classified(0, 60, ("no", "yes"))
    own = answers("classification", actual, predicted, shares, ("no", "yes"))
    rival = answers("classification", actual, predicted, None, ("no", "yes"))
    found = improvement(METRICS["log_loss"], own, rival)
    assert found.value is None
    assert "log_loss" in found.method


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
    of = METRICS["log_loss"].of
    best = of(answers("classification", labels, values, shares, ("a", "b")))
    assert best <= of(answers("classification", labels, values, other, ("a", "b"))) + 1e-12


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_share_of_hits_has_wilsons_interval(hits: int, misses: int) -> None:
    rows = hits + misses
    actual = np.array(["a"] * rows, dtype=object)
    predicted = np.array(["a"] * hits + ["b"] * misses, dtype=object)
    found = measure(METRICS["accuracy"], actual, predicted, None, ("a", "b"))
    if rows == 0:
        assert found.value is None
        return
    expected = intervals.proportion(hits, rows)
    assert (found.value, found.low, found.high) == pytest.approx(tuple(expected))
    assert found.method == "Wilson interval"


@pytest.mark.parametrize(("rows", "draws"), [(50_000, 1000), (50_001, 200), (1, 1000)])
def test_fewer_draws_for_many_rows(rows: int, draws: int) -> None:
    assert draws_for(rows) == draws


@pytest.mark.parametrize(
    ("name", "value", "merit"),
    [("accuracy", 0.9, 0.9), ("mae", 3.0, -3.0), ("bias", 2.0, -2.0), ("bias", -2.0, -2.0), ("r2", -1.0, -1.0)],
)
def test_merit_is_more_for_better(name: str, value: float, merit: float) -> None:
    assert METRICS[name].merit(value) == merit


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(["mae", "bias", "r2", "rmse"]))
def test_an_improvement_is_the_opposite_of_the_rivals(seed: int, name: str) -> None:
    generator = np.random.default_rng(seed)
    actual, one, two = (generator.normal(size=25) for _ in range(3))
    here, there = answers("regression", actual, one), answers("regression", actual, two)
    gain, loss = improvement(METRICS[name], here, there), improvement(METRICS[name], there, here)
    assert gain.value is not None
    assert loss.value is not None
    assert gain.low is not None
    assert loss.high is not None
    assert gain.value == pytest.approx(-loss.value, abs=1e-12)
    assert gain.low == pytest.approx(-loss.high, abs=1e-9)
    assert gain.low <= gain.value <= (gain.high or 0.0)


def test_an_improvement_that_is_not_defined_says_why() -> None:
    constant = answers("regression", np.ones(40), np.zeros(40))
    found = improvement(METRICS["r2"], constant, constant)
    assert (found.value, found.low, found.method) == (None, None, "r2 is not defined on these rows")
    nothing = answers("regression", np.array([]), np.array([]))
    assert improvement(METRICS["mae"], nothing, nothing).method == "mae cannot be told for both"


def test_no_probabilities_have_no_surprise() -> None:
    labels = np.array(["a", "b"], dtype=object)
    without = answers("classification", labels, labels, None, ("a", "b"))
    for name in ("log_loss", "roc_auc"):
        assert math.isnan(METRICS[name].of(without))
        assert not METRICS[name].applies(without)


def test_a_probability_of_nothing_costs_much_and_not_everything() -> None:
    labels = np.array(["a"], dtype=object)
    sure = answers("classification", labels, labels, np.array([[0.0, 1.0]]), ("a", "b"))
    assert METRICS["log_loss"].of(sure) == pytest.approx(-math.log(np.finfo(float).eps))
    right = answers("classification", labels, labels, np.array([[1.0, 0.0]]), ("a", "b"))
    assert METRICS["log_loss"].of(right) == 0.0


def test_two_classes_are_needed_for_roc_auc_and_named_by_their_place() -> None:
    labels = np.array(["lo", "hi", "hi", "lo"], dtype=object)
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    of = METRICS["roc_auc"]
    assert of.of(answers("classification", labels, labels, shares, ("lo", "hi"))) == 1.0
    assert of.of(answers("classification", labels, labels, shares, ("hi", "lo"))) == 0.0
    three = answers("classification", labels, labels, np.full((4, 3), 1 / 3), ("lo", "hi", "mid"))
    assert not of.applies(three)


@pytest.mark.parametrize(
    ("name", "alone", "paired"),
    [
        ("mae", "t interval", "paired t interval"),
        ("bias", "t interval", "paired percentile bootstrap, 1000 draws"),
        ("rmse", "percentile bootstrap, 1000 draws", "paired percentile bootstrap, 1000 draws"),
    ],
)
def test_each_figure_names_the_procedure_that_fits_it(name: str, alone: str, paired: str) -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(size=30)
    one, two = (answers("regression", actual, actual + generator.normal(size=30)) for _ in range(2))
    assert estimate(METRICS[name], one).method == alone
    assert improvement(METRICS[name], one, two).method == paired
    assert estimate(METRICS[name], one, seed=1).value == estimate(METRICS[name], one).value


def test_what_does_not_apply_is_not_guessed() -> None:
    labels = np.array(["a", "b"] * 20, dtype=object)
    three = answers("classification", labels, labels, np.full((40, 3), 1 / 3), ("a", "b", "c"))
    found = estimate(METRICS["roc_auc"], three)
    assert (found.value, found.method) == (None, "not defined on these rows")
