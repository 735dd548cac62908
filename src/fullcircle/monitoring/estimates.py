"""Quality without labels: what the metrics probably are, judged by the model's own calibrated probabilities.

Confidence-based performance estimation (as NannyML's CBPE): with q the calibrated chance of the positive class, the
labels of n rows are independent Bernoulli(q) draws, so that true and false positives, the rank sum behind the area
under the curve, Brier score and log loss are sums of independent terms with known mean and covariance (a
Poisson-binomial law for the counts), near normal for the 100 rows that are asked for. The metric of 4000 draws of
these sums gives the band. It is widened by the noise of the calibration, which was learned on m reference rows: the
same variance again, times n / m, and more where the window's rows lie where the reference had few.

A band therefore says where the metric of these very rows will be found once their labels are there, as long as the
same answer means what it meant on the reference. It says nothing about a world that changed its mind (concept
drift). For numbers it is weaker still: the mean error of reference rows with such a prediction, so it sees only that
other predictions are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.monitoring import losses
from fullcircle.types.contract import Contract
from fullcircle.types.monitoring import Loss
from fullcircle.types.report import Better, Measure

Array = NDArray[Any]
FEWEST_ROWS = 100
"""With fewer answered rows nothing is estimated."""
LEVEL = 0.95
PREFIX = "estimated_"
METHOD = "estimated without labels: 95 % band for these rows, if the same answer means what it did on the reference"
_DRAWS = 4000
_SEED = 7
_LEAST = 1e-12
Earn = Callable[[Array, Array], Array]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """n answers of a window: ``predicted`` (n,), ``probabilities`` n x k in the order of the classes, or None."""

    predicted: Array
    probabilities: Array | None


@dataclass(frozen=True)
class _Sums:
    """Sums over rows that depend on the labels: means and covariance. ``of`` turns draws x sums into values."""

    mean: Array
    covariance: Array
    of: dict[str, Callable[[Array], Array]]


def estimate(
    loss: Loss,
    contract: Contract,
    answered: Answered,
    *,
    reference_rows: int,
    earn: Earn | None = None,
    unit: str = "",
    currency: str = "",
) -> tuple[Measure, ...]:
    """The metrics that can be told without labels, as measures ``estimated_NAME`` with bands; none with few rows.

    ``reference_rows`` is how many labelled rows the loss was learned on. ``earn(actual, predicted)`` gives n amounts:
    then the value a row is estimated too (classes only). ``unit`` is the label's, ``currency`` that of the amounts.
    """
    if loss.name == "absolute":
        return _of_numbers(loss, answered, reference_rows, unit)
    if loss.name == "error" or answered.probabilities is None:
        return ()
    told = np.isfinite(answered.probabilities).all(axis=1)
    shares, predicted = answered.probabilities[told], answered.predicted[told]
    if len(shares) < FEWEST_ROWS:
        return ()
    honest = losses.calibrated(loss, contract, shares)
    wider = 1.0 + _strain(loss, contract, shares) * len(shares) / max(1, reference_rows)
    linear = _linear(contract, shares, predicted, earn)
    sums = [_of_means(honest, linear)]
    if len(contract.classes) == 2:
        sums.append(_of_two(honest[:, 1], shares[:, 1], losses.codes_of(contract, predicted) == 1))
    found: dict[str, Measure] = {}
    for each in sums:
        for name, (value, low, high) in _bands(each, wider).items():
            found[name] = _measure(name, value, low, high, len(shares), unit, currency)
    return tuple(found.values())


def brackets(estimated: Measure, realised: Measure) -> bool | None:
    """Whether the realised value was within the band of its estimate; None where one of them cannot be told."""
    if estimated.low is None or estimated.high is None or realised.value is None:
        return None
    return estimated.low <= realised.value <= estimated.high


def _linear(contract: Contract, shares: Array, predicted: Array, earn: Earn | None) -> dict[str, Array]:
    """What each row would score for each class that may turn out (n x k), by metric."""
    rows, classes = shares.shape
    answers = losses.codes_of(contract, predicted)
    squares = np.einsum("ij,ij->i", shares, shares)[:, None]
    brier = squares + 1.0 - 2.0 * shares
    found = {
        "accuracy": (answers[:, None] == np.arange(classes)[None, :]).astype(float),
        "log_loss": -np.log(np.clip(shares, np.finfo(float).eps, 1.0)),
        "brier": brier / 2.0 if classes == 2 else brier,
    }
    if earn is not None:
        kind = predicted.dtype
        paid = [earn(np.full(rows, label, dtype=kind), predicted) for label in contract.classes]
        found["value_per_row"] = np.column_stack(paid).astype(float)
    return found


def _of_means(honest: Array, linear: dict[str, Array]) -> _Sums:
    """Means over rows: each is one sum. They are not needed together, so their covariance is left out."""
    rows = len(honest)
    means = [np.einsum("ij,ij->i", honest, scores) for scores in linear.values()]
    spread = [
        np.einsum("ij,ij->i", honest, (scores - mean[:, None]) ** 2)
        for scores, mean in zip(linear.values(), means, strict=True)
    ]

    def reader(place: int) -> Callable[[Array], Array]:
        return lambda draws: np.asarray(draws[:, place] / rows)

    return _Sums(
        np.array([mean.sum() for mean in means]),
        np.diag([each.sum() for each in spread]),
        {name: reader(place) for place, name in enumerate(linear)},
    )


def _of_two(chance: Array, said: Array, positive: Array) -> _Sums:
    """True positives, positives and the rank sum of positives, and what is made of them. ``chance`` is honest."""
    rows, answered = len(chance), float(np.count_nonzero(positive))
    order = np.argsort(said, kind="stable")
    _, place, times = np.unique(said[order], return_inverse=True, return_counts=True)
    ends = np.cumsum(times)
    ranks = np.empty(rows)
    ranks[order] = (ends - (times - 1) / 2.0)[place]
    # About their mean, so that the covariance of large sums keeps its digits.
    terms = np.column_stack([positive.astype(float), np.ones(rows), (ranks - ranks.mean()) / rows])
    spread = chance * (1.0 - chance)

    def parts(draws: Array) -> tuple[Array, Array]:
        positives = np.clip(draws[:, 1], 0.0, rows)
        hits = np.clip(draws[:, 0], np.maximum(0.0, positives - (rows - answered)), np.minimum(answered, positives))
        return hits, positives

    def f1(draws: Array) -> Array:
        hits, positives = parts(draws)
        others = rows - answered - positives + hits
        one = _ratio(2.0 * hits, answered + positives)
        return (one + _ratio(2.0 * others, 2.0 * rows - answered - positives)) / 2.0

    def area(draws: Array) -> Array:
        positives = draws[:, 1]
        # The rank sum less n1 (n1 + 1) / 2, over n1 n0 (Mann and Whitney); ranks were taken about (n + 1) / 2.
        above = draws[:, 2] * rows + positives * (rows - positives) / 2.0
        return np.clip(_ratio(above, positives * (rows - positives)), 0.0, 1.0)

    return _Sums(
        terms.T @ chance,
        (terms * spread[:, None]).T @ terms,
        {
            "precision": lambda draws: _ratio(parts(draws)[0], np.full(len(draws), answered)),
            "recall": lambda draws: _ratio(*parts(draws)),
            "f1": f1,
            "roc_auc": area,
        },
    )


def _bands(sums: _Sums, wider: float) -> dict[str, tuple[float, float, float]]:
    """Each metric at the mean of its sums, and the central 95 % of its values over normal draws of them."""
    values, vectors = np.linalg.eigh(sums.covariance * wider)
    noise = np.random.default_rng(_SEED).standard_normal((_DRAWS, len(sums.mean)))
    draws = sums.mean + (noise * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    found = {}
    for name, of in sums.of.items():
        value = float(of(sums.mean[None, :])[0])
        drawn = of(draws)
        if math.isfinite(value) and np.isfinite(drawn).all():
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            found[name] = (value, min(low, value), max(high, value))
    return found


def _of_numbers(loss: Loss, answered: Answered, reference_rows: int, unit: str) -> tuple[Measure, ...]:
    predicted = np.array([math.nan if each is None else each for each in answered.predicted.tolist()], dtype=float)
    predicted = predicted[np.isfinite(predicted)]
    rows = len(predicted)
    if "absolute" not in loss.calibration or rows < FEWEST_ROWS:
        return ()
    absolute, squared, fourth = (losses.curve(loss, name, predicted) for name in ("absolute", "squared", "fourth"))
    wider = 1.0 + _crowding(loss, "absolute", predicted) * rows / max(1, reference_rows)
    mae, square = float(absolute.mean()), float(squared.mean())
    error = math.sqrt(max(0.0, float(np.mean(squared - absolute**2))) * wider / rows)
    wobble = math.sqrt(max(0.0, float(np.mean(fourth - squared**2))) * wider / rows)
    bounds = [max(0.0, square + side * 1.96 * wobble) for side in (-1.0, 1.0)]
    return (
        _measure("mae", mae, max(0.0, mae - 1.96 * error), mae + 1.96 * error, rows, unit, ""),
        _measure("rmse", math.sqrt(square), math.sqrt(bounds[0]), math.sqrt(bounds[1]), rows, unit, ""),
    )


def _strain(loss: Loss, contract: Contract, shares: Array) -> float:
    """How much thinner the reference is where these rows lie than where its own do; 1 where they lie alike."""
    names = [str(label) for label in contract.classes]
    found = [_crowding(loss, name, shares[:, place]) for place, name in enumerate(names) if name in loss.calibration]
    return max(found, default=1.0)


def _crowding(loss: Loss, name: str, places: Array) -> float:
    """Sum over bins of (window share)² / (reference share): knots stand for equally many reference rows each."""
    knots = np.asarray(loss.calibration[name], dtype=float)[:, 0]
    of_row = np.searchsorted((knots[1:] + knots[:-1]) / 2.0, places)
    share = np.bincount(of_row, minlength=len(knots)) / max(1, len(places))
    return max(1.0, float(len(knots) * np.sum(share**2)))


def _ratio(above: Array, below: Array) -> Array:
    return np.where(below > _LEAST, above / np.where(below > _LEAST, below, 1.0), np.nan)


_BETTER: dict[str, Better] = dict.fromkeys(("log_loss", "brier", "mae", "rmse"), "lower")
_OWN_UNIT = ("mae", "rmse")


def _measure(name: str, value: float, low: float, high: float, rows: int, unit: str, currency: str) -> Measure:
    units = {"value_per_row": f"{currency} a row".strip(), "accuracy": "share"}
    return Measure(
        name=PREFIX + name,
        value=value,
        low=low,
        high=high,
        n=rows,
        unit=unit if name in _OWN_UNIT else units.get(name, ""),
        method=METHOD,
        better=_BETTER.get(name, "higher"),
    )


def names(measures: Sequence[Measure]) -> tuple[str, ...]:
    """The metrics among measures that are estimates, without the prefix."""
    return tuple(each.name.removeprefix(PREFIX) for each in measures if each.name.startswith(PREFIX))
