"""Clean data with a model that knows the law, and the same with one fault planted in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from fullcircle.evaluation.check import Subject, Training
from fullcircle.evaluation.metrics import trivial

Kind = Literal["binary", "regression"]
KINDS: tuple[Kind, ...] = ("binary", "regression")
FEATURES = ("a", "b", "count", "kind")
# The checks that look for a fault, and may raise where there is one.
CHECKS = ("fairness", "calibration", "slices", "leakage", "robustness")
FAULTS = {
    "leak": "leakage",
    "bias": "fairness",
    "miscalibration": "calibration",
    "bad slice": "slices",
    "wrong unit": "robustness",
}


def clean(kind: Kind, seed: int, *, train: int = 400, test: int = 600) -> Subject:
    """A model that knows the law, on rows it has not seen; groups by sex and region have nothing to do with it."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    learned, rows = _frame(generator, train), _frame(generator, test)
    before, actual = _labels(generator, kind, learned), _labels(generator, kind, rows)
    baseline, shares = trivial(before, test, task=_task(kind), classes=_classes(kind))
    probabilities = None if kind == "regression" else _shares(rows)
    return Subject(
        model="law",
        task=_task(kind),
        classes=_classes(kind),
        actual=actual,
        predicted=_predict(kind, rows),
        probabilities=probabilities,
        baseline=baseline,
        baseline_probabilities=shares,
        frame=rows,
        features=FEATURES,
        protected=("sex", "region"),
        label="y",
        seed=seed,
        inputs=rows[list(FEATURES)],
        predict=lambda asked: _predict(kind, asked),
        predict_probabilities=None if kind == "regression" else _shares,
        train=Training(frame=learned, inputs=learned[list(FEATURES)], actual=before, fit=_fit(kind)),
    )


def planted(kind: Kind, fault: str, seed: int, *, test: int = 2000) -> Subject:
    """The same with one fault of ``FAULTS`` in it."""
    subject = clean(kind, seed, test=test)
    match fault:
        case "leak":
            return _leaking(subject, kind)
        case "bias":
            return _answering(subject, kind, (subject.frame["sex"] == "f").to_numpy(), _raised)
        case "miscalibration":
            return _answering(subject, kind, np.ones(test, dtype=bool), _sharpened)
        case "bad slice":
            frame = subject.frame
            bad = (frame["kind"] == "z").to_numpy() & (frame["a"] > 0).to_numpy()
            return _answering(subject, kind, bad, _turned)
        case "wrong unit":
            frame = subject.frame.assign(b=subject.frame["b"] * 10)
            return replace(subject, frame=frame, inputs=frame[list(FEATURES)])
        case _:
            raise ValueError(fault)


def _frame(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": generator.normal(size=rows),
            "b": generator.normal(20.0, 3.0, size=rows),
            "count": generator.integers(0, 5, rows),
            "kind": generator.choice(["x", "y", "z"], rows),
            "sex": generator.choice(["f", "m"], rows),
            "region": generator.choice(["north", "south", "west"], rows),
        }
    )


def _law(frame: Any) -> Any:
    kinds = frame["kind"].map({"x": -0.5, "y": 0.0, "z": 0.5}).to_numpy(dtype=float)
    middle = frame["b"].to_numpy(dtype=float) - 20.0
    return 1.5 * frame["a"].to_numpy(dtype=float) + 0.2 * middle + 0.2 * frame["count"].to_numpy(dtype=float) + kinds


def _labels(generator: np.random.Generator, kind: Kind, frame: Any) -> Any:
    noise = generator.logistic(size=len(frame)) if kind == "binary" else generator.normal(size=len(frame))
    drawn = _law(frame) + noise
    return (drawn > 0).astype(int) if kind == "binary" else drawn


def _shares(frame: Any) -> Any:
    positive = 1.0 / (1.0 + np.exp(-np.nan_to_num(_law(frame))))
    return np.column_stack([1.0 - positive, positive])


def _predict(kind: Kind, frame: Any) -> Any:
    return (_shares(frame)[:, 1] >= 0.5).astype(int) if kind == "binary" else np.nan_to_num(_law(frame))


def _task(kind: Kind) -> Literal["classification", "regression"]:
    return "classification" if kind == "binary" else "regression"


def _classes(kind: Kind) -> tuple[int, ...]:
    return (0, 1) if kind == "binary" else ()


def _fit(kind: Kind) -> Any:
    def fit(X: Any, y: Any) -> Any:
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, StandardScaler

        model = LogisticRegression() if kind == "binary" else LinearRegression()
        return make_pipeline(FunctionTransformer(_numbers), StandardScaler(), model).fit(X, y)

    return fit


def _numbers(frame: Any) -> Any:
    return frame.assign(kind=frame["kind"].map({"x": 0, "y": 1, "z": 2})).to_numpy(dtype=float)


def _answering(subject: Subject, kind: Kind, where: Any, change: Any) -> Subject:
    """The subject with other answers in some rows."""
    if kind == "regression":
        answers = np.where(where, change(kind, np.asarray(subject.predicted, dtype=float)), subject.predicted)
        return replace(subject, predicted=answers)
    positive = np.asarray(subject.probabilities)[:, 1]
    positive = np.where(where, change(kind, positive), positive)
    shares = np.column_stack([1.0 - positive, positive])
    return replace(subject, probabilities=shares, predicted=(positive >= 0.5).astype(int))


def _raised(kind: Kind, answers: Any) -> Any:
    return answers + 0.5 if kind == "regression" else _logistic(_logit(answers) + 1.0)


def _sharpened(kind: Kind, answers: Any) -> Any:
    return 1.5 * answers if kind == "regression" else _logistic(2.5 * _logit(answers))


def _turned(kind: Kind, answers: Any) -> Any:
    return -answers if kind == "regression" else 1.0 - answers


def _logit(share: Any) -> Any:
    return np.log(share / (1.0 - share))


def _logistic(value: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-value))


def _leaking(subject: Subject, kind: Kind) -> Subject:
    """One more feature that is the label, hardly hidden."""
    if subject.train is None:
        raise AssertionError("clean subjects have training rows")
    generator = np.random.default_rng(subject.seed)

    def told(frame: Any, labels: Any) -> Any:
        return frame.assign(hint=np.asarray(labels, dtype=float) + 0.01 * generator.normal(size=len(frame)))

    frame, learned = told(subject.frame, subject.actual), told(subject.train.frame, subject.train.actual)
    features = [*FEATURES, "hint"]
    train = replace(subject.train, frame=learned, inputs=learned[features], fit=_blind(subject.train.fit))
    return replace(subject, frame=frame, inputs=frame[features], features=tuple(features), train=train)


def _blind(fit: Any) -> Any:
    return lambda X, y: _Without(fit(X[list(FEATURES)], y))


class _Without:
    """A model that looks at the features it was fitted on, of more."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.classes_ = getattr(model, "classes_", None)

    def predict(self, asked: Any) -> Any:
        return self.model.predict(asked[list(FEATURES)])

    def predict_proba(self, asked: Any) -> Any:
        return self.model.predict_proba(asked[list(FEATURES)])
