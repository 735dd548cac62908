"""What a model is wrong by on one row, between 0 and 1: as it turned out, and as the model itself expects it.

Classes with probabilities p: the halved Brier score, (sum of p² + 1) / 2 - p of what happened (Brier 1950). Without
probabilities: 1 for a wrong class. Numbers: the absolute error over a scale, cut at 1. What is expected takes the
probabilities at their word, after a calibration that was learned on the reference (confidence-based estimation, as
NannyML's CBPE): it is right as long as the same answer means the same as it did there, which nobody can see without
labels. docs/outcomes.md has the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.types.contract import Contract, Value
from fullcircle.types.monitoring import Loss

Array = NDArray[Any]
Values = ArrayLike | Sequence[Value]
FEWEST_ROWS = 100
"""With fewer labelled rows of the reference nothing is learned from them."""
SCALE_SHARE = 0.995
"""The share of the reference's absolute errors that are at most the scale."""
_KNOTS = 40
_ROWS_A_KNOT = 25
_POWERS = {"absolute": 1, "squared": 2, "fourth": 4}


def fit(contract: Contract, actual: Values, predicted: Values, probabilities: ArrayLike | None) -> Loss:
    """The loss of a model, learned on the n reference rows.

    ``actual`` and ``predicted`` are (n,), None or NaN where there is none; ``probabilities`` n x k in the order of
    the contract's classes, or None. Probabilities are calibrated also where they look honest: to ask first whether
    that makes the Brier score better left a bias of up to three standard errors in, which the bands did not have.
    The knots have about equally many reference rows each.
    """
    if contract.task == "regression":
        return _of_numbers(contract, _numbers(actual), _numbers(predicted))
    if probabilities is None:
        return Loss(name="error")
    shares = np.asarray(probabilities, dtype=float)
    codes = codes_of(contract, actual)
    told = np.isfinite(shares).all(axis=1) & (codes >= -1)
    return Loss(name="brier", calibration=_calibrations(contract, shares[told], codes[told]))


def realised(
    loss: Loss, contract: Contract, predicted: Values, probabilities: ArrayLike | None, actual: Values
) -> Array:
    """The loss on each row (n,) whose label is known, in [0, 1]; NaN where something is missing.

    A class that the model does not know had no probability: the answer was wrong.
    """
    if loss.name == "absolute":
        return np.asarray(np.minimum(1.0, np.abs(_numbers(actual) - _numbers(predicted)) / loss.scale))
    codes = codes_of(contract, actual)
    if loss.name == "error":
        answers = codes_of(contract, predicted)
        return np.where((codes < -1) | (answers < -1), np.nan, (codes != answers) | (codes < 0)).astype(float)
    if probabilities is None or not len(codes):
        return np.full(len(codes), np.nan)
    shares = np.asarray(probabilities, dtype=float)
    given = np.where(codes >= 0, shares[np.arange(len(codes)), np.maximum(codes, 0)], 0.0)
    found = (np.einsum("ij,ij->i", shares, shares) + 1.0) / 2.0 - given
    return np.where(codes >= -1, np.clip(found, 0.0, 1.0), np.nan)


def expected(loss: Loss, contract: Contract, predicted: Values, probabilities: ArrayLike | None) -> Array:
    """The loss that the model itself expects on each row (n,), in [0, 1]; NaN where it cannot tell.

    Of a number it is the mean loss that reference rows with about this prediction had.
    """
    if loss.name == "absolute":
        answers = _numbers(predicted)
        if "loss" not in loss.calibration:
            return np.full(len(answers), np.nan)
        return np.clip(curve(loss, "loss", answers), 0.0, 1.0)
    if loss.name == "error" or probabilities is None:
        return np.full(len(np.asarray(predicted, dtype=object)), np.nan)
    shares = np.asarray(probabilities, dtype=float)
    if not len(shares):
        return np.zeros(0)
    honest = calibrated(loss, contract, shares)
    squares = np.einsum("ij,ij->i", shares, shares)
    return np.asarray(np.clip((squares + 1.0) / 2.0 - np.einsum("ij,ij->i", honest, shares), 0.0, 1.0))


def calibrated(loss: Loss, contract: Contract, probabilities: ArrayLike) -> Array:
    """The probabilities (n x k) as honest as the reference makes them; rows add up to 1."""
    shares = np.asarray(probabilities, dtype=float)
    if not loss.calibration or shares.ndim != 2:
        return shares
    names = [str(label) for label in contract.classes]
    if len(names) == 2:
        second = curve(loss, names[1], shares[:, 1])
        return np.column_stack([1.0 - second, second])
    found = np.column_stack(
        [
            curve(loss, name, shares[:, place]) if name in loss.calibration else shares[:, place]
            for place, name in enumerate(names)
        ]
    )
    total = found.sum(axis=1, keepdims=True)
    # Where every class got nothing, the model's own word is all there is.
    return np.where(total > 0.0, found / np.where(total > 0.0, total, 1.0), shares)


def curve(loss: Loss, name: str, values: ArrayLike) -> Array:
    """The value of a calibration at each place: straight between its knots, level beyond them, NaN at NaN."""
    knots = np.asarray(loss.calibration[name], dtype=float)
    places = np.asarray(values, dtype=float)
    return np.where(np.isnan(places), np.nan, np.interp(places, knots[:, 0], knots[:, 1]))


def codes_of(contract: Contract, labels: Values) -> Array:
    """Positions in the contract's classes (n,); -1 for a class that is not among them, -2 where there is no label."""
    place = {label: position for position, label in enumerate(contract.classes)}
    values = labels if isinstance(labels, list | tuple) else np.asarray(labels).tolist()
    return np.array(
        [-2 if value is None or value != value else place.get(value, -1) for value in values], dtype=np.int64
    )


def _of_numbers(contract: Contract, actual: Array, predicted: Array) -> Loss:
    known = np.isfinite(actual) & np.isfinite(predicted)
    errors, answers = np.abs(actual - predicted)[known], predicted[known]
    if not len(errors):
        return Loss(name="absolute")
    scale = float(np.quantile(errors, SCALE_SHARE)) or float(errors.max()) or 1.0
    if len(errors) < FEWEST_ROWS:
        return Loss(name="absolute", scale=scale)
    measured = {name: errors**power for name, power in _POWERS.items()}
    measured["loss"] = np.minimum(1.0, errors / scale)
    knots = {name: _knots(answers, values, rising=False) for name, values in measured.items()}
    return Loss(name="absolute", scale=scale, calibration=knots)


def _calibrations(contract: Contract, shares: Array, codes: Array) -> dict[str, tuple[tuple[float, float], ...]]:
    """The knots of each class, of two classes those of the second. Also of a model that looks honest: see ``fit``."""
    if len(codes) < FEWEST_ROWS:
        return {}
    places = (1,) if len(contract.classes) == 2 else range(len(contract.classes))
    return {
        str(contract.classes[place]): _knots(shares[:, place], (codes == place).astype(float), rising=True)
        for place in places
    }


def _knots(places: Array, values: Array, *, rising: bool) -> tuple[tuple[float, float], ...]:
    """Means of place and value in up to 40 bins of about equally many rows; equal places stay together.

    ``rising`` makes the values isotonic: neighbours that fall are pooled (Ayer et al. 1955).
    """
    order = np.argsort(places, kind="stable")
    sorted_places, sorted_values = places[order], values[order]
    bins = max(1, min(_KNOTS, len(places) // _ROWS_A_KNOT))
    cuts = sorted_places[(np.arange(1, bins) * len(places)) // bins]
    of_row = np.searchsorted(np.unique(cuts), sorted_places, side="right")
    rows = np.bincount(of_row)
    kept = rows > 0
    means = [np.bincount(of_row, each)[kept] / rows[kept] for each in (sorted_places, sorted_values)]
    heights = _isotonic(means[1], rows[kept].astype(float)) if rising else means[1]
    return tuple(zip(means[0].tolist(), heights.tolist(), strict=True))


def _isotonic(values: Array, weights: Array) -> Array:
    """The nearest rising sequence in least squares, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (first, one, few), (second, other, more) = blocks[-2:]
            blocks[-2:] = [((first * one + second * other) / (one + other), one + other, few + more)]
    return np.repeat([value for value, _, _ in blocks], [count for _, _, count in blocks])


def _numbers(values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return np.array([np.nan if value is None else value for value in array.tolist()], dtype=float)
    return array.astype(float)
