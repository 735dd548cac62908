"""A process that makes parts for another: asked on standard input, answering on what was its standard output.

A message is its length in eight bytes and then msgpack; the bytes of a stretch follow it, with a length of their own.
The process ends when its input does: with its parent, however that ends.
"""

from __future__ import annotations

import os
import signal
import traceback
from typing import IO, Any

import msgspec

from fullcircle.deployment.making import Job, Maker, Part, opened
from fullcircle.deployment.sources import Stretch
from fullcircle.errors import FullcircleError


class Reply(msgspec.Struct, frozen=True):
    """What became of a request: a part, or an error of ours by its class, or the traceback of any other."""

    part: Part | None = None
    error: dict[str, Any] | None = None
    traceback: str = ""


class Request(msgspec.Struct, frozen=True):
    """Make part ``number`` of the stretch whose bytes follow."""

    number: int
    first: int
    rows: int
    kind: str
    line: int


def send(pipe: IO[bytes], message: object, data: Any = b"") -> None:
    """Write a message, and the bytes that belong to it."""
    head = msgspec.msgpack.encode(message)
    pipe.write(len(head).to_bytes(8) + head + len(data).to_bytes(8))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """A message and its bytes, None at the end."""
    parts = []
    for _ in range(2):
        size = pipe.read(8)
        if len(size) < 8:
            return None
        parts.append(pipe.read(int.from_bytes(size)))
        if len(parts[-1]) < int.from_bytes(size):
            return None
    return parts[0], parts[1]


def main() -> None:
    """Serve requests until the input ends."""
    # Ctrl-C reaches all processes of a terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(0, "rb") as asked, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # whatever a model prints must not stand among the answers
        first = receive(asked)
        if first is None:
            return
        try:
            with opened(msgspec.msgpack.decode(first[0], type=Job)) as maker:
                while message := receive(asked):
                    send(answers, _reply(maker, *message))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - the parent has to know why there will be no answer
            send(answers, _told(error))


def _reply(maker: Maker, head: bytes, data: bytes) -> Reply:
    request = msgspec.msgpack.decode(head, type=Request)
    stretch = Stretch(request.first, request.rows, request.kind, data, request.line)
    try:
        return Reply(part=maker.make(request.number, stretch))
    except Exception as error:  # noqa: BLE001 - as above
        return _told(error)


def _told(error: Exception) -> Reply:
    if isinstance(error, FullcircleError):
        fields = {name: getattr(error, name) for name in ("what", "received", "allowed", "next_step")}
        return Reply(error={"class": type(error).__name__, **fields})
    return Reply(traceback="".join(traceback.format_exception(error)))
