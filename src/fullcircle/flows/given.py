"""What an evaluation looks at, made of what somebody hands over: a model in memory, or answers made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from fullcircle.development.checking import told_task
from fullcircle.errors import ColumnMissing, DataUnfit, PredictionInvalid, ProjectInvalid
from fullcircle.evaluation.check import Subject, Training, missing
from fullcircle.evaluation.metrics import trivial
from fullcircle.tables import reading
from fullcircle.types.contract import Value
from fullcircle.types.gates import Gate
from fullcircle.types.progress import Progress
from fullcircle.types.project import Serving
from fullcircle.types.report import About
from fullcircle.types.table import Table

# Rows that a model is asked about at once.
_STRETCH = 100_000
Task = Literal["regression", "classification"]


@dataclass(frozen=True, kw_only=True)
class Given:
    """The arguments of ``evaluate`` as they were handed over, see there."""

    model: Any
    X: Any
    y: Any
    predicted: Any = None
    probabilities: Any = None
    classes: Sequence[Any] | None = None
    weights: Any = None
    train: tuple[Any, Any] | None = None
    features: Sequence[str] | None = None
    protected: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    task: str | None = None
    serving: Serving | None = None
    currency: str = ""
    name: str = ""
    label: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """The subject, what a model card says of it, and what a reader should know."""

    subject: Subject
    about: About
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Answered:
    """The answers on all rows: values, and for classes their labels with the probabilities in that order."""

    values: Any
    classes: tuple[Value, ...] = ()
    shares: Any = None


@dataclass(frozen=True)
class _OfArrays:
    """A model that was fitted on arrays and is asked about frames: names of columns would only make it warn."""

    model: Any

    def predict(self, asked: Any) -> Any:
        return self.model.predict(asked.to_numpy())

    def predict_proba(self, asked: Any) -> Any:
        return self.model.predict_proba(asked.to_numpy())


def refuse_others(**arguments: Any) -> None:
    """Refuse arguments that mean something only for a model in memory, where a project was given."""
    set_ = [name for name, value in arguments.items() if value is not None]
    if set_:
        raise ProjectInvalid(
            "a project brings its own rows and model",
            received=", ".join(set_),
            allowed="run, out, settings, progress",
            next_step="leave these arguments out, or pass a model: evaluate(model, X, y)",
        )


def subject(given: Given, progress: Progress) -> Made:
    """The subject of a model in memory or of answers made elsewhere. Raises what ``evaluate`` says."""
    _refuse_shuffled(given)
    actual = _labels(given.y, "y")
    frame = _frame(given.X, len(actual))
    if len(frame) != len(actual):
        raise DataUnfit(
            "X and y differ in length",
            received=f"{len(frame)} rows and {len(actual)} labels",
            next_step="pass the labels of the same rows",
        )
    task = _task(given, actual)
    features = _features(given, frame)
    inputs = frame[list(features)]
    if given.model is None:
        answered, ask = _made_elsewhere(given, task, actual), None
    else:
        _refuse_answers(given)
        ask = _OfArrays(given.model) if isinstance(given.X, np.ndarray) else given.model
        answered = _of_model(given, ask, task, inputs, progress)
    train = _train(given, features, task)
    learned = actual if train is None else train.actual
    baseline, shares = trivial(_known(learned, answered.classes), len(actual), task=task, classes=answered.classes)
    made = Subject(
        model=given.name or (type(given.model).__name__ if given.model is not None else "predictions"),
        task=task,
        label=given.label or str(getattr(given.y, "name", None) or "label"),
        currency=given.currency,
        classes=answered.classes,
        actual=actual,
        predicted=answered.values,
        probabilities=answered.shares,
        baseline=baseline,
        baseline_probabilities=shares,
        weights=None if given.weights is None else np.asarray(given.weights, dtype=float),
        frame=frame,
        features=features,
        protected=given.protected,
        serving=given.serving,
        gates=given.gates,
        seed=given.seed,
        inputs=None if ask is None else inputs,
        predict=None if ask is None else ask.predict,
        predict_probabilities=None if ask is None or answered.shares is None else ask.predict_proba,
        score_one=None if ask is None else _one_by_one(ask, inputs, answered.shares is not None),
        train=train,
    )
    notes = (
        () if train is not None else ("without train=(X, y) the trivial model is that of the test rows themselves",)
    )
    return Made(made, _about(given, made), notes)


def _refuse_shuffled(given: Given) -> None:
    """Rows are taken by position. The same index in another order is a mistake that no figure would show."""
    named = (("X", given.X), ("predicted", given.predicted), ("probabilities", given.probabilities))
    rows = getattr(given.y, "index", None)
    if rows is None or not hasattr(rows, "equals"):
        return
    for name, other in (*named, ("weights", given.weights)):
        index = getattr(other, "index", None)
        if index is None or not hasattr(index, "equals") or len(index) != len(rows) or index.equals(rows):
            continue
        if index.sort_values().equals(rows.sort_values()):
            raise DataUnfit(
                f"the rows of {name} and y are the same in another order",
                received=f"{name} begins with row {index[0]!r}, y with {rows[0]!r}",
                allowed="rows in one order: they are taken by position",
                next_step=f"pass y.loc[{name}.index], or reset both indexes",
            )


def _labels(values: Any, name: str) -> Any:
    """Labels as a plain array; categories, and pandas' own integers and booleans, become what they stand for."""
    if values is None:
        raise ProjectInvalid(
            f"{name} is missing", allowed="the true labels, one per row", next_step="evaluate(model, X, y)"
        )
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    if array.ndim != 1 or len(array) == 0:
        raise DataUnfit(
            f"{name} is no list of labels", received=f"shape {array.shape}", allowed="n labels, one per row"
        )
    if array.dtype.kind == "O" and not missing(array):
        kinds = {type(value) for value in array.tolist()}
        if len(kinds) == 1 and kinds <= {bool, int, float}:
            return np.array(array.tolist())
    return array


def _frame(X: Any, rows: int) -> Any:
    """X as a pandas frame; columns of an array are called x0, x1, ..."""
    import pandas as pd

    if X is None:
        return pd.DataFrame(index=range(rows))
    if isinstance(X, np.ndarray):
        if X.ndim != 2:
            raise DataUnfit("X is no table", received=f"shape {X.shape}", allowed="n rows x k columns")
        return pd.DataFrame(X, columns=[f"x{number}" for number in range(X.shape[1])])
    return reading.read(Table(X), folder=Path.cwd(), columns=())


def _task(given: Given, actual: Any) -> Task:
    """What is predicted: as said, or as the model or the labels tell."""
    if given.task is not None:
        if given.task not in ("regression", "classification"):
            raise ProjectInvalid(
                "task is not one of the allowed values",
                received=repr(given.task),
                allowed="regression, classification",
            )
        return cast("Task", given.task)
    if given.classes is not None or given.probabilities is not None:
        return "classification"
    if hasattr(given.model, "predict_proba") or hasattr(given.model, "classes_"):
        return "classification"
    kind = getattr(given.model, "_estimator_type", None)
    if kind in ("regressor", "classifier"):
        return "regression" if kind == "regressor" else "classification"
    if given.model is not None and hasattr(given.model, "__sklearn_tags__"):
        from sklearn.base import is_regressor

        if is_regressor(given.model):
            return "regression"
    return told_task(actual)


def _features(given: Given, frame: Any) -> tuple[str, ...]:
    if given.features is not None:
        names = tuple(given.features)
    else:
        fitted = getattr(given.model, "feature_names_in_", None)
        names = tuple(str(name) for name in (frame.columns if fitted is None else fitted))
    absent = [name for name in (*names, *given.protected) if name not in frame.columns]
    if absent:
        raise ColumnMissing(
            "X lacks columns that were asked for",
            received=", ".join(absent[:10]),
            allowed=", ".join(str(name) for name in frame.columns[:40]) or "none: X has no columns",
            next_step="pass these columns in X; features=[...] names those that the model sees",
        )
    return names


def _refuse_answers(given: Given) -> None:
    if given.predicted is not None or given.probabilities is not None:
        raise ProjectInvalid(
            "there is a model, and answers made elsewhere",
            allowed="evaluate(model, X, y), or evaluate(None, X, y, predicted=...)",
            next_step="leave one of them out",
        )
    if not callable(getattr(given.model, "predict", None)):
        raise ProjectInvalid(
            "what is to be evaluated is no model",
            received=type(given.model).__name__,
            allowed="a fitted model with predict, or the path of a project",
            next_step="evaluate(model, X, y)",
        )


def _of_model(given: Given, ask: Any, task: Task, inputs: Any, progress: Progress) -> _Answered:
    """Ask the model about all rows, a stretch at a time."""
    values = _stretched(ask.predict, inputs, progress)
    if task == "regression":
        return _Answered(_numbers(values))
    named = given.classes if given.classes is not None else getattr(given.model, "classes_", None)
    if not callable(getattr(given.model, "predict_proba", None)):
        return _Answered(values, _classes(named, [given.y, values]))
    if named is None:
        raise PredictionInvalid(
            "the model gives probabilities and does not say of which classes",
            allowed="a model with classes_, or classes=[...] in the order of the columns of predict_proba",
            next_step="pass classes=[...]",
        )
    shares = _stretched(ask.predict_proba, inputs, progress)
    return _Answered(values, _classes(named, []), np.asarray(shares, dtype=float))


def _stretched(ask: Callable[[Any], Any], inputs: Any, progress: Progress) -> Any:
    parts = []
    for start in range(0, len(inputs), _STRETCH):
        progress.advance(start, len(inputs))
        parts.append(np.asarray(ask(inputs.iloc[start : start + _STRETCH])))
    progress.advance(len(inputs), len(inputs))
    return np.concatenate(parts)


def _made_elsewhere(given: Given, task: Task, actual: Any) -> _Answered:
    if given.predicted is None and given.probabilities is None:
        raise ProjectInvalid(
            "there is neither a model nor an answer",
            allowed="evaluate(model, X, y), or evaluate(None, X, y, predicted=..., probabilities=...)",
            next_step="pass predicted=...",
        )
    values = None if given.predicted is None else _labels(given.predicted, "predicted")
    if task == "regression":
        if given.predicted is None:
            raise ProjectInvalid("a regression needs predicted=...", next_step="pass the predicted numbers")
        return _Answered(_numbers(values))
    if given.probabilities is None:
        return _Answered(values, _classes(given.classes, [actual, values]))
    classes, shares = _shares(given, actual)
    if values is None:
        values = np.array(classes, dtype=object if isinstance(classes[0], str) else None)[np.argmax(shares, axis=1)]
    return _Answered(values, classes, shares)


def _shares(given: Given, actual: Any) -> tuple[tuple[Value, ...], Any]:
    """Probabilities n x k with their classes; of one column, those of the second class."""
    named = given.classes
    if named is None and hasattr(given.probabilities, "columns"):
        named = list(given.probabilities.columns)
    shares = np.asarray(given.probabilities, dtype=float)
    if shares.ndim == 2 and shares.shape[1] == 1:
        shares = shares.ravel()
    if shares.ndim == 1:
        outside = int(((shares < 0) | (shares > 1) | ~np.isfinite(shares)).sum())
        if outside:
            raise PredictionInvalid(
                "probabilities holds values that are no probabilities",
                received=f"{outside} of {len(shares)} outside 0 to 1",
                allowed="0 to 1 in every row",
                next_step="are these scores? turn them into probabilities first",
            )
        if named is None:
            named = _two(actual)
        shares = np.column_stack([1.0 - shares, shares])
    if named is None or len(list(named)) != shares.shape[1]:
        raise PredictionInvalid(
            "it is not known which class each column of probabilities belongs to",
            received=f"{shares.shape[1]} columns" + ("" if named is None else f", {len(list(named))} classes"),
            allowed="classes=[...] in the order of the columns, or a frame whose columns are the classes",
            next_step="pass classes=[...]",
        )
    return _classes(named, []), shares


def _two(actual: Any) -> list[Any] | None:
    """False and true, or 0 and 1: the only labels of which it is plain which one is meant by a single column."""
    found = set(np.unique(actual).tolist()) if actual.dtype.kind in "biuf" else set()
    return ([False, True] if actual.dtype.kind == "b" else [0, 1]) if found and found <= {0, 1} else None


def _classes(named: Any, seen: Sequence[Any]) -> tuple[Value, ...]:
    """The class labels: as named, in that order, or all that occur, sorted."""
    if named is not None:
        classes = tuple(value.item() if hasattr(value, "item") else value for value in named)
        if len(set(classes)) != len(classes) or len(classes) < 2:
            raise ProjectInvalid(
                "classes are not at least two different labels",
                received=repr(classes),
                next_step="name each class once",
            )
        return classes
    found = {
        value for values in seen for value in np.asarray(values).tolist() if value is not None and value == value
    }
    if len(found) < 2:
        raise DataUnfit(
            "there is one class only, in labels and answers",
            received=", ".join(repr(value) for value in found) or "none",
            allowed="at least two classes",
            next_step="name all classes with classes=[...]",
        )
    return tuple(sorted(found, key=lambda value: (str(type(value)), value)))


def _numbers(values: Any) -> Any:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    if array.dtype.kind not in "biuf":
        raise PredictionInvalid(
            "the answers of a regression are no numbers",
            received=f"{array.dtype}, such as {array.ravel()[0]!r}",
            allowed="one number per row",
            next_step='is it a classification? pass task="classification"',
        )
    return array.astype(float)


def _known(labels: Any, classes: tuple[Value, ...]) -> Any:
    """The labels that the model knows: shares of classes are taken of them."""
    if not classes:
        return labels
    known = set(classes)
    kept = [value for value in np.asarray(labels).tolist() if value in known]
    if not kept:
        raise DataUnfit(
            "no label is a class of the model",
            received=", ".join(sorted({repr(value) for value in np.asarray(labels).tolist()})[:5]),
            allowed=", ".join(repr(value) for value in classes[:10]),
            next_step="are labels and answers of one kind? 1 and '1' are not",
        )
    return kept


def _train(given: Given, features: Sequence[str], task: Task) -> Training | None:
    if given.train is None:
        return None
    X, y = given.train
    labels = _labels(y, "the labels of train")
    frame = _frame(X, len(labels))
    absent = [name for name in features if name not in frame.columns]
    if absent or len(frame) != len(labels) or missing(labels):
        raise DataUnfit(
            "train=(X, y) does not fit",
            received=f"lacks {', '.join(absent)}" if absent else f"{len(frame)} rows, {len(labels)} labels",
            allowed="the features of the model, and one label for each row",
            next_step="pass the rows that the model was fitted on",
        )
    return Training(frame=frame, inputs=frame[list(features)], actual=labels, fit=_again(given.model))


def _again(model: Any) -> Callable[[Any, Any], Any] | None:
    """Fit a fresh copy of a scikit-learn estimator; None for other models."""
    if not hasattr(model, "get_params") or not hasattr(model, "fit"):
        return None

    def fit(X: Any, y: Any) -> Any:
        from sklearn.base import clone

        return clone(model).fit(X, y)

    return fit


def _one_by_one(model: Any, inputs: Any, probable: bool) -> Callable[[Any], Any]:
    """Answer one row, as the frame that the model is used to."""
    kinds = inputs.dtypes

    def score_one(row: Any) -> Any:
        import pandas as pd

        one = pd.DataFrame([row], columns=list(kinds.index)).astype(kinds)
        return model.predict_proba(one) if probable else model.predict(one)

    return score_one


def _about(given: Given, made: Subject) -> About:
    return About(
        task=made.task,
        label=made.label,
        currency=given.currency,
        classes=tuple(str(value) for value in made.classes),
        features=tuple(made.features) if given.model is not None else (),
        protected=given.protected,
        algorithm="" if given.model is None else type(given.model).__qualname__,
        source="rows handed over",
        train_rows=0 if made.train is None else len(made.train.actual),
    )
