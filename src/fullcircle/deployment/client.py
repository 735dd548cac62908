"""A small HTTP client for the server's native protocol, on the standard library alone."""

from __future__ import annotations

import hmac
import http.client
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from fullcircle.errors import (
    Forbidden,
    FullcircleError,
    ModelNotServed,
    RateLimited,
    RequestInvalid,
    ServerBusy,
    ServerFailed,
    Unauthorized,
)
from fullcircle.types.contract import Problem, Status, Value, Verdict
from fullcircle.types.prediction import Outcome, Prediction

ROWS_PER_REQUEST = 1000


@dataclass(frozen=True, kw_only=True)
class Door:
    """How to get in: the key that is sent, "" for none, and the file of the certificate that alone is trusted."""

    token: str = field(default="", repr=False)
    certificate: Path | None = None


OPEN = Door()
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


class Other(msgspec.Struct, frozen=True):
    """A version beside the champion: whether it is asked, and why it cannot be."""

    version: int
    answers: bool = True
    problem: str | None = None


class Split(msgspec.Struct, frozen=True):
    """A split as the server knows it."""

    id: str
    others: list[Other] = []


class Served(msgspec.Struct, frozen=True):
    """One model as the server tells of it: ``version`` is None while none answers, ``problem`` why a newer is not."""

    name: str
    version: int | None = None
    bundle: str | None = None
    problem: dict[str, Any] | None = None
    split: Split | None = None


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
    url: str, model: str, rows: Sequence[Mapping[str, Any]], *, timeout: float = 30.0, door: Door = OPEN
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
        answer = _ask(url, "POST", path, body, timeout, _Predictions, door)
        if len(answer.predictions) != len(part):
            raise _not_ours(url, f"{len(answer.predictions)} predictions for {len(part)} rows")
        found.extend(_prediction(answer, row) for row in answer.predictions)
    return tuple(found)


def outcomes(
    url: str, model: str, found: Sequence[Outcome], *, timeout: float = 30.0, door: Door = OPEN
) -> tuple[tuple[str, str], ...]:
    """Send labels that came late. Returns (prediction id, "accepted" | "unknown" | "rejected") for each, in order.

    Raises as ``predict`` does.
    """
    told: list[tuple[str, str]] = []
    for start in range(0, len(found), ROWS_PER_REQUEST):
        part = found[start : start + ROWS_PER_REQUEST]
        pairs = [{"id": one.prediction_id, "value": _plain("value", one.value)} for one in part]
        answer = _ask(url, "POST", "/outcomes", _encode({"model": model, "outcomes": pairs}), timeout, _Labels, door)
        told.extend((one.id, one.status) for one in answer.outcomes)
    return tuple(told)


def models(url: str, *, timeout: float = 5.0, door: Door = OPEN) -> tuple[Served, ...]:
    """What the server serves. Raises as ``predict`` does."""
    return tuple(_ask(url, "GET", "/models", None, timeout, _Models, door).models)


def ready(url: str, *, timeout: float = 5.0, door: Door = OPEN) -> bool:
    """Whether all models that are wanted answer there. Never raises for a server that is not there."""
    return why_not_ready(url, timeout=timeout, door=door) == ""


def why_not_ready(url: str, *, timeout: float = 5.0, door: Door = OPEN) -> str:
    """Why the server is not ready, in its own words where it answers; "" when it is ready."""
    try:
        _ask(url, "GET", "/health/ready", None, timeout, _Ready, door)
    except FullcircleError as error:
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


def _ask(url: str, method: str, path: str, body: bytes | None, timeout: float, kind: type[T], door: Door = OPEN) -> T:
    status, content = _send(url, method, path, body, timeout, door)
    try:
        if status >= 400:
            refused = msgspec.json.decode(content, type=_Refusal).error
            if status != 422 or kind not in (_Predictions, _Labels):
                raise _refused(status, refused)
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _not_ours(url, f"status {status}") from error


def _send(url: str, method: str, path: str, body: bytes | None, timeout: float, door: Door) -> tuple[int, bytes]:
    try:
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port)
    except ValueError as error:
        raise _no_url(url) from error
    if parts.scheme not in ("http", "https") or not place[0]:
        raise _no_url(url)
    connection = _connection(parts.scheme, place, timeout, door)
    try:
        _recognise(connection, url, door)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": f"Bearer {door.token}"} if door.token else {}
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


def _connection(scheme: str, place: tuple[str, int | None], timeout: float, door: Door) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(*place, timeout=timeout)
    trusted = ssl.create_default_context()
    if door.certificate is not None:  # whoever shows this very one is who we mean, whatever name stands in it
        trusted.check_hostname = False
        trusted.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(*place, timeout=timeout, context=trusted)


def _recognise(connection: http.client.HTTPConnection, url: str, door: Door) -> None:
    """Before anything is sent: be sure that who answers shows our own certificate."""
    if door.certificate is None or not isinstance(connection, http.client.HTTPSConnection):
        return
    connection.connect()
    first = door.certificate.read_text(encoding="ascii", errors="replace").partition(ssl.PEM_FOOTER)[0]
    meant = ssl.PEM_cert_to_DER_cert(first[first.find(ssl.PEM_HEADER) :] + ssl.PEM_FOOTER)
    if not hmac.compare_digest(connection.sock.getpeercert(binary_form=True) or b"", meant):
        raise ServerFailed(
            "what answers there shows another certificate than ours",
            received=url,
            next_step="where the certificate was renewed, start the server again",
        )


def _refused(status: int, error: _Error) -> Exception:
    said: dict[str, Any] = {"received": error.received, "allowed": error.allowed, "next_step": error.next}
    if status == 503:
        return ServerBusy(error.message, **said)
    if status == 429:
        return RateLimited(error.message, **said)
    if status in (401, 403):
        return (Unauthorized if status == 401 else Forbidden)(error.message, **said)
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
