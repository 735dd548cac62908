"""MLflow's side of packaging, in its own environment: ``python packaging_mlflow.py FOLDER`` prints a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow  # type: ignore[import-not-found, import-untyped, unused-ignore]
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor

TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]  # or MLflow refuses the model


def main(folder: Path) -> None:
    """Log a model with what it needs inferred, and given; answer twice from an environment made from that."""
    folder.mkdir()
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    table = load_diabetes(scaled=False, as_frame=True).frame
    table.to_parquet(folder / "table.parquet")
    X, y = table.drop(columns="target"), table["target"]
    model = HistGradientBoostingRegressor(random_state=0, max_iter=60, learning_rate=0.05, min_samples_leaf=15).fit(
        X, y
    )

    def logged(**given: Any) -> tuple[float, str]:
        with mlflow.start_run():
            begun = time.perf_counter()
            made = mlflow.sklearn.log_model(
                model,
                name="model",
                input_example=X.head(3),
                registered_model_name="diabetes",
                skops_trusted_types=TRUSTED,
                **given,
            )
            return time.perf_counter() - begun, str(made.model_uri)

    logged()
    seconds, uri = logged()
    given, _ = logged(pip_requirements=["scikit-learn", "pandas"])

    again = [sys.executable, __file__, str(folder), uri]
    found = [subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True).stdout for _ in range(2)]
    # What had to be downloaded for the first environment was there for the second: each process makes its own.
    print(json.dumps({"logged": seconds, "given": given, "answered": float(found[-1].splitlines()[-1])}))


def answered(folder: Path, uri: str) -> float:
    """Seconds to make an environment for a logged model, and to have 25 rows answered in it."""
    rows = load_diabetes(scaled=False, as_frame=True).data.head(25)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    begun = time.perf_counter()
    mlflow.models.predict(  # type: ignore[no-untyped-call, unused-ignore]
        uri, input_data=rows, env_manager="uv", output_path=str(folder / "out.json")
    )
    return time.perf_counter() - begun


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]).absolute())
    else:
        print(answered(Path(sys.argv[1]), sys.argv[2]))
