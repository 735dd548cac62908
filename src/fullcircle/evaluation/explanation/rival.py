"""A glass-box rival of a model: interpret-core's explainable boosting machine (Nori et al. 2019)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.errors import MissingExtra
from fullcircle.evaluation.check import Array, Frame, Subject
from fullcircle.evaluation.explanation import reasons
from fullcircle.evaluation.explanation.pictures import Shape
from fullcircle.types.contract import Column

BAGS = 4
INTERACTIONS = 10
# Halves the time of 256 bins and costs nothing that an interval shows; tables of small data would be mostly empty.
_BINS, _PAIR_BINS, _SMALL_PAIR_BINS, _SMALL = 256, 32, 16, 5000
# Larger steps than usual, so that a bounded number of rounds is enough; rows x columns x rounds bound the time.
_RATES = {"regression": 0.1, "classification": 0.03}
_ROUNDS, _FEWEST_ROUNDS, _WORK = 1000, 100, 1_000_000_000
_CELLS, _FEWEST = 5_000_000, 5000
_CATEGORIES = 100
_OTHER = "(other)"
_MISSING = "(missing)"
_DAY = 86_400_000.0


@dataclass(frozen=True)
class _Coding:
    """How one column is shown to the rival.

    ``kind`` is number, time, span or name; ``kept`` are the names that are told apart.
    """

    name: str
    kind: str
    kept: frozenset[str] = frozenset()

    def of(self, values: Any) -> Array:
        """The column (n,) as floats (times in days since 1970), or as names with None where it is missing."""
        if self.kind == "name":
            told = values.astype(object).astype(str)
            found = told.where(told.isin(self.kept), _OTHER).to_numpy(dtype=object).copy()
            found[values.isna().to_numpy()] = None
            return np.asarray(found)
        if self.kind in ("time", "span"):
            return _milliseconds(values) / _DAY
        return np.asarray(values.to_numpy(dtype=float, na_value=np.nan))


@dataclass(frozen=True)
class Rival:
    """The trained rival: what it reads, what it was trained on, and how it was.

    ``columns`` counts the columns with a curve of their own, ``interactions`` the tables of two columns, ``rows``
    the training rows, ``rounds`` how often every term could be mended.
    """

    model: Any
    codings: tuple[_Coding, ...]
    classes: Array | None
    known: Array
    rows: int
    rounds: int
    bags: int = BAGS

    @property
    def columns(self) -> int:
        """How many columns have a curve."""
        return sum(len(term) == 1 for term in self.model.term_features_)

    @property
    def interactions(self) -> int:
        """How many pairs of columns have a table."""
        return sum(len(term) == 2 for term in self.model.term_features_)

    def answers(self, inputs: Frame) -> tuple[Array, Array | None]:
        """Predictions (n,), and for classes their probabilities (n x k) in the subject's order."""
        coded = _coded(inputs, self.codings)
        if self.classes is None:
            return np.asarray(self.model.predict(coded), dtype=float), None
        shares = np.zeros((len(inputs), len(self.classes)))
        shares[:, self.known] = self.model.predict_proba(coded)
        return self.classes[shares.argmax(axis=1)], shares

    def terms(self) -> list[tuple[str, float]]:
        """The mean absolute weight of every term, largest first."""
        found = zip(self.model.term_names_, self.model.term_importances(), strict=True)
        return sorted(((str(name), float(weight)) for name, weight in found), key=lambda each: -each[1])

    def shapes(self, columns: Mapping[str, Column]) -> list[Shape]:
        """The curves of single columns, strongest first.

        Left out are private columns, whose axis would show values of people, and all where there are more than two
        classes: these have a curve per class.
        """
        weights = self.model.term_importances()
        found = []
        for term in sorted(range(len(weights)), key=lambda each: -float(weights[each])):
            features, scores = self.model.term_features_[term], self.model.term_scores_[term]
            coding = self.codings[features[0]]
            column = columns.get(coding.name)
            if len(features) == 1 and np.ndim(scores) == 1 and not (column is not None and column.private):
                found.append(self._shape(features[0], coding, scores, column))
        return found

    def _shape(self, feature: int, coding: _Coding, scores: Array, column: Column | None) -> Shape:
        """Scores are those of missing values, of each bin, of unknown values."""
        unit = "days" if coding.kind == "span" else column.unit if column is not None else ""
        title = f"{reasons.readable(coding.name, column)}{f' ({unit})' if unit else ''}"
        bins = self.model.bins_[feature][0]
        if coding.kind == "name":
            missing = [(_MISSING, float(scores[0]))] if scores[0] else []
            told = [*((name, float(scores[place])) for name, place in bins.items()), *missing]
            return Shape(title, "name", [name for name, _ in told], [adds for _, adds in told])
        low, high = self.model.feature_bounds_[feature]
        edges = np.r_[low, bins, high].astype(float)
        adds = np.r_[scores[1:-1], scores[-2]]
        shown = np.isfinite(edges)
        if coding.kind == "time":
            edges = edges * _DAY
        kind = "time" if coding.kind == "time" else "number"
        return Shape(title, kind, edges[shown].tolist(), adds[shown].tolist())


def train(subject: Subject, most: int) -> Rival | None:
    """Train the rival on at most ``most`` training rows of a subject that knows them, fewer of more than 100 columns.

    Raises MissingExtra where the library is not installed.
    None where these rows are all of one class, or no column holds two values; other columns that hold one value are
    left out, and so are rows without a label or of a class that the model does not know. Of more than two classes
    pairs are not learned: their tables could not be read.
    """
    classifier, regressor = _interpret()
    learned: Any = subject.train
    labels = _labels(subject, np.asarray(learned.actual))
    rows = np.flatnonzero(np.isfinite(labels))
    most = min(most, max(_FEWEST, _CELLS // max(1, len(learned.inputs.columns))))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(subject.seed).choice(rows, most, replace=False))
    inputs, labels = learned.inputs.iloc[rows], labels[rows]
    codings = tuple(each for each in (_coding(inputs[name]) for name in inputs.columns) if each is not None)
    known = np.unique(labels).astype(np.intp) if subject.task == "classification" else np.zeros(0, dtype=np.intp)
    if not codings or (subject.task == "classification" and len(known) < 2):
        return None
    rounds = max(_FEWEST_ROUNDS, min(_ROUNDS, _WORK // (len(rows) * len(codings))))
    made = {
        "feature_names": [each.name for each in codings],
        "feature_types": ["nominal" if each.kind == "name" else "continuous" for each in codings],
        "outer_bags": BAGS,
        "interactions": 0 if len(known) > 2 else INTERACTIONS,
        "learning_rate": _RATES[subject.task],
        "max_rounds": rounds,
        "max_bins": _BINS,
        "max_interaction_bins": _SMALL_PAIR_BINS if len(rows) < _SMALL else _PAIR_BINS,
        # One process: starting others takes longer than they save, and they would need memory of their own.
        "n_jobs": 1,
        "random_state": subject.seed,
    }
    if subject.task == "regression":
        model = _fitted(regressor(**made), _coded(inputs, codings), labels)
        return Rival(model, codings, None, known, len(rows), rounds)
    model = _fitted(classifier(**made), _coded(inputs, codings), labels.astype(np.intp))
    return Rival(model, codings, _named(subject), known, len(rows), rounds)


def _labels(subject: Subject, labels: Array) -> Array:
    """The labels as floats, classes by their positions; NaN for a missing or unknown one."""
    if subject.task == "regression":
        return np.asarray(labels, dtype=float)
    place = {value: float(position) for position, value in enumerate(subject.classes)}
    return np.array([place.get(value, np.nan) for value in labels.tolist()])


def _fitted(model: Any, inputs: Frame, labels: Array) -> Any:
    with warnings.catch_warnings():
        # That its own pictures leave missing values out does not concern ours, which show them.
        warnings.filterwarnings("ignore", message="Missing values detected", category=UserWarning)
        return model.fit(inputs, labels)


def _coding(column: Any) -> _Coding | None:
    """How to show a column to the rival; None where it holds no two values."""
    if column.nunique(dropna=False) < 2 or column.notna().sum() == 0:
        return None
    if column.dtype.kind in "Mm":
        return _Coding(str(column.name), "time" if column.dtype.kind == "M" else "span")
    if column.dtype.kind in "iuf":
        return _Coding(str(column.name), "number")
    most = column.dropna().astype(object).astype(str).value_counts()
    # Names that are equally frequent are taken in the order of the alphabet.
    ranked = sorted(most.items(), key=lambda each: (-each[1], each[0]))
    return _Coding(str(column.name), "name", frozenset(name for name, _ in ranked[:_CATEGORIES]))


def _coded(inputs: Frame, codings: tuple[_Coding, ...]) -> Frame:
    import pandas as pd

    return pd.DataFrame({each.name: each.of(inputs[each.name]) for each in codings})


def _milliseconds(values: Any) -> Array:
    """Times as milliseconds since 1970 (UTC), durations in milliseconds; NaN where they are missing."""
    import pandas as pd

    start = pd.Timedelta(0) if values.dtype.kind == "m" else pd.Timestamp(0, tz=getattr(values.dtype, "tz", None))
    return np.asarray((values - start) / pd.Timedelta(milliseconds=1), dtype=float)


def _named(subject: Subject) -> Array:
    """The classes as an array that can be indexed, of the type of the model's own answers."""
    kind = np.asarray(subject.predicted).dtype
    found = np.empty(len(subject.classes), dtype=object if kind.kind in "OUS" else kind)
    found[:] = list(subject.classes)
    return found


def _interpret() -> tuple[Any, Any]:
    """The library, which takes seconds to load: only when a rival is trained. Raises MissingExtra."""
    try:
        from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    except ImportError as error:
        raise MissingExtra(
            "a glass-box rival needs interpret-core, which is not installed",
            received=str(error),
            next_step='pip install "fullcircle[explain]"',
        ) from error
    return ExplainableBoostingClassifier, ExplainableBoostingRegressor
