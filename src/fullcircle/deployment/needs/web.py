"""Web addresses: one GET, bounded in time and bytes, that follows no redirect to another host."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from fullcircle.deployment.needs.net import unreached
from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import address, parts, shown
from fullcircle.types.needs import Need

MOST = 64 * 1024  # bytes of a body that are read
REDIRECTS = 5
_PLAIN = "/%:@!$&'()*+,;=~?"  # characters that stand in an address as they are
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Response:
    """What came back: the status, the first ``MOST`` bytes of the body, and where else to ask."""

    status: int
    body: bytes
    location: str = ""


def look(need: Need, seconds: float) -> Met:
    """Whether the address answers well. Raises Unmet."""
    url = address(need)
    found = get(url, seconds)
    where = shown(url)
    refuse(found.status, where)
    if found.status == 405:
        return Met(what=f"{where} is there and takes no GET (405): more was not checked")
    return Met(what=f"{where} answers with {found.status}")


def refuse(status: int, where: str) -> None:
    """Raise Unmet for a status that is no good answer."""
    if status in (401, 403):
        raise Unmet(
            f"it refuses who asks ({status})",
            received=where,
            next_step='put the address with user and password in a variable and write at="env:NAME", or name an '
            "address that answers without",
        )
    if status in (404, 410):
        raise Unmet(f"there is nothing at this address ({status})", received=where, next_step="correct the address")
    if status == 429:
        raise Unmet(
            "it was asked too often (429)", received=where, next_step="name an address that may be asked more"
        )
    if status >= 500:
        raise Unmet(f"it answers that it is broken ({status})", received=where, next_step="see to that server first")
    if status >= 400 and status != 405:
        raise Unmet(
            f"it refuses the request ({status})", received=where, next_step="name an address that takes a GET"
        )
    if 300 <= status < 400:
        raise Unmet(f"it answers with {status} and no other place", received=where, next_step="correct the address")


def get(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> Response:
    """Ask for ``url`` and follow redirects that stay on its host. Raises Unmet, within about ``seconds``."""
    until = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        found = _once(url, until, seconds, headers or {})
        if found.status not in _MOVED or not found.location:
            return found
        url = _next(url, found.location)
    raise Unmet("it redirects again and again", received=shown(url), next_step="name the address that answers itself")


def _next(url: str, location: str) -> str:
    """Where a redirect leads, as long as that is the same host and no less safe."""
    target = urljoin(url, location)
    before, after = parts(url), parts(target)
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        raise Unmet(
            "it redirects to an address that is less safe",
            received=shown(target),
            next_step="name the address that answers itself",
        )
    if before.hostname != after.hostname:
        raise Unmet(
            "it redirects to another host, which is not followed",
            received=shown(target),
            allowed=f"an answer from {before.hostname}",
            next_step="name the address that answers itself; a redirect to a login means that it wants credentials",
        )
    return urlsplit(target)._replace(netloc=_with_user(before.netloc, after.netloc)).geturl()


def _with_user(before: str, after: str) -> str:
    user, at, _ = before.rpartition("@")
    return user + at + after.rpartition("@")[2]


def _once(url: str, until: float, seconds: float, headers: Mapping[str, str]) -> Response:
    found, where = parts(url), shown(url)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise Unmet("this is no web address", allowed="http://... or https://...", next_step="correct the address")
    left = until - time.monotonic()
    if left <= 0:
        raise unreached(TimeoutError(), where, seconds)
    connection = _connection(found.scheme, found.hostname, found.port, left)
    # A time limit of a socket is one for each read: what comes drop by drop is ended by this.
    cut = threading.Event()
    late = threading.Timer(left, _cut, (connection, cut))
    late.daemon = True
    late.start()
    try:
        target = quote(found.path or "/", _PLAIN) + (f"?{quote(found.query, _PLAIN)}" if found.query else "")
        connection.request("GET", target, headers={**_said(found.username, found.password), **headers})
        answer = connection.getresponse()
        response = Response(answer.status, _body(answer), answer.headers.get("location", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise unreached(
            TimeoutError() if cut.is_set() or time.monotonic() >= until else error, where, seconds
        ) from error
    finally:
        late.cancel()
        connection.close()
    if cut.is_set():  # the end of what was cut reads like an end of the headers
        raise unreached(TimeoutError(), where, seconds)
    return response


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    port = port or (443 if scheme == "https" else 80)  # else it takes the end of an IPv6 address for one
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=seconds)


def _body(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(MOST)
    except http.client.IncompleteRead as error:
        return error.partial


def _said(user: str | None, password: str | None) -> dict[str, str]:
    headers = {"User-Agent": "fullcircle", "Accept": "*/*", "Connection": "close"}
    if user is None:
        return headers
    told = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {**headers, "Authorization": f"Basic {b64encode(told).decode('ascii')}"}


def _cut(connection: http.client.HTTPConnection, cut: threading.Event) -> None:
    cut.set()  # before the socket ends, so that nobody takes that end for the other side's
    with suppress(OSError, AttributeError):  # there may be no socket yet, or none any more
        connection.sock.shutdown(socket.SHUT_RDWR)
