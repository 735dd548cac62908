"""scikit-learn's models come back with the same bits, and only what the list allows is let in."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_regressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.discovery import all_estimators

from fullcircle import registry
from fullcircle.errors import ModelRefused
from fullcircle.runtimes import allowed
from fullcircle.runtimes.runtime import Runtime
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.testing.runtimes import RuntimeSuite
from model_rows import MODELS, amounts, fitted, numbers, rows_for


class TestSklearnRuntime(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        found: Runtime = registry.find("runtimes", "sklearn")()
        return found

    @pytest.fixture(params=sorted(MODELS))
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self, name: str) -> Any:
        return fitted(name)

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return rows_for(name)


MANY_LABELS = {
    "CCA",
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "PLSCanonical",
    "RegressorChain",
}
DEPRECATED = {"PassiveAggressiveClassifier", "PassiveAggressiveRegressor"}
SKIPPED = MANY_LABELS | DEPRECATED | {"IsotonicRegression", "RegressorChain"}


def _estimators() -> list[Any]:
    kinds = [(name, cls) for kind in ("classifier", "regressor") for name, cls in all_estimators(type_filter=kind)]
    return [
        pytest.param(cls, id=name) for name, cls in kinds if name not in SKIPPED and not name.startswith("MultiTask")
    ]


@pytest.mark.parametrize("cls", _estimators())
def test_every_estimator_with_its_defaults_is_allowed(cls: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _fit(cls)
    saved = SklearnRuntime().save(model, tmp_path)
    loaded = SklearnRuntime().load(saved.data, types=saved.types)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(loaded.predict(numbers().copy()), model.predict(numbers().copy()))


def _fit(cls: Any) -> Any:
    inner: Any = Ridge() if cls.__name__.endswith("Regressor") else LogisticRegression()
    try:
        model = cls()
    except TypeError:
        many = cls.__name__.startswith(("Voting", "Stacking"))
        model = cls([("inner", inner)]) if many else cls(inner)
    if cls.__name__ == "SelfTrainingClassifier":
        model = cls(LogisticRegression())
    if cls.__name__ == "QuadraticDiscriminantAnalysis":
        model = cls(reg_param=0.1)
    label = amounts() if is_regressor(model) else (amounts() > amounts().median()).astype(int)
    return model.fit(numbers(), label)


def test_the_list_names_only_what_scikit_learn_has() -> None:
    """A wrong name on the list would never be noticed otherwise."""
    for name in sorted(allowed.OBJECTS | allowed.LOSSES | allowed.FUNCTIONS):
        module, _, attribute = name.rpartition(".")
        if module.startswith("sklearn.impute._iterative"):
            continue
        assert hasattr(importlib.import_module(module), attribute), name


def shouted(values: Any) -> Any:
    return values


class Local(BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """Defined in a test module, which is no module of the project's folder."""

    def fit(self, X: Any, y: Any) -> Local:
        return self

    def transform(self, X: Any) -> Any:
        return X


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "lambda": (lambda: FunctionTransformer(lambda X: X), "<lambda>"),
    "function": (lambda: FunctionTransformer(shouted), "shouted"),
    "partial": (lambda: FunctionTransformer(partial(np.clip, a_min=0.0)), "functools.partial of numpy.clip"),
    "method": (lambda: FunctionTransformer(LinearRegression().fit), "MethodNode"),
    "foreign-class": (Local, "test_sklearn.Local"),
    "numpy-function-of-two": (lambda: FunctionTransformer(np.add), "numpy.add"),
    "open": (lambda: FunctionTransformer(open), "open"),
    "exec": (lambda: FunctionTransformer(exec), "builtins.exec"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_type_that_is_not_allowed_is_refused_by_name(case: str, tmp_path: Path) -> None:
    made, name = REFUSED[case]
    model = make_pipeline(made(), Ridge())
    model.steps[-1][1].fit(numbers(), amounts())
    with pytest.raises(ModelRefused) as caught:
        SklearnRuntime().check(model, tmp_path)
    assert name in str(caught.value.received)
    assert caught.value.next_step


def test_a_metric_of_the_users_own_is_refused(tmp_path: Path) -> None:
    model = KNeighborsRegressor(metric=lambda a, b: float(abs(a - b).sum())).fit(numbers(), amounts())
    with pytest.raises(ModelRefused, match="lambda"):
        SklearnRuntime().save(model, tmp_path)


def test_a_model_of_an_installed_library_is_not_accepted() -> None:
    class Booster:
        def predict(self, X: Any) -> Any:
            return X

    Booster.__module__ = "pandas.core.frame"
    assert not SklearnRuntime().accepts(Booster())


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    """Hash seeds, addresses and clocks leave no trace."""
    script = (
        "import sys, hashlib; from pathlib import Path; import model_rows;"
        "from fullcircle.runtimes.sklearn import SklearnRuntime;"
        "names = ['random-forest', 'logistic-pipeline'];"
        "saved = [SklearnRuntime().save(model_rows.fitted(name), Path('.')).data for name in names];"
        "print([hashlib.sha256(data).hexdigest() for data in saved])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    here = [SklearnRuntime().save(fitted(name), tmp_path).data for name in ("random-forest", "logistic-pipeline")]
    assert ran.stdout.strip() == str([hashlib.sha256(data).hexdigest() for data in here])
