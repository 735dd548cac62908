"""HTTP/1.1 on one connection: uvicorn's protocol on httptools, with a bound on everything that a caller decides.

uvicorn alone waits for ever for headers, bodies and readers, takes any number of headers and requests, and answers
what it cannot parse in plain text. Here times are minded by one sweep a second over all connections, not by timers,
so that a request costs nothing more; sizes are counted where the bytes come by; and every refusal has the one shape
``{"error": {"code", "message", ...}}``. After a refusal nothing more is read as a request: the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fullcircle.errors import FullcircleError
from fullcircle.server import refusals
from fullcircle.server.cycle import Cycle
from fullcircle.server.engine import Coming

WATCHED = frozenset({b"content-length", b"transfer-encoding", b"expect"})
HEALTH = (b"/health", b"/v2/health/", b"/ping")
VERSIONS = frozenset({"1.0", "1.1"})
_DIGITS = re.compile(rb"[0-9]{1,18}")
_OVERHEAD = 32768  # bytes of chunk sizes, extensions and trailers, and so many more for each chunk:
_CHUNK_OVERHEAD = 64
_DISCARDED = 2**20  # bytes that a refused caller may still send
_SLICE = 16384  # bytes handed to the parser at once: refusing what follows costs no more than this


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a connection may ask for. Times are in seconds, sizes in bytes.

    ``header_seconds`` counts from the connect, or from the first byte of a later request; ``body_seconds`` from the
    end of the headers. After ``slow_seconds`` a body must have come at ``body_rate`` bytes a second or more.
    ``idle_seconds`` is how long a connection may be open between two requests, ``reading_seconds`` how long a caller
    may take to read an answer (and one second more for each ``reading_rate`` bytes of it). ``queued`` are requests
    sent before the first is answered. ``connections`` are those of one worker; ``reserve`` more are open for the
    health routes only. ``linger_seconds`` is how long a refused caller has to read why.
    """

    header_seconds: float = 10.0
    body_seconds: float = 30.0
    slow_seconds: float = 10.0
    body_rate: float = 1024.0
    idle_seconds: float = 60.0
    reading_seconds: float = 30.0
    reading_rate: float = 100_000.0
    linger_seconds: float = 2.0
    fresh_seconds: float = 1.0
    url_bytes: int = 8192
    header_bytes: int = 32768
    headers: int = 100
    chunks: int = 100_000
    queued: int = 100
    unread_bytes: int = 64 * 2**20  # of a body whose answer is sent already
    connections: int = 2048
    reserve: int = 64


class Pulse:
    """What all connections of a worker share: the time of the last sweep, and whether the worker drains.

    ``coming`` counts requests that were handed to the application and that it has not begun. ``refused`` is called
    with the status of each request that did not reach the application. ``shaking`` are connections that were accepted
    and are not made yet, with the times when: they agree on TLS.
    """

    def __init__(self, refused: Callable[[int], None] | None = None) -> None:
        self.now = time.monotonic()
        self.draining = False
        self.coming = Coming()
        self.refused = refused or (lambda status: None)
        self.shaking: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


class _Refused(Exception):
    """Stops the parser. The refusal itself is in the connection."""


class Connection(HttpToolsProtocol):
    """See the module's text. ``sweep`` is called once a second, ``finish`` again and again while draining."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds or Bounds()
        self._pulse = pulse or Pulse()
        self._since = self._pulse.now  # of the state: open, headers, body
        self._idle = True  # nothing of the next request has come
        self._fresh = True  # nothing of the first request has come
        self._in_headers = False
        self._in_body = False
        self._chunked = False
        self._health_only = False
        self._size = 0  # bytes of headers, or of a body as it comes over the wire
        self._content = 0  # bytes of a body
        self._chunks = 0
        self._trailers = 0
        self._length = b""
        self._wrong: FullcircleError | None = None
        self._last_words = b""  # a refusal that waits until earlier requests are answered
        self._running: RequestResponseCycle | None = None
        self._deaf = False  # nothing more is read as a request
        self._closing = 0.0  # since when
        self._unread = 0.0  # since when the caller does not read
        self._allowed = 0.0  # seconds for reading

    # --- the connection -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take note of the connection; one too many is told to come again."""
        super().connection_made(transport)
        self._pulse.shaking.pop(self, None)
        count = len(self.connections)
        if count > self._bounds.connections:
            self._health_only = True
            if count > self._bounds.connections + self._bounds.reserve:
                self._refuse(refusals.too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever still answers is told that nobody is there."""
        self._leave()
        super().connection_lost(exc)
        self.pipeline.clear()

    def _leave(self) -> None:
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._leave()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, in slices, and stop where it must be refused."""
        if self._deaf:
            self._content += len(data)
            if self._content > _DISCARDED:
                self.cut()
            return
        if self._idle:
            self._idle = False
            self._since = self._pulse.now
        if len(data) <= _SLICE:
            self._feed(data)
            return
        for start in range(0, len(data), _SLICE):
            if not self._deaf:
                self._feed(data[start : start + _SLICE])

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._wrong or refusals.unreadable(self.scheme))
        else:
            if self._in_headers:
                self._size += len(data)
                if self._size > self._bounds.header_bytes:
                    self._refuse(refusals.too_long("the headers are too long", self._bounds.header_bytes, 431))
            elif self._chunked and self._in_body:
                self._size += len(data)
                if self._size - self._content > _OVERHEAD + _CHUNK_OVERHEAD * self._chunks:
                    self._refuse(refusals.chunky())

    def _go_on(self, rest: bytes) -> None:
        """Ignore an upgrade, as HTTP allows: the request is answered as any other, and is the last one.

        The parser skips the body of such a request (clients in Java send one): another reads it.
        """
        if not self._in_body:
            self._deaf = True
            return
        self.parser = httptools.HttpRequestParser(_Body(self))
        framing = b"Transfer-Encoding: chunked" if self._chunked else b"Content-Length: " + self._length
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        if rest:
            self._feed(rest)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The caller sends no more. A request that is complete is answered all the same."""
        if self._deaf and not self._waited_for():
            return None
        if self._in_headers or self._in_body:
            self._refuse(refusals.cut_short())
        self._deaf = True
        return (self._waited_for() or bool(self._closing)) and self.scheme != "https"  # TLS ends both ways at once

    def _waited_for(self) -> bool:
        return (self.cycle is not None and not self.cycle.response_complete) or bool(self.pipeline)

    def pause_writing(self) -> None:
        """The caller does not read as fast as we answer: from here on there is a limit to that."""
        super().pause_writing()
        self._unread = self._unread or self._pulse.now
        self._allowed = (
            self._bounds.reading_seconds + self.transport.get_write_buffer_size() / self._bounds.reading_rate
        )

    def resume_writing(self) -> None:
        """The caller has caught up."""
        super().resume_writing()
        self._unread = 0.0

    # --- the parser's callbacks -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True
        self._idle = self._fresh = self._chunked = False
        self._size = self._content = self._chunks = self._trailers = 0
        self._length = b""
        if len(self.pipeline) >= self._bounds.queued:
            self._stop(refusals.pipelined(self._bounds.queued))

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        super().on_url(url)
        if len(self.url) > self._bounds.url_bytes:
            self._stop(refusals.too_long("the URL is too long", self._bounds.url_bytes, 414))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody reads."""
        if not self._in_headers:
            self._trailers += 1
            if self._trailers > self._bounds.headers:
                self._stop(refusals.too_many_headers(self._bounds.headers))
            return
        name = name.lower()
        headers = self.headers
        headers.append((name, value))
        if name in WATCHED:
            self._watch(name, value)
        if len(headers) > self._bounds.headers:
            self._stop(refusals.too_many_headers(self._bounds.headers))

    def _watch(self, name: bytes, value: bytes) -> None:
        """The headers by which a proxy and we could see another request in the same bytes."""
        if name == b"content-length":
            if self._length or not _DIGITS.fullmatch(value := value.strip(b" \t")):
                self._stop(refusals.ambiguous("Content-Length", "one header with digits"))
            self._length = value
        elif name == b"transfer-encoding":
            if self._chunked or value.strip(b" \t").lower() != b"chunked":
                self._stop(refusals.ambiguous("Transfer-Encoding", "chunked, once"))
            self._chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """The headers are complete: the application begins."""
        if self._chunked and self._length:
            self._stop(refusals.ambiguous("Content-Length together with Transfer-Encoding", "one of them"))
        if self._health_only and not self.url.startswith(HEALTH):
            self._stop(refusals.too_many())
        if self._size and sum(len(name) + len(value) for name, value in self.headers) > self._bounds.header_bytes:
            self._stop(refusals.too_long("the headers are too long", self._bounds.header_bytes, 431))
        version = self.parser.get_http_version()
        parsed = httptools.parse_url(self.url)
        path = parsed.path
        if version not in VERSIONS or path is None:
            self._stop(refusals.unreadable(self.scheme))
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = path
        scope["path"] = unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii")
        scope["query_string"] = parsed.query or b""
        self._in_headers = False
        self._in_body = True
        self._since = self._pulse.now
        self._size = 0
        last = self._pulse.draining or self._health_only or self.parser.should_upgrade()
        before, self.cycle = (
            self.cycle,
            self._cycle(not last and version != "1.0" and self.parser.should_keep_alive()),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _cycle(self, keep_alive: bool) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        self._pulse.coming.count += 1
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1
        if self._chunks > self._bounds.chunks:
            self._stop(refusals.chunky())

    def on_body(self, body: bytes) -> None:
        """A part of the body. What comes after the answer is thrown away, up to a limit."""
        self._content += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            if self._content > self._bounds.unread_bytes:
                self._stop(refusals.too_long("the body is too long", self._bounds.unread_bytes, 413))
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self.parser.should_upgrade() and (self._chunked or self._length.strip(b"0")):
            return  # the parser skips the body: see _go_on
        self._in_body = False
        cycle = self.cycle
        if cycle.response_complete:
            self._rest()
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """The answer is written: the next request, or the refusal of what came after, or rest."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words:
            self._say(self._last_words)
        elif self._deaf:
            self.transport.close()
        elif not (self._in_body or self._in_headers):
            self._rest()

    def _rest(self) -> None:
        self._idle = True
        self._since = self._pulse.now

    # --- times ----------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Once a second: cut whoever takes too long."""
        bounds, now = self._bounds, self._pulse.now
        if self._unread and now - self._unread > self._allowed:
            self.cut()
        elif self._closing or self.transport.is_closing():
            self._closing = self._closing or now
            if now - self._closing > (bounds.linger_seconds if self._deaf else bounds.reading_seconds):
                self.cut()
        elif self._in_body:
            self._sweep_body(now - self._since)
        elif self._waited_for():
            return
        elif self._idle and not self._fresh:
            if now - self._since > bounds.idle_seconds:
                self.transport.close()
        elif now - self._since > bounds.header_seconds:
            if self._in_headers:
                self._refuse(refusals.too_slow("the headers took too long to arrive", bounds.header_seconds))
            else:
                self.transport.close()

    def _sweep_body(self, age: float) -> None:
        bounds = self._bounds
        if self.flow.read_paused:  # it is us who do not read: the application is busy with what came
            self._since += 1.0
        elif age > bounds.body_seconds or (
            age > bounds.slow_seconds and self._content < bounds.body_rate * (age - bounds.slow_seconds / 2)
        ):
            self._refuse(refusals.too_slow("the body took too long to arrive", bounds.body_seconds))

    def finish(self) -> None:
        """Close as soon as nobody is owed an answer. One who has just connected may still send a request."""
        if self.transport.is_closing() or self._closing:
            return
        if self._waited_for() or self._in_headers or self._in_body:
            if self.cycle is not None:
                self.cycle.keep_alive = False
        elif self._pulse.now - self._since > self._bounds.fresh_seconds:
            self.transport.close()

    # --- refusals -------------------------------------------------------------------------------------

    def _stop(self, error: FullcircleError) -> None:
        """Refuse from within a callback of the parser, which then stops."""
        self._wrong = error
        raise _Refused

    def _refuse(self, error: FullcircleError) -> None:
        """Say why, after the answers to earlier requests, and close."""
        if self._deaf and self._closing:
            return
        self._deaf = True
        words = refusals.words(error)
        self._pulse.refused(refusals.status(error))
        broken = self.cycle if self._in_body else None
        self._in_headers = self._in_body = False
        if broken is None:
            if self._waited_for():
                self._last_words = words
            else:
                self._say(words)
            return
        broken.disconnected = True
        broken.message_event.set()
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
            self._last_words = words
        elif broken.response_started:
            self.transport.close()
        else:
            self._say(words)

    def _say(self, words: bytes) -> None:
        """Write the refusal and close in two steps: a socket closed with unread bytes would take it back."""
        if self.transport.is_closing():
            return
        self._last_words = b""
        self._deaf = True
        self._closing = self._pulse.now
        self._content = 0
        self.transport.write(words)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


class _Body:
    """What a parser calls that reads only a body."""

    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.on_body
        self.on_header = connection.on_header
        self.on_chunk_header = connection.on_chunk_header
        self._connection = connection

    def on_message_complete(self) -> None:
        """The body is complete. What follows is not read."""
        self._connection.on_message_complete()
        self._connection._deaf = True
