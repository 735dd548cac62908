"""Small models of XGBoost and LightGBM, each fitted once a process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, StackingRegressor, VotingClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
lightgbm = pytest.importorskip("lightgbm", reason="the extra lightgbm is not installed")

X5: dict[str, Any] = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}
L5: dict[str, Any] = {"n_estimators": 5, "num_leaves": 6, "verbose": -1, "n_jobs": 1}
BY_CATEGORY: dict[str, Any] = {"min_data_per_group": 1, "cat_smooth": 0.0, "cat_l2": 0.0}


@cache
def rows() -> Any:
    """Numbers (some missing), whole numbers, and two columns of categories (some missing)."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": generator.normal(size=300),
            "count": generator.integers(0, 5, 300),
            "town": pd.Categorical(generator.choice(["Aachen", "Bonn", "Köln", "Düren"], 300)),
            "size": pd.Categorical(generator.choice([10, 20, 30], 300)),
        }
    )
    frame.loc[5:15, "amount"] = np.nan
    frame.loc[10:20, "town"] = None
    return frame


def numbers() -> Any:
    return rows()[["amount", "count"]].fillna(0.0)


def score() -> Any:
    return rows()["amount"].fillna(0.0) + rows()["count"] + 2.0 * (rows()["town"] == "Bonn")


def yes() -> Any:
    return score() > 2.5


def several() -> Any:
    return rows()["count"].clip(upper=2)


def asymmetric(actual: Any, predicted: Any) -> Any:
    gap = predicted - actual
    return np.where(gap > 0, gap, 3 * gap), np.where(gap > 0, 1.0, 3.0)


def exactly(actual: Any, predicted: Any) -> float:
    return float(np.mean(actual == predicted))


Made = Callable[[], tuple[Any, Any]]


def _xgboost(kind: str, label: Callable[[], Any], asked: Callable[[], Any], **words: Any) -> Made:
    def made() -> tuple[Any, Any]:
        seen, truth = asked(), label()
        if "early_stopping_rounds" in words:
            fit = {"eval_set": [(seen, np.asarray(truth)[::-1])], "verbose": False}
        else:
            fit = {}
        return getattr(xgboost, kind)(**{**X5, **words}).fit(seen, truth, **fit), seen

    return made


def _lightgbm(kind: str, label: Callable[[], Any], asked: Callable[[], Any], **words: Any) -> Made:
    def made() -> tuple[Any, Any]:
        seen, truth = asked(), label()
        stops = words.pop("stops", False)
        stop = {
            "eval_X": seen,
            "eval_y": np.asarray(truth)[::-1],
            "callbacks": [lightgbm.early_stopping(2, verbose=False)],
        }
        return getattr(lightgbm, kind)(**{**L5, **words}).fit(seen, truth, **(stop if stops else {})), seen

    return made


def _words() -> Any:
    return np.array(["few", "some", "many"], dtype=object)[several()]


def _answers() -> Any:
    return np.where(yes(), "yes", "no")


def _counts() -> Any:
    return rows()["count"]


def _array() -> Any:
    return numbers().to_numpy()


def _few() -> Any:
    return numbers().head(5)


def _few_scores() -> Any:
    return score().head(5)


C, R = "XGBClassifier", "XGBRegressor"
XGBOOST: dict[str, Made] = {
    "two classes with categories": _xgboost(C, yes, rows, enable_categorical=True, max_cat_to_onehot=2),
    "several classes": _xgboost(C, several, numbers),
    "several classes, hard": _xgboost(C, several, numbers, objective="multi:softmax"),
    "early stopping": _xgboost(C, several, numbers, early_stopping_rounds=2),
    "a number": _xgboost(R, score, numbers),
    "an array": _xgboost(R, score, _array),
    "zero is missing": _xgboost(R, score, numbers, missing=0.0),
    "dart": _xgboost(R, score, numbers, booster="dart", rate_drop=0.5),
    "linear": _xgboost(R, score, numbers, booster="gblinear", max_depth=None, updater="coord_descent"),
    "pruned": _xgboost(R, score, numbers, tree_method="exact", gamma=3),
    "counts": _xgboost(R, _counts, numbers, objective="count:poisson"),
    "a quantile": _xgboost(R, score, numbers, objective="reg:quantileerror", quantile_alpha=0.2),
    "a loss of its own": _xgboost(R, score, numbers, objective=asymmetric, eval_metric=exactly),
    "a forest": _xgboost("XGBRFRegressor", score, numbers),
    "a forest of classes": _xgboost("XGBRFClassifier", yes, numbers),
    "drawn": _xgboost(R, score, numbers, random_state=np.random.RandomState(1), monotone_constraints=(1, 0)),
}
C, R = "LGBMClassifier", "LGBMRegressor"
LIGHTGBM: dict[str, Made] = {
    "texts with categories": _lightgbm(C, _answers, rows, **BY_CATEGORY),
    "booleans": _lightgbm(C, yes, rows),
    "several texts": _lightgbm(C, _words, numbers),
    "one against all": _lightgbm(C, several, numbers, objective="multiclassova", class_weight={0: 1, 1: 2, 2: 1}),
    "early stopping": _lightgbm(C, several, numbers, stops=True),
    "stops to add early": _lightgbm(C, yes, numbers, pred_early_stop=True, pred_early_stop_margin=0.1),
    "a number": _lightgbm(R, score, rows, **BY_CATEGORY),
    "an array": _lightgbm(R, score, _array),
    "a forest": _lightgbm(R, score, numbers, boosting_type="rf", subsample=0.5, subsample_freq=1),
    "dart": _lightgbm(R, score, numbers, boosting_type="dart"),
    "counts": _lightgbm(R, _counts, numbers, objective="poisson"),
    "roots": _lightgbm(R, score, numbers, reg_sqrt=True),
    "one leaf": _lightgbm(R, _few_scores, _few),
    "a loss of its own": _lightgbm(R, score, numbers, objective=asymmetric),
    "constrained": _lightgbm(R, score, numbers, monotone_constraints=[1, 0]),
}


def _pipeline() -> tuple[Any, Any]:
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["amount", "count"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["town"])]
    )
    return make_pipeline(columns, xgboost.XGBClassifier(**X5)).fit(rows(), yes()), rows()


def _vote() -> tuple[Any, Any]:
    voters = [
        ("x", xgboost.XGBClassifier(**X5)),
        ("y", lightgbm.LGBMClassifier(**L5)),
        ("f", RandomForestClassifier(3, random_state=0)),
    ]
    return VotingClassifier(voters, voting="soft").fit(numbers(), yes()), numbers()


def _stack() -> tuple[Any, Any]:
    inner = [("x", xgboost.XGBRegressor(**X5)), ("y", lightgbm.LGBMRegressor(**L5))]
    return StackingRegressor(inner, cv=2).fit(numbers(), score()), numbers()


def _changed() -> tuple[Any, Any]:
    model = TransformedTargetRegressor(lightgbm.LGBMRegressor(**L5), func=np.log1p, inverse_func=np.expm1)
    return model.fit(numbers(), _counts()), numbers()


def _outputs() -> tuple[Any, Any]:
    return MultiOutputRegressor(xgboost.XGBRegressor(**X5)).fit(numbers(), np.c_[score(), score() * 2]), numbers()


def _calibrated() -> tuple[Any, Any]:
    return CalibratedClassifierCV(xgboost.XGBClassifier(**X5), cv=2).fit(numbers(), yes()), numbers()


MIXED: dict[str, Made] = {
    "a pipeline": _pipeline,
    "calibrated": _calibrated,
    "a vote": _vote,
    "a stack": _stack,
    "a changed target": _changed,
    "several outputs": _outputs,
}


@cache
def fitted(library: str, name: str) -> tuple[Any, Any]:
    """A model of "xgboost", "lightgbm" or "mixed", and rows to ask it with."""
    with warnings.catch_warnings():
        # LightGBM asked with an array after it was fitted with a frame
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        return {"xgboost": XGBOOST, "lightgbm": LIGHTGBM, "mixed": MIXED}[library][name]()
