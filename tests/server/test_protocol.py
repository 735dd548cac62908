"""HTTP on a connection: every bound, every ambiguity and every kind of slowness, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from fullcircle.server.protocol import Bounds, Connection, Pulse
from serving import raw

QUICK = Bounds(
    header_seconds=0.25,
    body_seconds=0.5,
    slow_seconds=0.2,
    body_rate=200,
    idle_seconds=0.25,
    reading_seconds=0.3,
    reading_rate=1e9,
    linger_seconds=0.3,
    url_bytes=1000,
    header_bytes=4000,
    headers=20,
    chunks=2000,
    queued=10,
    unread_bytes=100_000,
)
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 8 * 2**20


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, the query and the length of the body; some paths do something else before."""
    path, size = scope["path"], 0
    more = path != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope["state"]["gone"].append(path)
            return
        size += len(message["body"])
        more = message["more_body"]
    if path == "/slow":
        await asyncio.sleep(0.1)
    body = b"x" * BIG if path == "/big" else f"{path} {size}".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Running:
    """A loop in a thread that serves ``echo`` with some bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self.refused: list[int] = []
        self.gone: list[str] = []
        self.state = ServerState()
        self.pulse = Pulse(self.refused.append)
        self.config = uvicorn.Config(echo, lifespan="off", log_config=None, server_header=False, proxy_headers=False)
        self.config.load()
        self.bounds = bounds
        self.loop = uvloop.new_event_loop()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.main(),))
        self.ended = asyncio.Event()
        self.thread.start()

    async def main(self) -> None:
        make = partial(Connection, self.config, self.state, {"gone": self.gone}, bounds=self.bounds, pulse=self.pulse)
        server = await self.loop.create_server(make, sock=self.listening)
        while not self.ended.is_set():
            self.pulse.now = time.monotonic()
            for connection in list(self.state.connections):
                assert isinstance(connection, Connection)
                connection.sweep()
            await asyncio.sleep(0.02)
        server.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.02)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(10)
        self.loop.close()

    def until(self, true: Any) -> None:
        deadline = time.monotonic() + 5
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture(scope="module")
def quick() -> Iterator[Running]:
    found = Running(QUICK)
    yield found
    found.until(lambda: not found.state.connections)  # nothing leaks
    found.until(lambda: not found.state.tasks)
    found.end()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answers(content: bytes) -> list[Answer]:
    """What came back, parsed as strictly as it should have been written."""
    found = []
    while content:
        head, _, content = content.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        found.append(Answer(int(status), headers, content[:size]))
        content = content[size:]
    return found


def refused(content: bytes) -> Answer:
    """The last answer, which must be a refusal in the one shape."""
    found = answers(content)[-1]
    assert found.headers["content-type"] == "application/json"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["connection"] == "close"
    error = json.loads(found.body)["error"]
    assert error.keys() >= {"code", "message"}
    return found


def dribble(port: int, first: bytes, piece: bytes, every: float) -> tuple[bytes, float]:
    """Send a little at a time until the server has had enough; what it said, and when."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(first)
        connection.settimeout(every)
        received = b""
        while time.monotonic() - begun < 5:
            try:
                got = connection.recv(65536)
            except TimeoutError:
                with suppress(OSError):
                    connection.sendall(piece)
                continue
            if not got:
                return received, time.monotonic() - begun
            received += got
    raise AssertionError("it waits for ever")


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /echo HTTP/1.1", b"Host: x", *headers, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"
REFUSED: dict[str, tuple[bytes, int]] = {
    "garbage": (b"\x00\x01\x02 what?\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "http 0.9": (b"GET /echo\r\n\r\n", 400),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http 9.9": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "no url": (b"GET  HTTP/1.1\r\n\r\n", 400),
    "bad url": (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "connect": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "url not ascii": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "nul in a header": (b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400),
    "header without colon": (b"GET / HTTP/1.1\r\nX\r\n\r\n", 400),
    "space before colon": (post(b"Content-Length : 2", body=b"{}"), 400),
    "folded header": (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "length and encoding": (post(b"Content-Length: 2", CHUNKED, body=b"0\r\n\r\n"), 400),
    "encoding and length": (post(CHUNKED, b"Content-Length: 2", body=b"0\r\n\r\n"), 400),
    "two lengths": (post(b"Content-Length: 2", b"Content-Length: 3", body=b"{}"), 400),
    "one length twice": (post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"), 400),
    "lengths in a list": (post(b"Content-Length: 2, 2", body=b"{}"), 400),
    "plus": (post(b"Content-Length: +2", body=b"{}"), 400),
    "minus": (post(b"Content-Length: -2", body=b"{}"), 400),
    "hex": (post(b"Content-Length: 0x2", body=b"{}"), 400),
    "empty length": (post(b"Content-Length:", body=b"{}"), 400),
    "words": (post(b"Content-Length: two", body=b"{}"), 400),
    "too many digits": (post(b"Content-Length: " + b"9" * 30, body=b"{}"), 400),
    "digits of another script": (post("Content-Length: \u0662".encode(), body=b"{}"), 400),
    "unknown encoding": (post(b"Transfer-Encoding: xchunked", body=b"{}"), 400),
    "gzip and chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "chunked twice": (post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400),
    "chunked and identity": (post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), 400),
    "vertical tab in encoding": (post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "chunk of 2**63": (post(CHUNKED, body=b"8000000000000000\r\n{}"), 400),
    "chunk of 2**64": (post(CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\n{}"), 400),
    "chunk size with 0x": (post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), 400),
    "negative chunk": (post(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk longer than told": (post(CHUNKED, body=b"2\r\n{}}\r\n0\r\n\r\n"), 400),
    "chunk extension": (post(CHUNKED, body=b"2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n"), 400),
    "many chunks": (post(CHUNKED, body=b"1\r\nx\r\n" * 100_000), 400),
    "wordy chunks": (post(CHUNKED, body=(b"1;" + b"y" * 300 + b"\r\nx\r\n") * 1000), 400),
    "a long trailer": (post(CHUNKED, body=b"0\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"), 400),
    "many trailers": (post(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"), 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 431),
    "a long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 431),
    "a long header without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, 431),
    "a long name": (b"GET / HTTP/1.1\r\n" + b"X" * 200_000 + b": a\r\n\r\n", 431),
    "long headers together": (b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 19 + b"\r\n", 431),
    "a long url": (b"GET /" + b"a" * 64_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "many parameters": (b"GET /echo?" + b"a=1&" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "cut in the headers": (b"GET / HTTP/1.1\r\nHos", 400),
    "cut in the body": (post(b"Content-Length: 9", body=b"{}"), 400),
    "cut in a chunk": (post(CHUNKED, body=b"9\r\n{}"), 400),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_clear_request_is_refused_in_the_one_shape_and_closed(quick: Running, name: str) -> None:
    content, status = REFUSED[name]
    before = len(quick.refused)
    begun = time.monotonic()
    found = refused(raw(quick.port, content))
    assert (found.status, json.loads(found.body)["error"]["code"]) == (status, "request_invalid")
    assert time.monotonic() - begun < 1
    assert quick.refused[before:] == [status]


@pytest.mark.parametrize("name", ["many chunks", "a long trailer", "a long header", "many headers"])
def test_refusing_costs_no_more_however_much_is_sent(quick: Running, name: str) -> None:
    """Nothing is kept of what follows, and nothing of it is read as a request."""
    content, status = REFUSED[name]
    found = answers(raw(quick.port, content + b"\r\n" + GET * 1000))
    assert [one.status for one in found] in ([status], [])  # none where the sender would not stop for it


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (GET, b"/echo 0"),
        (b"\r\n" + GET, b"/echo 0"),
        (b"GET /echo?a=1 HTTP/1.1\r\n\r\n", b"/echo 0"),
        (b"GET /echo HTTP/1.0\r\n\r\n", b"/echo 0"),
        (b"GET /%65cho HTTP/1.1\r\nHost: x\r\n\r\n", b"/echo 0"),
        (b"GET http://x/echo HTTP/1.1\r\nHost: x\r\n\r\n", b"/echo 0"),
        (b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"/echo 5"),
        (post(b"Content-Length: 2", body=b"{}"), b"/echo 2"),
        (post(b"Content-Length:  002 ", body=b"{}"), b"/echo 2"),
        (post(CHUNKED, body=b"2\r\n{}\r\n1;a=b\r\nx\r\n0\r\nT: u\r\n\r\n"), b"/echo 3"),
        (post(b"transfer-encoding: Chunked", body=b"0\r\n\r\n"), b"/echo 0"),
        (post(b"Content-Length: 90000", body=b"x" * 90_000), b"/echo 90000"),
        (post(CHUNKED, body=b"ffff\r\n" + b"x" * 65535 + b"\r\n0\r\n\r\n"), b"/echo 65535"),
        (post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 2", body=b"{}"), b"/echo 2"),
        (b"GET /echo HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"/echo 0"),
        (b"GET /echo HTTP/1.1\r\n" + b"A: b\r\n" * 20 + b"\r\n", b"/echo 0"),
        (b"GET /echo?" + b"a" * 990 + b" HTTP/1.1\r\n\r\n", b"/echo 0"),
        (b"GET /echo HTTP/1.1\r\nX: " + b"a" * 3900 + b"\r\n\r\n", b"/echo 0"),
    ],
)  # fmt: skip
def test_what_is_clear_is_answered_though_the_caller_says_no_more(quick: Running, sent: bytes, said: bytes) -> None:
    (found,) = answers(raw(quick.port, sent))
    assert (found.status, found.body) == (200, said)


def test_head_has_no_body(quick: Running) -> None:
    content = raw(quick.port, b"HEAD /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    assert content.startswith(b"HTTP/1.1 200 ")
    assert content.endswith(b"\r\n\r\n")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 160), max_size=6))
@example(cuts=list(range(1, 160)))
def test_however_the_bytes_are_cut_the_answers_are_the_same(quick: Running, cuts: list[int]) -> None:
    content = GET + post(b"Content-Length: 4", body=b"abcd") + post(CHUNKED, body=b"3\r\nxyz\r\n0\r\n\r\n")
    with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = [0, *sorted(set(cuts)), len(content)]
        for start, end in itertools.pairwise(places):
            connection.sendall(content[start:end])
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [one.body for one in answers(received)] == [b"/echo 0", b"/echo 4", b"/echo 3"]


def test_mutated_requests_get_a_whole_answer_or_none(quick: Running) -> None:
    rng = random.Random(20261126)
    seeds = [GET, *(content for content, _ in REFUSED.values() if len(content) < 300)]
    for _ in range(300):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 5)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.randint(0, 3)] = rng.choice([b"\r\n", b"\0", b"\xff", b":", b" ", b"0", b";"])
        for found in answers(raw(quick.port, bytes(content))):
            assert found.status in (200, 400, 414, 431), bytes(content)


class TestTimes:
    def test_a_connection_that_says_nothing_is_closed_without_a_word(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, b"", b"", 5)
        assert said == b""
        assert 0.2 < seconds < 2

    def test_empty_lines_are_nothing(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, b"", b"\r\n", 0.05)
        assert said == b""
        assert seconds < 2

    def test_slow_headers(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, b"GET /echo HTTP/1.1\r\nX: ", b"x", 0.05)
        assert refused(said).status == 408
        assert 0.2 < seconds < 2

    def test_half_a_body(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, post(b"Content-Length: 900", body=b"{"), b"", 5)
        assert refused(said).status == 408
        assert 0.15 < seconds < 0.48, "the rate tells before the time is up"
        assert quick.gone[-1] == "/echo", "the application was told"

    def test_a_slow_body_that_comes_at_the_least_rate(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, post(b"Content-Length: 9000"), b"x" * 50, 0.05)
        assert refused(said).status == 408
        assert 0.45 < seconds < 2

    def test_slow_chunks(self, quick: Running) -> None:
        said, _ = dribble(quick.port, post(CHUNKED), b"1\r\nx\r\n", 0.1)
        assert refused(said).status == 408

    def test_expect_100_and_then_nothing(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, post(b"Expect: 100-continue", b"Content-Length: 2"), b"", 5)
        assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert refused(said).status == 408
        assert seconds < 2

    def test_idle_between_requests(self, quick: Running) -> None:
        said, seconds = dribble(quick.port, GET, b"", 5)
        assert [one.status for one in answers(said)] == [200]
        assert 0.2 < seconds < 2

    def test_a_connection_in_use_stays_open(self, quick: Running) -> None:
        with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
            for _ in range(6):
                connection.sendall(GET)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                time.sleep(0.1)

    def test_who_waits_for_a_slow_answer_is_not_cut(self, quick: Running) -> None:
        said = raw(quick.port, b"GET /slow HTTP/1.1\r\n\r\n" * 5)  # half a second, over every limit
        assert [one.status for one in answers(said)] == [200] * 5

    def test_who_does_not_read_the_answer_is_cut(self, quick: Running) -> None:
        with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
            connection.sendall(b"GET /big HTTP/1.1\r\n\r\n" * 5)
            quick.until(lambda: quick.state.connections)
            quick.until(lambda: not quick.state.connections)
            size = 0
            with suppress(ConnectionError):
                while got := connection.recv(2**20):
                    size += len(got)
            assert size < 5 * BIG
        quick.until(lambda: not quick.state.tasks)

    def test_who_reads_slowly_but_reads_is_not(self, quick: Running) -> None:
        with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
            connection.sendall(b"GET /big HTTP/1.1\r\n\r\n")
            size = 0
            while size < BIG:
                size += len(connection.recv(2**20))
                time.sleep(0.005)

    def test_the_clock_on_the_wall_does_not_matter(self, quick: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        for hours in (1, -1):
            now = time.time() + 3600 * hours
            monkeypatch.setattr(time, "time", lambda now=now: now)
            with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
                connection.sendall(GET[:9])
                time.sleep(0.1)
                connection.sendall(GET[9:])
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")


class TestOrder:
    def test_a_refusal_comes_after_the_answers_to_what_came_before(self, quick: Running) -> None:
        slow = b"GET /slow HTTP/1.1\r\n\r\n"
        for bad in (b"\x00\r\n\r\n", post(b"Content-Length: x"), post(CHUNKED, body=b"z\r\n")):
            found = answers(raw(quick.port, slow + GET + bad + GET))
            assert [one.status for one in found] == [200, 200, 400]
            assert [one.body for one in found[:2]] == [b"/slow 0", b"/echo 0"]

    def test_pipelined_requests_are_bounded(self, quick: Running) -> None:
        found = answers(raw(quick.port, b"GET /slow HTTP/1.1\r\n\r\n" + GET * 10_000))
        assert 10 <= len(found) <= 13
        assert [one.status for one in found[:-1]] == [200] * (len(found) - 1)
        assert found[-1].status == 400
        assert "before the first was answered" in json.loads(found[-1].body)["error"]["message"]

    def test_a_body_that_nobody_wants_is_read_and_forgotten(self, quick: Running) -> None:
        early = b"POST /early HTTP/1.1\r\nContent-Length: 90000\r\n\r\n"
        found = answers(raw(quick.port, early + b"x" * 90_000 + GET))
        assert [one.body for one in found] == [b"/early 0", b"/echo 0"]

    def test_but_not_without_end(self, quick: Running) -> None:
        with socket.create_connection(("127.0.0.1", quick.port), timeout=5) as connection:
            connection.sendall(b"POST /early HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            with pytest.raises(ConnectionError):  # noqa: PT012 - which of them fails is the system's matter
                for _ in range(1000):
                    connection.sendall(b"x" * 65536)


def test_a_caller_who_hangs_up_leaves_nothing_behind(quick: Running) -> None:
    paths = [b"GET /%s HTTP/1.1\r\n\r\n" % name for name in (b"slow", b"big")]
    for sent in (GET[:5], GET, post(b"Content-Length: 9", body=b"x"), *paths):
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", quick.port))
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()  # with a reset
    quick.until(lambda: not quick.state.connections)
    quick.until(lambda: not quick.state.tasks)


def test_too_many_connections_are_told_to_come_again_and_health_still_answers() -> None:
    running = Running(Bounds(connections=3, reserve=2))
    held = []

    def connect() -> socket.socket:
        held.append(socket.create_connection(("127.0.0.1", running.port), timeout=5))
        before = len(running.state.connections)
        running.until(lambda: len(running.state.connections) >= min(len(held), before))
        return held[-1]

    try:
        for _ in range(3):
            connect()
        running.until(lambda: len(running.state.connections) == 3)
        fourth, fifth = connect(), connect()
        running.until(lambda: len(running.state.connections) == 5)
        sixth = connect()
        answer = refused(b"".join(iter(partial(sixth.recv, 65536), b"")))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        fourth.sendall(GET)
        assert refused(b"".join(iter(partial(fourth.recv, 65536), b""))).status == 503
        fifth.sendall(b"GET /health/live HTTP/1.1\r\n\r\n")
        (alive,) = answers(b"".join(iter(partial(fifth.recv, 65536), b"")))
        assert (alive.status, alive.headers["connection"]) == (200, "close")
        held[0].sendall(GET)
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200"), "who came in time stays"
        for connection in held[3:]:
            connection.close()
        held[1].close()
        running.until(lambda: len(running.state.connections) == 2)
        again = connect()
        again.sendall(GET)
        assert again.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in held:
            connection.close()
        running.end()


def test_while_draining_answers_close_and_idle_connections_end() -> None:
    running = Running(Bounds(fresh_seconds=0.2))
    try:
        idle, fresh, busy = (socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(3))
        idle.sendall(GET)
        idle.recv(65536)
        busy.sendall(GET[:9])
        running.until(lambda: len(running.state.connections) == 3)
        running.pulse.draining = True
        stop = time.monotonic() + 0.5
        while time.monotonic() < stop:
            for connection in list(running.state.connections):
                assert isinstance(connection, Connection)
                running.loop.call_soon_threadsafe(connection.finish)
            time.sleep(0.02)
        assert (idle.recv(10), fresh.recv(10)) == (b"", b"")
        busy.sendall(GET[9:])
        (found,) = answers(b"".join(iter(partial(busy.recv, 65536), b"")))
        assert (found.status, found.headers["connection"]) == (200, "close")
        for each in (idle, fresh, busy):
            each.close()
    finally:
        running.end()
