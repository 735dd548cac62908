"""A small real contract and model, an ASGI caller without a socket, and raw HTTP over one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded, View
from fullcircle.server.http import Limits
from fullcircle.types.contract import Column, Contract

GOOD = {"age": 40, "bmi": 25.5, "sex": "f"}


class Sum:
    """Answers age + bmi + ``plus``: an answer tells which version gave it."""

    def __init__(self, plus: float = 0.0) -> None:
        self.plus = plus

    def predict(self, frame: Any) -> Any:
        return np.asarray(frame["age"] + frame["bmi"] + self.plus, dtype=float)


class Coin:
    """A classifier that is surer the older one is."""

    def predict(self, frame: Any) -> Any:
        return np.where(frame["age"] > 50, "yes", "no")

    def predict_proba(self, frame: Any) -> Any:
        yes = np.asarray(frame["age"], dtype=float) / 100.0
        return np.column_stack([1 - yes, yes])


def contract(**changes: Any) -> Contract:
    columns = (
        Column(name="age", kind="integer", low=18, high=100, missing="reject", outside="reject"),
        Column(name="bmi", kind="number", low=10, high=60, fill=26.0, missing="impute", outside="flag"),
        Column(name="sex", kind="category", categories=("f", "m"), unseen="fallback", private=True),
    )
    return Contract(**{"columns": columns, "label": "y", "task": "regression", "prior": 99.0, **changes})


def classes() -> Contract:
    return contract(task="classification", classes=("no", "yes"), prior="no")


def loaded(name: str = "m", version: int = 1, scorer: Scorer | None = None) -> Loaded:
    return Loaded(model=name, version=version, bundle="b" * 64, scorer=scorer or Scorer(contract(), Sum()))


def view(*models: Loaded) -> View:
    return View(loaded={one.model: one for one in models}, wanted=frozenset(one.model for one in models), file="")


def app(folder: Path, *models: Loaded, limits: Limits | None = None) -> App:
    seen = view(*(models or (loaded(),)))
    return App(lambda: seen, Desk(folder), limits)


@dataclass
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


JSON_HEADER = ((b"content-type", b"application/json"),)


async def ask(
    target: App,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Sequence[tuple[bytes, bytes]] = JSON_HEADER,
) -> Response:
    """One request through the ASGI interface."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.lower(), value) for name, value in headers]  # as ASGI has them
    scope = {"type": "http", "method": method, "path": path, "headers": named, "query_string": b""}
    await target(scope, receive, send)
    start, content = sent
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], names, content["body"])


def call(
    target: App,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Sequence[tuple[bytes, bytes]] = JSON_HEADER,
) -> Response:
    return asyncio.run(ask(target, method, path, body, headers))


def post(target: App, path: str, document: Any) -> Response:
    return call(target, "POST", path, json.dumps(document).encode())


def raw(port: int, content: bytes, *, timeout: float = 5.0) -> bytes:
    """What a server answers to these very bytes, until it closes or ``timeout`` passes without more."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        received = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
    return received
