"""The documents of the native protocol: read strictly, written from structs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fullcircle.errors import FullcircleError, RequestInvalid
from fullcircle.runtimes.values import is_quantity
from fullcircle.types.contract import Contract, Problem, Value
from fullcircle.types.prediction import Prediction

_ROWS = '{"rows": [{"COLUMN": VALUE, ...}, ...]}'
_OUTCOMES = '{"model": NAME, "outcomes": [{"id": PREDICTION_ID, "value": VALUE}, ...]}'


class Row(msgspec.Struct, omit_defaults=True):
    """The answer for one row."""

    id: str
    prediction: Value
    verdict: str
    problems: tuple[Problem, ...]
    probabilities: Mapping[str, float] | None = None


class Predictions(msgspec.Struct, omit_defaults=True):
    """The answer for all rows of a request, by one version. ``error`` is set when every row was rejected."""

    model: str
    version: int
    predictions: list[Row]
    error: dict[str, str] | None = None


class Label(msgspec.Struct, omit_defaults=True):
    """What became of one outcome: accepted, unknown (no such prediction) or rejected (``text`` says why)."""

    id: str
    status: str
    text: str = ""


class Labels(msgspec.Struct, omit_defaults=True):
    """What became of all outcomes of a request. ``error`` is set when none was accepted."""

    model: str
    outcomes: list[Label]
    error: dict[str, str] | None = None


def rows_of(document: Any, limit: int) -> list[dict[str, Any]]:
    """The rows of a prediction request. What is in a row is judged by the contract, row by row."""
    _only_keys(document, {"rows"}, _ROWS)
    return _objects(document["rows"], "rows", limit, _ROWS)


def outcomes_of(document: Any, limit: int) -> tuple[str, list[tuple[str, Any]]]:
    """The model's name and the pairs (prediction id, value) of an outcomes request."""
    _only_keys(document, {"model", "outcomes"}, _OUTCOMES)
    if not isinstance(document["model"], str):
        raise RequestInvalid("model is not a name", allowed=_OUTCOMES, next_step="name the model")
    found = _objects(document["outcomes"], "outcomes", limit, _OUTCOMES)
    for one in found:
        _only_keys(one, {"id", "value"}, _OUTCOMES)
        if not isinstance(one["id"], str):
            raise RequestInvalid("the id of an outcome is not a string", allowed=_OUTCOMES)
    return document["model"], [(one["id"], one["value"]) for one in found]


def unfit(value: Any, contract: Contract) -> str:
    """Why a value cannot be a label of this model; "" when it can. Quotes no value."""
    if contract.task == "classification":
        fits = any(type(value) is type(known) and value == known for known in contract.classes)
        return "" if fits else "the value is not one of the model's classes"
    return "" if is_quantity(value) else "the value is not a finite number"


def predictions(model: str, version: int, found: Sequence[Prediction]) -> tuple[int, Predictions]:
    """Status and body for logged predictions: 422 when every row was rejected."""
    rows = [
        Row(
            id=one.id,
            prediction=one.value,
            verdict=one.verdict.status,
            problems=one.verdict.problems,
            probabilities=one.probabilities,
        )
        for one in found
    ]
    body = Predictions(model=model, version=version, predictions=rows)
    if all(row.verdict == "rejected" for row in rows):
        body.error = _error("every row was rejected: see the problems of each", 422)
        return 422, body
    return 200, body


def labels(model: str, found: list[Label]) -> tuple[int, Labels]:
    """Status and body for outcomes: 422 when none was accepted."""
    body = Labels(model=model, outcomes=found)
    if not any(one.status == "accepted" for one in found):
        body.error = _error("no outcome was accepted: see the status of each", 422)
        return 422, body
    return 200, body


def _error(text: str, status: int) -> dict[str, str]:
    error: FullcircleError = RequestInvalid(text, status=status)
    return error.as_dict()


def _only_keys(document: Any, keys: set[str], allowed: str) -> None:
    if not isinstance(document, dict) or document.keys() != keys:
        raise RequestInvalid(
            "the body has not the form that is expected", allowed=allowed, next_step="send this form"
        )


def _objects(found: Any, name: str, limit: int, allowed: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise RequestInvalid(f"{name} is not a list of at least one object", allowed=allowed)
    if len(found) > limit:
        raise RequestInvalid(
            f"there are too many {name} in one request",
            received=f"{len(found):,}",
            allowed=f"at most {limit:,}",
            next_step="send several requests, or score them as a batch",
            status=413,
        )
    return found
