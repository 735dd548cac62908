"""Small worlds with a known truth: rows, a cheap champion, honest changes and poison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fullcircle.retraining.quarantine import Rows

REGIONS = ["north", "south", "east", "west"]
_OF_REGION = dict(zip(REGIONS, [0.0, 0.5, -0.5, 0.3], strict=True))


@dataclass(frozen=True)
class World:
    """How rows come about: where x1 lies, the weight of each part of the truth, its level, a factor on numbers."""

    task: str = "classification"
    shift: float = 0.0
    wide: float = 1.0
    weights: tuple[float, float, float] = (1.5, -1.0, 0.8)
    level: float = 0.0
    times: float = 1.0
    sources: int = 12

    def rows(self, rng: np.random.Generator, n: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """Features, labels and sources of n rows, the oldest first."""
        frame = pd.DataFrame(
            {
                "x1": rng.normal(self.shift, self.wide, n),
                "amount": np.round(rng.lognormal(5.0, 0.5, n), 2),
                "temperature": np.round(rng.normal(15.0 + 4.0 * self.shift, 6.0, n), 1),
                "age": rng.integers(18, 80, n),
                "region": rng.choice(REGIONS, n, p=[0.4, 0.3, 0.2, 0.1]),
                "flag": rng.random(n) < 0.3,
                "noise": rng.normal(0, 1, n),
            }
        )
        score = self.truth(frame)
        if self.task == "regression":
            label = self.times * np.exp(0.5 * score + rng.normal(0, 0.2, n)) * 100.0
        else:
            label = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(int)
        return frame, label, np.array([f"s{each}" for each in rng.integers(0, self.sources, n)], dtype=object)

    def truth(self, frame: pd.DataFrame) -> np.ndarray:
        """The log-odds of the second class, or twice the logarithm of the expected number."""
        a, b, c = self.weights
        return np.asarray(
            a * np.clip(frame["x1"], -3, 5)
            + b * np.log(frame["amount"] / 148.0)
            + c * (frame["age"] - 49) / 18
            + frame["region"].map(_OF_REGION)
            + 0.4 * frame["flag"]
            + 0.03 * (frame["temperature"] - 15)
            + self.level
        )


class Linear:
    """Least squares on a few features of the row: what the champions and challengers of these worlds are."""

    def __init__(self, frame: pd.DataFrame, label: np.ndarray, task: str) -> None:
        self.task = task
        self.low, self.high = frame["x1"].min(), frame["x1"].max()
        X, y = self._made(frame), np.log(np.maximum(label, 1.0)) if task == "regression" else label.astype(float)
        self.weights = np.linalg.solve(X.T @ X + 1e-3 * np.eye(X.shape[1]), X.T @ y)

    def _made(self, frame: pd.DataFrame) -> np.ndarray:
        x1 = np.clip(frame["x1"].to_numpy(float), self.low, self.high)
        amount = np.log(np.maximum(frame["amount"].to_numpy(float), 0.01) / 148.0)
        age, temperature = (frame["age"].to_numpy(float) - 49) / 18, (frame["temperature"].to_numpy(float) - 15) / 6
        parts = [np.ones(len(frame)), x1, x1**2, x1**3, amount, age, temperature, x1 * amount, x1 * age, amount * age]
        parts += [(frame["region"] == name).to_numpy(float) for name in REGIONS[1:]]
        return np.asarray(np.column_stack([*parts, frame["flag"].to_numpy(float)]))

    def answers(self, frame: pd.DataFrame) -> np.ndarray:
        """The probability of the second class, or the number."""
        said = self._made(frame) @ self.weights
        return np.asarray(np.exp(np.clip(said, -5, 12)) if self.task == "regression" else np.clip(said, 0.02, 0.98))

    def losses(self, frame: pd.DataFrame, label: np.ndarray, scale: float = 400.0) -> np.ndarray:
        """The Brier score, or the absolute error over a scale, in [0, 1]."""
        said = self.answers(frame)
        if self.task == "regression":
            return np.asarray(np.minimum(1.0, np.abs(label - said) / scale))
        return np.asarray((label - said) ** 2)


@dataclass(frozen=True)
class Scene:
    """A champion, what it was made from, and what came since."""

    champion: Linear
    known: Rows
    new: Rows

    def with_new(self, frame: pd.DataFrame, label: np.ndarray, source: Any) -> Scene:
        """The same with other new rows."""
        loss = self.champion.losses(frame, label)
        return replace(self, new=replace(self.new, features=frame, label=label, loss=loss, source=source))


def scene(
    seed: int, *, world: World | None = None, later: World | None = None, known: int = 4000, new: int = 2000,
    gradual: bool = False, named: bool = True,
) -> Scene:  # fmt: skip
    """A champion made in one world, and new rows from the same or a later one (at once, or more and more of it)."""
    first = world or World()
    then = later or first
    rng = np.random.default_rng(seed)
    frame, label, source = first.rows(rng, known)
    held = np.arange(known) >= known * 0.6
    champion = Linear(frame[~held], label[~held], first.task)
    loss = np.where(held, champion.losses(frame, label), np.nan)
    late, answers, senders = then.rows(rng, new)
    if gradual:
        before, others, _ = first.rows(rng, new)
        mixed = rng.random(new) < np.linspace(0, 1, new)
        chosen = np.where(mixed, np.arange(new), new + np.arange(new))
        late = pd.concat([late, before], ignore_index=True).iloc[chosen].reset_index(drop=True)
        answers = np.where(mixed, answers, others)
    empty = Rows(features=late, label=answers, loss=np.zeros(new), source=senders, task=first.task)
    of = Rows(features=frame, label=label, loss=loss, source=source if named else None, task=first.task)
    return Scene(champion, of, empty).with_new(late, answers, senders if named else None)


def flipped(label: np.ndarray, rows: np.ndarray, task: str, rng: np.random.Generator) -> np.ndarray:
    """Wrong labels in those rows: the other class, or a number drawn from other rows."""
    if task == "regression":
        return np.where(rows, rng.permutation(label) * rng.choice([0.3, 3.0], len(label)), label)
    return np.where(rows, 1 - label, label)
