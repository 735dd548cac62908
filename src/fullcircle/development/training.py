"""Call the user's ``fit`` and make sure that what comes back can predict."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.development.tracebacks import own_line, told
from fullcircle.errors import FitFailed, PredictionInvalid
from fullcircle.runtimes import onnx, pyfunc
from fullcircle.types.contract import Contract, Value
from fullcircle.types.project import Fit

TRIAL_ROWS = 200
_PROBE_ROWS = 50


def fit(
    project_fit: Fit,
    X: Any,
    y: Any,
    params: Mapping[str, Any],
    *,
    contract: Contract,
    task: str,
) -> Any:
    """The model that ``project_fit(X, y, **params)`` returns, checked on a few of its own rows.

    ``X`` is a DataFrame (n rows, the contract's columns), ``y`` a Series of n labels. Warnings raised in ``fit`` are
    shown, never turned into errors. Raises FitFailed where it raises, or returns nothing, a class, or
    something without ``predict``; PredictionInvalid where the model answers nonsense.
    """
    _check_params(project_fit, params)
    model = _answering(_call(project_fit, X, y, params))
    _check_model(model)
    _probe(model, X.iloc[:_PROBE_ROWS], contract, task, _folder(project_fit))
    return model


def trial(project_fit: Fit, X: Any, y: Any, params: Mapping[str, Any], *, task: str, seed: int = 0) -> Any | None:
    """A model fitted on at most 200 rows, to look at its types before the real training; None where that fails.

    Too few rows can make a sound ``fit`` fail, so a failure here means nothing: the real training decides.
    Parameters that ``fit`` does not take are refused at once (FitFailed).
    """
    _check_params(project_fit, params)
    rows = _sample(y, task, seed)
    try:
        model = _call(project_fit, X.iloc[rows].reset_index(drop=True), y.iloc[rows].reset_index(drop=True), params)
    except FitFailed:
        return None
    model = _answering(model)
    return model if callable(getattr(model, "predict", None)) and not inspect.isclass(model) else None


def classes(model: Any, contract: Contract) -> tuple[Value, ...]:
    """The class labels in the order of the model's probabilities; the contract's where the model names none.

    Raises FitFailed where the model names classes that the training rows do not have.
    """
    named = getattr(model, "classes_", None)
    if named is None:
        return contract.classes
    found = tuple(value.item() if hasattr(value, "item") else value for value in named)
    strangers = [value for value in found if value not in contract.classes]
    if strangers:
        raise FitFailed(
            "the model's classes are not those of the label",
            received=", ".join(map(repr, found[:10])),
            allowed=", ".join(map(repr, contract.classes[:10])),
            next_step="fit the model on y as it is given",
        )
    return found


def check_predictions(values: Any, n: int, task: str) -> Any:
    """The predictions as an array (n,): finite floats for regression, class labels for classification.

    Raises PredictionInvalid for another number of predictions, more than one column, NaN, None or infinity.
    """
    import numpy as np

    array = np.asarray(values)
    if array.ndim != 1 or len(array) != n:
        shape = " x ".join(map(str, array.shape)) or "a single value"
        raise _invalid("predict answered with another shape than one value per row", shape, f"{n} values")
    if task == "regression":
        try:
            numbers = array.astype("float64")
        except (TypeError, ValueError) as error:
            raise _invalid("predict answered with something else than numbers", array.dtype, "numbers") from error
        wrong = int((~np.isfinite(numbers)).sum())
        if wrong:
            raise _invalid("predict answered with NaN or infinity", f"{wrong} of {n} rows", "finite numbers")
        return numbers
    # pandas' NA is neither true nor false when it is compared.
    absent = sum(value is None or type(value).__name__ == "NAType" or value != value for value in array.tolist())
    if absent:
        raise _invalid("predict answered with NaN or None", f"{absent} of {n} rows", "a class for each row")
    return array


def check_probabilities(values: Any, n: int, k: int) -> Any:
    """The probabilities as an array (n, k), each row adding up to 1. Raises PredictionInvalid otherwise."""
    import numpy as np

    array = np.asarray(values, dtype="float64")
    if array.shape != (n, k):
        shape = " x ".join(map(str, array.shape))
        raise _invalid("predict_proba answered with another shape than rows x classes", shape, f"{n} x {k}")
    good = np.isfinite(array).all() and (array >= -1e-6).all() and np.allclose(array.sum(axis=1), 1.0, atol=1e-4)
    if not good:
        raise _invalid(
            "predict_proba answered with something else than probabilities", "", "from 0 to 1, adding to 1"
        )
    return array


def _call(project_fit: Fit, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    try:
        with _lenient_warnings():
            return project_fit(X, y, **params)
    except (Exception, SystemExit) as error:
        raise FitFailed(
            f"fit raised {told(error)}",
            received=own_line(error, _folder(project_fit)) or f"{len(X)} rows, {len(X.columns)} columns",
            next_step="mend fit in the project file, then run again",
        ) from error


def _answering(model: Any) -> Any:
    """What ``fit`` returned, as something with ``predict`` where it is a model in ONNX or one of MLflow's."""
    return pyfunc.answering(onnx.answering(model))


def _probe(model: Any, X: Any, contract: Contract, task: str, folder: Path) -> None:
    try:
        with _lenient_warnings():
            answers = model.predict(X)
            shares = model.predict_proba(X) if _gives_probabilities(model, task) else None
    except (Exception, SystemExit) as error:
        raise FitFailed(
            f"the fitted model could not predict its own training rows: {told(error)}",
            received=own_line(error, folder) or f"{len(X)} rows",
            next_step="mend the model in fit",
        ) from error
    check_predictions(answers, len(X), task)
    if shares is not None:
        check_probabilities(shares, len(X), len(classes(model, contract)))


def _gives_probabilities(model: Any, task: str) -> bool:
    return task == "classification" and callable(getattr(model, "predict_proba", None))


def _check_params(project_fit: Fit, params: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(project_fit)
    except (TypeError, ValueError):
        return  # built in C: calling it tells
    try:
        signature.bind(None, None, **params)
    except TypeError as error:
        taken = list(signature.parameters)[2:]
        raise FitFailed(
            f"fit cannot be called with the project's parameters: {error}",
            received=", ".join(f"{key}={value!r}" for key, value in params.items()) or "X, y",
            allowed=f"fit(X, y{''.join(', ' + name for name in taken)})",
            next_step="name the parameter in fit as in params, or mend its spelling",
        ) from error


def _check_model(model: Any) -> None:
    if model is None:
        what, received = "fit returned nothing", "None"
    elif inspect.isclass(model):
        what, received = "fit returned a class instead of a fitted model", model.__name__
    elif not callable(getattr(model, "predict", None)):
        what, received = "fit returned something that cannot predict", type(model).__name__
    else:
        return
    raise FitFailed(
        what,
        received=received,
        allowed="a fitted model: an object with predict",
        next_step="end fit with, for example: return model.fit(X, y)",
    )


def _sample(y: Any, task: str, seed: int) -> list[int]:
    """Positions of at most 200 rows, with at least two of each class where that is possible."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(y))
    if len(y) <= TRIAL_ROWS or task == "regression":
        return sorted(int(position) for position in order[:TRIAL_ROWS])
    labels = y.astype(str).to_numpy()
    seen: dict[str, int] = {}
    first: list[int] = []
    rest: list[int] = []
    for position in order:
        seen[labels[position]] = seen.get(labels[position], 0) + 1
        (first if seen[labels[position]] <= 2 else rest).append(int(position))
    return sorted((first + rest)[: max(TRIAL_ROWS, len(first))])


@contextmanager
def _lenient_warnings() -> Iterator[None]:
    """Warnings inside are shown as the user set them up, but never raised."""
    with warnings.catch_warnings():
        kept = [entry for entry in warnings.filters if entry[0] != "error"]
        warnings.resetwarnings()
        warnings.filters = kept
        warnings.simplefilter("default", append=True)
        yield


def _folder(function: Any) -> Path:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Path(code.co_filename).absolute().parent if code is not None else Path.cwd()


def _invalid(what: str, received: object, allowed: str) -> PredictionInvalid:
    return PredictionInvalid(
        what, received=received, allowed=allowed, next_step="look at the model that fit returns, and at its inputs"
    )
