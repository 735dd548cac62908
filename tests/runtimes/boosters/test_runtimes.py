"""Models of XGBoost and LightGBM come back with the same bits, and what cannot come back is refused with words."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier

import booster_samples as samples
from fullcircle import registry
from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.packaging.loading import source
from fullcircle.runtimes.boosters import kept
from fullcircle.runtimes.runtime import Runtime
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.testing.runtimes import RuntimeSuite

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")


def runtime_of(name: str) -> Runtime:
    found: Runtime = registry.find("runtimes", name)()
    return found


# The whole suite for some of each, chosen by what is kept of them; the others come back with the same bits below.
WHOLE = {
    "xgboost": ("two classes with categories", "several classes", "early stopping", "dart", "linear"),
    "lightgbm": ("texts with categories", "several texts", "early stopping", "a forest", "stops to add early"),
    "mixed": ("a pipeline", "several outputs"),
}
OTHERS = [
    (library, name)
    for library, known in (("xgboost", samples.XGBOOST), ("lightgbm", samples.LIGHTGBM), ("mixed", samples.MIXED))
    for name in sorted(known.keys() - set(WHOLE[library]))
]


class TestXGBoost(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return runtime_of("xgboost")

    @pytest.fixture(params=WHOLE["xgboost"])
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self, name: str) -> Any:
        return samples.fitted("xgboost", name)[0]

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return samples.fitted("xgboost", name)[1]


class TestLightGBM(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return runtime_of("lightgbm")

    @pytest.fixture(params=WHOLE["lightgbm"])
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self, name: str) -> Any:
        return samples.fitted("lightgbm", name)[0]

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return samples.fitted("lightgbm", name)[1]


class TestBoostersInsideScikitLearn(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return SklearnRuntime()

    @pytest.fixture(params=WHOLE["mixed"])
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self, name: str) -> Any:
        return samples.fitted("mixed", name)[0]

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return samples.fitted("mixed", name)[1]


@pytest.mark.parametrize(("library", "name"), OTHERS)
def test_the_others_come_back_with_the_same_bits(library: str, name: str, tmp_path: Path) -> None:
    model, rows = samples.fitted(library, name)
    runtime = runtime_of("sklearn" if library == "mixed" else library)
    saved = runtime.save(model, tmp_path)
    loaded = runtime.load(saved.data, types=saved.types)
    for question in ("predict", "predict_proba"):
        if hasattr(model, question):
            expected = np.asarray(getattr(model, question)(rows.copy()))
            answered = np.asarray(getattr(loaded, question)(rows.copy()))
            assert answered.dtype == expected.dtype
            assert np.array_equal(answered, expected)
    assert runtime.save(loaded, tmp_path) == saved


def test_a_model_with_boosters_needs_their_distributions_and_names_their_classes(tmp_path: Path) -> None:
    saved = SklearnRuntime().save(samples.fitted("mixed", "a vote")[0], tmp_path)
    installed = kept.distributions("xgboost")[0]
    assert installed in ("xgboost", "xgboost-cpu")
    assert saved.requirements == ("lightgbm", installed)
    assert {"xgboost.sklearn.XGBClassifier", "lightgbm.sklearn.LGBMClassifier"} < set(saved.types)
    assert not any("Booster" in name for name in saved.types)
    alone = SklearnRuntime().save(samples.fitted("mixed", "a changed target")[0], tmp_path)
    assert alone.requirements == ("lightgbm",)


def test_the_runtimes_say_what_their_models_need() -> None:
    assert runtime_of("xgboost").packages == ("numpy", "pandas", "scikit-learn", *kept.distributions("xgboost"))
    assert runtime_of("lightgbm").packages == ("numpy", "pandas", "scikit-learn", "lightgbm")
    assert not runtime_of("xgboost").pickled


def test_labels_of_text_are_kept_by_a_vote_of_one(tmp_path: Path) -> None:
    """What docs/models.md advises, as XGBoost alone takes no such labels."""
    rows, words = samples.numbers(), np.where(samples.yes(), "yes", "no")
    with pytest.raises(ValueError, match="Invalid classes"):
        samples.xgboost.XGBClassifier(**samples.X5).fit(rows, words)
    model = VotingClassifier([("x", samples.xgboost.XGBClassifier(**samples.X5))], voting="soft").fit(rows, words)
    saved = SklearnRuntime().save(model, tmp_path)
    loaded = SklearnRuntime().load(saved.data, types=saved.types)
    assert loaded.classes_.tolist() == ["no", "yes"]
    assert loaded.predict(rows).tolist() == model.predict(rows).tolist()
    assert np.array_equal(loaded.predict_proba(rows), model.predict_proba(rows))


def test_saving_changes_nothing_about_the_model(tmp_path: Path) -> None:
    model, rows = samples.fitted("mixed", "a pipeline")
    booster = model[-1]
    SklearnRuntime().save(model, tmp_path)
    assert model[-1] is booster
    assert model[-1].get_booster().num_boosted_rounds() == 5
    assert len(model.predict(rows)) == 300


def test_a_loaded_model_works_in_one_thread_and_keeps_its_parameters() -> None:
    for model, _ in (samples.fitted("xgboost", "a number"), samples.fitted("lightgbm", "a number")):
        loaded = kept.read(kept.write(model))
        assert loaded.n_jobs == 1
        assert loaded.n_estimators == 5
        assert loaded.get_params()["learning_rate"] == model.get_params()["learning_rate"]
        assert loaded.n_features_in_ == model.n_features_in_


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bytes_depend_on_neither_threads_nor_what_else_the_object_knows(threads: int) -> None:
    model, _ = samples.fitted("xgboost", "a number")
    loaded = kept.read(kept.write(model))
    loaded.set_params(n_jobs=threads, callbacks=None)
    assert kept.write(loaded) == kept.write(model)


def test_early_stopping_answers_with_the_best_round() -> None:
    model, rows = samples.fitted("xgboost", "early stopping")
    loaded = kept.read(kept.write(model))
    assert loaded.best_iteration == model.best_iteration < 4
    all_rounds = model.predict_proba(rows, iteration_range=(0, model.best_iteration + 2))
    assert not np.array_equal(loaded.predict_proba(rows), all_rounds)
    other, _ = samples.fitted("lightgbm", "early stopping")
    assert kept.read(kept.write(other)).best_iteration_ == other.best_iteration_


def test_a_loss_of_ones_own_is_left_out_for_a_number_and_refused_for_a_class(tmp_path: Path) -> None:
    for name in ("xgboost", "lightgbm"):
        model, _ = samples.fitted(name, "a loss of its own")
        loaded = runtime_of(name).load(runtime_of(name).save(model, tmp_path).data)
        assert loaded.get_params()["objective"] is None
    n, y = samples.numbers(), samples.yes().astype(int)
    x = samples.xgboost.XGBClassifier(objective=samples.asymmetric, **samples.X5).fit(n, y)
    z = samples.lightgbm.LGBMClassifier(objective=samples.asymmetric, **samples.L5).fit(n, y)
    for name, model in (("xgboost", x), ("lightgbm", z)):
        with pytest.raises(ModelRefused, match="asymmetric"):
            runtime_of(name).save(model, tmp_path)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_what_cannot_be_asked_with_a_table_is_refused_with_words(name: str, tmp_path: Path) -> None:
    fitted, _ = samples.fitted(name, "a number")
    raw = fitted.get_booster() if name == "xgboost" else fitted.booster_
    for model in (raw, type(fitted)()):
        with pytest.raises(ModelRefused) as caught:
            runtime_of(name).save(model, tmp_path)
        assert "return the fitted model" in str(caught.value)
    ranker = samples.xgboost.XGBRanker() if name == "xgboost" else samples.lightgbm.LGBMRanker()
    assert runtime_of(name).accepts(ranker)
    with pytest.raises(ModelRefused, match="Ranker"):
        runtime_of(name).save(ranker, tmp_path)


def test_linear_models_in_leaves_are_refused_with_words(tmp_path: Path) -> None:
    model = samples.lightgbm.LGBMRegressor(linear_tree=True, **samples.L5).fit(samples.numbers(), samples.score())
    with pytest.raises(ModelRefused, match="linear models in its leaves"):
        runtime_of("lightgbm").save(model, tmp_path)


def test_several_answers_in_a_leaf_are_refused_with_words(tmp_path: Path) -> None:
    model = samples.xgboost.XGBRegressor(multi_strategy="multi_output_tree", **samples.X5)
    model.fit(samples.numbers(), np.c_[samples.score(), samples.score()])
    with pytest.raises(ModelRefused, match="cannot be kept"):
        runtime_of("xgboost").save(model, tmp_path)


def test_a_model_of_the_other_library_is_refused() -> None:
    data = kept.write(samples.fitted("lightgbm", "a number")[0])
    with pytest.raises(BundleInvalid):
        runtime_of("xgboost").load(data)


OURS = """
import xgboost


class Careful(xgboost.XGBClassifier):
    pass


class Wrapped:
    def __init__(self, booster):
        self.booster = booster

    def predict(self, rows):
        return self.booster.predict(xgboost.DMatrix(rows))
"""


@pytest.mark.parametrize("kind", ["Careful", "Wrapped"])
def test_a_class_of_the_project_may_hold_a_booster(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class made from XGBClassifier, and one with a raw booster."""
    (tmp_path / "ours_with_boosters.py").write_text(OURS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    ours = importlib.import_module("ours_with_boosters")
    del sys.modules["ours_with_boosters"]
    X, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 2
    if kind == "Careful":
        model = ours.Careful(n_estimators=3, max_depth=2).fit(X, y)
    else:
        matrix = samples.xgboost.DMatrix(X, label=y)
        model = ours.Wrapped(samples.xgboost.train({"max_depth": 2}, matrix, num_boost_round=3))
    saved = SklearnRuntime().save(model, tmp_path)
    loaded = SklearnRuntime().load(saved.data, types=saved.types, code=source(saved.code, tmp_path / "code"))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert {"xgboost-cpu", "xgboost"} & set(saved.requirements)
    assert f"ours_with_boosters.{kind}" in saved.types
    assert "ours_with_boosters" not in sys.modules
