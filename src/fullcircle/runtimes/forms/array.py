"""A fitted model asked with an array: without a frame, and with one call where that is provable."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fullcircle.runtimes.boosters import kept
from fullcircle.runtimes.forms.preparing import UNARY, Array
from fullcircle.runtimes.forms.steps import NotCompiled, split
from fullcircle.types.contract import Contract

_NEAR = 1e-12
_KINDS = ("number", "integer", "boolean")
_ONE_CALL = frozenset(
    {
        "lightgbm.sklearn.LGBMClassifier",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._logistic.LogisticRegressionCV",
        "sklearn.naive_bayes.GaussianNB",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
    }
)
"""Classifiers that decide by the order of the scores from which their probabilities are made."""
_BY_NAME = frozenset({"sklearn.compose._column_transformer.ColumnTransformer"})


class ArrayForm:
    """A copy of a fitted model that forgot the names of its columns, asked with the matrix as it is."""

    name = "array"

    def __init__(self, contract: Contract, model: Any) -> None:
        # A booster alone knows categories by their places, as the matrix does; a step before it knows their names.
        kinds = (*_KINDS, "category") if kept.kind(model) is not None else _KINDS
        if any(column.kind not in kinds for column in contract.columns):
            raise NotCompiled("not all columns are numbers")
        self.probable = contract.task == "classification" and hasattr(model, "predict_proba")
        self._regression = contract.task == "regression"
        self._model = bare(model)
        last = split(model)[1]
        self._one_call = f"{type(last).__module__}.{type(last).__qualname__}" in _ONE_CALL
        self._places = {label: place for place, label in enumerate(contract.classes)}
        self._classes = len(contract.classes)

    def ask(self, matrix: Array) -> tuple[Array, Array | None]:
        """See Form. Raises what the model raises."""
        if self._regression:
            return np.asarray(self._model.predict(matrix), dtype=np.float64).reshape(len(matrix)), None
        if not self.probable:
            return self._decided(matrix), None
        table = np.asarray(self._model.predict_proba(matrix), dtype=np.float64).reshape(len(matrix), self._classes)
        if not self._one_call:
            return self._decided(matrix), table
        answers = table.argmax(axis=1)
        # Scores that differ by less than a rounding error may have equal probabilities: the model decides these.
        near = (table >= table.max(axis=1, keepdims=True) * (1.0 - _NEAR)).sum(axis=1) > 1
        if near.any():
            answers[near] = self._decided(matrix[near])
        return answers, table

    def _decided(self, matrix: Array) -> Array:
        labels = np.asarray(self._model.predict(matrix)).reshape(len(matrix)).tolist()
        return np.array([self._places[label] for label in labels], dtype=np.intp)


def bare(model: Any) -> Any:
    """A copy of a model that knows no names of columns and works in one thread. Its arrays are shared.

    Raises NotCompiled where a part needs names, or is not scikit-learn's own.
    """

    def strip(part: Any) -> None:
        name = f"{type(part).__module__}.{type(part).__qualname__}"
        if name in _BY_NAME:
            raise NotCompiled("a part of it chooses its columns by name")
        function = getattr(part, "func", None) if name.endswith(".FunctionTransformer") else None
        if function is not None and not any(function is known for known in UNARY.values()):
            raise NotCompiled("a function in it may need a frame")
        part.__dict__.pop("feature_names_in_", None)
        part.__dict__.pop("_sklearn_output_config", None)  # frames of new names between the steps: a warning a call
        _calm(part)

    return _copied(model, strip, {})


def single_threaded(model: Any) -> Any:
    """A copy of a model that works in one thread: threads of a forest add their trees in an order of their own."""
    try:
        return _copied(model, _calm, {})
    except NotCompiled:
        return model


def _calm(part: Any) -> None:
    if "n_jobs" in part.__dict__:
        part.n_jobs = None


def _copied(part: Any, change: Any, seen: dict[int, Any]) -> Any:
    if id(part) in seen:
        return seen[id(part)]
    if isinstance(part, list | tuple):
        items = [_copied(item, change, seen) for item in part]
        return items if type(part) is list else tuple(items) if type(part) is tuple else part
    if type(part) is dict:
        return {key: _copied(value, change, seen) for key, value in part.items()}
    if isinstance(part, np.ndarray) and part.dtype == object:
        found = np.empty(part.shape, dtype=object)
        found.ravel()[:] = [_copied(item, change, seen) for item in part.ravel().tolist()]
        return found
    if isinstance(part, np.ndarray | np.generic | type) or not hasattr(part, "__dict__") or callable(part):
        return part
    module = type(part).__module__.partition(".")[0]
    if module in ("numpy", "scipy"):
        return part
    if kept.kind(part) is not None:
        return kept.nameless(part) if change is not _calm else part
    if module != "sklearn":
        raise NotCompiled(f"{type(part).__name__} is not scikit-learn's own")
    twin = copy.copy(part)
    seen[id(part)] = twin
    for name, value in list(vars(twin).items()):
        twin.__dict__[name] = _copied(value, change, seen)
    change(twin)
    return twin
