from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import Sample, columns, contract, drawn, fitted, steady
from fullcircle.runtimes.forms import probes, weighing
from fullcircle.runtimes.forms.linear import TOLERANCE, LinearForm
from fullcircle.runtimes.forms.steps import NotCompiled, begin, prepared, through
from fullcircle.runtimes.scorer import Scorer

Make = Callable[[], Any]


def model(name: str, **options: Any) -> Any:
    from sklearn import linear_model

    return getattr(linear_model, name)(**options)


def whole(last: Any) -> Make:
    """Everything that may come before a linear model, in one pipeline."""
    from sklearn.base import clone
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

    def make() -> Any:
        first = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        second = make_pipeline(
            SimpleImputer(strategy="median"), FunctionTransformer(np.cbrt), MinMaxScaler(clip=True)
        )
        words = make_pipeline(
            SimpleImputer(strategy="constant", fill_value="v1"),
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=12),
        )
        parts = [
            ("first", first, ["n0", "n1"]),
            ("second", second, ["n2"]),
            ("words", words, ["c0", "c1"]),
            ("whole", OneHotEncoder(handle_unknown="ignore", drop="first"), ["k"]),
            ("rest", "passthrough", ["b"]),
        ]
        return Pipeline([("p", ColumnTransformer(parts)), ("m", clone(last))])

    return make


def formed(sample: Sample) -> LinearForm:
    return LinearForm(*weighing.weigh(sample.contract, sample.model))


def agree(sample: Sample, form: Any, seed: int) -> None:
    limits = probes.limits(weighing.weigh(sample.contract, sample.model)[0], None)
    native, ours = Scorer(sample.contract, sample.model), Scorer(sample.contract, None, form=form)
    for rows in probes.blocks(sample.contract, drawn(sample.contract, 100, seed), limits, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an encoder that ignores unknown values says so
            expected = native.block(rows)
        found = ours.block(rows)
        assert expected.failed.keys() == found.failed.keys()
        kept = [place for place in range(len(rows)) if place not in expected.failed]
        if sample.contract.task == "classification":
            assert np.array_equal(expected.answers[kept], found.answers[kept])
        for part in ("answers", "chances"):
            a, b = getattr(expected, part), getattr(found, part)
            assert (a is None) == (b is None)
            if a is not None:
                assert np.all(np.abs(a[kept] - b[kept]) <= TOLERANCE * np.maximum(1.0, np.abs(a[kept])))


KINDS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "logistic": (2, "LogisticRegression", {}),
    "logistic of three": (3, "LogisticRegression", {}),
    "descent": (3, "SGDClassifier", {"loss": "log_loss", "random_state": 0}),
    "descent without chances": (2, "SGDClassifier", {"random_state": 0}),
    "ridge classes": (3, "RidgeClassifier", {}),
    "least squares": (0, "LinearRegression", {}),
    "ridge": (0, "Ridge", {}),
    "lasso": (0, "Lasso", {"alpha": 0.01}),
    "poisson": (0, "PoissonRegressor", {}),
}


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_after_every_step_that_is_known(name: str, seed: int) -> None:
    task, kind, options = KINDS[name]
    about = contract(task, columns(whole=True, categories=(3, 9)))
    sample = fitted(whole(model(kind, **options)), about, seed=seed, count=200)
    agree(sample, formed(sample), seed)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    for task, last in (
        (0, model("Ridge")),
        (3, model("LogisticRegression")),
        (2, model("SGDClassifier", random_state=1)),
    ):
        sample = fitted(whole(last), contract(task, columns(whole=True, categories=(3, 9))), count=300)
        steady(formed(sample), sample.rows)


def test_no_rows() -> None:
    sample = fitted(lambda: model("Ridge"), contract(0, columns(missing=False)))
    answers, chances = formed(sample).ask(np.empty((0, 3)))
    assert answers.shape == (0,)
    assert chances is None


@pytest.mark.parametrize("kind", ["LogisticRegression", "Perceptron"])
def test_what_scikit_learn_refuses_is_no_answer(kind: str) -> None:
    sample = fitted(lambda: model(kind), contract(2, columns(numbers=2, missing=False)))
    form = formed(sample)
    rows = np.array([[0.5, 0.5], [math.nan, 0.5]])
    with pytest.raises(ValueError, match="NaN"):
        sample.native.ask(rows)
    block = Scorer(sample.contract, None, form=form).block(rows)
    assert list(block.failed) == [1]
    assert block.answers[0] == sample.native.ask(rows[:1])[0][0]


def test_an_unseen_category_is_refused_where_the_encoder_refuses_it() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    about = contract(0, columns(numbers=0, missing=False, categories=(3,)))
    sample = fitted(lambda: make_pipeline(OneHotEncoder(), model("Ridge")), about)
    block = Scorer(about, None, form=formed(sample)).block(np.array([[1.0], [math.nan], [2.0]]))
    assert list(block.failed) == [1]
    assert np.allclose(block.answers[[0, 2]], sample.native.ask(np.array([[1.0], [2.0]]))[0], rtol=1e-12)


def test_infinities_between_steps_are_refused_where_scikit_learn_looks() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    about = contract(0, columns(numbers=1, missing=False))
    sample = fitted(lambda: make_pipeline(FunctionTransformer(np.expm1), StandardScaler(), model("Ridge")), about)
    rows = np.array([[0.5], [1e4]])
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="infinity"):
        sample.native.ask(rows)
    answers, _ = formed(sample).ask(rows)
    assert np.isnan(answers).tolist() == [False, True]


def test_a_large_score_is_certain_and_no_failure() -> None:
    sample = fitted(lambda: model("LogisticRegression"), contract(2, columns(numbers=1, missing=False)))
    _, chances = formed(sample).ask(np.array([[1e308], [-1e308], [3e5]]))
    assert chances is not None
    assert chances.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]


class Unknown:
    """A step of a project's own."""

    def transform(self, X: Any) -> Any:
        return X


def refused() -> list[tuple[Any, str]]:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures

    return [
        (PolynomialFeatures(), "PolynomialFeatures is not known"),
        (Unknown(), "Unknown is not known"),
        (FunctionTransformer(np.sin), "this function"),
        (FunctionTransformer(np.log1p, validate=True), "validates"),
        (SimpleImputer(missing_values=-1.0), "something else than NaN"),
        (ColumnTransformer([("o", OneHotEncoder(), ["n0"])], remainder=PolynomialFeatures()), "PolynomialFeatures"),
    ]


@pytest.mark.parametrize("place", range(6))
def test_steps_that_cannot_be_followed_are_refused(place: int) -> None:
    step, why = refused()[place]
    about = contract(0, columns(missing=False))
    if hasattr(step, "fit"):
        from fullcircle.runtimes.encoding import Encoder

        step.fit(Encoder(about).frame(drawn(about, 50, 0).round()))
    with pytest.raises(NotCompiled, match=why):
        through([step], begin(about))


def test_categories_that_nobody_encoded_are_refused() -> None:
    about = contract(0, columns(categories=(3,)))
    with pytest.raises(NotCompiled, match="without being encoded"):
        prepared(begin(about), 4)


def test_text_and_times_are_refused() -> None:
    from fullcircle.types.contract import Column

    with pytest.raises(NotCompiled, match="holds text"):
        begin(contract(0, (Column(name="t", kind="text"),)))
