"""How an answer leaves: in one piece where it can, as with uvicorn where it cannot, and never as two answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from fullcircle.server.http import Answer, reply
from fullcircle.server.protocol import Bounds, Connection, Pulse

Application = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


class Wire(asyncio.Transport):
    """Keeps each piece that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


def asked(
    app: Application, *requests: bytes, date: bool = False, paused: Callable[[Connection], None] | None = None
) -> Wire:
    """What leaves after these requests, which come one after another."""

    async def run() -> Wire:
        config = uvicorn.Config(app, lifespan="off", log_config=None, server_header=False, proxy_headers=False)
        config.load()
        state, wire = ServerState(), Wire()
        state.default_headers = [(b"date", b"today")] if date else []
        connection = Connection(config, state, {}, bounds=Bounds(), pulse=Pulse())
        connection.connection_made(wire)
        for request in requests:
            if paused is not None:
                paused(connection)
            connection.data_received(request)
            for _ in range(20):
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.gather(*state.tasks)
        return wire

    return asyncio.run(run())


def plain(found: Answer, *, close: bool = False) -> Application:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await reply(send, found, head=scope["method"] == "HEAD", close=close)

    return app


def sends(*messages: dict[str, Any], then: Exception | None = None) -> Application:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


def start(headers: Iterable[tuple[bytes, bytes]], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, **more}


def test_an_answer_is_one_piece_with_all_its_headers() -> None:
    wire = asked(plain(Answer(200, b'{"a":1}', ((b"X-Own", b"yes"),))), GET, POST, date=True)
    assert (
        wire.pieces
        == [
            b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\ncontent-length: 7\r\n"
            b'x-content-type-options: nosniff\r\nx-own: yes\r\n\r\n{"a":1}'
        ]
        * 2
    )
    assert not wire.closed


def test_a_large_body_is_not_copied_and_follows_its_head() -> None:
    content = b"x" * 100_000
    head, found = asked(plain(Answer(200, content)), GET).pieces
    assert head.endswith(b"content-length: 100000\r\nx-content-type-options: nosniff\r\n\r\n")
    assert found == content


def test_the_answer_to_head_has_the_length_and_no_body() -> None:
    (piece,) = asked(plain(Answer(200, b"12345")), GET.replace(b"GET", b"HEAD")).pieces
    assert b"content-length: 5\r\n" in piece
    assert piece.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("by", ["caller", "server", "version"])
def test_who_closes_says_so_once(by: str) -> None:
    request = {
        "caller": GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        "server": GET,
        "version": GET.replace(b"1.1", b"1.0"),
    }[by]
    wire = asked(plain(Answer(503, b"{}"), close=by == "server"), request)
    (piece,) = wire.pieces
    assert piece.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert piece.count(b"connection: close\r\n") == 1
    assert wire.closed


@pytest.mark.parametrize(("name", "value"), [(b"a b", b"x"), (b"x", b"1\r\nset-cookie: a"), (b"x", b"\x00")])
def test_a_header_that_would_be_more_than_one_never_leaves(name: bytes, value: bytes) -> None:
    for _ in range(2):  # what was refused is not remembered as good
        (piece,) = asked(plain(Answer(200, b"{}", ((name, value),))), GET).pieces[:1]
        assert piece.startswith(b"HTTP/1.1 500 ")
        assert b"set-cookie" not in piece


def test_an_application_that_breaks_between_start_and_body_is_answered_as_broken() -> None:
    wire = asked(sends(start([(b"content-length", b"2")]), then=ValueError("secret")), GET)
    assert b"".join(wire.pieces).count(b"HTTP/1.1") == 1
    assert wire.pieces[0].startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in b"".join(wire.pieces)
    assert wire.closed


@pytest.mark.parametrize("content", [b"", b"1", b"123"])
def test_a_body_of_another_length_than_was_said_is_no_answer(content: bytes) -> None:
    wire = asked(sends(start([(b"content-length", b"2")]), body(content)), GET)
    assert b"".join(wire.pieces).startswith(b"HTTP/1.1 500 ")
    assert wire.closed


def test_what_comes_in_pieces_or_without_a_length_leaves_as_with_uvicorn() -> None:
    wire = asked(sends(start([(b"content-length", b"4")]), body(b"ab", more_body=True), body(b"cd")), GET)
    assert b"".join(wire.pieces).endswith(b"content-length: 4\r\n\r\nabcd")
    wire = asked(sends(start([(b"x", b"y")]), body(b"ab")), GET)
    assert b"".join(wire.pieces).endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
    wire = asked(sends(start([(b"connection", b"keep-alive"), (b"content-length", b"0")]), body(b"")), GET)
    assert b"connection: keep-alive\r\n" in b"".join(wire.pieces)


def test_nothing_leaves_while_the_caller_does_not_read() -> None:
    held: list[int] = []

    def pause(connection: Connection) -> None:
        connection.pause_writing()

        def look() -> None:
            held.append(len(connection.transport.pieces))  # type: ignore[attr-defined]
            held.append(connection.cycle.response_started)  # so a refusal can still be said in its place
            connection.resume_writing()

        asyncio.get_running_loop().call_later(0.05, look)

    wire = asked(plain(Answer(200, b"{}")), GET, paused=pause)
    assert held == [0, False]
    assert len(wire.pieces) == 1


def test_a_body_that_is_there_is_given_once_and_then_the_end() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        await reply(send, Answer(200, b"{}"))
        seen.append(await receive())

    asked(app, POST)
    assert seen == [{"type": "http.request", "body": b"body", "more_body": False}, {"type": "http.disconnect"}]


def test_a_body_that_comes_later_is_waited_for() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            seen.append(message["body"])
            more = message["more_body"]
        await reply(send, Answer(200, b"{}"))

    wire = asked(app, POST[:-4], POST[-4:-2], POST[-2:])
    assert b"".join(seen) == b"body"
    assert len(wire.pieces) == 1


def test_a_caller_who_waits_for_leave_to_send_gets_it() -> None:
    wire = asked(plain(Answer(200, b"{}")), POST.replace(b"Host", b"Expect: 100-continue\r\nHost")[:-4], b"body")
    assert wire.pieces[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.pieces[1].startswith(b"HTTP/1.1 200 OK\r\n")
