"""Who asks the model of a loaded version, and when: what a request's rows wait in, and what they come out of."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fullcircle.errors import ServerBusy
from fullcircle.server.http import Answer

CLOSED = "the version is being taken out of service"


class Engine(Protocol):
    """Answers requests for one loaded version. Made by any thread, used by one event loop."""

    async def answer(self, ask: Ask) -> Answer:
        """The answer to a request, all of it by this version. Raises RequestInvalid or ServerBusy."""
        ...

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        ...

    def close(self) -> None:
        """Let go of what is held once nothing is being answered any more. Later requests get ServerBusy."""
        ...


class Ask:
    """One prediction request: its body, and when it arrived. ``rows`` are decoded rows, where that was done."""

    __slots__ = ("arrived", "body", "future", "rows")

    def __init__(self, body: bytes, rows: list[Any] | None = None) -> None:
        self.body = body
        self.arrived = time.perf_counter()
        self.rows = rows
        self.future: Any = None


def overloaded(waiting: int) -> ServerBusy:
    """What a request is told that would have to wait too long."""
    return ServerBusy(
        "more requests are waiting than can be answered soon",
        allowed=f"{waiting} waiting",
        next_step="try again in a second",
    )
