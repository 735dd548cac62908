"""A small HTTP client for the server's native protocol, on the standard library alone."""

from __future__ import annotations

import http.client
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from fullcircle.errors import ModelNotServed, RequestInvalid, ServerBusy, ServerFailed
from fullcircle.types.contract import Problem, Status, Value, Verdict
from fullcircle.types.prediction import Outcome, Prediction

ROWS_PER_REQUEST = 1000
T = TypeVar("T")


class _Row(msgspec.Struct):
    id: str
    prediction: Value
    verdict: Status
    problems: tuple[Problem, ...] = ()
    probabilities: dict[str, float] | None = None


class _Predictions(msgspec.Struct):
    model: str
    version: int
    predictions: list[_Row]


class _Label(msgspec.Struct):
    id: str
    status: str
    text: str = ""


class _Labels(msgspec.Struct):
    outcomes: list[_Label]


class Served(msgspec.Struct, frozen=True):
    """One model as the server tells of it: ``version`` is None while none answers, ``problem`` why a newer is not."""

    name: str
    version: int | None = None
    bundle: str | None = None
    problem: dict[str, Any] | None = None


class _Models(msgspec.Struct):
    models: list[Served]


class _Ready(msgspec.Struct):
    ready: bool


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""
    received: str | None = None
    allowed: str | None = None
    next: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


def predict(
    url: str, model: str, rows: Sequence[Mapping[str, Any]], *, timeout: float = 30.0
) -> tuple[Prediction, ...]:
    """One prediction for each row, in order, with its id; rejected rows included. Asks in requests of 1000 rows.

    NaN is sent as missing. Raises RequestInvalid for infinity or a request the server refuses, ModelNotServed,
    ServerBusy (503), or ServerFailed where nothing that speaks the protocol answers within ``timeout`` seconds.
    """
    found: list[Prediction] = []
    path = "/predict/" + quote(model, safe="")
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        part = rows[start : start + ROWS_PER_REQUEST]
        body = _encode({"rows": [{name: _plain(name, value) for name, value in row.items()} for row in part]})
        answer = _ask(url, "POST", path, body, timeout, _Predictions)
        if len(answer.predictions) != len(part):
            raise _not_ours(url, f"{len(answer.predictions)} predictions for {len(part)} rows")
        found.extend(_prediction(answer, row) for row in answer.predictions)
    return tuple(found)


def outcomes(url: str, model: str, found: Sequence[Outcome], *, timeout: float = 30.0) -> tuple[tuple[str, str], ...]:
    """Send labels that came late. Returns (prediction id, "accepted" | "unknown" | "rejected") for each, in order.

    Raises as ``predict`` does.
    """
    told: list[tuple[str, str]] = []
    for start in range(0, len(found), ROWS_PER_REQUEST):
        part = found[start : start + ROWS_PER_REQUEST]
        pairs = [{"id": one.prediction_id, "value": _plain("value", one.value)} for one in part]
        answer = _ask(url, "POST", "/outcomes", _encode({"model": model, "outcomes": pairs}), timeout, _Labels)
        told.extend((one.id, one.status) for one in answer.outcomes)
    return tuple(told)


def models(url: str, *, timeout: float = 5.0) -> tuple[Served, ...]:
    """What the server serves. Raises as ``predict`` does."""
    return tuple(_ask(url, "GET", "/models", None, timeout, _Models).models)


def ready(url: str, *, timeout: float = 5.0) -> bool:
    """Whether all models that are wanted answer there. Never raises for a server that is not there."""
    return why_not_ready(url, timeout=timeout) == ""


def why_not_ready(url: str, *, timeout: float = 5.0) -> str:
    """Why the server is not ready, in its own words where it answers; "" when it is ready."""
    try:
        _ask(url, "GET", "/health/ready", None, timeout, _Ready)
    except (ServerBusy, ServerFailed, RequestInvalid, ModelNotServed) as error:
        return error.what if error.received is None else f"{error.what} ({error.received})"
    return ""


def _prediction(answer: _Predictions, row: _Row) -> Prediction:
    return Prediction(
        value=row.prediction,
        verdict=Verdict(status=row.verdict, problems=row.problems),
        probabilities=row.probabilities,
        id=row.id,
        model=answer.model,
        version=answer.version,
    )


def _plain(name: str, value: Any) -> Any:
    """The value as JSON can carry it; numpy's scalars become Python's."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and math.isinf(value):
        raise RequestInvalid(
            "a value is infinite, which JSON cannot carry",
            received=f"column {name!r}",
            allowed="finite numbers, and NaN or None for missing",
            next_step="mend the row",
        )
    return value


def _encode(document: object) -> bytes:
    try:
        return msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestInvalid(
            f"a row cannot be written as JSON: {error}",
            allowed="numbers, strings, booleans and None",
            next_step="mend the row",
        ) from error


def _ask(url: str, method: str, path: str, body: bytes | None, timeout: float, kind: type[T]) -> T:
    status, content = _send(url, method, path, body, timeout)
    try:
        if status >= 400:
            refused = msgspec.json.decode(content, type=_Refusal).error
            if status != 422 or kind not in (_Predictions, _Labels):
                raise _refused(status, refused)
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _not_ours(url, f"status {status}") from error


def _send(url: str, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
    try:
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port)
    except ValueError as error:
        raise _no_url(url) from error
    if parts.scheme not in ("http", "https") or not place[0]:
        raise _no_url(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(*place, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise ServerFailed(
            f"nothing answers there: {error or type(error).__name__}",
            received=url,
            next_step="check that the server runs: fullcircle status",
        ) from error
    finally:
        connection.close()


def _refused(status: int, error: _Error) -> Exception:
    said: dict[str, Any] = {"received": error.received, "allowed": error.allowed, "next_step": error.next}
    if status == 503:
        return ServerBusy(error.message, **said)
    if error.code == ModelNotServed.code:
        return ModelNotServed(error.message, **said)
    return RequestInvalid(error.message, status=status, **said)


def _not_ours(url: str, received: str) -> ServerFailed:
    return ServerFailed(
        "what answers there does not speak the protocol", received=f"{url}: {received}", next_step="check the address"
    )


def _no_url(url: str) -> RequestInvalid:
    return RequestInvalid(
        "this is not the address of a server",
        received=repr(url),
        allowed="http://HOST:PORT",
        next_step="see fullcircle status",
    )
