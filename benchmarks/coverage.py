"""How often 95 % intervals contain the truth, per metric, over simulated data sets whose truth is known.

Laws are normal, so truths are integrals, done on a fine grid and not by simulation:

- regression: y ~ N(0, 2²), the error of the model ~ N(0.3, 1), that of its rival ~ N(-0.5, 1.2²), correlation 0.6;
- two classes: a score x ~ N(1.3 y, 1), y = 1 with 0.3, of which the model makes p = logistic(1.5 x - 1.6); its
  rival has another score, N(1.0 y, 1), correlation 0.5;
- three classes in the plane, unit normals around the corners of a triangle, shares 0.5, 0.3, 0.2;
- the same two classes with weights, exponential times 1 + y.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.evaluation import metrics
from fullcircle.evaluation.metrics import Answers, Estimate

Array = NDArray[Any]
ROWS = 1500
MAIN = ("mae", "rmse", "r2", "log_loss", "accuracy", "balanced_accuracy", "f1", "brier", "roc_auc")
_CLASSES = ("no", "yes")
_PEAKS = np.array([[0.0, 0.0], [1.8, 0.0], [0.9, 1.5]])
_SHARES = np.array([0.5, 0.3, 0.2])


def coverage(datasets: int = 4000, rows: int = ROWS) -> list[dict[str, Any]]:
    """One dict per metric: ``metric``, ``coverage`` (the share of data sets), ``rows``."""
    held: dict[str, list[bool]] = {}
    for law in LAWS.values():
        truths = law.truths()
        for seed in range(datasets):
            for name, found in law.draw(np.random.default_rng([seed, rows]), rows):
                held.setdefault(f"{law.name}: {name}", []).append(_holds(found, truths[name]))
    return [{"metric": name, "coverage": float(np.mean(each)), "rows": rows} for name, each in held.items()]


def _holds(found: Estimate, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


class Law:
    """A simulated world: what data sets of it look like, and what is true of them."""

    name = ""
    task: metrics.Task = "classification"

    def pair(self, generator: np.random.Generator, rows: int) -> tuple[Answers, Answers]:
        """The answers of a model and of its rival on ``rows`` rows."""
        raise NotImplementedError

    def exact(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Every metric's truth, of the model and of its rival."""
        raise NotImplementedError

    def truths(self) -> dict[str, float]:
        """The truth of every estimate that ``draw`` makes."""
        own, rival = self.exact()
        found = dict(own)
        for name in (each for each in MAIN if each in own):
            metric = metrics.find(name, self.task)
            found[f"improvement of {name}"] = metric.merit(own[name]) - metric.merit(rival[name])
        return found

    def draw(self, generator: np.random.Generator, rows: int) -> Iterator[tuple[str, Estimate]]:
        """Every metric's estimate on a data set, and the paired improvement of the main ones."""
        own, rival = self.pair(generator, rows)
        for metric in metrics.of_task(self.task):
            if metric.applies(own):
                yield metric.name, metrics.estimate(metric, own)
                if metric.name in MAIN:
                    yield f"improvement of {metric.name}", metrics.improvement(metric, own, rival)


class Regression(Law):
    """Numbers with normal errors."""

    name = "regression"
    task: metrics.Task = "regression"

    def pair(self, generator: np.random.Generator, rows: int) -> tuple[Answers, Answers]:
        """Two models whose errors have a correlation of 0.6."""
        actual, one, two = generator.normal(size=(3, rows))
        actual, error, rival = 2.0 * actual, 0.3 + one, -0.5 + 1.2 * (0.6 * one + 0.8 * two)
        own, other = (metrics.answers("regression", actual, actual + each) for each in (error, rival))
        return own, other

    def exact(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Moments of normal errors."""
        own, rival = (self._of(centre, spread) for centre, spread in ((0.3, 1.0), (-0.5, 1.2)))
        return own, rival

    def _of(self, centre: float, spread: float) -> Mapping[str, float]:
        grid = np.linspace(-12.0, 12.0, 400_001)
        weight = np.exp(-((grid - centre) ** 2) / (2.0 * spread**2))
        weight /= weight.sum()
        ranks = np.argsort(np.abs(grid), kind="stable")
        middle = np.abs(grid)[ranks][np.searchsorted(np.cumsum(weight[ranks]), 0.5)]
        squares = centre**2 + spread**2
        return {
            "mae": float(np.dot(weight, np.abs(grid))),
            "rmse": float(np.sqrt(squares)),
            "r2": 1.0 - squares / 4.0,
            "bias": centre,
            "median_absolute_error": float(middle),
        }


class TwoClasses(Law):
    """Two classes and one normal score."""

    name = "two classes"
    weighted = False
    share = 0.3

    def pair(self, generator: np.random.Generator, rows: int) -> tuple[Answers, Answers]:
        """Two models whose scores have a correlation of 0.5 within each class."""
        positive = generator.random(rows) < self.share
        one, two = generator.normal(size=(2, rows))
        scores = 1.3 * positive + one, 1.0 * positive + 0.5 * one + np.sqrt(0.75) * two
        weights = generator.exponential(size=rows) * (1.0 + positive) if self.weighted else None
        own, rival = (self._answers(positive, each, weights) for each in scores)
        return own, rival

    def _answers(self, positive: Array, scores: Array, weights: Array | None) -> Answers:
        chance = _logistic(scores)
        both = np.column_stack([1.0 - chance, chance])
        return Answers(positive.astype(np.intp), (chance > 0.5).astype(np.intp), both, 2, 2, weights)

    def exact(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Integrals over the score; weights of 1 + y change the share of the positive class."""
        share = 2.0 * self.share / (1.0 + self.share) if self.weighted else self.share
        return self._of(1.3, share), self._of(1.0, share)

    def _of(self, apart: float, share: float) -> Mapping[str, float]:
        grid = np.linspace(-9.0, 11.0, 400_001)
        step = grid[1] - grid[0]
        ones = share * np.exp(-((grid - apart) ** 2) / 2.0) * step / np.sqrt(2.0 * np.pi)
        others = (1.0 - share) * np.exp(-(grid**2) / 2.0) * step / np.sqrt(2.0 * np.pi)
        chance = _logistic(grid)
        taken = chance > 0.5
        hit, false = float(ones[taken].sum()), float(others[taken].sum())
        missed, right = share - hit, 1.0 - share - false
        above, all_above = (np.cumsum(each[::-1])[::-1] - each / 2.0 for each in (ones, ones + others))
        return {
            "log_loss": float(-np.dot(ones, np.log(chance)) - np.dot(others, np.log1p(-chance))),
            "accuracy": hit + right,
            "balanced_accuracy": (hit / share + right / (1.0 - share)) / 2.0,
            "f1": hit / (2.0 * hit + false + missed) + right / (2.0 * right + false + missed),
            "brier": float(np.dot(ones, (1.0 - chance) ** 2) + np.dot(others, chance**2)),
            "roc_auc": float(np.dot(others, above)) / share / (1.0 - share),
            "average_precision": float(np.dot(ones, above / all_above)) / share,
            "precision": hit / (hit + false),
            "recall": hit / share,
            "false_positive_rate": false / (1.0 - share),
            "selection_rate": hit + false,
            "mcc": (hit * right - false * missed)
            / np.sqrt((hit + false) * (hit + missed) * (right + false) * (right + missed)),
            "bias": float(np.dot(ones + others, chance)) - share,
        }


class Weighted(TwoClasses):
    """Two classes with weights that know the class."""

    name = "weighted"
    weighted = True


class ThreeClasses(Law):
    """Three classes in the plane."""

    name = "three classes"

    def pair(self, generator: np.random.Generator, rows: int) -> tuple[Answers, Answers]:
        """The best model, and one that hardly looks at the second direction."""
        actual = generator.choice(3, size=rows, p=_SHARES)
        points = _PEAKS[actual] + generator.normal(size=(rows, 2))
        own, rival = (self._answers(actual, _three(points, narrow)) for narrow in (1.0, 0.3))
        return own, rival

    def _answers(self, actual: Array, chances: Array) -> Answers:
        return Answers(actual, np.argmax(chances, axis=1), chances, 3, 3)

    def exact(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Sums over a grid of the plane."""
        axis = np.linspace(-6.0, 8.0, 1401)
        points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        near = np.exp(-((points[:, None, :] - _PEAKS) ** 2).sum(axis=2) / 2.0) * _SHARES
        near /= near.sum()
        own, rival = (self._of(near, _three(points, narrow)) for narrow in (1.0, 0.3))
        return own, rival

    def _of(self, near: Array, chances: Array) -> Mapping[str, float]:
        said = np.argmax(chances, axis=1)
        hits = np.array([near[said == code, code].sum() for code in range(3)])
        answered = np.array([near[said == code].sum() for code in range(3)])
        right = 1.0 - 2.0 * chances + np.sum(chances**2, axis=1, keepdims=True)
        return {
            "log_loss": float(-np.sum(near * np.log(chances))),
            "accuracy": float(hits.sum()),
            "balanced_accuracy": float(np.mean(hits / _SHARES)),
            "f1": float(np.mean(2.0 * hits / (_SHARES + answered))),
            "brier": float(np.sum(near * right)),
            "roc_auc": float(np.mean([_area(chances[:, code], near, code) for code in range(3)])),
        }


def _area(scores: Array, near: Array, code: int) -> float:
    ranks = np.argsort(scores)
    ones = near[ranks, code]
    others = near[ranks].sum(axis=1) - ones
    return float(np.dot(ones, np.cumsum(others) - others / 2.0) / ones.sum() / others.sum())


def _three(points: Array, narrow: float) -> Array:
    scale = np.array([1.0, narrow])
    near = np.exp(-(((points[:, None, :] - _PEAKS) * scale) ** 2).sum(axis=2) / 2.0) * _SHARES
    return np.asarray(near / near.sum(axis=1, keepdims=True))


def _logistic(scores: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(1.6 - 1.5 * scores)))


LAWS: Mapping[str, Law] = {law.name: law for law in (Regression(), TwoClasses(), Weighted(), ThreeClasses())}


def missed(found: list[dict[str, Any]]) -> list[str]:
    """The metrics whose intervals hold the truth less often than 94 % or more often than 96 %."""
    return [str(each["metric"]) for each in found if not 0.94 <= each["coverage"] <= 0.96]


if __name__ == "__main__":
    for each in coverage():
        print(f"{each['metric']:48} {each['coverage']:.4f}  (n = {each['rows']})")
