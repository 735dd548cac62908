"""Boosters asked with an array, and LightGBM's trees in numpy: the same bits, or another form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import booster_samples as samples
from form_samples import columns, contract, fitted, same_bits
from fullcircle.runtimes.boosters import kept
from fullcircle.runtimes.forms import links
from fullcircle.runtimes.forms.array import ArrayForm
from fullcircle.runtimes.forms.certificate import array, choose, trees
from fullcircle.runtimes.forms.growing import grow
from fullcircle.runtimes.forms.steps import NotCompiled

KINDS = columns(whole=True, categories=(3, 7))


def lightgbm(**words: Any) -> Callable[[], Any]:
    kind = words.pop("kind", "LGBMRegressor")
    return lambda: getattr(samples.lightgbm, kind)(**{**samples.L5, "min_child_samples": 5, **words})


def xgboost(**words: Any) -> Callable[[], Any]:
    kind = words.pop("kind", "XGBRegressor")
    return lambda: getattr(samples.xgboost, kind)(**{**samples.X5, "enable_categorical": True, **words})


CASES: dict[str, tuple[int, Callable[[], Any]]] = {
    "xgboost: a number": (0, xgboost()),
    "xgboost: two classes": (2, xgboost(kind="XGBClassifier")),
    "xgboost: classes": (3, xgboost(kind="XGBClassifier")),
    "xgboost: a forest": (0, xgboost(kind="XGBRFRegressor")),
    "lightgbm: a number": (0, lightgbm(**samples.BY_CATEGORY)),
    "lightgbm: two classes": (2, lightgbm(kind="LGBMClassifier", **samples.BY_CATEGORY)),
    "lightgbm: classes": (3, lightgbm(kind="LGBMClassifier")),
}


def _fitted(task: int, make: Callable[[], Any]) -> Any:
    about = contract(task, KINDS)
    if task == 2 and "XGB" in type(make()).__name__:  # XGBoost knows classes by number only
        about = replace(about, classes=(0, 1), prior=0)
    return fitted(make, about)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_booster_asked_with_an_array_answers_with_the_same_bits(name: str) -> None:
    sample = _fitted(*CASES[name])
    chosen = choose(sample.contract, sample.model, sample.values, candidates={"array": array})
    assert chosen.certificate.form == "array", chosen.certificate.refused
    assert chosen.certificate.same_bits
    answers, chances = ArrayForm(sample.contract, sample.model).ask(sample.rows)
    expected = sample.native.ask(sample.rows)
    assert same_bits(answers, expected[0])
    assert chances is None or same_bits(chances, expected[1])


LEAVES: dict[str, tuple[int, Callable[[], Any]]] = {
    "a number": (0, lightgbm()),
    "by category": (0, lightgbm(**samples.BY_CATEGORY)),
    "two classes": (2, lightgbm(kind="LGBMClassifier", **samples.BY_CATEGORY)),
    "a mean": (0, lightgbm(boosting_type="rf", subsample=0.5, subsample_freq=1)),
    "dart": (0, lightgbm(boosting_type="dart")),
    "absolute": (0, lightgbm(objective="l1")),
}


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_the_trees_of_lightgbm_in_numpy_answer_with_the_same_bits(name: str) -> None:
    task, make = LEAVES[name]
    sample = _fitted(task, make)
    chosen = choose(sample.contract, sample.model, sample.values, candidates={"trees": trees})
    assert chosen.certificate.form == "trees", chosen.certificate.refused
    assert chosen.certificate.same_bits
    assert chosen.certificate.rows > 200
    answers, chances = chosen.form.ask(sample.rows)
    expected = sample.native.ask(sample.rows)
    assert same_bits(answers, expected[0])
    assert chances is None or same_bits(chances, expected[1])


def test_the_trees_of_lightgbm_after_other_steps() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def make() -> Any:
        before = ColumnTransformer(
            [("n", StandardScaler(), ["n0", "n1", "k"]), ("c", OneHotEncoder(sparse_output=False), ["c0"])]
        )
        return make_pipeline(before.set_output(transform="pandas"), lightgbm()())

    about = contract(0, columns(missing=False, whole=True, categories=(3, 7)))
    sample = fitted(make, about)
    chosen = choose(about, sample.model, sample.values, candidates={"trees": trees})
    assert chosen.certificate.form == "trees", chosen.certificate.refused


@pytest.mark.parametrize(
    ("words", "task", "why"),
    [
        ({"kind": "LGBMClassifier"}, 3, "what it makes of a score"),
        ({"kind": "LGBMClassifier", "objective": "cross_entropy"}, 2, "what it makes of a score"),
        ({"reg_sqrt": True}, 0, "what it makes of a score"),
        ({"zero_as_missing": True}, 0, "zero for a missing value"),
        ({"pred_early_stop": True}, 0, "stops to add trees early"),
        ({"linear_tree": True}, 0, "linear models in its leaves"),
    ],
)
def test_what_is_not_known_is_not_compiled(words: dict[str, Any], task: int, why: str) -> None:
    about = contract(task, columns())
    sample = fitted(lightgbm(**words), about)
    with pytest.raises(NotCompiled, match=why):
        grow(about, sample.model)


def test_a_category_beyond_256_is_not_compiled() -> None:
    about = contract(0, columns(numbers=1, missing=False, categories=(400,)))
    sample = fitted(lightgbm(min_child_samples=1, max_cat_threshold=400, **samples.BY_CATEGORY), about, count=4000)
    with pytest.raises(NotCompiled, match="256 categories"):
        grow(about, sample.model)


def test_a_model_that_saw_a_missing_value_nowhere_takes_it_for_zero() -> None:
    about = contract(0, columns())
    sample = fitted(lightgbm(), contract(0, columns(missing=False)))
    candidate = trees(about, sample.model)
    rows = np.full((1, 3), np.nan)
    assert same_bits(candidate.form.ask(rows)[0], kept.nameless(sample.model).predict(np.zeros((1, 3))))


def test_more_leaves_than_a_word_has_bits() -> None:
    about = contract(0, columns(whole=True))
    sample = fitted(lightgbm(num_leaves=90, min_child_samples=1), about, count=400)
    candidate = trees(about, sample.model)
    assert same_bits(candidate.form.ask(sample.rows)[0], sample.native.ask(sample.rows)[0])


@pytest.mark.parametrize("score", [5e-324, 1e-17, 1e-16, 0.0, -0.0, 1e-15, -1e-15, -1e-17])
def test_a_class_is_the_likelier_one_as_lightgbm_has_it(score: float) -> None:
    """A score that is too small for its chances to differ decides nothing."""
    table = np.array([[1.0 - 1.0 / (1.0 + math.exp(-score)), 1.0 / (1.0 + math.exp(-score))]])
    answers, chances = links.answers(np.array([[score]]), "likelier", "expit")
    assert chances is not None
    assert same_bits(chances, table)
    assert answers.tolist() == table.argmax(axis=1).tolist()
