"""Subjects to evaluate: real models on small seeded data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

from fullcircle.evaluation.check import Subject, Training
from fullcircle.evaluation.metrics import trivial
from fullcircle.types.gates import Gate

FEATURES = ("signal", "noise")


def regression(rows: int = 200, *, gates: Sequence[Gate] = (), seed: int = 0, spread: float = 1.0) -> Subject:
    """y = 3 signal + error; group "b" is a third of the rows."""
    frame = _frame(rows, seed)
    y = 3.0 * frame["signal"].to_numpy() + spread * np.random.default_rng(seed + 1).normal(size=rows)
    train = _frame(400, seed + 2)
    labels = 3.0 * train["signal"].to_numpy() + np.random.default_rng(seed + 3).normal(size=400)
    model = LinearRegression().fit(train[list(FEATURES)], labels)
    baseline, _ = trivial(labels, rows, task="regression")

    def predict(asked: Any) -> Any:
        return model.predict(asked[list(FEATURES)])

    def score_one(row: Mapping[str, Any]) -> object:
        return model.coef_ @ np.array([row[name] for name in FEATURES])

    return Subject(
        model="toy",
        task="regression",
        actual=y,
        predicted=predict(frame),
        baseline=baseline,
        baseline_probabilities=None,
        champion=None,
        champion_probabilities=None,
        frame=frame,
        features=FEATURES,
        inputs=frame[list(FEATURES)],
        train=_training(train, labels, lambda X, y: LinearRegression().fit(X, y)),
        predict=predict,
        score_one=score_one,
        model_bytes=12_345,
        gates=tuple(gates),
        label="y",
    )


def classification(
    rows: int = 200, *, gates: Sequence[Gate] = (), seed: int = 0, names: Sequence[Any] = ("no", "yes")
) -> Subject:
    """Classes cut out of the signal plus noise, in equal shares."""
    frame, train = _frame(rows, seed), _frame(400, seed + 2)
    actual, labels = (_classes(each, names, seed + 1) for each in (frame, train))
    model = LogisticRegression().fit(train[list(FEATURES)], labels)
    classes = tuple(model.classes_.tolist())
    baseline, shares = trivial(labels, rows, task="classification", classes=classes)

    def probabilities(asked: Any) -> Any:
        return model.predict_proba(asked[list(FEATURES)])

    return Subject(
        model="toy",
        task="classification",
        classes=classes,
        actual=actual,
        predicted=model.predict(frame[list(FEATURES)]),
        probabilities=probabilities(frame),
        baseline=baseline,
        baseline_probabilities=shares,
        champion=None,
        champion_probabilities=None,
        frame=frame,
        features=FEATURES,
        inputs=frame[list(FEATURES)],
        train=_training(train, labels, lambda X, y: LogisticRegression().fit(X, y)),
        predict=lambda asked: model.predict(asked[list(FEATURES)]),
        predict_probabilities=probabilities,
        score_one=lambda row: row["signal"] > 0,
        model_bytes=999,
        gates=tuple(gates),
    )


def _training(frame: pd.DataFrame, labels: Any, fit: Any) -> Training:
    return Training(frame=frame, inputs=frame[list(FEATURES)], actual=labels, fit=fit)


def _frame(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "signal": generator.normal(size=rows),
            "noise": generator.normal(size=rows),
            "group": np.where(np.arange(rows) % 3 == 0, "b", "a"),
        }
    )


def _classes(frame: pd.DataFrame, names: Sequence[Any], seed: int) -> Any:
    drawn = frame["signal"].to_numpy() + 0.5 * np.random.default_rng(seed).normal(size=len(frame))
    edges = np.quantile(drawn, np.linspace(0, 1, len(names) + 1)[1:-1])
    kind: Any = object if isinstance(names[0], str) else None
    return np.array(list(names), dtype=kind)[np.searchsorted(edges, drawn)]
