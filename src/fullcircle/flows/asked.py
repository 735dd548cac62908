"""Answers on rows: of a model in memory that is asked, or made elsewhere. Of one kind with the labels, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fullcircle.errors import ColumnMissing, PredictionInvalid, ProjectInvalid
from fullcircle.evaluation.check import Array, absent
from fullcircle.flows import labels
from fullcircle.types.contract import Value
from fullcircle.types.progress import Progress, Silent

# Rows that a model is asked about at once.
_STRETCH = 100_000
Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class Answered:
    """The answers on n rows, for classes with their labels and, n x k in that order, the probabilities."""

    values: Array
    classes: tuple[Value, ...] = ()
    shares: Array | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _OfArrays:
    """A model that was fitted on arrays and is asked about frames: names of columns would only make it warn."""

    model: Any

    def predict(self, asked: Any) -> Any:
        return self.model.predict(asked.to_numpy())

    def predict_proba(self, asked: Any) -> Any:
        return self.model.predict_proba(asked.to_numpy())


def asking(model: Any, X: Any) -> Any:
    """What is asked about frames in the place of a model that is evaluated on rows such as ``X``."""
    return _OfArrays(model) if isinstance(X, np.ndarray) else model


def of_model(
    model: Any, ask: Any, inputs: Any, actual: Array, *, task: Task, classes: Any = None, progress: Progress
) -> Answered:
    """What a model answers on all rows, asked a stretch at a time. ``classes`` name those that it does not name."""
    values = labels.plain(
        _stretched(ask.predict, inputs, progress), "the answers of predict", error=PredictionInvalid
    )
    if task == "regression":
        return Answered(labels.numbers(values))
    own = getattr(model, "classes_", None)
    known = None if own is None else labels.named(own)
    if classes is not None:
        given = labels.named(classes)
        labels.refuse_other_order(given, given if known is None else known)
        known = given
    probable = callable(getattr(model, "predict_proba", None))
    if probable and known is None:
        raise PredictionInvalid(
            "the model gives probabilities and does not say of which classes",
            allowed="a model with classes_, or classes=[...] in the order of the columns of predict_proba",
            next_step="pass classes=[...]",
        )
    shares = (
        labels.shares(_stretched(ask.predict_proba, inputs, progress), "answers of predict_proba")
        if probable
        else None
    )
    return _beside(actual, values, known, shares)


def elsewhere(actual: Array, predicted: Any, probabilities: Any, *, task: Task, classes: Any) -> Answered:
    """Answers made elsewhere, with the classes that their probabilities or their labels have."""
    if predicted is None and probabilities is None:
        raise ProjectInvalid(
            "there is neither a model nor an answer",
            allowed="evaluate(model, X, y), or evaluate(None, X, y, predicted=..., probabilities=...)",
            next_step="pass predicted=...",
        )
    values = None if predicted is None else labels.plain(predicted, "predicted", error=PredictionInvalid)
    if task == "regression":
        if values is None:
            raise ProjectInvalid("a regression needs predicted=...", next_step="pass the predicted numbers")
        return Answered(labels.numbers(values))
    if values is not None and probabilities is None:
        return _beside(actual, values, None if classes is None else labels.named(classes), None)
    known, shares = _columns(probabilities, classes, actual)
    return _beside(actual, _likeliest(known, shares) if values is None else values, known, shares)


def _beside(actual: Array, values: Array, known: tuple[Value, ...] | None, shares: Array | None) -> Answered:
    """Answers that can be right: labels, answers and classes are of one kind, and some of each are classes."""
    named = {} if known is None else {"the classes": known}
    labels.refuse_shares(actual, values)
    labels.refuse_mixed({"the labels": actual, "the answers": values, **named})
    if known is None:
        classes = labels.occurring(actual, values)
        labels.refuse_strange(actual, values, tuple(set(actual.tolist())))
        return Answered(values, classes, shares)
    return Answered(values, known, shares, labels.refuse_strange(actual, values, known))


def _columns(probabilities: Any, classes: Any, actual: Array) -> tuple[tuple[Value, ...], Array]:
    """Probabilities n x k with their classes; of one column, those of the second class."""
    if classes is None and hasattr(probabilities, "columns"):
        classes = list(probabilities.columns)
    shares = labels.shares(probabilities)
    if shares.ndim == 1:
        shares = _both(shares)
        classes = labels.two(actual) if classes is None else classes
    if classes is None or len(list(classes)) != shares.shape[1]:
        raise PredictionInvalid(
            "it is not known which class each column of probabilities belongs to",
            received=f"{shares.shape[1]} columns" + ("" if classes is None else f", {len(list(classes))} classes"),
            allowed="classes=[...] in the order of the columns, or a frame whose columns are the classes",
            next_step="pass classes=[...]",
        )
    return labels.named(classes), shares


def _both(shares: Array) -> Array:
    """The probabilities of both classes, of those of the second."""
    outside = int(((shares < 0) | (shares > 1) | ~np.isfinite(shares)).sum())
    if outside:
        raise PredictionInvalid(
            "probabilities holds values that are no probabilities",
            received=f"{outside} of {len(shares)} outside 0 to 1",
            allowed="0 to 1 in every row",
            next_step="are these scores? turn them into probabilities first",
        )
    return np.column_stack([1.0 - shares, shares])


def _likeliest(classes: Sequence[Value], shares: Array) -> Array:
    named = np.array(classes, dtype=object if isinstance(classes[0], str) else None)
    return np.asarray(named[np.argmax(shares, axis=1)])


def champion(
    given: Any, probabilities: Any, X: Any, frame: Any, inputs: Any, *, task: Task, classes: tuple[Value, ...]
) -> Answered | None:
    """The champion's answers on the same rows: a model is asked, anything else are its answers (NaN or None: none).

    Its probabilities are those of ``classes``, in that order.
    """
    if given is None:
        if probabilities is not None:
            raise ProjectInvalid("champion_probabilities come without champion=", next_step="pass champion=...")
        return None
    if callable(getattr(given, "predict", None)):
        if probabilities is not None:
            raise ProjectInvalid("a champion that is a model is asked", next_step="leave champion_probabilities out")
        return _of_champion(given, X, frame, inputs, task, classes)
    values = labels.plain(given, "champion", error=PredictionInvalid, holes=True)
    if len(values) != len(frame):
        raise PredictionInvalid("champion differs in length from y", received=f"{len(values)} and {len(frame)}")
    if task == "regression":
        return Answered(labels.numbers(values))
    labels.refuse_mixed({"the champion's answers": values[~absent(values)], "the classes": classes})
    if probabilities is None:
        return Answered(values, classes)
    shares = labels.shares(probabilities, "champion_probabilities")
    return Answered(
        values, classes, labels.whole(np.column_stack([1.0 - shares, shares]) if shares.ndim == 1 else shares)
    )


def _of_champion(model: Any, X: Any, frame: Any, inputs: Any, task: Task, classes: tuple[Value, ...]) -> Answered:
    """A champion that is a model, asked about the columns it was fitted on, its probabilities in our order."""
    fitted = getattr(model, "feature_names_in_", None)
    names = list(inputs.columns) if fitted is None else [str(name) for name in fitted]
    absent_ = [name for name in names if name not in frame.columns]
    if absent_:
        raise ColumnMissing(
            "X lacks columns that the champion needs",
            received=", ".join(absent_[:10]),
            allowed=", ".join(str(name) for name in frame.columns[:40]) or "none: X has no columns",
            next_step="pass these columns in X; features=[...] names those that the model sees",
        )
    ask, asked = asking(model, X), frame[names]
    values = labels.plain(_stretched(ask.predict, asked, Silent()), "the champion's answers", error=PredictionInvalid)
    if task == "regression":
        return Answered(labels.numbers(values))
    labels.refuse_mixed({"the champion's answers": values, "the classes": classes})
    own = getattr(model, "classes_", None)
    if own is None or not callable(getattr(model, "predict_proba", None)):
        return Answered(values, classes)
    shares = labels.shares(_stretched(ask.predict_proba, asked, Silent()), "the champion's probabilities")
    places = {value: place for place, value in enumerate(labels.named(own))}
    if not set(places) <= set(classes):
        raise PredictionInvalid(
            "the champion knows classes that the model does not know",
            received=", ".join(map(repr, places)),
            allowed=", ".join(map(repr, classes)),
            next_step="compare models of the same classes",
        )
    columns = [shares[:, places[value]] if value in places else np.zeros(len(shares)) for value in classes]
    return Answered(values, classes, labels.whole(np.column_stack(columns)))


def _stretched(ask: Callable[[Any], Any], inputs: Any, progress: Progress) -> Any:
    parts = []
    for start in range(0, len(inputs), _STRETCH):
        progress.advance(start, len(inputs))
        parts.append(np.atleast_1d(ask(inputs.iloc[start : start + _STRETCH])))
    progress.advance(len(inputs), len(inputs))
    return np.concatenate(parts)
