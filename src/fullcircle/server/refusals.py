"""What callers are told who are refused before the application sees their request, in the one shape of errors."""

from __future__ import annotations

import json
import os
from http import HTTPStatus

from fullcircle.errors import FullcircleError, RequestInvalid, ServerBusy


def words(error: FullcircleError) -> bytes:
    """The whole answer, which closes the connection."""
    number = status(error)
    body = json.dumps({"error": error.as_dict()}, separators=(",", ":")).encode()
    head = [
        f"HTTP/1.1 {number} {HTTPStatus(number).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "x-content-type-options: nosniff",
        "connection: close",
        f"x-request-id: {os.urandom(8).hex()}",
        *(["retry-after: 1"] if number == HTTPStatus.SERVICE_UNAVAILABLE else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def status(error: FullcircleError) -> int:
    """The status that says so."""
    return error.status if isinstance(error, RequestInvalid) else 503


def too_long(what: str, limit: int, status: int) -> RequestInvalid:
    """413, 414 or 431."""
    return RequestInvalid(what, allowed=f"at most {limit:,} bytes", next_step="send less", status=status)


def too_many_headers(limit: int) -> RequestInvalid:
    """431."""
    return RequestInvalid("there are too many headers", allowed=f"at most {limit}", next_step="send less", status=431)


def too_slow(what: str, limit: float) -> RequestInvalid:
    """408."""
    return RequestInvalid(what, allowed=f"{limit:g} seconds", next_step="send it faster", status=408)


def ambiguous(what: str, allowed: str) -> RequestInvalid:
    """400: a proxy and we could see different requests in the same bytes."""
    return RequestInvalid(
        f"the length of the request is not clear: {what}", allowed=allowed, next_step="send it the one way"
    )


def unreadable(scheme: str | None) -> RequestInvalid:
    """400: no HTTP."""
    allowed = "HTTP 1.1 over TLS, encrypted once" if scheme == "https" else "HTTP 1.1, not encrypted"
    return RequestInvalid("the request cannot be read", allowed=allowed, next_step="mend the request")


def cut_short() -> RequestInvalid:
    """400: half a request."""
    return RequestInvalid("the request ended before it was complete", next_step="send all of it")


def chunky() -> RequestInvalid:
    """400."""
    return RequestInvalid(
        "the body comes in too many or too wordy chunks", next_step="send it in larger chunks, or with Content-Length"
    )


def pipelined(limit: int) -> RequestInvalid:
    """400."""
    return RequestInvalid(
        "too many requests were sent before the first was answered",
        allowed=f"{limit}",
        next_step="wait for answers, or open more connections",
    )


def too_many() -> ServerBusy:
    """503 with Retry-After."""
    return ServerBusy("too many connections are open", next_step="try again in a second, on fewer connections")
