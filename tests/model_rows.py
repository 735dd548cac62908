"""Rows and fitted models for the tests of the runtimes, small and seeded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import ElasticNetCV, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR

ROWS = 90


@cache
def frame() -> pd.DataFrame:
    """Two numbers (one with gaps), a whole number and two categories."""
    generator = np.random.default_rng(20261123)
    rows = pd.DataFrame(
        {
            "age": generator.normal(50.0, 12.0, ROWS),
            "bmi": generator.normal(26.0, 4.0, ROWS),
            "visits": generator.integers(0, 9, ROWS),
            "sex": pd.Categorical(generator.choice(["f", "m"], ROWS), categories=["f", "m"]),
            "city": pd.Categorical(generator.choice(["Lima", "Oslo", "Pune"], ROWS)),
        }
    )
    rows.loc[[3, 40], "bmi"] = np.nan
    return rows


@cache
def numbers() -> pd.DataFrame:
    """Only the columns that are numbers, without gaps, positive."""
    return frame()[["age", "bmi", "visits"]].fillna(25.0).abs()


@cache
def amounts() -> pd.Series[float]:
    """A label to regress on, positive."""
    noise = np.random.default_rng(7).normal(0.0, 2.0, ROWS)
    return (frame()["age"] * 2.0 + frame()["visits"] * 3.0 + noise).abs() + 1.0


@cache
def classes() -> pd.Series[str]:
    """A label of three classes."""
    return pd.cut(amounts(), 3, labels=["high", "low", "mid"]).astype(object)


@cache
def answers() -> pd.Series[str]:
    """A label of two classes."""
    return pd.Series(np.where(amounts() > amounts().median(), "yes", "no"), dtype=object)


def _prepared() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "bmi"]),
            ("names", OneHotEncoder(handle_unknown="ignore"), ["sex", "city"]),
        ],
        remainder="passthrough",
    )


def _selected() -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer(
        [
            ("names", encoder, make_column_selector(dtype_include="category")),
            ("rest", KNNImputer(), make_column_selector(dtype_include="number")),
        ]
    )


MIXED: dict[str, Callable[[], Any]] = {
    "hist-gradient-boosting-regressor": lambda: HistGradientBoostingRegressor(
        max_iter=4, categorical_features="from_dtype", random_state=0
    ).fit(frame(), amounts()),
    "hist-gradient-boosting-classifier": lambda: HistGradientBoostingClassifier(
        max_iter=3, categorical_features="from_dtype", early_stopping=True, random_state=0
    ).fit(frame(), classes()),
    "logistic-pipeline": lambda: make_pipeline(_prepared(), LogisticRegression()).fit(frame(), answers()),
    "grid-search": lambda: GridSearchCV(
        make_pipeline(_prepared(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
        scoring="roc_auc",
    ).fit(frame(), answers()),
    "selected-gradient-boosting": lambda: make_pipeline(
        _selected(), GradientBoostingRegressor(n_estimators=4, random_state=0)
    ).fit(frame(), amounts()),
    "stacking": lambda: make_pipeline(
        _prepared(),
        StackingClassifier(
            [("vectors", SVC()), ("forest", RandomForestClassifier(3, random_state=0))], passthrough=True, cv=2
        ),
    ).fit(frame(), classes()),
}

NUMERIC: dict[str, Callable[[], Any]] = {
    "random-forest": lambda: RandomForestRegressor(5, oob_score=False, random_state=0).fit(numbers(), amounts()),
    "extra-trees": lambda: ExtraTreesRegressor(3, random_state=np.random.RandomState(0)).fit(numbers(), amounts()),
    "gradient-boosting": lambda: GradientBoostingClassifier(
        n_estimators=3, init=LogisticRegression(max_iter=2000), random_state=0
    ).fit(numbers(), classes()),
    "bagging": lambda: BaggingRegressor(n_estimators=3, max_features=0.67, random_state=0).fit(numbers(), amounts()),
    "ada-boost": lambda: AdaBoostRegressor(n_estimators=3, random_state=0).fit(numbers(), amounts()),
    "voting": lambda: VotingRegressor([("ridge", Ridge()), ("forest", RandomForestRegressor(3, random_state=0))]).fit(
        numbers(), amounts()
    ),
    "svc": lambda: SVC().fit(numbers(), classes()),
    "svr": lambda: SVR().fit(numbers(), amounts()),
    "neighbours": lambda: KNeighborsClassifier(3, algorithm="ball_tree", metric="manhattan").fit(
        numbers(), answers()
    ),
    "neighbours-regressor": lambda: KNeighborsRegressor(3, algorithm="kd_tree", leaf_size=5).fit(
        numbers(), amounts()
    ),
    "network": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, random_state=0, early_stopping=True)
    ).fit(numbers(), amounts()),
    "calibrated": lambda: CalibratedClassifierCV(RandomForestClassifier(3, random_state=0), cv=2).fit(
        numbers(), answers()
    ),
    "elastic-net": lambda: ElasticNetCV(cv=3).fit(numbers(), amounts()),
    "poisson": lambda: make_pipeline(StandardScaler(), PoissonRegressor()).fit(numbers(), amounts()),
    "gaussian-process": lambda: GaussianProcessRegressor(random_state=0).fit(numbers(), amounts()),
    "log-target": lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(
        numbers(), amounts()
    ),
    "log-inputs": lambda: make_pipeline(
        FunctionTransformer(np.log1p), SelectKBest(f_regression, k=2), PCA(2), PolynomialFeatures(), Ridge()
    ).fit(numbers(), amounts()),
    "splines": lambda: make_pipeline(SplineTransformer(n_knots=4), Ridge()).fit(numbers(), amounts()),
}

MODELS = {**MIXED, **NUMERIC}


@cache
def fitted(name: str) -> Any:
    """The model of this name. Small fits that do not converge are as good as any here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MODELS[name]()


def rows_for(name: str) -> pd.DataFrame:
    """The rows that a model was fitted on."""
    return frame() if name in MIXED else numbers()
