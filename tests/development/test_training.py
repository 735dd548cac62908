"""The user's fit: whatever it does, the error says what and where."""

from __future__ import annotations

import functools
import operator
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from fullcircle.development import training
from fullcircle.development.loading import load
from fullcircle.errors import FitFailed, PredictionInvalid
from fullcircle.types.contract import Column, Contract

X = pd.DataFrame({"a": np.arange(60.0)})
Y = pd.Series(np.arange(60.0) * 2)
CLASSES = pd.Series(["no", "yes"] * 30)
NUMBER = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression")
CLASS = Contract(columns=(Column(name="a", kind="number"),), label="y", task="classification", classes=("no", "yes"))


def _fit(function: Any, y: Any = Y, contract: Contract = NUMBER, **params: Any) -> Any:
    return training.fit(function, X, y, params, contract=contract, task=contract.task)


class Answering:
    """A model that answers whatever it was told to."""

    def __init__(self, answer: Any, shares: Any = None) -> None:
        self.answer = answer
        if shares is not None:
            self.predict_proba = lambda X: np.asarray(shares)

    def predict(self, X: Any) -> Any:
        return self.answer(len(X)) if callable(self.answer) else self.answer


class TestFit:
    def test_the_model_comes_back(self) -> None:
        model = _fit(lambda X, y: LinearRegression().fit(X, y))
        assert model.predict(X.iloc[:1])[0] == pytest.approx(0.0)

    def test_parameters_arrive(self) -> None:
        model = _fit(
            lambda X, y, constant=1.0: DummyRegressor(strategy="constant", constant=constant).fit(X, y), constant=7.0
        )
        assert model.predict(X.iloc[:1])[0] == 7.0

    def test_a_classifier_without_probabilities_is_fine(self) -> None:
        assert _fit(lambda X, y: Answering(lambda n: np.array(["no"] * n)), CLASSES, CLASS)

    def test_warnings_are_shown_and_never_raised(self) -> None:
        def fit(X: Any, y: Any) -> Any:
            warnings.warn("it did not converge", UserWarning, stacklevel=2)
            return DummyRegressor().fit(X, y)

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("error")
            assert _fit(fit) is not None
        assert [str(each.message) for each in seen] == ["it did not converge"]

    def test_the_filters_are_as_before(self) -> None:
        before = list(warnings.filters)
        _fit(lambda X, y: DummyRegressor().fit(X, y))
        assert list(warnings.filters) == before


class TestFailures:
    def _error(self, function: Any, y: Any = Y, contract: Contract = NUMBER, **params: Any) -> FitFailed:
        with pytest.raises(FitFailed) as caught:
            _fit(function, y, contract, **params)
        assert caught.value.next_step
        return caught.value

    def test_an_exception_shows_the_users_line(self, tmp_path: Path) -> None:
        (tmp_path / "project.py").write_text(
            "import fullcircle as fc\n\n"
            "def fit(X, y):\n"
            "    from ways import prepare\n"
            "    return prepare(X)\n\n"
            'project = fc.Project(name="p", data="d.csv", label="y", features=["a"], fit=fit)\n'
        )
        (tmp_path / "ways.py").write_text("def prepare(X):\n    return X['absent']\n")
        source = load(tmp_path)
        with source.active():
            error = self._error(source.project.fit)
        assert error.what == "fit raised KeyError: 'absent'"
        assert error.received == "ways.py, line 2: return X['absent']"
        assert isinstance(error.__cause__, KeyError)
        for name in ("project", "ways"):
            sys.modules.pop(name, None)

    def test_leaving_the_interpreter_is_a_failure(self) -> None:
        assert "SystemExit" in self._error(lambda X, y: sys.exit(1)).what

    def test_control_c_is_not_swallowed(self) -> None:
        def fit(X: Any, y: Any) -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            _fit(fit)
        with pytest.raises(KeyboardInterrupt):
            training.trial(fit, X, Y, {}, task="regression")

    @pytest.mark.parametrize(
        ("returned", "what"),
        [
            (None, "returned nothing"),
            (LinearRegression, "a class instead of a fitted model"),
            (3, "cannot predict"),
            (X, "cannot predict"),
        ],
    )
    def test_what_is_no_model_is_refused(self, returned: Any, what: str) -> None:
        error = self._error(lambda X, y: returned)
        assert what in error.what
        assert "return model.fit(X, y)" in str(error.next_step)

    def test_an_unfitted_model_is_refused(self) -> None:
        error = self._error(lambda X, y: LinearRegression())
        assert "could not predict its own training rows: NotFittedError" in error.what

    def test_an_unknown_parameter_is_refused_before_calling(self) -> None:
        called = []

        def fit(X: Any, y: Any, depth: int = 3) -> Any:
            called.append(depth)

        error = self._error(fit, depht=4)
        assert "depht" in error.what
        assert error.allowed == "fit(X, y, depth)"
        assert not called

    def test_a_fit_without_arguments_is_refused(self) -> None:
        assert "cannot be called" in self._error(lambda: None).what

    def test_foreign_classes_are_refused(self) -> None:
        error = self._error(lambda X, y: LogisticRegression().fit(X, y.map({"no": 0, "yes": 1})), CLASSES, CLASS)
        assert "classes are not those of the label" in error.what

    @pytest.mark.parametrize(
        ("answer", "what"),
        [
            (lambda n: np.full(n, np.nan), "NaN or infinity"),
            (lambda n: np.full(n, np.inf), "NaN or infinity"),
            (lambda n: np.zeros(n + 1), "another shape"),
            (lambda n: np.zeros((n, 1)), "another shape"),
            (lambda n: np.zeros((n, 2)), "another shape"),
            (1.0, "another shape"),
            (lambda n: ["high"] * n, "something else than numbers"),
            (lambda n: [None] * n, "NaN or infinity"),
        ],
    )
    def test_nonsense_is_refused(self, answer: Any, what: str) -> None:
        with pytest.raises(PredictionInvalid, match=what):
            _fit(lambda X, y: Answering(answer))

    @pytest.mark.parametrize("shares", [[[0.5, 0.5]], [[0.5, 0.6]] * 50, [[np.nan, 1.0]] * 50, [[1.0]] * 50])
    def test_shares_that_are_none_are_refused(self, shares: Any) -> None:
        with pytest.raises(PredictionInvalid, match="predict_proba"):
            _fit(lambda X, y: Answering(lambda n: ["no"] * n, shares), CLASSES, CLASS)


class TestPredictions:
    def test_numbers_come_back_as_floats(self) -> None:
        found = training.check_predictions([1, 2], 2, "regression")
        assert found.dtype == float
        assert found.tolist() == [1.0, 2.0]

    def test_classes_come_back_as_they_are(self) -> None:
        assert training.check_predictions(["a", "b"], 2, "classification").tolist() == ["a", "b"]
        assert training.check_predictions([0, 1], 2, "classification").tolist() == [0, 1]

    @pytest.mark.parametrize("values", [["a", None], [1.0, float("nan")], ["a", pd.NA]])
    def test_a_missing_class_is_refused(self, values: Any) -> None:
        with pytest.raises(PredictionInvalid, match="1 of 2 rows"):
            training.check_predictions(np.array(values, dtype=object), 2, "classification")


class TestTrial:
    def test_it_sees_two_hundred_rows_of_every_class(self) -> None:
        seen: list[pd.Series] = []
        labels = pd.Series(["common"] * 4996 + ["rare", "rare"] + ["odd", "odd"])

        def fit(X: Any, y: Any) -> Any:
            assert list(X.index) == list(y.index) == list(range(len(y)))
            seen.append(y)
            return DummyClassifier().fit(X, y)

        model = training.trial(fit, pd.DataFrame({"a": np.arange(5000.0)}), labels, {}, task="classification")
        assert model is not None
        assert len(seen[0]) == training.TRIAL_ROWS
        assert seen[0].value_counts().to_dict() == {"common": 196, "rare": 2, "odd": 2}

    def test_the_same_seed_takes_the_same_rows(self) -> None:
        taken: list[list[float]] = []

        def fit(X: Any, y: Any) -> Any:
            taken.append(X["a"].tolist())
            return DummyRegressor().fit(X, y)

        frame = pd.DataFrame({"a": np.arange(1000.0)})
        for seed in (1, 1, 2):
            training.trial(fit, frame, frame["a"], {}, task="regression", seed=seed)
        assert taken[0] == taken[1] != taken[2]
        assert taken[0] == sorted(taken[0])

    def test_rows_keep_their_labels(self) -> None:
        frame = pd.DataFrame({"a": np.arange(500.0)})
        model = training.trial(
            lambda X, y: LinearRegression().fit(X, y), frame, frame["a"] * 3, {}, task="regression"
        )
        assert model is not None
        assert model.coef_[0] == pytest.approx(3.0)

    def test_few_rows_are_all_taken(self) -> None:
        model = training.trial(lambda X, y: DummyRegressor().fit(X, y), X, Y, {}, task="regression")
        assert model is not None
        assert model.constant_[0][0] == pytest.approx(Y.mean())

    @pytest.mark.parametrize("returned", [None, LinearRegression, 3])
    def test_what_is_no_model_is_left_to_the_real_fit(self, returned: Any) -> None:
        assert training.trial(lambda X, y: returned, X, Y, {}, task="regression") is None

    def test_a_failure_means_nothing(self) -> None:
        assert training.trial(lambda X, y: 1 / 0, X, Y, {}, task="regression") is None

    def test_a_parameter_that_fit_does_not_take_is_refused_at_once(self) -> None:
        with pytest.raises(FitFailed, match="depth"):
            training.trial(lambda X, y: None, X, Y, {"depth": 3}, task="regression")


class TestClasses:
    def test_the_models_own_order_counts(self) -> None:
        model = Answering(None)
        model.classes_ = np.array(["yes", "no"])  # type: ignore[attr-defined]
        assert training.classes(model, CLASS) == ("yes", "no")

    def test_a_model_that_names_none_has_the_contracts(self) -> None:
        assert training.classes(Answering(None), CLASS) == ("no", "yes")

    def test_they_are_plain_values(self) -> None:
        from dataclasses import replace

        model = LogisticRegression().fit(X, np.arange(60) % 2)
        found = training.classes(model, replace(CLASS, classes=(0, 1)))
        assert found == (0, 1)
        assert {type(value) for value in found} == {int}


class TestProbabilities:
    @given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
    def test_shares_come_back_as_they_are(self, first: list[float]) -> None:
        shares = [[one, 1.0 - one] for one in first]
        found = training.check_probabilities(shares, len(first), 2)
        assert found.dtype == np.float64
        assert found.tolist() == shares

    def test_a_classifier_with_probabilities_is_fine(self) -> None:
        model = _fit(lambda X, y: LogisticRegression().fit(X, y), CLASSES, CLASS)
        assert model.predict_proba(X).shape == (60, 2)

    @pytest.mark.parametrize(
        "row", [(1.5, -0.5), (0.5, 0.501), (np.nan, np.nan), (np.inf, -np.inf), (0.0, 0.0), (-1e-5, 1.00001)]
    )
    def test_one_row_that_is_none_is_enough(self, row: tuple[float, float]) -> None:
        shares = np.full((9, 2), 0.5)
        shares[4] = row
        with pytest.raises(PredictionInvalid, match="something else than probabilities"):
            training.check_probabilities(shares, 9, 2)

    def test_what_rounding_does_is_forgiven(self) -> None:
        training.check_probabilities([[-1e-7, 1.0 + 1e-7], [0.33333, 0.66666]], 2, 2)

    @pytest.mark.parametrize(
        ("shape", "said"), [((9,), "9"), ((9, 3), "9 x 3"), ((8, 2), "8 x 2"), ((2, 9), "2 x 9")]
    )
    def test_the_shape_is_told(self, shape: tuple[int, ...], said: str) -> None:
        with pytest.raises(PredictionInvalid, match="rows x classes") as caught:
            training.check_probabilities(np.full(shape, 0.5), 9, 2)
        assert (caught.value.received, caught.value.allowed) == (said, "9 x 2")

    def test_a_regression_is_not_asked_for_probabilities(self) -> None:
        model = Answering(np.zeros, shares=[["none"]])
        assert _fit(lambda X, y: model) is model


class TestWhatIsTold:
    @pytest.mark.parametrize(("answer", "said"), [(1.0, "a single value"), (np.zeros((3, 2)), "3 x 2"), ([1.0], "1")])
    def test_the_shape_of_an_answer(self, answer: Any, said: str) -> None:
        with pytest.raises(PredictionInvalid, match="another shape") as caught:
            training.check_predictions(answer, 2, "regression")
        assert (caught.value.received, caught.value.allowed) == (said, "2 values")

    def test_parameters_that_fit_does_not_take(self) -> None:
        with pytest.raises(FitFailed) as caught:
            _fit(lambda X, y, depth=3: None, dept=4, seed=1)
        assert caught.value.received == "dept=4, seed=1"
        assert caught.value.allowed == "fit(X, y, depth)"
        with pytest.raises(FitFailed) as none:
            _fit(lambda X: None)
        assert none.value.received == "X, y"
        assert none.value.allowed == "fit(X, y)"

    def test_an_error_in_a_library_tells_the_size_of_the_data(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FitFailed, match="fit raised KeyError") as caught:
            _fit(operator.getitem)
        assert "60 rows, 1 columns" in (caught.value.received or "")

    def test_an_error_while_predicting_tells_the_users_line_or_the_rows(self) -> None:
        answers: dict[str, Any] = {}

        def broken(n: int) -> Any:
            return answers["none"]

        with pytest.raises(FitFailed, match="could not predict its own training rows: KeyError") as caught:
            _fit(lambda X, y: Answering(broken))
        assert 'return answers["none"]' in (caught.value.received or "")
        with pytest.raises(FitFailed, match="could not predict") as silent:
            _fit(functools.partial(_elsewhere))
        assert silent.value.received == "50 rows"

    def test_a_partial_function_is_the_users_own_too(self) -> None:
        def fit(X: Any, y: Any, depth: int) -> Any:
            raise ValueError(depth)

        with pytest.raises(FitFailed, match="ValueError: 3") as caught:
            _fit(functools.partial(functools.partial(fit), depth=3))
        assert "raise ValueError(depth)" in (caught.value.received or "")

    def test_plain_classes_stay_as_they_are(self) -> None:
        model = Answering(lambda n: ["no"] * n)
        model.classes_ = ["yes", "no"]  # type: ignore[attr-defined]  # as a classifier of the user's own would
        assert training.classes(model, CLASS) == ("yes", "no")

    @pytest.mark.parametrize("rows", [199, 200, 201])
    def test_a_trial_is_of_two_hundred_rows_at_most(self, rows: int) -> None:
        seen: list[int] = []

        def fit(X: Any, y: Any) -> Any:
            seen.append(len(X))
            return DummyClassifier().fit(X, y)

        labels = pd.Series(["a", "b"] * rows)[:rows]
        assert training.trial(fit, pd.DataFrame({"a": range(rows)}), labels, {}, task="classification") is not None
        assert seen == [min(rows, training.TRIAL_ROWS)]


def _elsewhere(X: Any, y: Any) -> Any:
    """A model whose fault lies in a library: no line of the user's own leads there."""
    return LinearRegression()
