"""One request on a connection, and its answer: as uvicorn has it, but that the answer leaves in one piece."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

_SMALL = 65_536  # bytes of a body that are rather copied than written apart


class Cycle(RequestResponseCycle):
    """Keeps the start of an answer until its body comes, and writes both at once.

    A header that was found to be well-formed is not looked at again: nearly all answers have the same ones.
    """

    _begun: Any = None

    async def receive(self) -> Any:
        """ASGI's. A body that is there as a whole is given at once."""
        if self.more_body or self.disconnected or self.response_complete or self.flow.read_paused:
            return await super().receive()
        if self.waiting_for_100_continue or not self.message_event.is_set():
            return await super().receive()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """ASGI's. An answer that is not its start and one body of a known length leaves as with uvicorn."""
        if message["type"] == "http.response.start":
            self._begun = message
            return
        begun, self._begun = self._begun, None
        head = None if begun is None or message.get("more_body", False) else self._head(begun)
        if head is None:
            if begun is not None:
                await super().send(begun)
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        lines, length = head
        body: bytes = message.get("body", b"")
        if self.scope["method"] == "HEAD":
            body = b""
        elif len(body) != length:
            raise RuntimeError("the body has another length than its header says")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        if len(body) <= _SMALL:
            lines.append(body)
        self.transport.write(b"".join(lines))
        if len(body) > _SMALL:
            self.transport.write(body)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _head(self, begun: Any) -> tuple[list[bytes], int] | None:
        """The lines of an answer's head but the last, and the length of its body; None where that is not known."""
        lines, length = [STATUS_LINE[begun["status"]]], None
        for name, value in (*self.default_headers, *begun["headers"]):
            if name == b"content-length" and value.isdigit():
                length = int(value)
                lines.append(b"content-length: %b\r\n" % value)
            elif name == b"connection":
                if value != b"close":
                    return None
                self.keep_alive = False
            else:
                lines.append(_line(name, value))
        return None if length is None else (lines, length)


@lru_cache(maxsize=256)
def _line(name: bytes, value: bytes) -> bytes:
    """A header as it is sent. Raises RuntimeError for what would be more than one."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise RuntimeError("a header of an answer is not well-formed")
    return b"%b: %b\r\n" % (name.lower(), value)
