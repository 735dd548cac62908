"""Messages between a worker and the process that asks a slow model: a length of four bytes, then JSON."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from fullcircle.tables.lines import plain
from fullcircle.types.prediction import Prediction

Mode = Literal["model", "before", "release"]
MOST = 512 * 2**20  # bytes of a message: what says more is no message
_LENGTH = struct.Struct("=I")


class Question(msgspec.Struct):
    """Rows to be answered: by the model, or by who comes after it (``why`` it is not asked).

    "release" has no answer: the process lets go of its version, and is told another one.
    """

    mode: Mode
    rows: Sequence[Any]
    why: str = ""


class Reply(msgspec.Struct):
    """A prediction for each row, or why there are none: a ``code`` and a message for the server's own log."""

    predictions: list[Prediction] = []
    code: str = ""
    message: str = ""


class Ready(msgspec.Struct):
    """The first message back: the model is loaded, which took these modules; or why it is not."""

    problem: str = ""
    modules: list[str] = []


def packed(message: Any) -> bytes:
    """A message as it travels."""
    content = msgspec.json.encode(message, enc_hook=plain)
    return _LENGTH.pack(len(content)) + content


def receive(connection: socket.socket) -> bytes | None:
    """The next message of a blocking socket; None where the other side has closed it, or sends what is none."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    return None if size > MOST else _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 2**20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def read(reader: asyncio.StreamReader) -> bytes:
    """The next message of a stream. Raises IncompleteReadError where the other side is gone."""
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > MOST:
        raise asyncio.IncompleteReadError(b"", size)
    return await reader.readexactly(size)
