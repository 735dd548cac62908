"""Corners of scikit-learn: each estimator is compiled and equal, or refused with a reason; never something else."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import compose, dummy, ensemble, impute, linear_model, naive_bayes, pipeline, preprocessing, tree

from form_samples import Matrix, Sample, columns, contract, drawn, fitted, same_bits
from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.forms import certificate, growing, probes
from fullcircle.runtimes.forms.array import ArrayForm
from fullcircle.runtimes.forms.certificate import CANDIDATES
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.forms.trees import _Walk, _Words, table_bytes
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract

Make = Callable[[], Any]
Case = tuple[int, tuple[Column, ...], Make, str]

NUMBERS = columns(missing=False)
GAPS = columns()
MIXED = columns(numbers=2, whole=True, categories=(4, 3))
WORDS = columns(numbers=0, categories=(4, 3))
WHOLE = columns(numbers=1, whole=True)
BOOLEAN = (Column(name="b", kind="boolean"), Column(name="b2", kind="boolean"))


def rows_for(sample: Sample, limits: dict[int, Matrix]) -> Matrix:
    """Drawn rows, rows at limits, rows that lack values, and rows of all values large, small and denormal."""
    about = sample.contract
    plain = drawn(about, 40, 5)
    edges = probes.boundary(about, plain, limits, 1)
    some = edges[np.random.default_rng(2).permutation(len(edges))[:90]]
    sizes = [0.0, -0.0, 5e-324, -5e-324, 1e-46, -1e-46, 1e-38, 1e300, -1e300, 3.4028235677973366e38, 2.0**53]
    strange = np.resize(plain, (len(sizes), plain.shape[1])).copy()
    for place, column in enumerate(about.columns):
        if column.kind == "number":
            strange[:, place] = sizes
    return np.concatenate((plain, some, probes.missing(about, plain, 3), strange))


def agree(sample: Sample, form: Any, limits: dict[int, Matrix], tolerance: float) -> None:
    """The fitted model and the form refuse the same rows, give the same classes, and numbers within the tolerance."""
    rows = rows_for(sample, limits)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = Scorer(sample.contract, sample.model).block(rows)
        found = Scorer(sample.contract, None, form=form).block(rows)
    assert expected.failed.keys() == found.failed.keys()
    kept = [place for place in range(len(rows)) if place not in expected.failed]
    assert len(kept) > 30
    if sample.contract.task == "classification":
        assert expected.answers[kept].tolist() == found.answers[kept].tolist()
    for a, b in ((expected.answers, found.answers), (expected.chances, found.chances)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            if tolerance == 0.0:
                assert same_bits(a[kept].astype(np.float64), b[kept].astype(np.float64))
            assert (np.abs(a[kept] - b[kept]) <= tolerance * np.maximum(1.0, np.abs(a[kept]))).all()


def histogram(task: int, kinds: Any, outcome: str = "trees", **options: Any) -> Case:
    kind = ensemble.HistGradientBoostingClassifier if task else ensemble.HistGradientBoostingRegressor
    return task, kinds, lambda: kind(**{"max_iter": 3, "min_samples_leaf": 3, **options}), outcome


def boosting(task: int, outcome: str = "trees", **options: Any) -> Case:
    kind = ensemble.GradientBoostingClassifier if task else ensemble.GradientBoostingRegressor
    return task, NUMBERS, lambda: kind(**{"n_estimators": 3, "random_state": 0, **options}), outcome


def forest(task: int, kinds: Any, outcome: str = "trees", **options: Any) -> Case:
    kind = ensemble.RandomForestClassifier if task else ensemble.RandomForestRegressor
    return task, kinds, lambda: kind(**{"n_estimators": 3, "random_state": 0, **options}), outcome


def after(*steps: Any, kinds: Any = NUMBERS, last: Any = linear_model.LogisticRegression, outcome: str = "") -> Case:
    """Steps before a classifier, each made anew."""

    def make() -> Any:
        return pipeline.make_pipeline(*(step() for step in steps), last())

    return 2, kinds, make, outcome or "linear"


def parts(*named: Any, rest: Any = "drop", **options: Any) -> Callable[[], Any]:
    """A ColumnTransformer of (step, columns)."""
    return lambda: compose.ColumnTransformer(
        [(f"p{place}", step, which) for place, (step, which) in enumerate(named)], remainder=rest, **options
    )


def small_boosting() -> Any:
    return ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0)


def in_frames() -> Any:
    """A pipeline whose steps hand on frames, and choose columns by the names that the step before gave."""
    codes = preprocessing.OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    filled = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    first = compose.ColumnTransformer(
        [("a", filled, ["n1", "n0"]), ("o", codes, ["c1", "c0"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    second = compose.ColumnTransformer([("z", preprocessing.MinMaxScaler(), ["c0", "k"])], remainder="passthrough")
    return pipeline.make_pipeline(first, second, linear_model.LogisticRegression()).set_output(transform="pandas")


standard, smallest, filler = preprocessing.StandardScaler, preprocessing.MinMaxScaler, impute.SimpleImputer
hot, codes = preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder

CASES: dict[str, Case] = {
    # trees by histograms
    "monotonic": histogram(2, MIXED, monotonic_cst={"n0": 1}),
    "without interactions": histogram(2, MIXED, interaction_cst="no_interactions"),
    "weighed classes": histogram(3, MIXED, class_weight="balanced"),
    "stopped early": histogram(3, GAPS, early_stopping=True, max_iter=20),
    "trees that are one leaf": histogram(2, GAPS, min_samples_leaf=1000),
    "one leaf, three classes": histogram(3, GAPS, min_samples_leaf=1000),
    "a high quantile": histogram(0, GAPS, loss="quantile", quantile=0.9),
    "two bins": histogram(0, GAPS, max_bins=2),
    "booleans": histogram(2, BOOLEAN),
    "whole numbers as categories": histogram(2, WHOLE, categorical_features=[1, 2]),
    "200 categories": histogram(0, columns(numbers=0, categories=(200,))),
    "255 categories": histogram(0, columns(numbers=1, categories=(255, 2))),
    "positions of 300 categories": after(
        parts((codes(handle_unknown="use_encoded_value", unknown_value=-1), ["c0"]), rest="passthrough"),
        kinds=columns(numbers=1, categories=(300,)),
        last=lambda: ensemble.HistGradientBoostingClassifier(max_iter=3),
        outcome="trees",
    ),
    # boosting
    "parts of the rows": boosting(2, subsample=0.5, max_features=1),
    "stopped early too": boosting(3, n_iter_no_change=1, n_estimators=15),
    "from even chances": boosting(2, init=dummy.DummyClassifier(strategy="uniform")),
    "from shares": boosting(3, init=dummy.DummyClassifier()),
    "from a constant class": boosting(2, init=dummy.DummyClassifier(strategy="constant", constant=1)),
    "from a quantile": boosting(0, init=dummy.DummyRegressor(strategy="quantile", quantile=0.3)),
    "from nothing": boosting(0, init="zero"),
    "from nothing, three": boosting(3, init="zero"),
    "absolute errors": boosting(0, loss="absolute_error"),
    "quantiles": boosting(0, loss="quantile"),
    "best first": boosting(0, max_leaf_nodes=4),
    "one leaf": boosting(0, min_samples_leaf=1000),
    "from another model": boosting(0, "it begins with another model", init=linear_model.LinearRegression()),
    "from drawn classes": boosting(
        2, "it begins with another model", init=dummy.DummyClassifier(strategy="stratified", random_state=0)
    ),
    # forests and trees
    "monotonic forest": forest(2, NUMBERS, monotonic_cst=[1, 0, -1]),
    "weighed samples": forest(3, GAPS, class_weight="balanced_subsample", max_samples=0.4),
    "stumps": forest(2, GAPS, bootstrap=False, max_depth=1),
    "ten classes": forest(10, GAPS, criterion="log_loss", ccp_alpha=0.01),
    "leaves alone": forest(3, GAPS, min_samples_leaf=1000),
    "poisson": forest(0, NUMBERS, criterion="poisson"),
    "absolute forest": forest(0, NUMBERS, criterion="absolute_error"),
    "booleans alone": forest(2, BOOLEAN),
    "warm start": forest(2, GAPS, warm_start=True),
    "extra trees": (0, GAPS, lambda: ensemble.ExtraTreesRegressor(3, random_state=0, max_features=1), "trees"),
    "a stump": (2, GAPS, lambda: tree.DecisionTreeClassifier(max_depth=1), "trees"),
    "words one column each": after(
        lambda: hot(handle_unknown="ignore"),
        kinds=WORDS,
        last=lambda: ensemble.RandomForestClassifier(3, random_state=0),
        outcome="trees",
    ),
    "one-hot columns that refuse": after(hot, kinds=WORDS),
    # columns chosen
    "weighed parts": after(
        parts((standard(), ["n0"]), (smallest(), ["n1"]), transformer_weights={"p0": 3.0}), outcome="weighs"
    ),
    "a part of no column": after(parts((standard(), ["n0"]), (smallest(), []), rest="passthrough")),
    "a mask": after(parts((standard(), [True, False, True]), rest="passthrough")),
    "counted from the end": after(parts((standard(), [-1]), ("drop", [0]), rest="passthrough")),
    "all passed through": after(parts(("passthrough", ["n2", "n0"]))),
    "a column twice": after(parts((standard(), ["n1"]), (smallest(clip=True), ["n1"]))),
    "the rest scaled": after(parts(("drop", slice(1, 2)), rest=standard()), last=small_boosting, outcome="trees"),
    "frames between the steps": (2, MIXED, in_frames, "linear"),
    # steps
    "a constant for missing": after(
        lambda: filler(keep_empty_features=True, strategy="constant", fill_value=7, add_indicator=True), kinds=GAPS
    ),
    "scaled without mean": after(lambda: standard(with_mean=False)),
    "scaled not at all": after(lambda: standard(with_mean=False, with_std=False)),
    "roots that go wrong": after(
        lambda: preprocessing.FunctionTransformer(np.sqrt), filler, last=small_boosting, outcome="trees"
    ),
    "logarithms that go wrong": after(
        lambda: preprocessing.FunctionTransformer(np.log1p),
        last=lambda: ensemble.HistGradientBoostingClassifier(max_iter=3),
        outcome="trees",
    ),
    "infinities that a clip would hide": after(
        lambda: preprocessing.FunctionTransformer(np.exp), lambda: smallest(clip=True)
    ),
    "positions of 32 bits": after(
        parts(
            (codes(handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32), ["k", "b"]),
            rest="passthrough",
        ),
        kinds=WHOLE,
        last=lambda: ensemble.HistGradientBoostingClassifier(max_iter=3),
        outcome="trees",
    ),
    "products of columns": after(preprocessing.PolynomialFeatures, outcome="PolynomialFeatures is not known"),
    "a function of one's own": after(
        lambda: preprocessing.FunctionTransformer(np.tanh), outcome="of this function is not known"
    ),
    "another mark for missing": after(lambda: filler(missing_values=-1), outcome="something else than NaN"),
    "a pipeline alone": (
        2,
        NUMBERS,
        lambda: pipeline.make_pipeline(pipeline.make_pipeline(standard(), linear_model.LogisticRegression())),
        "linear",
    ),
    # weights
    "ridge of three": (3, NUMBERS, linear_model.RidgeClassifier, "linear"),
    "ridge of two": (2, NUMBERS, linear_model.RidgeClassifier, "linear"),
    "descent, each against the rest": (
        3,
        NUMBERS,
        lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
        "linear",
    ),
    "descent by margins": (2, NUMBERS, lambda: linear_model.SGDClassifier(random_state=0), "linear"),
    "other losses": (2, NUMBERS, lambda: linear_model.SGDClassifier(loss="modified_huber"), "no linear model"),
    "counts": (0, NUMBERS, linear_model.PoissonRegressor, "linear"),
    "no intercept": (0, NUMBERS, lambda: linear_model.LinearRegression(fit_intercept=False), "linear"),
    "nothing but zeros": (0, NUMBERS, lambda: linear_model.Lasso(alpha=100.0), "linear"),
    "booleans weighed": (2, BOOLEAN, linear_model.LogisticRegression, "linear"),
    "another generalized model": (
        0,
        NUMBERS,
        lambda: linear_model.TweedieRegressor(power=1.5),
        "no linear model",
    ),
    "a target of its own": (
        0,
        NUMBERS,
        lambda: compose.TransformedTargetRegressor(
            linear_model.LinearRegression(), func=np.log1p, inverse_func=np.expm1
        ),
        "no linear model",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_corner_is_equal_or_refused(name: str) -> None:
    task, kinds, make, outcome = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # categories that no row of a small sample has, few samples, convergence
        sample = fitted(make, contract(task, kinds), count=90)
    if outcome in ("trees", "linear"):
        candidate = CANDIDATES[outcome](sample.contract, sample.model)
        assert candidate.form.name == outcome
        agree(sample, candidate.form, dict(candidate.limits), candidate.tolerance)
        return
    which = ["linear"] if "linear" in outcome else ["trees", "linear"]
    which = ["trees"] if "begins" in outcome else which
    for each in which:
        with pytest.raises(NotCompiled, match=outcome):
            CANDIDATES[each](sample.contract, sample.model)


@pytest.mark.parametrize("labels", [(False, True), ("no", "yes"), (-1, 7), ("", "ß"), (0, 1)])
@pytest.mark.parametrize("kind", ["trees", "linear", "array"])
def test_labels_of_every_type(labels: tuple[Any, ...], kind: str) -> None:
    about = Contract(columns=NUMBERS, label="y", task="classification", classes=labels)
    rows = drawn(about, 60, 0)
    frame = Sample(contract=about, model=None, rows=rows).native._encoder.frame(rows)
    model: Any = tree.DecisionTreeClassifier(max_depth=3) if kind == "trees" else linear_model.LogisticRegression()
    model.fit(frame, np.array(labels)[(rows[:, 0] > 0).astype(int)])
    sample = Sample(contract=about, model=model, rows=rows)
    form = CANDIDATES[kind](about, model).form
    values = Scorer(about, model, form=form).score(sample.values)
    assert [one.value for one in values] == model.predict(frame).tolist()
    assert {type(one.value) for one in values} == {type(label) for label in labels}
    assert list(values[0].probabilities or {}) == [str(label) for label in labels]


@pytest.mark.parametrize("kind", ["trees", "linear"])
@pytest.mark.parametrize("known", [(0, 1, 2), (0, 2), (0,)])
def test_a_class_that_the_model_never_saw_is_no_form(known: tuple[int, ...], kind: str) -> None:
    """A contract of four classes and a model of fewer: the columns of its chances would mean something else."""
    about = Contract(columns=NUMBERS, label="y", task="classification", classes=(0, 1, 2, 3))
    rows = drawn(about, 60, 0)
    frame = Sample(contract=about, model=None, rows=rows).native._encoder.frame(rows)
    model: Any = (
        ensemble.RandomForestClassifier(3, random_state=0) if kind == "trees" else linear_model.RidgeClassifier()
    )
    labels = np.resize(known, len(rows))
    if kind == "linear" and len(known) == 1:
        labels[0] = 1
    model.fit(frame, labels)
    with pytest.raises(BundleInvalid, match="compiled form"):
        CANDIDATES[kind](about, model)


def test_several_outputs_are_refused() -> None:
    about = contract(0, NUMBERS)
    rows = drawn(about, 50, 0)
    frame = Sample(contract=about, model=None, rows=rows).native._encoder.frame(rows)
    for kind, model in (
        ("trees", ensemble.RandomForestRegressor(2)),
        ("trees", tree.DecisionTreeRegressor()),
        ("linear", linear_model.LinearRegression()),
        ("linear", linear_model.Ridge()),
    ):
        with pytest.raises(NotCompiled):
            CANDIDATES[kind](about, model.fit(frame, rows[:, :2]))


def test_a_model_of_the_same_name_is_not_taken_for_scikit_learns() -> None:
    class DummyClassifier(dummy.DummyClassifier):  # type: ignore[misc]
        def predict_proba(self, X: Any) -> Any:
            share = 1 / (1 + np.exp(-np.asarray(X)[:, 0]))
            return np.stack((1 - share, share), axis=1)

    sample = fitted(lambda: ensemble.GradientBoostingClassifier(n_estimators=2), contract(2, NUMBERS))
    sample.model.init_ = DummyClassifier().fit(sample.rows, np.arange(len(sample.rows)) % 2)
    with pytest.raises(NotCompiled, match="begins with another model"):
        growing.grow(sample.contract, sample.model)


FORMS: dict[str, tuple[str, Case]] = {
    "words": ("trees", histogram(3, GAPS)),
    "words after steps": ("trees", after(standard, last=small_boosting)),
    "walk": ("trees", forest(2, NUMBERS, max_depth=None)),
    "linear": ("linear", (3, NUMBERS, linear_model.LogisticRegression, "")),
    "linear with tables": ("linear", after(lambda: hot(handle_unknown="ignore"), kinds=WORDS)),
    "array": ("array", (3, NUMBERS, naive_bayes.GaussianNB, "")),
}


def formed(name: str) -> tuple[Sample, Any]:
    kind, (task, kinds, make, _) = FORMS[name]
    sample = fitted(make, contract(task, kinds), count=900 if name == "walk" else 90)
    form: Any = CANDIDATES[kind](sample.contract, sample.model).form
    if kind == "trees":
        assert isinstance(form._leaves, _Walk if name == "walk" else _Words)
    return sample, form


@pytest.mark.parametrize("name", FORMS)
def test_a_form_keeps_nothing_and_changes_nothing(name: str) -> None:
    sample, form = formed(name)
    rows = sample.rows[:50].copy()
    rows.setflags(write=False)
    before = rows.tobytes()
    first = form.ask(rows)
    form.ask(np.where(np.isnan(rows), rows, rows[::-1]))
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(form.ask, [rows, np.asfortranarray(rows), rows, rows[::-1]]))
    for answers, chances in again[:3]:
        assert same_bits(answers, first[0])
        assert same_bits(chances, first[1])
    assert same_bits(again[3][1][::-1], first[1])
    assert rows.tobytes() == before
    answers, chances = first
    assert answers.shape == (50,)
    assert chances is None or chances.shape == (50, len(sample.contract.classes))
    assert not np.shares_memory(answers, rows)


@pytest.mark.parametrize("name", FORMS)
def test_no_row_at_all(name: str) -> None:
    sample, form = formed(name)
    none = np.empty((0, len(sample.contract.columns)))
    block = Scorer(sample.contract, sample.model, form=form).block(none)
    assert block.answers.shape == (0,)
    assert block.chances is not None
    assert block.chances.shape == (0, len(sample.contract.classes))
    assert not block.failed
    assert Scorer(sample.contract, sample.model, form=form).score([]) == ()
    if form.name != "array":
        answers, chances = form.ask(none)
        assert (answers.shape, chances.shape) == ((0,), block.chances.shape)


@pytest.mark.parametrize("name", ["words", "words after steps"])
def test_the_tables_are_as_large_as_was_counted(name: str) -> None:
    """The count is what refuses a file before anything is built from it."""
    sample, form = formed(name)
    made, trees, _, _ = growing.grow(sample.contract, sample.model)
    assert table_bytes(made, trees) == form._leaves._table.nbytes + form._leaves._values.nbytes


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_drawn_trees_have_the_same_bits(data: st.DataObject) -> None:
    kinds: Any = data.draw(
        st.sampled_from([GAPS, NUMBERS, WHOLE, BOOLEAN, columns(numbers=1, missing=False, whole=True)])
    )
    task = data.draw(st.sampled_from([0, 2, 3]))
    family = data.draw(st.sampled_from(["forest", "extra", "tree", "boosting", "histogram"]))
    if family == "boosting" and any(column.nullable for column in kinds):
        kinds = NUMBERS
    shape = {"max_depth": data.draw(st.sampled_from([None, 1, 3])), "random_state": data.draw(st.integers(0, 99))}
    suffix = "Classifier" if task else "Regressor"
    options: dict[str, Any] = dict(shape)
    if family != "tree":
        many = "max_iter" if family == "histogram" else "n_estimators"
        options[many] = data.draw(st.integers(1, 3))
    if family == "histogram":
        options |= {"min_samples_leaf": data.draw(st.integers(1, 9)), "max_bins": data.draw(st.integers(2, 60))}
        options |= {"learning_rate": data.draw(st.sampled_from([0.1, 1.0])), "max_leaf_nodes": 9}
    name = {
        "forest": "RandomForest",
        "extra": "ExtraTrees",
        "tree": "DecisionTree",
        "boosting": "GradientBoosting",
        "histogram": "HistGradientBoosting",
    }[family]
    kind = getattr(tree if family == "tree" else ensemble, name + suffix)
    sample = fitted(lambda: kind(**options), contract(task, kinds), count=data.draw(st.sampled_from([8, 40])), seed=1)
    candidate = CANDIDATES["trees"](sample.contract, sample.model)
    agree(sample, candidate.form, dict(candidate.limits), 0.0)


# The array form


def everything(part: Any, seen: set[int]) -> list[Any]:
    """All objects of scikit-learn within one."""
    if id(part) in seen:
        return []
    seen.add(id(part))
    if isinstance(part, list | tuple):
        return [one for item in part for one in everything(item, seen)]
    if isinstance(part, np.ndarray) and part.dtype == object:
        return everything(part.ravel().tolist(), seen)
    if not type(part).__module__.startswith("sklearn") or not hasattr(part, "__dict__"):
        return []
    return [part, *(one for item in vars(part).values() for one in everything(item, seen))]


ARRAYS: dict[str, Make] = {
    "frames between": lambda: pipeline.make_pipeline(standard(), naive_bayes.GaussianNB()).set_output(
        transform="pandas"
    ),
    "votes": lambda: ensemble.VotingClassifier(
        [("a", naive_bayes.GaussianNB()), ("b", pipeline.make_pipeline(standard(), linear_model.RidgeClassifier()))]
    ),
    "a stack": lambda: ensemble.StackingClassifier(
        [("a", naive_bayes.GaussianNB())], linear_model.LogisticRegression(), cv=2, passthrough=True
    ),
    "a bag": lambda: ensemble.BaggingClassifier(n_estimators=2, max_features=2, random_state=0),
    "steps": lambda: ensemble.AdaBoostClassifier(n_estimators=2, random_state=0),
    "threads": lambda: ensemble.RandomForestClassifier(3, n_jobs=2, random_state=0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_users_own_model_stays_as_it_was(name: str) -> None:
    sample = fitted(ARRAYS[name], contract(2, NUMBERS), count=60)
    before = pickle.dumps(sample.model)
    attributes = [(id(one), dict(vars(one))) for one in everything(sample.model, set())]
    form = ArrayForm(sample.contract, sample.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a copy that still knew names would warn at every call
        answers, chances = form.ask(sample.rows)
    for one in everything(form._model, set()):
        assert "feature_names_in_" not in vars(one)
        assert vars(one).get("n_jobs") is None
    for (place, values), one in zip(attributes, everything(sample.model, set()), strict=True):
        assert place == id(one)
        assert values.keys() == vars(one).keys()
        assert all(vars(one)[key] is value for key, value in values.items())
    assert pickle.dumps(sample.model) == before
    expected = sample.native.ask(sample.rows)
    assert same_bits(answers, expected[0])
    assert (chances is None) == (expected[1] is None)
    if chances is not None and expected[1] is not None:
        assert np.allclose(chances, expected[1], rtol=1e-12, atol=1e-12)


class Opinion:
    """A model without ``classes_``."""

    def predict(self, X: Any) -> Any:
        return np.where(np.asarray(X)[:, 0] > 0, "yes", "no")


def test_an_estimator_without_classes() -> None:
    posing: Any = type("Posing", (Opinion,), {"__module__": "sklearn.posing"})
    about = contract(2, NUMBERS)
    form = ArrayForm(about, posing())
    answers, chances = form.ask(np.array([[1.0, 0, 0], [-1.0, 0, 0]]))
    assert answers.tolist() == [1, 0]
    assert chances is None
    assert not form.probable
    block = Scorer(contract(3, NUMBERS), None, form=ArrayForm(contract(3, NUMBERS), posing())).block(np.ones((2, 3)))
    assert set(block.failed) == {0, 1}  # words are none of its classes


def test_whole_numbers_beyond_a_float_go_to_the_model_as_they_are() -> None:
    """The matrix cannot tell 2**53 + 1 from 2**53; the frame can, and the model may."""
    seen = []

    class Watching(Opinion):
        def predict(self, X: Any) -> Any:
            seen.append(np.asarray(X)[0, 0])
            return super().predict(X)

    posing: Any = type("Posing", (Watching,), {"__module__": "sklearn.posing"})()
    about = contract(2, (Column(name="k", kind="integer"),))
    scorer = Scorer(about, posing, form=ArrayForm(about, posing))
    assert [one.value for one in scorer.score([{"k": 2**53 + 1}])] == ["yes"]
    assert [one.value for one in scorer.score([{"k": 5}])] == ["yes"]
    assert [int(one) for one in seen] == [2**53 + 1, 5]
    assert [seen[0].dtype, seen[1].dtype] == [np.int64, np.float64]


def test_a_certificate_says_how_many_rows_it_saw() -> None:
    sample, _ = formed("array")
    chosen = certificate.choose(sample.contract, sample.model, sample.values)
    assert chosen.certificate.form == "array"
    assert chosen.certificate.rows > len(sample.rows)
