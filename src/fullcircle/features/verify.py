"""Verify: what was served is looked up again on the training path, and every difference is told."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fullcircle.features.definitions import digest
from fullcircle.features.serving import logged
from fullcircle.features.store import Store
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.prediction import Prediction

CHUNK = 20_000  # predictions replayed at once
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FeatureCheck:
    """One feature: how many served values were compared, and how many differ from what training sees.

    ``missing`` were served as missing, null or expired and are there in training, ``extra`` the other way round; both
    are among the ``mismatches``. ``largest_difference`` is of numbers.
    """

    name: str
    compared: int = 0
    mismatches: int = 0
    missing: int = 0
    extra: int = 0
    largest_difference: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What replaying served vectors came to. ``predictions`` were served by ``definition``; ``examples`` are ids."""

    view: str
    definition: str
    since: str
    predictions: int
    features: tuple[FeatureCheck, ...]
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mismatches(self) -> int:
        """How many served values differ, over all features."""
        return sum(one.mismatches for one in self.features)


@dataclass
class _Count:
    compared: int = 0
    mismatches: int = 0
    missing: int = 0
    extra: int = 0
    largest: float = 0.0
    examples: list[str] = field(default_factory=list)


def verify(store: Store, spec: ViewSpec, predictions: Iterable[Prediction], *, since: str = "") -> Verified:
    """Replay logged predictions that were looked up by this definition through the training path, at their moments.

    Values are compared as they stand in the log: exactly. What a caller passed, and private features, which the log
    does not hold, are not compared.
    """
    definition = digest(spec)
    counts: dict[str, _Count] = defaultdict(_Count)
    total, others, chunk = 0, 0, []
    for prediction in predictions:
        lookup = prediction.lookup
        if lookup is None or lookup.get("view") != spec.name:
            continue
        if lookup.get("definition") != definition:
            others += 1
            continue
        chunk.append(prediction)
        total += 1
        if len(chunk) >= CHUNK:
            _replay(store, spec, chunk, counts)
            chunk = []
    _replay(store, spec, chunk, counts)
    checks = tuple(
        FeatureCheck(
            name=name,
            compared=counts[name].compared,
            mismatches=counts[name].mismatches,
            missing=counts[name].missing,
            extra=counts[name].extra,
            largest_difference=counts[name].largest,
        )
        for name in spec.order
    )
    examples = list(dict.fromkeys(one for count in counts.values() for one in count.examples))[:_SHOWN]
    return Verified(
        view=spec.name,
        definition=definition,
        since=since,
        predictions=total,
        features=checks,
        examples=tuple(examples),
        notes=_notes(checks, others),
    )


def _replay(store: Store, spec: ViewSpec, chunk: Sequence[Prediction], counts: Mapping[str, _Count]) -> None:
    if not chunk:
        return
    rows = [_asked(spec, prediction) for prediction in chunk]
    moments = [int((prediction.lookup or {})["at"]) for prediction in chunk]
    for prediction, vector in zip(chunk, store.historical(spec, rows, moments), strict=True):
        served = (prediction.lookup or {}).get("values", {})
        unknown = _not_logged(spec, prediction)
        for name, value in served.items():
            if name in vector.values and name not in unknown:
                _compare(counts[name], value, logged(vector.values[name]), prediction.id)


def _asked(spec: ViewSpec, prediction: Prediction) -> dict[str, Any]:
    """The row as it was asked: keys, what functions took of the request, and the features that the caller passed."""
    lookup, context = prediction.lookup or {}, prediction.context or {}
    keys = {name: context[name] for name in spec.key_columns if name in context}
    return {**keys, **lookup.get("request", {}), **lookup.get("passed", {})}


def _not_logged(spec: ViewSpec, prediction: Prediction) -> set[str]:
    """The on-demand features that took something which is not in the log."""
    asked = (prediction.lookup or {}).get("request", {})
    lacking = spec.request.keys() - asked.keys()
    found: set[str] = set()
    for function in spec.functions:
        if lacking.intersection(function.inputs) or found.intersection(function.inputs):
            found.add(function.name)
    return found


def _compare(count: _Count, served: Any, found: Any, number: str) -> None:
    count.compared += 1
    if type(served) is type(found) and served == found:
        return
    count.mismatches += 1
    count.missing += served is None
    count.extra += found is None
    if len(count.examples) < _SHOWN:
        count.examples.append(number)
    if isinstance(served, int | float) and isinstance(found, int | float):
        gap = abs(float(served) - float(found))
        count.largest = max(count.largest, gap if math.isfinite(gap) else math.inf)


def _notes(checks: Sequence[FeatureCheck], others: int) -> tuple[str, ...]:
    notes = []
    if others:
        notes.append(f"{others} predictions were looked up by other definitions of the view; they were not compared")
    if any(one.mismatches for one in checks):
        notes.append(
            "where rows are published later than they say they were available, training knows more than was served: "
            "publish sooner, or declare a delay on the table that covers it"
        )
    return tuple(notes)
