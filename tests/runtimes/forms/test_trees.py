from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import Sample, columns, contract, drawn, fitted, same_bits, steady
from fullcircle.runtimes.forms import growing, probes, trees
from fullcircle.runtimes.forms.certificate import CANDIDATES
from fullcircle.runtimes.forms.preparing import Tables
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.forms.trees import TreesForm
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Contract

Make = Callable[[], Any]
Kinds = dict[str, tuple[int, str, dict[str, Any]]]
SEEDS = st.integers(0, 2**20)


def make(name: str, **options: Any) -> Make:
    from sklearn import ensemble, tree

    return lambda: getattr(ensemble if hasattr(ensemble, name) else tree, name)(**options)


def formed(sample: Sample) -> TreesForm:
    return TreesForm(*growing.grow(sample.contract, sample.model))


def agree(sample: Sample, form: Any, seed: int) -> None:
    """The same bits on random rows, at every split and around it, and with missing values."""
    limits = probes.limits(*growing.grow(sample.contract, sample.model)[:2])
    native = Scorer(sample.contract, sample.model)
    ours = Scorer(sample.contract, None, form=form)
    for rows in probes.blocks(sample.contract, drawn(sample.contract, 120, seed), limits, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers that 32 bits cannot hold
            expected = native.block(rows)
        found = ours.block(rows)
        assert expected.failed.keys() == found.failed.keys()
        kept = [place for place in range(len(rows)) if place not in expected.failed]
        assert same_bits(expected.answers[kept], found.answers[kept])
        if expected.chances is not None and found.chances is not None:
            assert same_bits(expected.chances[kept], found.chances[kept])


HISTOGRAM: Kinds = {
    "two classes": (2, "HistGradientBoostingClassifier", {}),
    "three classes": (3, "HistGradientBoostingClassifier", {}),
    "ten classes": (10, "HistGradientBoostingClassifier", {"max_iter": 3}),
    "squares": (0, "HistGradientBoostingRegressor", {}),
    "poisson": (0, "HistGradientBoostingRegressor", {"loss": "poisson"}),
    "gamma": (0, "HistGradientBoostingRegressor", {"loss": "gamma"}),
    "median": (0, "HistGradientBoostingRegressor", {"loss": "absolute_error"}),
}


@pytest.mark.parametrize("name", HISTOGRAM)
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS, leaves=st.sampled_from([2, 5, 31, 40]))
def test_histogram_boosting_in_the_same_bits(name: str, seed: int, leaves: int) -> None:
    task, model, options = HISTOGRAM[name]
    about = contract(task, columns(whole=True, categories=(3,)))
    options = {"max_iter": 5, "max_leaf_nodes": leaves, "min_samples_leaf": 3, **options}
    sample = fitted(make(model, **options), about, seed=seed)
    agree(sample, formed(sample), seed)


OTHERS: Kinds = {
    "forest": (3, "RandomForestClassifier", {"n_estimators": 7}),
    "forest regression": (0, "RandomForestRegressor", {"n_estimators": 7}),
    "extra trees": (2, "ExtraTreesClassifier", {"n_estimators": 7, "max_leaf_nodes": 20}),
    "extra trees regression": (0, "ExtraTreesRegressor", {"n_estimators": 7}),
    "tree": (2, "DecisionTreeClassifier", {"max_depth": 4}),
    "tree regression": (0, "DecisionTreeRegressor", {}),
    "extra tree": (3, "ExtraTreeClassifier", {}),
    "boosting": (2, "GradientBoostingClassifier", {"n_estimators": 5}),
    "boosting exponential": (2, "GradientBoostingClassifier", {"n_estimators": 5, "loss": "exponential"}),
    "boosting three": (3, "GradientBoostingClassifier", {"n_estimators": 4}),
    "boosting from zero": (2, "GradientBoostingClassifier", {"n_estimators": 4, "init": "zero"}),
    "boosting regression": (0, "GradientBoostingRegressor", {"n_estimators": 5, "loss": "huber"}),
}


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_other_ensembles_in_the_same_bits(name: str, seed: int) -> None:
    task, model, options = OTHERS[name]
    missing = not name.startswith("boosting")
    sample = fitted(
        make(model, random_state=seed, **options), contract(task, columns(missing=missing, whole=True)), seed=seed
    )
    agree(sample, formed(sample), seed)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    few = fitted(
        make("HistGradientBoostingClassifier", max_iter=20), contract(3, columns(categories=(4,))), count=300
    )
    steady(formed(few), few.rows)
    many = fitted(make("RandomForestClassifier", n_estimators=9, random_state=0), contract(2, columns()), count=400)
    form = formed(many)
    assert isinstance(form._leaves, trees._Walk)
    steady(form, many.rows)


@pytest.mark.parametrize(
    "options", [{"categorical_features": ["c0", "c1", "k", "b"]}, {"categorical_features": "from_dtype"}]
)
def test_splits_by_category_including_unseen_ones(options: dict[str, Any]) -> None:
    about = contract(2, columns(numbers=1, whole=True, categories=(5, 30)))
    wanted = {"max_iter": 8, "min_samples_leaf": 2, **options}
    sample = fitted(make("HistGradientBoostingClassifier", **wanted), about, count=300)
    _, forest, _, _ = growing.grow(about, sample.model)
    assert (forest.category >= 0).any()
    agree(sample, formed(sample), 1)
    strange = sample.rows[:20].copy()
    strange[:, -1] = np.nan  # a category that the contract does not know reaches the model as missing
    assert same_bits(sample.native.ask(strange)[1], formed(sample).ask(strange)[1])


def test_after_preprocessing() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler

    def pipeline() -> Any:
        numbers = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), RobustScaler()
        )
        words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        parts = [("n", numbers, ["n0", "n1", "n2"]), ("c", words, ["c0"]), ("k", codes, ["k"])]
        return Pipeline(
            [("p", ColumnTransformer(parts, remainder="drop")), ("m", GradientBoostingClassifier(n_estimators=6))]
        )

    sample = fitted(pipeline, contract(2, columns(whole=True, categories=(4,))), count=250)
    agree(sample, formed(sample), 2)
    steady(formed(sample), sample.rows)


def test_what_scikit_learn_refuses_is_no_answer() -> None:
    about = contract(2, columns(numbers=2))
    sample = fitted(
        make("GradientBoostingClassifier", n_estimators=3), contract(2, columns(numbers=2, missing=False))
    )
    form = TreesForm(*growing.grow(about, sample.model))
    for bad in (math.nan, 1e39, -1e39):
        rows = np.array([[0.5, 0.5], [bad, 0.5], [0.5, bad], [0.5, 3e38]])
        _, chances = form.ask(rows)
        assert chances is not None
        assert np.isnan(chances).all(axis=1).tolist() == [False, True, True, False]
        with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"NaN|infinity"):
            sample.native.ask(rows[1:2])


@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.floats(-1e30, 1e30))
def test_a_limit_for_rounded_numbers_is_where_rounding_passes_it(value: float, limit: float) -> None:
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if math.isfinite(rounded):
        assert (value <= trees._single_limit(limit)) == (rounded <= limit)
        near = trees._single_limit(limit)
        assert float(np.float32(near)) <= limit < float(np.float32(math.nextafter(near, math.inf)))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30))
def test_the_lowest_bit_is_found_with_numpy_1_too(words: list[int]) -> None:
    expected = [64 if not word else (word & -word).bit_length() - 1 for word in words]
    array = np.array(words, dtype=np.uint64)
    assert trees._trailing(array, np.uint64(1)).tolist() == expected
    assert trees._trailing(array, np.uint64(1), None).tolist() == expected
    small = np.array([word % 2**32 for word in words], dtype=np.uint32)
    assert trees._trailing(small, np.uint32(1)).tolist() == trees._trailing(small, np.uint32(1), None).tolist()


@pytest.mark.parametrize(
    ("about", "what", "why"),
    [
        (contract(0, columns()), make("RandomForestRegressor", n_estimators=2), None),
        (contract(0, columns(numbers=0, whole=True)[:1]), make("RandomForestRegressor", n_estimators=2), "2\\*\\*53"),
        (contract(0, columns()), make("BaggingRegressor", n_estimators=2), "known"),
    ],
)
def test_what_cannot_be_followed_is_refused(about: Contract, what: Make, why: str | None) -> None:
    sample = fitted(what, about)
    if why is None:
        CANDIDATES["trees"](about, sample.model)
    else:
        with pytest.raises(NotCompiled, match=why):
            CANDIDATES["trees"](about, sample.model)


def test_a_boosting_that_begins_with_a_model_of_its_own_is_refused() -> None:
    from sklearn.linear_model import LogisticRegression

    make_one = make("GradientBoostingClassifier", n_estimators=2, init=LogisticRegression())
    sample = fitted(make_one, contract(2, columns(missing=False)))
    with pytest.raises(NotCompiled, match="begins with another model"):
        growing.grow(sample.contract, sample.model)


def test_tables_over_their_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = fitted(make("HistGradientBoostingClassifier", max_iter=5), contract(2, columns()))
    assert formed(sample)
    monkeypatch.setattr(growing, "MOST_TABLE_BYTES", 100)
    with pytest.raises(NotCompiled, match="64 MB"):
        growing.grow(sample.contract, sample.model)


def test_bins_of_a_table() -> None:
    tables = Tables(
        columns=np.array([0, 0]),
        keys=np.array([0.0, 1.0, np.inf, np.inf]),
        starts=np.array([0, 3, 4]),
        refused=np.zeros(6, dtype=bool),
    )
    rows = np.array([[-1.0], [0.0], [0.5], [1.0], [7.0], [math.nan]])
    assert tables.places(rows).tolist() == [[0, 0], [0, 0], [1, 0], [1, 0], [2, 0], [3, 1]]
    assert tables.first_bins.tolist() == [0, 4, 6]
