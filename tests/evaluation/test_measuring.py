"""Intervals of metrics and paired improvements: they hold their value, keep their range, and hold the truth."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.evaluation.metrics import (
    METRICS,
    Answers,
    Metric,
    answers,
    as_measure,
    estimate,
    find,
    improvement,
    measure,
    of_task,
)
from fullcircle.stats import influence, intervals
from laws.sizes import ROOT

SEEDS = st.integers(0, 2**32 - 1)
NAMED = [pytest.param(metric, id=f"{metric.task}-{metric.name}") for metric in METRICS]
JUDGING = [pytest.param(metric, id=f"{metric.task}-{metric.name}") for metric in METRICS if metric.better]


def _c(name: str) -> Metric:
    return find(name, "classification")


def _r(name: str) -> Metric:
    return find(name, "regression")


def _scored(seed: int, rows: int, *, skill: float = 1.0, classes: int = 2, weighted: bool = False) -> Answers:
    """Classes with probabilities that know something about them."""
    generator = np.random.default_rng(seed)
    actual = generator.integers(0, classes, size=rows)
    marks = generator.normal(size=(rows, classes))
    marks[np.arange(rows), actual] += skill
    shares = np.exp(marks) / np.exp(marks).sum(axis=1, keepdims=True)
    weights = generator.exponential(size=rows) if weighted else None
    return Answers(actual, np.argmax(shares, axis=1), shares, classes, classes, weights)


def _numbers(seed: int, rows: int, *, spread: float = 1.0, weighted: bool = False) -> Answers:
    generator = np.random.default_rng(seed)
    actual = generator.normal(size=rows)
    weights = generator.exponential(size=rows) if weighted else None
    return answers("regression", actual, actual + 0.2 + spread * generator.normal(size=rows), weights=weights)


def _drawn(metric: Metric, seed: int, rows: int, *, better: bool = True, weighted: bool = False) -> Answers:
    if metric.task == "regression":
        return _numbers(seed, rows, spread=0.5 if better else 1.5, weighted=weighted)
    return _scored(seed, rows, skill=1.5 if better else 0.2, weighted=weighted)


def _perfect(classes: int, rows: int = 60) -> Answers:
    actual = np.arange(rows) % classes
    return Answers(actual, actual, np.eye(classes)[actual] * 0.9 + 0.1 / classes, classes, classes)


@pytest.mark.parametrize("metric", NAMED)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [2, 8, 300])
def test_every_interval_holds_its_value_within_the_range_and_names_its_method(
    metric: Metric, weighted: bool, rows: int
) -> None:
    for seed in range(12):
        found = estimate(metric, _drawn(metric, seed, rows, weighted=weighted))
        assert found.method
        if found.value is None or found.low is None:
            assert found.high is None
            assert rows < 300, "it has a value and an interval on many rows"
            continue
        assert found.high is not None
        assert metric.span[0] <= found.low <= found.value <= found.high <= metric.span[1]
        if rows == 300:
            assert found.low < found.high
            assert found.error is not None
            assert (found.high - found.low) / 3.92 == pytest.approx(found.error, rel=0.5)


@pytest.mark.parametrize("metric", NAMED)
def test_one_row_has_no_interval_unless_it_is_a_share(metric: Metric) -> None:
    one = _drawn(metric, 1, 1)
    found = estimate(metric, one)
    if "Wilson" in found.method:
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.low > 0.6, "one row tells hardly anything"
        return
    assert (found.low, found.high) == (None, None)
    if found.value is not None:
        assert found.method == "one row has no interval"


@pytest.mark.parametrize(
    ("name", "task", "method", "paired"),
    [
        ("mae", "regression", "t interval", "paired t interval"),
        ("bias", "regression", "t interval", "paired t intervals of the difference and the sum of both"),
        (
            "rmse",
            "regression",
            "delta method, influence values, log scale",
            "paired t interval of influence values",
        ),
        (
            "median_absolute_error",
            "regression",
            "order statistics, binomial",
            "paired t interval of influence values",
        ),
        ("log_loss", "classification", "t interval", "paired t interval"),
        (
            "accuracy",
            "classification",
            "Wilson interval",
            "paired Wald interval with half a row more in each case (Agresti and Min)",
        ),
        (
            "balanced_accuracy",
            "classification",
            "Wilson interval of each class, joined (Newcombe)",
            "paired t interval of influence values",
        ),
        (
            "roc_auc",
            "classification",
            "delta method, influence values, logit scale",
            "paired t interval of influence values",
        ),
        (
            "mcc",
            "classification",
            "delta method, influence values, Fisher z scale",
            "paired t interval of influence values",
        ),
    ],
)
def test_each_figure_names_the_procedure_that_fits_it(name: str, task: Any, method: str, paired: str) -> None:
    metric = find(name, task)
    one, two = (_drawn(metric, seed, 80) for seed in (0, 1))
    rival = dataclasses.replace(two, actual=one.actual)
    assert estimate(metric, one).method == method
    assert improvement(metric, one, rival).method == paired
    assert estimate(metric, one) == estimate(metric, one, seed=1)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_a_share_of_hits_has_wilsons_interval(hits: int, misses: int) -> None:
    rows = hits + misses
    actual = np.array(["a"] * rows, dtype=object)
    predicted = np.array(["a"] * hits + ["b"] * misses, dtype=object)
    found = measure(_c("accuracy"), actual, predicted, None, ("a", "b"))
    if rows == 0:
        assert found.value is None
        return
    assert (found.value, found.low, found.high) == pytest.approx(tuple(intervals.proportion(hits, rows)))


def test_shares_of_some_rows_count_those_rows_alone() -> None:
    some = _scored(3, 200)
    hit = int(np.sum((some.actual == 1) & (some.predicted == 1)))
    for name, of in (("recall", np.sum(some.actual == 1)), ("precision", np.sum(some.predicted == 1))):
        found = estimate(_c(name), some)
        assert (found.value, found.low, found.high) == pytest.approx(tuple(intervals.proportion(hit, int(of))))


def test_uneven_weights_make_intervals_wider() -> None:
    for metric in METRICS:
        even, uneven = (estimate(metric, _drawn(metric, 5, 400, weighted=each)) for each in (False, True))
        assert even.error is not None
        assert uneven.error is not None
        # Exponential weights are worth half the rows.
        assert 1.05 < uneven.error / even.error < 1.9, metric.name


@pytest.mark.parametrize("classes", [2, 3])
def test_perfect_answers_are_not_perfect_for_certain(classes: int) -> None:
    for rows in (60, 600):
        perfect = _perfect(classes, rows)
        for metric in of_task("classification"):
            if not metric.applies(perfect) or metric.name in ("log_loss", "brier", "bias", "selection_rate"):
                continue
            found = estimate(metric, perfect)
            best = 0.0 if metric.better == "lower" else 1.0
            assert found.value == best, metric.name
            assert found.low is not None
            assert found.high is not None
            assert best in (found.low, found.high)
            # The rule of three: what was never seen in n rows may still happen 3 times in n.
            assert 2.0 / rows < found.high - found.low < 30.0 * classes / rows, metric.name


def test_answers_that_are_all_wrong_are_not_for_certain_either() -> None:
    actual = np.arange(60) % 2
    shares = np.eye(2)[1 - actual]
    wrong = Answers(actual, 1 - actual, shares, 2, 2)
    for name, worst in (("f1", 0.0), ("roc_auc", 0.0), ("mcc", -1.0), ("balanced_accuracy", 0.0)):
        found = estimate(_c(name), wrong)
        assert (found.value, found.low) == (worst, worst)
        assert found.high is not None
        assert 0.02 < found.high - worst < 0.5


@pytest.mark.parametrize("off", [0.0, 0.1, -3.0])
@pytest.mark.parametrize("weights", [None, np.r_[np.zeros(3), np.ones(17), np.full(20, 3.0)]])
def test_errors_that_are_all_alike_tell_nothing_about_others(off: float, weights: Any) -> None:
    """An interval of no width would let the model through whatever the limit is. 0.1 leaves rounding behind."""
    rows = 40 if weights is None else 37
    exact = answers("regression", np.arange(40.0), np.arange(40.0) + off, weights=weights)
    for name, value in (("mae", abs(off)), ("rmse", abs(off)), ("bias", off), *([] if off else [("r2", 1.0)])):
        found = estimate(_r(name), exact)
        assert found.value == pytest.approx(value)
        assert (found.low, found.high) == (None, None)
        assert found.method == f"all {rows} rows are alike, so nothing tells how others would be"
    # The order of rows tells where the median lies whatever their spread.
    median = estimate(_r("median_absolute_error"), exact)
    assert median.low == pytest.approx(abs(off))
    assert (
        estimate(_r("mae"), answers("regression", np.arange(40.0), np.arange(40.0) + off + np.eye(40)[5])).low
        is not None
    )


@pytest.mark.parametrize("name", ["log_loss", "brier", "bias", "roc_auc"])
def test_probabilities_that_are_all_alike_tell_nothing_about_others(name: str) -> None:
    labels = np.array(["a"] * 40)
    said = {"bias": 0.3, "log_loss": 0.3, "brier": 0.3, "roc_auc": 0.3}[name]
    if name == "roc_auc":
        labels = np.array(["a", "b"] * 20)
    found = estimate(
        find(name, "classification"),
        answers("classification", labels, labels, np.tile([1.0 - said, said], (40, 1)), ("a", "b")),
    )
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert "all 40 rows are alike" in found.method


def test_gains_that_are_all_alike_are_no_proof() -> None:
    truth = np.arange(40.0)
    ours, theirs = (answers("regression", truth, truth + off) for off in (1.0, 2.0))
    for name in ("mae", "bias"):
        found = improvement(_r(name), ours, theirs)
        assert found.value == pytest.approx(1.0)
        assert (found.low, found.high) == (None, None), name
        assert "all 40 rows are alike" in found.method
    noisy = answers("regression", truth, truth + np.random.default_rng(0).normal(size=40))
    shifted = answers("regression", truth, noisy.predicted + 1.0)
    assert improvement(_r("bias"), noisy, shifted).low is None, "the difference of both is the same in every row"
    same = improvement(_r("mae"), ours, ours)
    assert (same.value, same.low, same.high, same.method) == (0.0, 0.0, 0.0, "the same answers in every row")
    # A share has bounds of its own.
    labels = np.array(["a", "b"] * 20)
    right, wrong = (
        answers("classification", labels, said, None, ("a", "b"), np.r_[1.0, np.full(39, 2.0)])
        for said in (labels, labels[::-1])
    )
    share = improvement(find("accuracy", "classification"), right, wrong)
    assert share.low is not None
    assert 0.0 < share.low < 1.0


@pytest.mark.parametrize("metric", JUDGING)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_better_model_improves_and_a_worse_one_does_not(metric: Metric, weighted: bool) -> None:
    good, bad = (_drawn(metric, 7, 600, better=each, weighted=weighted) for each in (True, False))
    if metric.better == "zero":
        shift = dataclasses.replace
        bad = (
            shift(bad, predicted=bad.actual - 2.0)
            if metric.task == "regression"
            else shift(bad, probabilities=np.tile([0.95, 0.05], (600, 1)))
        )
    better, worse = improvement(metric, good, bad), improvement(metric, bad, good)
    assert better.value is not None
    assert better.low is not None
    assert better.high is not None
    assert worse.value is not None
    assert worse.low is not None
    assert worse.high is not None
    assert better.low > 0.0 > worse.high
    assert better.value == pytest.approx(-worse.value)
    assert better.low == pytest.approx(-worse.high, abs=1e-9)
    assert better.low <= better.value <= better.high
    assert better.value == pytest.approx(metric.merit(metric.of(good)) - metric.merit(metric.of(bad)), abs=1e-12)


@pytest.mark.parametrize("metric", JUDGING)
def test_the_same_answers_are_no_improvement(metric: Metric) -> None:
    same = _drawn(metric, 0, 60)
    found = improvement(metric, same, same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.method == "the same answers in every row"


def test_pairing_removes_what_both_have_in_common() -> None:
    """Two models that differ by little on hard rows: the difference is known better than either figure."""
    generator = np.random.default_rng(3)
    actual, error = generator.normal(size=(2, 500))
    one = answers("regression", actual, actual + error)
    two = answers("regression", actual, actual + error * 1.05 + 0.02 * generator.normal(size=500))
    for name in ("mae", "rmse", "r2"):
        gain, alone = improvement(_r(name), one, two), estimate(_r(name), one)
        assert gain.low is not None
        assert gain.high is not None
        assert alone.low is not None
        assert alone.high is not None
        assert gain.low > 0.0
        assert gain.high - gain.low < (alone.high - alone.low) / 3


def test_two_perfect_models_that_differ_are_bounded_by_what_is_known_of_each() -> None:
    perfect = _perfect(2)
    assert perfect.probabilities is not None
    other = dataclasses.replace(perfect, probabilities=perfect.probabilities * 0.8 + 0.1)
    found, alone = improvement(_c("roc_auc"), perfect, other), estimate(_c("roc_auc"), perfect)
    assert found.value == 0.0
    assert alone.low is not None
    assert (found.low, found.high) == pytest.approx((alone.low - 1.0, 1.0 - alone.low))


def test_a_perfect_ranking_is_better_than_one_answer_to_all_rows_by_what_is_known_of_itself() -> None:
    perfect = _perfect(2)
    rival = dataclasses.replace(perfect, predicted=np.zeros(60, dtype=int), probabilities=np.full((60, 2), 0.5))
    found, alone = improvement(_c("roc_auc"), perfect, rival), estimate(_c("roc_auc"), perfect)
    assert estimate(_c("roc_auc"), rival).low is None, "as a figure of its own it promises nothing"
    assert alone.low is not None
    assert (found.value, found.high) == (0.5, 0.5)
    assert found.low == pytest.approx(alone.low - 0.5)
    assert (found.low or 0.0) > 0.3


def test_hits_that_never_differ_are_not_known_never_to() -> None:
    one = _scored(1, 100)
    assert one.probabilities is not None
    alike = dataclasses.replace(one, probabilities=one.probabilities * 0.9 + 0.05)
    found = improvement(_c("accuracy"), one, alike)
    assert found.value == 0.0
    assert found.low == pytest.approx(-(found.high or 0.0))
    assert 0.01 < (found.high or 0.0) < 0.03


def test_an_improvement_that_is_not_defined_says_why() -> None:
    constant = answers("regression", np.ones(40), np.zeros(40))
    found = improvement(_r("r2"), constant, constant)
    assert (found.value, found.low) == (None, None)
    assert found.method == "r2 is not defined on these rows: the label is constant"
    nothing = answers("regression", np.array([]), np.array([]))
    assert improvement(_r("mae"), nothing, nothing).method == "mae cannot be told for both"
    some = _scored(0, 60)
    without = dataclasses.replace(some, probabilities=None)
    assert improvement(_c("log_loss"), some, without).method == "log_loss cannot be told for both"
    assert "better" in improvement(_c("selection_rate"), some, _scored(1, 60)).method
    one = improvement(_r("mae"), _numbers(0, 1), _numbers(1, 1))
    assert (one.low, one.high, one.method) == (None, None, "one row has no interval")


@settings(max_examples=60, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), SEEDS)
def test_which_bias_is_nearer_to_zero_is_decided_only_where_it_is_clear(a: float, b: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(2, 40))
    own, rival = (
        answers("regression", np.zeros(40), shift + each) for shift, each in zip((a, b), noise, strict=True)
    )
    found = improvement(_r("bias"), own, rival)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    if abs(a) > abs(b) + 1.5:
        assert found.high < 0.0
    if abs(a) < abs(b) - 1.5:
        assert found.low > 0.0


def test_a_measure_keeps_what_the_estimate_says() -> None:
    found = estimate(_r("mae"), _numbers(0, 50))
    made = as_measure("mae", found, rows=50, unit="kg", group="sex=f", better="lower")
    assert (made.value, made.low, made.high, made.method) == (found.value, found.low, found.high, found.method)
    assert (made.n, made.unit, made.group, made.better) == (50, "kg", "sex=f", "lower")
    assert measure(_r("mae"), np.zeros(3), np.ones(3), unit="kg").unit == "kg"
    assert measure(_r("r2"), np.arange(3.0), np.ones(3), unit="kg").unit == ""


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form of the benchmark: of 300 data sets, 95 % within four standard deviations of chance."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.coverage import LAWS

    for name in ("regression", "two classes"):
        law, truths = LAWS[name], LAWS[name].truths()
        held: dict[str, list[bool]] = {}
        for seed in range(300):
            for estimated, found in law.draw(np.random.default_rng([seed, 9]), 400):
                assert found.low is not None
                assert found.high is not None
                held.setdefault(estimated, []).append(found.low <= truths[estimated] <= found.high)
        for estimated, each in held.items():
            assert 270 <= sum(each) <= 299, estimated


def test_a_benchmark_that_covers_too_little_or_too_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.coverage import missed

    figures = {"short": 0.939, "low": 0.94, "high": 0.96, "long": 0.961}
    assert missed([{"metric": name, "coverage": each} for name, each in figures.items()]) == ["short", "long"]


def test_degrees_of_freedom_follow_the_rows_that_carry_the_figure() -> None:
    """Three positive rows in a thousand: their spread is known from three rows, and the interval says so."""
    actual = np.zeros(1000, dtype=np.intp)
    actual[[10, 500, 900]] = 1
    scores = np.random.default_rng(0).random(1000) * 0.5 + 0.3 * actual
    few = Answers(actual, actual, np.column_stack([1 - scores, scores]), 2, 2)
    pulls = _c("roc_auc").influence(few)
    assert pulls is not None
    assert influence.degrees(pulls) < 12.0
    found = estimate(_c("roc_auc"), few)
    assert found.low is not None
    assert not math.isnan(found.low)


@pytest.mark.parametrize("name", ["accuracy", "recall", "precision", "balanced_accuracy"])
def test_weighted_shares_of_which_all_hit_are_bounded_by_the_rows_that_weigh(name: str) -> None:
    perfect = _perfect(2, 80)
    weights = np.where(np.arange(80) < 8, 100.0, 1e-6)
    heavy = dataclasses.replace(perfect, weights=weights)
    even, few = estimate(_c(name), perfect), estimate(_c(name), heavy)
    assert even.low is not None
    assert few.low is not None
    # Eight rows carry all the weight, four of each class.
    assert few.low < 0.75 < even.low


def test_weights_that_are_all_zero_are_refused() -> None:
    for metric in METRICS:
        nothing = dataclasses.replace(_drawn(metric, 0, 30), weights=np.zeros(30))
        assert "no row has any weight" in estimate(metric, nothing).method
        if metric.better:
            assert improvement(metric, nothing, nothing).value is None
