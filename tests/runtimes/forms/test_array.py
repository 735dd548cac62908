from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from form_samples import columns, contract, fitted, same_bits
from fullcircle.runtimes.forms.array import ArrayForm, bare, single_threaded
from fullcircle.runtimes.forms.steps import NotCompiled


def test_a_model_that_forgot_its_columns_answers_alike_and_without_warnings() -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    from sklearn.svm import LinearSVC

    about = contract(3, columns(missing=False, whole=True))
    for make in (
        GaussianNB,
        LinearSVC,
        lambda: RandomForestClassifier(4, random_state=0),
        lambda: make_pipeline(StandardScaler(), PolynomialFeatures(), KNeighborsClassifier()),
    ):
        sample = fitted(make, about)
        form = ArrayForm(about, sample.model)
        expected, found = sample.native.ask(sample.rows), form.ask(sample.rows)
        assert same_bits(expected[0], found[0])
        assert form.probable == sample.native.probable
        assert (found[1] is None) == (not form.probable)
        if found[1] is not None:
            assert expected[1] is not None
            assert np.allclose(expected[1], found[1], rtol=1e-12, atol=0)
        assert sample.model.feature_names_in_.tolist() == list(about.names)  # the model itself still knows


def test_regression() -> None:
    from sklearn.ensemble import BaggingRegressor

    sample = fitted(lambda: BaggingRegressor(n_estimators=3, random_state=0), contract(0, columns(missing=False)))
    answers, chances = ArrayForm(sample.contract, sample.model).ask(sample.rows)
    assert same_bits(answers, sample.native.ask(sample.rows)[0])
    assert chances is None


class Tied:
    """Probabilities that a rounding error made equal, and the model's own opinion."""

    classes_ = np.array(["no", "yes"])

    def __init__(self) -> None:
        self.asked = 0

    def predict_proba(self, X: Any) -> Any:
        return np.where(X[:, :1] > 0, [[0.5, 0.5]], [[0.75, 0.25]])

    def predict(self, X: Any) -> Any:
        self.asked += len(X)
        return self.classes_[np.ones(len(X), dtype=int)]


def test_near_ties_are_decided_by_the_model() -> None:
    about = contract(2, columns(numbers=1, missing=False))
    posing: Any = type("GaussianNB", (Tied,), {"__module__": "sklearn.naive_bayes", "__qualname__": "GaussianNB"})
    form = ArrayForm(about, posing())
    answers, chances = form.ask(np.array([[1.0], [-1.0], [-1.0]]))
    assert answers.tolist() == [1, 0, 0]
    assert chances is not None
    assert form._model.asked == 1


def test_what_needs_names_or_is_not_scikit_learns_is_refused() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    about = contract(2, columns(missing=False, whole=True))
    by_name = fitted(
        lambda: make_pipeline(ColumnTransformer([("s", StandardScaler(), ["n0"])]), LogisticRegression()), about
    )
    with pytest.raises(NotCompiled, match="by name"):
        ArrayForm(about, by_name.model)
    by_kind = fitted(lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=["k"]), about)
    with pytest.raises(NotCompiled, match=r"by name|need a frame"):
        ArrayForm(about, by_kind.model)
    own = fitted(lambda: make_pipeline(FunctionTransformer(lambda X: X[["n0"]]), LogisticRegression()), about)
    with pytest.raises(NotCompiled, match="need a frame"):
        ArrayForm(about, own.model)
    with pytest.raises(NotCompiled, match="Tied is not"):
        ArrayForm(about, Tied())
    with pytest.raises(NotCompiled, match="not all columns"):
        ArrayForm(contract(2, columns(categories=(2,))), own.model)


def test_copies_share_their_arrays_and_work_in_one_thread() -> None:
    from sklearn.ensemble import RandomForestRegressor

    sample = fitted(lambda: RandomForestRegressor(3, random_state=0, n_jobs=2), contract(0, columns(missing=False)))
    calm = single_threaded(sample.model)
    assert (sample.model.n_jobs, calm.n_jobs) == (2, None)
    assert calm.estimators_[0].tree_ is sample.model.estimators_[0].tree_
    assert not hasattr(bare(sample.model), "feature_names_in_")
    assert single_threaded(own := Tied()) is own
