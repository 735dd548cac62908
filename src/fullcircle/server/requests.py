"""The documents of the native protocol: read strictly, written from structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fullcircle.errors import FullcircleError, RequestInvalid
from fullcircle.runtimes.values import is_quantity
from fullcircle.types.contract import Contract, Problem, Value
from fullcircle.types.durations import duration
from fullcircle.types.prediction import Outcome

_ROWS = '{"rows": [{"COLUMN": VALUE, ...}, ...]}, or {"columns": {"COLUMN": [VALUE, ...], ...}}'
_OUTCOMES = (
    '{"model": NAME, "outcomes": [{"id": PREDICTION_ID, "value": VALUE}, '
    '{"key": {COLUMN: VALUE, ...}, "at": TIME, "within": "30d", "value": VALUE}, ...]}'
)


class Row(msgspec.Struct, omit_defaults=True):
    """The answer for one row. ``answered_by`` is "previous" or "prior" where it is a fallback's."""

    id: str
    prediction: Value
    verdict: str
    problems: tuple[Problem, ...]
    probabilities: Mapping[str, float] | None = None
    answered_by: str = ""


class Label(msgspec.Struct, omit_defaults=True):
    """What became of one outcome: accepted, unknown (no such prediction), waiting or rejected; ``text`` says more."""

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
    if isinstance(document, dict) and document.keys() == {"columns"}:
        return _turned(document["columns"], limit)
    _only_keys(document, {"rows"}, _ROWS)
    return _objects(document["rows"], "rows", limit, _ROWS)


def _turned(columns: Any, limit: int) -> list[dict[str, Any]]:
    """Columns as rows."""
    lists = isinstance(columns, dict) and all(isinstance(values, list) for values in columns.values())
    counts = {len(values) for values in columns.values()} if lists else set()
    if len(counts) != 1 or counts == {0}:
        raise RequestInvalid(
            "columns is not an object of lists of one length",
            received=f"lists of {', '.join(map(str, sorted(counts)[:5]))} values" if counts else None,
            allowed=_ROWS,
            next_step="give each column as many values as there are rows, at least one",
        )
    (count,) = counts
    check_count(count, "rows", limit)
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def outcomes_of(document: Any, limit: int) -> tuple[str, list[Outcome]]:
    """The model's name and the outcomes of a request, by prediction id or by key and time; values as they came."""
    _only_keys(document, {"model", "outcomes"}, _OUTCOMES)
    if not isinstance(document["model"], str):
        raise RequestInvalid("model is not a name", allowed=_OUTCOMES, next_step="name the model")
    found = _objects(document["outcomes"], "outcomes", limit, _OUTCOMES)
    return document["model"], [_by_key(one) if "key" in one else _by_id(one) for one in found]


def _by_id(one: dict[str, Any]) -> Outcome:
    _only_keys(one, {"id", "value"}, _OUTCOMES)
    if not isinstance(one["id"], str):
        raise RequestInvalid("the id of an outcome is not a string", allowed=_OUTCOMES)
    return Outcome(prediction_id=one["id"], value=one["value"])


def _by_key(one: dict[str, Any]) -> Outcome:
    _only_keys({"within": "", **one}, {"key", "at", "within", "value"}, _OUTCOMES)
    key, at, within = one["key"], one["at"], one.get("within", "")
    plain = isinstance(key, dict) and all(isinstance(value, str | int | float | None) for value in key.values())
    if not plain or not isinstance(at, str) or not isinstance(within, str):
        raise RequestInvalid(
            "the key, at or within of an outcome has not the form that is expected", allowed=_OUTCOMES
        )
    if within:
        try:
            duration(within)
        except FullcircleError as error:
            raise RequestInvalid(
                "within is no span of time", received=within[:40], allowed='such as "30d"'
            ) from error
    return Outcome(value=one["value"], key=key, at=at, within=within)


def unfit(value: Any, contract: Contract) -> str:
    """Why a value cannot be a label of this model; "" when it can. Quotes no value."""
    if contract.task == "classification":
        fits = any(type(value) is type(known) and value == known for known in contract.classes)
        return "" if fits else "the value is not one of the model's classes"
    return "" if is_quantity(value) else "the value is not a finite number"


def labels(model: str, found: list[Label]) -> tuple[int, Labels]:
    """Status and body for outcomes: 422 when none was accepted, and none by key waits."""
    body = Labels(model=model, outcomes=found)
    if not any(one.status in ("accepted", "waiting") for one in found):
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
    check_count(len(found), name, limit)
    return found


def check_count(count: int, name: str, limit: int) -> None:
    """Refuse (413) more rows, or whatever ``name`` says, than one request may hold."""
    if count > limit:
        raise too_many(name, limit, received=f"{count:,}" if count < 10**18 else None)  # and no 4,000 digits


def too_many(name: str, limit: int, *, received: str | None = None) -> RequestInvalid:
    """What is said of more rows, or whatever ``name`` says, than one request may hold."""
    return RequestInvalid(
        f"there are too many {name} in one request",
        received=received,
        allowed=f"at most {limit:,}",
        next_step="send several requests, or score them as a batch",
        status=413,
    )
