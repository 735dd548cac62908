"""Who asks the model of a loaded version, and when: what a request's rows wait in, and what they come out of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.server.http import Answer
from fullcircle.server.requests import rows_of
from fullcircle.server.strict import decode

if TYPE_CHECKING:
    from fullcircle.runtimes.encoding import Matrix
    from fullcircle.server.follower import Loaded
    from fullcircle.server.rendering import Lines

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


class Coming:
    """Requests whose headers have come and that the application has not begun: they will ask in a moment."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Mark:
    """What the log says of rows that were asked under a split; see ``types.prediction``. Made once for many rows.

    ``json`` is the same as a part of a JSON object, with a comma before it.
    """

    __slots__ = ("assigned", "json", "propensity", "split")

    def __init__(self, split: str, propensity: float, assigned: int = 0) -> None:
        self.split = split
        self.propensity = propensity
        self.assigned = assigned
        meant = b',"assigned":%d' % assigned if assigned else b""
        self.json = b',"split":"%b","propensity":%b%b' % (split.encode(), repr(propensity).encode(), meant)

    def fields(self) -> dict[str, Any]:
        """The same as fields of a prediction."""
        return {"split": self.split, "propensity": self.propensity, "assigned": self.assigned}


class Ask:
    """One prediction request: its JSON (empty where it came in another form), and when it arrived.

    ``rows`` are structs of the version's decoder, where nothing needs a second look; ``plain`` rows to be judged by
    hand that did not come as JSON. ``mark`` is what the log says of its split, None where there is none. ``matrix``
    is that of ``rows`` where it is known already. ``writer`` writes the answer of another protocol, with what it
    ``kept``, where all rows are ok: the lines from the first number to before the second. An engine may call it
    instead of writing the native form, and then says so in ``written``. ``pinned`` says that the caller named the
    version: no other may answer.
    """

    __slots__ = (
        "arrived", "body", "count", "future", "kept", "mark", "matrix", "pinned", "plain", "rows", "writer", "written"
    )  # fmt: skip

    def __init__(self, body: bytes, rows: list[Any] | None = None, plain: list[dict[str, Any]] | None = None) -> None:
        self.body = body
        self.arrived = time.perf_counter()
        self.rows = rows
        self.plain = plain
        self.count = len(rows or plain or ())
        """How many rows it has, once they were looked at."""
        self.future: Any = None
        self.mark: Mark | None = None
        self.matrix: Matrix | None = None
        self.writer: Callable[[Loaded, Any, Lines, int, int], Answer] | None = None
        self.kept: Any = None
        self.written = False
        self.pinned = False

    def by_hand(self, limit: int) -> list[dict[str, Any]]:
        """The rows as they are judged by hand. Raises RequestInvalid for a body of another form."""
        if self.plain is not None:
            return self.plain
        if not self.body and self.rows is not None:
            return [msgspec.to_builtins(row) for row in self.rows]
        found = rows_of(decode(self.body), limit)
        self.count = len(found)
        return found


def overloaded(waiting: int) -> ServerBusy:
    """What a request is told that would have to wait too long."""
    return ServerBusy(
        "more requests are waiting than can be answered soon",
        allowed=f"{waiting} waiting",
        next_step="try again in a second",
    )
