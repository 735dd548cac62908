"""BentoML with batching: ``bentoml serve serving_bentoml:Service`` beside model.pkl."""

from __future__ import annotations

import pickle
from pathlib import Path

import bentoml  # type: ignore[import-not-found, unused-ignore]
import numpy as np


@bentoml.service(workers=1)  # type: ignore[untyped-decorator, unused-ignore]
class Service:
    """One model, asked for all rows of a batch at once."""

    def __init__(self) -> None:
        self.model = pickle.loads(Path("model.pkl").read_bytes())  # noqa: S301 - we wrote it

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=100)  # type: ignore[untyped-decorator, unused-ignore]
    def predict(self, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg, unused-ignore]
        """Chances of each row."""
        return self.model.predict_proba(x)  # type: ignore[no-any-return, unused-ignore]
