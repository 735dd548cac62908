"""Whether two answers are the same: bit for bit, or as near as a model's arithmetic promises."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Contract
from fullcircle.types.prediction import Prediction

TOLERANCE = 1e-9
"""Relative. A matrix product of BLAS may round a row differently among other rows, but not by this much."""
SINGLE = 1e-5
"""Relative, of a model that computes in single precision: a sum of some hundred numbers with seven digits each."""

# Each of these answers a row by comparisons and sums in a fixed order, whatever stands beside it.
_EXACT = (
    "sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient_boosting", "sklearn.tree",
    "sklearn.pipeline", "sklearn.compose._column_transformer", "sklearn.impute._base", "sklearn.preprocessing",
    "sklearn.dummy",
)  # fmt: skip


def same_bits(a: Any, b: Any) -> bool:
    """Equal in type and bits; mappings key by key."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_bits(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return bool(a == b)


def apart(a: Prediction, b: Prediction, scale: float) -> float:
    """How far two answers are apart: 0.0 for the same bits, infinity for another kind of answer or class.

    The largest difference of value and probabilities, relative to the larger of the two and ``scale`` (the size of
    usual answers; probabilities are taken as they are). Two classes count as equal where their probabilities are.
    """
    if same_bits(a.value, b.value) and same_bits(a.probabilities, b.probabilities):
        return 0.0
    gap = 0.0
    if isinstance(a.value, float) and isinstance(b.value, float) and a.probabilities is None:
        size = max(abs(a.value), abs(b.value), scale)
        gap = max(abs(a.value - b.value) / size, math.ulp(0.0)) if size else math.ulp(0.0)
        return gap if math.isfinite(gap) else math.inf
    if a.probabilities is None or b.probabilities is None or a.probabilities.keys() != b.probabilities.keys():
        return math.inf
    gap = max(abs(a.probabilities[name] - b.probabilities[name]) for name in a.probabilities)
    if not same_bits(a.value, b.value):
        # The two classes are a tie that rounding decides, or they are two answers.
        gap = max(gap, abs(a.probabilities.get(str(a.value), 1.0) - a.probabilities.get(str(b.value), -1.0)))
    return gap if math.isfinite(gap) else math.inf


def scale_of(contract: Contract, found: Sequence[Prediction]) -> float:
    """The size of usual answers: the largest of these, 1 for classes."""
    if contract.task == "classification":
        return 1.0
    numbers = [abs(one.value) for one in found if isinstance(one.value, float) and math.isfinite(one.value)]
    return max(numbers, default=1.0)


def limit_of(scorer: Scorer) -> float:
    """How far two answers to the same row may be apart: 0.0 (the same bits), ``TOLERANCE`` or ``SINGLE``.

    A compiled form answers without the fitted model: trees in numpy are exact, products are not.
    """
    if scorer.model is None:
        return 0.0 if scorer.form.name == "trees" else TOLERANCE
    return allowed(scorer.model)


def allowed(model: Any) -> float:
    """How far two answers of a model to the same row may be apart: 0.0 for trees, else ``TOLERANCE``.

    Trees whose threads add up in any order, and models that are not known, are among the others. A model in ONNX that
    computes in single precision has ``SINGLE``.
    """
    if getattr(model, "single", False) is True:
        return SINGLE
    parts = list(_parts(model))
    exact = bool(parts) and all(type(part).__module__.startswith(_EXACT) for part in parts)
    if exact and all(getattr(part, "n_jobs", None) in (None, 1) for part in parts):
        return 0.0
    return TOLERANCE


def _parts(model: Any) -> Iterator[Any]:
    """Everything in a model that predicts or transforms."""
    seen: set[int] = set()
    left = [model]
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | type | None):
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            left.extend(part.values())
        elif isinstance(part, list | tuple):
            left.extend(part)
        elif type(part).__module__ == "numpy":
            objects = getattr(getattr(part, "dtype", None), "kind", "") == "O"
            left.extend(part.ravel().tolist() if objects else ())
        else:
            if hasattr(part, "predict") or hasattr(part, "transform"):
                yield part
            left.extend(getattr(part, "__dict__", {}).values())
