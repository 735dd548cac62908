"""A model in memory, or answers made elsewhere: a right figure or a clear refusal, never a silent wrong number."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
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
        with pytest.raises(PredictionInvalid, match="different kinds"):
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


class TestOneKind:
    """Labels, answers and classes of different kinds would give an accuracy of 0 and no word about it."""

    @pytest.mark.parametrize(("asked", "learned"), [((0, 1), ("0", "1")), (("0", "1"), (0, 1))])
    def test_a_model_asked_with_labels_of_another_kind(
        self, asked: tuple[Any, Any], learned: tuple[Any, Any]
    ) -> None:
        X = _rows()
        model = LogisticRegression().fit(X[FEATURES], _labels(X, learned))
        with pytest.raises(PredictionInvalid, match="different kinds"):
            fc.evaluate(model, X, _labels(X, asked), checks=QUICK)

    @pytest.mark.parametrize("train", [False, True])
    def test_no_label_of_the_test_rows_is_known(self, train: bool) -> None:
        X = _rows()
        y = _labels(X, ("no", "yes"))
        model = LogisticRegression().fit(X[FEATURES], y)
        with pytest.raises(DataUnfit, match="no label is a class") as caught:
            fc.evaluate(model, X, _labels(X, ("bad", "good")), train=(X, y) if train else None, checks=QUICK)
        assert "'bad'" in str(caught.value.received)

    def test_some_labels_are_unknown_and_the_report_says_which(self) -> None:
        X = _rows()
        y = _labels(X, ("no", "yes"))
        model = LogisticRegression().fit(X[FEATURES], y)
        truth = y.copy()
        truth[:7] = "maybe"
        report = fc.evaluate(model, X, truth, checks=QUICK)
        assert [note for note in report.notes if "7 of 300 labels" in note and "'maybe'" in note]
        assert _value(report, "accuracy") == pytest.approx(np.mean(model.predict(X[FEATURES]) == truth))
        assert not [note for note in fc.evaluate(model, X, y, checks=QUICK).notes if "none of the classes" in note]

    @pytest.mark.parametrize(
        ("y", "predicted"),
        [(["0", "1"], [0, 1]), ([0, 1], ["0", "1"]), (["no", "yes"], [0.2, 0.7]), ([True, False], ["True", "False"])],
    )
    def test_answers_of_another_kind(self, y: list[Any], predicted: list[Any]) -> None:
        with pytest.raises(PredictionInvalid, match="different kinds"):
            fc.evaluate(y=y * 30, predicted=predicted * 30, checks=QUICK)

    def test_answers_of_which_none_is_a_label(self) -> None:
        with pytest.raises(PredictionInvalid, match="no answer is one of the classes"):
            fc.evaluate(y=[0, 1, 2] * 10, predicted=[5, 6, 7] * 10, task="classification", checks=QUICK)
        y = ["no", "yes"] * 20
        report = fc.evaluate(y=y, predicted=["no", "ja"] * 20, classes=["no", "yes"], checks=QUICK)
        assert _value(report, "accuracy") == 0.5
        assert [note for note in report.notes if "20 of 40 answers" in note and "'ja'" in note]

    @pytest.mark.parametrize("names", [(0, 1), (False, True)])
    def test_probabilities_in_the_place_of_answers(self, names: tuple[Any, Any]) -> None:
        X = _rows()
        share = (1.0 / (1.0 + np.exp(-X["a"]))).to_numpy()
        with pytest.raises(PredictionInvalid, match="pass probabilities="):
            fc.evaluate(y=_labels(X, names), predicted=share, checks=QUICK)

    @pytest.mark.parametrize("y", [["a", "b"], ["1", "2"]])
    def test_text_in_a_regression(self, y: list[str]) -> None:
        X = _rows(80)
        with pytest.raises(DataUnfit, match="text in y"):
            fc.evaluate(y=y * 40, predicted=[1.0, 2.0] * 40, task="regression", checks=QUICK)
        model = LinearRegression().fit(X[FEATURES], X["a"])
        with pytest.raises(DataUnfit, match="text in the labels of train"):
            fc.evaluate(model, X, X["a"], train=(X, y * 40), checks=QUICK)

    @pytest.mark.parametrize("answer", [3, [1], None, np.zeros((80, 2))], ids=str)
    def test_a_model_that_answers_something_else(self, answer: Any) -> None:
        class Odd:
            def predict(self, asked: Any) -> Any:
                return answer

        with pytest.raises(PredictionInvalid):
            fc.evaluate(Odd(), _rows(80)[FEATURES], np.array([0, 1] * 40), checks=QUICK)

    def test_labels_of_numbers_and_text(self) -> None:
        with pytest.raises(DataUnfit, match="different kinds in y"):
            fc.evaluate(y=["a", 1] * 20, predicted=["a", "b"] * 20, checks=QUICK)

    def test_labels_of_zero_and_one_with_a_point_are_quantities_and_it_says_so(self) -> None:
        report = fc.evaluate(y=[0.0, 1.0] * 20, predicted=[0.2, 0.7] * 20, checks=QUICK)
        assert _value(report, "mae") == pytest.approx(0.25)
        assert [note for note in report.notes if 'task="classification"' in note]


class TestClassesOfAModel:
    def test_are_not_turned_round(self) -> None:
        X = _rows()
        y = _labels(X)
        model = LogisticRegression().fit(X[FEATURES], y)
        with pytest.raises(ProjectInvalid, match="in another order"):
            fc.evaluate(model, X, y, classes=[1, 0], checks=QUICK)
        with pytest.raises(ProjectInvalid, match="not those of the model"):
            fc.evaluate(model, X, y, classes=[0, 2], checks=QUICK)
        same = fc.evaluate(model, X, y, classes=[0, 1], checks=QUICK)
        assert _value(same, "roc_auc") == _value(fc.evaluate(model, X, y, checks=QUICK), "roc_auc")


_NUMBERS = np.array([0, 1] * 40)
_WORDS = np.where(_NUMBERS == 1, "yes", "no")


class TestKindsOfArrays:
    @pytest.mark.parametrize(
        "labels",
        [
            pd.Series(_NUMBERS, dtype="Int64"),
            pd.Series(_NUMBERS == 1, dtype="boolean"),
            pd.Series(_NUMBERS, dtype="int64[pyarrow]"),
            pd.Series(_NUMBERS == 1, dtype="bool[pyarrow]"),
            pd.Series(_NUMBERS, dtype="category"),
            pd.DataFrame({"paid": _NUMBERS}),
            pl.Series("paid", _NUMBERS),
            pa.array(_NUMBERS),
            _NUMBERS.tolist(),
            [[value] for value in _NUMBERS.tolist()],
            [Decimal(int(value)) for value in _NUMBERS],
        ],
        ids=lambda labels: type(labels).__name__ + str(getattr(labels, "dtype", "")),
    )
    def test_labels_of_numbers(self, labels: Any) -> None:
        answers = _NUMBERS.copy()
        answers[:8] = 1 - answers[:8]
        report = fc.evaluate(y=labels, predicted=answers, task="classification", checks="quality")
        assert _value(report, "accuracy") == pytest.approx(0.9)
        assert _value(fc.evaluate(y=answers, predicted=labels, task="classification"), "accuracy") == 0.9

    @pytest.mark.parametrize(
        "labels",
        [
            pd.Series(_WORDS, dtype="string"),
            pd.Series(_WORDS, dtype="str"),
            pd.Series(_WORDS, dtype="category"),
            pd.Series(_WORDS, dtype="string[pyarrow]"),
            pl.Series(_WORDS),
            pl.Series(_WORDS).cast(pl.Categorical),
            pa.array(_WORDS.tolist()),
            _WORDS.tolist(),
        ],
        ids=lambda labels: type(labels).__name__ + str(getattr(labels, "dtype", "")),
    )
    def test_labels_of_text(self, labels: Any) -> None:
        answers = _WORDS.copy()
        answers[:8] = _WORDS[1:9]
        report = fc.evaluate(y=labels, predicted=answers, checks="quality")
        assert _value(report, "accuracy") == pytest.approx(0.9)
        assert report.about is not None
        assert report.about.classes == ("no", "yes")

    @pytest.mark.parametrize(
        "labels",
        [
            pd.Series(["yes", pd.NA] * 20, dtype="string"),
            pd.Series(["yes", None] * 20, dtype="str"),
            pd.Series(["yes", None] * 20, dtype="category"),
            pd.Series([1, None] * 20, dtype="Int64"),
            pd.Series([True, None] * 20, dtype="boolean"),
            pd.Series([1, None] * 20, dtype="int64[pyarrow]"),
            pl.Series(["yes", None] * 20),
            pl.Series([1, None] * 20),
            ["yes", None] * 20,
            [1, float("nan")] * 20,
        ],
        ids=lambda labels: type(labels).__name__ + str(getattr(labels, "dtype", "")),
    )
    def test_missing_labels_are_counted(self, labels: Any) -> None:
        with pytest.raises(DataUnfit, match="missing in y") as caught:
            fc.evaluate(y=labels, predicted=["yes", "no"] * 20, checks=QUICK)
        assert caught.value.received == "20 of 40"

    @pytest.mark.parametrize(
        "labels",
        [
            pd.date_range("2026-01-01", periods=40),
            [date(2026, 1, 1)] * 40,
            pd.Series([np.array([1, 2]), np.array([3])] * 20),
            [{}] * 40,
            [[1], [0, 1]] * 20,
            np.full(40, 1j),
            np.array([b"a", b"b"] * 20),
            "yes",
            {1: 2},
            [],
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("task", [None, "classification", "regression"])
    def test_what_is_no_label(self, labels: Any, task: str | None) -> None:
        with pytest.raises(DataUnfit):
            fc.evaluate(y=labels, predicted=_NUMBERS[:40], task=task, checks=QUICK)
        with pytest.raises(FullcircleError):
            fc.evaluate(y=_NUMBERS[:40], predicted=labels, task=task, checks=QUICK)

    @pytest.mark.parametrize(
        "weights",
        [
            ["a"] * 80,
            [True] * 80,
            np.ones(80, dtype=bool),
            np.ones((80, 1)),
            np.ones((80, 2)),
            [None] * 80,
            "abc",
            1.0,
        ],
        ids=lambda weights: str(weights)[:12],
    )
    def test_what_is_no_weight(self, weights: Any) -> None:
        with pytest.raises(DataUnfit, match="no weights"):
            fc.evaluate(y=_NUMBERS, predicted=_NUMBERS, weights=weights, checks=QUICK)

    @pytest.mark.parametrize(
        "weights", [pd.Series(1 + _NUMBERS, dtype="Int64"), pl.Series(1 + _NUMBERS), (1 + _NUMBERS).tolist()]
    )
    def test_weights_of_other_libraries(self, weights: Any) -> None:
        report = fc.evaluate(y=_NUMBERS, predicted=np.ones(80, dtype=int), weights=weights, checks=QUICK)
        assert _value(report, "accuracy") == pytest.approx(2 / 3)

    @pytest.mark.parametrize(
        "shares", [["a"] * 80, np.ones((80, 2, 2)), [None] * 80, [0.5] * 79], ids=lambda shares: str(shares)[:12]
    )
    def test_what_is_no_probability(self, shares: Any) -> None:
        with pytest.raises(PredictionInvalid):
            fc.evaluate(y=_NUMBERS, probabilities=shares, checks=QUICK)

    @pytest.mark.parametrize(
        "X", [_rows(80)[[]], pl.DataFrame(), np.empty((80, 0)), None], ids=["pd", "pl", "np", "None"]
    )
    def test_rows_without_columns(self, X: Any) -> None:
        report = fc.evaluate(None, X, _NUMBERS, predicted=_NUMBERS, checks=("quality", "slices"))
        assert report.rows == 80
        assert _value(report, "accuracy") == 1.0

    def test_one_column_is_no_table(self) -> None:
        with pytest.raises(DataUnfit, match="X is no table"):
            fc.evaluate(None, _rows(80)["a"], _NUMBERS, predicted=_NUMBERS, checks=QUICK)

    def test_the_name_of_a_table_of_one_column_is_the_labels(self) -> None:
        report = fc.evaluate(y=pd.DataFrame({"paid": _NUMBERS}), predicted=_NUMBERS, checks=QUICK)
        assert report.about is not None
        assert report.about.label == "paid"


class TestArguments:
    def test_one_gate_and_one_check_need_no_list(self) -> None:
        report = fc.evaluate(y=_NUMBERS, predicted=_NUMBERS, gates=fc.at_least("accuracy", 0.9), checks="quality")
        assert [gate.passed for gate in report.gates] == [True]
        assert {finding.check for finding in report.findings} == {"quality"}

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("gates", ["x"]),
            ("gates", "x"),
            ("gates", 3),
            ("checks", 3),
            ("checks", [3]),
            ("protected", 3),
            ("features", [1]),
            ("seed", "a"),
            ("seed", -1),
            ("serving", "fast"),
            ("name", 3),
            ("currency", None),
            ("train", _rows(80)),
            ("run", "abc"),
            ("settings", {}),
        ],
    )
    def test_what_cannot_be_one_is_refused_by_its_name(self, argument: str, value: Any) -> None:
        with pytest.raises(ProjectInvalid, match=argument):
            fc.evaluate(None, _rows(80), _NUMBERS, predicted=_NUMBERS, **{argument: value})

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("X", _rows(80)),
            ("y", _NUMBERS),
            ("predicted", _NUMBERS),
            ("probabilities", _NUMBERS),
            ("classes", [0, 1]),
            ("weights", _NUMBERS),
            ("train", (_rows(80), _NUMBERS)),
            ("champion", _NUMBERS),
            ("champion_probabilities", _NUMBERS),
            ("features", ["a"]),
            ("protected", "sex"),
            ("gates", [fc.at_least("accuracy", 0.9)]),
            ("gates", fc.at_least("accuracy", 0.9)),
            ("checks", ["quality"]),
            ("checks", "quality"),
            ("task", "regression"),
            ("serving", fc.Serving(requests_per_day=1)),
            ("currency", "EUR"),
            ("name", "houses"),
            ("label", "price"),
            ("seed", 1),
        ],
    )
    def test_a_project_says_these_itself(self, argument: str, value: Any) -> None:
        with pytest.raises(ProjectInvalid, match="brings its own") as caught:
            fc.evaluate("project.py", **{argument: value})
        assert caught.value.received == argument
        assert argument in str(caught.value.next_step)


class TestChampion:
    GATE = fc.beats("champion")

    def _told(self, report: Report) -> tuple[bool, str]:
        (gate,) = report.gates
        return gate.passed, gate.reason

    def test_without_one_the_rival_is_the_baseline_and_it_says_so(self) -> None:
        passed, reason = self._told(fc.evaluate(y=_NUMBERS, predicted=_NUMBERS, gates=self.GATE, checks="quality"))
        assert passed
        assert "no champion yet" in reason

    def test_a_model_is_asked_about_its_own_columns_with_classes_in_its_own_order(self) -> None:
        X = _rows(600)
        y = _labels(X, ("no", "yes"))
        model, champion = (LogisticRegression().fit(X[names], y) for names in (FEATURES, ["b"]))

        class Turned:
            feature_names_in_ = champion.feature_names_in_
            classes_ = champion.classes_[::-1]
            predict = staticmethod(champion.predict)

            def predict_proba(self, asked: Any) -> Any:
                return champion.predict_proba(asked)[:, ::-1]

        expected = reference.log_loss(y, champion.predict_proba(X[["b"]])) - reference.log_loss(
            y, model.predict_proba(X[FEATURES])
        )
        for rival in (champion, Turned()):
            report = fc.evaluate(model, X, y, champion=rival, gates=self.GATE, checks="quality")
            assert _value(report, "improvement_over_champion") == pytest.approx(expected, abs=1e-12)
            assert self._told(report)[0]
        turned = fc.evaluate(champion, X, y, features=["b"], champion=model, gates=self.GATE, checks="quality")
        assert not self._told(turned)[0]

    @pytest.mark.parametrize("hole", [None, np.nan, pd.NA])
    def test_answers_with_holes_are_compared_where_there_are_some(self, hole: Any) -> None:
        champion = pd.Series([hole] * 10 + [0] * 70, dtype=object)
        report = fc.evaluate(y=_NUMBERS, predicted=_NUMBERS, champion=champion, gates=self.GATE, checks="quality")
        found = report.measure("improvement_over_champion")
        assert found is not None
        assert found.n == 70
        assert self._told(report)[0]

    def test_of_numbers(self) -> None:
        y = np.arange(80.0)
        report = fc.evaluate(y=y, predicted=y + 1.0, champion=[None, *(y[1:] + 3.0)], checks="quality")
        assert _value(report, "improvement_over_champion") == pytest.approx(2.0)

    def test_one_column_of_probabilities_is_of_the_second_class(self) -> None:
        ours, theirs = (np.where(_NUMBERS == 1, share, 1.0 - share) for share in (0.8, 0.6))
        report = fc.evaluate(
            y=_NUMBERS, probabilities=ours, champion=_NUMBERS, champion_probabilities=theirs, checks="quality"
        )
        assert _value(report, "improvement_over_champion") == pytest.approx(np.log(0.8 / 0.6))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"champion": _WORDS},
            {"champion": [0]},
            {"champion": 3},
            {"champion_probabilities": np.full(80, 0.5)},
            {"champion": _NUMBERS, "champion_probabilities": np.full((80, 3), 1 / 3)},
            {"champion": _NUMBERS, "champion_probabilities": np.full(80, 1.5)},
            {"champion": _NUMBERS, "champion_probabilities": np.full((80, 2), 0.001)},
            {"champion": LogisticRegression().fit(_rows(80)[["b"]], _NUMBERS)},
            {"champion": LogisticRegression().fit(_rows(80)[["a"]], [0, 1, 2, 1] * 20)},
            {
                "champion": LogisticRegression().fit(_rows(80)[["a"]], _NUMBERS),
                "champion_probabilities": np.full(80, 0.5),
            },
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(FullcircleError):
            fc.evaluate(None, _rows(80)[["a"]], _NUMBERS, predicted=_NUMBERS, checks=QUICK, **wrong)

    def test_a_regression_has_no_probabilities(self) -> None:
        y = np.arange(80.0)
        with pytest.raises(ProjectInvalid, match="no classes"):
            fc.evaluate(y=y, predicted=y, champion=y, champion_probabilities=y / 80, checks=QUICK)
        with pytest.raises(ProjectInvalid, match="no classes"):
            fc.evaluate(y=y, predicted=y, probabilities=y / 80, task="regression", checks=QUICK)
