"""Bundles with real models in them, small enough to be fitted in a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.packaging.bundle import Bundle, build
from fullcircle.runtimes.contracts import examine, to_frame
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.contract import Column, Contract

COLUMNS = (
    Column(name="age", kind="integer", low=0, high=120),
    Column(name="size", kind="number", nullable=True, low=-50, high=50, missing="flag", fill=0.0),
    Column(name="colour", kind="category", categories=("blue", "green", "red")),
)
_DOUBLING = b'''"""A step of the project's own."""
from sklearn.base import BaseEstimator, TransformerMixin


class Doubling(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X[["age", "size"]] * 2.0
'''


def rows(count: int = 80, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with all that occurs: integers, numbers, a missing one, categories."""
    rng = np.random.default_rng(seed)
    return [
        {
            "age": int(rng.integers(18, 90)),
            "size": None if place % 17 == 3 else float(rng.normal()),
            "colour": str(rng.choice(["blue", "green", "red"])),
        }
        for place in range(count)
    ]


def regressor(*, project: Path | None = None, lock: str | None = None, wheel: tuple[str, bytes] = WHEEL) -> Bundle:
    """A gradient boosting on pandas categoricals, or with ``project`` one behind a class of the project's own."""
    contract = Contract(columns=COLUMNS, label="y", task="regression", prior=1.0)
    frame = _frame(contract)
    y = frame["age"].to_numpy() * 0.5 + frame["size"].fillna(0.0).to_numpy()
    model: Any = HistGradientBoostingRegressor(max_iter=5, random_state=0, categorical_features="from_dtype")
    if project is not None:
        model = make_pipeline(_doubling(project), HistGradientBoostingRegressor(max_iter=5, random_state=0))
    try:
        return _bundle("sizes", model.fit(frame, y), contract, project or Path("unused"), lock, wheel)
    finally:
        sys.modules.pop("doubling_sample", None)


def classifier() -> Bundle:
    """A pipeline with encoders and a linear model, three classes with text labels."""
    contract = Contract(
        columns=(COLUMNS[0], COLUMNS[2]), label="y", task="classification", classes=("a", "b", "c"), prior="a"
    )
    frame = _frame(contract)
    y = pd.cut(frame["age"], [0, 40, 60, 200], labels=["a", "b", "c"]).astype(object)
    steps = make_column_transformer((OneHotEncoder(), ["colour"]), (StandardScaler(), ["age"]))
    model = make_pipeline(steps, LogisticRegression(max_iter=1000))
    return _bundle("letters", model.fit(frame, y), contract, Path("unused"), None, WHEEL)


def _frame(contract: Contract) -> pd.DataFrame:
    return to_frame(contract, [examine(contract, _only(contract, row))[1] for row in rows()])


def _only(contract: Contract, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in contract.names}


def _doubling(project: Path) -> Any:
    (project / "doubling_sample.py").write_bytes(_DOUBLING)
    sys.path.insert(0, str(project))
    try:
        importlib.invalidate_caches()
        return importlib.import_module("doubling_sample").Doubling()
    finally:
        sys.path.remove(str(project))


def _bundle(
    name: str, model: Any, contract: Contract, project: Path, lock: str | None, wheel: tuple[str, bytes]
) -> Bundle:
    asked = [_only(contract, row) for row in rows(20, seed=1)]
    return build(
        model=name,
        runtime="sklearn",
        saved=SklearnRuntime().save(model, project),
        contract=contract,
        golden=list(zip(asked, Scorer(contract, model).score(asked), strict=True)),
        profile=PROFILE,
        lock=lock or lock_of(wheel),
        wheel=wheel,
    )
