"""What an evaluation looks at, made of what somebody hands over: a model in memory, or answers made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from fullcircle.development.checking import told_task
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid
from fullcircle.evaluation.check import Subject, Training
from fullcircle.evaluation.metrics import trivial
from fullcircle.flows import asked, labels
from fullcircle.flows.asked import Task
from fullcircle.tables import reading
from fullcircle.types.gates import Gate
from fullcircle.types.progress import Progress
from fullcircle.types.project import Serving
from fullcircle.types.report import About
from fullcircle.types.table import Table


@dataclass(frozen=True, kw_only=True)
class Given:
    """The arguments of ``evaluate`` as they were handed over, see there."""

    model: Any = None
    X: Any = None
    y: Any = None
    predicted: Any = None
    probabilities: Any = None
    classes: Sequence[Any] | None = None
    weights: Any = None
    train: tuple[Any, Any] | None = None
    champion: Any = None
    champion_probabilities: Any = None
    features: Any = None
    protected: Any = ()
    gates: Any = ()
    checks: Any = ()
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


# What a project file says itself; everything else that is handed over is its rows and its model.
_DECLARED = ("features", "protected", "gates", "checks", "task", "serving", "currency", "name", "label", "seed")


def refuse_with_project(given: Given) -> None:
    """Refuse every argument that means something only for a model in memory: a project would not look at it."""
    set_ = [
        one.name for one in fields(given) if one.name != "model" and _is_set(getattr(given, one.name), one.default)
    ]
    if not set_:
        return
    declared = [name for name in set_ if name in _DECLARED]
    handed = [name for name in set_ if name not in _DECLARED]
    steps = [f"write {', '.join(declared)} in the project file"] if declared else []
    steps += [f"leave {', '.join(handed)} out, or pass a model: evaluate(model, X, y)"] if handed else []
    raise ProjectInvalid(
        "a project brings its own rows, model, gates and checks",
        received=", ".join(set_),
        allowed="run, out, settings, progress",
        next_step="; ".join(steps),
    )


def _is_set(value: Any, default: Any) -> bool:
    if default is None or value is None:
        return value is not default
    return type(value) is not type(default) or bool(value != default)


def refuse_of_project(**arguments: Any) -> None:
    """Refuse arguments that mean something only for a project, where there is a model or answers."""
    set_ = [name for name, value in arguments.items() if value is not None]
    if set_:
        raise ProjectInvalid(
            f"only a project takes {' and '.join(set_)}",
            received="a model in memory, or answers made elsewhere",
            next_step=f"leave {' and '.join(set_)} out, or pass the path of a project",
        )


def checked(given: Given) -> Given:
    """The arguments, with one name or gate as a tuple of one. Raises ProjectInvalid for what is none."""
    gates = (given.gates,) if isinstance(given.gates, Gate) else given.gates
    if isinstance(gates, str) or not isinstance(gates, Iterable) or not all(isinstance(one, Gate) for one in gates):
        raise _wrong("gates", given.gates, "fc.at_most(...), fc.at_least(...) and the like, one or several")
    for name in ("currency", "name", "label"):
        if not isinstance(getattr(given, name), str):
            raise _wrong(name, getattr(given, name), "text")
    if isinstance(given.seed, bool) or not isinstance(given.seed, int | np.integer) or not 0 <= given.seed < 2**32:
        raise _wrong("seed", given.seed, "a whole number from 0 on")
    if given.serving is not None and not isinstance(given.serving, Serving):
        raise _wrong("serving", given.serving, "fc.Serving(requests_per_day=...)")
    if given.train is not None and not (isinstance(given.train, tuple | list) and len(given.train) == 2):
        raise _wrong("train", type(given.train).__name__, "train=(X, y): rows and labels")
    return replace(
        given,
        seed=int(given.seed),
        gates=tuple(gates),
        protected=_names("protected", given.protected),
        checks=_names("checks", given.checks),
        features=None if given.features is None else _names("features", given.features),
    )


def _names(what: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    names = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(name, str) for name in names):
        raise _wrong(what, value, "names, one or several")
    return tuple(dict.fromkeys(names))


def _wrong(name: str, received: Any, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(
        f"{name} is of the wrong type",
        received=repr(received)[:200],
        allowed=allowed,
        next_step="see docs/evaluation.md",
    )


def subject(given: Given, progress: Progress) -> Made:
    """The subject of a model in memory or of answers made elsewhere, of ``checked`` arguments.

    Raises what ``evaluate`` says.
    """
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
    if task == "regression":
        _refuse_classes(given)
        labels.refuse_text(actual, "y")
    features = _features(given, frame)
    inputs = frame[list(features)]
    if given.model is None:
        ask = None
        answered = asked.elsewhere(actual, given.predicted, given.probabilities, task=task, classes=given.classes)
    else:
        _refuse_answers(given)
        ask = asked.asking(given.model, given.X)
        answered = asked.of_model(
            given.model, ask, inputs, actual, task=task, classes=given.classes, progress=progress
        )
    champion = asked.champion(
        given.champion,
        given.champion_probabilities,
        given.X,
        frame,
        inputs,
        task=task,
        classes=answered.classes,
    )
    train = _train(given, features, task)
    learned = actual if train is None else train.actual
    baseline, shares = trivial(
        labels.known(learned, answered.classes), len(actual), task=task, classes=answered.classes
    )
    made = Subject(
        model=given.name or (type(given.model).__name__ if given.model is not None else "predictions"),
        task=task,
        label=given.label or _called(given.y),
        currency=given.currency,
        classes=answered.classes,
        actual=actual,
        predicted=answered.values,
        probabilities=answered.shares,
        baseline=baseline,
        baseline_probabilities=shares,
        champion=None if champion is None else champion.values,
        champion_probabilities=None if champion is None else champion.shares,
        weights=labels.weights(given.weights),
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
    notes = list(answered.notes)
    if train is None:
        notes.append("without train=(X, y) the trivial model is that of the test rows themselves")
    if given.task is None and given.model is None and task == "regression" and labels.two(actual) is not None:
        notes.append('labels 0.0 and 1.0 are taken for quantities; with task="classification" they are classes')
    return Made(made, _about(given, made), tuple(notes))


def _refuse_shuffled(given: Given) -> None:
    """Rows are taken by position. The same index in another order is a mistake that no figure would show."""
    named = (
        ("X", given.X),
        ("predicted", given.predicted),
        ("probabilities", given.probabilities),
        ("champion", given.champion),
        ("champion_probabilities", given.champion_probabilities),
        ("weights", given.weights),
    )
    rows = getattr(given.y, "index", None)
    if rows is None or not hasattr(rows, "equals"):
        return
    for name, other in named:
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
    if values is None:
        raise ProjectInvalid(
            f"{name} is missing", allowed="the true labels, one per row", next_step="evaluate(model, X, y)"
        )
    return labels.plain(values, name)


def _called(y: Any) -> str:
    """The name of the labels: of a series, or of a table's one column."""
    names = [str(name) for name in getattr(y, "columns", ())]
    return names[0] if len(names) == 1 else str(getattr(y, "name", None) or "label")


def _frame(X: Any, rows: int) -> Any:
    """X as a pandas frame; columns of an array are called x0, x1, ..."""
    import pandas as pd

    if X is None:
        return pd.DataFrame(index=range(rows))
    if len(getattr(X, "shape", (0, 0))) != 2:
        raise DataUnfit("X is no table", received=f"shape {X.shape}", allowed="n rows x k columns")
    if isinstance(X, np.ndarray):
        return pd.DataFrame(X, columns=[f"x{number}" for number in range(X.shape[1])])
    if hasattr(X, "columns") and len(X.columns) == 0:
        # A polars frame without columns has no rows either; a pandas frame has those of its index.
        return pd.DataFrame(index=range(len(X) or rows))
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


def _refuse_classes(given: Given) -> None:
    names = ("classes", "probabilities", "champion_probabilities")
    set_ = [name for name in names if getattr(given, name) is not None]
    if set_:
        raise ProjectInvalid(
            "a regression has no classes",
            received=", ".join(set_),
            allowed="predicted numbers",
            next_step=f'leave {" and ".join(set_)} out, or pass task="classification"',
        )


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


def _train(given: Given, features: Sequence[str], task: Task) -> Training | None:
    if given.train is None:
        return None
    X, y = given.train
    learned = _labels(y, "the labels of train")
    if task == "regression":
        labels.refuse_text(learned, "the labels of train")
    frame = _frame(X, len(learned))
    absent = [name for name in features if name not in frame.columns]
    if absent or len(frame) != len(learned):
        raise DataUnfit(
            "train=(X, y) does not fit",
            received=f"lacks {', '.join(absent)}" if absent else f"{len(frame)} rows, {len(learned)} labels",
            allowed="the features of the model, and one label for each row",
            next_step="pass the rows that the model was fitted on",
        )
    return Training(frame=frame, inputs=frame[list(features)], actual=learned, fit=_again(given.model))


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
