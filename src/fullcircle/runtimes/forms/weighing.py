"""A fitted linear model of scikit-learn, read as ``Weights`` when a version is packaged."""

from __future__ import annotations

from typing import Any

import numpy as np

from fullcircle.runtimes.forms import steps
from fullcircle.runtimes.forms.linear import Weights
from fullcircle.runtimes.forms.preparing import Prepared
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.types.contract import Contract

_REGRESSORS = frozenset(
    {
        "_base.LinearRegression",
        "_bayes.ARDRegression",
        "_bayes.BayesianRidge",
        "_coordinate_descent.ElasticNet",
        "_coordinate_descent.ElasticNetCV",
        "_coordinate_descent.Lasso",
        "_coordinate_descent.LassoCV",
        "_huber.HuberRegressor",
        "_quantile.QuantileRegressor",
        "_ridge.Ridge",
        "_ridge.RidgeCV",
        "_stochastic_gradient.SGDRegressor",
    }
)
_LOG_LINK = frozenset({"_glm.glm.GammaRegressor", "_glm.glm.PoissonRegressor"})
_DECIDERS = frozenset({"_perceptron.Perceptron", "_ridge.RidgeClassifier", "_ridge.RidgeClassifierCV"})
_LOGISTIC = frozenset({"_logistic.LogisticRegression", "_logistic.LogisticRegressionCV"})
_DESCENT = "_stochastic_gradient.SGDClassifier"
_ROOM = "sklearn.linear_model."


def weigh(contract: Contract, model: Any) -> tuple[Prepared, Weights, str, str]:
    """The preparation, weights, decision and link of a model. Raises NotCompiled."""
    before, last = steps.split(model)
    cells = steps.validated(steps.through(before, steps.begin(contract)))
    name = f"{type(last).__module__}.{type(last).__qualname__}"
    room, kind = name[: len(_ROOM)], name[len(_ROOM) :]
    if room != _ROOM or not hasattr(last, "coef_"):
        raise NotCompiled(f"{type(last).__name__} is no linear model that is known")
    weights = np.atleast_2d(np.asarray(last.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(last.intercept_, dtype=np.float64).ravel(), (len(weights),)).copy()
    if weights.shape[1] != len(cells) or (contract.task == "regression" and len(weights) != 1):
        raise NotCompiled("its weights are not one for each column")
    decision, link = _kind(kind, last, len(weights))
    prepared = steps.prepared(cells, len(contract.columns))
    return prepared, Weights(weights=weights, intercept=intercept), decision, link


def _kind(kind: str, model: Any, scores: int) -> tuple[str, str]:
    """How scores become an answer: decision and link."""
    decision = "largest" if scores > 1 else "positive"
    if kind in _REGRESSORS:
        return "value", "identity"
    if kind in _LOG_LINK:
        return "value", "exp"
    if kind in _DECIDERS:
        return decision, "none"
    if kind in _LOGISTIC:
        return decision, "softmax_by_row" if scores > 1 else "expit"
    if kind == _DESCENT and model.loss == "log_loss":
        return decision, "one_vs_rest" if scores > 1 else "expit"
    if kind == _DESCENT and model.loss != "modified_huber":
        return decision, "none"
    raise NotCompiled(f"{type(model).__name__} is no linear model that is known")
