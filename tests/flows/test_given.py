"""A model in memory, or answers made elsewhere: a right figure or a clear refusal, never a silent wrong number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

import fullcircle as fc
from fullcircle.errors import ColumnMissing, DataUnfit, FullcircleError, PredictionInvalid, ProjectInvalid
from fullcircle.types.report import Report

QUICK = ("quality", "fairness", "value")


def _rows(n: int = 300, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {"a": generator.normal(size=n), "b": generator.normal(size=n), "sex": generator.choice(["f", "m"], n)}
    )


def _labels(X: pd.DataFrame, names: tuple[Any, ...] = (0, 1), seed: int = 1) -> Any:
    drawn = X["a"].to_numpy() + np.random.default_rng(seed).logistic(size=len(X))
    edges = np.quantile(drawn, np.linspace(0, 1, len(names) + 1)[1:-1])
    kind: Any = object if isinstance(names[0], str) else None
    return np.array(list(names), dtype=kind)[np.searchsorted(edges, drawn)]


def _value(report: Report, name: str, group: str = "") -> float:
    found = report.measure(name, group)
    assert found is not None, name
    assert found.value is not None, found.method
    return found.value


FEATURES = ["a", "b"]


class TestAModel:
    def test_of_classes_has_the_figures_of_scikit_learn(self) -> None:
        X, later = _rows(), _rows(200, 5)
        y, truth = _labels(X), _labels(later, seed=6)
        model = LogisticRegression().fit(X[FEATURES], y)
        report = fc.evaluate(model, later, truth, train=(X, y), checks=QUICK, protected="sex")
        shares = model.predict_proba(later[FEATURES])
        assert _value(report, "log_loss") == pytest.approx(reference.log_loss(truth, shares), abs=1e-12)
        assert _value(report, "roc_auc") == pytest.approx(reference.roc_auc_score(truth, shares[:, 1]), abs=1e-12)
        assert _value(report, "accuracy") == pytest.approx(model.score(later[FEATURES], truth), abs=1e-12)
        assert report.rows == 200
        assert report.subject == "LogisticRegression"
        assert report.about is not None
        assert report.about.features == ("a", "b")
        assert report.about.train_rows == 300
        assert report.finding("fairness") is not None

    def test_of_numbers_and_its_gates(self) -> None:
        X = _rows()
        y = 2.0 * X["a"] + np.random.default_rng(1).normal(size=len(X))
        model = LinearRegression().fit(X[FEATURES], y)
        gates = [fc.at_most("mae", 5.0), fc.at_most("mae", 0.1), fc.beats("baseline")]
        report = fc.evaluate(model, X, y, gates=gates, checks=QUICK)
        expected = reference.mean_absolute_error(y, model.predict(X[FEATURES]))
        assert _value(report, "mae") == pytest.approx(expected, abs=1e-12)
        assert [gate.passed for gate in report.gates] == [True, False, True]
        assert not report.passed
        assert any("without train" in note for note in report.notes)

    def test_columns_of_probabilities_are_taken_in_the_models_own_order(self) -> None:
        X = _rows()
        y = _labels(X, ("no", "yes"))
        inner = LogisticRegression().fit(X[FEATURES], y)

        class Turned:
            classes_ = inner.classes_[::-1]

            def predict(self, asked: Any) -> Any:
                return inner.predict(asked)

            def predict_proba(self, asked: Any) -> Any:
                return inner.predict_proba(asked)[:, ::-1]

        report = fc.evaluate(Turned(), X, y, features=FEATURES, checks=QUICK)
        expected = reference.log_loss(y, inner.predict_proba(X[FEATURES]))
        assert _value(report, "log_loss") == pytest.approx(expected, abs=1e-12)
        # "no" comes second here, so it is the positive class.
        positive = np.asarray(y) == "no"
        share = inner.predict_proba(X[FEATURES])[:, 0]
        assert _value(report, "roc_auc") == pytest.approx(reference.roc_auc_score(positive, share), abs=1e-12)

    def test_that_does_not_name_the_classes_of_its_probabilities_is_refused_until_somebody_does(self) -> None:
        X = _rows()
        y = _labels(X)
        inner = LogisticRegression().fit(X[FEATURES], y)

        class Nameless:
            def predict(self, asked: Any) -> Any:
                return inner.predict(asked)

            def predict_proba(self, asked: Any) -> Any:
                return inner.predict_proba(asked)

        with pytest.raises(PredictionInvalid, match="does not say of which classes"):
            fc.evaluate(Nameless(), X, y, features=FEATURES, checks=QUICK)
        report = fc.evaluate(Nameless(), X, y, features=FEATURES, classes=[0, 1], checks=QUICK)
        expected = reference.log_loss(y, inner.predict_proba(X[FEATURES]))
        assert _value(report, "log_loss") == pytest.approx(expected, abs=1e-12)

    def test_with_a_class_that_no_test_row_has(self) -> None:
        X, later = _rows(400), _rows(200, 5)
        y = _labels(X, ("x", "y", "z"))
        truth = _labels(later, ("x", "y", "z"), seed=6)
        kept = truth != "z"
        later, truth = later[kept], truth[kept]
        model = RandomForestClassifier(20, random_state=0).fit(X[FEATURES], y)
        report = fc.evaluate(model, later, truth, train=(X, y), checks=QUICK)
        expected = reference.log_loss(truth, model.predict_proba(later[FEATURES]), labels=["x", "y", "z"])
        assert _value(report, "log_loss") == pytest.approx(expected, abs=1e-9)
        auc = report.measure("roc_auc")
        assert auc is None or auc.value is None

    def test_without_probabilities_is_judged_by_its_classes(self) -> None:
        X = _rows()
        y = _labels(X, ("no", "yes"))
        model = LinearSVC().fit(X[FEATURES], y)
        report = fc.evaluate(model, X, y, checks=QUICK)
        assert _value(report, "accuracy") == pytest.approx(model.score(X[FEATURES], y), abs=1e-12)
        assert report.measure("log_loss") is None

    def test_on_an_array(self) -> None:
        X = _rows()[FEATURES].to_numpy()
        y = X[:, 0] * 2.0
        report = fc.evaluate(LinearRegression().fit(X, y), X, y, checks=QUICK)
        assert _value(report, "mae") < 1e-9

    def test_weights_count_as_that_many_rows(self) -> None:
        X = _rows(60)
        y = _labels(X)
        model = LogisticRegression().fit(X[FEATURES], y)
        weights = np.random.default_rng(3).integers(1, 4, len(X))
        report = fc.evaluate(model, X, y, weights=weights, checks=("quality",))
        expected = reference.log_loss(y, model.predict_proba(X[FEATURES]), sample_weight=weights)
        assert _value(report, "log_loss") == pytest.approx(expected, abs=1e-12)

    def test_extra_columns_do_not_reach_the_model(self) -> None:
        X = _rows()
        y = _labels(X)
        model = LogisticRegression().fit(X[FEATURES], y)  # would complain about "sex"
        assert fc.evaluate(model, X, y, checks=QUICK).rows == 300

    def test_a_column_that_it_needs_is_named_where_it_is_missing(self) -> None:
        X = _rows()
        y = _labels(X)
        model = LogisticRegression().fit(X[FEATURES], y)
        with pytest.raises(ColumnMissing) as caught:
            fc.evaluate(model, X[["a", "sex"]], y)
        assert "b" in str(caught.value.received)


class TestAnswersMadeElsewhere:
    def test_numbers(self) -> None:
        y = np.arange(50.0)
        report = fc.evaluate(y=y, predicted=y + 1.0, checks=QUICK)
        assert _value(report, "mae") == pytest.approx(1.0)
        assert _value(report, "bias") == pytest.approx(1.0)
        assert report.subject == "predictions"

    @pytest.mark.parametrize("names", [(0, 1), (False, True)])
    def test_one_column_of_probabilities_is_of_true(self, names: tuple[Any, Any]) -> None:
        X = _rows()
        y = _labels(X, names)
        share = 1.0 / (1.0 + np.exp(-X["a"]))
        report = fc.evaluate(None, X, y, probabilities=share, checks=QUICK)
        assert _value(report, "roc_auc") == pytest.approx(reference.roc_auc_score(y, share), abs=1e-12)

    def test_one_column_for_named_classes_is_refused_until_they_are_in_order(self) -> None:
        X = _rows()
        y = _labels(X, ("bad", "good"))
        share = 1.0 / (1.0 + np.exp(-X["a"]))
        with pytest.raises(PredictionInvalid, match="which class each column"):
            fc.evaluate(None, X, y, probabilities=share, checks=QUICK)
        report = fc.evaluate(None, X, y, probabilities=share, classes=["bad", "good"], checks=QUICK)
        assert _value(report, "roc_auc") == pytest.approx(reference.roc_auc_score(y == "good", share), abs=1e-12)

    def test_a_frame_of_probabilities_names_its_classes(self) -> None:
        X = _rows()
        y = _labels(X, ("x", "y", "z"))
        shares = RandomForestClassifier(20, random_state=0).fit(X[FEATURES], y).predict_proba(X[FEATURES])
        shares += [1e-6, 2e-6, 0.0]  # no ties
        shares /= shares.sum(axis=1, keepdims=True)
        turned = pd.DataFrame(shares, columns=["x", "y", "z"])[["z", "x", "y"]]
        report = fc.evaluate(None, None, y, probabilities=turned, checks=QUICK)
        assert _value(report, "log_loss") == pytest.approx(reference.log_loss(y, shares), abs=1e-9)
        assert _value(report, "accuracy") == pytest.approx(np.mean(np.array(["x", "y", "z"])[shares.argmax(1)] == y))

    @pytest.mark.parametrize("wrong", [1.2, -0.1, np.nan, np.inf])
    def test_what_is_no_probability_is_refused(self, wrong: float) -> None:
        y = np.array([0, 1] * 30)
        shares = np.full(60, 0.4)
        shares[7] = wrong
        with pytest.raises(PredictionInvalid, match="no probabilities"):
            fc.evaluate(y=y, probabilities=shares, checks=QUICK)
        with pytest.raises(PredictionInvalid, match="no probabilities"):
            fc.evaluate(y=y, probabilities=np.column_stack([1 - shares, shares]), classes=[0, 1], checks=QUICK)

    @pytest.mark.parametrize("hole", [np.nan, None])
    def test_labels_that_are_missing_are_refused_with_their_number(self, hole: Any) -> None:
        y = np.array([1.0, 2.0, hole, 4.0], dtype=object if hole is None else float)
        with pytest.raises(DataUnfit) as caught:
            fc.evaluate(y=y, predicted=[1.0, 2.0, 3.0, 4.0], task="regression", checks=QUICK)
        assert "1 of 4" in str(caught.value.received)

    def test_answers_that_are_missing_are_refused(self) -> None:
        with pytest.raises(PredictionInvalid):
            fc.evaluate(y=[1.5, 2.5, 3.5], predicted=[1.0, np.nan, 3.0], checks=QUICK)

    def test_one_row_has_figures_without_intervals(self) -> None:
        report = fc.evaluate(y=[1.5], predicted=[2.0], checks=QUICK, gates=[fc.at_most("mae", 9.0)])
        found = report.measure("mae")
        assert found is not None
        assert (found.value, found.low, found.high) == (0.5, None, None)
        assert not report.passed

    def test_all_labels_equal(self) -> None:
        report = fc.evaluate(y=["yes"] * 40, predicted=["yes"] * 40, classes=["no", "yes"], checks=QUICK)
        assert _value(report, "accuracy") == 1.0
        with pytest.raises(DataUnfit, match="one class only"):
            fc.evaluate(y=["yes"] * 40, predicted=["yes"] * 40, checks=QUICK)

    def test_constant_answers(self) -> None:
        y = np.array([0, 1] * 50)
        report = fc.evaluate(y=y, probabilities=np.full(100, 0.5), checks=QUICK)
        assert _value(report, "roc_auc") == 0.5
        assert _value(report, "log_loss") == pytest.approx(np.log(2))

    def test_labels_of_another_kind_than_the_classes_are_refused(self) -> None:
        with pytest.raises(DataUnfit, match="no label is a class"):
            fc.evaluate(y=["0", "1"] * 20, probabilities=np.full((40, 2), 0.5), classes=[0, 1], checks=QUICK)

    def test_one_group_only(self) -> None:
        X = _rows(100).assign(sex="f")
        report = fc.evaluate(None, X, np.arange(100.0), predicted=np.arange(100.0) + 1, protected="sex", checks=QUICK)
        finding = report.finding("fairness")
        assert finding is not None
        assert "one group" in finding.text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"subject": "nowhere.py", "y": [1, 2]}, ProjectInvalid),
        ({"subject": 3, "X": [[1.0]], "y": [1.0]}, FullcircleError),
        ({"y": [1.0, 2.0]}, ProjectInvalid),
        ({"predicted": [1.0, 2.0]}, ProjectInvalid),
        ({"y": [1.0, 2.0], "predicted": [1.0]}, PredictionInvalid),
        ({"y": [1.0, 2.0], "predicted": ["a", "b"], "task": "regression"}, PredictionInvalid),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "task": "ranking"}, ProjectInvalid),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "out": "report.pdf"}, ProjectInvalid),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "out": "no/such/folder/report.html"}, ProjectInvalid),
        ({"y": [0, 1], "probabilities": [[0.5, 0.5]] * 2, "classes": [0, 0]}, ProjectInvalid),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "weights": [1.0, -1.0]}, DataUnfit),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "weights": [1.0]}, DataUnfit),
        ({"y": [[1.0, 2.0]], "predicted": [1.0]}, DataUnfit),
        ({"y": [1.0, 2.0], "predicted": [1.0, 2.0], "protected": "sex"}, ColumnMissing),
    ],
)
def test_wrong_use_gets_a_clear_error(arguments: dict[str, Any], error: type[FullcircleError]) -> None:
    with pytest.raises(error) as caught:
        fc.evaluate(checks=QUICK, **arguments)
    assert caught.value.what


@pytest.mark.parametrize("name", ["X", "predicted", "weights"])
def test_the_same_rows_in_another_order_are_refused(name: str) -> None:
    y = pd.Series(np.arange(50.0))
    given: dict[str, Any] = {"X": _rows(50), "predicted": y + 1.0, "weights": pd.Series(np.ones(50))}
    assert fc.evaluate(y=y, checks=QUICK, **given).rows == 50
    given[name] = given[name].sample(frac=1.0, random_state=0)
    with pytest.raises(DataUnfit, match="in another order"):
        fc.evaluate(y=y, checks=QUICK, **given)


def test_an_index_of_another_kind_is_left_alone() -> None:
    y = pd.Series(np.arange(50.0), index=[f"row {number}" for number in range(50)])
    assert fc.evaluate(None, _rows(50), y, predicted=np.arange(50.0), checks=QUICK).rows == 50


def test_a_model_and_answers_are_not_both_evaluated() -> None:
    X = _rows()
    model = LogisticRegression().fit(X[FEATURES], _labels(X))
    with pytest.raises(ProjectInvalid, match="a model, and answers"):
        fc.evaluate(model, X, _labels(X), predicted=_labels(X))
