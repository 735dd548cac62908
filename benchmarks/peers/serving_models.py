"""The model of the serving benchmark in a peer's environment: ``serving_models.py KIND`` in a folder of its own.

Every peer serves the same model, fitted anew: HistGradientBoostingClassifier on the breast cancer data of
scikit-learn, 30 floats. ``pickle`` writes model.pkl, ``mlserver`` what MLServer is started with, ``mlflow`` a model,
"signed" (then the server checks what it is asked, as ours does) or "plain". ``time`` prints the median seconds of
``predict_proba`` on one row as an array, and what the mere model answers to it.
"""

from __future__ import annotations

import json
import pickle
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier


def fitted(frame: Any, label: Any) -> Any:
    """The model."""
    return HistGradientBoostingClassifier(random_state=0).fit(frame, label)


def write_pickle() -> None:
    """For servers that take a Python object."""
    frame, label = load_breast_cancer(return_X_y=True)
    Path("model.pkl").write_bytes(pickle.dumps(fitted(frame, label)))


def write_mlserver(http: str, grpc: str, metrics: str) -> None:
    """MLServer with adaptive batching, in one process."""
    write_pickle()
    ports = {"http_port": int(http), "grpc_port": int(grpc), "metrics_port": int(metrics)}
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    model = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
        "parameters": {"uri": "./model.pkl"},
    }
    Path("settings.json").write_text(json.dumps(settings))
    Path("model-settings.json").write_text(json.dumps(model))


def write_mlflow(kind: str) -> None:
    """A model as MLflow keeps it, with a signature or without."""
    import mlflow  # type: ignore[import-not-found, unused-ignore]
    from mlflow.models import infer_signature  # type: ignore[import-not-found, unused-ignore]

    frame, label = load_breast_cancer(return_X_y=True, as_frame=True)
    shared = {"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"]}
    if kind == "signed":
        model = fitted(frame, label)
        mlflow.sklearn.save_model(model, "model", signature=infer_signature(frame, model.predict(frame)), **shared)
    else:
        mlflow.sklearn.save_model(fitted(frame.to_numpy(), label), "model", **shared)


def measure(seconds: float) -> None:
    """The model alone, asked again and again."""
    frame, label = load_breast_cancer(return_X_y=True)
    model, row = fitted(frame, label), frame[:1].copy()
    taken = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        answer = model.predict_proba(row)
        taken.append(time.perf_counter() - begun)
    print(json.dumps({"p50": statistics.median(taken[len(taken) // 10 :]), "answer": answer[0].tolist()}))


if __name__ == "__main__":
    kind, *more = sys.argv[1:]
    if kind == "pickle":
        write_pickle()
    elif kind == "mlserver":
        write_mlserver(*more)
    elif kind == "mlflow":
        write_mlflow(*more)
    else:
        measure(float(more[0]))
