"""Rows of patients, a contract learned by hand, and predictions as the server would log them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fullcircle.runtimes.contracts import examine, rows_of
from fullcircle.types.contract import Column, Contract
from fullcircle.types.prediction import Prediction

CONTRACT = Contract(
    columns=(
        Column(name="bmi", kind="number", low=10.0, high=60.0, fill=26.0, missing="impute"),
        Column(name="children", kind="integer", low=0.0, high=12.0, fill=1),
        Column(name="sex", kind="category", categories=("f", "m"), unseen="flag", nullable=True, fill="f"),
        Column(name="smoker", kind="boolean", fill=False),
        Column(name="note", kind="text", nullable=True),
    ),
    label="progression",
    task="regression",
    prior=150.0,
)


def patients(generator: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "bmi": generator.normal(26.0, 4.0, n).clip(15.0, 45.0),
            "children": generator.poisson(1.5, n).clip(0, 8),
            "sex": generator.choice(["f", "m"], n),
            "smoker": generator.random(n) < 0.2,
            "note": [f"patient {number}" for number in range(n)],
        }
    )


def answers(frame: pd.DataFrame) -> list[float]:
    """A model everybody can check."""
    found: list[float] = (frame["bmi"].fillna(26.0) * 6.0).tolist()
    return found


def predictions(frame: pd.DataFrame, contract: Contract = CONTRACT) -> list[Prediction]:
    """What a server would have logged for these rows."""
    found = []
    for number, (row, value) in enumerate(zip(rows_of(frame, contract), answers(frame), strict=True)):
        verdict, values = examine(contract, row)
        answered = verdict.status not in ("rejected", "fallback")
        found.append(
            Prediction(
                id=f"p-{number}",
                time=f"2026-11-{1 + number % 28:02d}T12:00:00.000000Z",
                model="patients",
                version=3,
                value=value if answered else None,
                verdict=verdict,
                inputs=values if answered else None,
            )
        )
    return found


def share(counts: Sequence[Any], place: int) -> float:
    return float(counts[place]) / float(sum(counts))
