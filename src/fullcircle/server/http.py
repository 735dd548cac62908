"""The thin layer over ASGI: what a request must look like before anybody reads it, and how answers leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from fullcircle.errors import (
    Forbidden,
    FullcircleError,
    HostRefused,
    ModelNotServed,
    RateLimited,
    RequestInvalid,
    ServerBusy,
    Unauthorized,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"([^:\[\]]*|\[[0-9a-f:.]+\])(?::[0-9]*)?")
JSON = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may ask for.

    ``body_seconds`` is how long a body may take to arrive, ``reading_bytes`` how much of all bodies may be held
    at once, ``waiting`` how many requests may wait for a model, ``explaining`` how many for an explanation,
    ``inline_bytes`` up to which size a body is decoded at once instead of in a thread.
    """

    body_bytes: int = 8 * 2**20
    rows: int = 10_000
    outcomes: int = 10_000
    waiting: int = 1024
    explaining: int = 4
    body_seconds: float = 30.0
    reading_bytes: int = 64 * 2**20
    inline_bytes: int = 64 * 2**10


@dataclass(frozen=True)
class Answer:
    """A status, a body and headers beside its type and length. ``kind`` is the type, JSON by default."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    kind: bytes = JSON[1]


class Disconnected(Exception):
    """The caller hung up before the body was complete. Nobody is left to answer."""


def answer(content: object, status: int = 200) -> Answer:
    """An answer with ``content`` as JSON."""
    return Answer(status, msgspec.json.encode(content))


def reason_of(error: FullcircleError, status: int, *, draining: bool) -> str:
    """Why a request was refused, in one word of ``meter.REASONS``."""
    if isinstance(error, ServerBusy):
        return "draining" if draining else error.cause
    if isinstance(error, Unauthorized | Forbidden | RateLimited):
        return {401: "unauthorized", 403: "forbidden", 429: "rate"}[status]
    found = {413: "too_large", 415: "media_type", 408: "slow", 404: "not_found", 405: "method", 421: "host"}
    return "not_served" if isinstance(error, ModelNotServed) else found.get(status, "invalid")


def refusal(error: FullcircleError) -> Answer:
    """The one shape of every answer from 400 on: ``{"error": {"code", "message", ...}}``."""
    body = msgspec.json.encode({"error": error.as_dict()})
    if isinstance(error, ServerBusy):
        return Answer(503, body, ((b"retry-after", b"1"),))
    if isinstance(error, ModelNotServed):
        return Answer(404, body)
    if isinstance(error, Unauthorized):
        return Answer(401, body, ((b"www-authenticate", b'Bearer realm="fullcircle"'),))
    if isinstance(error, RateLimited):
        return Answer(429, body, ((b"retry-after", b"%d" % error.seconds),))
    if isinstance(error, Forbidden):
        return Answer(403, body)
    if isinstance(error, HostRefused):
        return Answer(421, body)
    return Answer(error.status if isinstance(error, RequestInvalid) else 400, body)


def wrong_method(allowed: str) -> Answer:
    """405 with the methods that are allowed."""
    error = RequestInvalid("this address does not take this method", allowed=allowed, status=405)
    return Answer(405, msgspec.json.encode({"error": error.as_dict()}), ((b"allow", allowed.encode()),))


async def reply(send: Send, found: Answer, *, head: bool = False, close: bool = False) -> None:
    """Send an answer: without its body for HEAD, with a request to close the connection while draining."""
    headers = [
        JSON if found.kind is JSON[1] else (b"content-type", found.kind),
        (b"content-length", b"%d" % len(found.body)),
        NOSNIFF,
        *found.headers,
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else found.body})


def check_host(headers: Headers, further: frozenset[str]) -> None:
    """Refuse (421) what a browser sends to a stranger's name that was made to point here: DNS rebinding.

    ``headers`` have names in lower case, as a server hands them on; ``further`` are the names beside loopback's, in
    lower case. The port may be any. A request without the header comes from no browser.
    """
    for name, value in headers:
        if name == b"host" and not _is_ours(value, further):
            raise HostRefused(
                "the request is addressed to a name that this server does not go by",
                received=ascii(value.decode("latin-1")[:100]),
                allowed=", ".join(sorted(LOOPBACK | further)),
                next_step="call it by one of these names, or add the name of your proxy to the setting hosts",
            )


@lru_cache(maxsize=256)
def _is_ours(value: bytes, further: frozenset[str]) -> bool:
    match = _HOST.fullmatch(value.decode("latin-1").strip().lower())
    return match is not None and match[1] in LOOPBACK | further


def check_headers(headers: Headers, limits: Limits, other: bytes = b"") -> bool:
    """Refuse what is not plain JSON in UTF-8 (415), or announces more than may be sent (413).

    ``other`` is a further content type that is taken; returns whether the body is of that.
    """
    kinds, is_other = 0, False
    for name, value in headers:
        if name == b"content-type":
            kinds += 1
            kind = _bare(value)
            is_other = bool(other) and kind == other
            if kinds > 1 or not (is_other or kind == JSON[1]):
                raise _not_json()
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise RequestInvalid(
                "the body is compressed", allowed="no Content-Encoding", next_step="send it as it is", status=415
            )
        elif name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limits.body_bytes):
            raise _too_large(limits)
    if not kinds:
        raise _not_json()
    return is_other


def _not_json() -> RequestInvalid:
    return RequestInvalid(
        "the body is not declared as JSON",
        allowed="one header: Content-Type: application/json",
        next_step="send the rows as JSON, with this header",
        status=415,
    )


@lru_cache(maxsize=256)
def _bare(value: bytes) -> bytes:
    """A content type without the charset that it has anyway; another charset stays."""
    kind, *more = (part.strip().lower() for part in value.split(b";"))
    return kind if all(part in (b"", b"charset=utf-8", b'charset="utf-8"') for part in more) else value


def _too_large(limits: Limits) -> RequestInvalid:
    return RequestInvalid(
        "the body is too large",
        allowed=f"at most {limits.body_bytes:,} bytes",
        next_step="send the rows in several requests, or score them as a batch",
        status=413,
    )


class Reader:
    """Reads bodies, and holds no more of them at once than is allowed. Used by one event loop only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def body(self, receive: Receive) -> bytes:
        """The whole body. Raises RequestInvalid (413, 408), ServerBusy or Disconnected."""
        message = await receive()
        part: bytes = message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise Disconnected
        if not message.get("more_body", False):  # nearly all: it came with the headers, and nothing has to wait
            if self._held or len(part) > self._limits.body_bytes:
                self._check(len(part))
            return part
        return await self._rest(part, receive)

    async def _rest(self, first: bytes, receive: Receive) -> bytes:
        parts = [first]
        size = len(first)
        self._held += size
        try:
            self._check(size)
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    part = message.get("body", b"")
                    more = message.get("more_body", False)
                    parts.append(part)
                    size += len(part)
                    self._held += len(part)
                    self._check(size)
        except TimeoutError as error:
            raise RequestInvalid(
                "the body took too long to arrive",
                allowed=f"{self._limits.body_seconds:g} seconds",
                next_step="send it faster, or in several requests",
                status=408,
            ) from error
        finally:
            self._held -= size
        return b"".join(parts)

    @contextmanager
    def held(self, body: bytes) -> Iterator[None]:
        """Count a body that was read and waits to be decoded. Raises ServerBusy where there are too many."""
        self._held += len(body)
        try:
            self._check(len(body))
            yield
        finally:
            self._held -= len(body)

    def _check(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise _too_large(self._limits)
        if self._held > self._limits.reading_bytes:
            raise ServerBusy("too much is being sent at once", next_step="try again in a second")
