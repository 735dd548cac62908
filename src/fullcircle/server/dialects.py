"""How refusals are worded for callers of other protocols, and how a request of theirs gets to an engine.

Everything that refuses speaks the native form, ``{"error": {"code", "message", ...}}``. On the way out it is put into
the form that the address's protocol has: ``{"error": TEXT}`` for V2, ``{"error_code", "message"}`` for MLflow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.server.addresses import Dialect
from fullcircle.server.engine import Ask
from fullcircle.server.http import JSON, Answer, Headers, Limits, Reader, Receive, Scope, check_headers
from fullcircle.server.lane import Lane
from fullcircle.server.tabular import Taken
from fullcircle.types.contract import Value

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded, View
    from fullcircle.server.rendering import Lines

_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""Names of MLflow's own list; all others are BAD_REQUEST."""


class Asked(Protocol):
    """A request at an address, as ``app.Call``."""

    @property
    def scope(self) -> Scope:
        """ASGI's."""
        ...

    @property
    def receive(self) -> Receive:
        """ASGI's."""
        ...

    @property
    def view(self) -> View:
        """What the caller may see."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in the address."""
        ...


class Row(msgspec.Struct):
    """The answer for one row, as the native protocol has it."""

    id: str
    prediction: Value
    verdict: str
    problems: list[dict[str, str]]
    probabilities: dict[str, float | None] | None = None


class _Native(msgspec.Struct):
    version: int
    predictions: list[Row]


Take = Callable[["Loaded", bytes], Ask]
Give = Callable[["Loaded", Any, Sequence[Row], int], Answer]
Write = Callable[["Loaded", Any, "Lines", int, int], Answer]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What other protocols use of an application.

    ``served`` gives a model of a view, ``latest`` of what is served now; both raise ModelNotServed or ServerBusy.
    ``ask`` has an engine answer, ``ready`` is the native answer at /health/ready.
    """

    limits: Limits
    reader: Reader
    side: Lane
    served: Callable[[View, str], Loaded]
    latest: Callable[[str], Loaded]
    ask: Callable[[Loaded, Ask, Scope], Awaitable[Answer]]
    ready: Callable[[Any], Awaitable[Answer]]


_decoder = msgspec.json.Decoder(_Native)


async def predicted(parts: Parts, call: Asked, model: str, take: Take, give: Give, write: Write) -> Answer:
    """The answer to a request for predictions. Raises RequestInvalid and ServerBusy.

    ``take`` reads the body, ``give`` writes the answer to rows of which not all were rejected, and is told the
    version; ``write`` does so at once where an engine has all rows ok (see ``Ask.writer``). They may run in a thread,
    and take a second time where the version was replaced meanwhile.
    """
    body = await parts.reader.body(call.receive)
    loaded = parts.latest(model)
    if len(body) <= parts.limits.inline_bytes:
        ask = take(loaded, body)
        ask.writer = write
        found = await parts.ask(loaded, ask, call.scope)
        return found if ask.written else _given(loaded, ask.kept, found, give)
    with parts.reader.held(body):
        ask = await parts.side.run(partial(take, loaded, body))
        latest = parts.latest(model)
        if latest is not loaded:
            loaded, ask = latest, await parts.side.run(partial(take, latest, body))
        ask.writer = write
        found = await parts.ask(loaded, ask, call.scope)
        return found if ask.written else await parts.side.run(partial(_given, loaded, ask.kept, found, give))


def asked(taken: Taken) -> Ask:
    """What an engine is asked."""
    return Ask(b"", taken.rows, taken.plain)


def _given(loaded: Loaded, kept: Any, found: Answer, give: Give) -> Answer:
    document = _decoder.decode(found.body)
    if found.status < 400:
        return give(loaded, kept, document.predictions, document.version)
    return _rejected(document.predictions)


def _rejected(rows: Sequence[Row]) -> Answer:
    """What is told where no row was answered: each column with the reason, how often, and no value."""
    reasons: dict[str, int] = {}
    for row in rows:
        for problem in row.problems:
            if problem["action"] == "reject":
                of_model = problem["reason"] == "model"  # a column may have no name: pandas writes its index so
                reason = "model" if of_model else f"{problem['column'][:60]!r} {problem['reason']}"
                reasons[reason] = reasons.get(reason, 0) + 1
    told = [f"{reason} ({count:,} times)" if count > 1 else reason for reason, count in list(reasons.items())[:10]]
    error = RequestInvalid(
        "every row was rejected",
        received="; ".join(told) or None,
        allowed="rows that keep the model's contract",
        next_step="mend the rows: /docs has the columns and their ranges",
        status=422,
    )
    return Answer(422, msgspec.json.encode({"error": error.as_dict()}))


def check(headers: Headers, limits: Limits, other: bytes) -> bool:
    """As ``http.check_headers``, for clients that declare no type: their body is JSON, or ``other``, in UTF-8.

    A web page cannot do so: whoever sends Origin has to declare the type, for which a browser asks leave first.
    """
    for name, _ in headers:
        if name == b"content-type":
            return check_headers(headers, limits, other)
    if any(name == b"origin" for name, _ in headers):
        raise RequestInvalid(
            "a web page's request has no Content-Type",
            allowed="Content-Type: application/json",
            next_step="send it with this header",
            status=415,
        )
    return check_headers([*headers, JSON], limits)


def worded(found: Answer, dialect: Dialect) -> Answer:
    """A refusal of the native form in another one. Whatever has another form already stays as it is."""
    if dialect == "native" or found.status < 400:
        return found
    error = msgspec.json.decode(found.body).get("error")
    if not isinstance(error, dict):
        return found
    more = [f"{name}: {error[name]}" for name in ("received", "allowed", "next") if name in error]
    text = "; ".join([error["message"], *more])
    if dialect == "v2":
        return replace(found, body=msgspec.json.encode({"error": text}))
    code = _CODES.get(found.status, "BAD_REQUEST")
    return replace(found, body=msgspec.json.encode({"error_code": code, "message": text}))
